"""What is told of a run, from its journal: reports to control, task runs to Prefect. Called by `worker.execution`."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from homelab.core.dag import JobProgress
from homelab.core.jobs import Job, RunState
from homelab.core.times import iso
from homelab.core.work import Work
from homelab.flows import records
from homelab.worker import runlog
from homelab.worker.facts import RunFacts
from homelab.worker.journal import Journal
from homelab.worker.node import Node
from homelab.worker.process import Outcome
from homelab.worker.record import Record

TAIL_LINES = 20


@dataclass(frozen=True, kw_only=True)
class Away:
    """What is told of an attempt that another node made: that node, its lease, the last lines of its output."""

    node: str
    token: int
    tail: tuple[str, ...]


class Telling:
    """All that is told of one run. `moved_to`: another node has it now, and nothing is."""

    def __init__(self, node: Node, facts: RunFacts, journal: Journal, record: Record) -> None:
        self._node = node
        self._facts = facts
        self._journal = journal
        self._record = record
        self.moved_to = ""

    def _work(self, job: str, attempt: int) -> str:
        return str(Work(self._facts.id, job, attempt))

    def attempt_ended(
        self,
        job: Job,
        attempt: int,
        outcome: Outcome,
        path: Path | None,
        *,
        retry_at: datetime | None,
        token: int | None = None,
        away: Away | None = None,
    ) -> None:
        """With the token of its lease, which ends when this is taken. `token`: of the lease that an earlier worker
        had. `away`: another node made it."""
        tail = [] if path is None else [runlog.text(record) for record in runlog.tail(path, TAIL_LINES)]
        if away is not None:
            tail, token = list(away.tail), away.token
        held = self._node.leasing.done(self._work(job.name, attempt))
        self.report(
            "job.finished",
            job=job.name,
            attempt=attempt,
            started=iso(outcome.started),
            ended=iso(outcome.ended),
            state=outcome.state,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            reason=outcome.reason,
            output_bytes=outcome.output_bytes,
            output_lines=outcome.output_lines,
            tail=tail,
            retry_at=iso(retry_at),
            worker=self._node.worker,
            node=self._node.name,
            facts=outcome.facts,
            token=token if held is None else held,
            **({} if away is None else {"on": away.node}),
            **outcome.passed.to_json(),
        )

    def attempt_started(
        self, job: Job, attempt: int, started: datetime, pid: int, *, token: int | None = None, on: str = ""
    ) -> None:
        self.report(
            "job.started",
            job=job.name,
            attempt=attempt,
            time=iso(started),
            pid=pid,
            worker=self._node.worker,
            node=self._node.name,
            token=token or self._node.leasing.token(self._work(job.name, attempt)),
            **({"on": on} if on else {}),
        )
        self.task_event(job, RunState.RUNNING, started, attempt, "", started=started)

    def not_run(self, job: Job, settled: JobProgress) -> None:
        """The job is skipped or blocked, as `settled` says."""
        now = datetime.now(UTC)
        self.report(
            "job.finished",
            job=job.name,
            attempt=settled.attempts,
            started=None,
            ended=iso(now),
            state=settled.state,
            exit_code=None,
            signal=None,
            reason=settled.reason,
            output_bytes=0,
            output_lines=0,
            tail=[],
            retry_at=None,
            worker=self._node.worker,
            node=self._node.name,
        )
        self.task_event(job, settled.state, now, settled.attempts, settled.reason, started=None)

    def task_event(
        self, job: Job, state: RunState, time: datetime, attempt: int, reason: str, *, started: datetime | None
    ) -> None:
        self._record.events(
            [
                records.task_run_event(
                    run_id=self._facts.id,
                    flow=self._facts.flow,
                    job=job,
                    state=state,
                    time=time,
                    attempt=attempt,
                    reason=reason,
                    started=started,
                )
            ]
        )

    def report(self, kind: str, **fields: Any) -> None:
        if self.moved_to:
            return
        report = {
            "id": str(uuid.uuid4()),
            "kind": kind,
            "run": self._facts.id,
            "flow": self._facts.flow.name,
            "due": iso(self._facts.due),
            **fields,
        }
        self._journal.report(report)
        self._node.reports.add(report, lambda: self._journal.delivered(str(report["id"])))
