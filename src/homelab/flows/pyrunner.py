"""Python flows without the price of starting Prefect each time: a process that has imported it, and forks.

`PythonRunner` is the caller's side (it imports no Prefect); `flows.forkserver` is the process it starts. One run is one
fork in its own session, with its own environment, folder, output descriptors. The fork server is single-threaded and
opens no connection before it forks, so a child inherits no lock held by a thread that it does not have.

macOS: forking is safe only before system frameworks were used (Objective-C refuses afterwards). The server therefore
touches no network and no proxy lookup before forking, and children get `no_proxy=*`, which keeps Python's own proxy
lookup from calling such a framework.

Called by `worker` for jobs with `flow = "module:function"` and for foreign deployments, and by `flows.collection`.
"""

import array
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from homelab.core.errors import HomelabError, InputError

READY_WITHIN_S = 60.0
ANSWER_WITHIN_S = 15.0
MAX_SPEC_BYTES = 4 * 1024 * 1024


class RunnerUnavailable(HomelabError):  # noqa: N818 - a state of the world, not a fault
    """The fork server could not be started or did not answer. Nothing was started, as far as is known."""


@dataclass(frozen=True, kw_only=True)
class PythonSpec:
    """What to run. Exactly one of `target` (`module:function`, called with `parameters`) and `flow_run_id` (an
    ordinary Prefect run, carried out by Prefect's own engine).

    `environment` is complete: nothing of the server's own is passed on. For a flow run it must hold PREFECT_API_URL
    and, where the server asks for it, PREFECT_API_AUTH_STRING. Modules are looked up from `cwd` first, then `path`.
    `user`: whom to run as; empty: the caller's own user.
    """

    cwd: str
    environment: Mapping[str, str]
    target: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    flow_run_id: str = ""
    path: tuple[str, ...] = ()
    user: str = ""

    def to_json(self) -> bytes:
        if bool(self.target) == bool(self.flow_run_id):
            raise InputError("a Python run needs either a function or a flow run, and not both")
        body = {
            "cwd": self.cwd,
            "environment": dict(self.environment),
            "target": self.target,
            "parameters": dict(self.parameters),
            "flow_run_id": self.flow_run_id,
            "path": list(self.path),
            "user": self.user,
        }
        return json.dumps(body).encode()


class RunningChild:
    """One run under way. `pid` is also the id of its process group and session: end it with `os.killpg(pid, ...)`."""

    def __init__(self, pid: int, ended: "asyncio.Future[int | None]") -> None:
        self.pid = pid
        self._ended = ended

    async def wait(self) -> int | None:
        """The exit status: 0 and above as the program gave it, below 0 the signal that ended it (-9: SIGKILL), as
        in `subprocess`. None: the fork server died meanwhile, nobody knows, and the child may still be alive."""
        return await asyncio.shield(self._ended)

    def kill(self, number: int) -> None:
        """Signal the whole process group; nothing happens when it is gone."""
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class PythonRunner:
    """The caller's side of one fork server, started on first use and again after it died. Async context manager."""

    def __init__(self, *, preload: Sequence[str] = (), python: str = sys.executable) -> None:
        self._preload = tuple(preload)
        self._python = python
        self._server: _Server | None = None
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """The server is up afterwards. RunnerUnavailable when it cannot be."""
        async with self._starting:
            if self._server is None or self._server.is_gone:
                if self._server is not None:
                    await self._server.stop()  # reaps the process and closes the socket
                self._server = None
                self._server = await _Server.started(self._python, self._preload)

    async def stop(self) -> None:
        """The server is gone afterwards. Children go on: ending them is their owner's decision."""
        async with self._starting:
            if self._server is not None:
                await self._server.stop()
                self._server = None

    @property
    def pid(self) -> int | None:
        """Of the fork server, while it is up."""
        return None if self._server is None or self._server.is_gone else self._server.pid

    async def spawn(self, spec: PythonSpec, *, stdin: int | None = None, stdout: int, stderr: int) -> RunningChild:
        """Start it; returned as soon as its pid is known. The descriptors are copied: close yours afterwards.

        InputError for a spec that cannot be; RunnerUnavailable when the server fails. A start that may have happened is
        never tried again here.
        """
        body = spec.to_json()
        if len(body) > MAX_SPEC_BYTES:
            raise InputError(f"the parameters and environment of a Python run are over {MAX_SPEC_BYTES} bytes")
        await self.start()
        server = self._server
        if server is None:
            raise RunnerUnavailable("the Python flow runner was stopped")
        if stdin is not None:
            return await server.spawn(body, (stdin, stdout, stderr))
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            return await server.spawn(body, (null, stdout, stderr))
        finally:
            os.close(null)


