"""How far one run of a flow is, and what may happen next: which jobs to start, retry, skip, block, and the run's
result.

Pure: a `Progress` goes in, a new one comes out; `now` and chance are arguments. It never starts anything and knows no
processes. `worker.execution` asks in a loop: `settle`, `ready`, `started` for each, `after_attempt` at each end.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from homelab.core.jobs import Flow, Job, JobName, Need, Retries, RunState

WAITING = RunState.PENDING
"""A job of this run that has not started: its needs are open, or nobody has started it yet."""


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """One job in one run.

    `state`: pending (waiting), running, retrying, or final. `attempts`: started so far, over the whole life of the
    run. `base`: those of them that do not count against the retries (made before a person asked for the run again).
    `excluded`: the job takes no part in this run, and needs on it count as met.
    """

    state: RunState = WAITING
    attempts: int = 0
    base: int = 0
    retry_at: datetime | None = None
    reason: str = ""
    excluded: bool = False


@dataclass(frozen=True)
class Progress(Mapping[str, JobProgress]):
    """All jobs of the run by name, in the flow's order. Immutable."""

    jobs: Mapping[str, JobProgress]

    def __getitem__(self, name: str) -> JobProgress:
        return self.jobs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def having(self, name: str, job: JobProgress) -> "Progress":
        return Progress({**self.jobs, name: job})


def start(
    flow: Flow,
    *,
    only: Collection[str] | None = None,
    skip: Collection[str] = (),
    kept: Mapping[str, RunState] | None = None,
    attempts: Mapping[str, int] | None = None,
    base: Mapping[str, int] | None = None,
    retry_at: Mapping[str, datetime] | None = None,
) -> Progress:
    """The progress of a run that begins or is taken up again.

    `only` (None: all) and `skip` say which jobs take part; the others are skipped and stop nobody. `kept`: final
    states that jobs keep from before. `attempts`: started before now. `base`: how many of those leave the retries
    untouched (none, when not given). `retry_at`: when those are tried again that wait for it.
    """
    jobs: dict[str, JobProgress] = {}
    for job in flow.jobs:
        before = (attempts or {}).get(job.name, 0)
        progress = JobProgress(attempts=before, base=(base or {}).get(job.name, 0))
        if (only is not None and job.name not in only) or job.name in skip:
            progress = replace(progress, state=RunState.SKIPPED, reason="not part of this run", excluded=True)
        elif kept and job.name in kept:
            progress = replace(progress, state=kept[job.name], reason="from an earlier attempt of this run")
        elif retry_at and job.name in retry_at:
            progress = replace(progress, state=RunState.RETRYING, retry_at=retry_at[job.name])
        jobs[job.name] = progress
    return Progress(jobs)


def onward(flow: Flow, name: str) -> list[JobName]:
    """The job and all that comes after it in the flow, in the flow's order. [] when it is not in it."""
    found: list[JobName] = []
    for job in flow.jobs:  # topological, so one pass reaches all
        if job.name == name or any(need.job in found for need in job.needs):
            found.append(JobName(job.name))
    return found


def around(flow: Flow, name: str) -> list[JobName]:
    """The job with all it needs and all that needs it, in the flow's order."""
    before = {name}
    for job in reversed(flow.jobs):
        if job.name in before:
            before |= {need.job for need in job.needs}
    after = set(onward(flow, name))
    return [JobName(job.name) for job in flow.jobs if job.name in before | after]


def ready(flow: Flow, progress: Progress, now: datetime) -> list[JobName]:
    """Jobs to start at `now`, in the flow's order: those whose needs all allow it, and those whose retry is due."""
    names: list[JobName] = []
    for job in flow.jobs:
        current = progress[job.name]
        due = current.state is RunState.RETRYING and (current.retry_at is None or current.retry_at <= now)
        waiting = current.state is WAITING
        if due or (waiting and all(_verdict(need, progress) == "start" for need in _needs(job, progress))):
            names.append(JobName(job.name))
    return names


def started(progress: Progress, name: str, attempt: int | None = None) -> Progress:
    """The job runs: attempt number `attempt`, else the next one."""
    job = progress[name]
    number = job.attempts + 1 if attempt is None else attempt
    return progress.having(name, replace(job, state=RunState.RUNNING, attempts=number, retry_at=None, reason=""))


def settle(flow: Flow, progress: Progress) -> tuple[Progress, list[JobName]]:
    """Make those jobs final that can never start, and name them, in the flow's order.

    A job is judged when all it needs is final: `blocked` when something failed that had to succeed, `skipped` when
    its branch was not taken (`when = "failure"` and nothing failed, or what it needs was itself skipped so).
    """
    settled: list[JobName] = []
    for job in flow.jobs:  # topological, so one pass reaches all
        if progress[job.name].state is not WAITING:
            continue
        needs = _needs(job, progress)
        verdicts = [_verdict(need, progress) for need in needs]
        if "wait" in verdicts or all(v == "start" for v in verdicts):
            continue
        verdict = "block" if "block" in verdicts else "skip"
        need = needs[verdicts.index(verdict)]
        state = RunState.BLOCKED if verdict == "block" else RunState.SKIPPED
        reason = _why_not(need, progress[need.job])
        progress = progress.having(job.name, replace(progress[job.name], state=state, reason=reason))
        settled.append(JobName(job.name))
    return progress, settled


