"""What each kind of expression is worth, as far as that is known."""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from homelab.core.commands.patterns import SOME, dated, is_plain
from homelab.core.commands.python.reader import MOST_ITEMS, Reader
from homelab.core.commands.python.texts import (
    either,
    is_number,
    merged,
    part_of,
    path_joined,
)
from homelab.core.commands.python.values import (
    Class,
    Function,
    Instance,
    Items,
    Moment,
    Named,
    Namespace,
    Table,
    Text,
    Value,
    one,
    text,
)
from homelab.core.commands.words import joined

_NUMBERS: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def comparison(reader: Reader, node: ast.Compare) -> bool | None:
    left, right = reader.value(node.left), reader.value(node.comparators[0])
    operator = node.ops[0]
    mine, theirs = one(left), one(right)
    if isinstance(operator, ast.In | ast.NotIn) and mine is not None and is_plain(mine):
        members = [one(item) for item in reader.elements(right)] if isinstance(right, Items | Table) else [None]
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


def _constant(reader: Reader, node: ast.Constant) -> Value:
    if isinstance(node.value, bool):
        return node.value
    if isinstance(node.value, str):
        return (node.value,)
    if isinstance(node.value, int):
        return (str(node.value),)
    return None


def _name(reader: Reader, node: ast.Name) -> Value:
    return reader.lookup(node.id)


def _list(reader: Reader, node: ast.List | ast.Tuple | ast.Set) -> Value:
    return Items(items=[reader.value(item) for item in node.elts[:MOST_ITEMS]])


def _dict(reader: Reader, node: ast.Dict) -> Value:
    found: dict[str, Value] = {}
    for key, item in zip(node.keys, node.values, strict=True):
        name = one(reader.value(key)) if key is not None else None
        value = reader.value(item)
        if name is not None:
            found[name] = value
    return Table(items=found)


def _joined(reader: Reader, node: ast.JoinedStr) -> Value:
    parts: list[Text] = []
    for item in node.values:
        if isinstance(item, ast.Constant):
            parts.append((str(item.value),))
        elif isinstance(item, ast.FormattedValue):
            parts.append(formatted(reader, item))
    return joined(parts)


def formatted(reader: Reader, node: ast.FormattedValue) -> Text:
    value = reader.value(node.value)
    spec = ""
    if isinstance(node.format_spec, ast.JoinedStr):
        spec = "".join(str(part.value) for part in node.format_spec.values if isinstance(part, ast.Constant))
    if isinstance(value, Moment):
        return (dated(spec or "%F", other_day=value.is_other_day),)
    return text(value) or (SOME,)


def _binary(reader: Reader, node: ast.BinOp) -> Value:
    left, right = reader.value(node.left), reader.value(node.right)
    mine, theirs = text(left), text(right)
    if isinstance(node.op, ast.Div) and (mine is not None or theirs is not None):
        return path_joined([mine or (SOME,), theirs or (SOME,)])
    if isinstance(node.op, ast.Add):
        if isinstance(left, Items) and isinstance(right, Items):
            return Items(items=[*left.items, *right.items][:MOST_ITEMS])
        if mine is not None or theirs is not None:
            return joined([mine or (SOME,), theirs or (SOME,)])
    if isinstance(node.op, ast.Mod) and mine is not None:
        return tuple(re.sub(r"%(?:\([^)]*\))?[-0-9.]*[sdifr]", SOME, part) for part in mine)
    if isinstance(node.op, ast.Sub | ast.Add) and isinstance(left, Moment):
        return Moment(is_other_day=True)
    return None


def _boolean(reader: Reader, node: ast.BoolOp) -> Value:
    values = [reader.value(item) for item in node.values]
    known = [item for item in values if item is not None and item not in (False, ("",))]
    return known[0] if known and isinstance(node.op, ast.Or) else None


def _choice(reader: Reader, node: ast.IfExp) -> Value:
    verdict = reader.truth(node.test)
    if verdict is not None:
        return reader.value(node.body if verdict else node.orelse)
    return either(reader.value(node.body), reader.value(node.orelse))


def _await(reader: Reader, node: ast.Await) -> Value:
    return reader.value(node.value)


def _starred(reader: Reader, node: ast.Starred) -> Value:
    return reader.value(node.value)


def _walrus(reader: Reader, node: ast.NamedExpr) -> Value:
    value = reader.value(node.value)
    reader.bind(node.target, value)
    return value


def _lambda(reader: Reader, node: ast.Lambda) -> Value:
    return Function(node=node, module=reader.frame.module)


