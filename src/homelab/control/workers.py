"""What workers tell control, and what they are told: heartbeats, reports, commands, definitions of flows.

One object of `Control` (`Control.workers`), behind `control.api.routes_worker`. What a heartbeat says is read by
`heartbeats`, reports are entered by `reports`; here both are put into one transaction, and those parts of control hear
of it that have something to do then. Which runs and leases a worker gets is `dispatch`'s and `queueing`'s.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from homelab import __version__
from homelab.control import heartbeats, leases, nodes, reports, store
from homelab.control.dispatch import Dispatch
from homelab.control.queueing import Queue
from homelab.control.recovery import Recovery
from homelab.control.roster import Reader
from homelab.control.state import Shared
from homelab.control.waking import Waking
from homelab.core.errors import InputError, NotFoundError, RefusedError
from homelab.db.pool import UNFIT, Connection

Json = dict[str, Any]
LISTEN_S = 25.0
"""So long a worker's question for commands stays open."""


class Workers:
    """See the module. `watcher`: hears of each report that is new."""

    def __init__(
        self,
        shared: Shared,
        watcher: reports.Watching,
        *,
        reader: Reader,
        dispatch: Dispatch,
        waiting: Queue,
        recovery: Recovery,
        waking: Waking,
    ) -> None:
        self._shared = shared
        self._watcher = watcher
        self._reader = reader
        self._dispatch = dispatch
        self._waiting = waiting
        self._recovery = recovery
        self._waking = waking
        self._clocks = heartbeats.Clocks()
        self._wanted = heartbeats.Wanted()

    async def heartbeat(self, body: Json, *, node: str | None = None) -> Json:
        """A worker is alive; the answer holds what it should know. `node`: the one whose token came with it, None on
        this machine. RefusedError: another of its name is alive."""
        came = time.monotonic()
        try:
            async with self._shared.database.connection() as conn:
                joined = None if node is not None else await store.joined_node(conn, body["node"])
                other = None if joined else await store.beat(conn, body)
                told, answer = (None, {}) if joined or other is not None else await self._hear(conn, body, came)
        except (KeyError, TypeError, ValueError, *UNFIT) as error:
            raise InputError(f"the heartbeat cannot be entered: {error}".strip()[:300]) from error
        if joined:
            raise RefusedError(
                f"there is a node '{joined}' on another machine",
                hint="Give this worker another name: homelab worker --name",
            )
        if other is not None:
            raise RefusedError(
                f"worker '{body['worker']}' is already at work (pid {other['pid']} on {other['node']})",
                hint="Give this one another name, or stop that one.",
            )
        queues = {} if self._shared.lab is None else dict(self._shared.lab.queues)
        if told is not None and told.beat.leaves:
            self._part(told)
        elif self._reader.is_news(str(body["node"])):
            self._dispatch.forget()
            self._shared.arrived.set()
        return {"ok": True, "queues": queues, "version": __version__, **answer}

    def _part(self, told: heartbeats.Told) -> None:
        """The worker stops: nothing goes to its node any more, and what it has not begun may go to others at once."""
        self._waiting.forget(told.beat.name, told.unbegun)
        self._waiting.changed.set()
        self._dispatch.leave(told.beat.name, told.unbegun)
        self._shared.tell()

    async def _hear(self, conn: Connection, body: Json, came: float) -> tuple[heartbeats.Told, Json]:
        """What the node tells of itself; what it should know of that. `came`: when, on the monotonic clock."""
        declared = self._shared.declared(str(body["node"]))
        told = heartbeats.read(body, declared)
        now = await nodes.clock(conn)
        skew_s = heartbeats.skew_s(told, database=now, since_s=time.monotonic() - came)
        if skew_s is not None:
            skew_s = self._clocks.heard(told.beat.name, skew_s)
        epoch = await nodes.beat(conn, replace(told.beat, skew_s=skew_s))
        if told.unbegun:
            await leases.give_back_runs(conn, told.beat.name, list(told.unbegun))
        if not told.beat.asleep:
            self._waking.heard(told.beat.name)
        if told.slept_s:
            await store.add_events(conn, [("node.slept", told.beat.name, {"seconds": told.slept_s})])
            self._shared.tell()
        tokens = [int(token) for token in body.get("leases", ())]
        kept = await leases.renew(conn, told.beat.name, epoch, tokens) if tokens else set[int]()
        lost = [token for token in tokens if token not in kept]
        gone = await store.gone(conn, told.beat.name, runs) if (runs := _runs_of(body)) else []
        await self._recovery.revive(conn, told.beat.name, _jobs_of(body))
        sense = self._wanted.to_sense(self._shared.flows, declared)
        return told, {"epoch": epoch, "lost": lost, "gone": gone, "sense": sense}

    async def take_reports(self, taken: list[Json]) -> Json:
        """Enter what a worker reports; each report once."""
        try:
            async with self._shared.database.connection() as conn:
                entered = await reports.take(conn, taken, self._watcher)
        except (KeyError, TypeError, ValueError, *UNFIT) as error:
            raise InputError(f"a report cannot be entered: {error}".strip()[:300]) from error
        for report in taken:
            if str(report["kind"]).startswith("run."):
                self._dispatch.begun(str(report["run"]))
        self._shared.tell()
        if entered.is_room:
            self._waiting.changed.set()
        ended = entered.ended
        if any(name in ended or any(c.job in ended for c in s.conditions) for name, s in self._shared.flows.items()):
            self._shared.unsettled = True
            self._shared.changed.set()
        return {"taken": len(taken)}

    async def commands(self, worker: str) -> list[dict[str, str]]:
        """What the worker is to do at once, as soon as there is something; after 25 s, nothing."""
        queue = self._shared.commands.setdefault(worker, asyncio.Queue(100))
        try:
            async with asyncio.timeout(LISTEN_S):
                commands = [await queue.get()]
        except TimeoutError:
            return []
        while not queue.empty():
            commands.append(queue.get_nowait())
        return commands

    async def definition(self, digest: str) -> str:
        """The flow of that digest as JSON. NotFoundError: it is not known (any more)."""
        async with self._shared.database.connection() as conn:
            body = await store.definition(conn, digest)
        if body is None:
            raise NotFoundError(f"there is no definition {digest}")
        return body


def _runs_of(body: Json) -> list[str]:
    """The runs that a heartbeat names: those at work, and those that an earlier worker left."""
    return [*(str(one["run"]) for one in body.get("running", ())), *map(str, body.get("runs", ()))]


def _jobs_of(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """Run -> the jobs of it that a heartbeat says run."""
    return {str(one["run"]): [str(job) for job in one["jobs"]] for one in body.get("running", ()) if one.get("jobs")}
