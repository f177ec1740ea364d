"""Pieces of the syntax tree, and what is known after a branch: helps `core.commands.shell` to read statements."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from homelab.core.commands.patterns import is_plain, match
from homelab.core.commands.words import UNKNOWN, Scope, Values, grouped

if TYPE_CHECKING:
    from homelab.core.commands.grammar import Node

_FEW = 6


def parts(node: "Node", redirects: Sequence["Node"]) -> tuple[list[list["Node"]], list[list["Node"]], list["Node"]]:
    """Of a simple command: its assignments, its words, and its redirections behind those it inherits."""
    assignments: list[list[Node]] = []
    words: list[list[Node]] = []
    found = [*redirects]
    for group in grouped(child for child in node.named_children if child.type != "comment"):
        first = group[0]
        if first.type == "variable_assignment":
            assignments.append([first, *(bare(part) for part in group[1:])])
        elif first.type.endswith("_redirect"):
            found += group
        else:
            words.append([bare(part) for part in group])
    # Words behind the file of a redirection belong to the command: `sort > OUT IN`.
    for redirect in found:
        if redirect.type == "file_redirect":
            words += redirect_words(redirect)[1:]
    return assignments, words, found


def redirect_words(node: "Node") -> list[list["Node"]]:
    return grouped(child for child in node.named_children if child.type != "file_descriptor")


def bare(node: "Node") -> "Node":
    return node.named_children[0] if node.type == "command_name" and node.named_children else node


def spine(node: "Node") -> list["Node"]:
    parts: list[Node] = []
    while node.type == "list" and len(node.named_children) >= 2:
        parts.append(node.named_children[-1])
        node = node.named_children[0]
    parts.append(node)
    return parts[::-1]


def join_scopes(scope: Scope, ends: Sequence[Scope]) -> None:
    """After a condition: what a variable may be is what it is at the end of any branch."""
    if not ends:
        return
    names = dict.fromkeys(name for end in ends for name in end.variables)
    for name in names:
        values = dict.fromkeys(v for end in ends for v in end.variables.get(name, scope.variables.get(name, ())))
        if values:
            scope.variables[name] = tuple(values)[:_FEW] if len(values) <= _FEW else UNKNOWN
    folders = {end.folder for end in ends}
    if len(folders) == 1:
        scope.folder = folders.pop()
    for end in ends:
        scope.functions.update(end.functions)
        scope.exported |= end.exported
        scope.descriptors.update(end.descriptors)


def fits(subject: Values, patterns: Sequence[str]) -> bool | None:
    """Whether a `case` takes a branch; None when that depends."""
    if len(subject) != 1 or not is_plain(subject[0]):
        return None
    # A pattern of `case` does not stop at a slash.
    return any(match(subject[0].replace("/", "|"), pattern.replace("/", "|")) for pattern in patterns)
