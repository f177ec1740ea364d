"""The place where one attempt gets what others passed on and leaves what it passes on itself.

The file `$HOMELAB_OUTPUT` lies beside the attempt's log; it exists when the job has written to it. The folder
`$HOMELAB_INPUTS` is made when a job that it needs saves files: JOB/PATH, copies, so that nothing that is done to them
reaches the store. A job of another account cannot reach either: it gets a folder of its own below the system's
temporary folder. All of it is gone when the attempt has ended. Called by `worker.launch`.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from homelab.core.errors import HomelabError, InputError
from homelab.core.jobs import Flow, Job
from homelab.core.passing import Artefact, Passed, parts_of
from homelab.home.objects import Damaged
from homelab.worker import outputs, saving
from homelab.worker.artefacts import Artefacts
from homelab.worker.control_link import ControlRefused, ControlUnavailable
from homelab.worker.environment import Account, is_steering
from homelab.worker.redaction import Redactor

ARRIVES_WITHIN_S = 600.0
"""How long an attempt waits for a file that another node has not handed in yet, or for control to answer."""
_AGAIN_S = 1.0


class Words(Protocol):
    """Takes the lab's own lines of a log (`worker.runlog.Writer`)."""

    def lab(self, text: str, time: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """The paths of one attempt. `own`: a folder made for it alone, or None. `inputs`: None when nothing is there for
    it."""

    account: Account
    output: Path
    inputs: Path | None = None
    own: Path | None = None

    def state(self) -> dict[str, Any]:
        """As JSON, for `of`."""
        paths = {"output": self.output, "inputs": self.inputs, "own": self.own}
        return {"account": asdict(self.account), **{name: None if p is None else str(p) for name, p in paths.items()}}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Exchange":
        inputs, own = (None if state[name] is None else Path(state[name]) for name in ("inputs", "own"))
        return cls(account=Account(**state["account"]), output=Path(state["output"]), inputs=inputs, own=own)

    def close(self) -> None:
        """Remove what was made for the attempt."""
        with suppress(OSError):
            self.output.unlink(missing_ok=True)
        for folder in (self.inputs, self.own):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def prepare(log_path: Path, account: Account, *, has_inputs: bool) -> Exchange:
    """For the attempt that logs to `log_path` as `account`. InputError when its folders cannot be made."""
    try:
        if account.uid == os.geteuid() or os.geteuid() != 0:
            inputs = log_path.with_suffix(".inputs") if has_inputs else None
            own, output = None, log_path.with_suffix(".output")
        else:
            own = Path(tempfile.mkdtemp(prefix="homelab-"))
            os.chown(own, account.uid, account.gid)
            inputs, output = own / "inputs" if has_inputs else None, own / "output"
        if inputs is not None:
            inputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder for what is passed on cannot be made: {error.strerror}") from error
    return Exchange(account=account, output=output, inputs=inputs, own=own)


def has_inputs(job: Job, flow: Flow) -> bool:
    """Whether a job that it needs, in the same flow, saves files."""
    needed = {need.job for need in job.needs}
    return any(other.save for other in flow.jobs if other.name in needed)


# -- what it gets -----------------------------------------------------------------------------------------------------


async def bring(
    exchange: Exchange, handed: Mapping[str, Passed], artefacts: Artefacts, words: Words, cancel: asyncio.Event
) -> str:
    """Lay the files out that the jobs it needs saved, until `cancel` is set. Why one is not to be had within
    `ARRIVES_WITHIN_S`, "" when all are there; what is waited for is said in the log."""
    if exchange.inputs is None:
        return ""
    bringing = asyncio.create_task(_bring_all(exchange, exchange.inputs, handed, artefacts, words))
    cancelled = asyncio.create_task(cancel.wait())
    try:
        await asyncio.wait({bringing, cancelled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        cancelled.cancel()
        bringing.cancel()
        with suppress(asyncio.CancelledError, InputError):
            await bringing
    error = None if bringing.cancelled() else bringing.exception()
    if not isinstance(error, InputError):
        return ""
    words.lab(f"{error.message}. {error.hint}".strip(), time.time())
    return error.message


async def _bring_all(
    exchange: Exchange, inputs: Path, handed: Mapping[str, Passed], artefacts: Artefacts, words: Words
) -> None:
    deadline = time.monotonic() + ARRIVES_WITHIN_S
    for job, passed in handed.items():
        for artefact in passed.artefacts:
            await _bring_one(inputs, job, artefact, artefacts, words, deadline)
    if exchange.own is not None:
        await asyncio.to_thread(_give, inputs, exchange.account)


async def _bring_one(
    inputs: Path, job: str, artefact: Artefact, artefacts: Artefacts, words: Words, deadline: float
) -> None:
    """InputError when it is not to be had."""
    what = f"{artefact.path} of job {job}"
    told = False
    while True:
        try:
            target = inputs.joinpath(job, *parts_of(artefact.path))
            await artefacts.fetch(artefact)
            await asyncio.to_thread(_lay, artefacts, artefact.sha256, target)
            return
        except ValueError:
            raise InputError(f"{what} cannot be a file here") from None
        except (ControlUnavailable, ControlRefused, Damaged, FileNotFoundError) as error:
            why = error.message if isinstance(error, HomelabError) else str(error)
            if isinstance(error, ControlRefused) and error.status != 404:
                raise InputError(f"{what} is not to be had: {why}") from error
            if time.monotonic() > deadline:
                raise InputError(
                    f"{what} did not come within {ARRIVES_WITHIN_S:.0f} s: {why}",
                    hint="It is on the node that made it, or it is no longer kept. Run that job again.",
                ) from error
            if not told:
                words.lab(f"waiting for {what}: {why}", time.time())
                told = True
            await asyncio.sleep(_AGAIN_S)
        except OSError as error:
            raise InputError(f"{what} cannot be written here: {error.strerror}") from error


def _lay(artefacts: Artefacts, sha256: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    artefacts.objects.copy(sha256, target)


def _give(folder: Path, account: Account) -> None:
    """All below the folder, and it, become the account's."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(f"{parent}/{name}", account.uid, account.gid, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid)


# -- what it leaves ---------------------------------------------------------------------------------------------------


async def collect(
    exchange: Exchange, job: Job, cwd: Path, artefacts: Artefacts, redactor: Redactor, words: Words
) -> tuple[Passed, str]:
    """What an attempt that succeeded passes on; and why it has not succeeded after all, "" when it has. What cannot be
    passed on is said in its log."""
    found = outputs.collect(
        exchange.output,
        owner=exchange.account.uid,
        steers=is_steering,
        holds_secret=lambda value: redactor.text(value) != value,
    )
    for warning in found.warnings:
        words.lab(warning, time.time())
    if not job.save:
        return Passed(outputs=found.values), ""
    is_other = exchange.account.uid != os.geteuid()
    saved = await asyncio.to_thread(_save, job, cwd, exchange.account.uid if is_other else None, artefacts)
    for problem in saved.told:
        words.lab(problem, time.time())
    if saved.artefacts:
        artefacts.wake()
    problem = saved.problems[0] if saved.problems and job.save_required else ""
    return Passed(outputs=found.values, artefacts=tuple(saved.artefacts)), problem


def _save(job: Job, cwd: Path, owner: int | None, artefacts: Artefacts) -> saving.Saved:
    saved = saving.save(job.save, folder=cwd, owner=owner, objects=artefacts.objects)
    try:
        artefacts.saved(saved.artefacts)
    except OSError as error:
        saved.problems.append(f"what was saved cannot be handed in: {error.strerror}")
        saved.artefacts.clear()
    return saved
