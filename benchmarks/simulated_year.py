"""A year of the 46 jobs of the example lab in virtual time, with faults put in on purpose: how many are named, how many
alarms are false. Everything is judged by `core.usual`, as the running lab does it.

What is assumed, per job and drawn from a seed (`World` varies it):

* durations are lognormal (sigma 0.08 to 0.3): frequent jobs take 0.1 s to 40 s, hourly ones up to 3 min, others up to
  40 min; a quarter of the rare ones are heavier on one weekday, a fifth on the first of the month; one job grows to
  three times its duration over the year; between 2 and 3 at night everything is up to half as slow again;
* output: a sixth of the jobs never print, a sixth is sometimes silent, a fifth prints the same each time, the others
  lognormal (sigma up to 0.4), a third of those growing to twice over the year;
* one run in 3000 (400 of a rare job) takes 1.5 to 5 times as long, or prints that much less, for no reason;
* runs start within seconds, one in 500 up to 20 s late; two of the nightly jobs wait minutes for their turn.

Faults: `late` starts 10 minutes or more (half a period, for rare jobs) after its instant, or does not come at all;
`stuck` hangs; `slow` takes 3 to 8 times as long (a short job: half a minute to a minute more), for some runs or for
good; `silent` and `shrunken` (to 2 to 20 %) last 2 to 20 runs. None is put where nothing could be known: in the first
25 runs of a job, nearer than 25 to another fault, `shrunken` in a job that prints less than 1 kB, `silent` in one
that does not always print.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from homelab.core import labfile, schedule
from homelab.core.jobs import Flow
from homelab.core.usual import Habit, Run, late, overdue, stuck

LAB = Path(__file__).parents[1] / "examples" / "reference-lab" / "lab.toml"
START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("late", "stuck", "slow", "silent", "shrunken")
EACH = 12
"""Faults of each kind in a year."""
_DAY_S = 86400.0


@dataclass(frozen=True, kw_only=True)
class World:
    """What is varied. `tail`: degrees of freedom of Student's t in place of the normal (0: normal). `bimodal`: this
    share of the rare jobs does a full run, 10 to 30 times as long, every seventh time (`is_weekly`: on Sundays).
    `outliers`: times as many odd runs. `mild`: slow faults are only so many times as long, at most."""

    tail: float = 0.0
    bimodal: float = 0.0
    is_weekly: bool = True
    outliers: float = 1.0
    sigma: float = 1.0
    mild: float = 8.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How one simulated job behaves."""

    name: str
    period_s: float
    timeout_s: float | None
    middle_s: float
    sigma: float
    prints: str
    middle_bytes: float
    output_sigma: float
    silent_share: float = 0.0
    heavy_day: int = -1
    heavy: float = 1.0
    month: float = 1.0
    full: float = 1.0
    is_full_weekly: bool = True
    growth: float = 1.0
    output_growth: float = 1.0
    waits_s: float = 0.0

    @property
    def is_rare(self) -> bool:
        return self.period_s >= 12 * 3600


@dataclass(frozen=True, kw_only=True)
class Fault:
    """From run number `at` on, for `runs` of them."""

    kind: str
    at: int
    runs: int
    amount: float


@dataclass(kw_only=True)
class Score:
    """`seeded`, `named` by kind; `false` alarms by kind; `runs` judged; `days` simulated."""

    seeded: Counter[str] = field(default_factory=Counter[str])
    named: Counter[str] = field(default_factory=Counter[str])
    false: Counter[str] = field(default_factory=Counter[str])
    runs: int = 0
    days: float = 0.0

    def add(self, other: "Score") -> None:
        self.seeded.update(other.seeded)
        self.named.update(other.named)
        self.false.update(other.false)
        self.runs += other.runs
        self.days += other.days

    @property
    def share(self) -> float:
        return self.named.total() / max(1, self.seeded.total())

    @property
    def false_a_month(self) -> float:
        return self.false.total() / (self.days / 30.4)


def simulate(seed: int, world: World = World(), *, days: int = 365, most_runs: int = 10**9) -> Score:
    """One year. `most_runs`: a job that runs more often ends when it has run so often (for quick tests)."""
    chance = random.Random(seed)
    flows, timeouts = _flows()
    shapes = [shape for flow, period_s in flows for shape in _shapes(flow, period_s, timeouts, chance, world)]
    grows = chance.randrange(len(shapes))
    shapes[grows] = replace(shapes[grows], growth=3.0)
    counts = {shape.name: min(most_runs, int(days * _DAY_S / shape.period_s)) for shape in shapes}
    faults = _faults(shapes, counts, chance, world)
    score = Score(days=days)
    due_of: dict[str, list[float]] = {}
    for flow, period_s in flows:
        wanted = min(most_runs, int(days * _DAY_S / period_s))
        due_of[flow.name] = _dues(flow, wanted)
        for job in flow.jobs:
            shape = next(s for s in shapes if s.name == job.name)
            of_job = faults.get(job.name, [])
            _live(shape, due_of[flow.name], of_job, random.Random(f"{seed} {job.name}"), world, score)
    return score


