"""One measured quantity of a job over its last runs, and whether one more value is usual. Pure.

Robust: values are compared on a logarithmic scale with the median and the median absolute deviation, so that a few odd
runs bend nothing. What has happened three times is usual, however far from the median. One odd run of a job that runs
every few minutes is no news; the second in a row is. Called by `habit`.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum
from math import exp, inf, log

KEPT = 100
"""Values remembered: three months of a nightly job."""
ENOUGH = 8
"""Values needed before anything is called unusual."""
RELEARN = 10
"""So many odd values in a row are the new usual: what was before is forgotten."""
_REFRESH = 12
"""The summary is made anew when this part (one in twelve) of the values is new."""
_FEW = 4
"""The fewer values are known, the further out the limits are: with 8 values by half, with 40 by a tenth."""
_SIGMA = 1.4826  # the standard deviation of a normal distribution, in median absolute deviations
_LEAST_SIGMA = 0.1
_DAY_S = 86400


class Level(Enum):
    """`ODD`: unusual if the next one is odd as well. `UNUSUAL`: worth telling. `LEARNED`: from now on it is usual."""

    USUAL = 0
    ODD = 1
    UNUSUAL = 2
    LEARNED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How one quantity is judged. `sign`: 1 when large values are bad, -1 when small ones are.

    `near`, `far`: robust standard deviations from the median, for two values in a row and for a single one;
    `near_times`, `far_times`: they also differ from the median by this factor. `least`: and by this amount.
    `offset`: added before the logarithm, in the quantity's own unit: below it differences mean nothing.
    """

    sign: int
    near: float
    far: float
    near_times: float
    far_times: float
    least: float
    offset: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """What is usual: `low` to `high` holds nine of ten values. `sigma` is on the logarithmic scale. `when`: "on this
    weekday", "at this hour", where only those were looked at."""

    count: int
    middle: float
    low: float
    high: float
    smallest: float
    largest: float
    sigma: float
    when: str = ""


