"""One command as a process: started as cron would start it, its output passed on, ended when it must end.

The run ends when the direct command ends (cron waits for the pipe; a daemon that a job leaves behind does not hold a
slot here). After that the pipes are read for `DRAIN_QUIET_S` more, up to `DRAIN_MAX_S` while data keeps coming; who
is still there is named in a line of the lab, and left alone. After a timeout or a cancellation the whole process
group is ended. Knows no job, no journal and no log file: a `Spec` in, chunks to a `Sink`, an `Outcome` out. Called by
the launcher, inside the worker's loop.
"""

import asyncio
import errno
import os
import pwd
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Literal, Protocol

from homelab.core.errors import HomelabError, InputError
from homelab.core.jobs import RunState
from homelab.core.passing import NOTHING, Passed
from homelab.worker.environment import Account
from homelab.worker.pipes import InputPipe, OutputPipe
from homelab.worker.survivors import group_exists, group_lives, left_behind

DRAIN_QUIET_S = 0.5
DRAIN_MAX_S = 2.0
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
KILL_WAIT_S = 5.0
"""How long after SIGKILL a process may take to go; longer means that it hangs inside the kernel."""
UMASK = 0o022
_MAX_GROUPS = 16 if sys.platform == "darwin" else 65536
_MARKS = ("HOMELAB_RUN_ID", "HOMELAB_JOB", "HOMELAB_ATTEMPT")
"""Variables by which processes that left the session are recognised as this attempt's, and as no sibling's."""


class Sink(Protocol):
    """Takes the output; `worker.runlog.Writer` is one. `time` is Unix seconds."""

    def write(self, stream: Literal["out", "err"], chunk: bytes, time: float) -> None: ...

    def lab(self, text: str, time: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to start: `shell -c command` in `cwd`, with exactly `environment`.

    `account`: whom to run as; None, or the worker's own user: no switch.
    """

    command: str
    cwd: str
    environment: Mapping[str, str]
    shell: str = "/bin/sh"
    stdin: str | None = None
    account: Account | None = None
    timeout_s: float | None = None
    grace_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended. `started` is None when nothing was started. `exit_code` and `signal`: one of them, or
    neither. `output_*` are filled in by whoever owns the log (`with_output`)."""

    state: RunState
    reason: str
    ended: datetime
    started: datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    pid: int | None = None
    left_behind: tuple[int, ...] = ()
    output_bytes: int = 0
    output_lines: int = 0
    peak_memory_bytes: int | None = None
    """Of the largest of its processes; None where nobody counted."""
    cpu_s: float | None = None
    facts: Mapping[str, Any] | None = None
    """What else was seen (`worker.circumstances`), as JSON."""
    passed: Passed = NOTHING
    """What it passes on (`worker.handing`); nothing unless it succeeded."""

    @classmethod
    def not_started(cls, state: RunState, reason: str, now: datetime) -> "Outcome":
        return cls(state=state, reason=reason, ended=now)

    def since(self, started: datetime | None) -> "Outcome":
        return replace(self, started=started)

    def with_output(self, *, output_bytes: int, output_lines: int) -> "Outcome":
        return replace(self, output_bytes=output_bytes, output_lines=output_lines)


def account_of(user: str) -> Account:
    """The account of that name ("": the worker's own). InputError when this machine has none."""
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    except KeyError:
        if user:
            raise InputError(f"this machine has no user '{user}'", hint="Correct `user` of the job.") from None
        return Account(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid(), home="/")
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=entry.pw_dir)


