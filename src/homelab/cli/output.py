"""What commands print: JSON, aligned tables, times and states for people; progress and hints on standard error.

Data goes to stdout, the rest to stderr. On a terminal tables are aligned and times relative; elsewhere the same rows
are separated by tabs with exact times and seconds, for `cut` and `awk`. Text of jobs is made harmless before it is
shown. Nothing heavy is imported.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from homelab.cli import bars, tables
from homelab.cli.tables import aligned, width
from homelab.cli.terminal import can_move, columns, has_colour, is_terminal, is_unicode
from homelab.core.jobs import FAILURES

__all__ = ["aligned", "has_colour", "is_terminal", "is_unicode", "width"]

_COLOURS: Mapping[str, str] = {
    "succeeded": "32", "ready": "32", "ok": "32", "sent": "32", "failed": "31", "timed_out": "31", "crashed": "31",
    "missed": "31", "late": "31", "failing": "31", "fail": "31",
    "warn": "33", "skip": "2", "running": "33", "retrying": "33", "pending": "33", "blocked": "35",
    "cancelled": "2", "skipped": "2", "scheduled": "2", "paused": "2",
    "shadow": "2",
    "unreachable": "31", "draining": "33", "drained": "33", "asleep": "2", "stopped": "2",
}  # fmt: skip
SPIN_AFTER_S = 2.0
"""Shorter waits need no excuse."""
RUNS_WIDE, RUNS_NARROW = 30, 10
"""Runs that a row of marks shows, and in a list on a terminal of less than `WIDE` columns."""
WIDE = 110


def safe(text: str) -> str:
    """Text that a terminal shows and does not obey: what it would act on is made visible, as in logs."""
    from homelab.worker import runlog  # not for completion, which shows nothing and must be quick

    return runlog.safe(text).encode("utf-8", "replace").decode()


def short_id(run: str) -> str:
    """Enough of a run's id to type it back. Ids begin with their time, so the first group is shared by the runs of a
    minute; the third begins to be random."""
    return run[:18]


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


def warn(word: str, text: str, *, colour: str = "33") -> None:
    """`word: text` on stderr, the word painted; on a terminal wrapped to it."""
    said = f"{word}: {text}"
    if is_terminal(sys.stderr):
        from textwrap import wrap

        said = "\n  ".join(wrap(said, max(20, columns() - 2), break_long_words=False, break_on_hyphens=False))
    note(painted(word, colour, stream=sys.stderr) + said[len(word) :])


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


def roughly(seconds: float) -> str:
    """A length of time in one unit, fine enough to be of use: `42 s`, `119 min`, `47 h`, `12 d`."""
    for limit, size, unit in ((120, 1, "s"), (120 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86400)} d"


def relative(text: object, *, now: datetime) -> str:
    """A time as people say it: `3 min ago`, `in 2 h`, `now`; `-` for none."""
    at = moment(text)
    if at is None:
        return "-"
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {roughly(seconds)}" if seconds > 0 else f"{roughly(-seconds)} ago"


def when(text: object, *, now: datetime) -> str:
    """A time for a table: relative on a terminal, else as the API gives it."""
    return relative(text, now=now) if is_terminal() else str(text or "-")


_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


def said(sentence: str, *, now: datetime) -> str:
    """A sentence of the API with its times as a person reads them, in the zone of this terminal."""

    def local(found: "re.Match[str]") -> str:
        at = moment(found[0])
        return found[0] if at is None else f"{at.astimezone():%Y-%m-%d %H:%M} ({relative(found[0], now=now)})"

    return _STAMP.sub(local, sentence) if is_terminal() else sentence


def took(started: object, ended: object, *, now: datetime) -> str:
    """How long something ran, or has been running: in words on a terminal, else in seconds, `-` while it runs."""
    start, end = moment(started), moment(ended)
    if start is None:
        return "-"
    if is_terminal():
        return duration(max(0.0, ((end or now) - start).total_seconds()))
    return "-" if end is None else f"{max(0.0, (end - start).total_seconds()):.3f}"


def runs_bar(states: Sequence[str], durations_s: Sequence[float | None], *, most: int = RUNS_WIDE) -> str:
    """The last runs as a row of marks, the newest at the right end; both given the newest first."""
    marks = bars.bar(states[:most], durations_s[:most], unicode=is_unicode())
    codes = {"succeeded": "32", "missed": "35", "blocked": "35"} | dict.fromkeys(FAILURES, "1;31")
    return "".join(painted(mark, codes.get(state_, "2")) for mark, state_ in reversed(marks))


def filled_bar(lab: float, others: float, total: float, *, wide: int = 10) -> str:
    """How full something is: by the lab, by other programs, free."""
    held, other, free = bars.filled(lab, others, total, wide=wide, unicode=is_unicode())
    return painted(held, "36") + painted(other, "33") + painted(free, "2")


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    empty: str = "",
    optional: Sequence[str] = (),
    whole: Collection[str] = (),
) -> None:
    """Aligned columns with a header on a terminal; elsewhere rows with tabs and no header. A narrow terminal is not
    given the `optional` columns, and cuts others but those that are `whole`."""
    made = [[cell.replace("\t", " ") for cell in row] for row in rows]  # a tab of a job's is no end of a column
    if not is_terminal():
        for row in made:
            line("\t".join(row))
        return
    if not made:
        note(empty)
        return
    # A column that says nothing is none; elsewhere it keeps its place.
    told = [i for i in range(len(header)) if any(row[i] for row in made)]
    made = [[row[i] for i in told] for row in made]
    head = [painted(header[i].upper(), "2") for i in told]
    optional, whole = ([name for name in names if header.index(name) in told] for names in (optional, whole))
    mark = "…" if is_unicode() else ">"
    for text in tables.aligned(head, made, columns=columns(), optional=optional, whole=whole, mark=mark):
        line(text)


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


def hint(text: str) -> None:
    """The next command a person may want, on stderr; only where both the answer and the hint are looked at on a
    terminal, not with `--quiet` or `HOMELAB_HINTS=0`."""
    if is_terminal() and is_terminal(sys.stderr) and os.environ.get("HOMELAB_HINTS") != "0":
        note(painted(f"{'→' if is_unicode(sys.stderr) else '->'} {text}", "2", stream=sys.stderr))


class progress:  # noqa: N801 - reads as what it is: `with progress("waiting")`
    """A spinner on stderr while something takes longer than two seconds; silent where stderr is no terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "progress":
        if can_move(sys.stderr):
            self._thread = threading.Thread(target=self._spin, daemon=True)
            self._thread.start()
        return self

    def say(self, what: str) -> None:
        self._what = what

    def _spin(self) -> None:
        if self._done.wait(SPIN_AFTER_S):
            return
        marks = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if is_unicode(sys.stderr) else "|/-\\"
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
