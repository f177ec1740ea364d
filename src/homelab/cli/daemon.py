"""The supervisor of a home as a process: one at a time, in this process or one of its own; whether it is ready.

Used by `homelab up` for a lab and for a node, and by what stops them.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from homelab import __version__
from homelab.core.errors import HomelabError, NotFoundError, RefusedError, TimedOutError
from homelab.home.paths import Home

if TYPE_CHECKING:
    from homelab.stack.services import Stack
    from homelab.stack.supervisor import Supervisor

LOG_LINES = 10


def running_in(home: Home) -> int | None:
    """The pid of this home's supervisor."""
    from homelab.stack import control_socket

    try:
        return int(control_socket.ask(home, {"do": "status"})["pid"])
    except NotFoundError:
        return None


def locked(home: Home) -> TextIO:
    """The lock of this home's one supervisor, held until it is closed. RefusedError names the pid that has it."""
    file = (home.run / "supervisor.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise RefusedError(
            f"the lab of {home.root} is being started or stopped (pid {file.read().strip() or 'unknown'})",
            hint="Wait for that, then: homelab status",
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


async def supervise_here(
    home: Home, stack: "Stack", when_ready: "Callable[[Supervisor], Coroutine[Any, Any, None]]"
) -> None:
    """Keep the services of this home from this process, until a signal or `homelab down`. What `when_ready` raises ends
    it all."""
    from homelab.stack import control_socket
    from homelab.stack.supervisor import Supervisor

    began = time.monotonic()
    supervisor = Supervisor(home, stack.services, query=stack.query, on_change=_progress(began))
    stop = asyncio.Event()
    now = asyncio.Event()
    anew = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            now.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # HUP: its terminal was closed
        loop.add_signal_handler(number, on_signal)
    server = await control_socket.serve(home, _answers(supervisor, stop, now, anew))
    supervisor.run()
    applying = asyncio.create_task(when_ready(supervisor))
    stopping = asyncio.create_task(stop.wait())
    restarting = asyncio.create_task(anew.wait())
    await asyncio.wait({applying, stopping, restarting}, return_when=asyncio.FIRST_COMPLETED)
    failed = applying.exception() if applying.done() else None
    if failed is None:
        await asyncio.wait({stopping, restarting}, return_when=asyncio.FIRST_COMPLETED)
    applying.cancel()
    if anew.is_set() and not stop.is_set() and failed is None:
        server.close()
        await supervisor.let_go()
        _execute_anew()
    restarting.cancel()
    _note("stopping ...")
    ending = asyncio.create_task(supervisor.stop(now=now.is_set() or failed is not None))
    hurry = asyncio.create_task(now.wait())
    await asyncio.wait({ending, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await supervisor.stop(now=True)
    hurry.cancel()
    server.close()
    with contextlib.suppress(OSError):
        control_socket.path_of(home).unlink(missing_ok=True)
    _note("stopped")
    if failed is not None:
        raise failed


def _execute_anew() -> None:
    """This process becomes the supervisor as it is installed now. It applies nothing: the lab runs as it was."""
    arguments = [one for one in sys.orig_argv if one != "--supervise"]
    _note("restarting ...")
    os.execve(sys.executable, [*arguments, "--supervise"], os.environ)  # noqa: S606 - this same program


def _answers(supervisor: "Supervisor", stop: asyncio.Event, now: asyncio.Event, anew: asyncio.Event) -> Any:
    began = time.time()

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "stop":
                if request.get("now"):
                    now.set()
                stop.set()
                return {"pid": os.getpid()}
            case "keep?":
                return {"pid": os.getpid(), "keeps": not stop.is_set() and supervisor.keeps(request.get("process"))}
            case "restart" if request.get("name") is None:
                anew.set()
                return {"pid": os.getpid(), "began": began}
            case "restart":
                try:
                    supervisor.restart(str(request.get("name")))
                except KeyError:
                    return {"error": f"there is no service '{request.get('name')}'"}
                return {"pid": os.getpid()}
            case _:
                services = await asyncio.to_thread(supervisor.status)
                told = {"ready": supervisor.is_ready, "services": services}
                return {"pid": os.getpid(), "began": began, "version": __version__, **told}

    return answer


def _progress(began: float) -> Any:
    def changed(name: str, state: str, message: str) -> None:
        if state != "stopped":
            text = f"{name:<10} {state:<9} {time.monotonic() - began:5.1f} s"
            _note(f"{text}  {message}".rstrip())

    return changed


def start_detached(home: Home) -> "subprocess.Popen[bytes]":
    """The supervisor of this home, in a process of its own."""
    from homelab.stack import children

    log = home.logs / "supervisor.log"
    children.rotate(log)
    with log.open("ab") as output:
        output.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        output.flush()
        return subprocess.Popen(
            [sys.executable, "-m", "homelab", "up", "--supervise"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def until_ready(home: Home, process: "subprocess.Popen[bytes] | None", wait_s: float) -> None:
    """TimedOutError with what is not ready; HomelabError with the reason when the supervisor has given up."""
    from homelab.cli.output import progress
    from homelab.stack import control_socket

    deadline = time.monotonic() + wait_s
    services: list[dict[str, Any]] = []
    with progress("starting the lab"):
        while time.monotonic() < deadline:
            with contextlib.suppress(NotFoundError):
                status = control_socket.ask(home, {"do": "status"})
                services = status["services"]
                if status["ready"]:
                    return
                if failing := [s for s in services if s["crash_loop"]]:
                    raise _keeps_failing(home, failing)
            if process is not None and process.poll() is not None:
                raise _gave_up(home, process.returncode)
            time.sleep(0.2)
    waiting = [s for s in services if s["state"] != "ready" and (s["state"] != "external" or s["message"])]
    raise TimedOutError(
        f"the lab was not ready within {wait_s:g} s: {_said(home, waiting) or 'its supervisor does not answer'}",
        hint="It goes on trying: see homelab status. Stop it with: homelab down",
    )


def _keeps_failing(home: Home, failing: list[dict[str, Any]]) -> HomelabError:
    return HomelabError(
        f"the lab does not come up: {_said(home, failing)}",
        hint="It goes on trying, more and more rarely: see homelab status. Stop it with: homelab down",
    )


def _said(home: Home, waiting: list[dict[str, Any]]) -> str:
    """What is not ready and why, with the end of the first one's log."""
    said = "; ".join(f"{s['name']} is {s['state']}" + (f": {s['message']}" if s["message"] else "") for s in waiting)
    return said + "".join(_log_tail(home.logs / f"{s['name']}.log") for s in waiting[:1] if s["state"] != "external")


def _gave_up(home: Home, status: int) -> HomelabError:
    lines = (home.logs / "supervisor.log").read_text(errors="replace").rpartition("\n--- ")[2].splitlines()[1:]
    said = last_error(lines) or "\n".join(lines[-LOG_LINES:])
    error = HomelabError(said or f"the supervisor ended with status {status}")
    error.exit_status = status if status > 0 else 1
    return error


def last_error(lines: list[str]) -> str:
    """The last error that a command of ours printed, with its hint; "" when there is none."""
    errors = [n for n, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :]).removeprefix("error: ") if errors else ""


def _log_tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    return f"\n{log}:\n" + "\n".join("  " + "".join(c for c in line if c.isprintable()) for line in lines)


def _note(text: str) -> None:
    click.echo(text, err=True)
