"""`homelab up`: start everything of this home and apply the lab file.

In the foreground this process is the supervisor, and Ctrl-C stops all. With `-d` a process of its own is, and this one
returns when the lab is ready. The lab file is checked first: with a bad one nothing is started or touched.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from homelab.core.errors import HomelabError, NotFoundError, RefusedError, TimedOutError
from homelab.home.paths import Home

if TYPE_CHECKING:
    from homelab.core.labfile import Lab
    from homelab.stack.supervisor import Supervisor

LOG_LINES = 10


@click.command()
@click.option("-d", "--detach", is_flag=True, help="Return when the lab is ready; it goes on in the background.")
@click.option("--wait", "wait_s", type=float, default=120.0, show_default=True, help="Seconds to wait for readiness.")
@click.option("--supervise", is_flag=True, hidden=True)
def up(detach: bool, wait_s: float, supervise: bool) -> None:
    """Start everything and apply the lab file."""
    home = Home.default().ensure()
    lab, files, main = _lab(home)
    if running := _running(home):
        if not detach:
            raise RefusedError(
                f"the lab of {home.root} is running already (pid {running})",
                hint="Apply changes with: homelab apply. Stop it with: homelab down",
            )
        _until_ready(home, None, wait_s)
        _apply(home, files, main)
        _note(f"the lab was running already (pid {running})")
        _show(home)
        return
    if detach:
        process = _detach(home)
        _until_ready(home, process, wait_s)
        _apply(home, files, main)
        _show(home)
        return
    with locked(home):
        asyncio.run(_foreground(home, lab, None if supervise else (files, main)))


def _lab(home: Home) -> "tuple[Lab | None, Mapping[str, str], str]":
    """The checked lab file, or nothing when there is none: a lab may run without jobs."""
    from homelab.cli.check import checked
    from homelab.home import labfiles

    try:
        path = labfiles.find()
    except NotFoundError:
        if os.environ.get("HOMELAB_LAB"):
            raise
        _note("there is no lab file yet: the lab starts without jobs. Make one with: homelab init")
        return None, {}, ""
    lab, texts = checked(str(path))
    labfiles.remember(home, path)
    return lab, texts, next(iter(texts))


def _running(home: Home) -> int | None:
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


# -- the supervisor in this process -----------------------------------------------------------------------------------


async def _foreground(home: Home, lab: "Lab | None", apply: tuple[Mapping[str, str], str] | None) -> None:
    from homelab.stack import control_socket, services
    from homelab.stack.supervisor import Supervisor

    stack = services.embedded(home, lab)
    began = time.monotonic()
    supervisor = Supervisor(home, stack.services, query=stack.query, on_change=_progress(began))
    stop = asyncio.Event()
    now = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            now.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # HUP: its terminal was closed
        loop.add_signal_handler(number, on_signal)
    server = await control_socket.serve(home, _answers(supervisor, stop, now))
    supervisor.run()
    applying = asyncio.create_task(_apply_when_ready(home, supervisor, apply, began))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({applying, stopping}, return_when=asyncio.FIRST_COMPLETED)
    failed = applying.exception() if applying.done() else None
    if failed is None:
        await stopping
    applying.cancel()
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


async def _apply_when_ready(
    home: Home, supervisor: "Supervisor", apply: tuple[Mapping[str, str], str] | None, began: float
) -> None:
    await supervisor.until_ready()
    _note(f"ready in {time.monotonic() - began:.1f} s")
    if apply is not None:
        try:
            await asyncio.to_thread(_apply, home, *apply)
            await asyncio.to_thread(_show, home)
        except HomelabError as error:
            # What runs goes on: stopping it would not make the lab file any better.
            _note(f"error: the lab file was not applied: {error}\nTry again with: homelab apply")
        _note("Ctrl-C stops all of it.")


def _answers(supervisor: "Supervisor", stop: asyncio.Event, now: asyncio.Event) -> Any:
    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "stop":
                if request.get("now"):
                    now.set()
                stop.set()
                return {"pid": os.getpid()}
            case "restart":
                try:
                    supervisor.restart(str(request.get("name")))
                except KeyError:
                    return {"error": f"there is no service '{request.get('name')}'"}
                return {"pid": os.getpid()}
            case _:
                services = await asyncio.to_thread(supervisor.status)
                return {"pid": os.getpid(), "ready": supervisor.is_ready, "services": services}

    return answer


def _progress(began: float) -> Any:
    def changed(name: str, state: str, message: str) -> None:
        if state != "stopped":
            text = f"{name:<10} {state:<9} {time.monotonic() - began:5.1f} s"
            _note(f"{text}  {message}".rstrip())

    return changed


# -- the supervisor in a process of its own ---------------------------------------------------------------------------


def _detach(home: Home) -> "subprocess.Popen[bytes]":
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


def _until_ready(home: Home, process: "subprocess.Popen[bytes] | None", wait_s: float) -> None:
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
    errors = [n for n, line in enumerate(lines) if line.startswith("error: ")]
    said = "\n".join(lines[errors[-1] :]).removeprefix("error: ") if errors else "\n".join(lines[-LOG_LINES:])
    error = HomelabError(said or f"the supervisor ended with status {status}")
    error.exit_status = status if status > 0 else 1
    return error


def _log_tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return ""
    return f"\n{log}:\n" + "\n".join("  " + "".join(c for c in line if c.isprintable()) for line in lines)


# -- after it is ready ------------------------------------------------------------------------------------------------


def _apply(home: Home, files: Mapping[str, str], main: str) -> None:
    """Make the running lab what the file says. Right after a start `control` may still be catching its breath."""
    from homelab.cli.client import Client
    from homelab.home import labfiles

    if not files:
        return
    folder = str(labfiles.find().parent)
    os.environ.pop("HOMELAB_URL", None)
    Client.of_home(timeout_s=120).post("/api/v1/apply", {"files": dict(files), "main": main, "folder": folder})


def _show(home: Home) -> None:
    """What runs, what is due next, where to look."""
    from datetime import UTC, datetime

    from homelab.cli import output
    from homelab.cli.client import Client

    client = Client.of_home()
    jobs = client.get("/api/v1/jobs")["jobs"]
    now = datetime.now(UTC)
    due = sorted((j["next_due"], j["name"]) for j in jobs if j["next_due"])
    _note("")
    flows = len({j["flow"] for j in jobs})
    _note(f"{len(jobs)} jobs in {flows} flows run from {home.root}")
    for when, name in due[:3]:
        _note(f"  next  {name:<28} {output.relative(when, now=now)}")
    link = client.post("/api/v1/sign-in-links", {"scope": "admin"})
    _note(f"look at it   {link['url']}")
    _note("             (works once; another: homelab open)")
    _note("ask it       homelab status | homelab job ls | homelab run ls | homelab run logs last -f")


def _note(text: str) -> None:
    click.echo(text, err=True)
