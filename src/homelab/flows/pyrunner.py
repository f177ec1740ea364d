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
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
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

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

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
        self._former: dict[_Server, asyncio.Task[None]] = {}
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
            for task in self._former.values():
                task.cancel()
            for server in (*self._former, *([self._server] if self._server else [])):
                await server.stop()
            self._former, self._server = {}, None

    def hand_over(self) -> list[dict[str, Any]]:
        """The fork servers, open for the program that this process executes next."""
        both = (*self._former, *([self._server] if self._server else []))
        return [server.hand_over() for server in both]

    def take_up(self, servers: Iterable[Mapping[str, Any]]) -> dict[int, RunningChild]:
        """Hear of the children of fork servers that were handed over, by pid. Those may be of an earlier version: they
        start no others, and are stopped when their last child has ended. Needs a running loop."""
        found: dict[int, RunningChild] = {}
        for state in servers:
            server = _Server.taken_up(state)
            self._former[server] = asyncio.create_task(self._dismiss(server), name=f"former python runner {server.pid}")
            found |= server.children()
        return found

    async def _dismiss(self, server: "_Server") -> None:
        for child in server.children().values():
            await child.wait()
        await server.stop()
        self._former.pop(server, None)

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


class _Process:
    """A child of this process that started before it executed itself anew; as much of `Popen` as is needed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:
                self.returncode = -signal.SIGKILL
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class _Server:
    """One fork server process and the socket to it. Replies come in the order of requests; ends come by pid."""

    def __init__(self, process: "subprocess.Popen[bytes] | _Process", channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self._sending = asyncio.Lock()
        self._replies: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._running: dict[int, asyncio.Future[int | None]] = {}
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self.is_gone = False
        # Not by a task: what one has received, and nobody has taken yet, would be lost when this process is executed
        # anew at that moment.
        self._loop.add_reader(channel, self._read)

    @property
    def pid(self) -> int:
        return self._process.pid

    def children(self) -> dict[int, RunningChild]:
        return {pid: RunningChild(pid, ended) for pid, ended in self._running.items()}

    def hand_over(self) -> dict[str, Any]:
        self._channel.set_inheritable(True)
        heard = self._buffer.decode("latin-1")
        return {"pid": self.pid, "fd": self._channel.fileno(), "heard": heard, "children": list(self._running)}

    @classmethod
    def taken_up(cls, state: Mapping[str, Any]) -> "_Server":
        channel = socket.socket(fileno=int(state["fd"]))
        channel.set_inheritable(False)
        channel.setblocking(False)
        server = cls(_Process(int(state["pid"])), channel)
        server._buffer = str(state["heard"]).encode("latin-1")
        server._running = {int(pid): server._loop.create_future() for pid in state["children"]}
        return server

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
        return RunningChild(int(reply["pid"]), reply["end"])

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

    def _read(self) -> None:
        try:
            data = self._channel.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""  # the same as an end: told to everybody below
        if not data:
            self._over()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "ended" in message:
            future = self._running.pop(int(message["ended"]), None)
            if future is not None and not future.done():
                future.set_result(int(message["status"]))
            return
        if "pid" in message:
            # Before the reply is taken: the end may stand in the same packet.
            message["end"] = self._running[int(message["pid"])] = self._loop.create_future()
        self._replies.put_nowait(message)

    def _over(self) -> None:
        self.is_gone = True
        self._loop.remove_reader(self._channel)
        for future in self._running.values():
            if not future.done():
                future.set_result(None)
        self._replies.put_nowait(None)

    def _give_up(self) -> None:
        self.is_gone = True
        self._process.terminate()

    async def stop(self) -> None:
        self.is_gone = True
        if self._process.poll() is None:
            self._process.terminate()
        if self._channel.fileno() >= 0:
            self._over()
        self._channel.close()
        for _ in range(200):
            if self._process.poll() is not None:
                return
            await asyncio.sleep(0.01)
        self._process.kill()
        self._process.wait()