def after_attempt(
    flow: Flow, progress: Progress, name: str, outcome: RunState, now: datetime, random01: float, reason: str = ""
) -> Progress:
    """The attempt that ran has ended as `outcome` (final) at `now`: retry later, or that is the job's end.

    Failed, timed out and crashed attempts are retried while retries are left; a cancelled one never is.
    """
    job = progress[name]
    retries = flow.job(name).retries
    used = job.attempts - job.base
    if outcome.is_failure and used <= retries.max:
        retry_at = now + timedelta(seconds=retry_delay_s(retries, max(1, used), random01))
        return progress.having(name, replace(job, state=RunState.RETRYING, retry_at=retry_at, reason=reason))
    return progress.having(name, replace(job, state=outcome, retry_at=None, reason=reason))


def put_back(progress: Progress, name: str, reason: str) -> Progress:
    """The attempt that ran was stopped for other work: the job waits again, and its retries are what they were."""
    job = progress[name]
    return progress.having(name, replace(job, state=WAITING, base=job.base + 1, reason=reason))


def left(progress: Progress, name: str, reason: str) -> Progress:
    """Nobody here waits for the end of the attempt that runs, any more."""
    return progress.having(name, replace(progress[name], state=RunState.CANCELLED, reason=reason))


def retry_delay_s(retries: Retries, n: int, random01: float) -> float:
    """Seconds before the n-th retry (from 1): exponential, capped, then lengthened by up to `jitter` of itself."""
    try:
        delay_s = retries.delay_s * retries.backoff ** (n - 1)
    except OverflowError:
        delay_s = retries.max_delay_s
    return min(delay_s, retries.max_delay_s) * (1 + retries.jitter * random01)


def cancel(flow: Flow, progress: Progress, reason: str) -> Progress:
    """Nothing more is started: what waits or would be retried is cancelled. What runs ends by `after_attempt`."""
    for job in flow.jobs:
        current = progress[job.name]
        if current.state in (WAITING, RunState.RETRYING):
            ended = replace(current, state=RunState.CANCELLED, retry_at=None, reason=reason)
            progress = progress.having(job.name, ended)
    return progress


def next_wake(progress: Progress) -> datetime | None:
    """When the next retry is due; None when only the end of something running can change anything."""
    times = [j.retry_at for j in progress.values() if j.state is RunState.RETRYING and j.retry_at is not None]
    return min(times, default=None)


def is_finished(progress: Progress) -> bool:
    return all(job.state.is_final for job in progress.values())


def result(progress: Progress) -> tuple[RunState, str]:
    """State and reason (one sentence, may be empty) of a finished run.

    The worst of its jobs: crashed, timed out, failed, then blocked (as failed), then cancelled. A job skipped by
    design harms nothing; a failed job does, even where another job cleaned up after it.
    """
    for state in (RunState.CRASHED, RunState.TIMED_OUT, RunState.FAILED):
        if names := _names(progress, state):
            return state, _sentence(progress, names[0])
    for state, as_state in ((RunState.CANCELLED, RunState.CANCELLED), (RunState.BLOCKED, RunState.FAILED)):
        if names := _names(progress, state):
            return as_state, _sentence(progress, names[0])
    return RunState.SUCCEEDED, ""


_Verdict = Literal["wait", "start", "block", "skip"]


def _needs(job: Job, progress: Progress) -> list[Need]:
    """Needs outside the flow are freshness conditions, decided by `control` before the run exists."""
    return [n for n in job.needs if n.job in progress and not progress[n.job].excluded]


def _verdict(need: Need, progress: Progress) -> _Verdict:
    state = progress[need.job].state
    if not state.is_final:
        return "wait"
    if need.when == "always":
        return "start"
    went_wrong = state.is_failure or state is RunState.BLOCKED
    if need.when == "failure":
        return "start" if went_wrong else "skip"
    if state is RunState.SUCCEEDED:
        return "start"
    return "skip" if state is RunState.SKIPPED else "block"


def _why_not(need: Need, job: JobProgress) -> str:
    if need.when == "failure":
        return f"only runs when {need.job} fails"
    words = {
        RunState.TIMED_OUT: "timed out",
        RunState.BLOCKED: "did not run",
        RunState.CANCELLED: "was cancelled",
        RunState.SKIPPED: "was skipped",
    }
    return f"{need.job} {words.get(job.state, str(job.state))}"


def _names(progress: Progress, state: RunState) -> list[str]:
    return [name for name, job in progress.items() if job.state is state]


def _sentence(progress: Progress, name: str) -> str:
    job = progress[name]
    harmed = [n for n, j in progress.items() if j.state.is_failure or j.state is RunState.BLOCKED]
    if len(progress) == 1:
        return job.reason
    others = len([n for n in harmed if n != name])
    more = f" ({others} more did not succeed)" if others else ""
    return f"{name}: {job.reason or job.state}{more}"
