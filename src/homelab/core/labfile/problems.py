"""What is wrong with a lab file, and where: the value that `check`, `plan` and `apply` print.

Text from the file is never put into a message raw: `shown` cuts it and makes control characters visible.
"""

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from homelab.core.labfile.model import SecretUse
from homelab.core.labfile.positions import Path, Positions

Severity = Literal["error", "warning", "note"]

LIMIT: Final = 200
"""Problems kept for one lab. A file with more is not a lab file; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing to correct (error), to consider (warning) or to know (note). Line and column count from 1.

    `code` is stable, for programs; `message` says what, `hint` what to do.
    """

    file: str
    line: int
    column: int
    severity: Severity
    code: str
    message: str
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def shown(value: object, limit: int = 60) -> str:
    """`value` for a message, in single quotes: cut to `limit` characters, control characters escaped."""
    text = value if isinstance(value, str) else repr_short(value)
    cut = text[:limit]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return f"'{safe}{'...' if len(text) > limit else ''}'"


def repr_short(value: object) -> str:
    """A scalar as Python shows it; containers by their kind alone, since they may be large."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if not isinstance(value, int) or abs(value) < 1 << 80 else "a very large number"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like `name`, or an empty string when none is near."""
    candidates = [k for _, k in zip(range(1000), known, strict=False)]
    lowered = {k.lower(): k for k in reversed(candidates)}
    close = difflib.get_close_matches(name[:100].lower(), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else ""


class Collector:
    """Gathers problems in any order; `result` sorts them by file, line and column."""

    def __init__(self, files: Iterable[str]) -> None:
        self._order = {file: n for n, file in enumerate(files)}
        self._problems: list[Problem] = []
        self.dropped = 0
        self.secrets: list[SecretUse] = []

    @property
    def is_full(self) -> bool:
        return len(self._problems) >= LIMIT

    def add(self, problem: Problem) -> None:
        if problem.severity == "error" and self.is_full:
            self.dropped += 1
        elif len(self._problems) < 2 * LIMIT:
            self._problems.append(problem)

    @property
    def has_errors(self) -> bool:
        return any(p.severity == "error" for p in self._problems)

    def result(self) -> list[Problem]:
        return sorted(
            set(self._problems), key=lambda p: (self._order.get(p.file, 0), p.line, p.column, p.code, p.message)
        )


@dataclass(frozen=True)
class At:
    """A place in a file: where a value was read, and the way to report a problem with it."""

    collector: Collector
    file: str
    positions: Positions
    path: Path = ()

    def __truediv__(self, part: str | int) -> "At":
        return At(self.collector, self.file, self.positions, (*self.path, part))

    @property
    def line(self) -> int:
        return self.positions.of_key(self.path)[0]

    def error(self, code: str, message: str, hint: str = "", *, key: bool = False, inside: int | None = None) -> None:
        """Report an error at the value (or, with `key`, at the key; with `inside`, at that index of a string)."""
        self._report("error", code, message, hint, key=key, inside=inside)

    def warning(self, code: str, message: str, hint: str = "", *, key: bool = False, inside: int | None = None) -> None:
        self._report("warning", code, message, hint, key=key, inside=inside)

    def note(self, code: str, message: str, hint: str = "", *, key: bool = False) -> None:
        self._report("note", code, message, hint, key=key, inside=None)

    def names_secret(self, reference: str) -> None:
        """Note that this value refers to a secret."""
        line, column = self.positions.of_value(self.path)
        setting = ".".join(str(p) for p in self.path)
        self.collector.secrets.append(
            SecretUse(setting=setting, reference=reference, file=self.file, line=line, column=column)
        )

    def unknown(self, code: str, message: str, name: str, known: Iterable[str], otherwise: str = "") -> None:
        """An error at the value about a name that is not known, with the nearest known one as the hint."""
        close = "" if self.collector.is_full else nearest(name, known)
        self.error(code, message, f"Did you mean {shown(close)}?" if close else otherwise)

    def _report(self, severity: Severity, code: str, message: str, hint: str, *, key: bool, inside: int | None) -> None:
        if key:
            line, column = self.positions.of_key(self.path)
        elif inside is not None:
            line, column = self.positions.inside(self.path, inside)
        else:
            line, column = self.positions.of_value(self.path)
        self.collector.add(
            Problem(file=self.file, line=line, column=column, severity=severity, code=code, message=message, hint=hint)
        )
