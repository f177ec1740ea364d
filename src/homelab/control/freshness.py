"""Needs between jobs of different schedules: did the other one succeed recently enough? Pure.

Called by `control.scheduler` at the due instant and again when the other job succeeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from homelab.core import schedule as schedules
from homelab.core.durations import duration_text
from homelab.core.jobs import Flow, Job, Need

SLACK = 1.1
DEFAULT_WINDOW_S = 26 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One need on a job outside the flow. `within_s`: how old its last success may be."""

    job: str
    of: str
    when: str
    within_s: float


def conditions(flow: Flow, jobs: Mapping[str, tuple[str | None, str]], *, at: datetime) -> tuple[Condition, ...]:
    """The freshness conditions of a flow. `jobs`: (schedule, zone) of every job of the lab, as effective."""
    members = {job.name for job in flow.jobs}
    found: list[Condition] = []
    for job in flow.jobs:
        for need in job.needs:
            if need.job not in members and need.job in jobs:
                found.append(_condition(job, need, jobs[need.job], at))
    return tuple(found)


def _condition(job: Job, need: Need, other: tuple[str | None, str], at: datetime) -> Condition:
    within_s = need.within_s
    if within_s is None:
        period = schedules.interval_s(schedules.parse(other[0], other[1]), at) if other[0] else None
        within_s = DEFAULT_WINDOW_S if period is None else period * SLACK + 600
    return Condition(job=need.job, of=job.name, when=need.when, within_s=within_s)


def unmet(
    conditions: tuple[Condition, ...],
    last: Mapping[str, tuple[datetime | None, datetime | None]],
    *,
    now: datetime,
) -> str:
    """Why the flow may not start now, or "". `last`: for each job the ends of its last success and last failure."""
    for condition in conditions:
        success, failure = last.get(condition.job, (None, None))
        oldest = now - timedelta(seconds=condition.within_s)
        window = duration_text(round(condition.within_s / 60) * 60)
        if condition.when == "always":
            found = max((t for t in (success, failure) if t is not None), default=None)
            word = "ended"
        elif condition.when == "failure":
            found, word = failure, "failed"
        else:
            found, word = success, "succeeded"
        if found is None:
            return f"{condition.of} needs {condition.job}, which has never {word}"
        if found < oldest:
            age = duration_text(round((now - found).total_seconds() / 60) * 60)
            return f"{condition.of} needs {condition.job} to have {word} within {window}; it last did {age} ago"
    return ""
