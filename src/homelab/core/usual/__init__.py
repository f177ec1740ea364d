"""What is usual for a job, learned from its history, and what is not: late, stuck, slow, silent, shrunken. Pure.

    habit = learn(runs)                       # the newest runs, the oldest first
    found = habit.observe(run)                # judge one more run, and learn from it
    found.slow                                # None, or an `Unusual` with its sentence
    stuck(habit, going_s=..., started=...)    # of a run that still goes on
    late(habit, waited_s=..., ...)            # of a run that has not started
    overdue(habit, now=...)                   # of a job that has not succeeded for long

Nothing is said before a job has `ENOUGH` runs behind it. `docs/explanation/what-is-usual.md` gives the reasons of the
rules. Called by `notify` for alerts and by `control` for what people look at; measured by `benchmarks understanding`.
"""

from homelab.core.usual.expecting import NOTHING_EXPECTED, Expected
from homelab.core.usual.habit import KEPT, Found, Habit, Run, first_failure, learn
from homelab.core.usual.series import ENOUGH, Level, Spread
from homelab.core.usual.verdicts import Unusual
from homelab.core.usual.waiting import late, late_limit_s, overdue, stuck, stuck_limit_s

__all__ = [
    "ENOUGH",
    "KEPT",
    "NOTHING_EXPECTED",
    "Expected",
    "Found",
    "Habit",
    "Level",
    "Run",
    "Spread",
    "Unusual",
    "first_failure",
    "late",
    "late_limit_s",
    "learn",
    "overdue",
    "stuck",
    "stuck_limit_s",
]
