"""What becomes of texts and paths: joined, split, changed. Called by the readers of this package."""

import ast
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence

from homelab.core.commands.patterns import ANY, SOME, TREE, globbed
from homelab.core.commands.python.values import (
    Text,
    Value,
    one,
    text,
)

_FEW = 6


def path_joined(parts: Sequence[Text]) -> Text:
    result: Text = parts[0]
    for part in parts[1:]:
        result = tuple(
            new if new.startswith("/") else f"{old.rstrip('/')}/{new}" if old else new for old in result for new in part
        )[:12]
    return result


def part_of(found: Text, name: str) -> Value:
    """Attributes of a path."""
    changes: dict[str, Callable[[str], str]] = {
        "parent": lambda path: posixpath.dirname(path) or ".",
        "name": posixpath.basename,
        "stem": lambda path: posixpath.splitext(posixpath.basename(path))[0],
        "suffix": lambda path: posixpath.splitext(path)[1],
    }
    change = changes.get(name)
    return tuple(dict.fromkeys(change(path) for path in found)) if change is not None else None


def text_changed(found: Text, name: str, given: Sequence[Text | None], named: dict[str, Value]) -> Value:
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
        return path_changed(found, name, given)
    if name in ("lower", "upper"):
        return tuple(part.lower() if name == "lower" else part.upper() for part in found if part.isascii())
    if name == "format":
        values = iter([value or (SOME,) for value in given])
        return tuple(re.sub(r"\{[^{}]*\}", lambda m: formatted_field(m[0], values, named), part) for part in found)
    if name == "replace" and len(given) == 2 and first and given[1]:
        return tuple(part.replace(first[0], given[1][0]) for part in found)
    if name in ("removesuffix", "removeprefix") and first:
        return tuple(getattr(part, name)(first[0]) for part in found)
    if name == "join":
        return None
    return None


def formatted_field(field_: str, values: Iterable[Text], named: dict[str, Value]) -> str:
    name = field_.strip("{}").partition(":")[0]
    value = text(named.get(name)) if name and not name.isdigit() else next(iter(values), None)
    return value[0] if value else SOME


def path_changed(found: Text, name: str, given: Sequence[Text | None]) -> Value:
    first = given[0][0] if given and given[0] else ANY
    if name == "joinpath":
        return path_joined([found, *[part or (SOME,) for part in given]])
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


def is_path(value: Value) -> bool:
    """Whether a text looks like a file's name rather than like words."""
    found = one(value)
    if found is None or "://" in found or re.search(r"\s", found):
        return False
    return "/" in found or re.search(r"\.[A-Za-z]\w{0,5}$", found) is not None


def is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int)


def either(one_: Value, other: Value) -> Value:
    mine, theirs = text(one_), text(other)
    if mine is not None and theirs is not None and len({*mine, *theirs}) <= _FEW:
        return tuple(dict.fromkeys([*mine, *theirs]))
    return one_ if one_ is not None else other


def merged(values: Sequence[Value]) -> Value:
    """One value that stands for any of several."""
    result: Value = None
    for value in values:
        result = either(result, value)
    return result
