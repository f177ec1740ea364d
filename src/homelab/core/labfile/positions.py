"""Where each key and value of a TOML text stands, also in a text that is not quite TOML.

The values come from `tomllib`, which keeps no positions; this scanner reads the same text once more, linearly, and only
remembers offsets. It never raises on bad text: it skips to the next line. It refuses nesting beyond `DEEPEST`, so that
it must run before `tomllib`, whose work on a dotted key grows with the square of its parts.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

Path = tuple[str | int, ...]
DEEPEST: Final = 32

_BLANK: Final = re.compile(r"[ \t\r]*")
_SPACE: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_REST: Final = re.compile(r"[^\n]*")
_BARE_KEY: Final = re.compile(r"[^\s.=\[\]{}\"',#]+")
_BASIC: Final = re.compile(r'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"')
_LITERAL: Final = re.compile(r"'[^'\n]*'")
_BARE_VALUE: Final = re.compile(r"[^,\]}#\n]*")
_IN_LONG: Final = re.compile(r'\\[\s\S]|"""')
_ESCAPE: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|[^uUx])")
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}


class TooDeepError(Exception):
    """Tables, arrays or dotted keys nested beyond `DEEPEST`; `offset` says where."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


@dataclass(frozen=True)
class Statement:
    """One `[header]` or one `key = value`: its path, its extent, and whether an earlier one has the path."""

    path: Path
    start: int
    end: int
    is_header: bool
    first: int | None = None
    """Offset of the first definition when this is a second one, else None."""


@dataclass
class Positions:
    """Offsets of keys and values by path. A second definition of a path does not replace the first."""

    text: str
    keys: dict[Path, int] = field(default_factory=dict[Path, int])
    values: dict[Path, int] = field(default_factory=dict[Path, int])
    statements: list[Statement] = field(default_factory=list[Statement])
    unclosed: int | None = None
    """Where a multi-line string begins that the text never ends."""
    broken: dict[int, int] = field(default_factory=dict[int, int])
    """Start of a statement -> the bracket in it that is not closed, or whose content is not separated by commas."""

    def __post_init__(self) -> None:
        self._starts = [0, *(m.end() for m in re.finditer("\n", self.text))]
        self._last = len(self.text.rstrip()) if self.text.strip() else 0

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1. An offset after the last visible character is moved back to just behind it."""
        offset = max(0, min(offset, self._last))
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The inverse of `place`, for line and column of an error message; clamped to the text."""
        line = max(1, min(line, len(self._starts)))
        end = self._starts[line] - 1 if line < len(self._starts) else len(self.text)
        return min(self._starts[line - 1] + max(column, 1) - 1, end)

    def of_key(self, path: Path) -> tuple[int, int]:
        """Of the key (or header) that defines `path`, else of the nearest part of it that is there."""
        return self.place(self._nearest(path, self.keys, self.values))

    def of_value(self, path: Path) -> tuple[int, int]:
        """Of the value at `path`; of the header for a table; of the nearest parent that is there otherwise."""
        return self.place(self._nearest(path, self.values, self.keys))

    def inside(self, path: Path, index: int) -> tuple[int, int]:
        """Of character `index` of the string at `path`, exact for a plain one-line string, else of its start."""
        start = self.values.get(path)
        if start is None:
            return self.of_value(path)
        match = _BASIC.match(self.text, start) or _LITERAL.match(self.text, start)
        if match is None or self.text.startswith(('"""', "'''"), start) or "\\" in match[0]:
            return self.place(start)
        return self.place(start + 1 + max(0, min(index, len(match[0]) - 2)))

    def _nearest(self, path: Path, first: dict[Path, int], second: dict[Path, int]) -> int:
        while path:
            if path in first:
                return first[path]
            if path in second:
                return second[path]
            path = path[:-1]
        return 0


def scan(text: str) -> Positions:
    """Positions of everything in `text`. TooDeepError for nesting no lab file has."""
    found = Positions(text)
    _Scanner(found).run()
    return found


