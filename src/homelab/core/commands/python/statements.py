"""What the Python reader does at each kind of statement."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from homelab.core.commands.patterns import is_plain
from homelab.core.commands.python.reader import FEW, MOST_ITEMS, Frame, Reader
from homelab.core.commands.python.texts import (
    either,
    merged,
)
from homelab.core.commands.python.values import (
    Class,
    Function,
    Items,
    Named,
    Value,
    one,
    text,
)
from homelab.core.commands.words import joined


def _import(reader: Reader, node: ast.Import) -> None:
    for alias in node.names:
        name = alias.asname or alias.name.partition(".")[0]
        local = reader.local_module(alias.name)
        reader.frame.names[name] = local or Named(name=alias.name if alias.asname else name)


def _import_from(reader: Reader, node: ast.ImportFrom) -> None:
    local = reader.local_module(node.module or "") if node.module else None
    for alias in node.names:
        name = alias.asname or alias.name
        if local is not None:
            reader.frame.names[name] = local.names.get(alias.name)
        elif node.level:
            reader.frame.names[name] = reader.local_module(alias.name)
        else:
            reader.frame.names[name] = Named(name=f"{node.module}.{alias.name}")


def _define(reader: Reader, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    enclosing = reader.frame.names if reader.frame.names is not reader.frame.module.names else {}
    reader.frame.names[node.name] = Function(node=node, module=reader.frame.module, enclosing=enclosing)


def _class(reader: Reader, node: ast.ClassDef) -> None:
    made = Class(node=node, module=reader.frame.module)
    reader.frame.names[node.name] = made
    outer = reader.frame
    reader.frames.append(Frame(names=made.members, module=outer.module))
    try:
        reader.block(node.body)
    finally:
        reader.frames.pop()


def _assign(reader: Reader, node: ast.Assign) -> None:
    value = reader.value(node.value)
    for target in node.targets:
        reader.bind(target, value)


def _assign_typed(reader: Reader, node: ast.AnnAssign) -> None:
    if node.value is not None:
        reader.bind(node.target, reader.value(node.value))


def _assign_more(reader: Reader, node: ast.AugAssign) -> None:
    if isinstance(node.target, ast.Name):
        added = reader.value(node.value)
        old = reader.lookup(node.target.id)
        both = text(old), text(added)
        result: Value = None
        if both[0] is not None and both[1] is not None:
            result = joined([both[0], both[1]])
        elif isinstance(old, Items) and isinstance(added, Items):
            result = Items(items=[*old.items, *added.items][:MOST_ITEMS])
        reader.frame.names[node.target.id] = result


def _expression(reader: Reader, node: ast.Expr) -> bool:
    reader.value(node.value)
    call = node.value
    return isinstance(call, ast.Call) and reader.dotted(call.func) in ("sys.exit", "exit", "quit", "os._exit")


def _return(reader: Reader, node: ast.Return) -> bool:
    if node.value is not None:
        reader.frame.result.append(reader.value(node.value))
    return True


def _raise(reader: Reader, node: ast.Raise) -> bool:
    return True


def _if(reader: Reader, node: ast.If) -> bool:
    verdict = reader.truth(node.test)
    if verdict is True:
        return reader.block(node.body)
    if verdict is False:
        return reader.block(node.orelse)
    start = len(reader.shell.findings.commands)
    before = dict(reader.frame.names)
    reader.block(node.body)
    after = dict(reader.frame.names)
    reader.frame.names.clear()
    reader.frame.names.update(before)
    reader.block(node.orelse)
    for name, value in after.items():
        reader.frame.names[name] = either(value, reader.frame.names.get(name))
    reader.shell.findings.conditional(start)
    return False


def _for(reader: Reader, node: ast.For | ast.AsyncFor) -> None:
    items = reader.elements(reader.value(node.iter))
    start = len(reader.shell.findings.commands)
    for item in items[:FEW] if len(items) <= FEW else [merged(items)]:
        reader.bind(node.target, item)
        reader.block(node.body)
    reader.block(node.orelse)
    reader.shell.findings.conditional(start)


def _while(reader: Reader, node: ast.While) -> None:
    reader.truth(node.test)
    reader.block(node.body)


def _with(reader: Reader, node: ast.With | ast.AsyncWith) -> bool:
    for item in node.items:
        value = reader.value(item.context_expr)
        if item.optional_vars is not None:
            reader.bind(item.optional_vars, value)
    return reader.block(node.body)


def _try(reader: Reader, node: ast.Try) -> bool:
    ended = reader.block(node.body)
    for handler in node.handlers:
        reader.block(handler.body)
    reader.block(node.orelse)
    reader.block(node.finalbody)
    return ended and not node.handlers


def _match(reader: Reader, node: ast.Match) -> None:
    subject = one(reader.value(node.subject))
    for case in node.cases:
        pattern = case.pattern
        literal = one(reader.value(pattern.value)) if isinstance(pattern, ast.MatchValue) else None
        if subject is not None and is_plain(subject) and literal is not None and literal != subject:
            continue
        reader.block(case.body)
        if literal is not None and literal == subject:
            break


STATEMENTS: Mapping[type[ast.stmt], Callable[[Reader, Any], bool | None]] = {
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.FunctionDef: _define,
    ast.AsyncFunctionDef: _define,
    ast.ClassDef: _class,
    ast.Assign: _assign,
    ast.AnnAssign: _assign_typed,
    ast.AugAssign: _assign_more,
    ast.Expr: _expression,
    ast.Return: _return,
    ast.Raise: _raise,
    ast.If: _if,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.Match: _match,
}
