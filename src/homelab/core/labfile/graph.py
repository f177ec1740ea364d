"""What jobs need of each other: unknown names, cycles, and jobs that would not know when to run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from homelab.core.jobs import Job
from homelab.core.labfile.problems import At, shown

DEEPEST: Final = 500
"""The longest chain of jobs. Longer ones have no use, and are walked by recursion elsewhere."""

When = tuple[str | None, str]


@dataclass(frozen=True)
class Placed:
    """A job and the place in the file that its problems point at."""

    job: Job
    at: At


def check_graph(placed: Mapping[str, Placed], others: frozenset[str], *, is_whole: bool) -> bool:
    """Report what is wrong with the needs. True when flows can be made of the jobs.

    `others`: names of jobs that are defined but unusable; needing one of them is not a second problem. Unless
    `is_whole`, jobs may be missing because their lines could not be read; then only cycles are reported.
    """
    good = is_whole and _known_needs(placed, others)
    order = _order(placed)
    if order is None or not is_whole:
        return False
    when = _schedules(placed, order)
    for one in placed.values():
        good = _has_one_schedule(one, placed, when) and good
        _advise(one, placed, when)
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[n.job] for n in placed[name].job.needs if n.job in depth), default=0)
        if depth[name] == DEEPEST + 1:
            placed[name].at.error(
                "too-deep", f"more than {DEEPEST} jobs in a row need each other", "Split the chain.", key=True
            )
            good = False
    return good


def _known_needs(placed: Mapping[str, Placed], others: frozenset[str]) -> bool:
    good = True
    for one in placed.values():
        for index, need in enumerate(one.job.needs):
            if need.job not in placed and need.job not in others:
                good = False
                _need_at(one, index).unknown(
                    "unknown-need",
                    f"job {shown(one.job.name)} needs {shown(need.job)}, which the lab does not define",
                    need.job,
                    placed,
                    "Define it, or remove it from needs.",
                )
    return good


def _need_at(one: Placed, index: int) -> At:
    """The place of a need. `needs = "x"` has no list, and repeated needs were dropped: then the setting itself."""
    at = one.at / "needs"
    return at / index if (*at.path, index) in at.positions.values else at


def _order(placed: Mapping[str, Placed]) -> list[str] | None:
    """Names so that each comes after its needs; None when there is a cycle (each group of them is reported once)."""
    order: list[str] = []
    state: dict[str, int] = {}  # 1 on the trail, 2 done
    good = True
    for root in placed:
        if root in state:
            continue
        trail = [(root, iter(range(len(placed[root].job.needs))))]
        state[root] = 1
        while trail:
            name, indexes = trail[-1]
            index = next(indexes, None)
            if index is None:
                state[name] = 2
                order.append(name)
                trail.pop()
                continue
            to = placed[name].job.needs[index].job
            if to not in placed:
                continue
            if state.get(to) == 1:
                names = [n for n, _ in trail]
                _report_cycle(placed, [*names[names.index(to) :], to], index)
                good = False
            elif to not in state:
                state[to] = 1
                trail.append((to, iter(range(len(placed[to].job.needs)))))
    return order if good else None


def _report_cycle(placed: Mapping[str, Placed], cycle: list[str], index: int) -> None:
    last = placed[cycle[-2]]
    if len(cycle) == 2:
        _need_at(last, index).error("cycle", f"job {shown(cycle[0])} needs itself", "Remove it from needs.")
        return
    names = cycle if len(cycle) <= 12 else [*cycle[:6], "...", *cycle[-5:]]
    _need_at(last, index).error(
        "cycle",
        "these jobs need each other in a circle: " + " -> ".join(names),
        "Remove one of these needs; a -> b means a needs b.",
    )


def _schedules(placed: Mapping[str, Placed], order: list[str]) -> dict[str, When]:
    """As `core.jobs.effective_schedules`, in the order of needs."""
    when: dict[str, When] = {}
    for name in order:
        job = placed[name].job
        when[name] = (job.schedule, job.timezone)
        if job.schedule is None:
            first = next((n.job for n in job.needs if n.job in when), None)
            if first is not None:
                when[name] = when[first]
    return when


def _words(when: When) -> str:
    return f"{shown(when[0])} ({when[1]})" if when[0] else "no schedule"


def _has_one_schedule(one: Placed, placed: Mapping[str, Placed], when: Mapping[str, When]) -> bool:
    if one.job.schedule is not None:
        return True
    different: dict[When, str] = {}
    for need in one.job.needs:
        if need.job in placed:
            different.setdefault(when[need.job], need.job)
    if len(different) < 2:
        return True
    said = ", ".join(f"{shown(name)} {_words(w)}" for w, name in list(different.items())[:4])
    (one.at / "needs").error(
        "no-schedule",
        f"job {shown(one.job.name)} has no schedule, and those it needs have different ones: {said}",
        "Give it a schedule; the needs then mean that their last success must be recent.",
    )
    return False


def _advise(one: Placed, placed: Mapping[str, Placed], when: Mapping[str, When]) -> None:
    for index, need in enumerate(one.job.needs):
        if need.job not in placed:
            continue
        at = _need_at(one, index)
        if when[need.job] == when[one.job.name]:
            if need.within_s is not None:
                at.warning(
                    "no-effect", f"'within' has no effect: {shown(need.job)} runs in the same flow", "Remove it."
                )
            continue
        if need.when != "success":
            at.warning(
                "no-effect",
                f"'when' has no effect: {shown(need.job)} is on another schedule",
                "Only the age of its last success counts.",
            )
        if when[need.job][0] is None and need.within_s is None:
            at.warning(
                "no-period",
                f"{shown(need.job)} has no schedule, so nothing says how recent its success must be",
                f'Write {{ job = "{need.job}", within = "1d" }}.',
            )
