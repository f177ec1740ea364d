"""What an accepted "B needs A" becomes: one flow, or a condition between two flows. Pure.

Cron knows only times, so people wrote order as time: the dump at 02:00, its upload at 02:30. Two schedules are compared
by the instants they give over a year or more (clock changes included), never by their text:

* equal instants, or each of B's a little after one of A's (B only waited): B loses its time and follows A in A's flow;
* anything else: B keeps its time, and A's last success must be fresh enough at that time.

Nothing here adds an instant to a job or takes one away. Called by `cli.cronimport` with what the person accepted.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from homelab.core.jobs import When
from homelab.core.schedule import Schedule, interval_s, parse

LONGEST_WAIT_S = 3 * 3600
"""B waited for A when it is due at most so long after it. Beyond that the hour may have a reason of its own."""
_USUAL_SHARE = 0.95  # of the distances between A and B: the others are days on which the clock is changed
_SLACK = 1.1
_SLACK_S = 600.0
_DENSE = 300  # instants a day beyond which the usual interval says it as well as a year of instants


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When a job is due. `seed`: the job's name, for `~`."""

    schedule: str
    timezone: str = "UTC"
    seed: str = ""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`down` needs `up`. `rank`: when edges would close a circle, the one with the highest is left out."""

    up: str
    down: str
    when: When = "success"
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class Relation:
    """How the times of B lie to those of A. `lag_s`: the usual distance, for `same` (0) and `waits`.

    `apart`: no condition can be made of it, and `reason` says why.
    """

    kind: Literal["same", "waits", "differs", "apart"]
    lag_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What becomes of one job. `joins`: what it runs after, in one flow; it then has no time of its own.

    `fresh`: what must have succeeded within so many seconds; it then keeps its time. One of the two is empty.
    `respelled`: the same instants in the words of another job of its flow, which flows are made by.
    """

    joins: tuple[Edge, ...] = ()
    fresh: tuple[tuple[Edge, float], ...] = ()
    respelled: Timing | None = None


@dataclass(kw_only=True)
class Settlement:
    """Placements by job; `refused`: edges that were left out, with the reason, in order of their names."""

    placements: dict[str, Placement] = field(default_factory=dict[str, Placement])
    refused: list[tuple[Edge, str]] = field(default_factory=list[tuple[Edge, str]])


def settle(
    timings: Mapping[str, Timing],
    edges: Iterable[Edge],
    *,
    at: datetime,
    others: Iterable[tuple[str, str]] = (),
    fixed: Collection[str] = (),
) -> Settlement:
    """Decide all edges together. Their order does not matter; both ends of each are in `timings`.

    `others`: pairs (up, down) that hold already, also between jobs that are not in `timings`; with them too there must
    be no circle. `fixed`: jobs that keep their time in any case. `at` picks the year whose clock changes are looked at.
    """
    result = Settlement()
    downs: dict[str, set[str]] = {}
    for up, down in others:
        downs.setdefault(up, set()).add(down)
    taken: dict[tuple[str, str], Edge] = {}
    for edge in sorted(edges, key=lambda e: (e.rank, e.up, e.down, e.when)):
        if (edge.up, edge.down) in taken:
            continue
        if why_not := _why_not(edge, timings, downs, at):
            result.refused.append((edge, why_not))
            continue
        taken[edge.up, edge.down] = edge
        downs.setdefault(edge.up, set()).add(edge.down)
    flows = _Flows(timings)
    for down in _order({name for pair in taken for name in pair}, taken):
        above = [taken[pair] for pair in sorted(taken) if pair[1] == down]
        if above:
            result.placements[down] = _place(down, above, timings, flows, at, may_join=down not in fixed)
    for name, spelling in flows.spellings():
        if name not in result.placements:
            result.placements[name] = Placement(respelled=spelling)
    result.refused.sort(key=lambda pair: (pair[0].up, pair[0].down))
    return result


def _why_not(edge: Edge, timings: Mapping[str, Timing], downs: Mapping[str, set[str]], at: datetime) -> str:
    if edge.up == edge.down:
        return "it would need itself"
    if path := _path(downs, edge.down, edge.up):
        return "it would close a circle: " + " -> ".join([*path, edge.down])
    return relation(timings[edge.up], timings[edge.down], at=at).reason


def _path(downs: Mapping[str, set[str]], start: str, end: str) -> list[str]:
    """A way from `start` down to `end`, both included; empty when there is none."""
    trail: dict[str, str] = {start: ""}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name == end:
            path = [name]
            while trail[path[-1]]:
                path.append(trail[path[-1]])
            return path[::-1]
        for below in sorted(downs.get(name, ())):
            if below not in trail:
                trail[below] = name
                waiting.append(below)
    return []


