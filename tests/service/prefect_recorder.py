"""Prefect, played by a recorder with its rules for what `control` asks of it: idempotency keys, states, deletion."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from homelab.flows.api import DUE_RUNS, DueRun, PrefectRefused, PrefectUnavailable, RunView, Verdict


@dataclass
class Recorded:
    """One run as the recorder has it. `name`: of its state."""

    id: str
    key: str | None
    due: datetime
    parameters: Mapping[str, Any]
    deployment: str
    state: str = "SCHEDULED"
    name: str = "Scheduled"


@dataclass
class Recorder:
    """Prefect, as far as `control` asks it. `fails_at`: the number of the call that fails, before it has an effect or
    (`after`) when it had one."""

    runs: dict[str, Recorded] = field(default_factory=dict)
    deployments: dict[str, str] = field(default_factory=dict)
    is_away: bool = False
    fails_at: int = -1
    after: bool = False
    calls: int = 0
    ids: Iterator[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        self.calls += 1
        fails = self.calls == self.fails_at
        if self.is_away or (fails and not self.after):
            raise PrefectUnavailable("away")
        yield
        if fails:
            raise PrefectUnavailable("away after it was done")

    async def ensure_pool(self, name: str) -> None:
        with self._call():
            pass

    async def put_deployment(self, flow: Any, *, pool: str) -> str:
        with self._call():
            return self.deployments.setdefault(flow.name, f"d-{flow.name}-{next(self.ids)}")

    async def delete_deployment(self, deployment: str) -> None:
        with self._call():
            self.deployments = {k: v for k, v in self.deployments.items() if v != deployment}

    async def create_run(
        self, deployment: str, *, name: str, due: datetime, idempotency_key: str | None, parameters: Any
    ) -> str:
        with self._call():
            if deployment not in self.deployments.values():
                raise PrefectRefused(404, "no such deployment")
            for run in self.runs.values():
                if idempotency_key and run.key == idempotency_key and run.deployment == deployment:
                    return run.id
            run_id = f"run-{next(self.ids)}"
            self.runs[run_id] = Recorded(run_id, idempotency_key, due, parameters, deployment)
            return run_id

    async def delete_runs(self, runs: Sequence[str]) -> None:
        for run in runs:
            with self._call():
                self.runs.pop(run, None)

    async def read_runs(self, runs: Sequence[str]) -> list[RunView]:
        with self._call():
            return [_view(self.runs[r]) for r in runs if r in self.runs]

    async def read_run(self, run: str) -> RunView | None:
        with self._call():
            return _view(self.runs[run]) if run in self.runs else None

    async def find_run(self, key: str) -> str | None:
        with self._call():
            return next((r.id for r in self.runs.values() if r.key == key), None)

    async def set_state(self, run: str, state: Any, *, force: bool = True) -> Verdict:
        with self._call():
            self.runs[run].state, self.runs[run].name = state.type, state.name
            self.runs[run].due = state.scheduled_time or self.runs[run].due
            return Verdict(accepted=True, state_type=state.type, state_name=state.name)

    propose = set_state

    async def due_runs(self, pool: str, *, before: datetime, after: datetime | None = None) -> list[DueRun]:
        with self._call():
            due = [r for r in self.runs.values() if r.state == "SCHEDULED" and r.due <= before]
            due = [r for r in due if after is None or r.due >= after]
            return [_due(r) for r in sorted(due, key=lambda r: r.due)[:DUE_RUNS]]

    async def cancelling_runs(self, pool: str) -> list[str]:
        with self._call():
            return [r.id for r in self.runs.values() if r.state == "CANCELLING"]

    def work(self, now: datetime) -> list[Recorded]:
        """Take what is due, as a worker does."""
        due = [r for r in self.runs.values() if r.state == "SCHEDULED" and r.due <= now]
        for run in due:
            run.state, run.name = "COMPLETED", "Completed"
        return due


def _view(run: Recorded) -> RunView:
    return RunView(
        id=run.id, name="", state_type=run.state, state_name=run.name, message="nobody was there",
        parameters=run.parameters, deployment_id=run.deployment,
    )  # fmt: skip


def _due(run: Recorded) -> DueRun:
    return DueRun(
        id=run.id, name=f"{run.deployment.split('-')[1]} 2026-01-01 00:00", due=run.due, deployment_id=run.deployment,
        flow_id="", parameters=run.parameters, tags=(), run_count=0, state_name=run.name,
    )  # fmt: skip