def _flows() -> tuple[list[tuple[Flow, float]], dict[str, float | None]]:
    lab, problems = labfile.parse({"lab.toml": LAB.read_text()}, main="lab.toml")
    assert lab is not None, problems
    found = [(flow, _period_s(flow)) for flow in lab.flows if flow.schedule]
    return found, {job.name: job.timeout_s for job in lab.jobs}


def _period_s(flow: Flow) -> float:
    first, second, *_ = list(islice(schedule.parse(flow.schedule or "", "UTC").fires(START), 3))
    return (second - first).total_seconds()


def _dues(flow: Flow, count: int) -> list[float]:
    return [due.timestamp() for due in islice(schedule.parse(flow.schedule or "", "UTC").fires(START), count)]


def _shapes(
    flow: Flow, period_s: float, timeouts: dict[str, float | None], chance: random.Random, world: World
) -> Iterator[Shape]:
    for job in flow.jobs:
        is_rare = period_s >= 12 * 3600
        low, high = (20.0, 2400.0) if is_rare else (2.0, 180.0) if period_s >= 1800 else (0.1, 40.0)
        kind = chance.choices(("none", "sometimes", "constant", "varied"), (1, 1, 1.2, 2.8))[0]
        is_full = is_rare and chance.random() < world.bimodal
        middle_bytes = _between(chance, 1000, 200_000) if kind == "varied" else _between(chance, 30, 5000)
        timeout_s = timeouts[job.name]
        yield Shape(
            name=job.name,
            period_s=period_s,
            timeout_s=timeout_s if timeout_s and timeout_s < 300 else None,
            middle_s=_between(chance, low, high),
            sigma=world.sigma * chance.uniform(0.08, 0.3),
            prints=kind,
            middle_bytes=middle_bytes,
            output_sigma=world.sigma * chance.uniform(0.05, 0.4),
            silent_share=chance.uniform(0.05, 0.6),
            heavy_day=chance.randrange(7) if is_rare and chance.random() < 0.25 else -1,
            heavy=chance.uniform(1.5, 3),
            month=chance.uniform(1.5, 4) if is_rare and chance.random() < 0.2 else 1.0,
            full=chance.uniform(10, 30) if is_full else 1.0,
            is_full_weekly=world.is_weekly,
            output_growth=2.0 if chance.random() < 0.33 else 1.0,
            waits_s=chance.uniform(120, 300) if flow.jobs[0] is job and job.name in ("dump-app", "dump-memory") else 0,
        )


def _between(chance: random.Random, low: float, high: float) -> float:
    return math.exp(chance.uniform(math.log(low), math.log(high)))


def _faults(shapes: list[Shape], counts: dict[str, int], chance: random.Random, world: World) -> dict[str, list[Fault]]:
    placed: dict[str, list[Fault]] = {}
    for kind in KINDS:
        fit = [shape for shape in shapes if _can(kind, shape) and counts[shape.name] > 60]
        for _ in range(EACH):
            for _try in range(200):
                shape = chance.choice(fit)
                at = chance.randrange(25, counts[shape.name] - 5)
                fault = _fault(kind, at, shape, chance, world)
                if all(at + fault.runs + 25 < f.at or f.at + f.runs + 25 < at for f in placed.get(shape.name, [])):
                    placed.setdefault(shape.name, []).append(fault)
                    break
    return {name: sorted(faults, key=lambda f: f.at) for name, faults in placed.items()}


def _can(kind: str, shape: Shape) -> bool:
    match kind:
        case "stuck":
            return shape.timeout_s is None
        case "slow":
            return shape.timeout_s is None
        case "silent":
            return shape.prints in ("constant", "varied")
        case "shrunken":
            return shape.prints == "varied"
        case _:
            return True


def _fault(kind: str, at: int, shape: Shape, chance: random.Random, world: World) -> Fault:
    runs = chance.randint(2, 20)
    match kind:
        case "slow":
            is_for_good = chance.random() < 0.2
            return Fault(kind=kind, at=at, runs=40 if is_for_good else runs, amount=_between(chance, 3.0, world.mild))
        case "shrunken":
            return Fault(kind=kind, at=at, runs=runs, amount=_between(chance, 0.02, 0.2))
        case "late":
            is_absent = chance.random() < 0.3
            delay_s = min(0.5 * shape.period_s, 6 * 3600.0) * chance.uniform(0.5, 1.5)
            return Fault(kind=kind, at=at, runs=3 if is_absent else 1, amount=0 if is_absent else max(600.0, delay_s))
        case "stuck":
            return Fault(kind=kind, at=at, runs=1, amount=max(12 * 3600.0, 3 * shape.period_s))
        case _:
            return Fault(kind=kind, at=at, runs=runs, amount=0)