class _Scanner:
    def __init__(self, found: Positions) -> None:
        self.found = found
        self.text = found.text
        self.table: Path = ()
        self.statement = 0
        self.headers: dict[Path, int] = {}
        self.assigned: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}

    def run(self) -> None:
        at = 0
        while (at := _skip(_SPACE, self.text, at)) < len(self.text):
            at = self.header(at) if self.text[at] == "[" else self.assignment(at)
            if self.found.unclosed is not None:
                return

    def header(self, start: int) -> int:
        is_array = self.text.startswith("[[", start)
        parts, at = self.key(start + (2 if is_array else 1))
        end = _skip(_REST, self.text, at)
        if not parts:
            return end
        path = self.resolve(tuple(p for p, _ in parts), is_array=is_array)
        first = None if is_array else self.headers.setdefault(path, start)
        self.table = path
        for n in range(1, len(parts)):
            self.found.keys.setdefault(path[:n], start)
        self.found.keys.setdefault(path, parts[-1][1])
        self.found.values.setdefault(path, start)
        again = first if first is not None and first != start else None
        self.found.statements.append(Statement(path, start, end, True, again))
        return end

    def resolve(self, names: tuple[str, ...], *, is_array: bool) -> Path:
        """The path with the index of the current element wherever a part is an array of tables."""
        path: Path = ()
        for n, name in enumerate(names):
            path = (*path, name)
            if is_array and n == len(names) - 1:
                self.arrays[path] = self.arrays.get(path, -1) + 1
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return path

    def assignment(self, start: int) -> int:
        parts, at = self.key(start)
        if not parts or not self.text.startswith("=", at):
            end = _skip(_REST, self.text, start)
            self.found.statements.append(Statement(self.table, start, end, False))
            return end
        path = self.remember(self.table, parts)
        first = self.assigned.setdefault(path, start)
        self.statement = start
        at = self.value(_skip(_BLANK, self.text, at + 1), path, 1)
        end = _skip(_REST, self.text, at)
        self.found.statements.append(Statement(path, start, end, False, first if first != start else None))
        return end

    def remember(self, base: Path, parts: list[tuple[str, int]]) -> Path:
        path = base
        for name, offset in parts:
            path = (*path, name)
            self.found.keys.setdefault(path, offset)
        return path

    def key(self, at: int) -> tuple[list[tuple[str, int]], int]:
        """The parts of a dotted key with their offsets, and the offset of what follows; no parts when it is no key."""
        parts: list[tuple[str, int]] = []
        while True:
            at = _skip(_BLANK, self.text, at)
            if match := _BASIC.match(self.text, at):
                name = _unescape(match[0][1:-1])
            elif match := _LITERAL.match(self.text, at):
                name = match[0][1:-1]
            elif match := _BARE_KEY.match(self.text, at):
                name = match[0]
            else:
                return [], at
            parts.append((name, at))
            if len(parts) > DEEPEST:
                raise TooDeepError(at)
            at = _skip(_BLANK, self.text, match.end())
            if not self.text.startswith(".", at):
                return parts, at
            at += 1

    def value(self, at: int, path: Path, depth: int) -> int:
        """Remember the value at `at` and all inside it; the offset behind it."""
        if depth > DEEPEST:
            raise TooDeepError(at)
        self.found.values.setdefault(path, at)
        text = self.text
        if text.startswith(('"""', "'''"), at):
            return self.long_string(at)
        if text.startswith("[", at):
            return self.array(at, path, depth)
        if text.startswith("{", at):
            return self.inline_table(at, path, depth)
        for pattern in (_BASIC, _LITERAL):
            if match := pattern.match(text, at):
                return match.end()
        return _skip(_BARE_VALUE, text, at)

    def long_string(self, start: int) -> int:
        text, quote, at = self.text, self.text[start] * 3, start + 3
        while True:
            if quote == "'''":
                at = text.find(quote, at)
                at = at + 3 if at >= 0 else -1
            else:
                match = _IN_LONG.search(text, at)
                at = match.end() if match else -1
                if match and match[0] != quote:
                    continue
            if at < 0:
                self.found.unclosed = start
                return len(text)
            # Up to two more quotes belong to the string itself.
            extra = 0
            while extra < 2 and text.startswith(quote[0], at + extra):
                extra += 1
            return at + extra

    def array(self, start: int, path: Path, depth: int) -> int:
        at, index = start + 1, 0
        while (at := _skip(_SPACE, self.text, at)) < len(self.text) and self.text[at] != "]":
            behind = self.value(at, (*path, index), depth + 1)
            index += 1
            at = _skip(_SPACE, self.text, behind)
            if self.text.startswith(",", at):
                at += 1
            elif not self.text.startswith("]", at):
                return self.incomplete(start, behind)
        return at + 1 if at < len(self.text) else self.incomplete(start, at)

    def inline_table(self, start: int, path: Path, depth: int) -> int:
        at = start + 1
        while (at := _skip(_SPACE, self.text, at)) < len(self.text) and self.text[at] != "}":
            parts, behind = self.key(at)
            if not parts or not self.text.startswith("=", behind):
                return self.incomplete(start, behind)
            behind = self.value(_skip(_SPACE, self.text, behind + 1), self.remember(path, parts), depth + 1)
            at = _skip(_SPACE, self.text, behind)
            if self.text.startswith(",", at):
                at += 1
            elif not self.text.startswith("}", at):
                return self.incomplete(start, behind)
        return at + 1 if at < len(self.text) else self.incomplete(start, at)

    def incomplete(self, bracket: int, behind: int) -> int:
        self.found.broken.setdefault(self.statement, bracket)
        return behind


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _unescape(body: str) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] in "uUx":
            code = int(escape[1:], 16)
            return chr(code) if code <= 0x10FFFF else match[0]
        return _ESCAPES.get(escape, match[0])

    return _ESCAPE.sub(replace, body) if "\\" in body else body
