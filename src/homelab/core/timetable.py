"""When jobs start, before and after a change of the lab, in words: the table a person says yes to. Pure.

Called by `cli.cronimport` with the jobs of both lab files; of a job only its schedule, zone and needs are looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from homelab.core import schedule as schedules
from homelab.core.durations import duration_text
from homelab.core.edges import Timing, relation, window_s
from homelab.core.jobs import Job, Need, effective_schedules

Change = Literal["none", "follows", "condition", "schedule", "added", "removed"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job. `before` and `after` in words, empty where it does not exist. `change`: `follows` when it now starts
    after other jobs, `condition` when it keeps its time but something must be fresh, `schedule` for any other."""

    job: str
    before: str
    after: str
    change: Change


def timetable(
    before: Mapping[str, Job], after: Mapping[str, Job], *, timezone: str, durations: Mapping[str, float] | None = None
) -> tuple[Row, ...]:
    """One row for each job of either, in the order of `after`. Zones are named where they are not `timezone`.

    `durations`: how long a job usually takes, in seconds, where that is known.
    """
    old, new = (_Words(jobs, timezone, durations or {}) for jobs in (before, after))
    rows = [_row(name, old, new) for name in after]
    return (*rows, *(_row(name, old, new) for name in before if name not in after))


def _row(name: str, old: "_Words", new: "_Words") -> Row:
    before, after = old.of(name), new.of(name)
    change: Change = "none"
    if not before:
        change = "added"
    elif not after:
        change = "removed"
    elif before != after:
        follows = new.follows(name)
        change = "follows" if follows and follows != old.follows(name) else "schedule"
        if change == "schedule" and new.conditions(name) != old.conditions(name):
            change = "condition"
    return Row(job=name, before=before, after=after, change=change)


class _Words:
    def __init__(self, jobs: Mapping[str, Job], timezone: str, durations: Mapping[str, float]) -> None:
        self._jobs = jobs
        self._timezone = timezone
        self._durations = durations
        self._when = effective_schedules(jobs)

    def follows(self, name: str) -> list[Need]:
        """The needs that are in the job's own flow."""
        job = self._jobs.get(name)
        return [n for n in job.needs if self._is_near(name, n)] if job else []

    def conditions(self, name: str) -> list[Need]:
        """The needs on jobs of other flows."""
        job = self._jobs.get(name)
        return [n for n in job.needs if not self._is_near(name, n)] if job else []

    def _is_near(self, name: str, need: Need) -> bool:
        return self._when.get(need.job) == self._when[name]

    def of(self, name: str) -> str:
        if name not in self._jobs:
            return ""
        time = self._time(name)
        if follows := self.follows(name):
            said = f"{_after(follows)} (earliest {time})" if time else _after(follows)
        else:
            said = time or "by hand"
        conditions = [_fresh(need) for need in self.conditions(name)]
        return said + (f", if {' and '.join(conditions)}" if conditions else "")

    def _time(self, name: str) -> str:
        expression, timezone = self._when[name]
        if expression is None:
            return ""
        try:
            words = schedules.describe(schedules.parse(expression, timezone, seed=name))
        except schedules.ScheduleError:
            words = expression
        wait_s = self._wait_s(name)
        late = f", about {_about(wait_s)} later" if wait_s >= 1 else ""
        return words + late + (f" ({timezone})" if timezone != self._timezone else "")

    def _wait_s(self, name: str) -> float:
        """How long those before it usually take, one after the other; 0 when that is not known of all."""
        total: dict[str, float | None] = {}

        def end_of(job: str, trail: frozenset[str]) -> float | None:
            if job not in total:
                starts = [end_of(n.job, trail | {job}) for n in self.follows(job) if n.job not in trail]
                known = [s for s in starts if s is not None]
                own = self._durations.get(job)
                total[job] = max(known, default=0.0) + own if own is not None and len(known) == len(starts) else None
            return total[job]

        ends = [end_of(need.job, frozenset({name})) for need in self.follows(name)]
        return max((end or 0.0 for end in ends), default=0.0) if None not in ends else 0.0


def _after(needs: list[Need]) -> str:
    verbs = {"success": "succeeded", "always": "ended", "failure": "failed"}
    parts: list[str] = []
    for when, verb in verbs.items():
        names = [need.job for need in needs if need.when == when]
        if names:
            parts.append(f"{_listed(names)} {'has' if len(names) == 1 else 'have'} {verb}")
    return "when " + " and ".join(parts)


def _fresh(need: Need) -> str:
    within = f" within {duration_text(need.within_s)}" if need.within_s is not None else " recently"
    return f"{need.job} succeeded{within}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def effect(up: Timing, down: Timing, *, names: tuple[str, str], at: datetime, usual_s: float | None = None) -> str:
    """What "`down` needs `up`" would change, in a sentence or two. `names`: of up and down. `usual_s`: how long `up`
    usually takes, where that is known."""
    first, second = names
    near = relation(up, down, at=at)
    if near.kind == "apart":
        return f"Nothing: {near.reason}."
    if near.kind == "differs":
        within = duration_text(window_s(up, down, at=at))
        return f"{second} keeps its time and runs only if {first} succeeded within {within}; else it waits for that."
    earliest, before = (schedules.describe(schedules.parse(t.schedule, t.timezone, seed=t.seed)) for t in (up, down))
    usual = f", usually {_about(usual_s)} later," if usual_s is not None and usual_s >= 1 else ""
    instead = "beside it" if near.kind == "same" else before
    return (
        f"One flow: {second} starts as soon as {first} has succeeded, {earliest} at the earliest{usual or ','} "
        f"instead of {instead}. If {first} fails, {second} does not run."
    )


def _about(seconds: float) -> str:
    return duration_text(round(seconds) if seconds < 90 else round(seconds / 60) * 60)
