"""What becomes of instants that passed while nobody was there to start them. Pure.

Plain cron never makes up for them; anacron does so once. The job's `missed` policy says which (scenario: a laptop that
was closed, a lab that was down). Called by `control.scheduler`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from homelab.core.jobs import Flow, Missed

MAX_CATCH_UP = 100
"""`all` makes up for at most so many instants, the newest: a month of a minutely job is no way to start a day."""
_GENEROUS: tuple[Missed, ...] = ("skip", "latest", "all")
"""From the one that makes up for least."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`jobs`: those to run now, late, in the flow's order. None: the instant is shown as missed, with `reason`."""

    due: datetime
    jobs: tuple[str, ...] = ()
    reason: str = ""


def decide(flow: Flow, due: Sequence[datetime], *, why: str, later: bool = False) -> tuple[Decision, ...]:
    """One decision for each instant, in order of time. `why` says why nobody was there ("the lab was not running").
    `later`: a run after all of these happens anyway, so that none of them is the latest.

    A job is made up for as its own policy says, and so is what it needs: a job that is promised a run gets it whole.
    """
    ordered = sorted(due)
    policies = policies_of(flow)
    made_up = {policy: _made_up(policy, ordered, later=later) for policy in _GENEROUS}
    reason = _reason(max(policies.values(), key=_GENEROUS.index), why)
    decisions: list[Decision] = []
    for instant in ordered:
        jobs = _with_needs(flow, {name for name, policy in policies.items() if instant in made_up[policy]})
        decisions.append(Decision(due=instant, jobs=jobs, reason="" if jobs else reason))
    return tuple(decisions)


def policies_of(flow: Flow) -> Mapping[str, Missed]:
    """Each job's policy. One that has none of its own takes the most generous of what it needs in the flow."""
    found: dict[str, Missed] = {}
    for job in flow.jobs:
        inherited = [_GENEROUS.index(found[need.job]) for need in job.needs if need.job in found]
        found[job.name] = job.missed or _GENEROUS[max(inherited, default=0)]
    return found


def _made_up(policy: Missed, ordered: Sequence[datetime], *, later: bool) -> set[datetime]:
    if policy == "all":
        return set(ordered[-MAX_CATCH_UP:])
    return set(ordered[-1:]) if policy == "latest" and not later else set()


def _with_needs(flow: Flow, names: set[str]) -> tuple[str, ...]:
    wanted = set(names)
    for job in reversed(flow.jobs):  # topological: what a job needs comes before it
        if job.name in wanted:
            wanted |= {need.job for need in job.needs}
    return tuple(job.name for job in flow.jobs if job.name in wanted)


def _reason(policy: Missed, why: str) -> str:
    if policy == "latest":
        return f"{why}; a later one stands for it"
    return f"{why}; only the newest {MAX_CATCH_UP} are made up for" if policy == "all" else why