class _Server:
    """One fork server process and the socket to it. Replies come in the order of requests; ends come by pid."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self._sending = asyncio.Lock()
        self._replies: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=4)
        self._running: dict[int, asyncio.Future[int | None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self.is_gone = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def started(cls, python: str, preload: Sequence[str]) -> "_Server":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        command = [python, "-m", "homelab.flows.forkserver", str(theirs.fileno()), *preload]
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - returns at once; its start is awaited below
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            ours.close()
            raise RunnerUnavailable(f"the Python flow runner did not start: {error}") from error
        finally:
            theirs.close()
        server = cls(process, ours)
        server._reader = asyncio.create_task(server._read(), name="python-runner")
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                first = await server._replies.get()
        except BaseException as error:
            await server.stop()
            if isinstance(error, TimeoutError):
                raise RunnerUnavailable(f"the Python flow runner was not ready in {READY_WITHIN_S:g} s") from error
            raise
        if first is None:
            await server.stop()
            raise RunnerUnavailable(f"the Python flow runner ended at its start (exit {process.returncode})")
        return server

    async def spawn(self, body: bytes, descriptors: tuple[int, int, int]) -> RunningChild:
        async with self._sending:
            if self.is_gone:
                raise RunnerUnavailable("the Python flow runner ended")
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await self._send(body, descriptors)
                    reply = await self._replies.get()
            except (OSError, TimeoutError) as error:
                self._give_up()  # requests and replies may be out of step
                raise RunnerUnavailable("the Python flow runner does not answer") from error
            except asyncio.CancelledError:
                self._give_up()
                raise
        if reply is None:
            raise RunnerUnavailable("the Python flow runner ended")
        if "error" in reply:
            raise RunnerUnavailable(f"the Python flow runner could not fork: {reply['error']}")
        pid = int(reply["pid"])
        return RunningChild(pid, self._running[pid])

    async def _send(self, body: bytes, descriptors: tuple[int, int, int]) -> None:
        """The length with the descriptors first, so that they arrive with a known byte, then the body."""
        loop = asyncio.get_running_loop()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        while True:
            try:
                self._channel.sendmsg([len(body).to_bytes(4, "big")], rights)
                break
            except BlockingIOError:
                await asyncio.sleep(0.01)
        await loop.sock_sendall(self._channel, body)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        buffer = b""
        try:
            while data := await loop.sock_recv(self._channel, 65536):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    await self._take(json.loads(line))
        except OSError:
            pass  # the same as an end: told to everybody below
        finally:
            self._over()

    async def _take(self, message: dict[str, Any]) -> None:
        if "ended" in message:
            future = self._running.pop(int(message["ended"]), None)
            if future is not None and not future.done():
                future.set_result(int(message["status"]))
            return
        if "pid" in message:
            # Before the reply is taken: the end may stand in the same packet.
            self._running[int(message["pid"])] = asyncio.get_running_loop().create_future()
        await self._replies.put(message)

    def _over(self) -> None:
        self.is_gone = True
        for future in self._running.values():
            if not future.done():
                future.set_result(None)
        with contextlib.suppress(asyncio.QueueFull):
            self._replies.put_nowait(None)

    def _give_up(self) -> None:
        self.is_gone = True
        self._process.terminate()

    async def stop(self) -> None:
        self.is_gone = True
        if self._process.poll() is None:
            self._process.terminate()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        self._channel.close()
        for _ in range(200):
            if self._process.poll() is not None:
                return
            await asyncio.sleep(0.01)
        self._process.kill()
        self._process.wait()
