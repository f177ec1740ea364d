"""This process executes itself anew and keeps its running jobs: how a worker is restarted, and upgraded (ADR 0016).

The process stays what it is, so its children stay its children, and their pipes stay open: nothing of their output is
lost, their exit status is collected, and they notice nothing. What of them is in no file goes through memory, since it
holds secrets. It happens in a moment in which every command just runs. A worker that is killed hands nothing
over: what is left of its jobs has crashed (ADR 0007). Called by `worker.loop` and `worker.entry`.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, cast

import structlog

from homelab import __version__
from homelab.core.work import Work
from homelab.flows.api import DueRun
from homelab.worker import registration
from homelab.worker.execution import Execution
from homelab.worker.foreign import Foreign
from homelab.worker.guests import Guests
from homelab.worker.journal import Journal
from homelab.worker.node import Node

log = structlog.get_logger()

VARIABLE = "HOMELAB_HANDOVER"
QUIET_S = 10.0
"""So long it waits until all is told that can be told; what is not is handed over."""
STEADY_S = 120.0
_REHEARSED_WITHIN_S = 60.0
_LOOK_S = 0.02
_STDERR = 2

Json = dict[str, Any]


def rehearse() -> str:
    """Why the program as it is installed now does not start; "" when it does. Blocks."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import homelab.worker.entry"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_REHEARSED_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return said[-1] if done.returncode else ""


class Handover:
    """Of one worker. `active`: its executions, by run; None while one is being claimed. `foreign`: ordinary Prefect
    runs. `past`: what this process handed over when it executed itself anew."""

    def __init__(
        self,
        node: Node,
        guests: Guests,
        *,
        active: Mapping[str, Execution | None],
        foreign: Mapping[str, Foreign],
        past: Json | None = None,
    ) -> None:
        self._node = node
        self._guests = guests
        self._active = active
        self._foreign = foreign
        self._past: Json = past or {}
        self._restarting: asyncio.Task[None] | None = None

    # -- before ---------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Execute this process anew, with what runs, as soon as there is a moment for it."""
        if self._restarting is None or self._restarting.done():
            self._restarting = asyncio.create_task(self._restart(), name="restart")

    def end(self) -> None:
        """This process is to end: it is not executed anew any more."""
        if self._restarting is not None:
            self._restarting.cancel()

    async def _restart(self) -> None:
        why = await asyncio.to_thread(rehearse)
        if not why and not await self._until_steady():
            why = "there was no moment in which no job was just being started or ended"
        if not why:
            log.info("worker.restart", under_way=len(self._node.launcher.under_way))
            try:
                execute(self._state)
            except OSError as error:
                why = str(error)
        log.error("worker.not_restarted", reason=why)
        registration.refuse(self._node.home, self._node.worker, why)

    async def _until_steady(self) -> bool:
        """Returns in a moment in which every command just runs and, where that comes soon, all is told; False when none
        came."""
        began = time.monotonic()
        while (waited_s := time.monotonic() - began) < STEADY_S:
            if self._is_steady() and (waited_s > QUIET_S or self._is_quiet()):
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    def _executions(self) -> list[Execution]:
        return [execution for execution in self._active.values() if execution is not None]

    def _is_steady(self) -> bool:
        return self._node.launcher.is_steady and not any(one.journal.degraded for one in self._executions())

    def _is_quiet(self) -> bool:
        is_claiming = any(one is None and run_id not in self._foreign for run_id, one in self._active.items())
        is_told = all(execution.is_told for execution in self._executions())
        unsent = self._node.reports.unsent or self._guests.tells.unsent
        return is_told and not is_claiming and not unsent and self._node.shipping.is_idle

    def _state(self) -> Json:
        """What is in no file."""
        return {
            "launcher": self._node.launcher.hand_over(),
            "runs": {one.facts.id: state for one in self._executions() if (state := one.state()) is not None},
            "foreign": [foreign.state() for foreign in self._foreign.values()],
            "logs": self._node.shipping.hand_over(),
        }

    # -- after ----------------------------------------------------------------------------------------------------

    async def take_up(self, left: Mapping[str, Journal]) -> None:
        """From now on what runs is read again, and has its slots. `left`: the runs that are open, by id."""
        if not self._past:
            return
        node = self._node
        try:
            for one in node.launcher.take_up(self._past["launcher"]):
                place = node.admission.start(one.queue, one.exclusive, is_running=True)
                await one.held.enter_async_context(place)
                node.copies.follow(one.log_path)
            node.shipping.take_up(self._past["logs"])
            for run_id in self._past["runs"]:
                if journal := left.get(run_id):
                    node.admission.enter(str(journal.header["flow"]), run_id)
        except (KeyError, TypeError, ValueError, OSError) as error:
            # Of another version: what was not taken up has crashed.
            log.error("handover.not_understood", error=repr(error), version=self._past.get("version"))
            self._past = {}
        log.info("worker.restarted", under_way=len(node.launcher.under_way))

    async def drop_strays(self) -> None:
        """Once all is taken up that is still this worker's: end the rest."""
        for work in self._node.launcher.taken_up().keys() - self._guests.works():
            if Work.of(work).run not in self._active:
                await self._node.launcher.drop(work)

    def past_of(self, journal: Journal) -> Json | None:
        """What was handed over of that run; None when something of it was lost: then it has crashed."""
        past = cast("Json | None", self._past.get("runs", {}).get(journal.run_id))
        in_flight = {attempt.work(journal.run_id) for attempt in journal.state.in_flight()}
        return past if in_flight <= self._node.launcher.taken_up(journal.run_id).keys() else None

    def foreign(self) -> list[Foreign]:
        """The ordinary Prefect runs that were handed over."""
        known = self._past.get("foreign", ())
        return [Foreign(self._node, DueRun.from_json(one["due"]), token=one["token"]) for one in known]


def execute(state: Callable[[], Json]) -> NoReturn:
    """Now. `state` opens what it hands over to the program; all else is closed to it, whatever a library left open.
    OSError when that is not possible: everything goes on as it was."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers
        with suppress(OSError):  # the listing's own is closed already
            os.set_inheritable(int(name), int(name) <= _STDERR)
    told = {"version": __version__, "pid": os.getpid(), **state()}
    descriptor = _in_memory(json.dumps(told).encode())
    os.set_inheritable(descriptor, True)
    # What is ignored stays so until the program has its handlers: who asks twice must not end it.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, VARIABLE: str(descriptor)})  # noqa: S606 - this same program
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGHUP, before)


def received() -> Json | None:
    """What was handed to this program; None when nothing was. Asked once, before anything is started."""
    given = os.environ.pop(VARIABLE, "")
    if not given:
        return None
    try:
        with open(int(given), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            state = cast("Json", json.loads(file.read()))
    except (OSError, ValueError) as error:
        log.error("handover.unreadable", error=str(error))
        return None
    return state if state.get("pid") == os.getpid() else None


def _in_memory(body: bytes) -> int:
    """A file that has no name, so that nobody else reads it; where the system can, it is on no disk either."""
    try:
        descriptor = os.memfd_create("homelab-handover")
    except AttributeError:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    rest = memoryview(body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return descriptor
