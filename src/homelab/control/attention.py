"""What needs a person now, worst first: each with one sentence of facts and what can be done. Pure.

A job's newest result, the conditions that the watcher holds open and the problems of the lab go in. A job that is
blocked is told with the job it waits for, not beside it. Called by `control.now`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homelab.core.durations import span
from homelab.core.endings import Ending, Explanation, explain, sentence, telling

ORDER = (
    "service",
    "crashed",
    "failed",
    "timed_out",
    "stuck",
    "late",
    "missed",
    "blocked",
    "lab",
    "slow",
    "silent",
    "shrunken",
)
"""Kinds, the most urgent first."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing. `since` is when it began; `waiting` are jobs that cannot run because of it; `actions` are names of
    `look`, `retry`, `run`, `cancel`, `why`, `resume`, `node`, the one that most likely helps first."""

    kind: str
    subject: str
    reason: str
    since: datetime | None = None
    job: str | None = None
    run: str | None = None
    node: str | None = None
    waiting: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    hint: str = ""
    said: str = ""
    """The line of its output that tells most."""
    facts: tuple[str, ...] = ()
    """Sentences of what else was seen of a failure."""
    advice: str = ""
    """What to do next, where that is certain."""


@dataclass(frozen=True, kw_only=True)
class JobNow:
    """A job as far as attention needs it. `last`: its newest run (id, state, ended, exit_code, signal, reason,
    attempt) or None. `failures`: failed results since its last success, `failure` the newest of them, `first` the end
    of the oldest."""

    name: str
    last: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    failures: int = 0
    first: datetime | None = None
    paused: bool = False
    needs: tuple[str, ...] = ()
    usual_s: float | None = None
    explained: Explanation | None = None
    """Of `failure`."""
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def attention(jobs: Sequence[JobNow], problems: Sequence[Mapping[str, Any]], *, now: datetime) -> list[Entry]:
    """Everything that needs a look, in `ORDER`, the longest standing first within a kind."""
    by_name = {job.name: job for job in jobs}
    failing = {job.name for job in jobs if _is_failing(job)}
    entries: list[Entry] = []
    told: set[str] = set()
    for job in jobs:
        if job.name in failing:
            waiting = _waiting(job.name, jobs)
            told |= {job.name, *waiting}
            entries.append(_failing(job, waiting))
    for job in jobs:
        entries += _conditions(job, by_name, told=job.name in told, now=now)
    for problem in problems:
        entries.append(
            Entry(
                kind="service" if problem.get("severity") == "error" else "lab",
                subject=str(problem.get("subject") or "lab"),
                reason=sentence(str(problem.get("message") or "")),
                hint=str(problem.get("hint") or ""),
                since=problem.get("since"),
                node=problem.get("node"),
                actions=("node",) if problem.get("node") else (),
            )
        )
    return sorted(entries, key=lambda e: (ORDER.index(e.kind), e.since.timestamp() if e.since else 0.0))


def _is_failing(job: JobNow) -> bool:
    return not job.paused and job.failure is not None


def _failing(job: JobNow, waiting: tuple[str, ...]) -> Entry:
    last = job.failure or {}
    explained = job.explained or explain(Ending.of(last))
    reason = explained.sentence
    if job.failures > 1:
        reason += f" It has failed {job.failures} times in a row."
    said = telling(last.get("tail") or ())
    kind = str(last.get("state")) if last.get("state") in ("crashed", "timed_out") else "failed"
    return Entry(
        kind=kind,
        subject=job.name,
        job=job.name,
        run=last.get("id"),
        reason=reason,
        since=job.first or last.get("ended"),
        waiting=waiting,
        actions=("look", "retry"),
        said=said,
        facts=tuple(fact for fact in explained.facts if not said or said not in fact),
        advice=explained.action,
    )


def _waiting(name: str, jobs: Sequence[JobNow]) -> tuple[str, ...]:
    """Jobs whose newest run is blocked and that need `name`, directly or through blocked ones."""
    reached, grew = {name}, True
    while grew:
        grew = False
        for job in jobs:
            is_blocked = job.last is not None and job.last["state"] == "blocked"
            if is_blocked and job.name not in reached and any(need in reached for need in job.needs):
                reached.add(job.name)
                grew = True
    return tuple(job.name for job in jobs if job.name in reached and job.name != name)


def _conditions(job: JobNow, by_name: Mapping[str, JobNow], *, told: bool, now: datetime) -> list[Entry]:
    found: list[Entry] = []
    for kind in ("stuck", "late", "missed", "blocked", "slow", "silent", "shrunken"):
        condition = job.conditions.get(kind)
        if condition is None or (kind == "blocked" and told):
            continue
        since: datetime = condition["since"]
        found.append(
            Entry(
                kind=kind,
                subject=job.name,
                job=job.name,
                run=condition.get("run"),
                since=since,
                reason=_condition_words(kind, job, condition, now),
                actions={"stuck": ("look", "cancel"), "missed": ("run", "why"), "late": ("why", "run")}.get(
                    kind, ("look", "why") if condition.get("run") else ("why",)
                ),
            )
        )
    is_blocked = job.last is not None and job.last["state"] == "blocked"
    if is_blocked and not told and "blocked" not in job.conditions and not job.paused:
        last = job.last or {}
        found.append(
            Entry(
                kind="blocked",
                subject=job.name,
                job=job.name,
                run=last.get("id"),
                since=last.get("ended"),
                reason=sentence(str(last.get("reason") or "something it needs has not succeeded")),
                actions=("why", "look"),
            )
        )
    return found


def _condition_words(kind: str, job: JobNow, condition: Mapping[str, Any], now: datetime) -> str:
    """The sentence that was told; for what goes on, with the numbers of this moment."""
    due, count, told = condition.get("due"), int(condition.get("count") or 1), str(condition.get("reason") or "")
    match kind:
        case "late" if isinstance(due, datetime):
            return f"It was due {span((now - due).total_seconds())} ago and has not started."
        case "stuck":
            return f"{told} That was {span((now - condition['since']).total_seconds())} ago.".strip()
        case "missed":
            return (
                "Its run did not happen: nobody was there to start it." if count == 1 else f"{count} runs were missed."
            )
        case "blocked":
            return f"It waits for something that is not fresh; {count} run{'s' if count > 1 else ''} blocked."
        case _:
            return told or f"Its last run was unusual ({kind})."
