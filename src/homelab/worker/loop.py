"""The resident worker: ask for runs that are due soon, claim each, execute them, survive what goes away around it.

One asyncio process a node. It never decides when something is due (that is `control`'s ledger) and never waits for
the server to start a command it has claimed. Run by `worker.entry`.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psutil
import structlog

from homelab import __version__
from homelab.core import dag, versions
from homelab.core.capacity import requirements_of
from homelab.core.errors import RefusedError
from homelab.core.jobs import RunState
from homelab.core.times import iso, moment
from homelab.core.work import Work
from homelab.flows import records
from homelab.flows.api import DUE_RUNS, POOL, DueRun, PrefectApi, PrefectRefused, PrefectUnavailable
from homelab.home.paths import Home
from homelab.worker import journal as journals
from homelab.worker import registration
from homelab.worker.admission import DEFAULT_CONCURRENCY, Admission
from homelab.worker.artefacts import Artefacts
from homelab.worker.control_link import ControlLink, ControlRefused, ControlUnavailable, Outbox, retried
from homelab.worker.execution import LATE_S, Execution, Node, utc_now
from homelab.worker.facts import RunFacts
from homelab.worker.farewell import hear_of_sleep, leaving, say_farewell
from homelab.worker.foreign import Foreign
from homelab.worker.guests import Guests
from homelab.worker.handover import Handover
from homelab.worker.holding import Holding
from homelab.worker.journal import Journal
from homelab.worker.launch import Launcher
from homelab.worker.leasing import Leasing
from homelab.worker.log_copies import LogCopies
from homelab.worker.log_shipping import LogShipping
from homelab.worker.record import Gate
from homelab.worker.sensors import own
from homelab.worker.sensors.sensing import Sensors
from homelab.worker.sent import Errands
from homelab.worker.starts import Starts

log = structlog.get_logger()

POLL_S = 10.0
"""How often it asks for due runs without being told to."""
CLAIM_AHEAD_S = 25.0
"""As far ahead as `control` hands out runs: more than two polls."""
POLL_AGAIN_S = 1.0
"""How soon it asks again when Prefect has more runs that are due than it tells at once."""
ASK_S = 8.0
"""So long `control` may take to say what there is to do."""
HEARTBEAT_S = 10.0
BEAT_AGAIN_S = 1.0
PREFECT_HEARTBEAT_S = 30.0
GAP_S = 30.0
"""A loop step this much later than planned means the machine slept or the process was stopped."""
DRAIN_S = 10.0
PRUNE_S = 3600.0

Json = dict[str, Any]


class Worker:
    """Owns the set of executions. Every method runs in one event loop."""

    def __init__(
        self,
        home: Home,
        *,
        name: str,
        node: str,
        api: PrefectApi,
        link: ControlLink,
        prefect: Mapping[str, str],
        past: Json | None = None,
    ) -> None:
        """`past`: what `handover` got of it, in this process before it executed itself anew."""
        self.home = home
        self.name = name
        self.api = api
        self.link = link
        self.started = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
        self.admission = Admission()
        self.leasing = Leasing(link, node)
        self.errands = Errands(link, node)
        self._active: dict[str, Execution | None] = {}
        self.holding = Holding(self.leasing, self._active, is_remote=link.is_remote)
        self.artefacts = Artefacts(home, link)
        self.launcher = Launcher(home, self.artefacts, prefect=prefect)
        starts = Starts()
        self.shared = Node(
            home=home,
            worker=name,
            name=node,
            api=api,
            gate=Gate(4, starts=starts),
            reports=Outbox(link, starts=starts),
            shipping=LogShipping(api),
            copies=LogCopies(home, link),
            admission=self.admission,
            leasing=self.leasing,
            errands=self.errands,
            launcher=self.launcher,
            starts=starts,
            confirmed=self.holding.confirmed,
        )
        self.guests = Guests(self.shared, link)
        self.sensors = Sensors(home.root)
        self._claims = Gate(4)
        self._unwanted: dict[str, str] = {}
        """Why runs that are just being claimed are not to be started."""
        self._foreign: dict[str, Foreign] = {}
        self.handover = Handover(self.shared, self.guests, active=self._active, foreign=self._foreign, past=past)
        self._looking_since = utc_now()
        self._poll_now = asyncio.Event()
        self._stop = asyncio.Event()
        self._says_farewell = False
        self._drain_s = DRAIN_S
        self._concurrency = DEFAULT_CONCURRENCY
        self._replaces: dict[str, Any] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._has_registered = False
        self._apart = ""
        """Why nothing new is begun here: control is of another release."""

    def stop(self, *, now: bool = False) -> None:
        """End. What runs gets a moment to end by itself, or none."""
        self._drain_s = 0.0 if now else self._drain_s
        self.handover.end()
        self._says_farewell = self._has_registered
        self._stop.set()

    async def serve(self) -> None:
        """Work until `stop`; then drain what runs for a short while, and leave the rest to the next worker."""
        self.holding.left = {j.run_id: j for j in journals.open_journals(self.home, worker=self.name)}
        await self.handover.take_up(self.holding.left)
        await self._register()
        async with asyncio.TaskGroup() as group:
            self._group = group
            telling = [self.shared.reports, self.guests.tells, self.shared.shipping, self.shared.copies]
            asking = [self.artefacts, self.leasing, self.errands]
            tells = [group.create_task(one.serve(), name=type(one).__name__) for one in (*telling, *asking)]
            hear_of_sleep(self._tell_sleep)
            self._recover(group)
            for foreign in self.handover.foreign():
                self._active[foreign.run_id] = None
                group.create_task(self._run_foreign(foreign), name=f"run {foreign.run_id}")
            await self.guests.recover(group)
            await self.handover.drop_strays()
            loops = [self._heartbeats, self._prefect_heartbeats, self._listen, lambda: self._poll(group), self._prune]
            looks = [group.create_task(loop()) for loop in loops]
            await self._stop.wait()
            for task in looks:
                task.cancel()
            if self._says_farewell:
                said = leaving(self._executions(), is_alone=self.leasing.is_alone)
                group.create_task(say_farewell(self._beat(**said)), name="farewell")
            await self._drain()
            for task in tells:
                task.cancel()
        await self.launcher.aclose()

    # -- starting and stopping ------------------------------------------------------------------------------------

    async def _register(self) -> None:
        """The first heartbeat, before anything is claimed: a second worker of this name is refused here, on this
        machine or another, and so is a node whose token is no good."""
        self._replaces = registration.last(self.home, self.name)
        await retried(self._beat, what="first heartbeat")
        self._replaces = None
        kept = len(self.launcher.under_way)
        registration.note(self.home, self.name, pid=os.getpid(), started=iso(self.started), kept=kept)
        await self._claims.until_taken(lambda: self.api.ensure_pool(POOL), what="pool")

    def _recover(self, group: asyncio.TaskGroup) -> None:
        """Take up the runs that an earlier worker of this name left open (see ADR 0007), or that this one stopped while
        it was out of reach. Those that another node has now were taken out of them by the heartbeat before."""
        left, self.holding.left = self.holding.left, {}
        for journal in left.values():
            if journal.state.finished:
                group.create_task(self._deliver_finished(journal), name=f"deliver {journal.run_id}")
                continue
            self._active[journal.run_id] = None
            group.create_task(self._resume(journal), name=f"resume {journal.run_id}")

    async def _resume(self, journal: Journal) -> None:
        try:
            taken_up = self.launcher.taken_up(journal.run_id)
            past = self.handover.past_of(journal)
            await asyncio.to_thread(journal.end_survivors, but=taken_up)
            flow = await retried(lambda: self.link.definition(journal.digest), what="definition")
            began = journal.state.started is not None
            if began and past is None:
                await self._show_crash(journal)
            facts = journal.facts(flow, resumed=began)
            self._redeliver(journal)
            await self._execute(Execution(self.shared, facts, journal, past=past))
        except Exception as error:  # its journal stays open: the next worker tries again
            log.error("resume.broken", run_id=journal.run_id, exc_info=error)
            for work in self.launcher.taken_up(journal.run_id):
                await self.launcher.drop(work)
        finally:
            self.admission.leave(str(journal.header["flow"]), journal.run_id)
            self._active.pop(journal.run_id, None)

    async def _show_crash(self, journal: Journal) -> None:
        """The crash becomes visible in Prefect before the run goes on: Running -> Crashed -> AwaitingRetry."""
        reason = journal.state.crash_reason
        for state in (records.proposal(RunState.CRASHED, reason), records.proposal(RunState.RETRYING, reason)):
            try:
                await self._claims.until_taken(
                    lambda state=state: self.api.set_state(journal.run_id, state, force=True), what="crashed"
                )
            except PrefectRefused as error:
                log.warning("prefect.refused", run_id=journal.run_id, error=str(error))

    async def _deliver_finished(self, journal: Journal) -> None:
        """The run had ended; only the telling was interrupted."""
        self._redeliver(journal)
        if past := self.handover.past_of(journal):
            with contextlib.suppress(PrefectRefused):
                await self._claims.until_taken(lambda: self.api.send_events(past["events"]), what="events")
        state, reason = journal.state.result()
        if journal.state.told:
            journal.close()
            return
        try:
            await self._claims.until_taken(
                lambda: self.api.set_state(journal.run_id, records.proposal(state, reason), force=True), what="final"
            )
        except PrefectRefused as error:
            log.warning("prefect.refused", run_id=journal.run_id, error=str(error))
        journal.close()

    def _redeliver(self, journal: Journal) -> None:
        written = {attempt.log_path for attempt in self.launcher.taken_up(journal.run_id).values()}
        self.shared.copies.recovered(journal.run_id, but=written)
        for report in journal.state.undelivered():
            self.shared.reports.add(report, lambda report=report: journal.delivered(report["id"]))

    async def _drain(self) -> None:
        began = time.monotonic()
        while self._running() and time.monotonic() - began < self._drain_s:
            await asyncio.sleep(0.1)
        for execution in self._executions():
            execution.stop("the lab was stopped while it ran")
        self.guests.leave()
        deadline = time.monotonic() + 15.0
        while self._is_busy() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def _is_busy(self) -> bool:
        shared = self.shared
        return bool(self._active or shared.reports.unsent or shared.copies.unsent) or self.guests.is_busy

    def _executions(self) -> list[Execution]:
        return [e for e in self._active.values() if e is not None]

    def _running(self) -> bool:
        return any(e.running for e in self._executions()) or self.guests.is_running

    # -- finding and claiming -------------------------------------------------------------------------------------

    async def _poll(self, group: asyncio.TaskGroup) -> None:
        planned = time.time()
        while True:
            if time.time() - planned > GAP_S:
                self._looking_since = utc_now()
            planned = time.time() + POLL_S
            pause_s = POLL_S
            try:
                if self._apart:
                    raise PrefectUnavailable(self._apart)
                runs, cancelling, more = await self._ask_for_work()
                pause_s = POLL_AGAIN_S if more else POLL_S
                for due in runs:
                    if due.id not in self._active:
                        self._active[due.id] = None
                        group.create_task(self._take(due), name=f"run {due.name}")
                for run_id in cancelling:
                    await self._cancel(run_id, "cancelled in Prefect")
            except (PrefectUnavailable, PrefectRefused, ControlUnavailable, ControlRefused) as error:
                log.warning("poll.failed", error=str(error))
            try:
                async with asyncio.timeout(pause_s):
                    await self._poll_now.wait()
            except TimeoutError:
                pass
            self._poll_now.clear()

    async def _ask_for_work(self) -> tuple[Sequence[DueRun], Sequence[str], bool]:
        """The runs that this node is to claim, those to be cancelled, and whether there are more to claim: from
        `control`, which knows the other nodes. While it is away, and there are no others, from Prefect itself."""
        body = {"worker": self.name, "node": self.shared.name}
        try:
            answer = await self.link.call("POST", "/api/v1/worker/due", body, timeout_s=ASK_S)
        except ControlUnavailable:
            if not self.leasing.is_alone:
                raise
            before = utc_now() + timedelta(seconds=CLAIM_AHEAD_S)
            due = await self.api.due_runs(POOL, before=before)
            return due, await self.api.cancelling_runs(POOL), len(due) >= DUE_RUNS
        self.leasing.is_alone = bool(answer["alone"])
        if self._group is not None:
            self.guests.take(answer.get("guests", ()), self._group)
        due = [DueRun.from_json(run) for run in answer["runs"]]
        return due, [str(run) for run in answer["cancelling"]], bool(answer.get("more"))

    async def _take(self, due: DueRun) -> None:
        """Claim one run and execute it, or leave it to whoever was first."""
        try:
            retry = records.is_retry(due.state_name)
            if self._is_missed(due, retry=retry):
                await self._give_up_missed(due)
                return
            if not await self._claim(due):
                return
            if "definition" not in due.parameters:
                await self._run_foreign(Foreign(self.shared, due))
                return
            digest = str(due.parameters["definition"])
            flow = await retried(lambda: self.link.definition(digest), what="definition")
            facts = _facts(due, digest, flow, retry=retry)
            anew = records.rerun_from(due.state_name)
            redo = () if anew is None else dag.onward(flow, anew)
            is_afresh = due.state_name == records.RERUN
            elsewhere = await self._progress_elsewhere(due.id) if retry and not self.leasing.is_alone else None
            journal = journals.open_or_create(self.home, facts, worker=self.name, afresh=is_afresh, redo=redo)
            if elsewhere is not None:
                journal.adopt(elsewhere)
            await self._execute(Execution(self.shared, facts, journal))
        except (PrefectRefused, ControlRefused) as error:
            log.error("run.not_taken", run_id=due.id, error=str(error))
        except Exception as error:  # a fault of ours in one run must not end the others
            log.error("run.broken", run_id=due.id, exc_info=error)
        finally:
            self._active.pop(due.id, None)
            self._unwanted.pop(due.id, None)

    async def _run_foreign(self, foreign: Foreign) -> None:
        self._foreign[foreign.run_id] = foreign
        try:
            await foreign.execute()
        except Exception as error:  # a fault of ours in one run must not end the others
            log.error("run.broken", run_id=foreign.run_id, exc_info=error)
        finally:
            self._active.pop(foreign.run_id, None)
            self._foreign.pop(foreign.run_id, None)

    async def _progress_elsewhere(self, run_id: str) -> dict[str, Any] | None:
        """What control knows of a run that is done again: another node may have worked on it."""
        path = f"/api/v1/worker/runs/{run_id}/progress"
        try:
            return await retried(lambda: self.link.call("GET", path), what="progress")
        except ControlRefused as error:
            if error.status == 404:  # a run that the lab does not know, or a control that knows no such question
                return None
            raise

    async def _execute(self, execution: Execution) -> None:
        self._active[execution.facts.id] = execution
        if reason := self._unwanted.get(execution.facts.id):
            execution.cancel(reason)
        if self._stop.is_set():
            execution.stop("the lab was stopped before it began")
        await execution.execute()

    def _is_missed(self, due: DueRun, *, retry: bool) -> bool:
        late_s = (utc_now() - due.due).total_seconds()
        by_hand = due.parameters.get("due") is None and "definition" in due.parameters
        if late_s <= LATE_S or retry or by_hand or due.parameters.get("catch_up"):
            return False
        return due.due < self._looking_since

    async def _give_up_missed(self, due: DueRun) -> None:
        """Not started; `control` applies the job's missed-run policy to the instant."""
        reason = f"nobody was there to start it at {due.due:%Y-%m-%d %H:%M:%S} UTC"
        verdict = await self._claims.until_taken(
            lambda: self.api.propose(due.id, records.proposal(RunState.MISSED, reason)), what="missed"
        )
        if verdict.accepted:
            report = {
                "id": f"missed-{due.id}",
                "kind": "run.missed",
                "run": due.id,
                "flow": due.name.rsplit(" ", 2)[0],
                "due": iso(due.due),
                "time": iso(utc_now()),
                "reason": reason,
            }
            self.shared.reports.add(report, lambda: None)

    async def _claim(self, due: DueRun) -> bool:
        """True when the run is ours. An ABORT may also be a fault in the server, so the run is read again."""
        proposal = records.proposal(RunState.PENDING, f"claimed by {self.name}")
        while True:
            verdict = await self._claims.until_taken(lambda: self.api.propose(due.id, proposal), what="claim")
            if verdict.accepted:
                return True
            run = await self._claims.until_taken(lambda: self.api.read_run(due.id), what="claim")
            if run is None or run.state_type != "SCHEDULED":
                return False
            await asyncio.sleep(1.0 if verdict.retry_after_s is None else verdict.retry_after_s)

    # -- being told things ----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Long-poll `control` for what cannot wait for the next poll: a new run, a cancellation."""
        while True:
            try:
                answer = await self.link.call("GET", f"/api/v1/worker/wake?worker={self.name}", timeout_s=40.0)
            except (ControlUnavailable, ControlRefused):
                await asyncio.sleep(2.0)
                continue
            for command in answer.get("commands", ()):
                if command["kind"] == "cancel":
                    await self._cancel(command["run"], command.get("reason", "cancelled"))
                elif command["kind"] == "lease":
                    self.leasing.look()
                elif command["kind"] == "sent":
                    self.errands.look()
                elif command["kind"] == "evict":
                    self._evict(command["work"], command.get("reason", "stopped for other work"))
                elif command["kind"] == "withdraw":
                    self._withdraw(command["run"], command.get("reason", "withdrawn"))
                else:
                    self._poll_now.set()

    async def _cancel(self, run_id: str, reason: str) -> None:
        execution = self._active.get(run_id) or self._foreign.get(run_id)
        if execution is not None:
            execution.cancel(reason)
        elif run_id in self._active:
            self._unwanted[run_id] = reason
        else:
            try:  # nobody runs it here: what Prefect shows as cancelling has ended
                await self.api.set_state(run_id, records.proposal(RunState.CANCELLED, reason), force=True)
            except (PrefectRefused, PrefectUnavailable) as error:
                log.warning("cancel.failed", run_id=run_id, error=str(error))

    def _evict(self, work: str, reason: str) -> None:
        self.guests.evict(work, reason)
        execution = self._active.get(Work.of(work).run)
        if execution is not None:
            execution.evict(work, reason)

    def _withdraw(self, run_id: str, reason: str) -> None:
        """Not to be started any more; what has started goes on."""
        execution = self._active.get(run_id)
        if execution is not None and execution.started is None:
            execution.cancel(reason)
        elif execution is None and run_id in self._active:
            self._unwanted[run_id] = reason

    async def _heartbeats(self) -> None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self.holding.wanted.wait()
            except TimeoutError:
                pass
            try:
                await self._beat()
            except ControlUnavailable:
                if self.holding.unheard():
                    self.guests.unheard()
                if self.holding.wanted.is_set():
                    await asyncio.sleep(BEAT_AGAIN_S)
            except RefusedError as error:
                log.error("worker.replaced", error=str(error))
                self._stop.set()
                return

    def _resume_stopped(self, stopped: set[str]) -> None:
        """Control is back: what was stopped meanwhile, and is still this node's, goes on."""
        if stopped and self._group is not None:
            opened = journals.open_journals(self.home, worker=self.name)
            self.holding.left = {journal.run_id: journal for journal in opened if journal.run_id in stopped}
            self._recover(self._group)

    async def _beat(self, **more: Any) -> None:
        running = [
            {"run": e.facts.id, "flow": e.facts.flow.name, "jobs": sorted({*e.running, *e.sent})}
            for e in self._executions()
        ]
        body = {
            "worker": self.name,
            "node": self.shared.name,
            "pid": os.getpid(),
            "started": iso(self.started),
            "slots": self._concurrency,
            "running": running,
            "leases": [*self.leasing.tokens(), *self.guests.tokens()],
            "runs": self.holding.names(),
            **await self.sensors.told(self._held()),
            **({} if self._replaces is None else {"replaces": self._replaces}),
            **more,
        }
        sent = time.monotonic()
        try:
            answer = await self.link.call("POST", "/api/v1/worker/heartbeat", body)
        except ControlRefused as error:
            if error.status == 409:
                raise RefusedError(error.message, hint=error.hint) from error
            if error.status == 401 and self.link.is_remote and not self._has_registered:
                raise RefusedError(
                    "the lab does not take this node's token any more",
                    hint="Join it again: homelab node leave, then homelab node join with a new token",
                ) from error
            if error.status == 403 and self.link.is_remote and not self._has_registered:
                raise RefusedError(
                    f"the lab does not take this node: {error.message}",
                    hint="Join it again: homelab node leave --forget, then homelab node join with a new token",
                ) from error
            raise ControlUnavailable(str(error)) from error
        self._has_registered = True
        self.sensors.round_trip_s = time.monotonic() - sent
        told = cast("dict[str, Any]", answer or {})
        self._resume_stopped(self.holding.heard(sent, told.get("gone") or ()))
        self.sensors.heed(told)
        self._compare(str(told.get("version") or ""))
        self.leasing.lose(lost := [int(token) for token in told.get("lost", ())])
        self.guests.lose(lost)
        limits = cast("dict[str, int]", told.get("queues") or {})
        if limits:
            self._concurrency = limits.get("default", DEFAULT_CONCURRENCY)
            self.admission.configure(limits)

    async def _tell_sleep(self, is_going: bool) -> None:
        self.sensors.is_asleep = is_going
        with contextlib.suppress(ControlUnavailable, RefusedError):
            await self._beat()

    def _held(self) -> list[own.Job]:
        """The jobs that run, or ended since the last heartbeat, each with the session that its command began and what
        placement counts for it."""
        running = [
            own.Job(session=pid, promised=requirements_of(e.facts.flow.job(job).requires).amounts)
            for e in self._executions()
            for job, pid in e.running.items()
        ]
        return [*running, *self.guests.held(), *self.launcher.ended()]

    def _compare(self, control: str) -> None:
        """Whether control and this worker can work together; said once when that changes."""
        apart = versions.apart(control=control, node=__version__)
        if apart and apart != self._apart:
            log.error("worker.apart", reason=apart)
        self._apart = apart

    async def _prefect_heartbeats(self) -> None:
        """Prefect shows the worker as online, and its automations can watch the heartbeats of long runs."""
        while True:
            try:
                await self.api.worker_heartbeat(POOL, self.name)
                if beats := [
                    records.heartbeat_event(e.facts.id, now=utc_now()) for e in self._executions() if e.running
                ]:
                    await self.api.send_events(beats)
            except (PrefectUnavailable, PrefectRefused):
                pass  # the next one will do
            await asyncio.sleep(PREFECT_HEARTBEAT_S)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_S)
            await asyncio.to_thread(journals.prune, self.home)
            await asyncio.to_thread(self.artefacts.prune, time.time())


def _facts(due: DueRun, digest: str, flow: Any, *, retry: bool) -> RunFacts:
    parameters = due.parameters
    only = cast("list[str] | None", parameters.get("only"))
    params = cast("dict[str, str]", parameters.get("params") or {})
    return RunFacts(
        id=due.id,
        flow=flow,
        digest=digest,
        due=moment(parameters.get("due")),
        start_at=due.due,
        params=params,
        only=None if only is None else frozenset(only),
        skip=frozenset(parameters.get("skip") or ()),
        resumed=retry,
        late_ok=bool(parameters.get("catch_up")) or (utc_now() - due.due).total_seconds() > LATE_S,
    )