def _order(names: set[str], taken: Mapping[tuple[str, str], Edge]) -> list[str]:
    """Each name after those it needs; among equals by name."""
    left = {name: {up for up, down in taken if down == name} for name in sorted(names)}
    ordered: list[str] = []
    while left:
        ready = [name for name, above in left.items() if not above & left.keys()]
        ordered += ready
        for name in ready:
            del left[name]
    return ordered


class _Flows:
    """Which jobs are one flow so far, and what a flow's first jobs look like."""

    def __init__(self, timings: Mapping[str, Timing]) -> None:
        self._timings = timings
        self._roots: dict[str, frozenset[str]] = {}  # each job: the jobs of its flow that keep a time
        self._conditional: set[str] = set()

    def roots(self, name: str) -> frozenset[str]:
        return self._roots.setdefault(name, frozenset({name}))

    def has_condition(self, roots: frozenset[str]) -> bool:
        return bool(roots & self._conditional)

    def add_condition(self, name: str) -> None:
        self._conditional.add(name)
        self.roots(name)

    def join(self, name: str, roots: frozenset[str]) -> None:
        for known, theirs in list(self._roots.items()):
            if theirs & roots:
                self._roots[known] = roots
        self._roots[name] = roots

    def spellings(self) -> Iterator[tuple[str, Timing]]:
        """Roots of one flow that say the same instants in other words than the first of them."""
        for roots in sorted(set(self._roots.values()), key=sorted):
            first = min(
                (self._timings[root] for root in roots), key=lambda t: (len(t.schedule), t.schedule, t.timezone)
            )
            for root in sorted(roots):
                here = self._timings[root]
                if (here.schedule, here.timezone) != (first.schedule, first.timezone):
                    yield root, Timing(schedule=first.schedule, timezone=first.timezone, seed=root)


def _place(
    down: str, above: Sequence[Edge], timings: Mapping[str, Timing], flows: _Flows, at: datetime, *, may_join: bool
) -> Placement:
    """In the flow of what it needs, when all of that is one flow or can be made one; else on its own time."""
    near = all(relation(timings[e.up], timings[down], at=at).kind in ("same", "waits") for e in above)
    roots = frozenset[str]().union(*(flows.roots(e.up) for e in above))
    if may_join and near and _is_one_time(roots, timings, at) and _may_merge(above, roots, flows):
        flows.join(down, roots)
        return Placement(joins=tuple(above))
    flows.add_condition(down)
    return Placement(fresh=tuple((e, window_s(timings[e.up], timings[down], at=at)) for e in above))


def _is_one_time(roots: frozenset[str], timings: Mapping[str, Timing], at: datetime) -> bool:
    """Whether the first jobs of these flows are due together. `~` has its own value for each job, in any words."""
    first, *rest = sorted(roots)
    return all(
        relation(timings[first], timings[other], at=at).kind == "same"
        and "~" not in timings[first].schedule + timings[other].schedule
        for other in rest
    )


def _may_merge(above: Sequence[Edge], roots: frozenset[str], flows: _Flows) -> bool:
    """A condition holds back its whole flow, so a flow that has one is not merged with jobs that do not wait for it."""
    return len({flows.roots(e.up) for e in above}) == 1 or not flows.has_condition(roots)


# --- two schedules ----------------------------------------------------------------------------------------------------


def relation(up: Timing, down: Timing, *, at: datetime) -> Relation:
    """How `down` lies to `up`. ScheduleError when one of the expressions is none."""
    return _relation(_schedule(up), _schedule(down), at.year)


def window_s(up: Timing, down: Timing, *, at: datetime) -> float:
    """How old the last success of `up` may be when `down` is due, in seconds, a whole number of minutes.

    Enough for the last run before; too little for the one before that, where the two can be told apart: half of the
    shortest interval on top of the longest wait. Never more than the longest interval and some slack. Days on which a
    clock is changed do not count: if both are due at one instant then, `down` waits for that run of `up`.
    """
    return _window_s(_schedule(up), _schedule(down), at.year)


@lru_cache(maxsize=4096)
def _parsed(schedule: str, timezone: str, seed: str) -> Schedule:
    return parse(schedule, timezone, seed=seed)


def _schedule(timing: Timing) -> Schedule:
    return _parsed(timing.schedule, timing.timezone, timing.seed if "~" in timing.schedule else "")


def _times_a_day(schedule: Schedule) -> int:
    return schedule.minutes.bit_count() * schedule.hours.bit_count()


def _fires(schedule: Schedule, year: int, *, days: int) -> Iterator[datetime]:
    start = datetime(year, 1, 1, tzinfo=UTC)
    end = start + timedelta(days=days)
    return itertools.takewhile(lambda fire: fire < end, schedule.fires(start))


