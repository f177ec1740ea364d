"""One run of a flow on this node: wait for the instant, run its jobs as their dependencies allow, tell what happened.

The order of every step is: journal, act, journal, tell. The decisions are `core.dag`'s; processes are
`worker.process`'s; what Prefect and `control` hear goes through `worker.record` and `worker.control_link`, neither of
which is waited for before a command starts. Called by `worker.loop`, one task a run.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from homelab.core import dag, passing
from homelab.core.jobs import Job, RunState
from homelab.core.times import iso
from homelab.core.work import Work
from homelab.flows import records
from homelab.flows.api import Verdict
from homelab.worker.admission import Turn, overlap_of
from homelab.worker.attempt import Attempt
from homelab.worker.facts import RunFacts
from homelab.worker.journal import InFlight, Journal, Sent
from homelab.worker.leasing import Ask, Place, asks_little
from homelab.worker.node import Node
from homelab.worker.process import Outcome
from homelab.worker.record import Record
from homelab.worker.telling import Away, Telling

log = structlog.get_logger()

ASK_AHEAD_S = 2.0
"""So long before its instant a run asks for the leases of its first jobs."""
LATE_S = 60.0
"""A run later than this, due while nobody was looking, is not started: the missed-run policy decides."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Execution:
    """A claimed run. `execute` returns when everything has been done and told; `cancel` may be called at any time."""

    def __init__(self, node: Node, facts: RunFacts, journal: Journal, *, past: Mapping[str, Any] | None = None) -> None:
        """`past`: what `state` said of it, in this process before it executed itself anew."""
        self._node = node
        self._past = past
        self.facts = facts
        self.journal = journal
        self._record = Record(node.api, node.gate, facts.id, confirmed=node.confirmed)
        self._tell = Telling(node, facts, journal, self._record)
        self._cancelled = asyncio.Event()
        self._cancel_reason = ""
        self._leaving = asyncio.Event()
        self._wake = asyncio.Event()
        self._progress = dag.start(facts.flow)
        self._passed = dict(facts.passed)
        self.started: datetime | None = None
        self.running: dict[str, int] = {}
        self.sent: set[str] = set()
        """Jobs of it that run on other nodes."""
        self._stops: dict[str, asyncio.Event] = {}
        self._evicted: dict[str, str] = {}
        self._evictions: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._little: dict[str, bool] = {}

    def cancel(self, reason: str) -> None:
        """End what runs (SIGTERM, grace, SIGKILL) and start nothing more."""
        if not self._cancelled.is_set():
            self._cancel_reason = reason
            self._cancelled.set()
            for stop in self._stops.values():
                stop.set()
            self._wake.set()

    def evict(self, work: str, reason: str) -> None:
        """Stop one attempt, which makes room for other work; its job waits for a place again."""
        for name in self.running:
            if work == self._work(name) and not self._cancelled.is_set():
                self._evicted[name] = reason
                self._stops[name].set()

    def stop(self, reason: str) -> None:
        """As `cancel`, because this worker goes away: attempts count as crashed; the next worker resumes the run."""
        self._leaving.set()
        self.cancel(reason)

    def lose(self, node: str) -> None:
        """Another node has the run now: end what runs here, and tell nothing of it."""
        self._tell.moved_to = node
        self.stop(f"{node} has it now")

    def state(self) -> dict[str, Any] | None:
        """What of it is in no file, for the program that this process executes next; None before it has begun."""
        if self.started is None:
            return None
        return {"is_shown": self._record.is_shown, "events": self._record.untold()}

    @property
    def is_told(self) -> bool:
        return self._record.is_idle

    @property
    def moved_to(self) -> str:
        """The node that has the run now; "": this one."""
        return self._tell.moved_to

    @property
    def is_retried(self) -> bool:
        """Whether something that runs would be tried again, elsewhere, if this node were lost."""
        return any(
            self._progress[name].attempts - self._progress[name].base <= self.facts.flow.job(name).retries.max
            for name in self.running
        )

    @property
    def is_unbegun(self) -> bool:
        """Whether it waits for its instant or for room, and nothing of it was ever begun, here or elsewhere."""
        has_begun = self.started is not None or self.journal.state.started is not None or self.facts.resumed
        return not (has_begun or self._cancelled.is_set())

    async def execute(self) -> None:
        """Run to the end. Leaves the journal open when the worker stops before the run has ended."""
        record = asyncio.create_task(self._record.serve(), name=f"record {self.facts.id}")
        try:
            if self._past is not None or await self._wait_for_instant():
                await self._run()
            if self.moved_to:
                self.journal.hand_on(self.moved_to)
                return
            if self._leaving.is_set():
                return
            await record
            self.journal.close()
        finally:
            self._node.leasing.over(self.facts.id)
            record.cancel()

    async def _wait_for_instant(self) -> bool:
        """False when the run ends without having started. Sleeps in short steps: the clock may be set meanwhile."""
        first: list[Place] = []
        while (remaining_s := (self.facts.start_at - utc_now()).total_seconds()) > 0 and not self._cancelled.is_set():
            if remaining_s <= ASK_AHEAD_S:
                first = first or self._ask_for_first()
                if self._is_elsewhere(first):
                    return False
                remaining_s = min(remaining_s, 0.1 if any(p.state == "waiting" for p in first) else remaining_s)
            else:
                remaining_s -= ASK_AHEAD_S
            await _wait(self._cancelled, min(remaining_s, 2.0))
        self._node.starts.began()
        if self._cancelled.is_set():
            if not self._leaving.is_set():
                self._end_unstarted(RunState.CANCELLED, self._cancel_reason)
            return False
        if self._is_missed():
            self._end_unstarted(RunState.MISSED, "nobody was there to start it: the machine or its worker stood still")
            return False
        flow = self.facts.flow
        turn = self._node.admission.turn(flow.name, overlap_of(flow), self.facts.id)
        if turn is Turn.SKIP:
            others = ", ".join(sorted(self._node.admission.running(flow.name)))
            self._end_unstarted(RunState.SKIPPED, f"an earlier run has not ended ({others})")
            return False
        if turn is Turn.WAIT:
            self._node.leasing.over(self.facts.id)  # others may start while it waits
            first = []
            waiting = asyncio.create_task(self._node.admission.wait_turn(flow.name, self.facts.id))
            cancelled = asyncio.create_task(self._cancelled.wait())
            await asyncio.wait({waiting, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            cancelled.cancel()
            if not waiting.done():
                waiting.cancel()
                if not self._leaving.is_set():
                    self._end_unstarted(RunState.CANCELLED, self._cancel_reason)
                return False
        return await self._wait_for_place(first or self._ask_for_first())

    def _ask_for_first(self) -> list[Place]:
        """Ask for the leases of the jobs that start first. A run with one of them, and nothing done, may still go to
        another node."""
        facts, progress = self.facts, self._from_journal()
        past = self.journal.state
        names = [] if past.in_flight() or past.sent() else dag.ready(facts.flow, progress, utc_now())
        may_move = len(names) == 1 and not facts.resumed
        start_at = facts.start_at if may_move else None
        return [
            self._node.leasing.want(self._ask(facts.flow.job(name), progress[name].attempts + 1, start_at=start_at))
            for name in names
        ]

    async def _wait_for_place(self, first: list[Place]) -> bool:
        """Until the first of the jobs that start has its lease: until then the run is pending, not running."""
        while first and not self._cancelled.is_set() and all(place.state == "waiting" for place in first):
            await first_of(self._cancelled, *(place.settled for place in first))
        if not self._cancelled.is_set() and not self._is_elsewhere(first):
            return True
        self._node.admission.leave(self.facts.flow.name, self.facts.id)
        if not (self._leaving.is_set() or self.moved_to):
            self._end_unstarted(RunState.CANCELLED, self._cancel_reason)
        return False

    def _is_elsewhere(self, first: Iterable[Place]) -> bool:
        for place in first:
            if place.state == "elsewhere":
                log.info("run.moved", run_id=self.facts.id, node=place.node)
                self._tell.moved_to = place.node
        return bool(self.moved_to)

    def _ask(self, job: Job, attempt: int, *, start_at: datetime | None = None) -> Ask:
        return Ask(
            run=self.facts.id,
            job=job.name,
            attempt=attempt,
            digest=self.facts.digest,
            is_plain=self._asks_little(job),
            is_free=self._asks_little(job) and not job.exclusive,
            since=self._since.setdefault(job.name, time.monotonic()),
            evictions=self._evictions.get(job.name, 0),
            start_at=start_at,
        )

    def _asks_little(self, job: Job) -> bool:
        if job.name not in self._little:
            self._little[job.name] = asks_little(job)
        return self._little[job.name]

    def _work(self, name: str) -> str:
        return str(Work(self.facts.id, name, self._progress[name].attempts))

    def _is_missed(self) -> bool:
        facts = self.facts
        if facts.due is None or facts.late_ok or facts.resumed:
            return False
        return (utc_now() - facts.start_at).total_seconds() > LATE_S

    def _end_unstarted(self, state: RunState, reason: str) -> None:
        self.journal.run_finished(state=state, reason=reason, time=utc_now())
        kinds = {RunState.SKIPPED: "run.skipped", RunState.MISSED: "run.missed"}
        kind = kinds.get(state, "run.finished")
        self._tell.report(kind, state=state, started=None, ended=iso(utc_now()), time=iso(utc_now()), reason=reason)
        self._record.state(records.proposal(state, reason), final=True)

    async def _run(self) -> None:
        facts = self.facts
        try:
            async with self._node.admission.door(facts.flow.jobs[0].queue):
                if self._leaving.is_set():
                    return
                self._begin()
            await self._run_jobs()
            if self._leaving.is_set():
                return
            state, reason = dag.result(self._progress)
            if self._cancelled.is_set():
                state, reason = RunState.CANCELLED, self._cancel_reason
            self.journal.run_finished(state=state, reason=reason, time=utc_now())
            self._tell.report(
                "run.finished", state=state, started=iso(self.started), ended=iso(utc_now()), reason=reason
            )
            self._record.state(records.proposal(state, reason), final=True)
        finally:
            self._node.admission.leave(facts.flow.name, facts.id)

    def _begin(self) -> None:
        """Progress as the journal has it: empty for a new run, what was achieved for one that is resumed."""
        facts = self.facts
        past = self.journal.state
        self.started = utc_now()
        self._progress = self._from_journal()
        self._passed |= past.passed()
        taken_up = self._node.launcher.taken_up(facts.id)
        for left in past.in_flight():
            if left.work(facts.id) in taken_up:
                self._progress = dag.started(self._progress, left.job, left.attempt)
            else:
                self._after_crash(left, past.crash_reason)
        if self._past is not None:
            self.started = past.started or self.started
            self._record.events(self._past["events"])
            if self._past["is_shown"]:
                return
        self.journal.run_started(time=self.started)
        self._tell.report("run.started", time=iso(self.started), worker=self._node.worker, node=self._node.name)
        self._record.state(records.proposal(RunState.RUNNING, ""), on_verdict=self._on_running, force=facts.resumed)

    def _from_journal(self) -> dag.Progress:
        facts, past = self.facts, self.journal.state
        return dag.start(
            facts.flow,
            only=facts.only,
            skip=facts.skip,
            kept=past.kept(),
            attempts=past.attempts(),
            base=past.base(),
            retry_at=past.retry_at(),
        )

    def _on_running(self, verdict: Verdict) -> None:
        """Running was not taken: somebody cancelled or deleted the run between claim and start, and wins."""
        if not verdict.accepted and verdict.state_type in ("CANCELLED", "CANCELLING"):
            self.cancel("cancelled before it started")

    async def _run_jobs(self) -> None:
        async with asyncio.TaskGroup() as group:
            for sent in self.journal.state.sent():
                self._progress = dag.started(self._progress, sent.job, sent.attempt)
                group.create_task(self._follow(self.facts.flow.job(sent.job), sent), name=f"sent {sent.job}")
            taken_up = self._node.launcher.taken_up(self.facts.id)
            for left in self.journal.state.in_flight():
                if attempt := taken_up.get(left.work(self.facts.id)):
                    job = self.facts.flow.job(left.job)
                    group.create_task(self._go_on(job, left, attempt), name=f"job {job.name}")
            while True:
                now = utc_now()
                if self._cancelled.is_set():
                    self._progress = dag.cancel(self.facts.flow, self._progress, self._cancel_reason)
                self._progress, settled = dag.settle(self.facts.flow, self._progress)
                for name in settled:
                    self._tell.not_run(self.facts.flow.job(name), self._progress[name])
                for name in dag.ready(self.facts.flow, self._progress, now):
                    self._progress = dag.started(self._progress, name)
                    group.create_task(self._run_job(self.facts.flow.job(name)), name=f"job {name}")
                if dag.is_finished(self._progress):
                    return
                wake_at = dag.next_wake(self._progress)
                await _wait(self._wake, None if wake_at is None else max(0.0, (wake_at - utc_now()).total_seconds()))
                self._wake.clear()

    async def _run_job(self, job: Job) -> None:
        """One attempt, from waiting for its lease and its slot to its report."""
        attempt = self._progress[job.name].attempts
        stop = self._stops[job.name] = asyncio.Event()
        if self._cancelled.is_set():
            stop.set()
        place = self._node.leasing.want(self._ask(job, attempt))
        await first_of(place.settled, stop)
        if place.state == "elsewhere":
            self.lose(place.node)
        if place.state == "sent" and place.token is not None and not self._cancelled.is_set():
            sent = Sent(job=job.name, attempt=attempt, node=place.node, token=place.token)
            self.journal.attempt_sent(job=job.name, attempt=attempt, node=place.node, token=place.token)
            await self._follow(job, sent)
            return
        async with self._node.admission.start(job.queue, job.exclusive):
            if self._cancelled.is_set():
                now = utc_now()
                outcome = Outcome.not_started(RunState.CANCELLED, self._cancel_reason, now)
                self._settle_attempt(job, attempt, outcome, None)
                return

            def on_start(pid: int, started: datetime) -> None:
                self._node.starts.began()
                self.running[job.name] = pid
                self._since.pop(job.name, None)
                self.journal.attempt_started(job=job.name, attempt=attempt, pid=pid, time=started, token=place.token)
                self._tell.attempt_started(job, attempt, started, pid)

            made = self._node.launcher.run(
                job,
                self.facts,
                number=attempt,
                handed=passing.handed_to(job, self._passed),
                log_path=self._log_path(job.name, attempt),
                cancel=stop,
                cancel_reason=lambda: self._evicted.get(job.name) or self._cancel_reason,
                on_start=on_start,
            )
            await self._see_through(job, attempt, made, since=place.ask.since)

    async def _go_on(self, job: Job, left: InFlight, attempt: Attempt) -> None:
        """An attempt that runs since before this process executed itself anew."""
        stop = self._stops[job.name] = asyncio.Event()
        if self._cancelled.is_set():
            stop.set()
        place = self._node.leasing.keep(self._ask(job, left.attempt), left.token)
        self._since.pop(job.name, None)
        self.running[job.name] = left.pid
        made = self._node.launcher.go_on(
            attempt, job, cancel=stop, cancel_reason=lambda: self._evicted.get(job.name) or self._cancel_reason
        )
        await self._see_through(job, left.attempt, made, since=place.ask.since)

    async def _see_through(self, job: Job, attempt: int, made: Awaitable[Outcome], *, since: float) -> None:
        """From an attempt that `made` makes to its report."""
        path = self._log_path(job.name, attempt)
        try:
            with self._node.showing(path, run=self.facts.id, job=job.name):
                outcome = await made
        finally:
            self.running.pop(job.name, None)
        evicted = self._evicted.pop(job.name, "")
        if evicted and outcome.state is RunState.CANCELLED and not self._cancelled.is_set():
            self._settle_eviction(job, attempt, outcome, path, since=since)
        else:
            self._settle_attempt(job, attempt, outcome, path)

    async def _follow(self, job: Job, sent: Sent) -> None:
        """An attempt that another node makes, until its end is known; when this worker goes away before, the next one
        asks on."""
        stop = self._stops.setdefault(job.name, asyncio.Event())
        attempt, since = sent.attempt, self._since.get(job.name)
        work = str(Work(self.facts.id, job.name, attempt))
        self.sent.add(job.name)
        errand = self._node.errands.follow(
            work,
            sent.token,
            task=lambda: self._task(job, attempt),
            on_start=lambda pid, at: self._tell.attempt_started(job, attempt, at, pid, token=sent.token, on=sent.node),
        )
        try:
            await first_of(errand.ended, stop)
            if not errand.ended.is_set() and not self._leaving.is_set():
                self._node.errands.stop(errand, self._cancel_reason)
                await first_of(errand.ended, self._leaving)
        finally:
            self._node.errands.leave(errand)
            self.sent.discard(job.name)
        if self._leaving.is_set():
            self._progress = dag.left(self._progress, job.name, self._cancel_reason)
            self._wake.set()
            return
        away = Away(node=sent.node, token=sent.token, tail=errand.tail)
        if errand.outcome is None:
            lost = Outcome.not_started(RunState.CANCELLED, f"{sent.node} was lost before it began", utc_now())
            self._settle_eviction(job, attempt, lost, None, since=since, evictions=0, away=away)
        elif errand.is_evicted and not self._cancelled.is_set():
            self._settle_eviction(job, attempt, errand.outcome, None, since=since, evictions=1, away=away)
        else:
            self._settle_attempt(job, attempt, errand.outcome, None, away=away)

    def _task(self, job: Job, attempt: int) -> dict[str, Any]:
        """What another node needs to know to make the attempt (`control.sent.Task`)."""
        used = attempt - self._progress[job.name].base
        handed = passing.handed_to(job, self._passed)
        return {
            "digest": self.facts.digest,
            "flow": self.facts.flow.name,
            "due": iso(self.facts.due),
            "params": dict(self.facts.params),
            "handed": {name: one.to_json() for name, one in handed.items()},
            "is_retried": used <= job.retries.max,
        }

    def _settle_eviction(
        self,
        job: Job,
        attempt: int,
        outcome: Outcome,
        path: Path | None,
        *,
        since: float | None,
        evictions: int = 1,
        away: Away | None = None,
    ) -> None:
        """The job waits again, with its old turn."""
        self._evictions[job.name] = self._evictions.get(job.name, 0) + evictions
        if since is not None:
            self._since[job.name] = since
        self._progress = dag.put_back(self._progress, job.name, outcome.reason)
        self.journal.attempt_stopped(job=job.name, attempt=attempt, reason=outcome.reason, time=outcome.ended)
        self._tell.attempt_ended(job, attempt, outcome, path, retry_at=outcome.ended, away=away)
        self._tell.task_event(job, RunState.RETRYING, outcome.ended, attempt, outcome.reason, started=outcome.started)
        self._wake.set()

    def _settle_attempt(
        self,
        job: Job,
        attempt: int,
        outcome: Outcome,
        path: Path | None,
        *,
        token: int | None = None,
        away: Away | None = None,
    ) -> None:
        if self._leaving.is_set() and outcome.state is RunState.CANCELLED:
            # Ended by us because we go: left in flight in the journal, so the next worker counts it as crashed.
            self._progress = dag.left(self._progress, job.name, self._cancel_reason)
            self._wake.set()
            return
        self._progress = dag.after_attempt(
            self.facts.flow, self._progress, job.name, outcome.state, outcome.ended, random.random(), outcome.reason
        )
        after = self._progress[job.name]
        self._passed[job.name] = outcome.passed
        self.journal.attempt_finished(
            job=job.name,
            attempt=attempt,
            state=outcome.state,
            exit_code=outcome.exit_code,
            reason=outcome.reason,
            time=outcome.ended,
            passed=outcome.passed,
        )
        self._tell.attempt_ended(job, attempt, outcome, path, retry_at=after.retry_at, token=token, away=away)
        self._tell.task_event(job, after.state, outcome.ended, attempt, outcome.reason, started=outcome.started)
        self._wake.set()

    def _after_crash(self, crash: InFlight, reason: str) -> None:
        now = utc_now()
        outcome = Outcome.not_started(RunState.CRASHED, reason, now)
        self._progress = dag.started(self._progress, crash.job, crash.attempt)
        path = self._log_path(crash.job, crash.attempt)
        self._settle_attempt(
            self.facts.flow.job(crash.job), crash.attempt, outcome.since(crash.started), path, token=crash.token
        )

    def _log_path(self, job: str, attempt: int) -> Path:
        return self._node.home.run_folder(self.facts.id) / f"{job}.{attempt}.log"


async def first_of(*events: asyncio.Event) -> None:
    """Until one of them is set; without a task when one is already."""
    if any(event.is_set() for event in events):
        return
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
