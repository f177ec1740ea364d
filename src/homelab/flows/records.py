"""Our nouns in Prefect's words and back: states, task runs as events, heartbeats. Pure.

A task run is recorded by events, as Prefect's own engine does it: the server's task-run recorder writes them in bulk,
at a fraction of the cost of its REST transitions. Ids are derived from the run and the job, so that a step told twice
(after a crash) is one step, and logs know their task run before the server does.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from homelab.core.jobs import Flow, Job, RunState
from homelab.core.times import iso

_NAMESPACE = uuid.UUID("6f0d8a4e-54b7-5a3c-9d0e-2f6b1c7a9e41")

# Prefect has fewer types than we have states; the name of a state carries the rest, and is what its pages show.
_TO_PREFECT: dict[RunState, tuple[str, str]] = {
    RunState.SCHEDULED: ("SCHEDULED", "Scheduled"),
    RunState.PENDING: ("PENDING", "Pending"),
    RunState.RUNNING: ("RUNNING", "Running"),
    RunState.RETRYING: ("SCHEDULED", "AwaitingRetry"),
    RunState.SUCCEEDED: ("COMPLETED", "Completed"),
    RunState.FAILED: ("FAILED", "Failed"),
    RunState.TIMED_OUT: ("FAILED", "TimedOut"),
    RunState.CRASHED: ("CRASHED", "Crashed"),
    RunState.CANCELLED: ("CANCELLED", "Cancelled"),
    RunState.MISSED: ("CANCELLED", "Missed"),
    RunState.SKIPPED: ("CANCELLED", "Skipped"),
    RunState.BLOCKED: ("CANCELLED", "Blocked"),
}
_BY_NAME = {name: state for state, (_, name) in _TO_PREFECT.items()} | {"Late": RunState.SCHEDULED}
_BY_TYPE = {
    "SCHEDULED": RunState.SCHEDULED,
    "PENDING": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "COMPLETED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CRASHED": RunState.CRASHED,
    "CANCELLED": RunState.CANCELLED,
    "CANCELLING": RunState.RUNNING,
    "PAUSED": RunState.PENDING,
}


RERUN = "Rerun"
"""The name of the state in which a run waits to be done anew; `Rerun from JOB` when with that job and what follows."""
_RERUN_FROM = f"{RERUN} from "


def rerun_name(job: str | None) -> str:
    return RERUN if job is None else _RERUN_FROM + job


def is_retry(state_name: str) -> bool:
    """Whether a run in a state of this name has run before and was asked for again."""
    return state_name in ("AwaitingRetry", RERUN) or state_name.startswith(_RERUN_FROM)


def rerun_from(state_name: str) -> str | None:
    """The job that `rerun_name` names; None for another state."""
    return state_name.removeprefix(_RERUN_FROM) if state_name.startswith(_RERUN_FROM) else None


@dataclass(frozen=True, kw_only=True)
class StateProposal:
    """A state to ask for, in Prefect's words. `scheduled_time` only with type SCHEDULED."""

    type: str
    name: str
    message: str = ""
    scheduled_time: datetime | None = None

    def body(self) -> dict[str, Any]:
        details = {} if self.scheduled_time is None else {"scheduled_time": iso(self.scheduled_time)}
        return {"type": self.type, "name": self.name, "message": clean(self.message), "state_details": details}


def proposal(state: RunState, message: str, *, at: datetime | None = None) -> StateProposal:
    """`state` for Prefect. For scheduled and retrying, `at` is when (None: now, filled in by the server)."""
    kind, name = _TO_PREFECT[state]
    if kind == "SCHEDULED" and at is None:
        at = datetime.now(UTC)
    return StateProposal(type=kind, name=name, message=message, scheduled_time=at if kind == "SCHEDULED" else None)


def run_state(kind: str, name: str | None) -> RunState:
    """Prefect's state in our words: by its name where we gave it, else by its type."""
    found = _BY_NAME.get(name or "")
    if found is not None and (_TO_PREFECT[found][0] == kind or kind == "SCHEDULED"):
        return found
    return _BY_TYPE.get(kind, RunState.PENDING)


def task_run_id(run_id: str, job: str) -> str:
    """The id of the task run of `job` in the flow run: the same wherever it is asked for."""
    return str(uuid.uuid5(_NAMESPACE, f"{run_id}/{job}"))


def task_run_event(
    *,
    run_id: str,
    flow: Flow,
    job: Job,
    state: RunState,
    time: datetime,
    attempt: int,
    reason: str = "",
    started: datetime | None = None,
) -> dict[str, Any]:
    """The event that makes the server store this state of the job's task run, with its edges (`task_inputs`).

    `time` is when the state was entered. The id of the event is that of the state: derived, so a repetition is dropped.
    """
    kind, name = _TO_PREFECT[state]
    task_id = task_run_id(run_id, job.name)
    members = {j.name for j in flow.jobs}
    inputs = {
        need.job: [{"input_type": "task_run", "id": task_run_id(run_id, need.job)}]
        for need in job.needs
        if need.job in members
    }
    task_run: dict[str, Any] = {
        "name": job.name,
        "task_key": job.name,
        "dynamic_key": "0",
        "run_count": attempt,
        "flow_run_run_count": 1,
        "task_inputs": inputs,
        "tags": sorted(job.tags),
        "empirical_policy": {"retries": job.retries.max},
        "expected_start_time": iso(started or time),
        "total_run_time": 0.0,
    }
    if started is not None:
        task_run["start_time"] = iso(started)
    if state.is_final:
        task_run["end_time"] = iso(time)
        if started is not None:
            task_run["total_run_time"] = max(0.0, (time - started).total_seconds())
    message = clean(reason)
    return {
        "id": str(uuid.uuid5(_NAMESPACE, f"{task_id}/{attempt}/{state}/{time.timestamp():.6f}")),
        "occurred": iso(time),
        "event": f"prefect.task-run.{name}",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{task_id}",
            "prefect.resource.name": job.name,
            "prefect.run-count": str(attempt),
            "prefect.state-message": message,
            "prefect.state-name": name,
            "prefect.state-timestamp": iso(time),
            "prefect.state-type": kind,
            "prefect.orchestration": "client",
        },
        "related": [{"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "flow-run"}],
        "payload": {
            "intended": {"from": None, "to": kind},
            "initial_state": None,
            "validated_state": {"type": kind, "name": name, "message": message, "state_details": {}, "data": None},
            "task_run": task_run,
        },
    }


def heartbeat_event(run_id: str, *, now: datetime) -> dict[str, Any]:
    """Prefect's own heartbeat of a flow run, for automations that watch for its absence."""
    return {
        "id": str(uuid.uuid4()),
        "occurred": iso(now),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run_id}"},
        "related": [],
        "payload": {},
    }


def clean(text: str, *, limit: int = 20_000) -> str:
    """What Postgres takes: no NUL, no lone surrogates; and not without bound."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()[:limit]