def _horizon_days(*schedules: Schedule) -> int:
    """More than a year; four, with their leap day, where that is cheap."""
    return 400 if any(_times_a_day(s) > 24 for s in schedules) else 4 * 366


def _meaning(schedule: Schedule) -> tuple[object, ...]:
    s = schedule
    return (s.timezone, s.minutes, s.hours, s.days, s.months, s.weekdays, s.is_wildcard, s.either_day, s.is_reboot)


@lru_cache(maxsize=4096)
def _relation(up: Schedule, down: Schedule, year: int) -> Relation:
    if _meaning(up) == _meaning(down):
        return Relation(kind="same")
    if up.is_reboot or down.is_reboot:
        return Relation(kind="apart", reason="one of them runs when the machine starts, the other at given times")
    if next(_fires(up, year, days=4 * 366), None) is None or next(_fires(down, year, days=4 * 366), None) is None:
        return Relation(kind="apart", reason="one of them is not due within four years")
    lags, shortest_s = _lags(up, down, year)
    if lags.total() < 2:
        return Relation(kind="differs")
    (lag_s, count), *_ = lags.most_common(1)
    if set(lags) == {0.0}:
        return Relation(kind="same")
    if count >= _USUAL_SHARE * lags.total() and 0 < lag_s <= min(LONGEST_WAIT_S, shortest_s / 2):
        return Relation(kind="waits", lag_s=lag_s)
    return Relation(kind="differs")


def _lags(up: Schedule, down: Schedule, year: int) -> tuple[Counter[float], float]:
    """From each instant of `up` to the one of `down` before the next, and the shortest interval of `up`, in seconds.

    Empty as soon as there is not exactly one for each.
    """
    days = _horizon_days(up, down)
    ups = _fires(up, year, days=days)
    first = next(ups, None)
    lags: Counter[float] = Counter()
    shortest_s = float("inf")
    if first is None:
        return lags, shortest_s
    downs = itertools.dropwhile(lambda fire: fire < first, _fires(down, year, days=days + 40))
    own = next(downs, None)
    for here, following in itertools.pairwise(itertools.chain([first], ups)):
        after = next(downs, None)
        if own is None or after is None or not here <= own < following <= after:
            return Counter(), shortest_s
        lags[(own - here).total_seconds()] += 1
        shortest_s = min(shortest_s, (following - here).total_seconds())
        own = after
    return lags, shortest_s


@lru_cache(maxsize=4096)
def _window_s(up: Schedule, down: Schedule, year: int) -> float:
    start = datetime(year, 1, 1, tzinfo=UTC)
    usual_s = interval_s(up, start) or 0.0
    if max(_times_a_day(up), _times_a_day(down)) > _DENSE:
        return _rounded(usual_s * _SLACK + _SLACK_S)
    days = _horizon_days(up, down)
    # A year earlier: what is due first in this one has something before it.
    ups = itertools.chain(_fires(up, year - 1, days=days + 365), [datetime.max.replace(tzinfo=UTC)])
    before, following = None, next(ups)
    longest_s, gaps = 0.0, [float("inf"), 0.0]
    odd = _days_of_change(up.timezone, year, days) | _days_of_change(down.timezone, year, days)
    for due in _fires(down, year, days=days):
        while following < due:
            if before is not None:
                gap_s = (following - before).total_seconds()
                gaps = [min(gaps[0], gap_s), max(gaps[1], gap_s)]
            before, following = following, next(ups)
        if before is not None and due.date() not in odd:
            longest_s = max(longest_s, (due - before).total_seconds())
    bounds = [longest_s + gaps[0] / 2, max(gaps[1], usual_s, longest_s) * _SLACK + _SLACK_S]
    return _rounded(max(min(bounds), longest_s + 60))


@lru_cache(maxsize=64)
def _days_of_change(timezone: str, year: int, days: int) -> frozenset[date]:
    """Dates (UTC) around which the zone's clock is changed."""
    zone = ZoneInfo(timezone)
    noons = [datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(-1, days + 2)]
    offsets = [noon.astimezone(zone).utcoffset() for noon in noons]
    changed = [n for n in range(1, len(noons)) if offsets[n] != offsets[n - 1]]
    return frozenset(noons[n].date() + timedelta(days=near) for n in changed for near in (-1, 0, 1))


def _rounded(seconds: float) -> float:
    """Up to a length that reads well: whole minutes, then five minutes, then hours."""
    step = 60 if seconds < 2 * 3600 else 300 if seconds < 2 * 86400 else 3600
    return float(-(-seconds // step) * step)
