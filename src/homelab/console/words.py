"""How values are said and which mark they get: times, spans, sizes, states. Pure; the same words on every page."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from homelab.worker.runlog import safe


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A state is told three times: by `shape` (a symbol of the base page), by `word`, by `tone` (a colour)."""

    shape: str
    word: str
    tone: str


MARKS: dict[str, Mark] = {
    "succeeded": Mark(shape="check", word="succeeded", tone="good"),
    "ready": Mark(shape="check", word="ready", tone="good"),
    "sent": Mark(shape="check", word="sent", tone="good"),
    "failed": Mark(shape="cross", word="failed", tone="bad"),
    "crashed": Mark(shape="bolt", word="crashed", tone="bad"),
    "timed_out": Mark(shape="clock", word="timed out", tone="bad"),
    "stuck": Mark(shape="clock", word="stuck", tone="bad"),
    "service": Mark(shape="bolt", word="lab", tone="bad"),
    "error": Mark(shape="cross", word="error", tone="bad"),
    "unreachable": Mark(shape="bolt", word="unreachable", tone="bad"),
    "late": Mark(shape="clock", word="late", tone="warn"),
    "missed": Mark(shape="slash", word="missed", tone="warn"),
    "blocked": Mark(shape="bar", word="blocked", tone="warn"),
    "slow": Mark(shape="clock", word="slow", tone="warn"),
    "silent": Mark(shape="slash", word="silent", tone="warn"),
    "shrunken": Mark(shape="slash", word="shrunken", tone="warn"),
    "lab": Mark(shape="note", word="lab", tone="warn"),
    "warning": Mark(shape="note", word="warning", tone="warn"),
    "degraded": Mark(shape="note", word="degraded", tone="warn"),
    "retrying": Mark(shape="again", word="retrying", tone="warn"),
    "running": Mark(shape="turn", word="running", tone="run"),
    "starting": Mark(shape="turn", word="starting", tone="run"),
    "pending": Mark(shape="dots", word="pending", tone="idle"),
    "queued": Mark(shape="dots", word="queued", tone="idle"),
    "scheduled": Mark(shape="ring", word="scheduled", tone="idle"),
    "cancelled": Mark(shape="stop", word="cancelled", tone="idle"),
    "skipped": Mark(shape="skip", word="skipped", tone="idle"),
    "suppressed": Mark(shape="skip", word="suppressed", tone="idle"),
    "stopped": Mark(shape="stop", word="stopped", tone="idle"),
    "external": Mark(shape="ring", word="external", tone="idle"),
    "paused": Mark(shape="pause", word="paused", tone="idle"),
    "shadow": Mark(shape="skip", word="in shadow", tone="idle"),
    "note": Mark(shape="note", word="note", tone="idle"),
    "draining": Mark(shape="bar", word="draining", tone="warn"),
    "drained": Mark(shape="bar", word="drained", tone="warn"),
    "asleep": Mark(shape="pause", word="asleep", tone="idle"),
    "done": Mark(shape="check", word="done", tone="good"),
    "expired": Mark(shape="bolt", word="given up", tone="bad"),
    "removed": Mark(shape="bolt", word="given up", tone="bad"),
    "evicted": Mark(shape="stop", word="stopped for others", tone="warn"),
    "released": Mark(shape="skip", word="taken back", tone="idle"),
}
NOTHING = Mark(shape="ring", word="no runs", tone="idle")


def mark(state: object) -> Mark:
    """The mark of a state; an unknown one is shown by its own name."""
    name = str(state or "")
    if not name:
        return NOTHING
    return MARKS.get(name) or Mark(shape="ring", word=name.replace("_", " "), tone="idle")


def moment(value: object) -> datetime | None:
    """A time as control gives it (a datetime or ISO text), aware, in UTC; None for anything else."""
    if isinstance(value, str) and value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def span(seconds: float) -> str:
    """`0.4 s`, `42 s`, `7m 05s`, `3h 05m`, `2d 4h`: two units at most, of even width in a column."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def ago(at: datetime, now: datetime) -> str:
    """`12 s ago`, `in 4 min`, `3 d ago`, `now`."""
    seconds = (now - at).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if abs(seconds) >= size:
            count = int(abs(seconds) // size)
            return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"
    return "now"


def size(amount: float | None) -> str:
    """`512 B`, `12.4 kB`, `3.1 MB`; a dash for None."""
    if amount is None:
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount:.0f} B"


def short(text: object, most: int = 60) -> str:
    """Text of any length and content on one line: control characters and overrides made visible, the rest cut."""
    raw = str(text)
    shown = safe(raw[: most + 1].replace("\n", " "))
    return f"{shown[:most]}…" if len(raw) > most else shown


def shown(text: object, most: int = 2000) -> str:
    """A sentence or a longer text, line ends kept, made safe and cut."""
    raw = str(text)
    lines = [safe(line) for line in raw[:most].split("\n")]
    return "\n".join(lines) + ("…" if len(raw) > most else "")


_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?(?:Z|\+00:00)")


def stamps(text: str) -> str:
    """The times in a sentence of the API as people write them: `2026-05-01 02:00 UTC`."""
    return _STAMP.sub(r"\1 \2 UTC", text)


_OF_A_NODE = re.compile(r"[\w.-]+: ")


def sentence(text: str) -> str:
    """A reason as a sentence of its own. One that begins with the name of a machine stays as it is everywhere."""
    return text if _OF_A_NODE.match(text) else f"{text[:1].upper()}{text[1:]}."


_WORST_FIRST = ("bad", "warn", "run", "idle", "good")


def tally(states: Iterable[object]) -> list[tuple[Mark, int]]:
    """(mark, how many) of the states that occur, the worst first."""
    found = Counter(mark(state) for state in states)
    return sorted(found.items(), key=lambda pair: (_WORST_FIRST.index(pair[0].tone), -pair[1], pair[0].word))


def counted(count: int, thing: str, things: str = "") -> str:
    """`1 job`, `3 jobs`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {things or thing + 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b and 4 more`."""
    cut = [short(name, 40) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(cut)} and {len(names) - most} more"
    return cut[0] if len(cut) == 1 else ", ".join(cut[:-1]) + " and " + cut[-1] if cut else ""


def asked_about(jobs: Sequence[Mapping[str, Any]], wanted: str | None) -> Mapping[str, Any]:
    """Of the jobs of a run (one or more, as the API gives them) the one that a person most likely asks about: the one
    named, else what failed, else what runs, else the last that did something."""
    for job in jobs:
        if job["job"] == wanted:
            return job
    for state in ("failed", "timed_out", "crashed", "running", "retrying"):
        for job in jobs:
            if job["state"] == state:
                return job
    return next((job for job in reversed(jobs) if job["started"]), jobs[0])
