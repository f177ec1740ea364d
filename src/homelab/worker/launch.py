"""From a job to a process: account, secrets, environment, working folder, log; then `worker.process` sees it through.

Whatever keeps a job from starting (a missing secret, user or folder) is an outcome of the attempt with its reason,
never an exception. Called by `worker.execution`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from homelab.core.capacity import requirements_of
from homelab.core.errors import InputError
from homelab.core.jobs import Job, RunState
from homelab.core.passing import NOTHING, Passed, variables_of
from homelab.flows.pyrunner import PythonRunner, PythonSpec
from homelab.home import references
from homelab.home.paths import Home
from homelab.worker import environment, handing, process, python, runlog
from homelab.worker.artefacts import Artefacts
from homelab.worker.circumstances import Observer
from homelab.worker.facts import RunFacts
from homelab.worker.process import Outcome
from homelab.worker.redaction import Redactor, too_short
from homelab.worker.runlog import Writer
from homelab.worker.sensors import own


class Launcher:
    """Starts the attempts of one worker."""

    def __init__(self, home: Home, artefacts: Artefacts, *, prefect: Mapping[str, str] | None = None) -> None:
        """`prefect`: the variables by which a Python flow finds the lab's Prefect server."""
        self._home = home
        self._artefacts = artefacts
        self.prefect = dict(prefect or {})
        self.runner = PythonRunner()
        self._observer = Observer(home)
        self._ended: list[own.Job] = []

    def ended(self) -> list[own.Job]:
        """The attempts that ended since this was asked last, as the sensors count them."""
        found, self._ended = self._ended, []
        return found

    async def run(
        self,
        job: Job,
        facts: RunFacts,
        *,
        attempt: int,
        handed: Mapping[str, Passed],
        log_path: Path,
        cancel: asyncio.Event,
        cancel_reason: Callable[[], str],
        on_start: Callable[[int, datetime], None],
    ) -> Outcome:
        """One attempt from preparation to outcome. `handed`: what the jobs it needs passed on, by job. The log at
        `log_path` is complete when this returns."""
        try:
            values = await self._secrets(job)
        except InputError as error:
            return self._not_started(job, log_path, Redactor(()), error)
        redactor = Redactor(values.values())
        passed = variables_of(handed)
        try:
            account = process.account_of(job.user)
            exchange = handing.prepare(log_path, account, has_inputs=handing.has_inputs(job, facts.flow))
        except InputError as error:
            return self._not_started(job, log_path, redactor, error)
        try:
            spec = self._spec(job, facts, attempt, values, passed, account, exchange)
        except InputError as error:
            exchange.close()
            return self._not_started(job, log_path, redactor, error)
        given = {**job.params, **{n: v for n, v in passed.items() if n in job.params}, **facts.params}
        start = self._python(job, given) if job.flow else None
        writer = Writer(log_path, limit_bytes=job.output_limit_bytes, redactor=redactor)
        for name in too_short(values):
            writer.lab(f"the secret {name} is too short to be recognised in the output", time.time())
        began = self._observer.begin(spec)

        def started(pid: int, at: datetime) -> None:
            on_start(pid, at)
            if job.run:
                self._observer.read_beside(spec, began)

        try:
            why = await handing.bring(exchange, handed, self._artefacts, writer, cancel)
            if why:
                outcome = Outcome.not_started(RunState.FAILED, f"not started: {why}", datetime.now(UTC))
            else:
                outcome = await process.run(
                    spec, writer, cancel=cancel, start=start, on_start=started, cancel_reason=cancel_reason
                )
            passed_on = NOTHING
            if outcome.state is RunState.SUCCEEDED:
                passed_on, why = await handing.collect(exchange, job, Path(spec.cwd), self._artefacts, redactor, writer)
                if why:
                    passed_on, outcome = NOTHING, replace(outcome, state=RunState.FAILED, reason=f"not saved: {why}")
        finally:
            exchange.close()
            writer.close(time.time())
        if job.requires and outcome.pid is not None and outcome.cpu_s is not None:
            promised = requirements_of(job.requires).amounts
            self._ended.append(own.Job(session=outcome.pid, promised=promised, ended_cpu_s=outcome.cpu_s))
        tail = [] if outcome.exit_code not in (126, 127) else list(map(runlog.text, runlog.tail(log_path, 20)))
        seen = await self._observer.end(spec, began, outcome, tail, redactor)
        outcome = replace(outcome, reason=redactor.text(outcome.reason), facts=seen, passed=passed_on)
        return outcome.with_output(output_bytes=writer.output_bytes, output_lines=writer.output_lines)

    async def _secrets(self, job: Job) -> dict[str, str]:
        if not job.secrets:
            return {}
        if any(reference.startswith("keychain:") for reference in job.secrets.values()):
            return await asyncio.to_thread(references.resolve_all, job.secrets, home=self._home)
        return references.resolve_all(job.secrets, home=self._home)

    def _spec(
        self,
        job: Job,
        facts: RunFacts,
        attempt: int,
        values: dict[str, str],
        passed: Mapping[str, str],
        account: environment.Account,
        exchange: handing.Exchange,
    ) -> process.Spec:
        variables = environment.environment_of(
            job,
            account=account,
            run_id=facts.id,
            attempt=attempt,
            due=facts.due,
            home=str(self._home.root),
            output=str(exchange.output),
            inputs=str(exchange.inputs or ""),
            passed=passed,
            params=facts.params,
            secrets=values,
        )
        return process.Spec(
            command=job.run,
            cwd=environment.cwd_of(job, variables),
            environment=variables,
            shell=job.shell,
            stdin=job.stdin,
            account=account,
            timeout_s=job.timeout_s,
            grace_s=job.grace_s,
        )

    def _not_started(self, job: Job, log_path: Path, redactor: Redactor, error: InputError) -> Outcome:
        reason = redactor.text(f"not started: {error.message}")
        writer = Writer(log_path, limit_bytes=job.output_limit_bytes)
        writer.lab(f"{reason}. {redactor.text(error.hint)}".strip(), time.time())
        writer.close(time.time())
        return Outcome.not_started(RunState.FAILED, reason, datetime.now(UTC))

    def _python(self, job: Job, params: Mapping[str, str]) -> process.Start:
        """Start `module:function` in the fork server. A plain function runs as it is; one decorated with `@flow` is a
        flow run of its own in the lab's Prefect, so it gets the address."""

        def made(spec: process.Spec) -> PythonSpec:
            return PythonSpec(
                cwd=spec.cwd,
                environment={**self.prefect, **spec.environment},
                target=job.flow,
                parameters=dict(params),
                user=job.user,
            )

        return python.starter(self.runner, made)

    async def aclose(self) -> None:
        """End the fork server, if there is one."""
        await self.runner.stop()
