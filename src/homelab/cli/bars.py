"""Bars of the terminal: the last runs of a job as a row of marks, and how full a machine is. Pure.

A run that succeeded is a bar as high as it took against the usual: three eighths are usual, so that one twice as long
stands out and noise does not. One that failed is a cross; the others have a small mark of their own.
"""

from collections.abc import Sequence

from homelab.core.capacity import cells

HEIGHTS, PLAIN_HEIGHTS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
USUAL = 2
"""The place in the heights of a run that took as long as they mostly do."""
MOMENT_S = 0.5
"""Added to every time: what takes a moment is not now three times as slow, it is as quick as always."""
MARKS = {
    "failed": "✗", "timed_out": "✗", "crashed": "✗",
    "missed": "!", "blocked": "!",
    "skipped": "·", "cancelled": "·",
}  # fmt: skip
_PLAIN = {"✗": "x", "·": "'"}
FILLS, PLAIN_FILLS = "█▒░", "#=."
"""What the lab holds, what other programs hold, what is free: they differ without colours too."""


def filled(lab: float, others: float, total: float, *, wide: int, unicode: bool = True) -> tuple[str, str, str]:
    """A bar of `wide` cells as its three parts (`core.capacity.cells`)."""
    marks = FILLS if unicode else PLAIN_FILLS
    first, second = cells((lab, others), total, wide)
    return marks[0] * first, marks[1] * second, marks[2] * (wide - first - second)


def height(took_s: float, usual_s: float) -> int:
    """0 to 7: the place in `HEIGHTS` of a run that took so long."""
    against = (took_s + MOMENT_S) / (usual_s + MOMENT_S)
    return max(0, round(min(len(HEIGHTS), (USUAL + 1) * against)) - 1)


def bar(states: Sequence[str], durations_s: Sequence[float | None], *, unicode: bool = True) -> list[tuple[str, str]]:
    """(mark, state) of each run, in the order given. Both sequences are of one length; a duration may be None."""
    good = sorted(d for s, d in zip(states, durations_s, strict=True) if s == "succeeded" and d is not None)
    usual_s = good[len(good) // 2] if good else 0.0
    heights = HEIGHTS if unicode else PLAIN_HEIGHTS
    marks: list[tuple[str, str]] = []
    for state, took_s in zip(states, durations_s, strict=True):
        mark = MARKS.get(state, "")
        if not mark:
            mark = heights[USUAL if took_s is None else height(took_s, usual_s)]
        marks.append((mark if unicode else _PLAIN.get(mark, mark), state))
    return marks
