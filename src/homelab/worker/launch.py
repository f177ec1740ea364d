"""From a job to a process: account, secrets, environment, working folder, log; then `worker.process` sees it through.

Whatever keeps a job from starting (a missing secret, user or folder) is an outcome of the attempt with its reason,
never an exception. Called by `worker.execution`.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from homelab.core.capacity import requirements_of
from homelab.core.errors import InputError
from homelab.core.jobs import Job, RunState
from homelab.core.passing import NOTHING, Passed, variables_of
from homelab.core.work import Work
from homelab.flows.pyrunner import PythonRunner, PythonSpec
from homelab.home import references
from homelab.home.paths import Home
from homelab.worker import environment, handing, process, python, runlog
from homelab.worker.artefacts import Artefacts
from homelab.worker.attempt import Attempt
from homelab.worker.circumstances import Observer
from homelab.worker.facts import RunFacts
from homelab.worker.pipes import OutputPipe, discarded
from homelab.worker.process import Outcome
from homelab.worker.redaction import Redactor, too_short
from homelab.worker.runlog import Writer
from homelab.worker.sensors import own

Json = dict[str, Any]


def _nothing(pid: int, started: datetime) -> None:
    pass


class Launcher:
    """Starts the attempts of one worker, or goes on with them."""

    def __init__(self, home: Home, artefacts: Artefacts, *, prefect: Mapping[str, str] | None = None) -> None:
        """`prefect`: the variables by which a Python flow finds the lab's Prefect server."""
        self._home = home
        self._artefacts = artefacts
        self.prefect = dict(prefect or {})
        self.runner = PythonRunner()
        self._observer = Observer(home)
        self._ended: list[own.Job] = []
        self.under_way: dict[str, Attempt] = {}
        """The attempts of which the command was started, by work, until all that comes of its end is done."""
        self._taken_up: dict[str, Attempt] = {}
        self._starting = 0
        self._left: list[OutputPipe] = []
        """What is read for nobody: processes that attempts left in the background would be killed by its closing."""

    def ended(self) -> list[own.Job]:
        """The attempts that ended since this was asked last, as the sensors count them."""
        found, self._ended = self._ended, []
        return found

    async def run(
        self,
        job: Job,
        facts: RunFacts,
        *,
        number: int,
        handed: Mapping[str, Passed],
        log_path: Path,
        cancel: asyncio.Event,
        cancel_reason: Callable[[], str],
        on_start: Callable[[int, datetime], None],
    ) -> Outcome:
        """The attempt of that number, from preparation to outcome. `handed`: what the jobs it needs passed on, by job.
        The log at `log_path` is complete when this returns."""
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
            spec = self._spec(job, facts, number, values, passed, account, exchange)
        except InputError as error:
            exchange.close()
            return self._not_started(job, log_path, redactor, error)
        given = {**job.params, **{n: v for n, v in passed.items() if n in job.params}, **facts.params}
        attempt = Attempt(
            work=str(Work(facts.id, job.name, number)),
            spec=spec,
            log_path=log_path,
            limit_bytes=job.output_limit_bytes,
            redactor=redactor,
            queue=job.queue,
            exclusive=tuple(job.exclusive),
            is_python=bool(job.flow),
            exchange=exchange,
            began=self._observer.begin(spec),
        )
        for name in too_short(values):
            attempt.writer.lab(f"the secret {name} is too short to be recognised in the output", time.time())

        def started(pid: int, at: datetime) -> None:
            on_start(pid, at)
            if job.run and attempt.began is not None:
                self._observer.read_beside(spec, attempt.began)

        async def outcome() -> Outcome:
            if why := await handing.bring(exchange, handed, self._artefacts, attempt.writer, cancel):
                return Outcome.not_started(RunState.FAILED, f"not started: {why}", datetime.now(UTC))
            start = self._python(job, given) if job.flow else None
            return await self.start(attempt, start=start, cancel=cancel, cancel_reason=cancel_reason, on_start=started)

        return await self._conclude(attempt, job, outcome())

    async def go_on(
        self, attempt: Attempt, job: Job, *, cancel: asyncio.Event, cancel_reason: Callable[[], str]
    ) -> Outcome:
        """The same of an attempt that was taken up."""
        async with attempt.held:
            return await self._conclude(attempt, job, self.see_through(attempt, cancel, cancel_reason))

    async def start(
        self,
        attempt: Attempt,
        *,
        start: process.Start | None = None,
        cancel: asyncio.Event,
        cancel_reason: Callable[[], str],
        on_start: Callable[[int, datetime], None] = _nothing,
    ) -> Outcome:
        """Its command alone, from start to end. `on_start(pid, started)` is called at once after the start."""
        if cancel.is_set():
            return process.not_begun(cancel_reason)
        self._starting += 1
        try:
            begun = await process.begin(attempt.spec, attempt.writer, start=start)
        finally:
            self._starting -= 1
        if isinstance(begun, Outcome):
            return begun
        attempt.running = begun
        try:
            on_start(begun.process.pid, begun.started)
        except BaseException:
            begun.end_now()
            raise
        return await self.see_through(attempt, cancel, cancel_reason)

    async def see_through(self, attempt: Attempt, cancel: asyncio.Event, cancel_reason: Callable[[], str]) -> Outcome:
        """The command of an attempt that was started; `over` ends what begins here. When this task itself is cancelled,
        the command is killed without grace."""
        running = attempt.running
        if running is None:
            raise ValueError(f"{attempt.work} was not started")
        self._taken_up.pop(attempt.work, None)
        self.under_way[attempt.work] = attempt
        try:
            return await running.see_through(cancel, cancel_reason)
        finally:
            running.end_now()
            self._left = [pipe for pipe in (*self._left, *running.outputs) if pipe.discards and not pipe.ended]

    def over(self, attempt: Attempt) -> None:
        """All that comes of its end is done."""
        self.under_way.pop(attempt.work, None)

    async def _conclude(self, attempt: Attempt, job: Job, made: Coroutine[Any, Any, Outcome]) -> Outcome:
        """What is passed on, and what was seen, once `made` has its outcome."""
        try:
            try:
                outcome = await made
                passed_on = NOTHING
                if outcome.state is RunState.SUCCEEDED and attempt.exchange is not None:
                    passed_on, why = await handing.collect(
                        attempt.exchange,
                        job,
                        Path(attempt.spec.cwd),
                        self._artefacts,
                        attempt.redactor,
                        attempt.writer,
                    )
                    if why:
                        passed_on = NOTHING
                        outcome = replace(outcome, state=RunState.FAILED, reason=f"not saved: {why}")
            finally:
                attempt.close()
            if job.requires and outcome.pid is not None and outcome.cpu_s is not None:
                promised = requirements_of(job.requires).amounts
                self._ended.append(own.Job(session=outcome.pid, promised=promised, ended_cpu_s=outcome.cpu_s))
            facts = await self._seen(attempt, outcome)
        finally:
            self.over(attempt)
        outcome = replace(outcome, reason=attempt.redactor.text(outcome.reason), facts=facts, passed=passed_on)
        writer = attempt.writer
        return outcome.with_output(output_bytes=writer.output_bytes, output_lines=writer.output_lines)

    async def _seen(self, attempt: Attempt, outcome: Outcome) -> Mapping[str, Any] | None:
        if attempt.began is None:
            return None
        missing = outcome.exit_code in (126, 127)
        tail = list(map(runlog.text, runlog.tail(attempt.log_path, 20))) if missing else []
        return await self._observer.end(attempt.spec, attempt.began, outcome, tail, attempt.redactor)

    # -- handed over ----------------------------------------------------------------------------------------------

    @property
    def is_steady(self) -> bool:
        """Whether all commands just run: at no other moment they can be handed over."""
        return not self._starting and all(attempt.is_steady for attempt in self.under_way.values())

    def hand_over(self) -> Json:
        """All attempts under way, for `take_up` in the program that this process executes next."""
        states = [attempt.state() for attempt in self.under_way.values()]
        left = [pipe.hand_over() for pipe in self._left if not pipe.ended]
        return {
            "attempts": [one for one in states if one is not None],
            "python": self.runner.hand_over(),
            "left": left,
        }

    def take_up(self, state: Mapping[str, Any]) -> list[Attempt]:
        """The attempts that were handed over. Each waits for its `go_on`, its output is read meanwhile."""
        self._left = [discarded(int(fd)) for fd in state["left"]]
        children = self.runner.take_up(state["python"])
        for one in state["attempts"]:
            child = children.get(int(one["running"]["pid"])) if one["is_python"] else None
            attempt = Attempt.taken_up(one, None if child is None else python.PythonProcess(child))
            self._taken_up[attempt.work] = self.under_way[attempt.work] = attempt
        return list(self._taken_up.values())

    def taken_up(self, run: str = "") -> dict[str, Attempt]:
        """What was taken up of a run ("": of all) and nobody goes on with yet, by work."""
        return {work: one for work, one in self._taken_up.items() if run in ("", Work.of(work).run)}

    async def drop(self, work: str) -> None:
        """End what was taken up and nobody goes on with."""
        attempt = self._taken_up.pop(work)
        if attempt.running is not None:
            attempt.running.end_now()
        attempt.close()
        await attempt.held.aclose()
        self.over(attempt)

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
