"""The habit of one job: how long it takes, how much it prints, how late it starts, how it ends. Pure.

A habit is learned by observing runs in their order; the same runs give the same habit. Memory is bounded: `KEPT`
values a quantity. Called by `notify.watcher` (one habit a job, fed by reports) and by `control` (learned from history).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from homelab.core.usual.expecting import NOTHING_EXPECTED, Expected
from homelab.core.usual.series import ENOUGH, KEPT, RELEARN, Level, Series, Shape, Spread
from homelab.core.usual.verdicts import Unusual, fewer, longer, shrunken, silent, slow

__all__ = ["KEPT", "Found", "Habit", "Run", "first_failure", "learn"]

OFTEN_S = 6 * 3600.0
"""A job that runs more often than this is told of after two unusual runs in a row: each single one is one of so many
that something odd is among them every week."""

TOOK = Shape(sign=1, near=3.5, far=6.0, near_times=2.0, far_times=2.5, least=10.0, offset=0.5)
PRINTED = Shape(sign=-1, near=3.5, far=6.0, near_times=2.5, far_times=4.0, least=200.0, offset=16.0)
STARTED = Shape(sign=1, near=3.5, far=6.0, near_times=2.0, far_times=3.0, least=60.0, offset=5.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One final attempt of a job. `ended`: Unix time. `took_s`, `output_bytes`: None where not known. `late_s`: from
    its instant to its start, None for a run by hand."""

    ended: float
    is_good: bool = True
    took_s: float | None = None
    output_bytes: int | None = None
    late_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a run that succeeded was, beside that. `settled`: kinds of which this run is the end: it is usual again.
    `learned`: kinds that end because the job has changed for good. A kind in no place stays as it is: one more odd
    run."""

    slow: Unusual | None = None
    silent: Unusual | None = None
    shrunken: Unusual | None = None
    settled: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()


_ALL_SETTLED = Found(settled=("slow", "silent", "shrunken"))
_NOTHING = Found()
_Judged = Unusual | Level | None
"""Worth telling; odd, and the next one tells; usual."""


class Habit:
    """See the module. `expected` may be changed at any time."""

    __slots__ = ("_ends", "_results", "_silences", "expected", "printed", "started", "took")

    def __init__(self, expected: Expected = NOTHING_EXPECTED) -> None:
        self.expected = expected
        self.took = Series(TOOK)
        self.printed = Series(PRINTED)
        self.started = Series(STARTED)
        self._ends: deque[float] = deque(maxlen=KEPT)
        self._results: deque[bool] = deque(maxlen=KEPT)
        self._silences = 0
        """Runs in a row that printed nothing, after runs that did."""

    @property
    def runs(self) -> int:
        """Runs that succeeded, of those remembered."""
        return len(self._ends)

    @property
    def ends(self) -> tuple[float, ...]:
        """When the runs that succeeded ended, the oldest first, as Unix times."""
        return tuple(self._ends)

    def failures(self) -> tuple[int, int]:
        """(failed, all) of the remembered results."""
        return len(self._results) - sum(self._results), len(self._results)

    @property
    def needed(self) -> int:
        """How many unusual runs in a row are news."""
        if len(self._ends) < 3:
            return 1
        return 2 if (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1) < OFTEN_S else 1

    def observe(self, run: Run) -> Found:
        """Judge a run by all before it, then learn from it."""
        self._results.append(run.is_good)
        if run.late_s is not None:
            self.started.observe(max(0.0, run.late_s), run.ended, needed=1)
        if not run.is_good:
            return _NOTHING
        needed = self.needed
        self._ends.append(run.ended)
        by_time = self._slow(run, needed)
        by_silence, by_size = self._quiet(run, needed)
        if by_time is None and by_silence is None and by_size is None:
            return _ALL_SETTLED
        found = {"slow": by_time, "silent": by_silence, "shrunken": by_size}
        told = {kind: one for kind, one in found.items() if isinstance(one, Unusual)}
        return Found(
            **told,
            settled=tuple(kind for kind, one in found.items() if one is None),
            learned=tuple(kind for kind, one in found.items() if one is Level.LEARNED),
        )

    def _slow(self, run: Run, needed: int) -> _Judged:
        if run.took_s is None:
            return None
        level = self.took.observe(run.took_s, run.ended, needed=needed)
        if self.expected.duration_s is not None:
            return longer(run.took_s, self.expected.duration_s)
        if level is Level.USUAL:
            return None
        usual = self.took.compared
        return slow(run.took_s, usual) if level is Level.UNUSUAL and usual else level

    def _quiet(self, run: Run, needed: int) -> tuple[_Judged, _Judged]:
        """Silent, shrunken."""
        printed = run.output_bytes
        if printed is None:
            return None, None
        before = self.printed.spread()
        if printed == 0 and before is not None and before.low > 0 and self.printed.third() > 0:
            more = 0 if before.smallest > 0 else 1  # it has been silent before, once or twice
            return self._expecting(0, self._silent(before, needed + more), None)
        if self._silences:
            self.printed.remember(0.0, run.ended)  # one of an episode: three episodes are a habit
            self._silences = 0
        level = self.printed.observe(float(printed), run.ended, needed=needed)
        usual = self.printed.compared
        if level is Level.USUAL or usual is None or printed == 0:
            return self._expecting(printed, None, None)
        return self._expecting(printed, None, shrunken(printed, usual) if level is Level.UNUSUAL else level)

    def _silent(self, before: Spread, needed: int) -> _Judged:
        """Of a run that printed nothing, where nearly each one remembered printed."""
        self._silences += 1
        if self._silences >= RELEARN:
            self._silences = 0
            self.printed.start_anew([])  # it was told, and it stays so: that is its habit now
            return Level.LEARNED
        return silent(before) if self._silences >= needed else Level.ODD

    def _expecting(self, printed: int, by_silence: _Judged, by_size: _Judged) -> tuple[_Judged, _Judged]:
        """The same, unless a person said what to expect."""
        least = self.expected.output_bytes
        if least is None:
            return by_silence, by_size
        told = fewer(printed, least)
        return (told, None) if printed == 0 else (None, told)


def learn(runs: Iterable[Run], *, expected: Expected = NOTHING_EXPECTED) -> Habit:
    """The habit that these runs, the oldest first, make."""
    habit = Habit(expected)
    for run in runs:
        habit.observe(run)
    return habit


def first_failure(habit: Habit) -> str:
    """A sentence for the failure observed last, where it is the only one remembered; "" otherwise."""
    failed, all_ = habit.failures()
    return f"It is the first failure in {all_} runs." if failed == 1 and all_ >= ENOUGH else ""
