"""The nouns of the lab's work: a job, what it needs, the flow it belongs to, the states of a run.

A *job* is one thing that runs. A *flow* is one connected component of jobs that share a schedule: it becomes one
Prefect flow, each run of it one flow run, each of its jobs a task run in it. Everything here is a frozen value; the
lab file makes jobs (`core.labfile`), `flows_of` groups them, the worker receives a flow as JSON (`Flow.to_json`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, NewType, cast

from homelab.core.usual.expecting import NOTHING_EXPECTED, Expected

JobName = NewType("JobName", str)
RunId = NewType("RunId", str)
"""The id of the Prefect flow run, a UUID in its usual text form."""


class RunState(StrEnum):
    """The states of a run and of a job in a run, as every command and API prints them."""

    SCHEDULED = "scheduled"
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    MISSED = "missed"
    SKIPPED = "skipped"
    BLOCKED = "blocked"

    @property
    def is_final(self) -> bool:
        return self not in OPEN

    @property
    def is_failure(self) -> bool:
        return self in FAILURES


OPEN = frozenset({RunState.SCHEDULED, RunState.PENDING, RunState.RUNNING, RunState.RETRYING})
FAILURES = frozenset({RunState.FAILED, RunState.TIMED_OUT, RunState.CRASHED})
"""Each is equal to its text, so that a state as the API gives it may be looked for."""

When = Literal["success", "always", "failure"]
Overlap = Literal["allow", "forbid", "queue"]
Missed = Literal["skip", "latest", "all"]
Strategy = Literal["auto", "spread", "pack"]


@dataclass(frozen=True, kw_only=True)
class Need:
    """One dependency. In the same flow it is a task edge; on a job with another schedule it is a freshness condition.

    `when`: which outcome of `job` lets the dependant start. `within_s`: for freshness, how old the last success may be;
    None means one period of the other job's schedule plus its slack (decided by `control`).
    """

    job: str
    when: When = "success"
    within_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Retries:
    """`max` further attempts after the first. Attempt n (n=1 is the first retry) waits
    `delay_s * backoff**(n-1)`, at most `max_delay_s`, plus a random part up to `jitter` (0..1) of it."""

    max: int = 0
    delay_s: float = 30.0
    backoff: float = 2.0
    max_delay_s: float = 3600.0
    jitter: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Being near, or far from, a `node` or other `work` (a job's name or tag): one of the two is set.

    A preference, unless `required`.
    """

    node: str = ""
    work: str = ""
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job as the worker needs it. Exactly one of `run` (a shell command) and `flow` (`module:function`) is set.

    `environment` is complete for imported jobs (SHELL, PATH, HOME, LOGNAME as cron gave them); nothing of the worker's
    own environment is passed on. `secrets` maps a variable to a reference (`env:NAME`, `file:PATH`, `keychain:NAME`).
    `params` are defaults of parameters that a person may give for one run; they too are passed as environment.
    `cwd` and `user`: empty means the home folder of the user, and the user the worker runs as.
    """

    name: str
    run: str = ""
    flow: str = ""
    schedule: str | None = None
    timezone: str = "UTC"
    needs: tuple[Need, ...] = ()
    description: str = ""
    shell: str = "/bin/sh"
    cwd: str = ""
    user: str = ""
    stdin: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    retries: Retries = Retries()
    timeout_s: float | None = None
    grace_s: float = 10.0
    overlap: Overlap = "allow"
    exclusive: tuple[str, ...] = ()
    missed: Missed | None = None
    """None: as what it needs (`core.missed`); "skip" when it needs nothing."""
    queue: str = "default"
    paused: bool = False
    shadow: bool = False
    """Cron still runs it: the lab only notes when it would have."""
    tags: tuple[str, ...] = ()
    output_limit_bytes: int = 10 * 1024 * 1024
    notify_on: tuple[str, ...] | None = None
    """None: as the lab says. Otherwise the kinds of event that alert for this job; empty: never."""
    notify_urls: tuple[str, ...] = ()
    requires: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """As written: `core.capacity.requirements_of` reads it."""
    affinity: tuple[Affinity, ...] = ()
    anti_affinity: tuple[Affinity, ...] = ()
    place: Strategy = "auto"
    priority: int = 0
    """Higher is first; waiting counts as priority too (`core.placement`)."""
    restartable: bool = False
    """It may be stopped and started anew for work of higher priority."""
    apart: bool = False
    """It may run on another node than the rest of its run, wherever there is room first."""
    save: tuple[str, ...] = ()
    """Patterns of files below its working folder that are kept after it succeeded."""
    save_required: bool = False
    """It has failed when a pattern finds nothing, or a file cannot be kept."""
    expect: Expected = NOTHING_EXPECTED
    """What is usual for it, where a person knows better than its history. Not part of the flow's digest."""
    source: str = ""
    """Where the job is defined, `file:line`, for people. Not part of the flow's digest."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One connected component of jobs with one schedule. `name` is the name of its first root in file order.

    `jobs` are in topological order, ties in file order. Needs that point outside the flow are freshness conditions.
    """

    name: str
    schedule: str | None
    timezone: str
    jobs: tuple[Job, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what would run; equal digests mean equal behaviour."""
        body = asdict(self)
        for job in body["jobs"]:
            job.pop("source")
            job.pop("expect")
            for name, default in _LATER.items():
                if job[name] == default:
                    del job[name]
        return hashlib.sha256(json.dumps(body, sort_keys=True, default=list).encode()).hexdigest()

    @property
    def is_shadow(self) -> bool:
        """Whether nothing of it runs here because cron still runs all of it."""
        return all(job.shadow for job in self.jobs)

    def job(self, name: str) -> Job:
        """The job of that name; KeyError when the flow has none."""
        for job in self.jobs:
            if job.name == name:
                return job
        raise KeyError(name)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, default=list)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Flow":
        """The inverse of `to_json`. Unknown fields are ignored, so that an older worker can read a newer flow."""
        body = cast("dict[str, Any]", json.loads(text))
        return cls(
            name=body["name"],
            schedule=body["schedule"],
            timezone=body["timezone"],
            jobs=tuple(_job_from(raw) for raw in body["jobs"]),
        )


_LATER: Mapping[str, object] = {
    "shadow": False, "affinity": (), "anti_affinity": (), "place": "auto", "priority": 0, "restartable": False,
    "save": (), "save_required": False, "apart": False,
}  # fmt: skip
"""Fields that a digest has only when they say something: definitions made before there were any keep theirs."""


def _known(cls: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    names = cls.__dataclass_fields__.keys()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
    return {k: v for k, v in raw.items() if k in names}


def _job_from(raw: Mapping[str, Any]) -> Job:
    values = _known(Job, raw)
    values["needs"] = tuple(Need(**_known(Need, n)) for n in raw.get("needs", ()))
    values["expect"] = Expected(**_known(Expected, raw.get("expect", {})))
    values["retries"] = Retries(**_known(Retries, raw.get("retries", {})))
    for name in ("exclusive", "tags", "notify_urls", "save"):
        values[name] = tuple(raw.get(name, ()))
    for name in ("affinity", "anti_affinity"):
        values[name] = tuple(Affinity(**_known(Affinity, a)) for a in raw.get(name, ()))
    if raw.get("notify_on") is not None:
        values["notify_on"] = tuple(raw["notify_on"])
    return Job(**values)


def flows_of(jobs: Iterable[Job]) -> tuple[Flow, ...]:
    """Group jobs into flows, in file order.

    Two jobs are in one flow when one needs the other and both have the same schedule and zone, or the dependant has no
    schedule of its own (it then takes its upstream's). A need between two different schedules is not an edge but a
    freshness condition. `jobs` must be free of cycles and unknown needs (`core.labfile` checks that first).
    """
    by_name = {job.name: job for job in jobs}
    parent = {name: name for name in by_name}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    when = effective_schedules(by_name)
    for job in by_name.values():
        for need in job.needs:
            if need.job in by_name and when[job.name] == when[need.job]:
                parent[root(job.name)] = root(need.job)
    groups: dict[str, list[Job]] = {}
    for job in by_name.values():
        groups.setdefault(root(job.name), []).append(job)
    flows: list[Flow] = []
    for members in groups.values():
        ordered = topological(members)
        schedule, timezone = when[ordered[0].name]
        flows.append(Flow(name=ordered[0].name, schedule=schedule, timezone=timezone, jobs=tuple(ordered)))
    return tuple(flows)


def effective_schedules(jobs: Mapping[str, Job]) -> dict[str, tuple[str | None, str]]:
    """Each job's schedule and zone, where a job without a schedule takes that of its first need (transitively)."""
    found: dict[str, tuple[str | None, str]] = {}

    def of(name: str, trail: frozenset[str]) -> tuple[str | None, str]:
        if name in found:
            return found[name]
        job = jobs[name]
        result: tuple[str | None, str] = (job.schedule, job.timezone)
        if job.schedule is None:
            for need in job.needs:
                if need.job in jobs and need.job not in trail:
                    result = of(need.job, trail | {name})
                    break
        found[name] = result
        return result

    for name in jobs:
        of(name, frozenset())
    return found


def topological(jobs: Iterable[Job]) -> list[Job]:
    """Jobs so that each comes after those it needs, ties in the given order; needs of jobs not given don't count."""
    waiting = list(jobs)
    names = {job.name for job in waiting}
    done: set[str] = set()
    ordered: list[Job] = []
    while waiting:
        ready = [j for j in waiting if all(n.job in done or n.job not in names for n in j.needs)]
        if not ready:
            raise ValueError("cycle: " + " -> ".join(j.name for j in waiting))
        first = ready[0]
        waiting.remove(first)
        done.add(first.name)
        ordered.append(first)
    return ordered
