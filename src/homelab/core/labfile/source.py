"""One file of a lab: its TOML values and the positions of them, with every syntax error and duplicate reported.

A statement that is not TOML is left out and the rest is read on, so that one typing mistake does not hide the others.
"""

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

from homelab.core.labfile.kinds import TextFloat
from homelab.core.labfile.positions import Path, Positions, Statement, TooDeepError, scan
from homelab.core.labfile.problems import At, Collector, Problem, shown

LARGEST: Final = 4 * 1024 * 1024
_ATTEMPTS: Final = 20
_HEADER: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)
_WHERE: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)\s*$")


@dataclass(frozen=True)
class Source:
    """`data` is empty when nothing could be read.

    `is_whole`: nothing that could define a job was left out. `partial`: tables (by the first two parts of their path)
    of which a setting was left out.
    """

    file: str
    positions: Positions
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    is_whole: bool = True
    partial: frozenset[Path] = frozenset()

    def at(self, collector: Collector, *path: str | int) -> At:
        return At(collector, self.file, self.positions, path)


def read_source(file: str, text: str, collector: Collector) -> Source:
    """Read one file. Never raises for bad text."""
    if len(text) > LARGEST:
        _report(
            collector,
            file,
            (1, 1),
            "syntax",
            "the file is larger than 4 MiB",
            "A lab file names programs; it does not hold their data.",
        )
        return Source(file, Positions(""), is_whole=False)
    try:
        positions = scan(text)
    except TooDeepError as deep:
        _report(
            collector,
            file,
            Positions(text).place(deep.offset),
            "syntax",
            "tables or lists are nested too deeply",
            "No setting needs more than a few levels.",
        )
        return Source(file, Positions(text), is_whole=False)
    left = _without_duplicates(file, text, positions, collector)
    is_whole, partial = True, set[Path]()
    for _ in range(_ATTEMPTS):
        try:
            data = tomllib.loads(left, parse_float=TextFloat)
        except (ValueError, RecursionError) as error:
            fault = _fault(left, positions, error)
            _report(collector, file, positions.place(fault.offset), fault.code, fault.message, fault.hint)
            removed = left[fault.start : fault.end]
            if not removed.strip():
                break
            is_whole = is_whole and not _HEADER.search(removed)
            partial.add(fault.path[:2])
            left = _blank(left, fault.start, fault.end)
        else:
            return Source(file, positions, data, is_whole, frozenset(partial))
    return Source(file, positions, is_whole=False)


def _report(collector: Collector, file: str, place: tuple[int, int], code: str, message: str, hint: str = "") -> None:
    collector.add(
        Problem(file=file, line=place[0], column=place[1], severity="error", code=code, message=message, hint=hint)
    )


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def _without_duplicates(file: str, text: str, positions: Positions, collector: Collector) -> str:
    again = [s for s in positions.statements if s.first is not None]
    if not again:
        return text
    headers = [s.start for s in positions.statements if s.is_header]
    pieces: list[str] = []
    done = 0
    for statement in again:
        if statement.start < done:
            continue  # inside a table that is left out already
        line = positions.place(statement.first or 0)[0]
        place = positions.place(statement.start)
        if not collector.is_full:
            _report(
                collector,
                file,
                place,
                "duplicate",
                f"{_called(statement)} is defined twice, first at line {line}",
                _duplicate_hint(statement),
            )
        end = statement.end
        if statement.is_header:
            end = _section_end(headers, statement, text)
        if end > done:
            start = max(done, statement.start)
            pieces += [text[done:start], re.sub(r"[^\n]", " ", text[start:end])]
            done = end
    return "".join([*pieces, text[done:]])


def _section_end(headers: list[int], header: Statement, text: str) -> int:
    """Where the table of a header ends: at the next header."""
    following = bisect_right(headers, header.start)
    return headers[following] if following < len(headers) else len(text)


def _called(statement: Statement) -> str:
    path = statement.path
    kinds = {"jobs": "job", "queues": "queue", "nodes": "node", "agents": "agent"}
    if statement.is_header:
        if len(path) == 2 and path[0] in kinds:
            return f"{kinds[str(path[0])]} {shown(str(path[1]))}"
        return f"the table {shown(dotted(path))}"
    return f"{shown(str(path[-1]))} in {shown(dotted(path[:-1]))}" if len(path) > 1 else shown(dotted(path))


def _duplicate_hint(statement: Statement) -> str:
    if statement.is_header:
        return "Rename or remove one of them."
    return "Keep one of the two lines."


