"""What commands print: JSON, aligned tables, times and states for people; progress on standard error.

Data goes to stdout, the rest to stderr. Tables, colours and escape codes only on a terminal (`NO_COLOR` is honoured);
elsewhere the same rows are separated by tabs, for `cut` and `awk`. Text of jobs is made harmless before it is shown.
Nothing heavy is imported.
"""

import json
import os
import re
import shutil
import sys
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from homelab.worker import runlog

_COLOURS: Mapping[str, str] = {
    "succeeded": "32", "ready": "32", "ok": "32", "failed": "31", "timed_out": "31", "crashed": "31", "missed": "31",
    "late": "31", "failing": "31", "running": "33", "retrying": "33", "pending": "33", "blocked": "35",
    "cancelled": "2", "skipped": "2", "scheduled": "2", "paused": "2",
    "shadow": "2",
}  # fmt: skip
SPIN_AFTER_S = 2.0
"""Shorter waits need no excuse."""


def safe(text: str) -> str:
    """Text that a terminal shows and does not obey: what it would act on is made visible, as in logs."""
    return runlog.safe(text).encode("utf-8", "replace").decode()


def is_terminal(stream: TextIO | None = None) -> bool:
    return (stream or sys.stdout).isatty()


def short_id(run: str) -> str:
    """Enough of a run's id to type it back. Ids begin with their time, so the first group is shared by the runs of a
    minute; the third begins to be random."""
    return run[:18]


def has_colour(stream: TextIO | None = None) -> bool:
    """True when escape codes may be written there (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, codes: str, *, stream: TextIO | None = None) -> str:
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and has_colour(stream) else text


def state(name: str) -> str:
    """A state, in its colour where there are colours."""
    return painted(safe(name), _COLOURS.get(name, ""))


def json_document(body: object) -> None:
    """One JSON document on stdout. ASCII only, so that no terminal can be told anything by it."""
    sys.stdout.write(json.dumps(body, indent=2) + "\n")


def json_line(body: object) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


def line(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Something beside the data, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def moment(text: object) -> datetime | None:
    """A time of the API, aware; None for anything else."""
    if not isinstance(text, str) or not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def duration(seconds: float) -> str:
    """A length of time in at most two units: `4.2s`, `3m 5s`, `2h 10m`, `3d 4h`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for size, unit, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit} {rest}{small}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def relative(text: object, *, now: datetime) -> str:
    """A time as people say it: `3m ago`, `in 2h 10m`, `now`; `-` for none."""
    at = moment(text)
    if at is None:
        return "-"
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    said = duration(float(int(abs(seconds)))).replace(".0s", "s")
    return f"in {said}" if seconds > 0 else f"{said} ago"


def took(started: object, ended: object, *, now: datetime) -> str:
    """How long something ran, or has been running."""
    start = moment(started)
    return duration(max(0.0, ((moment(ended) or now) - start).total_seconds())) if start else "-"


def width(text: str) -> int:
    """Columns that text takes on a terminal: escape codes none, wide characters two, combining ones none."""
    plain = re.sub("\x1b\\[[0-9;]*m", "", text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "") -> None:
    """Aligned columns with a header on a terminal; elsewhere rows with tabs and no header."""
    made = [list(row) for row in rows]
    if not is_terminal():
        for row in made:
            line("\t".join(row))
        return
    if not made:
        note(empty)
        return
    for text in aligned(header, made, columns=shutil.get_terminal_size().columns):
        line(text)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, columns: int) -> list[str]:
    """The lines of a table. Only the last column is cut to fit."""
    head = [painted(name.upper(), "2") for name in header]
    widths = [max(width(row[i]) for row in (head, *rows)) for i in range(len(header))]
    lines: list[str] = []
    for row in (head, *rows):
        cells = [cell + " " * (widths[i] - width(cell)) for i, cell in enumerate(row[:-1])]
        room = columns - sum(widths[:-1]) - 2 * len(cells)
        last = row[-1]
        if width(last) > max(room, 12) and "\x1b" not in last:
            last = last[: max(room, 12) - 1] + "…"
        lines.append("  ".join([*cells, last]).rstrip())
    return lines


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    wide = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        line(f"{painted(name.ljust(wide), '2')}  {value}")


def text_of(value: Any) -> str:
    """Any value of an answer as one harmless line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, (int, float)):
        return str(value)
    return safe(json.dumps(value, ensure_ascii=False))


class progress:  # noqa: N801 - reads as what it is: `with progress("waiting")`
    """A spinner on stderr while something takes longer than two seconds; silent where stderr is no terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "progress":
        if is_terminal(sys.stderr):
            self._thread = threading.Thread(target=self._spin, daemon=True)
            self._thread.start()
        return self

    def say(self, what: str) -> None:
        self._what = what

    def _spin(self) -> None:
        if self._done.wait(SPIN_AFTER_S):
            return
        marks = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if (sys.stderr.encoding or "").lower().startswith("utf") else "|/-\\"
        step = 0
        while not self._done.wait(0.12):
            step += 1
            sys.stderr.write(f"\r\x1b[K{marks[step % len(marks)]} {safe(self._what)}")
            sys.stderr.flush()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(1)
