"""One file of a lab: its TOML values and the positions of them, with every syntax error and duplicate reported.

A statement that is not TOML is left out and the rest is read on, so that one typing mistake does not hide the others.
"""

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any, Final

from homelab.core.labfile.kinds import TextFloat
from homelab.core.labfile.positions import Path, Positions, Statement, TooDeepError, scan
from homelab.core.labfile.problems import At, Collector, Problem, shown

LARGEST: Final = 4 * 1024 * 1024
_ATTEMPTS: Final = 20
_WHERE: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)\s*$")


@dataclass(frozen=True)
class Source:
    """`data` is empty when nothing could be read. `is_whole` is false when a statement had to be left out."""

    file: str
    positions: Positions
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    is_whole: bool = True

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
    for _ in range(_ATTEMPTS):
        try:
            data = tomllib.loads(left, parse_float=TextFloat)
        except (ValueError, RecursionError) as error:
            shorter = _without_error(file, left, positions, collector, error)
            if shorter == left:
                break
            left = shorter
        else:
            return Source(file, positions, data, is_whole=not collector.has_code("syntax", file))
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
            end = next((h for h in headers if h > statement.start), len(text))
        if end > done:
            start = max(done, statement.start)
            pieces += [text[done:start], re.sub(r"[^\n]", " ", text[start:end])]
            done = end
    return "".join([*pieces, text[done:]])


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


def _without_error(file: str, text: str, positions: Positions, collector: Collector, error: Exception) -> str:
    """Report a syntax error; the text without the statement it is in (unchanged when it cannot be found)."""
    if isinstance(error, RecursionError):
        _report(
            collector,
            file,
            (1, 1),
            "syntax",
            "tables or lists are nested too deeply",
            "No setting needs more than a few levels.",
        )
        return text
    said = str(error)
    match = _WHERE.search(said)
    message = (_WHERE.sub("", said) or "this is not TOML").replace("\n", " ")
    if positions.unclosed is not None:
        start = next((s.start for s in reversed(positions.statements) if s.start <= (positions.unclosed or 0)), 0)
        _report(
            collector,
            file,
            positions.place(positions.unclosed),
            "syntax",
            "this text of several lines is never closed",
            "End it with the same three quotes.",
        )
        return _blank(text, start, len(text))
    if match is None:
        digits = re.search(r"[0-9_]{1000,}", text)
        place = positions.place(digits.start() if digits else 0)
        message = "a number has too many digits" if digits else _safe(message)
        _report(collector, file, place, "syntax", message, "See https://toml.io for the format.")
        return _blank(text, digits.start(), digits.end()) if digits else text
    offset = positions.offset(int(match[1]), int(match[2])) if match[1] else len(text.rstrip())
    _report(
        collector,
        file,
        positions.place(offset),
        "syntax",
        f"this is not TOML: {_safe(message)}",
        _syntax_hint(text, offset),
    )
    start, end = _statement_around(text, positions, offset)
    return _blank(text, start, end)


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


def _statement_around(text: str, positions: Positions, offset: int) -> tuple[int, int]:
    """The extent of the last statement that begins at or before `offset`, at least to the end of its line."""
    start = 0
    end = 0
    for statement in positions.statements:
        if statement.start > offset:
            break
        start, end = statement.start, statement.end
    line_end = text.find("\n", offset)
    return start, max(end, line_end if line_end >= 0 else len(text))
