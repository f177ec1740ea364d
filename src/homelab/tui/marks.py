"""How a state looks on a terminal: a shape of one cell, its word, a tone. Also health, bars and sentences. Pure.

Words and tones are those of the console (`console.words`), so that a state is called the same everywhere.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from homelab.console import words
from homelab.tui.layout import Cell, Span, clean

SHAPES = {
    "check": "✓", "cross": "✗", "bolt": "↯", "clock": "◷", "slash": "⊘", "bar": "┃", "note": "!", "again": "↻",
    "turn": "▸", "dots": "…", "ring": "○", "stop": "■", "skip": "»", "pause": "‖",
}  # fmt: skip


def state(name: object) -> tuple[Span, ...]:
    """`✗ failed` in its tone."""
    mark = words.mark(name)
    return ((f"{SHAPES[mark.shape]} {clean(mark.word)}", mark.tone),)


def state_cell(name: object) -> Cell:
    return Cell(spans=state(name), sort=words.mark(name).word)


def health(states: Sequence[object], most: int) -> tuple[Span, ...]:
    """The newest `most` results as shapes, the newest on the right; success is a dot, so that the rest stands out."""
    marks = [words.mark(name) for name in reversed(states[:most])]
    made: list[Span] = []
    for tone, group in groupby(marks, key=lambda mark: mark.tone):
        made.append(("".join("·" if tone == "good" else SHAPES[mark.shape] for mark in group), tone))
    return tuple(made)


def progress(started: object, usual_s: float | None, now: datetime, cells: int) -> tuple[Span, ...]:
    """How far something is, against what is usual: a bar, the time it has run, the time it usually takes."""
    begun = words.moment(started)
    if begun is None:
        return (("not begun", "idle"),)
    ran = max(0.0, (now - begun).total_seconds())
    if not usual_s:
        return ((words.span(ran), ""),)
    done = min(1.0, ran / usual_s)
    full = round(done * cells)
    over = ran > 1.5 * usual_s
    told = f" {words.span(ran)} of about {words.span(usual_s)}"
    return (("━" * full, "warn" if over else "run"), ("─" * (cells - full), "idle"), (told, "warn" if over else ""))


def ago(at: object, now: datetime) -> str:
    """`3m ago`, `in 47s`, `now`; a dash for no time."""
    moment = words.moment(at)
    if moment is None:
        return "–"
    seconds = (now - moment).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if abs(seconds) >= size:
            count = f"{int(abs(seconds) // size)}{unit}"
            return f"{count} ago" if seconds > 0 else f"in {count}"
    return "now"


def ago_cell(at: object, now: datetime) -> Cell:
    moment = words.moment(at)
    return Cell(spans=((ago(at, now), ""),), sort=None if moment is None else moment.timestamp())


def took_s(row: dict[str, Any], now: datetime) -> float | None:
    """How long a row of the API ran, or has been running."""
    begun, ended = words.moment(row.get("started")), words.moment(row.get("ended"))
    if begun is None or (ended is None and row.get("state") != "running"):
        return None
    return max(0.0, ((ended or now) - begun).total_seconds())


def took_cell(row: dict[str, Any], now: datetime) -> Cell:
    seconds = took_s(row, now)
    return Cell(spans=(("–" if seconds is None else words.span(seconds), ""),), sort=seconds)
