"""Verdicts on what has not ended or not begun: stuck, late, overdue. Pure.

Called by `notify.rules` at every look, with the habit of the job.
"""

from datetime import UTC, datetime
from itertools import pairwise

from homelab.core.durations import span
from homelab.core.usual.habit import Habit
from homelab.core.usual.series import ENOUGH
from homelab.core.usual.verdicts import Unusual, spans

LATE_S = 60.0
_MOST_LATE_S = 300.0
_STUCK_TIMES = 3.0
_STUCK_SIGMAS = 8.0
_STUCK_MORE_S = 60.0


def stuck_limit_s(habit: Habit, when: float) -> float | None:
    """Seconds after which a run that goes on seems stuck; None while too little is known.

    Three times what is usual at its most, half as long again as the longest run remembered, far from the median, and
    a minute more than each.
    """
    if habit.expected.duration_s is not None:
        return _STUCK_TIMES * habit.expected.duration_s
    usual = habit.took.spread()
    if usual is None:
        return None
    often = habit.took.limit(when, _STUCK_SIGMAS, _STUCK_TIMES)
    return max(often, _STUCK_TIMES * habit.took.third(), 1.5 * usual.largest) + _STUCK_MORE_S


def stuck(habit: Habit, *, going_s: float, when: float) -> Unusual | None:
    """Of a run that has been going for `going_s` at `when` (Unix time)."""
    limit_s = stuck_limit_s(habit, when)
    if limit_s is None or going_s <= limit_s:
        return None
    usual = habit.took.spread()
    if habit.expected.duration_s is not None or usual is None:
        known = f"the lab file expects at most {span(habit.expected.duration_s or 0)}"
    else:
        known = f"usually it takes {spans(usual)}"
    return Unusual(
        kind="stuck", says="seems stuck", reason=f"It has been running for {span(going_s)} and goes on; {known}."
    )


def late_limit_s(habit: Habit | None, period_s: float | None) -> float:
    """Seconds after its instant when a run that has not started is late: a minute, or a tenth of the time between two
    runs where that is more, at most five minutes; and beyond that as much as the job usually waits."""
    if habit is not None and habit.expected.late_s is not None:
        return habit.expected.late_s
    least = max(LATE_S, min((period_s or 0.0) * 0.1, _MOST_LATE_S))
    return least if habit is None else max(least, least + 2 * habit.started.third())


def late(habit: Habit | None, *, waited_s: float, due_s: float, period_s: float | None) -> Unusual | None:
    """Of a run that has not started. `due_s`: seconds since its instant; `waited_s`: those that count (the lab was
    up)."""
    if waited_s <= late_limit_s(habit, period_s):
        return None
    usual = habit.started.spread() if habit is not None else None
    known = ""
    if usual is not None:
        known = f"; usually it starts within {span(max(1.0, usual.high))} ({usual.count} runs)"
    return Unusual(kind="late", says="is late", reason=f"It was due {span(due_s)} ago and has not started{known}.")


def overdue(habit: Habit, *, now: float, since: float = 0.0, known_from: float = 0.0) -> Unusual | None:
    """Of a job that succeeded at a steady pace and has not for much longer. `since`: time before it does not count (the
    lab was down); `known_from`: the pace before it does not (the job was another). Unix times."""
    ends = [end for end in habit.ends if end >= known_from]
    gaps = sorted(later - earlier for earlier, later in pairwise(ends))
    if len(gaps) < ENOUGH:
        return None
    middle, often, last = gaps[len(gaps) // 2], gaps[-3], ends[-1]
    if often > 4 * middle:
        return None  # it runs when somebody wants it to: no pace to be late by
    if now - max(last, since) <= 1.25 * often + max(60.0, min(0.25 * middle, 6 * 3600.0)):
        return None
    return Unusual(
        kind="late",
        says="has not succeeded for long",
        reason=f"It last succeeded {span(now - last)} ago ({datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%M} UTC);"
        f" usually it does every {span(middle)} ({len(gaps)} times).",
    )