def _comprehension(reader: Reader, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Value:
    found: list[Value] = []
    generate(reader, node.generators, lambda: found.append(reader.value(node.elt)))
    return Items(items=found[:MOST_ITEMS])


def _dict_comprehension(reader: Reader, node: ast.DictComp) -> Value:
    found: dict[str, Value] = {}

    def add() -> None:
        key = one(reader.value(node.key))
        value = reader.value(node.value)
        if key is not None:
            found[key] = value

    generate(reader, node.generators, add)
    return Table(items=found)


def generate(reader: Reader, generators: list[ast.comprehension], body: Callable[[], None]) -> None:
    if not generators:
        body()
        return
    first, *rest = generators
    for item in reader.elements(reader.value(first.iter))[:MOST_ITEMS]:
        reader.bind(first.target, item)
        for condition in first.ifs:
            reader.value(condition)
        generate(reader, rest, body)


def _subscript(reader: Reader, node: ast.Subscript) -> Value:
    holder = reader.value(node.value)
    name = reader.dotted(node.value)
    key = one(reader.value(node.slice)) if not isinstance(node.slice, ast.Slice) else None
    if name == "os.environ" and key is not None:
        return reader.scope.value(key)
    if name == "sys.argv":
        return argument(reader, key, node.slice)
    if isinstance(holder, Table):
        return holder.items.get(key) if key is not None and is_plain(key) else merged(list(holder.items.values()))
    if isinstance(holder, Items) and holder.items:
        return item(reader, holder, node.slice)
    if isinstance(holder, tuple) and any(not is_plain(part) for part in holder):
        return holder  # one of the files a glob means
    return None


def item(reader: Reader, holder: Items, where: ast.expr) -> Value:
    if isinstance(where, ast.Slice):
        start = one(reader.value(where.lower)) if where.lower is not None else None
        return Items(items=holder.items[int(start) :]) if start and start.isdigit() else holder
    index = ast.literal_eval(where) if is_number(where) else None
    if isinstance(index, int) and -len(holder.items) <= index < len(holder.items):
        return holder.items[index]
    return merged(holder.items)


def argument(reader: Reader, key: str | None, where: ast.expr) -> Value:
    if isinstance(where, ast.Slice):
        start = one(reader.value(where.lower)) if where.lower is not None else "0"
        words: list[Value] = [(reader.scope.file,), *[(word,) for word in reader.arguments]]
        return Items(items=words[int(start) if start and start.isdigit() else 1 :])
    if key is None or not key.isdigit():
        return None
    number = int(key)
    if number == 0:
        return (reader.scope.file,)
    return (reader.arguments[number - 1],) if number <= len(reader.arguments) else None


def _attribute(reader: Reader, node: ast.Attribute) -> Value:
    holder = reader.value(node.value)
    if isinstance(holder, Named):
        return attribute_of_named(reader, f"{holder.name}.{node.attr}")
    if isinstance(holder, Namespace):
        return holder.names.get(node.attr)
    if isinstance(holder, Table):
        return holder.items.get(node.attr)
    if isinstance(holder, Instance):
        return attribute_of(reader, holder, node.attr)
    if isinstance(holder, Class):
        return holder.members.get(node.attr)
    if isinstance(holder, Function) and node.attr == "__name__" and not isinstance(holder.node, ast.Lambda):
        return (holder.node.name,)
    found = text(holder)
    return part_of(found, node.attr) if found is not None else None


def attribute_of_named(reader: Reader, name: str) -> Value:
    if name == "sys.argv":
        return Items(items=[(reader.scope.file,), *[(word,) for word in reader.arguments]])
    if name in ("os.sep", "os.path.sep"):
        return ("/",)
    return Named(name=name)


def attribute_of(reader: Reader, holder: Instance, name: str) -> Value:
    if name in holder.attributes:
        return holder.attributes[name]
    member = holder.kind.members.get(name)
    if isinstance(member, Function):
        return Function(node=member.node, module=member.module, instance=holder)
    return member


EXPRESSIONS: Mapping[type[ast.expr], Callable[[Reader, Any], Value]] = {
    ast.Compare: comparison,
    ast.Constant: _constant,
    ast.Name: _name,
    ast.List: _list,
    ast.Tuple: _list,
    ast.Set: _list,
    ast.Dict: _dict,
    ast.JoinedStr: _joined,
    ast.BinOp: _binary,
    ast.BoolOp: _boolean,
    ast.IfExp: _choice,
    ast.Await: _await,
    ast.Starred: _starred,
    ast.NamedExpr: _walrus,
    ast.Lambda: _lambda,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _dict_comprehension,
    ast.Subscript: _subscript,
    ast.Attribute: _attribute,
}