def reset_ignored_signals() -> None:
    """Call once in the worker: signals that its parent had it ignore (nohup) would be ignored by every job too. A
    handler that does nothing has the same effect here, and is reset to the default in a started program."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _nothing)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


class Started(Protocol):
    """A process just started, first of its own session and group. `exited` gets its status as `subprocess` gives it."""

    pid: int
    exited: "asyncio.Future[int]"
    ended: datetime | None
    usage: "resource.struct_rusage | None"
    """What it and its children used, once it has ended and somebody counted."""

    @property
    def has_ended(self) -> bool:
        """Whether its end is known, be it that nobody heard of it yet."""
        ...

    def close(self) -> None:
        """Nobody waits any more; a process that has not ended was killed before."""
        ...


Start = Callable[[Spec, list[OutputPipe], InputPipe | None], Awaitable[Started]]
"""Another way to start than `shell -c`. It closes the child's ends of the pipes. Raises as `run` expects it: OSError,
ValueError or a HomelabError, when nothing was started."""


async def begin(spec: Spec, sink: Sink, *, start: Start | None = None) -> "Running | Outcome":
    """Start the command; an `Outcome` where it could not be started. Whoever has it calls `end_now` at the end."""
    outputs: list[OutputPipe] = []
    stdin: InputPipe | None = None
    try:
        outputs.append(OutputPipe("out", sink.write))
        outputs.append(OutputPipe("err", sink.write))
        stdin = InputPipe(spec.stdin) if spec.stdin else None
        process = _Shell.started(spec, outputs, stdin) if start is None else await start(spec, outputs, stdin)
    except (OSError, ValueError, HomelabError) as error:
        _close(outputs, stdin)
        return Outcome.not_started(RunState.FAILED, _not_started(spec, error), _now())
    return Running(spec, sink, process, outputs, stdin)


def take_up(state: Mapping[str, Any], spec: Spec, sink: Sink, *, process: Started | None = None) -> "Running":
    """A command of this same process, under way since before it executed itself anew: what `Running.hand_over` said of
    it. `process`: where it is no child of this process."""
    stdin = state["stdin"]
    return Running(
        spec,
        sink,
        _Shell(int(state["pid"])) if process is None else process,
        [OutputPipe("out", sink.write, kept=int(state["out"])), OutputPipe("err", sink.write, kept=int(state["err"]))],
        None if stdin is None else InputPipe(stdin["rest"], kept=int(stdin["fd"])),
        started=datetime.fromisoformat(state["started"]),
        began_at=float(state["began_at"]),
    )


def _spawn(spec: Spec, outputs: list[OutputPipe], stdin: InputPipe | None) -> "subprocess.Popen[bytes]":
    """Blocks the loop for the about 1 ms until the program is loaded. Only fds 0, 1, 2 are passed on; without a
    change of user the child is made by vfork, whatever the size of this process."""
    user, group, extra_groups = _switch(spec.account)
    try:
        return subprocess.Popen(
            [spec.shell, "-c", spec.command],
            stdin=subprocess.DEVNULL if stdin is None else stdin.child_end,
            stdout=outputs[0].child_end,
            stderr=outputs[1].child_end,
            cwd=spec.cwd,
            env=dict(spec.environment),
            umask=UMASK,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=extra_groups,
        )
    finally:
        for pipe in (*outputs, *([stdin] if stdin else [])):
            pipe.close_child_end()


def _switch(account: Account | None) -> tuple[int | None, int | None, list[int] | None]:
    """user, group and groups to change to. InputError when that is not permitted."""
    if account is None or account.uid == os.geteuid():
        return None, None, None
    if os.geteuid() != 0:
        raise InputError(
            f"cannot run as user '{account.name}': the worker does not run as root",
            hint="Start the lab as root, or as that user.",
        )
    return account.uid, account.gid, os.getgrouplist(account.name, account.gid)[:_MAX_GROUPS]


@dataclass
class Running:
    """One started process. `exited` is done when the direct command has ended and its status was collected. `began_at`:
    its start on the monotonic clock."""

    spec: Spec
    sink: Sink
    process: Started
    outputs: list[OutputPipe]
    stdin: InputPipe | None
    started: datetime = field(default_factory=lambda: _now())
    began_at: float = field(default_factory=time.monotonic)
    exited: "asyncio.Future[int]" = field(init=False)
    is_over: bool = False
    """It has ended, or is being ended."""

    def __post_init__(self) -> None:
        self.exited = self.process.exited
        for pipe in self.outputs:
            pipe.start()
        if self.stdin:
            self.stdin.start()

    @property
    def is_steady(self) -> bool:
        """Whether it just runs: only then it can be handed over."""
        return not (self.is_over or self.process.has_ended)

    def hand_over(self) -> dict[str, Any]:
        """What `take_up` needs in the program that this process executes next. Nothing changes for the command."""
        out, err = (pipe.hand_over() for pipe in self.outputs)
        return {
            "pid": self.process.pid,
            "started": self.started.isoformat(),
            "began_at": self.began_at,
            "out": out,
            "err": err,
            "stdin": None if self.stdin is None else self.stdin.hand_over(),
        }

    async def see_through(self, cancel: asyncio.Event, cancel_reason: Callable[[], str] | None = None) -> Outcome:
        """Until it has ended, or was ended: because `cancel` was set or its time is over. Never raises for what the
        command does."""
        cancelled = asyncio.ensure_future(cancel.wait())
        timeout_s = self.spec.timeout_s
        if timeout_s is not None:
            timeout_s = max(0.0, self.began_at + timeout_s - time.monotonic())
        try:
            done, _ = await asyncio.wait(
                {self.exited, cancelled}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            cancelled.cancel()
        self.is_over = True
        if self.exited in done:
            if self.exited.result() < 0:
                await self._end_group()
            return await self._after_exit(None, "")
        if cancelled in done:
            return await self._end(RunState.CANCELLED, _cancelled(cancel_reason))
        return await self._end(RunState.TIMED_OUT, f"timed out after {self.spec.timeout_s:g} s")

    async def _end(self, state: RunState, reason: str) -> Outcome:
        """SIGTERM to the group, grace, SIGKILL to what is left of it."""
        self.sink.lab(f"{reason}: sending SIGTERM", time.time())
        if await self._end_group():
            reason += "; ignored SIGTERM, killed"
        if not self.exited.done():
            self.sink.lab(f"process {self.process.pid} does not end, not even by SIGKILL", time.time())
            return self._outcome(state, f"{reason}, but process {self.process.pid} does not end", None, ())
        return await self._after_exit(state, reason)

    async def _end_group(self) -> bool:
        """Whether the direct command had to be killed. Also after it was itself killed by a signal: what it had in the
        foreground would go on without it, beside a retry."""
        pgid, deadline = self.process.pid, time.monotonic() + self.spec.grace_s
        if not self._signal(signal.SIGTERM):
            return False
        self._signal(signal.SIGCONT)  # a stopped process would not notice
        await asyncio.wait({self.exited}, timeout=self.spec.grace_s)
        # Nobody tells when a group has become empty.
        while self.exited.done() and group_lives(pgid) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        ignored = not self.exited.done()
        if ignored or group_lives(pgid):
            self._signal(signal.SIGKILL)
            self.sink.lab(f"still there after {self.spec.grace_s:g} s: sent SIGKILL", time.time())
            await asyncio.wait({self.exited}, timeout=KILL_WAIT_S)
        return ignored

    def _signal(self, number: signal.Signals) -> bool:
        """To the group, False when it is empty. While a member is left of it, its number is given to no other."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            self.sink.lab(f"not permitted to send {number.name} to process group {self.process.pid}", time.time())
        return True

    async def _after_exit(self, state: RunState | None, reason: str) -> Outcome:
        code = self.exited.result()
        await self._drain()
        holds_pipe = any(not pipe.ended for pipe in self.outputs)
        left: tuple[int, ...] = ()
        if holds_pipe or group_exists(self.process.pid):
            marks = {name: self.spec.environment.get(name, "") for name in _MARKS}
            left = left_behind(self.process.pid, marks, since=self.started.timestamp(), everywhere=holds_pipe)
        if left:
            pids = ", ".join(map(str, left))
            self.sink.lab(f"left running in the background: pid {pids}; its further output is not kept", time.time())
        if state is None:
            state = RunState.SUCCEEDED if code == 0 else RunState.FAILED
            reason = "" if code == 0 else _why(code)
        return self._outcome(state, reason, code, left)

    async def _drain(self) -> None:
        """Read what is still in the pipes, and a little of what background processes add."""
        end = time.monotonic() + DRAIN_MAX_S
        while any(not pipe.ended for pipe in self.outputs) and (now := time.monotonic()) < end:
            last = max(pipe.last_read for pipe in self.outputs)
            quiet_at = max(last, end - DRAIN_MAX_S) + DRAIN_QUIET_S
            if now >= quiet_at:
                return
            waits = [asyncio.ensure_future(pipe.end.wait()) for pipe in self.outputs if not pipe.ended]
            await asyncio.wait(waits, timeout=min(quiet_at, end) - now, return_when=asyncio.ALL_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _outcome(self, state: RunState, reason: str, code: int | None, left: tuple[int, ...]) -> Outcome:
        usage = self.process.usage
        return Outcome(
            state=state,
            reason=reason,
            peak_memory_bytes=None if usage is None else usage.ru_maxrss * _RSS_UNIT,
            cpu_s=None if usage is None else round(usage.ru_utime + usage.ru_stime, 3),
            ended=self.process.ended or _now(),
            started=self.started,
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            pid=self.process.pid,
            left_behind=left,
        )

    def end_now(self) -> None:
        """Close all that is open for it; a command that still runs is killed without grace."""
        self.is_over = True
        if not self.exited.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        elif any(not pipe.ended for pipe in self.outputs):
            for pipe in self.outputs:
                pipe.discard()
        self.process.close()
        _close([pipe for pipe in self.outputs if not pipe.discards], self.stdin)


class _Shell:
    """`shell -c command`. The loop hears of its end by pidfd on Linux, by a short look every 20 ms elsewhere."""

    def __init__(self, pid: int, popen: "subprocess.Popen[bytes] | None" = None) -> None:
        """`popen`: None for a child from before this process executed itself anew."""
        self._loop = asyncio.get_running_loop()
        self._popen = popen
        self.pid = pid
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None
        self.ended: datetime | None = None
        self.usage: resource.struct_rusage | None = None
        try:
            self._fd = os.pidfd_open(pid)
            self._loop.add_reader(self._fd, self._look)
        except (AttributeError, OSError):
            self._look_again(0.002)

    @classmethod
    def started(cls, spec: Spec, outputs: list[OutputPipe], stdin: InputPipe | None) -> "_Shell":
        popen = _spawn(spec, outputs, stdin)
        return cls(popen.pid, popen)

    @property
    def has_ended(self) -> bool:
        return self.exited.done()

    def _look(self) -> None:
        if self.exited.done():
            return
        try:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            # Collected elsewhere: `subprocess` knows what to make of that, where it started it.
            code = -signal.SIGKILL if self._popen is None else self._popen.poll()
        else:
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if self._popen is not None:
                self._popen.returncode = code
            self.usage = usage
        if code is None:
            return
        self.ended = _now()
        self.exited.set_result(code)
        self._release()

    def _look_again(self, pause_s: float) -> None:
        self._look()
        if not self.exited.done():
            longer_s = min(pause_s * 1.5, 0.02)
            self._timer = self._loop.call_later(pause_s, self._look_again, longer_s)

    def _release(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Stop watching; a process that does not end at once is collected later, by `subprocess` itself."""
        self._release()
        if not self.exited.done():
            if self._popen is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._popen.wait(0.2)
            self.exited.cancel()


def _close(outputs: list[OutputPipe], stdin: InputPipe | None) -> None:
    for pipe in outputs:
        pipe.close()
    if stdin is not None:
        stdin.close()


def _why(code: int) -> str:
    if code < 0:
        return killed_by(-code)
    if code == 127:
        return "exit status 127: command not found"
    if code == 126:
        return "exit status 126: the command is not executable"
    if code > 128 and (name := _signal_name(code - 128)):
        return f"exit status {code}: a command in it was ended by signal {code - 128} ({name})"
    return f"exit status {code}"


def killed_by(number: int) -> str:
    return f"killed by signal {number} ({_signal_name(number) or 'unknown'})"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _not_started(spec: Spec, error: Exception) -> str:
    if isinstance(error, HomelabError):
        return f"not started: {error.message}"
    if isinstance(error, OSError):
        if not os.path.isdir(spec.cwd):  # noqa: PTH112 - a plain question about a string
            return f"not started: the working folder {spec.cwd} does not exist"
        if error.filename == spec.shell and error.errno != errno.E2BIG:
            return f"not started: the shell {spec.shell}: {error.strerror}"
        if error.filename == spec.cwd:
            return f"not started: the working folder {spec.cwd}: {error.strerror}"
        return f"not started: {error.strerror}"
    return f"not started: {error}"


def not_begun(cancel_reason: Callable[[], str] | None = None) -> Outcome:
    """Of an attempt that was cancelled before it began."""
    return Outcome.not_started(RunState.CANCELLED, _cancelled(cancel_reason), _now())


def _cancelled(reason: Callable[[], str] | None) -> str:
    return (reason() if reason else "") or "cancelled"


def _now() -> datetime:
    return datetime.now(UTC)
