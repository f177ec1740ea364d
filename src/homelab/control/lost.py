"""What becomes of a run whose node is gone: what was in flight has crashed, and the rest may go on elsewhere. Pure.

`control`'s copy of the reports is all that is known of it. Called by `control.recovery`, and by the route that hands
the progress of a run to the node that takes it up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homelab.core import dag
from homelab.core.jobs import Flow, RunState

NONE_SENT: Mapping[str, Mapping[str, Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Round:
    """Since when a run counts its retries: `base` attempts of each job were made before, and the jobs `redo` are done
    again whatever they achieved."""

    base: Mapping[str, int] = field(default_factory=dict[str, int])
    redo: frozenset[str] = frozenset()

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Round":
        """As table `run` keeps it."""
        return cls(base={k: int(v) for k, v in kept.get("base", {}).items()}, redo=frozenset(kept.get("redo", ())))

    def to_json(self) -> dict[str, Any]:
        return {"base": dict(self.base), "redo": sorted(self.redo)}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, by what was reported: `kept` final states, `attempts` made, `base` of those outside the
    retries, `running` the jobs in flight on its node with their attempt, `sent` those on other nodes (as
    `control.sent.in_flight`)."""

    kept: Mapping[str, RunState]
    attempts: Mapping[str, int]
    base: Mapping[str, int]
    running: Mapping[str, int]
    sent: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": {job: str(state) for job, state in self.kept.items()},
            "attempts": dict(self.attempts),
            "base": dict(self.base),
            "sent": {job: dict(one) for job, one in self.sent.items()},
        }


def progress_of(
    attempts: Iterable[Mapping[str, Any]], round_: Round, sent: Mapping[str, Mapping[str, Any]] = NONE_SENT
) -> Progress:
    """The progress by the rows of table `job_run` of one run.

    A success counts, unless its job is to be done again and it was before this round; any other end only in this round,
    and only when no retry was to follow.
    """
    kept: dict[str, RunState] = {}
    made: dict[str, int] = {}
    running: dict[str, int] = {}
    for row in sorted(attempts, key=lambda r: int(r["attempt"])):
        job, attempt, state = str(row["job"]), int(row["attempt"]), RunState(row["state"])
        is_before = attempt <= round_.base.get(job, 0)
        made[job] = max(attempt, made.get(job, 0))
        if state is RunState.RUNNING:
            running[job] = attempt
            continue
        running.pop(job, None)
        if state is RunState.SUCCEEDED:
            if not (is_before and job in round_.redo):
                kept[job] = state
        elif attempt == 0 or is_before or row["retry_at"] is not None:
            continue  # skipped and blocked follow from the others; what was before this round counts no more
        elif job not in kept:
            kept[job] = state
    away = {job: one for job, one in sent.items() if int(one["attempt"]) >= made.get(job, 0)}
    for job, one in away.items():
        made[job] = int(one["attempt"])
        running.pop(job, None)
    return Progress(kept=kept, attempts=made, base=dict(round_.base), running=running, sent=away)


def left_of(jobs: Iterable[str], progress: Progress) -> list[str]:
    """Those of the jobs that are still to be started, in order."""
    return [name for name in jobs if name not in progress.kept and name not in progress.sent]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`retried`: jobs in flight that may be tried again; `crashed`: those that may not. `goes_on`: something of the run
    is left to do, on another node."""

    retried: tuple[str, ...]
    crashed: tuple[str, ...]
    goes_on: bool


def judge(flow: Flow, progress: Progress, *, only: Iterable[str] | None = None, skip: Iterable[str] = ()) -> Verdict:
    """What becomes of the run when all that is in flight has crashed."""
    retried: list[str] = []
    crashed: list[str] = []
    for job in flow.jobs:
        if job.name in progress.running:
            used = progress.running[job.name] - progress.base.get(job.name, 0)
            (retried if used <= job.retries.max else crashed).append(job.name)
    kept = {**progress.kept, **dict.fromkeys(crashed, RunState.CRASHED)}
    after = dag.start(
        flow,
        only=None if only is None else set(only),
        skip=set(skip),
        kept=kept,
        attempts=progress.attempts,
        base=progress.base,
    )
    after, _ = dag.settle(flow, after)
    return Verdict(retried=tuple(retried), crashed=tuple(crashed), goes_on=not dag.is_finished(after))
