"""What there is to say about lines of a crontab, and its collection. Called by `core.crontab.reader`."""

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class CronProblem:
    """Something about one line. `line` and `column` are 1-based; column counts characters of the line as it is.

    error: cron refuses the line. warning: accepted, but surely not meant, or different here. note: daemons differ.
    """

    line: int
    column: int = 1
    severity: Severity
    code: str
    message: str
    hint: str = ""


@dataclass(kw_only=True)
class Report:
    """Collects problems while a file is read."""

    found: list[CronProblem] = field(default_factory=list[CronProblem])
    said: set[str] = field(default_factory=set[str])

    def error(self, line: int, column: int, code: str, message: str, *, hint: str = "") -> None:
        self._add("error", line, column, code, message, hint)

    def warn(self, line: int, code: str, message: str, *, column: int = 1, hint: str = "") -> None:
        self._add("warning", line, column, code, message, hint)

    def note(self, line: int, code: str, message: str, *, column: int = 1, hint: str = "") -> None:
        self._add("note", line, column, code, message, hint)

    def once(self, line: int, code: str, message: str, *, hint: str = "") -> None:
        """A warning that holds for the whole file: said at the first line it shows."""
        if code not in self.said:
            self.said.add(code)
            self.warn(line, code, message, hint=hint)

    def problems(self) -> tuple[CronProblem, ...]:
        """By line, then column."""
        return tuple(sorted(self.found, key=lambda p: (p.line, p.column)))

    def _add(self, severity: Severity, line: int, column: int, code: str, message: str, hint: str) -> None:
        self.found.append(
            CronProblem(line=line, column=column, severity=severity, code=code, message=message, hint=hint)
        )


def shown(text: str) -> str:
    """A piece of the file, safe and short enough for a message."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= 40 else clean[:37] + "..."
