"""The process that has imported Prefect and forks once per run: `python -m homelab.flows.forkserver FD [MODULE ...]`.

Started by `pyrunner`, which explains it. Requests come over the socket FD: four bytes of length, sent together with the
three descriptors the child gets, then a `PythonSpec` as JSON. Answers are JSON, one a line: `{"ready"}` once, `{"pid"}`
or `{"error"}` for each request in order, `{"ended", "status"}` when a child has gone. The server ends when the socket
does; its children go on. It must stay single-threaded, and must open no connection.
"""

import array
import asyncio
import gc
import importlib
import inspect
import json
import os
import pwd
import runpy
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

PRELOAD = ("prefect", "prefect.flow_engine", "prefect.task_engine", "prefect.client.orchestration", "prefect.flows")
_DESCRIPTORS = 3
_HEAD = 4


class _Child(BaseException):
    """Unwinds the server's loop in a forked child, so that the run ends as any Python program does."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec


def main() -> None:
    """Serve until the socket ends or SIGTERM comes."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _unseekable_streams()
    for module in (*PRELOAD, *sys.argv[2:]):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # else a collection, or the end of a child, would touch and so copy every page
    spec = None
    try:
        _Server(channel).serve()
    except _Child as child:
        spec = child.spec
    if spec is not None:
        _carry_out(spec)


def _unseekable_streams() -> None:
    """Make stdout and stderr objects that suit any descriptor: Python remembers whether one can seek. The children's
    are pipes, this process's may be a file, and logging handlers keep the objects of the time Prefect was imported."""
    for number in (1, 2):
        kept = os.dup(number)
        reader, writer = os.pipe()
        os.dup2(writer, number)
        stream = open(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        os.dup2(kept, number)
        for descriptor in (kept, reader, writer):
            os.close(descriptor)
        if number == 1:
            sys.stdout = sys.__stdout__ = stream
        else:
            sys.stderr = sys.__stderr__ = stream


class _Server:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.alarm, self.bell = socket.socketpair()
        for end in (self.alarm, self.bell):
            end.setblocking(False)
        signal.set_wakeup_fd(self.bell.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)  # the wake-up descriptor needs a handler to be there
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> None:
        self._answer({"ready": True})
        while True:
            readable, _, _ = select.select([self.channel, self.alarm], [], [])
            if self.alarm in readable:
                with suppress(BlockingIOError):
                    self.alarm.recv(4096)
                self._reap()
            if self.channel in readable and not self._serve_one():
                return

    def _serve_one(self) -> bool:
        """Take one request; False when the caller is gone."""
        descriptors: list[int] = []
        head = b""
        body = b""
        try:
            space = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)
            head, ancillary, _, _ = self.channel.recvmsg(_HEAD, space)
            for _, kind, data in ancillary:
                if kind == socket.SCM_RIGHTS:
                    descriptors.extend(array.array("i", data[: len(data) // 4 * 4]))
            head += self._read(_HEAD - len(head)) if head else b""
            if len(head) < _HEAD:
                return False
            body = self._read(int.from_bytes(head, "big"))
            if len(descriptors) != _DESCRIPTORS:
                self._answer({"error": "no descriptors came with the request"})
                return True
            self._fork(json.loads(body), descriptors)
        except OSError:
            return False
        finally:
            for descriptor in descriptors:
                with suppress(OSError):
                    os.close(descriptor)
        return True

    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            part = self.channel.recv(min(size, 65536))
            if not part:
                raise OSError("the caller is gone")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _fork(self, spec: dict[str, Any], descriptors: list[int]) -> None:
        # The pid is told only once the child leads its group, so that the caller may signal the group at once.
        ready, told = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(ready)
            os.close(told)
            self._answer({"error": str(error)})
            return
        if pid == 0:
            os.setsid()
            os.close(ready)
            os.close(told)
            self._become_child(descriptors)
            raise _Child(spec)
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        self._answer({"pid": pid})

    def _become_child(self, descriptors: list[int]) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for end in (self.channel, self.alarm, self.bell):
            end.close()
        # Copies above 2 first: a descriptor that came in as 1 must not be overwritten before it is used.
        high = [os.dup(d) for d in descriptors]
        for target, descriptor in enumerate(high):
            os.dup2(descriptor, target)
        for descriptor in (*high, *descriptors):
            if descriptor > 2:
                os.close(descriptor)
        descriptors.clear()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._answer({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _answer(self, message: dict[str, Any]) -> None:
        self.channel.sendall(json.dumps(message).encode() + b"\n")


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _carry_out(spec: dict[str, Any]) -> NoReturn:
    """In the child: put on its surroundings, run it, end as Python would."""
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(spec["environment"])
    if sys.platform == "darwin":
        os.environ.setdefault("no_proxy", "*")  # see pyrunner
    if spec.get("user"):
        _become_user(spec["user"])
    time.tzset()
    for stream in (sys.stdout, sys.stderr):
        # In place: logging handlers made before the fork hold these objects.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    try:
        os.chdir(spec["cwd"])
    except OSError as error:
        sys.exit(f"cannot enter {spec['cwd']}: {error.strerror}")
    sys.path[:0] = [spec["cwd"], *spec["path"]]
    if spec["flow_run_id"] or any(name.startswith("PREFECT_") for name in os.environ):
        _refresh_prefect()
    if spec["flow_run_id"]:
        sys.argv = ["prefect.engine", spec["flow_run_id"]]
        os.environ["PREFECT__FLOW_RUN_ID"] = spec["flow_run_id"]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
            runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
        sys.exit(0)
    sys.argv = [spec["target"]]
    sys.exit(_call(spec["target"], spec["parameters"]))


def _become_user(name: str) -> None:
    entry = pwd.getpwnam(name)
    if entry.pw_uid != os.geteuid():
        os.initgroups(name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def _refresh_prefect() -> None:
    """Prefect read its settings from the server's environment when it was imported; this run has its own."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=True)


def _call(target: str, parameters: dict[str, Any]) -> int:
    """Call `module:function`, or run its coroutine; a traceback on stderr and 1 when it raises."""
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        result = found(**parameters)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except Exception as error:  # whatever a job raises is its result
        traceback.print_exception(error)
        return 1
    return 0


if __name__ == "__main__":
    main()
