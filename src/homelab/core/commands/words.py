"""From the words of a shell text to what they can be when it runs: quotes, variables, globs, `$(date ...)`.

Nothing is run. A part that cannot be known becomes a pattern character. Called by `core.commands.shell`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from homelab.core.commands.grammar import MARK, text_of, written
from homelab.core.commands.patterns import ANY, DEEP, SOME, globbed, unset

if TYPE_CHECKING:
    from homelab.core.commands.grammar import Node

Values = tuple[str, ...]
UNKNOWN: Values = (DEEP,)
_MOST_VALUES = 12
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


@dataclass(kw_only=True)
class Scope:
    """What a shell knows at one point of a text.

    `variables`: name to the values it may have. `arguments`: `$1`, `$2`, ...; `folder`: the working folder, a pattern.
    `file`: the script, empty for the command itself; `name`: its `$0`. `descriptors`: files opened by `exec 9> FILE`.
    `place`: empty, or the far host or container that the commands run in.
    """

    variables: dict[str, Values] = field(default_factory=dict[str, Values])
    exported: set[str] = field(default_factory=set[str])
    arguments: tuple[Values, ...] = ()
    folder: str = "/"
    file: str = ""
    name: str = ""
    functions: dict[str, tuple["Node", str]] = field(default_factory=dict[str, tuple["Node", str]])
    descriptors: dict[int, str] = field(default_factory=dict[int, str])
    place: str = ""
    is_conditional: bool = False

    def copy(self) -> "Scope":
        """A subshell's: it sees all and changes nothing outside."""
        return Scope(
            variables=dict(self.variables),
            exported=set(self.exported),
            arguments=self.arguments,
            folder=self.folder,
            file=self.file,
            name=self.name,
            functions=dict(self.functions),
            descriptors=dict(self.descriptors),
            place=self.place,
            is_conditional=self.is_conditional,
        )

    def value(self, name: str) -> Values:
        """A variable, an argument or a special parameter. What is not set here comes from outside."""
        if name.isdigit():
            position = int(name)
            if position == 0:
                return (self.name,)
            return self.arguments[position - 1] if position <= len(self.arguments) else ("",)
        if name == "#":
            return (str(len(self.arguments)),)
        if name in ("@", "*"):
            return (" ".join(values[0] for values in self.arguments if values),)
        if name in self.variables:
            return self.variables[name]
        return UNKNOWN if name in ("?", "!", "-", "_") else (unset(name),)

    def is_known(self, name: str) -> bool:
        return name.isdigit() or name in ("#", "@", "*") or name in self.variables


@dataclass(frozen=True, kw_only=True)
class Expander:
    """`substitute`: what `$(...)` prints. `unique`: what `$$` is."""

    substitute: Callable[["Node", Scope], Values]
    unique: str

    def words(self, node: "Node", scope: Scope) -> list[Values]:
        """The words that one written word becomes: none, one, or several (`$LIST`, `"$@"`, `{a,b}`)."""
        inner = node.named_children[0] if node.type == "string" and len(node.named_children) == 1 else node
        is_expansion = inner.type in ("simple_expansion", "expansion")
        if is_expansion and text_of(node).strip('"') in ("$@", "$*", "${@}", "${*}"):
            return list(scope.arguments)
        values = self.values(node, scope)
        if node.type in ("simple_expansion", "expansion", "command_substitution") and len(values) == 1:
            return [(part,) for part in values[0].split()]
        if node.type in ("concatenation", "word", "brace_expression") and any(
            _BRACES.search(value) for value in values
        ):
            return [(one,) for value in values for one in _braces(value)][:_MOST_VALUES]
        return [values]

    def words_of(self, group: Sequence["Node"], scope: Scope) -> list[Values]:
        """The words of nodes that stand together without a blank, which is one written word."""
        return self.words(group[0], scope) if len(group) == 1 else [self.values_of(group, scope)]

    def values_of(self, group: Sequence["Node"], scope: Scope) -> Values:
        return joined([self.values(node, scope) for node in group])

    def values(self, node: "Node", scope: Scope) -> Values:
        """What a word can be; at least one pattern."""
        kind = node.type
        if kind in ("word", "extglob_pattern", "variable_name", "number", "special_variable_name", "regex"):
            return (self._plain(text_of(node), scope),)
        if kind == "string":
            return self._joined(node, scope, skips=('"',))
        if kind in ("concatenation", "command_name"):
            return self._joined(node, scope, skips=())
        if kind == "raw_string":
            return (text_of(node)[1:-1],)
        if kind == "ansi_c_string":
            return (re.sub(r"\\(.)", r"\1", text_of(node)[2:-1]),)
        if kind == "translated_string":
            return self._joined(node, scope, skips=('"', "$"))
        if kind == "string_content":
            return (re.sub(r'\\([$`"\\])', r"\1", text_of(node).replace("\\\n", "")),)
        if kind == "simple_expansion":
            return (self.unique,) if _name_of(node) == "$" else scope.value(_name_of(node))
        if kind == "expansion":
            return self._expansion(node, scope)
        if kind == "command_substitution":
            return self.substitute(node, scope)
        if kind == "array":
            parts = [part[0] for child in node.named_children for part in self.words(child, scope)]
            return (" ".join(parts),)
        if kind == "brace_expression":
            return (ANY,)
        if not node.is_named:
            return (text_of(node),)
        return UNKNOWN

    def _joined(self, node: "Node", scope: Scope, *, skips: tuple[str, ...]) -> Values:
        """The children one after the other, with the blanks between them that the tree leaves out."""
        data = node.text or b""
        parts: list[Values] = []
        end = node.start_byte
        for child in node.children:
            if child.start_byte > end:
                gap = data[end - node.start_byte : child.start_byte - node.start_byte]
                parts.append((written(gap.decode("utf-8", "replace")),))
            end = child.end_byte
            if child.is_named or child.type not in skips:
                parts.append(self.values(child, scope))
        return joined(parts)

    def _plain(self, text: str, scope: Scope) -> str:
        text = text.replace("\\\n", "")
        if text.startswith("~") and (found := re.match(r"~([A-Za-z0-9_.-]*)(?=/|$)", text)):
            text = self._home(found[1], scope) + text[found.end() :]
        if "\\" in text:
            return "".join(globbed(p) if n % 2 == 0 else p[1:] for n, p in enumerate(re.split(r"(\\.)", text)))
        return globbed(text)

    def _home(self, user: str, scope: Scope) -> str:
        if not user:
            return scope.value("HOME")[0]
        return "/root" if user == "root" else f"/home/{user}"

    # --- ${...} -------------------------------------------------------------------------------------------------------

    def _expansion(self, node: "Node", scope: Scope) -> Values:
        name = _name_of(node)
        text = text_of(node)
        if not name or text.startswith("${!"):
            return UNKNOWN
        if text.startswith("${#"):
            return scope.value("#") if name == "#" else UNKNOWN
        operator, operand = self._operator(node, scope)
        if operand == (MARK,):
            return (self.unique,) if name == "$" else scope.value(name)
        if operator in (":-", "-", ":=", "="):
            is_set = scope.is_known(name) and scope.value(name) != ("",)
            values = scope.value(name) if is_set else operand
            if operator in (":=", "="):
                scope.variables[name] = values
            return values
        if operator in (":+", "+"):
            return operand if scope.is_known(name) and scope.value(name) != ("",) else ("",)
        values = tuple(value.split(" ")[0] if "[" in text and "[@]" not in text and "[*]" not in text else value
                       for value in scope.value(name))  # fmt: skip
        if operator in (None, ":?", "?"):
            return values
        return _limited(_changed(value, operator, operand[0]) for value in values)

    def _operator(self, node: "Node", scope: Scope) -> tuple[str | None, Values]:
        """The operator of `${name operator operand}` and the values of its operand."""
        after_name = False
        operator: str | None = None
        operands: list[Values] = []
        for child in node.children:
            if child.type in ("variable_name", "special_variable_name", "subscript") and not after_name:
                after_name = True
            elif child.type == "}":
                break
            elif after_name and operator is None:
                operator = text_of(child)
            elif operator is not None:
                operands.append(self.values(child, scope))
        return operator, joined(operands)


