"""Walks a Python script: statements, calls, and the few values that matter. See the package."""

import ast
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from homelab.core.commands.arguments import Act
from homelab.core.commands.effects import Effect, Script, Source, Word
from homelab.core.commands.patterns import ANY, SOME, TREE, UNIQUE, absolute, dated, globbed, is_plain, shown
from homelab.core.commands.python import library
from homelab.core.commands.python.values import (
    Class,
    Database,
    Function,
    Handle,
    Instance,
    Items,
    Moment,
    Named,
    Namespace,
    Parser,
    Table,
    Text,
    Value,
    one,
    parse_arguments,
    text,
)
from homelab.core.commands.shell import Invocation, Shell
from homelab.core.commands.sql import touches
from homelab.core.commands.words import Scope, joined

_FEW = 6
_MOST_ITEMS = 40
_MAX_CALLS = 14
_STATEMENT = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|TRUNCATE|WITH|COPY|VACUUM|PRAGMA)\b", re.I
)


def read_python(shell: Shell, code: str, scope: Scope, arguments: list[str], source: Source, *, inline: bool) -> None:
    """Note what a script does. `arguments`: its words; `inline`: the code stands in the command of `source` itself."""
    reader = _Reader(shell=shell, scope=scope, arguments=arguments, inline=source if inline else None)
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = f"it is no Python that is understood here ({type(error).__name__})"
        shell.findings.note(scope.file, reason)
        return
    reader.script(tree, code)


@dataclass(kw_only=True)
class _Frame:
    names: dict[str, Value]
    module: Namespace
    line: int = 1
    result: list[Value] = field(default_factory=list[Value])


