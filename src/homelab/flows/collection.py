"""Our worker type for Prefect: `prefect worker start --type homelab --pool POOL`.

An ordinary Prefect worker, for people who run their own Prefect: it carries out flow runs by forking a process that has
imported Prefect already, and commands without any Python at all. The lab's own `homelab worker` does not come this way;
its loop is faster. Prefect imports this module in every process through the entry point `prefect.collections`.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Failed, Running
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult
from pydantic import Field

from homelab.flows.pyrunner import PythonRunner, PythonSpec

if TYPE_CHECKING:
    from types import TracebackType

_STDOUT, _STDERR = 1, 2


class HomelabJobConfiguration(BaseJobConfiguration):
    """How one flow run is carried out. With `shell_command` it is that command, else the flow, in a fork."""

    shell_command: str | None = Field(default=None)
    shell: str = Field(default="/bin/sh")
    working_dir: str | None = Field(default=None)
    grace_s: float = Field(default=10.0)


class HomelabVariables(BaseVariables):
    """What a work pool or a deployment may set."""

    shell_command: str | None = Field(
        default=None,
        title="Shell command",
        description="Run this command instead of Python code. Exit status 0 completes the run.",
    )
    shell: str = Field(default="/bin/sh", description="The shell that runs the command.")
    working_dir: str | None = Field(
        default=None, title="Working directory", description="An existing folder. Default: that of the worker."
    )
    grace_s: float = Field(
        default=10.0, title="Grace period", description="Seconds between SIGTERM and SIGKILL when a run is ended."
    )


class HomelabWorkerResult(BaseWorkerResult):
    """How the process ended: its exit status, or minus the signal."""


class HomelabWorker(BaseWorker[HomelabJobConfiguration, HomelabVariables, HomelabWorkerResult]):
    """Shell commands as plain processes, flows as forks of one prepared process."""

    type = "homelab"
    job_configuration = HomelabJobConfiguration
    job_configuration_variables = HomelabVariables
    _display_name = "Homelab"
    _description = "Runs shell commands directly and Python flows in a process prepared beforehand, on this machine."

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._python = PythonRunner()

    async def __aexit__(self, *exc_info: "type[BaseException] | BaseException | TracebackType | None") -> None:
        try:
            await super().__aexit__(*exc_info)
        finally:
            await self._python.stop()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: HomelabJobConfiguration,
        task_status: "anyio.abc.TaskStatus[int] | None" = None,
    ) -> HomelabWorkerResult:
        """See one run through. Cancelling this ends its process group: SIGTERM, the grace period, SIGKILL."""
        environment = {k: v for k, v in {**os.environ, **configuration.env}.items() if v is not None}
        folder = configuration.working_dir or str(Path.cwd())
        if configuration.shell_command:
            process = await asyncio.create_subprocess_exec(
                configuration.shell, "-c", configuration.shell_command, cwd=folder, env=environment,
                stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            pid, ended = process.pid, asyncio.ensure_future(process.wait())
        else:
            spec = PythonSpec(cwd=folder, environment=environment, flow_run_id=str(flow_run.id))
            child = await self._python.spawn(spec, stdout=_STDOUT, stderr=_STDERR)
            pid, ended = child.pid, asyncio.ensure_future(child.wait())
        if task_status is not None:
            task_status.started(pid)
        try:
            if configuration.shell_command:
                # No engine runs inside a command, so its start and its end are told here.
                await self.client.set_flow_run_state(flow_run.id, Running())
            status = await asyncio.shield(ended)
        except BaseException:
            await _end(pid, ended, configuration.grace_s)
            raise
        if configuration.shell_command and status is not None:
            how = f"exit {status}" if status >= 0 else f"ended by signal {-status}"
            final = Completed(message=how) if status == 0 else Failed(message=how)
            await self.client.set_flow_run_state(flow_run.id, final)
            status = 0  # any other would have Prefect call the run crashed
        return HomelabWorkerResult(status_code=1 if status is None else status, identifier=str(pid))


async def _end(pid: int, ended: "asyncio.Future[int | None] | asyncio.Future[int]", grace_s: float) -> None:
    """The process group is gone afterwards. Shielded: the caller has been cancelled already."""
    with anyio.CancelScope(shield=True):
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                return
            await asyncio.wait({ended}, timeout=wait_s)
            if ended.done():
                return
