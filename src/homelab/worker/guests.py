"""Attempts that this node makes for runs of other nodes, under leases of its own.

Control says which (`take`, with what is due); what became of each is told to control, which the run's node asks. A
file a guest, `runs/guests/TOKEN.json`, is written before and after everything, so that the next worker ends what this
one left, and tells it. The log lies where those of this node's own runs lie. The other side is `worker.sent`.
"""

import asyncio
import json
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import structlog

from homelab.core.capacity import requirements_of
from homelab.core.jobs import Flow, Job, RunState
from homelab.core.passing import Passed
from homelab.core.times import iso, moment
from homelab.core.work import Work
from homelab.worker import runlog, survivors
from homelab.worker.attempt import Attempt
from homelab.worker.control_link import ControlLink, ControlRefused, Outbox, retried
from homelab.worker.facts import RunFacts
from homelab.worker.node import Node
from homelab.worker.process import Outcome
from homelab.worker.sensors import own
from homelab.worker.sent import outcome_to_json
from homelab.worker.telling import TAIL_LINES

log = structlog.get_logger()

Json = dict[str, Any]


@dataclass(eq=False, kw_only=True)
class Guest:
    """One attempt. `is_dropped`: it is no longer this node's to tell of."""

    token: int
    work: str
    task: Mapping[str, Any]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    state: RunState = RunState.CANCELLED
    """What it is when it was stopped."""
    is_evicted: bool = False
    is_dropped: bool = False
    pid: int = 0
    job: Job | None = None

    def __post_init__(self) -> None:
        self.run, self.name, self.attempt = Work.of(self.work)

    @property
    def is_retried(self) -> bool:
        """Whether it is made again elsewhere when this node is lost."""
        return bool(self.task.get("is_retried"))

    def end(self, reason: str, *, state: RunState = RunState.CANCELLED) -> None:
        if not self.stop.is_set():
            self.reason, self.state = reason, state
            self.stop.set()


