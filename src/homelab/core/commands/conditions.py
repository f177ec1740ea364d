"""`[ ... ]`, `[[ ... ]]` and `test`: how they come out where the text alone says it, and the files they ask for.

Called by `core.commands.shell` and, for `test` written as a word, by `core.commands.programs`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from homelab.core.commands.grammar import text_of
from homelab.core.commands.patterns import is_plain
from homelab.core.commands.words import Expander, Scope, Values

if TYPE_CHECKING:
    from homelab.core.commands.grammar import Node

_ASKS = frozenset({"-f", "-e", "-s", "-r", "-d", "-h", "-L", "-w"})
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}


def outcome(node: "Node", scope: Scope, expander: Expander) -> bool | None:
    """Whether a test is true; None when that is known only when it runs."""
    kind = node.type
    named = [child for child in node.named_children if child.type != "comment"]
    if kind in ("test_command", "parenthesized_expression"):
        return outcome(named[0], scope, expander) if len(named) == 1 else None
    if kind == "unary_expression":
        operator = text_of(node.children[0])
        if operator == "!":
            found = outcome(named[-1], scope, expander)
            return None if found is None else not found
        values = expander.values(named[-1], scope)
        return of_unary(operator, values)
    if kind == "binary_expression" and len(named) >= 2:
        operator = next((text_of(c) for c in node.children if not c.is_named or c.type == "test_operator"), "")
        if operator in ("&&", "||", "-a", "-o"):
            sides = [outcome(named[0], scope, expander), outcome(named[-1], scope, expander)]
            return _both(sides) if operator in ("&&", "-a") else _either(sides)
        return of_binary(operator, expander.values(named[0], scope), expander.values(named[-1], scope))
    return None


def of_unary(operator: str, values: Values) -> bool | None:
    if operator not in ("-z", "-n") or len(values) != 1 or not is_plain(values[0]):
        return None
    return (values[0] == "") == (operator == "-z")


def of_binary(operator: str, left: Values, right: Values) -> bool | None:
    if len(left) != 1 or len(right) != 1 or not is_plain(left[0]) or not is_plain(right[0]):
        return None
    if operator in _COMPARISONS:
        return _COMPARISONS[operator](left[0], right[0])
    if operator in _NUMBERS and left[0].isdigit() and right[0].isdigit():
        return _NUMBERS[operator](int(left[0]), int(right[0]))
    return None


def tested_paths(node: "Node", scope: Scope, expander: Expander) -> Iterator[tuple[str, bool]]:
    """Files that a test asks for, with whether a folder is meant. `-x` asks for a program and is left out."""
    if node.type == "unary_expression":
        operator = text_of(node.children[0])
        if operator in _ASKS and node.named_children:
            for value in expander.values(node.named_children[-1], scope):
                yield value, operator == "-d"
            return
    elif node.type == "binary_expression" and any(text_of(c) in ("-nt", "-ot") for c in node.children):
        for child in (node.named_children[0], node.named_children[-1]):
            for value in expander.values(child, scope):
                yield value, False
        return
    for child in node.named_children:
        if child.type in ("unary_expression", "binary_expression", "parenthesized_expression", "test_command"):
            yield from tested_paths(child, scope, expander)


def of_words(words: Sequence[Values]) -> tuple[bool | None, list[tuple[str, bool]]]:
    """The same for `test` as a plain command: its outcome and the files it asks for."""
    asked = [(value, word[0] == "-d") for word, following in pairwise(words) if word[0] in _ASKS for value in following]
    if len(words) == 2:
        return of_unary(words[0][0], words[1]), asked
    if len(words) == 3:
        return of_binary(words[1][0], words[0], words[2]), asked
    return None, asked


def _both(sides: Sequence[bool | None]) -> bool | None:
    return False if False in sides else None if None in sides else True


def _either(sides: Sequence[bool | None]) -> bool | None:
    return True if True in sides else None if None in sides else False
