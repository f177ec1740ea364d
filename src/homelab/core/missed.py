"""What becomes of instants that passed while nobody was there to start them. Pure.

Plain cron never makes up for them; anacron does so once. The job's `missed` policy says which (scenario: a laptop that
was closed, a lab that was down). Called by `control.scheduler`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from homelab.core.jobs import Flow, Missed

MAX_CATCH_UP = 100
"""`all` makes up for at most so many instants, the newest: a month of a minutely job is no way to start a day."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`run`: start it now, late. Otherwise it is shown as missed, with `reason`."""

    due: datetime
    run: bool
    reason: str = ""


def decide(policy: Missed, due: Sequence[datetime], *, why: str, later: bool = False) -> tuple[Decision, ...]:
    """One decision for each instant, in order of time. `why` says why nobody was there ("the lab was not running").
    `later`: a run after all of these happens anyway, so that none of them is the latest."""
    ordered = sorted(due)
    if policy == "latest":
        runs = set[datetime]() if later else set(ordered[-1:])
    elif policy == "all":
        runs = set(ordered[-MAX_CATCH_UP:])
    else:
        runs = set[datetime]()
    reasons = {
        "latest": f"{why}; a later one stands for it",
        "all": f"{why}; only the newest {MAX_CATCH_UP} are made up for",
    }
    reason = reasons.get(policy, why)
    return tuple(Decision(due=d, run=d in runs, reason="" if d in runs else reason) for d in ordered)


def policy_of(flow: Flow) -> Missed:
    """The policy of the flow: of those its jobs have, the one that makes up for most, so that no job loses a run that
    it was promised."""
    policies = {job.missed for job in flow.jobs}
    for policy in ("all", "latest"):
        if policy in policies:
            return policy
    return "skip"