class Guests:
    """All guests of one worker. `tells` is its outbox, to be served beside."""

    def __init__(self, node: Node, link: ControlLink) -> None:
        self._node = node
        self._link = link
        self._folder = node.home.runs / "guests"
        self._active: dict[int, Guest] = {}
        self._over: set[int] = set()
        """Ended here, and perhaps not yet known to control."""
        self.tells = Outbox(link, path="/api/v1/worker/guests", field="told")

    def tokens(self) -> list[int]:
        """The leases that its guests hold, for the heartbeat."""
        return [guest.token for guest in self._active.values() if not guest.is_dropped]

    def held(self) -> Iterator[own.Job]:
        """What runs, as the sensors count it."""
        for guest in self._active.values():
            if guest.pid and guest.job is not None:
                yield own.Job(session=guest.pid, promised=requirements_of(guest.job.requires).amounts)

    def works(self) -> set[str]:
        return {guest.work for guest in self._active.values()}

    @property
    def is_running(self) -> bool:
        return any(guest.pid for guest in self._active.values())

    @property
    def is_busy(self) -> bool:
        """Whether something is to be ended, or told."""
        return bool(self._active) or bool(self.tells.unsent)

    def take(self, given: Iterable[Mapping[str, Any]], group: asyncio.TaskGroup) -> None:
        """What control has for this node: begin what is new, end what is to end."""
        for one in given:
            token = int(one["token"])
            stop = str(one.get("stop") or "")
            if token in self._active:
                if stop:
                    self._active[token].end(stop)
                continue
            if token in self._over:
                continue
            guest = Guest(token=token, work=str(one["work"]), task=cast("Mapping[str, Any]", one["task"]))
            if stop:
                self._over.add(token)
                ended = Outcome.not_started(RunState.CANCELLED, stop, datetime.now(UTC))
                self._tell(guest, outcome=outcome_to_json(ended))
                continue
            self._active[token] = guest
            group.create_task(self._make(guest), name=f"guest {guest.work}")

    def evict(self, work: str, reason: str) -> None:
        """Make room for more important work: it waits again, at its run's node."""
        for guest in self._active.values():
            if guest.work == work and not guest.stop.is_set():
                guest.is_evicted = True
                guest.end(reason)

    def lose(self, tokens: Iterable[int]) -> None:
        """These leases were given up. What is made again elsewhere ends here; the rest goes on, and its end is told,
        late as it comes."""
        for guest in [self._active[token] for token in tokens if token in self._active]:
            if guest.is_dropped:
                continue
            log.warning("guest.lost", work=guest.work, token=guest.token)
            guest.is_dropped = True
            if guest.is_retried:
                guest.end("its lease was given up", state=RunState.CRASHED)

    def unheard(self) -> None:
        """Control is out of reach for so long that what is made again elsewhere must end here."""
        for guest in self._active.values():
            if guest.is_retried:
                guest.end("control was out of reach, and it may be tried again on another node", state=RunState.CRASHED)

    def leave(self) -> None:
        """This worker goes away."""
        for guest in self._active.values():
            guest.end("the lab was stopped while it ran", state=RunState.CRASHED)

    async def recover(self, group: asyncio.TaskGroup) -> None:
        """Before anything is taken: go on with what runs since before this process executed itself anew, end and tell
        what an earlier one left."""
        for path in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                kept = cast("Json", json.loads(path.read_bytes()))
                guest = Guest(token=int(kept["token"]), work=str(kept["work"]), task=cast("Json", kept["task"]))
                outcome = cast("Json | None", kept.get("outcome"))
                attempt = self._node.launcher.taken_up(guest.run).get(guest.work)
                if outcome is None and attempt is not None:
                    self._active[guest.token] = guest
                    group.create_task(self._make(guest, attempt), name=f"guest {guest.work}")
                    continue
                if outcome is None:
                    outcome = await asyncio.to_thread(self._end_left, guest, kept)
                self._over.add(guest.token)
                self._node.copies.recovered(guest.run)
                self._tell(guest, outcome=outcome)

    def _end_left(self, guest: Guest, kept: Mapping[str, Any]) -> Json:
        if kept.get("pid"):
            survivors.end(pid=int(kept["pid"]), mark=str(kept.get("mark", "")), run_id=guest.run)
            runlog.recover(self._log_path(guest))
        ended = Outcome.not_started(RunState.CRASHED, "the worker ended while it ran", datetime.now(UTC))
        outcome = outcome_to_json(ended.since(moment(kept.get("started"))), tail=self._tail(guest))
        self._keep(guest, outcome=outcome)
        return outcome

    # -- one attempt ----------------------------------------------------------------------------------------------

    async def _make(self, guest: Guest, taken_up: Attempt | None = None) -> None:
        try:
            if taken_up is None:
                self._keep(guest)
            outcome = await self._outcome(guest, taken_up)
            evicted = guest.is_evicted and outcome["state"] == RunState.CANCELLED
            outcome["is_evicted"] = evicted
            self._keep(guest, outcome=outcome)
            self._tell(guest, outcome=outcome)
        except Exception as error:  # a fault of ours: its file stays, and the next worker tells that it crashed
            log.error("guest.broken", work=guest.work, exc_info=error)
        finally:
            self._over.add(guest.token)
            self._active.pop(guest.token, None)

    async def _outcome(self, guest: Guest, taken_up: Attempt | None) -> Json:
        digest = str(guest.task["digest"])
        try:
            flow: Flow = await retried(lambda: self._link.definition(digest), what="definition")
            job = flow.job(guest.name)
        except (ControlRefused, KeyError) as error:
            why = f"not started: what the job is cannot be had: {error}"
            return outcome_to_json(Outcome.not_started(RunState.FAILED, why, datetime.now(UTC)))
        guest.job = job
        if taken_up is not None and taken_up.running is not None:
            guest.pid = taken_up.running.process.pid
            made = self._node.launcher.go_on(taken_up, job, cancel=guest.stop, cancel_reason=lambda: guest.reason)
            return await self._see_through(guest, made)
        async with self._node.admission.start(job.queue, job.exclusive):
            if guest.stop.is_set():
                return outcome_to_json(Outcome.not_started(guest.state, guest.reason, datetime.now(UTC)))
            return await self._launch(guest, job, self._facts(guest, flow, digest))

    def _facts(self, guest: Guest, flow: Flow, digest: str) -> RunFacts:
        due = moment(guest.task.get("due"))
        params = cast("dict[str, str]", guest.task.get("params") or {})
        return RunFacts(id=guest.run, flow=flow, digest=digest, due=due, start_at=datetime.now(UTC), params=params)

    async def _launch(self, guest: Guest, job: Job, facts: RunFacts) -> Json:
        path = self._log_path(guest)
        path.parent.mkdir(parents=True, exist_ok=True)
        handed = cast("Mapping[str, Mapping[str, Any]]", guest.task.get("handed") or {})

        def started(pid: int, at: datetime) -> None:
            guest.pid = pid
            self._keep(guest, pid=pid, mark=survivors.start_mark(pid), started=iso(at))
            self._tell(guest, started=iso(at), pid=pid)

        made = self._node.launcher.run(
            job,
            facts,
            number=guest.attempt,
            handed={name: Passed.from_json(one) for name, one in handed.items()},
            log_path=path,
            cancel=guest.stop,
            cancel_reason=lambda: guest.reason,
            on_start=started,
        )
        return await self._see_through(guest, made)

    async def _see_through(self, guest: Guest, made: Awaitable[Outcome]) -> Json:
        try:
            with self._node.showing(self._log_path(guest), run=guest.run, job=guest.name):
                outcome = await made
        finally:
            guest.pid = 0
        told = outcome_to_json(outcome, tail=self._tail(guest))
        if outcome.state is RunState.CANCELLED:
            told["state"] = str(guest.state)
        return told

    def _log_path(self, guest: Guest) -> Path:
        return self._node.home.run_folder(guest.run) / f"{guest.name}.{guest.attempt}.log"

    def _tail(self, guest: Guest) -> list[str]:
        return [runlog.text(record) for record in runlog.tail(self._log_path(guest), TAIL_LINES)]

    # -- kept and told --------------------------------------------------------------------------------------------

    def _keep(self, guest: Guest, **more: object) -> None:
        kept = {"token": guest.token, "work": guest.work, "task": guest.task, **more}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh = self._file(guest).with_suffix(".new")
            fresh.write_text(json.dumps(kept))
            fresh.replace(self._file(guest))
        except OSError as error:  # a full disk: what a crash of this worker would leave is then not known
            log.warning("guest.not_kept", work=guest.work, error=str(error))

    def _file(self, guest: Guest) -> Path:
        return self._folder / f"{guest.token}.json"

    def _tell(self, guest: Guest, **told: object) -> None:
        def taken() -> None:
            if "outcome" in told:
                with suppress(OSError):
                    self._file(guest).unlink(missing_ok=True)

        one = {"node": self._node.name, "token": guest.token, **told}
        self.tells.add(one, taken)