def grouped(nodes: Iterable["Node"]) -> list[list["Node"]]:
    """Nodes by written word. tree-sitter-bash takes some words apart, such as one with backticks in its middle."""
    groups: list[list[Node]] = []
    for node in nodes:
        if groups and groups[-1][-1].end_byte == node.start_byte:
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _name_of(node: "Node") -> str:
    for child in node.children:
        if child.type == "subscript" and child.named_children:
            return text_of(child.named_children[0])
        if child.type in ("variable_name", "special_variable_name"):
            return text_of(child)
    return ""


def _changed(value: str, operator: str, operand: str) -> str:
    """What `%`, `##`, `/` and their like make of a value."""
    if operator in ("%", "%%"):
        return _without_end(value, operand, longest=operator == "%%")
    if operator in ("#", "##"):
        return _without_start(value, operand, longest=operator == "##")
    if operator in ("/", "//") and "/" in operand and operand[0] not in (ANY, DEEP):
        old, _, new = operand.partition("/")
        return value.replace(old, new) if old else value
    if operator in (",", ",,", "^", "^^") and value.isascii():
        return value.lower() if operator[0] == "," else value.upper()
    return DEEP


def _without_end(value: str, pattern: str, *, longest: bool) -> str:
    if pattern.endswith((ANY, DEEP)) and (mark := pattern[:-1]) and ANY not in mark and DEEP not in mark:
        at = value.find(mark) if longest else value.rfind(mark)
        return value[:at] if at >= 0 else value
    pattern = pattern.replace("\\", "")
    if value.endswith(pattern):
        return value[: len(value) - len(pattern)]
    return value


def _without_start(value: str, pattern: str, *, longest: bool) -> str:
    if pattern.startswith((ANY, DEEP)) and (mark := pattern[1:]) and ANY not in mark and DEEP not in mark:
        at = value.rfind(mark) if longest else value.find(mark)
        return value[at + len(mark) :] if at >= 0 else value
    return value.removeprefix(pattern.replace("\\", ""))


def _braces(value: str) -> Iterable[str]:
    """`a{b,c}d` as its words, at most a few."""
    waiting, done = [value], list[str]()
    while waiting and len(done) + len(waiting) <= _MOST_VALUES:
        text = waiting.pop(0)
        found = _BRACES.search(text)
        if found is None:
            done.append(text)
        else:
            waiting += [text[: found.start()] + part + text[found.end() :] for part in found[1].split(",")]
    return [*done, *waiting]


def joined(parts: list[Values]) -> Values:
    """All ways to put one of each together; unknown when there are too many."""
    # An unknown beginning can be any path; an unknown part of a name stays in that name.
    parts = [(SOME,) if number and part == UNKNOWN else part for number, part in enumerate(parts)]
    count = 1
    for part in parts:
        count *= len(part)
    if count > _MOST_VALUES:
        parts = [part if len(part) == 1 else (SOME,) for part in parts]
    return _limited("".join(one) for one in product(*parts))


def _limited(values: Iterable[str]) -> Values:
    return tuple(dict.fromkeys(value[:4096] for value in values)) or ("",)
