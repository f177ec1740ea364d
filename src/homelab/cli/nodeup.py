"""`homelab up` and `homelab status` in the home of a node of a lab: its daemon, and what control says of it."""

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import click

from homelab import __version__
from homelab.cli import daemon
from homelab.cli.client import Client, NoAnswerError, StrangerError
from homelab.core import versions
from homelab.core.errors import HomelabError, RefusedError, TimedOutError
from homelab.home import membership
from homelab.home.membership import Membership
from homelab.home.paths import Home

if TYPE_CHECKING:
    import subprocess

    from homelab.stack.supervisor import Supervisor

ASK_S = 10.0
REJOIN = "Join it again: homelab node leave, then homelab node join with a new token"


def up(home: Home, member: Membership, *, detach: bool, wait_s: float, supervise: bool) -> None:
    """Start the daemon; with `detach`, return when control has taken it."""
    if running := daemon.running_in(home):
        if not detach:
            raise RefusedError(
                f"the daemon of node '{member.name}' is running already (pid {running})",
                hint="See: homelab status. Stop it with: homelab down",
            )
        _until_taken(home, member, None, wait_s)
        _show(home, member)
        return
    if detach:
        start(home, member, wait_s=wait_s)
        _show(home, member)
        return
    with daemon.locked(home):
        asyncio.run(_foreground(home, member, is_quiet=supervise))


def start(home: Home, member: Membership, *, wait_s: float) -> None:
    """Start the daemon in the background and wait until control has taken it."""
    _until_taken(home, member, daemon.start_detached(home), wait_s)


async def _foreground(home: Home, member: Membership, *, is_quiet: bool) -> None:
    from homelab.stack import services

    async def told(supervisor: "Supervisor") -> None:
        await supervisor.until_ready()
        if not is_quiet:
            click.echo("Ctrl-C stops it.", err=True)

    await daemon.supervise_here(home, services.of_node(home, member), told)


def _until_taken(home: Home, member: Membership, process: "subprocess.Popen[bytes] | None", wait_s: float) -> None:
    """TimedOutError or RefusedError with the reason, when control has not taken the daemon by then."""
    from homelab.cli.output import progress

    deadline = time.monotonic() + wait_s
    daemon.until_ready(home, process, wait_s)
    with progress("joining the lab"):
        while time.monotonic() < deadline:
            worker = _worker(home)
            if worker.get("pid") is not None and worker["pid"] == _taken_pid(home, member):
                return
            if str(worker.get("message", "")).startswith(f"exit status {RefusedError.exit_status}"):
                raise _refused(home, is_ours=process is not None)
            time.sleep(0.2)
    why = trouble_of(home, member) or "it says nothing against it: see logs/worker.log"
    raise TimedOutError(
        f"the lab at {member.url} has not taken node '{member.name}' within {wait_s:g} s: {why}",
        hint="It goes on trying: see homelab status. Stop it with: homelab down",
    )


def _worker(home: Home) -> dict[str, Any]:
    """The worker as the supervisor tells; empty when it does not answer."""
    from homelab.stack import control_socket

    try:
        services: list[dict[str, Any]] = control_socket.ask(home, {"do": "status"})["services"]
    except HomelabError:
        return {}
    return next((s for s in services if s["name"] == "worker"), dict[str, Any]())


def _taken_pid(home: Home, member: Membership) -> int | None:
    """The pid of the worker of this home that control took last."""
    try:
        return int(json.loads((home.run / f"worker-{member.name}.json").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def _refused(home: Home, *, is_ours: bool) -> RefusedError:
    """Why the lab does not take it. A daemon that was started here has nothing to go on for."""
    from homelab.stack import control_socket

    said = daemon.last_error((home.logs / "worker.log").read_text(errors="replace").splitlines())
    if is_ours:
        with contextlib.suppress(HomelabError):
            control_socket.ask(home, {"do": "stop", "now": True})
    message, _, hint = (said or "the lab does not take this node").partition("\n")
    return RefusedError(message, hint=hint)


def client(home: Home, member: Membership, *, timeout_s: float = ASK_S) -> Client:
    """The line of this node to the control plane of its lab."""
    return Client(member.url, membership.token(home), timeout_s=timeout_s, trust=membership.trust(home))


def trouble_of(home: Home, member: Membership) -> str:
    """What stands between this node and its lab; "" when nothing does."""
    try:
        told = client(home, member).get("/api/v1/node")
    except HomelabError as error:
        return _why(error)
    return versions.apart(control=str(told.get("version", "")), node=__version__)


def _why(error: HomelabError) -> str:
    """The error with its hint; not with that of a lab that does not answer, which is about this machine."""
    if isinstance(error, StrangerError):
        return f"the lab does not take this node's token any more. {REJOIN}"
    return error.message if isinstance(error, NoAnswerError) else f"{error.message}. {error.hint}".rstrip(". ")


def told_of(home: Home, member: Membership) -> dict[str, Any]:
    """For `homelab status`: the name of the lab, this node as control knows it, and what is wrong."""
    why = ""
    answer: dict[str, Any] = {}
    try:
        answer = client(home, member).get("/api/v1/node")
        why = versions.apart(control=str(answer.get("version", "")), node=__version__)
    except HomelabError as error:
        why = _why(error)
    state, age = answer.get("state", "unreachable"), answer.get("heartbeat_age_s")
    node = {"name": member.name, "url": member.url, "state": state, "heartbeat_age_s": age}
    problem = {"code": "lab", "severity": "error", "subject": member.name, "message": why, "hint": ""}
    lab = answer.get("lab_name") or member.lab_name or None
    return {"lab": lab, "nodes": [node], "problems": [problem] if why else []}


def _show(home: Home, member: Membership) -> None:
    click.echo(f"node {member.name} of {member.lab_name or 'the lab'} at {member.url} runs from {home.root}", err=True)
    click.echo("ask it       homelab status | homelab down; at boot: homelab service install", err=True)
