"""Keeps the services of one home running: order, readiness, restarts, adoption of what survived an earlier supervisor.

One asyncio task a service, one owner of each service's state. It stops only what it started or adopted. Asked and
commanded through `stack.control_socket`; run in the foreground by `homelab up`.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from homelab.core.errors import HomelabError
from homelab.home.paths import Home
from homelab.stack import children, probes
from homelab.stack.children import Child
from homelab.stack.plan import STEADY_S, Service, State, backoff_s, is_crash_loop, start_order

LOOK_S = 0.25
PROBE_S = 0.15


@dataclass
class Kept:
    """One service as it is now. `since`: Unix time of its last start."""

    service: Service
    query: Callable[[], None] | None = None
    state: State = "starting"
    message: str = ""
    child: Child | None = None
    restarts: int = 0
    since: float = 0.0
    in_row: int = 0
    exits: list[float] = field(default_factory=list[float])
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    again: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> dict[str, Any]:
        """As `homelab status` gives it."""
        service, child = self.service, self.child
        return {
            "name": service.name,
            "kind": service.kind,
            "state": self.state,
            "url": service.url or None,
            "pid": child.pid if child else None,
            "memory_bytes": child.memory_bytes() if child else None,
            "restarts": self.restarts,
            "crash_loop": not self.ready.is_set() and is_crash_loop(self.exits, time.monotonic()),
            "message": self.message,
        }


class Supervisor:
    """`query` is how a `postgres` probe asks. `on_change` hears (name, state, message) at every change of state."""

    def __init__(
        self,
        home: Home,
        services: Sequence[Service],
        *,
        query: Callable[[], None] | None = None,
        on_change: Callable[[str, State, str], None] | None = None,
    ) -> None:
        self._home = home
        self._kept = {s.name: Kept(s, query) for s in start_order(services)}
        self._on_change = on_change
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._left: dict[str, Kept] = {}
        self.stopping = False

    def status(self) -> list[dict[str, Any]]:
        return [kept.shown() for kept in self._kept.values()]

    @property
    def is_ready(self) -> bool:
        return all(k.state == "ready" or (k.state == "external" and not k.message) for k in self._kept.values())

    def keeps(self, pid: object) -> bool:
        """Whether that process is one of its services, and would be started again if it ended."""
        children = [kept.child for kept in self._kept.values()]
        return not self.stopping and any(child is not None and child.pid == pid for child in children)

    def run(self) -> None:
        """Begin to keep all services; those that survived are adopted, or stopped when the lab no longer runs them
        itself. Returns at once."""
        found = children.survivors(self._home)
        for name, kept in self._kept.items():
            if not kept.service.external:
                kept.child = found.pop(name, None)
            self._tasks[name] = asyncio.create_task(self._keep(kept), name=f"keep {name}")
        for name, child in found.items():
            service = self._kept[name].service if name in self._kept else Service(name=name)
            self._left[name] = Kept(service, child=child)
            self._tasks[f"{name} (left)"] = asyncio.create_task(self._dismiss(name), name=f"dismiss {name}")

    async def until_ready(self) -> None:
        """Returns when every service is ready. Never gives up by itself."""
        for kept in self._kept.values():
            await kept.ready.wait()

    def restart(self, name: str) -> None:
        """Stop one service and start it again, at once, or have it execute itself anew. KeyError when there is none of
        that name."""
        self._kept[name].again.set()

    async def let_go(self) -> None:
        """Keep nothing any more, and leave all as it is: this process executes itself anew, and adopts it."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._remember()

    async def stop(self, *, now: bool = False) -> None:
        """Stop all in the reverse of their order, each by its signal and within its time, then by SIGKILL."""
        self.stopping = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for name in list(self._left):
            await self._dismiss(name, now=now)
        for kept in reversed(self._kept.values()):
            await self._end(kept, now=now)
            self._set(kept, "stopped", "")
        children.remember(self._home, {})

    # -- one service ----------------------------------------------------------------------------------------------

    async def _keep(self, kept: Kept) -> None:
        for need in kept.service.needs:
            await self._kept[need].ready.wait()
        while True:
            if kept.service.external:
                await self._watch_external(kept)
            elif await self._up(kept):
                await self._watch(kept)
            await self._pause(kept)
            kept.again.clear()  # not before: it may be asked for while one that survived is being adopted

    async def _up(self, kept: Kept) -> bool:
        """Started or adopted, and answering. False when it was not to be: the reason is its message."""
        if kept.child is None or not kept.child.is_alive():
            self._set(kept, "starting", "")
            try:
                if kept.service.prepare is not None:
                    await asyncio.to_thread(kept.service.prepare)
                kept.child = children.start(kept.service, self._log(kept))
            except (HomelabError, OSError) as error:
                self._failed(kept, str(error).splitlines()[0])
                return False
            kept.since = time.time()
            self._remember()
        else:
            self._set(kept, "starting", "")
            kept.since = time.time()
        return await self._until_answering(kept)

    async def _until_answering(self, kept: Kept) -> bool:
        deadline = time.monotonic() + kept.service.ready_within_s
        while True:
            why = await probes.ask(kept.service.ready, kept.query)
            if self._has_exited(kept):
                return False
            if not why:
                break
            kept.message = why
            if time.monotonic() > deadline:
                await self._end(kept)
                self._failed(kept, f"did not answer within {kept.service.ready_within_s:.0f} s: {why}")
                return False
            await asyncio.sleep(PROBE_S)
        if kept.service.after_start is not None:
            try:
                await asyncio.to_thread(kept.service.after_start)
            except HomelabError as error:
                await self._end(kept)
                self._failed(kept, str(error).splitlines()[0])
                return False
        self._set(kept, "ready", "")
        kept.ready.set()
        return True

    async def _watch(self, kept: Kept) -> None:
        """Until it has exited, stopped answering, or is to be restarted."""
        misses, asked = 0, time.monotonic()
        while not self._has_exited(kept):
            if kept.again.is_set() and kept.service.restart_signal is not None and kept.child is not None:
                kept.again.clear()
                kept.child.send(kept.service.restart_signal)
            elif kept.again.is_set():
                await self._end(kept)
                kept.in_row = 0
                return
            await asyncio.sleep(LOOK_S)
            if time.monotonic() - asked < kept.service.live_every_s:
                continue
            why = await probes.ask(kept.service.ready, kept.query)
            asked = time.monotonic()
            children.rotate(self._log(kept))
            misses = misses + 1 if why else 0
            if misses == 0:
                self._set(kept, "ready", "")
            elif misses < kept.service.live_misses:
                self._set(kept, "degraded", why)
            else:
                await self._end(kept)
                self._failed(kept, f"stopped answering: {why}")
                return

    async def _watch_external(self, kept: Kept) -> None:
        while not kept.again.is_set():
            why = await probes.ask(kept.service.ready, kept.query)
            self._set(kept, "external", why)
            if not why:
                kept.ready.set()
            await asyncio.sleep(1.0 if why else kept.service.live_every_s)

    def _has_exited(self, kept: Kept) -> bool:
        if kept.child is None:
            return True
        status = kept.child.exit_status()
        if status is None:
            return False
        how = f"ended by signal {-status}" if status < -1 else "ended" if status == -1 else f"exit status {status}"
        said = children.last_line(self._log(kept)) if status > 0 else ""
        self._failed(kept, f"{how}: {said}" if said else how)
        return True

    def _failed(self, kept: Kept, why: str) -> None:
        now = time.monotonic()
        kept.child = None
        kept.in_row = 1 if kept.since and time.time() - kept.since > STEADY_S else kept.in_row + 1
        kept.exits = [*kept.exits[-9:], now]
        if is_crash_loop(kept.exits, now):
            why = f"keeps failing ({kept.restarts} restarts): {why}"
        self._set(kept, "crashed", why)

    async def _pause(self, kept: Kept) -> None:
        if kept.in_row:
            pause = backoff_s(kept.in_row, chance=random.random())
            try:
                async with asyncio.timeout(pause):
                    await kept.again.wait()
            except TimeoutError:
                pass
        kept.restarts += 1

    async def _dismiss(self, name: str, *, now: bool = False) -> None:
        """End what an earlier supervisor of this home left and this one does not keep; till then it is remembered."""
        left = self._left[name]
        await self._end(left, now=now)
        del self._left[name]
        self._remember()

    async def _end(self, kept: Kept, *, now: bool = False) -> None:
        child, service = kept.child, kept.service
        if child is None:
            return
        child.send(service.stop_now_signal or service.stop_signal if now else service.stop_signal)
        deadline = time.monotonic() + (service.stop_now_within_s if now else service.stop_within_s)
        # Nobody tells when an adopted process has ended.
        while child.exit_status() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        if child.exit_status() is None:
            child.kill_group()
            while child.exit_status() is None and time.monotonic() < deadline + 5:
                await asyncio.sleep(0.05)
        kept.child = None

    def _set(self, kept: Kept, state: State, message: str) -> None:
        changed = (kept.state, kept.message) != (state, message) or (state == "ready" and not kept.ready.is_set())
        kept.state, kept.message = state, message
        if changed and self._on_change is not None:
            self._on_change(kept.service.name, state, message)

    def _remember(self) -> None:
        both = {**self._kept, **self._left}
        # One that was left comes last: under a name of both it is the only one with a process.
        children.remember(self._home, {n: k.child for n, k in both.items() if k.child is not None})

    def _log(self, kept: Kept) -> Any:
        return self._home.logs / f"{kept.service.name}.log"