def _live(
    shape: Shape, dues: list[float], faults: list[Fault], chance: random.Random, world: World, score: Score
) -> None:
    """All runs of one job."""
    habit = Habit()
    told: set[str] = set()
    waiting = list(faults)
    fault: Fault | None = None
    named = False
    origin = dues[0]
    for fault_ in faults:
        score.seeded[fault_.kind] += 1

    def tell(kind: str, number: int) -> None:
        """An alarm at this run: of the fault that goes on (or ended with the run before), or a false one."""
        nonlocal named
        told.add(kind)
        if fault is None or number > fault.at + fault.runs:
            score.false[kind] += 1
        elif not named and number <= fault.at + 1 and (kind == fault.kind or {kind, fault.kind} <= _ALIKE):
            named = True
            score.named[fault.kind] += 1

    for number, due in enumerate(dues):
        if waiting and number >= waiting[0].at:
            fault, named = waiting.pop(0), False
        active = fault if fault is not None and number < fault.at + fault.runs else None
        kind = active.kind if active else ""
        share = (due - origin) / (365 * _DAY_S)
        late_s = chance.lognormvariate(-2, 0.7)
        if chance.random() < 0.002:
            late_s += chance.uniform(1, 20)
        if shape.waits_s:
            late_s += shape.waits_s * chance.uniform(0.5, 1.5)
        if active and kind == "late":
            if active.amount == 0:  # it does not come; somebody looks at the clock until it does
                looked = due + min(shape.period_s, 3600.0)
                if "late" not in told and overdue(habit, now=max(looked, due + 0.99 * shape.period_s)):
                    tell("late", number)
                continue
            late_s = active.amount
        if "late" not in told and late_s > 60 and late(habit, waited_s=late_s, due_s=late_s, period_s=shape.period_s):
            tell("late", number)
        took_s = _took(shape, due, share, chance, world)
        if active and kind == "slow":
            took_s = took_s * active.amount if shape.middle_s >= 10 else took_s + 15 + 7 * active.amount
        printed = _printed(shape, share, chance, world)
        if active and kind == "silent":
            printed = 0
        elif active and kind == "shrunken":
            printed = int(printed * active.amount)
        if active and kind == "stuck":
            took_s = active.amount
        started = due + late_s
        may_be_stuck = took_s > 60 and (usual := habit.took.spread()) and took_s > usual.high and "stuck" not in told
        if may_be_stuck and stuck(habit, going_s=took_s, when=started):
            tell("stuck", number)
        is_good = not (active and kind == "stuck")  # somebody ends it
        found = habit.observe(
            Run(ended=started + min(took_s, shape.period_s), is_good=is_good, took_s=took_s, output_bytes=printed,
                late_s=late_s)
        )  # fmt: skip
        score.runs += 1
        told.discard("late")
        told.discard("stuck")
        if found.slow is None is found.silent is found.shrunken:
            if told:
                told.difference_update(found.settled, found.learned)
            continue
        for one in (found.slow, found.silent, found.shrunken):
            if one is not None and one.kind not in told:
                tell(one.kind, number)
        told.difference_update(found.settled, found.learned)


_ALIKE = {"slow", "stuck"}
"""A run many times as long as ever is told as stuck before it ends, and that names a slow one."""


def _took(shape: Shape, due: float, share: float, chance: random.Random, world: World) -> float:
    if world.tail:
        noise = chance.gauss(0, 1) / math.sqrt(chance.gammavariate(world.tail / 2, 2 / world.tail))
    else:
        noise = chance.gauss(0, 1)
    took_s = shape.middle_s * math.exp(shape.sigma * noise)
    if shape.growth > 1.0:
        took_s *= 1 + (shape.growth - 1) * share
    if shape.is_rare:
        day = int(due // _DAY_S)
        if day % 7 == shape.heavy_day:
            took_s *= shape.heavy
        if shape.month > 1.0 and (START + timedelta(seconds=due - START.timestamp())).day == 1:
            took_s *= shape.month
        if shape.full > 1.0 and (day % 7 == 3 if shape.is_full_weekly else chance.random() < 1 / 7):
            took_s *= shape.full
    elif 2 <= due % _DAY_S / 3600 < 3:
        took_s *= 1 + 0.5 * chance.random()
    if chance.random() < world.outliers / (400 if shape.is_rare else 3000):
        took_s *= _between(chance, 1.5, 5)
    return took_s


def _printed(shape: Shape, share: float, chance: random.Random, world: World) -> int:
    if shape.prints == "none" or (shape.prints == "sometimes" and chance.random() < shape.silent_share):
        return 0
    if shape.prints == "constant":
        return int(shape.middle_bytes)
    printed = shape.middle_bytes * math.exp(shape.output_sigma * chance.gauss(0, 1))
    printed *= 1 + (shape.output_growth - 1) * share
    if chance.random() < world.outliers / (400 if shape.is_rare else 3000):
        printed /= _between(chance, 1.5, 5)
    return max(1, int(printed))
