"""The state of reading one Python script, and what every part of the reader needs of it."""

import ast
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homelab.core.commands.arguments import Act
from homelab.core.commands.effects import Effect, Script, Source, Word
from homelab.core.commands.patterns import SOME, absolute, is_plain
from homelab.core.commands.python.texts import (
    merged,
)
from homelab.core.commands.python.values import (
    Database,
    Function,
    Instance,
    Items,
    Named,
    Namespace,
    Parser,
    Table,
    Value,
    one,
    parse_arguments,
    text,
)
from homelab.core.commands.shell import Invocation, Shell
from homelab.core.commands.words import Scope

FEW = 6
MOST_ITEMS = 40
MAX_CALLS = 14


@dataclass(kw_only=True)
class Frame:
    names: dict[str, Value]
    module: Namespace
    line: int = 1
    result: list[Value] = field(default_factory=list[Value])


@dataclass(kw_only=True)
class Reader:
    """`statements` and `expressions`: what to do at each kind of node. `inline`: the command the code stands in."""

    shell: Shell
    scope: Scope
    arguments: list[str]
    inline: Source | None
    statements: Mapping[type[ast.stmt], Callable[["Reader", Any], bool | None]]
    expressions: Mapping[type[ast.expr], Callable[["Reader", Any], Value]]
    frames: list[Frame] = field(default_factory=list[Frame])
    modules: dict[str, Namespace] = field(default_factory=dict[str, Namespace])
    started_in: str = "/"
    called: set[int] = field(default_factory=set[int])
    connections: dict[Database, bool] = field(default_factory=dict[Database, bool])

    def script(self, tree: ast.Module, code: str) -> None:
        self.started_in = self.scope.folder
        module = Namespace(file=self.scope.file, lines=code.splitlines())
        module.names["__name__"] = ("__main__",)
        module.names["__file__"] = (self.scope.file or "/-",)
        before = len(self.shell.findings.effects), len(self.shell.findings.commands)
        self.frames.append(Frame(names=module.names, module=module))
        self.block(tree.body)
        self.leftovers(
            tree, module, nothing=before == (len(self.shell.findings.effects), len(self.shell.findings.commands))
        )
        for database, is_used in self.connections.items():
            if not is_used:
                self.database(database, [("write", "")])

    def leftovers(self, tree: ast.Module, module: Namespace, *, nothing: bool) -> None:
        """Functions that a framework calls (they carry a decorator); all of them if nothing else was found."""
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or id(node) in self.called:
                continue
            is_named = node.name.replace("_", "-") in self.arguments or node.name in self.arguments
            others = any(
                isinstance(other, ast.FunctionDef) and other is not node and other.decorator_list for other in tree.body
            )
            if (node.decorator_list and (is_named or not others)) or nothing:
                self.call_function(Function(node=node, module=module), [], {})

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def source(self, target: str) -> Source:
        """The line to show for an effect: the innermost one that names the file, else the innermost of the script."""
        if self.inline is not None:
            return self.inline
        name = max(re.split("[\ue000-\ue1ff/]", target.rstrip("/").rpartition("/")[2]) or [""], key=len)
        places = [self.place(frame) for frame in reversed(self.frames)]
        for place in places:
            if name and name in place.text:
                return place
        return next((place for place in places if place.file == self.scope.file), places[0])

    def place(self, frame: Frame) -> Source:
        lines = frame.module.lines
        line = lines[frame.line - 1].strip() if 0 < frame.line <= len(lines) else ""
        return Source(file=frame.module.file, line=frame.line, text=line[:300])

    def act(self, target: str) -> Act:
        return Act(name="python", scope=self.scope, source=self.source(target), findings=self.shell.findings)

    def play(self, role: str, value: Value, sources: Sequence[Value] = ()) -> None:
        found = text(value)
        for path in found or ():
            act = self.act(path)
            if role == "log":
                target = absolute(path, self.scope.folder)
                self.shell.findings.add(
                    Effect(kind="append", target=target, by="logging", is_output=True, source=act.source)
                )
                continue
            words = [Word(text=w[0], values=w) for w in (text(one_) for one_ in sources) if w]
            act.play(role, Word(text=path, values=(path,)), words)
            for word in act.run_scripts:
                self.start([Word(text="python", values=("python3",)), word], {})

    def roles(self, roles: str, values: Sequence[Value]) -> None:
        for number, (role, value) in enumerate(zip(roles.split(), values, strict=False)):
            if role != "-":
                self.play(role, value, values[:number])

    def block(self, nodes: Iterable[ast.stmt]) -> bool:
        """Statements in order; True when the block surely ends here (return, raise, exit)."""
        for node in nodes:
            self.shell.findings.step()
            self.frame.line = node.lineno
            if self.statement(node):
                return True
        return False

    def statement(self, node: ast.stmt) -> bool:
        handler = self.statements.get(type(node))
        if handler is None:
            return False
        self.shell.findings.deeper()
        try:
            return bool(handler(self, node))
        finally:
            self.shell.findings.levels -= 1

    def local_module(self, name: str) -> Namespace | None:
        """A module that lies beside the script, read once."""
        if self.scope.place:
            return None
        folders = [posixpath.dirname(self.scope.file)] if self.scope.file else []
        if self.scope.is_known("PYTHONPATH"):
            folders += self.scope.value("PYTHONPATH")[0].split(":")
        for folder in dict.fromkeys([*folders, self.started_in]):
            for ending in (".py", "/__init__.py"):
                path = absolute(name.replace(".", "/") + ending, folder)
                if path in self.modules:
                    return self.modules[path]
                script = self.shell.findings.scripts.get(path)
                if isinstance(script, Script):
                    return self.read_module(path, script)
        return None

    def read_module(self, path: str, script: Script) -> Namespace | None:
        module = Namespace(file=path, lines=script.text.splitlines())
        module.names["__name__"] = (posixpath.basename(path).removesuffix(".py"),)
        module.names["__file__"] = (path,)
        self.modules[path] = module
        try:
            tree = ast.parse(script.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return module
        self.frames.append(Frame(names=module.names, module=module))
        try:
            self.block(tree.body)
        finally:
            self.frames.pop()
        return module

    def bind(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.frame.names[target.id] = value
        elif isinstance(target, ast.Attribute):
            holder = self.value(target.value)
            if isinstance(holder, Instance):
                holder.attributes[target.attr] = value
            elif isinstance(holder, Table):
                holder.items[target.attr] = value
        elif isinstance(target, ast.Subscript):
            holder = self.value(target.value)
            key = one(self.value(target.slice))
            if isinstance(holder, Table) and key is not None:
                holder.items[key] = value
        elif isinstance(target, ast.Tuple | ast.List):
            items = value.items if isinstance(value, Items) else []
            for number, part in enumerate(target.elts):
                self.bind(part, items[number] if number < len(items) else None)

    def elements(self, value: Value) -> list[Value]:
        """What a loop over a value comes to."""
        if isinstance(value, Items):
            return list(value.items)
        if isinstance(value, Table):
            return [(key,) for key in value.items]
        if isinstance(value, tuple) and any(not is_plain(part) for part in value):
            return [value]
        return [None]

    def truth(self, node: ast.expr) -> bool | None:
        """Whether a condition holds, where that is plain."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            found = self.truth(node.operand)
            return None if found is None else not found
        if isinstance(node, ast.BoolOp):
            sides = [self.truth(value) for value in node.values]
            if isinstance(node.op, ast.And):
                return False if False in sides else None if None in sides else True
            return True if True in sides else None if None in sides else False
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            value = self.value(node)
            return value if isinstance(value, bool) else None
        value = self.value(node)
        if isinstance(value, bool):
            return value
        found = one(value)
        return bool(found) if found is not None and (found == "" or is_plain(found)) else None

    def value(self, node: ast.expr) -> Value:
        self.shell.findings.deeper()
        try:
            handler = self.expressions.get(type(node))
            if handler is not None:
                return handler(self, node)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.value(child)
            return None
        finally:
            self.shell.findings.levels -= 1

    def lookup(self, name: str) -> Value:
        frame = self.frame
        if name in frame.names:
            return frame.names[name]
        return frame.module.names.get(name, Named(name=name))

    def dotted(self, node: ast.expr) -> str:
        """The full name of a function or module that is not read; empty for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        base = self.lookup(node.id)
        return ".".join([base.name, *reversed(parts)]) if isinstance(base, Named) else ""

    def call_function(self, function: Function, given: list[Value], named: dict[str, Value]) -> Value:
        """Read the function's body with these arguments."""
        node = function.node
        if len(self.frames) > MAX_CALLS or sum(frame.module is function.module for frame in self.frames) > MAX_CALLS:
            return None
        self.called.add(id(node))
        if not given and not named and not isinstance(node, ast.Lambda) and node.decorator_list:
            named = self.command_line(node)
        names = dict(function.enclosing)
        parameters = [*node.args.posonlyargs, *node.args.args]
        values = [function.instance, *given] if function.instance is not None else given
        defaults = node.args.defaults
        for number, parameter in enumerate(parameters):
            at_default = number - (len(parameters) - len(defaults))
            if number < len(values):
                names[parameter.arg] = values[number]
            elif parameter.arg in named:
                names[parameter.arg] = named[parameter.arg]
            else:
                names[parameter.arg] = self.value(defaults[at_default]) if at_default >= 0 else None
        if node.args.vararg is not None:
            names[node.args.vararg.arg] = Items(items=list(values[len(parameters) :]))
        for parameter, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            fallback = self.value(default) if default is not None else None
            names[parameter.arg] = named.get(parameter.arg, fallback)
        frame = Frame(names=names, module=function.module, line=node.lineno)
        self.frames.append(frame)
        self.shell.findings.deeper()
        try:
            if isinstance(node, ast.Lambda):
                return self.value(node.body)
            self.block(node.body)
        finally:
            self.shell.findings.levels -= 1
            self.frames.pop()
        return merged(frame.result) if frame.result else None

    def command_line(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Value]:
        """Arguments of a function that `click` calls, from its `@option`s and `@argument`s and the command line."""
        parser = Parser()
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute):
                names = [word for word in (one(self.value(item)) for item in decorator.args) if word]
                defaults = [item.value for item in decorator.keywords if item.arg == "default"]
                if decorator.func.attr in ("option", "argument") and names:
                    parser.add(names, default=self.value(defaults[0]) if defaults else None)
        return parse_arguments(parser, [(word,) for word in self.arguments]).items

    def database(self, holder: Database, found: Iterable[tuple[str, str]]) -> None:
        for kind, table in found:
            self.connections[holder] = True
            for name in holder.names:
                act = self.act(name)
                if holder.place:
                    target = f"{name}.{table}" if table else name
                    act.effect("write" if kind == "write" else "read", target, place=holder.place)
                else:
                    act.table("write" if kind == "write" else "read", name, table)

    def run(self, command: Value, named: dict[str, Value]) -> None:
        """A command started with literal words, or a text for a shell."""
        if isinstance(command, Items):
            words = [Word(text=found[0], values=found) for found in (text(item) or (SOME,) for item in command.items)]
            if words:
                self.start(words, named)
        elif (line := one(command)) is not None and (named.get("shell") is True or " " not in line):
            self.shell.read(line, self.scope_for(named), origin=self.source(line))

    def start(self, words: list[Word], named: dict[str, Value]) -> None:
        source = self.source(words[-1].value)
        invocation = Invocation(
            words=words, redirects=(), stdin=None, join=";", scope=self.scope_for(named), source=source
        )
        self.shell.run(self.shell, invocation)

    def scope_for(self, named: dict[str, Value]) -> Scope:
        scope = self.scope.copy()
        folder = one(named.get("cwd"))
        if folder is not None:
            scope.folder = absolute(folder, scope.folder)
        return scope
