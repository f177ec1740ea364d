"""Python code as a process that `worker.process` can see through: started by the fork server instead of a shell.

Called by `worker.launch` for jobs with `flow = "module:function"`, and by `worker.foreign` for ordinary Prefect runs.
"""

import asyncio
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from homelab.flows.pyrunner import PythonRunner, PythonSpec, RunningChild
from homelab.worker import process
from homelab.worker.pipes import InputPipe, OutputPipe


class PythonProcess:
    """A child of the fork server, as `process.Started`."""

    def __init__(self, child: RunningChild) -> None:
        self.pid = child.pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended: datetime | None = None
        self.usage: resource.struct_rusage | None = None  # the fork server collects it, and does not tell
        self._child = child
        self._waiting = asyncio.create_task(self._wait(child), name=f"python {child.pid}")

    @property
    def has_ended(self) -> bool:
        return self._child.has_ended

    async def _wait(self, child: RunningChild) -> None:
        status = await child.wait()
        if status is None:
            # The fork server died, and with it all that could tell: what is left of the run ends now.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            status = -signal.SIGKILL
        if not self.exited.done():
            self.ended = datetime.now(UTC)
            self.exited.set_result(status)

    def close(self) -> None:
        self._waiting.cancel()
        if not self.exited.done():
            self.exited.cancel()


def starter(runner: PythonRunner, made: Callable[[process.Spec], PythonSpec]) -> process.Start:
    """A way to start what `made` describes. HomelabError when the fork server is not to be had."""

    async def start(spec: process.Spec, outputs: list[OutputPipe], stdin: InputPipe | None) -> process.Started:
        try:
            child = await runner.spawn(
                made(spec),
                stdin=None if stdin is None else stdin.child_end,
                stdout=outputs[0].child_end,
                stderr=outputs[1].child_end,
            )
        finally:
            for pipe in (*outputs, *([stdin] if stdin else [])):
                pipe.close_child_end()
        return PythonProcess(child)

    return start
