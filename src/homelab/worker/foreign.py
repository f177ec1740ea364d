"""Ordinary Prefect deployments sent to the pool: Prefect's own engine runs them, in a child of the fork server.

The engine reports the run's states itself; this starts it, keeps its output in the run's folder, and speaks for it
when it dies without a word. Called by `worker.loop`, which has claimed the run.
"""

import asyncio
import os
import time
from typing import Any

import structlog

from homelab.core.jobs import RunState
from homelab.core.work import Work
from homelab.flows import records
from homelab.flows.api import DueRun, PrefectRefused
from homelab.flows.pyrunner import PythonSpec
from homelab.worker import environment, process, python
from homelab.worker.attempt import Attempt
from homelab.worker.execution import Node, first_of
from homelab.worker.leasing import Ask
from homelab.worker.redaction import Redactor

log = structlog.get_logger()

GRACE_S = 30.0
_FINAL = ("COMPLETED", "FAILED", "CANCELLED")


class Foreign:
    """One run that is not the lab's own. `cancel` may be called at any time."""

    def __init__(self, node: Node, due: DueRun, *, token: int | None = None) -> None:
        """`token`: of the lease of one that was taken up."""
        self._node = node
        self._due = due
        self._token = token
        self.run_id = due.id
        self._work = str(Work(due.id, "flow", 1))
        self._cancelled = asyncio.Event()
        self._reason = ""

    def state(self) -> dict[str, Any]:
        """For the program that this process executes next: arguments of another one."""
        return {"due": self._due.to_json(), "token": self._node.leasing.token(self._work)}

    def cancel(self, reason: str) -> None:
        self._reason = reason
        self._cancelled.set()

    async def execute(self) -> None:
        """See the run through. Its last state is set here only when the engine could not."""
        launcher = self._node.launcher
        taken_up = launcher.taken_up(self._due.id).get(self._work)
        attempt = taken_up or self._prepared()
        try:
            outcome = await (self._make(attempt) if taken_up is None else self._go_on(attempt))
        finally:
            self._node.leasing.over(self._due.id)
            attempt.close()
        await self._settle(outcome)
        launcher.over(attempt)

    async def _go_on(self, attempt: Attempt) -> process.Outcome:
        self._node.leasing.keep(self._ask(), self._token)
        async with attempt.held:
            return await self._node.launcher.see_through(attempt, self._cancelled, lambda: self._reason)

    def _prepared(self) -> Attempt:
        folder = self._node.home.run_folder(self._due.id)
        folder.mkdir(parents=True, exist_ok=True)
        account = process.account_of("")
        variables = {
            **self._node.launcher.prefect,
            "PATH": environment.DEFAULT_PATH,
            "HOME": account.home,
            "USER": account.name,
            "LOGNAME": account.name,
            "HOMELAB_RUN_ID": self._due.id,
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }
        return Attempt(
            work=self._work,
            spec=process.Spec(command="", cwd=str(folder), environment=variables, grace_s=GRACE_S),
            log_path=folder / "flow.1.log",
            redactor=Redactor(()),
            queue="default",
            is_python=True,
        )

    async def _make(self, attempt: Attempt) -> process.Outcome:
        launcher = self._node.launcher
        place = self._node.leasing.want(self._ask())
        await first_of(place.settled, self._cancelled)
        async with self._node.admission.start("default", ()):
            start = python.starter(launcher.runner, self._made)
            return await launcher.start(
                attempt, start=start, cancel=self._cancelled, cancel_reason=lambda: self._reason
            )

    def _ask(self) -> Ask:
        """A slot, for as long as it runs."""
        return Ask(
            run=self._due.id, job="flow", attempt=1, digest=None, is_plain=True, is_free=True, since=time.monotonic()
        )

    def _made(self, spec: process.Spec) -> PythonSpec:
        return PythonSpec(cwd=spec.cwd, environment=spec.environment, flow_run_id=self._due.id)

    async def _settle(self, outcome: process.Outcome) -> None:
        node, run_id = self._node, self._due.id
        seen = await node.gate.until_taken(lambda: node.api.read_run(run_id), what="foreign")
        if seen is None or seen.state_type in _FINAL:
            return
        is_cancelled = outcome.state is RunState.CANCELLED  # the engine says of one that is ended so that it crashed
        if not is_cancelled and (seen.state_type == "CRASHED" or seen.state_name == "AwaitingRetry"):
            return
        state = RunState.CANCELLED if is_cancelled else RunState.CRASHED
        reason = outcome.reason or "it ended without reporting how"
        try:
            await node.gate.until_taken(
                lambda: node.api.set_state(run_id, records.proposal(state, reason)), what="foreign"
            )
        except PrefectRefused as error:
            log.warning("prefect.refused", run_id=run_id, error=str(error))