@dataclass(kw_only=True)
class _Reader:
    shell: Shell
    scope: Scope
    arguments: list[str]
    inline: Source | None
    frames: list[_Frame] = field(default_factory=list[_Frame])
    modules: dict[str, Namespace] = field(default_factory=dict[str, Namespace])
    called: set[int] = field(default_factory=set[int])
    connections: dict[Database, bool] = field(default_factory=dict[Database, bool])

    def script(self, tree: ast.Module, code: str) -> None:
        module = Namespace(file=self.scope.file, lines=code.splitlines())
        module.names["__name__"] = ("__main__",)
        module.names["__file__"] = (self.scope.file or "/-",)
        before = len(self.shell.findings.effects), len(self.shell.findings.commands)
        self.frames.append(_Frame(names=module.names, module=module))
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

    # --- where we are -------------------------------------------------------------------------------------------------

    @property
    def frame(self) -> _Frame:
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

    def place(self, frame: _Frame) -> Source:
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

    # --- statements ---------------------------------------------------------------------------------------------------

    def block(self, nodes: Iterable[ast.stmt]) -> bool:
        """Statements in order; True when the block surely ends here (return, raise, exit)."""
        for node in nodes:
            self.shell.findings.step()
            self.frame.line = node.lineno
            if self.statement(node):
                return True
        return False

    def statement(self, node: ast.stmt) -> bool:
        handler = _STATEMENTS.get(type(node))
        if handler is None:
            return False
        self.shell.findings.deeper()
        try:
            return bool(handler(self, node))
        finally:
            self.shell.findings.levels -= 1

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            local = self.local_module(alias.name)
            self.frame.names[name] = local or Named(name=alias.name if alias.asname else name)

    def _import_from(self, node: ast.ImportFrom) -> None:
        local = self.local_module(node.module or "") if node.module else None
        for alias in node.names:
            name = alias.asname or alias.name
            if local is not None:
                self.frame.names[name] = local.names.get(alias.name)
            elif node.level:
                self.frame.names[name] = self.local_module(alias.name)
            else:
                self.frame.names[name] = Named(name=f"{node.module}.{alias.name}")

    def local_module(self, name: str) -> Namespace | None:
        """A module that lies beside the script, read once."""
        base = posixpath.dirname(self.scope.file)
        if not self.scope.file or self.scope.place:
            return None
        for ending in (".py", "/__init__.py"):
            path = absolute(name.replace(".", "/") + ending, base)
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
        self.frames.append(_Frame(names=module.names, module=module))
        try:
            self.block(tree.body)
        finally:
            self.frames.pop()
        return module

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        enclosing = self.frame.names if self.frame.names is not self.frame.module.names else {}
        self.frame.names[node.name] = Function(node=node, module=self.frame.module, enclosing=enclosing)

    def _class(self, node: ast.ClassDef) -> None:
        made = Class(node=node, module=self.frame.module)
        self.frame.names[node.name] = made
        outer = self.frame
        self.frames.append(_Frame(names=made.members, module=outer.module))
        try:
            self.block(node.body)
        finally:
            self.frames.pop()

    def _assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self.bind(target, value)

    def _assign_typed(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.bind(node.target, self.value(node.value))

    def _assign_more(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            added = self.value(node.value)
            old = self.lookup(node.target.id)
            both = text(old), text(added)
            result: Value = None
            if both[0] is not None and both[1] is not None:
                result = joined([both[0], both[1]])
            elif isinstance(old, Items) and isinstance(added, Items):
                result = Items(items=[*old.items, *added.items][:_MOST_ITEMS])
            self.frame.names[node.target.id] = result

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

    def _expression(self, node: ast.Expr) -> bool:
        self.value(node.value)
        call = node.value
        return isinstance(call, ast.Call) and self.dotted(call.func) in ("sys.exit", "exit", "quit", "os._exit")

    def _return(self, node: ast.Return) -> bool:
        if node.value is not None:
            self.frame.result.append(self.value(node.value))
        return True

    def _raise(self, node: ast.Raise) -> bool:
        return True

    def _if(self, node: ast.If) -> bool:
        verdict = self.truth(node.test)
        if verdict is True:
            return self.block(node.body)
        if verdict is False:
            return self.block(node.orelse)
        start = len(self.shell.findings.commands)
        before = dict(self.frame.names)
        self.block(node.body)
        after = dict(self.frame.names)
        self.frame.names.clear()
        self.frame.names.update(before)
        self.block(node.orelse)
        for name, value in after.items():
            self.frame.names[name] = _either(value, self.frame.names.get(name))
        self.shell.findings.conditional(start)
        return False

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        items = self.elements(self.value(node.iter))
        start = len(self.shell.findings.commands)
        for item in items[:_FEW] if len(items) <= _FEW else [_merged(items)]:
            self.bind(node.target, item)
            self.block(node.body)
        self.block(node.orelse)
        self.shell.findings.conditional(start)

    def elements(self, value: Value) -> list[Value]:
        """What a loop over a value comes to."""
        if isinstance(value, Items):
            return list(value.items)
        if isinstance(value, Table):
            return [(key,) for key in value.items]
        if isinstance(value, tuple) and any(not is_plain(part) for part in value):
            return [value]
        return [None]

    def _while(self, node: ast.While) -> None:
        self.truth(node.test)
        self.block(node.body)

    def _with(self, node: ast.With | ast.AsyncWith) -> bool:
        for item in node.items:
            value = self.value(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value)
        return self.block(node.body)

    def _try(self, node: ast.Try) -> bool:
        ended = self.block(node.body)
        for handler in node.handlers:
            self.block(handler.body)
        self.block(node.orelse)
        self.block(node.finalbody)
        return ended and not node.handlers

    def _match(self, node: ast.Match) -> None:
        subject = one(self.value(node.subject))
        for case in node.cases:
            pattern = case.pattern
            literal = one(self.value(pattern.value)) if isinstance(pattern, ast.MatchValue) else None
            if subject is not None and is_plain(subject) and literal is not None and literal != subject:
                continue
            self.block(case.body)
            if literal is not None and literal == subject:
                break

    # --- conditions ---------------------------------------------------------------------------------------------------

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
            return self.comparison(node)
        value = self.value(node)
        if isinstance(value, bool):
            return value
        found = one(value)
        return bool(found) if found is not None and (found == "" or is_plain(found)) else None

    def comparison(self, node: ast.Compare) -> bool | None:
        left, right = self.value(node.left), self.value(node.comparators[0])
        operator = node.ops[0]
        mine, theirs = one(left), one(right)
        if isinstance(operator, ast.In | ast.NotIn) and mine is not None and is_plain(mine):
            members = [one(item) for item in self.elements(right)] if isinstance(right, Items | Table) else [None]
            if None in members:
                return None
            return (mine in members) == isinstance(operator, ast.In)
        if mine is None or theirs is None or not is_plain(mine) or not is_plain(theirs):
            return None
        if isinstance(operator, ast.Eq | ast.NotEq):
            return (mine == theirs) == isinstance(operator, ast.Eq)
        compare = _NUMBERS.get(type(operator))
        if compare is not None and mine.isdigit() and theirs.isdigit():
            return compare(int(mine), int(theirs))
        return None

    # --- values -------------------------------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Value:
        self.shell.findings.deeper()
        try:
            handler = _EXPRESSIONS.get(type(node))
            if handler is not None:
                return handler(self, node)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.value(child)
            return None
        finally:
            self.shell.findings.levels -= 1

    def _constant(self, node: ast.Constant) -> Value:
        if isinstance(node.value, bool):
            return node.value
        if isinstance(node.value, str):
            return (node.value,)
        if isinstance(node.value, int):
            return (str(node.value),)
        return None

    def lookup(self, name: str) -> Value:
        frame = self.frame
        if name in frame.names:
            return frame.names[name]
        return frame.module.names.get(name, Named(name=name))

    def _name(self, node: ast.Name) -> Value:
        return self.lookup(node.id)

    def _list(self, node: ast.List | ast.Tuple | ast.Set) -> Value:
        return Items(items=[self.value(item) for item in node.elts[:_MOST_ITEMS]])

    def _dict(self, node: ast.Dict) -> Value:
        found: dict[str, Value] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            name = one(self.value(key)) if key is not None else None
            value = self.value(item)
            if name is not None:
                found[name] = value
        return Table(items=found)

    def _joined(self, node: ast.JoinedStr) -> Value:
        parts: list[Text] = []
        for item in node.values:
            if isinstance(item, ast.Constant):
                parts.append((str(item.value),))
            elif isinstance(item, ast.FormattedValue):
                parts.append(self.formatted(item))
        return joined(parts)

    def formatted(self, node: ast.FormattedValue) -> Text:
        value = self.value(node.value)
        spec = ""
        if isinstance(node.format_spec, ast.JoinedStr):
            spec = "".join(str(part.value) for part in node.format_spec.values if isinstance(part, ast.Constant))
        if isinstance(value, Moment):
            return (dated(spec or "%F", other_day=value.is_other_day),)
        return text(value) or (SOME,)

    def _binary(self, node: ast.BinOp) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        mine, theirs = text(left), text(right)
        if isinstance(node.op, ast.Div) and (mine is not None or theirs is not None):
            return _path_joined([mine or (SOME,), theirs or (SOME,)])
        if isinstance(node.op, ast.Add):
            if isinstance(left, Items) and isinstance(right, Items):
                return Items(items=[*left.items, *right.items][:_MOST_ITEMS])
            if mine is not None or theirs is not None:
                return joined([mine or (SOME,), theirs or (SOME,)])
        if isinstance(node.op, ast.Mod) and mine is not None:
            return tuple(re.sub(r"%(?:\([^)]*\))?[-0-9.]*[sdifr]", SOME, part) for part in mine)
        if isinstance(node.op, ast.Sub | ast.Add) and isinstance(left, Moment):
            return Moment(is_other_day=True)
        return None

    def _boolean(self, node: ast.BoolOp) -> Value:
        values = [self.value(item) for item in node.values]
        known = [item for item in values if item is not None and item not in (False, ("",))]
        return known[0] if known and isinstance(node.op, ast.Or) else None

    def _choice(self, node: ast.IfExp) -> Value:
        verdict = self.truth(node.test)
        if verdict is not None:
            return self.value(node.body if verdict else node.orelse)
        return _either(self.value(node.body), self.value(node.orelse))

    def _await(self, node: ast.Await) -> Value:
        return self.value(node.value)

    def _starred(self, node: ast.Starred) -> Value:
        return self.value(node.value)

    def _walrus(self, node: ast.NamedExpr) -> Value:
        value = self.value(node.value)
        self.bind(node.target, value)
        return value

    def _lambda(self, node: ast.Lambda) -> Value:
        return Function(node=node, module=self.frame.module)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Value:
        found: list[Value] = []
        self.generate(node.generators, lambda: found.append(self.value(node.elt)))
        return Items(items=found[:_MOST_ITEMS])

    def _dict_comprehension(self, node: ast.DictComp) -> Value:
        found: dict[str, Value] = {}

        def add() -> None:
            key = one(self.value(node.key))
            value = self.value(node.value)
            if key is not None:
                found[key] = value

        self.generate(node.generators, add)
        return Table(items=found)

    def generate(self, generators: list[ast.comprehension], body: Callable[[], None]) -> None:
        if not generators:
            body()
            return
        first, *rest = generators
        for item in self.elements(self.value(first.iter))[:_MOST_ITEMS]:
            self.bind(first.target, item)
            for condition in first.ifs:
                self.value(condition)
            self.generate(rest, body)

    def _subscript(self, node: ast.Subscript) -> Value:
        holder = self.value(node.value)
        name = self.dotted(node.value)
        key = one(self.value(node.slice)) if not isinstance(node.slice, ast.Slice) else None
        if name == "os.environ" and key is not None:
            return self.scope.value(key)
        if name == "sys.argv":
            return self.argument(key, node.slice)
        if isinstance(holder, Table):
            return holder.items.get(key) if key is not None and is_plain(key) else _merged(list(holder.items.values()))
        if isinstance(holder, Items) and holder.items:
            return self.item(holder, node.slice)
        if isinstance(holder, tuple) and any(not is_plain(part) for part in holder):
            return holder  # one of the files a glob means
        return None

    def item(self, holder: Items, where: ast.expr) -> Value:
        if isinstance(where, ast.Slice):
            start = one(self.value(where.lower)) if where.lower is not None else None
            return Items(items=holder.items[int(start) :]) if start and start.isdigit() else holder
        index = ast.literal_eval(where) if _is_number(where) else None
        if isinstance(index, int) and -len(holder.items) <= index < len(holder.items):
            return holder.items[index]
        return _merged(holder.items)

    def argument(self, key: str | None, where: ast.expr) -> Value:
        if isinstance(where, ast.Slice):
            start = one(self.value(where.lower)) if where.lower is not None else "0"
            words: list[Value] = [(self.scope.file,), *[(word,) for word in self.arguments]]
            return Items(items=words[int(start) if start and start.isdigit() else 1 :])
        if key is None or not key.isdigit():
            return None
        number = int(key)
        if number == 0:
            return (self.scope.file,)
        return (self.arguments[number - 1],) if number <= len(self.arguments) else None

    def _attribute(self, node: ast.Attribute) -> Value:
        holder = self.value(node.value)
        if isinstance(holder, Named):
            return self.attribute_of_named(f"{holder.name}.{node.attr}")
        if isinstance(holder, Namespace):
            return holder.names.get(node.attr)
        if isinstance(holder, Table):
            return holder.items.get(node.attr)
        if isinstance(holder, Instance):
            return self.attribute_of(holder, node.attr)
        if isinstance(holder, Class):
            return holder.members.get(node.attr)
        if isinstance(holder, Function) and node.attr == "__name__" and not isinstance(holder.node, ast.Lambda):
            return (holder.node.name,)
        found = text(holder)
        return _part(found, node.attr) if found is not None else None

    def attribute_of_named(self, name: str) -> Value:
        if name == "sys.argv":
            return Items(items=[(self.scope.file,), *[(word,) for word in self.arguments]])
        if name in ("os.sep", "os.path.sep"):
            return ("/",)
        return Named(name=name)

    def attribute_of(self, holder: Instance, name: str) -> Value:
        if name in holder.attributes:
            return holder.attributes[name]
        member = holder.kind.members.get(name)
        if isinstance(member, Function):
            return Function(node=member.node, module=member.module, instance=holder)
        return member

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

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> Value:
        self.shell.findings.step()
        self.frame.line = node.lineno
        name = self.dotted(node.func)
        given: list[Value] = []
        for argument in node.args:
            value = self.value(argument)
            given += value.items if isinstance(argument, ast.Starred) and isinstance(value, Items) else [value]
        named = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg}
        self.frame.line = node.lineno
        if name:
            return self.call_named(name, given, named)
        if isinstance(node.func, ast.Attribute):
            holder = self.value(node.func.value)
            if not isinstance(holder, Instance | Namespace | Class | Table):
                return self.call_method(holder, node.func.attr, given, named)
        function = self.value(node.func)
        if isinstance(function, Function):
            return self.call_function(function, given, named)
        if isinstance(function, Class):
            return self.make(function, given, named)
        if isinstance(node.func, ast.Attribute):
            return self.call_method(None, node.func.attr, given, named)
        return None

    def call_function(self, function: Function, given: list[Value], named: dict[str, Value]) -> Value:
        """Read the function's body with these arguments."""
        node = function.node
        if len(self.frames) > _MAX_CALLS or sum(frame.module is function.module for frame in self.frames) > _MAX_CALLS:
            return None
        self.called.add(id(node))
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
        frame = _Frame(names=names, module=function.module, line=node.lineno)
        self.frames.append(frame)
        self.shell.findings.deeper()
        try:
            if isinstance(node, ast.Lambda):
                return self.value(node.body)
            self.block(node.body)
        finally:
            self.shell.findings.levels -= 1
            self.frames.pop()
        return _merged(frame.result) if frame.result else None

    def make(self, kind: Class, given: list[Value], named: dict[str, Value]) -> Value:
        made = Instance(kind=kind)
        start = kind.members.get("__init__")
        if isinstance(start, Function):
            self.call_function(Function(node=start.node, module=start.module, instance=made), given, named)
        else:
            made.attributes.update(named)  # a dataclass
        return made

    def call_named(self, name: str, given: list[Value], named: dict[str, Value]) -> Value:
        """A function of the library or of a module that is not here."""
        first = given[0] if given else None
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, given, named)
        if name in library.PASSES:
            parts = [text(value) or (SOME,) for value in given]
            return _path_joined(parts) if name.startswith("pathlib") and len(given) > 1 else first
        if name in library.NOW:
            return Moment()
        if name in library.CALLS:
            self.run(first if len(given) < 2 or isinstance(first, Items) else Items(items=given), named)
            return None
        if name in library.CALLS_SHELL:
            self.run(first, {"shell": True})
            return None
        if name in library.CONNECTS:
            return self.connect(library.CONNECTS[name], first, named)
        roles = library.FUNCTIONS.get(name)
        if roles == "open":
            return self.open(first, given[1] if len(given) > 1 else named.get("mode"))
        if roles is not None:
            self.roles(roles, given or list(named.values()))
            return first if roles == "v" else None
        return self.call_method(None, name.rpartition(".")[2], given, named)

    def open(self, path: Value, mode: Value) -> Value:
        found = text(path)
        letters = one(mode) or "r"
        role = "a" if "a" in letters else "w" if letters[:1] in ("w", "x") else "u" if "+" in letters else "r"
        if found is None:
            return None
        self.play(role, found)
        return Handle(paths=found)

    def call_method(self, holder: Value, name: str, given: list[Value], named: dict[str, Value]) -> Value:
        first = given[0] if given else None
        if isinstance(holder, Parser):
            return self.parser_method(holder, name, given, named)
        if isinstance(holder, Database):
            return self.database_method(holder, name, given)
        if isinstance(holder, Moment):
            return self.moment_method(holder, name, first)
        if isinstance(holder, Items) and name in ("append", "add", "insert") and given:
            if len(holder.items) < _MOST_ITEMS:
                holder.items.append(given[-1])
            return None
        if isinstance(holder, Table):
            return self.table_method(holder, name, given)
        found = text(holder)
        if found is not None:
            return self.text_method(found, name, given, named)
        if name in ("execute", "executemany", "executescript") and (statement := one(first)):
            return self.unbound_statement(statement)
        if name in ("read_sql", "read_sql_query") and len(given) > 1 and isinstance(given[1], Database):
            return self.database_method(given[1], "execute", given)
        if name == "to_sql" and len(given) > 1 and isinstance(given[1], Database) and (table := one(first)):
            self.database(given[1], [("write", table)])
            return None
        roles = library.METHODS.get(name) or next(
            (role for start, role in library.PREFIXES if name.startswith(start)), None
        )
        if roles is not None:
            values = given or [value for key, value in named.items() if "path" in key or "file" in key]
            paths = [value if _is_path(value) else None for value in values]
            self.roles(roles, paths)
        return None

    def table_method(self, holder: Table, name: str, given: list[Value]) -> Value:
        if name == "get" and given and (key := one(given[0])) is not None:
            return holder.items.get(key, given[1] if len(given) > 1 else None)
        if name == "values":
            return Items(items=list(holder.items.values()))
        if name == "items":
            return Items(items=[Items(items=[(key,), value]) for key, value in holder.items.items()])
        if name == "keys":
            return Items(items=[(key,) for key in holder.items])
        member = holder.items.get(name)
        return self.call_function(member, given, {}) if isinstance(member, Function) else None

    def text_method(self, found: Text, name: str, given: list[Value], named: dict[str, Value]) -> Value:
        """Methods of strings and paths."""
        first = given[0] if given else None
        if name == "open":
            return self.open(found, first if first is not None else named.get("mode"))
        if name == "replace" and len(given) < 2:
            self.play("m", found)
            self.play("w", first)
            return first
        own = library.PATH_METHODS.get(name)
        if own is not None and not (name == "copy" and not given):
            self.play(own[0], found)
            self.roles(own[1], given)
            return None
        changed = _text_changed(found, name, [text(value) for value in given], named)
        if changed is not None and name in ("glob", "rglob", "iterdir"):
            self.play("v", changed)
        return changed

    def moment_method(self, holder: Moment, name: str, first: Value) -> Value:
        if name == "strftime":
            return tuple(dated(form, other_day=holder.is_other_day) for form in text(first) or ())
        if name == "isoformat":
            return (dated("%F", other_day=holder.is_other_day),)
        if name in ("date", "astimezone", "replace"):
            return holder
        return None

    def parser_method(self, holder: Parser, name: str, given: list[Value], named: dict[str, Value]) -> Value:
        """`argparse`: what is added, then what the words of the command line become."""
        if name == "add_argument":
            self.add_argument(holder, [word for word in (one(value) for value in given) if word], named)
        elif name == "add_subparsers":
            holder.parsers_name = one(named.get("dest")) or ""
            return holder
        elif name == "add_parser" and (command := one(given[0] if given else None)):
            holder.parsers[command] = Parser()
            return holder.parsers[command]
        elif name == "set_defaults":
            holder.defaults.update(named)
        elif name in ("add_argument_group", "add_mutually_exclusive_group"):
            return holder
        elif name == "parse_args":
            return parse_arguments(holder, [(word,) for word in self.arguments])
        elif name == "parse_known_args":
            return Items(items=[parse_arguments(holder, [(word,) for word in self.arguments]), None])
        return None

    def add_argument(self, holder: Parser, names: list[str], named: dict[str, Value]) -> None:
        if not names:
            return
        longest = max(names, key=len)
        dest = one(named.get("dest")) or longest.lstrip("-").replace("-", "_")
        if "default" in named:
            holder.defaults[dest] = named["default"]
        if not names[0].startswith("-"):
            holder.operands.append(dest)
        elif "action" in named:
            holder.flags.update(dict.fromkeys(names, dest))
        else:
            holder.options.update(dict.fromkeys(names, dest))

    # --- databases ----------------------------------------------------------------------------------------------------

    def connect(self, place: str, first: Value, named: dict[str, Value]) -> Value:
        names = text(named.get("dbname") or named.get("database") or named.get("db") or first)
        if place == "url":
            return self.connect_url(one(first) or "")
        if names is None:
            return None
        if place:
            found = [re.search(r"\bdbname=(\S+)", name) or re.search(r"://[^/]*/([\w-]+)", name) for name in names]
            names = tuple(match[1] if match else name for match, name in zip(found, names, strict=True))
        else:
            names = tuple(absolute(name, self.scope.folder) for name in names if name != ":memory:")
        database = Database(place=place, names=names)
        self.connections.setdefault(database, False)
        return database

    def connect_url(self, url: str) -> Value:
        found = re.match(
            r"(sqlite|postgres(?:ql)?|mysql|mariadb)(?:\+\w+)?://(?:/|[^/]*/)(.*?)(?:\?.*)?$", url, re.DOTALL
        )
        if found is None:
            return None
        place = {"sqlite": "", "mysql": "mysql", "mariadb": "mysql"}.get(found[1], "postgresql")
        return self.connect(place, (found[2],), {})

    def database_method(self, holder: Database, name: str, given: list[Value]) -> Value:
        if name.startswith("execute") and given:
            statements = text(given[0]) or ()
            for statement in statements:
                self.database(holder, touches(statement))
        elif name == "backup" and given and isinstance(given[0], Database):
            self.database(holder, [("read", "")])
            self.database(given[0], [("write", "")])
        return holder

    def unbound_statement(self, statement: str) -> Value:
        """SQL on a cursor that was lost on the way: it belongs to the only connection there is."""
        if len(self.connections) == 1 and _STATEMENT.match(statement):
            self.database(next(iter(self.connections)), touches(statement))
        return None

    def database(self, holder: Database, found: Iterable[tuple[str, str]]) -> None:
        for kind, table in found:
            self.connections[holder] = True
            for name in holder.names:
                act = self.act(name)
                if holder.place:
                    target = f"{name}.{table}" if table else name
                    act.effect("write" if kind == "write" else "read", target, place=holder.place)
                else:
                    act.effect("update" if kind == "write" else "read", name)

    # --- commands -----------------------------------------------------------------------------------------------------

    def run(self, command: Value, named: dict[str, Value]) -> None:
        """A command started with literal words, or a text for a shell."""
        if isinstance(command, Items):
            words = [Word(text=found[0], values=found) for found in (text(item) or (SOME,) for item in command.items)]
            if words:
                self.start(words, named)
        elif (line := one(command)) is not None:
            if named.get("shell") is True or " " not in line:
                scope = self.scope_for(named)
                self.shell.read(line, scope, origin=self.source(line))

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


