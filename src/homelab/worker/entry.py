"""The worker of a home as a process: its lock, its signals. Called by `homelab worker`, under the supervisor."""

import asyncio
import os
import signal
import socket
import sys

from homelab.core.errors import NotFoundError
from homelab.home.paths import Home
from homelab.stack import control_socket
from homelab.worker import handover, process, reach, registration
from homelab.worker.control_link import ControlLink
from homelab.worker.loop import Worker
from homelab.worker.reach import Reach


def main(home: Home, *, name: str | None = None) -> None:
    """Run the worker of this home until SIGTERM or SIGINT. SIGHUP restarts it with what it runs, and so does a SIGTERM
    that is not its supervisor's: that would start it again, without what it ran. RefusedError: a worker of this name is
    at work. In a node's home it has the name of the node."""
    past = handover.received()
    home.ensure()
    reached = reach.of_home(home)
    name = (reached.member.name if reached.member else name) or socket.gethostname().split(".")[0]
    lock = registration.lock(home, name)
    process.reset_ignored_signals()
    try:
        asyncio.run(_serve(home, name, reached, past))
    finally:
        lock.close()


def _is_kept(home: Home) -> bool:
    """Whether a supervisor would start this worker again. Those of earlier versions do not say so."""
    try:
        answer = control_socket.ask(home, {"do": "keep?", "process": os.getpid()}, timeout_s=2.0)
        return answer.get("keeps") is True
    except NotFoundError:
        return False


async def _serve(home: Home, name: str, reached: Reach, past: handover.Json | None) -> None:
    link = ControlLink(home, reached=reached)
    async with reached.prefect_api() as api:
        worker = Worker(home, name=name, node=name, api=api, link=link, prefect=reached.environment(), past=past)
        loop = asyncio.get_running_loop()
        told: set[asyncio.Task[None]] = set()

        async def end() -> None:
            again = await asyncio.to_thread(_is_kept, home)
            (worker.handover.restart if again else worker.stop)()

        loop.add_signal_handler(signal.SIGTERM, lambda: told.add(asyncio.create_task(end(), name="told to end")))
        loop.add_signal_handler(signal.SIGINT, lambda: worker.stop(now=True))
        # On a terminal it means that nobody is there any more.
        loop.add_signal_handler(signal.SIGHUP, worker.stop if sys.stdin.isatty() else worker.handover.restart)
        try:
            await worker.serve()
        finally:
            await link.aclose()