def dotted(path: Path) -> str:
    """A path as one would write it in a header."""
    return ".".join(str(p) for p in path)


@dataclass(frozen=True)
class _Fault:
    """A syntax error: where and what it is, and the part of the text to leave out so that the rest can be read."""

    offset: int
    message: str
    hint: str
    start: int = 0
    end: int = 0
    path: Path = ()
    code: str = "syntax"


def _fault(text: str, positions: Positions, error: Exception) -> _Fault:
    said = str(error)
    match = _WHERE.search(said)
    if isinstance(error, RecursionError):
        return _Fault(0, "tables or lists are nested too deeply", "No setting needs more than a few levels.")
    if positions.unclosed is not None and text[positions.unclosed] != " ":
        around = _statement_at(positions, positions.unclosed)
        return _Fault(
            positions.unclosed,
            "this text of several lines is never closed",
            "End it with the same three quotes.",
            around.start,
            len(text),
            around.path,
        )
    if match is None:
        return _fault_without_place(text, positions, said)
    offset = positions.offset(int(match[1]), int(match[2])) if match[1] else len(text.rstrip())
    if (broken := _broken_before(text, positions, offset)) is not None:
        statement, opening = broken
        what = "list" if text[opening] == "[" else "table"
        hint = f"Is a comma or the closing {']' if what == 'list' else '}'} missing?"
        return _Fault(opening, f"this {what} is not complete", hint, statement.start, statement.end, statement.path)
    message = _safe(_WHERE.sub("", said) or "unexpected text")
    around = _statement_at(positions, offset)
    line_end = text.find("\n", offset)
    end = max(around.end, line_end if line_end >= 0 else len(text))
    if around.is_header:
        # Without its header, what follows would be read as part of the table before.
        end = max(end, _section_end([s.start for s in positions.statements if s.is_header], around, text))
    if message.startswith("cannot "):
        said = _conflict(positions, around)
        return _Fault(around.start, said, _duplicate_hint(around), around.start, end, around.path, "duplicate")
    return _Fault(offset, f"this is not TOML: {message}", _syntax_hint(text, offset), around.start, end, around.path)


def _conflict(positions: Positions, statement: Statement) -> str:
    """A statement that adds to what was complete before: which definition, and where."""
    for length in range(len(statement.path), 0, -1):
        first = positions.keys.get(statement.path[:length], statement.start)
        if first < statement.start:
            line = positions.place(first)[0]
            if length == len(statement.path):
                return f"{_called(statement)} is defined twice, first at line {line}"
            return f"{_called(statement)} cannot be added to what line {line} defines as a whole"
    return f"{_called(statement)} is defined twice"


def _fault_without_place(text: str, positions: Positions, said: str) -> _Fault:
    """An error that `tomllib` gives no place for: a number with more digits than Python converts."""
    digits = re.search(r"[0-9_]{1000,}", text)
    if digits is None:
        return _Fault(0, f"this is not TOML: {_safe(said)}", "See https://toml.io for the format.")
    around = _statement_at(positions, digits.start())
    end = max(around.end, digits.end())
    return _Fault(digits.start(), "a number has too many digits", "Shorten it.", around.start, end, around.path)


def _statement_at(positions: Positions, offset: int) -> Statement:
    """The last statement that begins at or before `offset`."""
    found = Statement((), 0, 0, False)
    for statement in positions.statements:
        if statement.start > offset:
            break
        found = statement
    return found


def _broken_before(text: str, positions: Positions, offset: int) -> tuple[Statement, int] | None:
    """The statement with an incomplete list or table that `offset` is in, or directly behind."""
    for statement in reversed(positions.statements):
        opening = positions.broken.get(statement.start)
        if statement.start > offset or opening is None:
            continue
        between = text[statement.end : max(offset, statement.end)]
        is_near = not re.sub(r"#[^\n]*", "", between).strip()
        return (statement, opening) if is_near and text[opening] != " " else None
    return None


def _safe(message: str) -> str:
    return shown(message[:1].lower() + message[1:], 120)[1:-1]


def _syntax_hint(text: str, offset: int) -> str:
    line = text[text.rfind("\n", 0, offset) + 1 :].split("\n", 1)[0]
    if re.match(r"\s*[A-Za-z0-9_.-]+\s*=\s*[A-Za-z*@/~]", line):
        return 'Text goes in quotes: name = "value".'
    if re.match(r"\s*[A-Za-z0-9_.-]+\s*:", line):
        return "TOML has name = value, not name: value."
    if line.count('"') % 2:
        return "A quote is missing."
    return "See https://toml.io for the format."