class Series:
    """The last `KEPT` values. Odd ones are not among them, except one that came alone and was no news: trouble is not
    learned, unless it lasts, and then it is all that is remembered."""

    __slots__ = (
        "_bound",
        "_fresh",
        "_is_told",
        "_odd",
        "_returned",
        "_spread",
        "_told",
        "_values",
        "_watch",
        "compared",
        "shape",
    )

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._values: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._odd: list[tuple[float, float]] = []
        self._told: deque[float] = deque(maxlen=5)
        """The first values of the last episodes that were news."""
        self._is_told = False
        self._bound: float | None = None
        """After a change for good: what lies between the old and the new."""
        self._returned = 0
        self._spread: Spread | None = None
        self._fresh = 0
        self.compared: Spread | None = None
        """What the last odd value was compared with."""
        self._watch = inf
        """Only values beyond this need a closer look (times `sign`)."""

    def __len__(self) -> int:
        return len(self._values)

    def spread(self) -> Spread | None:
        """None while fewer than `ENOUGH` values are known."""
        if self._fresh * _REFRESH >= len(self._values) or self._spread is None:
            self._learn()
        return self._spread

    def observe(self, value: float, when: float, *, needed: int) -> Level:
        """Judge one more value and remember it. `when`: Unix time; `needed`: so many odd values in a row are news."""
        if self._fresh * _REFRESH >= len(self._values):
            self._learn()
        if value * self.shape.sign <= self._watch or (level := self.judge(value, when, needed=needed)) is Level.USUAL:
            if self._odd:
                self._end_episode()
            self._values.append((value, when))
            self._fresh += 1
            if self._bound is not None:
                self._look_back(value)
            return Level.USUAL
        self._odd.append((value, when))
        self._is_told = self._is_told or level is Level.UNUSUAL
        if len(self._odd) < RELEARN:
            return level
        self.start_anew(self._odd)
        return Level.LEARNED

    def start_anew(self, values: list[tuple[float, float]]) -> None:
        """Forget all but these: it has changed for good. Should it be as before for `RELEARN` runs in a row, these are
        forgotten in their turn."""
        before = self.spread()
        self._values.clear()
        self._values.extend(values)
        self._odd, self._is_told = [], False
        self._told.clear()
        self._learn()
        if before is not None:
            offset = self.shape.offset
            middle = _median(sorted(value for value, _ in values)) if values else 0.0
            self._bound = ((before.middle + offset) * (middle + offset)) ** 0.5 - offset
            self._returned = 0

    def _look_back(self, value: float) -> None:
        bound, sign = self._bound, self.shape.sign
        assert bound is not None
        self._returned = self._returned + 1 if (value - bound) * sign < 0 else 0
        if self._returned >= RELEARN:
            kept = [(one, at) for one, at in self._values if (one - bound) * sign < 0]
            self._values.clear()
            self._values.extend(kept)
            self._bound = None
            self._learn()

    def remember(self, value: float, when: float) -> None:
        """Count it among what is usual, whatever it is."""
        self._values.append((value, when))
        self._fresh += 1

    def _end_episode(self) -> None:
        first = self._odd[0]
        if self._is_told:
            self._told.append(first[0])
        else:
            self._values.append(first)
            self._fresh += 1
        self._odd.clear()
        self._is_told = False

    def judge(self, value: float, when: float, *, needed: int) -> Level:
        """What one more value would be, without remembering it. `compared` is then what it was compared with."""
        if self.spread() is None:
            return Level.USUAL
        shape, like = self.shape, self.like(when)
        if (value - self._limit(like, shape.near, shape.near_times)) * shape.sign <= 0:
            return Level.USUAL
        self.compared = like.spread
        if self._odd:
            return Level.UNUSUAL
        # Alone it must also be further out than everything remembered, and than what was told.
        reached = (
            max([like.spread.largest, *self._told]) if shape.sign > 0 else min([like.spread.smallest, *self._told])
        )
        reached = reached * 1.25 if shape.sign > 0 else reached / 1.25
        far = self._further(self._limit(like, shape.far, shape.far_times), reached)
        return Level.UNUSUAL if needed <= 1 and (value - far) * shape.sign > 0 else Level.ODD

    def third(self) -> float:
        """What was reached three times (or ever, as long as few are known): the third largest value, the smallest
        where small ones are bad; 0 without any."""
        return self._third([value for value, _ in self._values])

    def limit(self, when: float, sigmas: float, times: float) -> float:
        """So many robust deviations from the median of the runs like this one, at least `times` away, and beyond what
        was there three times. Asked only when there is a `spread`."""
        return self._limit(self.like(when), sigmas, times)

    def _limit(self, like: "_Like", sigmas: float, times: float) -> float:
        shape, spread = self.shape, like.spread
        away = max(sigmas * spread.sigma, log(times)) * (1 + _FEW / len(self._values))
        found = exp(log(spread.middle + shape.offset) + shape.sign * away) - shape.offset
        found = self._further(found, spread.middle + shape.sign * shape.least)
        if len(like.values) > 2:
            third = self._third(like.values)
            found = self._further(found, third * 1.1 if shape.sign > 0 else third / 1.1)
        return found

    def _third(self, values: list[float]) -> float:
        ordered = sorted(values, reverse=self.shape.sign > 0)
        return ordered[min(2, len(ordered) - 1)] if ordered else 0.0

    def _further(self, one: float, other: float) -> float:
        return max(one, other) if self.shape.sign > 0 else min(one, other)

    def like(self, when: float) -> "_Like":
        """What a run of this moment is compared with. Asked only when there is a `spread`.

        A weekday (for a job that runs once or twice a day) or an hour (for one that runs several times) is a habit of
        its own when it was there three times and all of its values lie on one side, far from the median of all. It is
        compared with itself, and the others with what is left.
        """
        spread, period = self.spread(), self._period()
        assert spread is not None
        everything = _Like(spread, [value for value, _ in self._values])
        if period is None:
            return everything
        slots: dict[int, list[float]] = {}
        for value, at in self._values:
            slots.setdefault(_slot(at, period), []).append(value)
        apart = {slot for slot, values in slots.items() if self._is_apart(values, spread)}
        if not apart:
            return everything
        own = _slot(when, period)
        if own in apart:
            said = "on this weekday" if period >= _DAY_S else "at this hour"
            mine = _spread_of(slots[own], self.shape.offset, when=said)
            return _Like(replace(mine, sigma=max(mine.sigma, spread.sigma)), slots[own])
        plain = [value for slot, values in slots.items() if slot not in apart for value in values]
        return _Like(_spread_of(plain, self.shape.offset), plain) if len(plain) >= ENOUGH else everything

    def _is_apart(self, values: list[float], spread: Spread) -> bool:
        offset, middle = self.shape.offset, log(spread.middle + self.shape.offset)
        away = max(3 * spread.sigma, log(1.5))
        return len(values) >= 3 and (
            log(min(values) + offset) > middle + away or log(max(values) + offset) < middle - away
        )

    def _period(self) -> float | None:
        """Seconds of a slot: a day for a job that runs at most twice a day, an hour for one that runs at most every
        half hour; None for others and for too short a history."""
        if len(self._values) < 3:
            return None
        gap = (self._values[-1][1] - self._values[0][1]) / (len(self._values) - 1)
        if gap >= 0.4 * _DAY_S:
            return _DAY_S
        return 3600 if gap >= 1500 else None

    def _learn(self) -> None:
        self._fresh = 0
        count = len(self._values)
        if count < ENOUGH:
            self._spread, self._watch = None, inf
            return
        shape = self.shape
        self._spread = _spread_of([value for value, _ in self._values], shape.offset)
        # What is nearer than this is usual in every season: no closer look is needed, which most values are spared.
        nearest = self._spread.low if shape.sign > 0 else self._spread.high
        away = exp(log(nearest + shape.offset) + shape.sign * log(shape.near_times)) - shape.offset
        self._watch = shape.sign * self._further(away, nearest + shape.sign * shape.least)


@dataclass(frozen=True, slots=True)
class _Like:
    """Runs that are compared with one another."""

    spread: Spread
    values: list[float]


def _spread_of(values: list[float], offset: float, *, when: str = "") -> Spread:
    """At least one value."""
    ordered = sorted(values)
    middle, last = _median(ordered), len(ordered) - 1
    centre = log(middle + offset)
    deviations = sorted([abs(log(value + offset) - centre) for value in ordered])
    return Spread(
        count=len(ordered),
        middle=middle,
        low=ordered[round(0.05 * last)],
        high=ordered[round(0.95 * last)],
        smallest=ordered[0],
        largest=ordered[-1],
        sigma=max(_LEAST_SIGMA, _SIGMA * _median(deviations)),
        when=when,
    )


def _median(ordered: list[float]) -> float:
    count = len(ordered)
    half = count // 2
    return ordered[half] if count % 2 else (ordered[half - 1] + ordered[half]) / 2


def _slot(when: float, period: float) -> int:
    return int(when // period) % (7 if period >= _DAY_S else 24)