# --- functions that give values ---------------------------------------------------------------------------------------

_Given = list[Value]
_NamedArguments = dict[str, Value]


def _environ_get(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    name = one(given[0]) if given else None
    if name is None:
        return None
    default = given[1] if len(given) > 1 else named.get("default")
    if reader.scope.is_known(name) or default is None:
        return reader.scope.value(name)
    return default


def _join_paths(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    return _path_joined([text(value) or (SOME,) for value in given]) if given else None


def _on_text(change: Callable[[str], str]) -> Callable[[_Reader, _Given, _NamedArguments], Value]:
    def changed(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
        found = text(given[0]) if given else None
        return tuple(change(part) for part in found) if found is not None else None

    return changed


def _absolute_path(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    return tuple(absolute(part, reader.scope.folder) for part in found) if found is not None else None


def _expand_user(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    home = reader.scope.value("HOME")[0]
    return tuple(home + part[1:] if part.startswith("~/") else part for part in found) if found is not None else None


def _strftime(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    form = one(given[0]) if given else None
    return (dated(form),) if form is not None else None


def _glob(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    if found is None:
        return None
    names = tuple(globbed(part) for part in found)
    reader.play("v", names)
    return names


def _walk(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    if found is None:
        return None
    inside = tuple(f"{part.rstrip('/')}/{TREE}" for part in found)
    return Items(items=[Items(items=[found, None, Items(items=[inside])])])


def _change_folder(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    folder = one(given[0]) if given else None
    if folder is not None:
        reader.scope.folder = absolute(folder, reader.scope.folder)
    return None


def _make_archive(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    base, form = (one(value) for value in [*given, None, None][:2])
    endings = {"gztar": ".tar.gz", "bztar": ".tar.bz2", "xztar": ".tar.xz", "tar": ".tar", "zip": ".zip"}
    if base is not None:
        reader.play("w", (base + endings.get(form or "", ""),))
    reader.play("R", named.get("root_dir") or (given[2] if len(given) > 2 else None))
    return None


def _basic_config(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    reader.play("log", named.get("filename"))
    return None


def _fcntl_lock(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    held = given[0] if given else None
    if isinstance(held, Handle):
        for path in held.paths:
            reader.act(path).lock(path)
    return None


def _length(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    return (str(len(given[0].items)),) if given and isinstance(given[0], Items) else None


def _unique(reader: _Reader, given: _Given, named: _NamedArguments) -> Value:
    return (f"/tmp/{UNIQUE}",)  # noqa: S108 - a name, not a file of ours


_SPECIAL: dict[str, Callable[[_Reader, _Given, _NamedArguments], Value]] = {
    "os.environ.get": _environ_get,
    "os.getenv": _environ_get,
    "os.path.join": _join_paths,
    "os.path.dirname": _on_text(posixpath.dirname),
    "os.path.basename": _on_text(posixpath.basename),
    "os.path.abspath": _absolute_path,
    "os.path.realpath": _absolute_path,
    "os.path.normpath": _on_text(posixpath.normpath),
    "os.path.expanduser": _expand_user,
    "os.getcwd": lambda reader, given, named: (reader.scope.folder,),
    "pathlib.Path.home": lambda reader, given, named: reader.scope.value("HOME"),
    "pathlib.Path.cwd": lambda reader, given, named: (reader.scope.folder,),
    "os.chdir": _change_folder,
    "os.walk": _walk,
    "glob.glob": _glob,
    "glob.iglob": _glob,
    "time.strftime": _strftime,
    "argparse.ArgumentParser": lambda reader, given, named: Parser(),
    "shutil.make_archive": _make_archive,
    "logging.basicConfig": _basic_config,
    "fcntl.flock": _fcntl_lock,
    "fcntl.lockf": _fcntl_lock,
    "len": _length,
    "tempfile.mkdtemp": _unique,
    "tempfile.mkstemp": _unique,
    "tempfile.NamedTemporaryFile": _unique,
    "tempfile.TemporaryDirectory": _unique,
    "uuid.uuid4": lambda reader, given, named: (UNIQUE,),
    "contextlib.closing": lambda reader, given, named: given[0] if given else None,
    "enumerate": lambda reader, given, named: (
        Items(items=[Items(items=[None, item]) for item in reader.elements(given[0])]) if given else None
    ),
}


# --- texts ------------------------------------------------------------------------------------------------------------


def _path_joined(parts: Sequence[Text]) -> Text:
    result: Text = parts[0]
    for part in parts[1:]:
        result = tuple(
            new if new.startswith("/") else f"{old.rstrip('/')}/{new}" if old else new for old in result for new in part
        )[:12]
    return result


def _part(found: Text, name: str) -> Value:
    """Attributes of a path."""
    change = {
        "parent": lambda path: posixpath.dirname(path) or ".",
        "name": posixpath.basename,
        "stem": lambda path: posixpath.splitext(posixpath.basename(path))[0],
        "suffix": lambda path: posixpath.splitext(path)[1],
    }.get(name)
    return tuple(dict.fromkeys(change(path) for path in found)) if change is not None else None


def _text_changed(found: Text, name: str, given: Sequence[Text | None], named: dict[str, Value]) -> Value:
    first = given[0] if given and given[0] else None
    if name in (
        "resolve",
        "absolute",
        "expanduser",
        "as_posix",
        "strip",
        "rstrip",
        "lstrip",
        "encode",
        "decode",
        "readline",
    ):
        return found
    if name in ("joinpath", "with_name", "with_suffix", "glob", "rglob", "iterdir", "relative_to"):
        return _path_changed(found, name, given)
    if name in ("lower", "upper"):
        return tuple(part.lower() if name == "lower" else part.upper() for part in found if part.isascii())
    if name == "format":
        values = iter([value or (SOME,) for value in given])
        return tuple(re.sub(r"\{[^{}]*\}", lambda m: _formatted(m[0], values, named), part) for part in found)
    if name == "replace" and len(given) == 2 and first and given[1]:
        return tuple(part.replace(first[0], given[1][0]) for part in found)
    if name in ("removesuffix", "removeprefix") and first:
        return tuple(getattr(part, name)(first[0]) for part in found)
    if name == "join":
        return None
    return None


def _formatted(field_: str, values: Iterable[Text], named: dict[str, Value]) -> str:
    name = field_.strip("{}").partition(":")[0]
    value = text(named.get(name)) if name and not name.isdigit() else next(iter(values), None)
    return value[0] if value else SOME


def _path_changed(found: Text, name: str, given: Sequence[Text | None]) -> Value:
    first = given[0][0] if given and given[0] else ANY
    if name == "joinpath":
        return _path_joined([found, *[part or (SOME,) for part in given]])
    if name == "with_name":
        return tuple(posixpath.join(posixpath.dirname(path), first) for path in found)
    if name == "with_suffix":
        return tuple(posixpath.splitext(path)[0] + first for path in found)
    if name == "iterdir":
        return tuple(f"{path.rstrip('/')}/{ANY}" for path in found)
    if name == "glob":
        return tuple(f"{path.rstrip('/')}/{globbed(first)}" for path in found)
    if name == "rglob":
        return tuple(f"{path.rstrip('/')}/{TREE}{globbed(first).removeprefix(ANY)}" for path in found)
    return None


def _is_path(value: Value) -> bool:
    found = one(value)
    return (
        found is not None
        and ("/" in found or re.search(r"\.[A-Za-z]\w{0,5}$", found) is not None)
        and "://" not in found
    )


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int)


def _either(one_: Value, other: Value) -> Value:
    mine, theirs = text(one_), text(other)
    if mine is not None and theirs is not None and len({*mine, *theirs}) <= _FEW:
        return tuple(dict.fromkeys([*mine, *theirs]))
    return one_ if one_ is not None else other


def _merged(values: Sequence[Value]) -> Value:
    """One value that stands for any of several."""
    result: Value = None
    for value in values:
        result = _either(result, value)
    return result


_NUMBERS: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}

_STATEMENTS = {
    ast.Import: _Reader._import,
    ast.ImportFrom: _Reader._import_from,
    ast.FunctionDef: _Reader._define,
    ast.AsyncFunctionDef: _Reader._define,
    ast.ClassDef: _Reader._class,
    ast.Assign: _Reader._assign,
    ast.AnnAssign: _Reader._assign_typed,
    ast.AugAssign: _Reader._assign_more,
    ast.Expr: _Reader._expression,
    ast.Return: _Reader._return,
    ast.Raise: _Reader._raise,
    ast.If: _Reader._if,
    ast.For: _Reader._for,
    ast.AsyncFor: _Reader._for,
    ast.While: _Reader._while,
    ast.With: _Reader._with,
    ast.AsyncWith: _Reader._with,
    ast.Try: _Reader._try,
    ast.Match: _Reader._match,
}
_EXPRESSIONS = {
    ast.Constant: _Reader._constant,
    ast.Name: _Reader._name,
    ast.List: _Reader._list,
    ast.Tuple: _Reader._list,
    ast.Set: _Reader._list,
    ast.Dict: _Reader._dict,
    ast.JoinedStr: _Reader._joined,
    ast.BinOp: _Reader._binary,
    ast.BoolOp: _Reader._boolean,
    ast.IfExp: _Reader._choice,
    ast.Await: _Reader._await,
    ast.Starred: _Reader._starred,
    ast.NamedExpr: _Reader._walrus,
    ast.Lambda: _Reader._lambda,
    ast.ListComp: _Reader._comprehension,
    ast.SetComp: _Reader._comprehension,
    ast.GeneratorExp: _Reader._comprehension,
    ast.DictComp: _Reader._dict_comprehension,
    ast.Subscript: _Reader._subscript,
    ast.Attribute: _Reader._attribute,
    ast.Call: _Reader._call,
}
