"""`homelab node token`, `join`, `leave`: a machine becomes a node of a lab, and stops being one.

The token names the lab's authority, so that the machine that joins knows whom it speaks to before it says anything:
the authority is asked for first, compared, and from then on the only one that is trusted.
"""

import hashlib
import ssl
from datetime import UTC, datetime
from typing import Any

import click

from homelab import __version__
from homelab.cli.job import as_json
from homelab.cli.node import dry_run
from homelab.core.errors import HomelabError, InputError, NotFoundError, RefusedError, TimedOutError
from homelab.core.jointoken import JoinToken, node_port, parse
from homelab.home import membership
from homelab.home.authority import fingerprint
from homelab.home.membership import Membership
from homelab.home.paths import Home


@click.command()
@click.argument("name")
@click.option("--ttl", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds it is good for (3600).")
@as_json
def token(name: str, ttl: float | None, as_json: bool) -> None:
    """Make a token with which one machine may join the lab, once. Run it where control runs."""
    from homelab.cli import output
    from homelab.cli.client import Client

    made = Client.of_home(timeout_s=60).post("/api/v1/node-tokens", {"name": name, "ttl_s": ttl})
    if as_json:
        output.json_document(made)
        return
    output.line(made["join"])
    output.note(f"Run this on {name}; it works once, until {output.when(made['expires'], now=datetime.now(UTC))}.")


@click.command()
@click.argument("url", required=False)
@click.option("--token", "text", metavar="T", help="What `homelab node token NAME` printed.")
@click.option("--name", default="", help="The name of this node (default: that of the token).")
@click.option("--capacity", default="", metavar="K=V,...", help="What it has for the lab: cpu=8,memory=16GiB.")
@click.option("--start/--no-start", "starts", default=True, help="Start the node's daemon (default) or not.")
@click.option("--wait", "wait_s", type=float, default=60.0, show_default=True, help="Seconds to wait for the lab.")
@dry_run
@as_json
def join(
    url: str | None,
    text: str | None,
    name: str,
    capacity: str,
    starts: bool,
    wait_s: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make this machine a node of the lab at URL, and start its daemon.

    The token has the address too, so URL may be left out; or give the token in its place.
    """
    from homelab.cli import nodeup, output
    from homelab.core.capacity import capacity_of, table_of

    if url is not None and text is None and not url.startswith(("http:", "https:")):
        url, text = None, url
    if not text:
        raise InputError("a token is needed", hint="Make one on the machine of the lab: homelab node token NAME")
    given = parse(text)
    offered = table_of(capacity)
    capacity_of(offered)  # a bad amount is said before anything is changed
    asked = JoinToken(url=node_port(url) if url else given.url, fingerprint=given.fingerprint, secret=given.secret)
    home = Home.default()
    _check_home(home, asked)
    with output.progress("joining"):
        authority = _authority(asked)
        if dry_run:
            _told(_would_join(home, asked, name, starts=starts), action="join", undo="leave", as_json=as_json)
            return
        member = _joined(home.ensure(), asked, authority, name, offered)
    output.note(f"this machine is node '{member.name}' of {member.lab_name or 'the lab'} at {member.url}")
    if starts:
        nodeup.start(home, member, wait_s=wait_s)
        output.note("its daemon runs: see homelab status; start it at boot with: homelab service install")
    else:
        output.note("start its daemon with: homelab up -d, and at boot with: homelab service install")
    if as_json:
        shown = {"name": member.name, "url": member.url, "lab": member.lab_name, "fingerprint": member.lab}
        output.json_document({"node": {**shown, "capacity": dict(member.capacity), "started": starts}})


def _check_home(home: Home, asked: JoinToken) -> None:
    """RefusedError when this home is something already."""
    known = membership.read(home)
    if known is not None and known.lab == asked.fingerprint:
        raise RefusedError(
            f"this home is node '{known.name}' of that lab already", hint="Start its daemon with: homelab up -d"
        )
    if known is not None:
        raise RefusedError(
            f"this home is node '{known.name}' of another lab, at {known.url}",
            hint="Leave that first: homelab node leave. Or use another folder: HOMELAB_HOME=DIR homelab node join ...",
        )
    if (home.secrets / "token-admin").exists() or (home.run / "endpoints.json").exists():
        raise RefusedError(
            f"{home.root} is the home of a lab, which cannot be a node of another",
            hint="Use another folder for the node: HOMELAB_HOME=DIR homelab node join ...",
        )


def _would_join(home: Home, asked: JoinToken, name: str, *, starts: bool) -> list[str]:
    whom = f"node '{name}'" if name else "the node that the token names"
    return [
        f"The control plane at {asked.url} is the one that made this token. Whether it still lets somebody in, it says"
        " when it is used.",
        f"This machine becomes {whom}, from {home.root}.",
        "Its daemon starts." if starts else "Its daemon is not started.",
    ]


def _told(will: list[str], *, action: str, undo: str, as_json: bool) -> None:
    """What would happen, as the previews of control are told."""
    from homelab.cli import output

    if as_json:
        output.json_document({"action": action, "will": will, "is_grave": False, "undo": undo})
    else:
        output.line("\n".join(output.safe(one) for one in will))


def _joined(home: Home, asked: JoinToken, authority: str, name: str, offered: dict[str, Any]) -> Membership:
    from homelab.cli.client import Client

    trust = ssl.create_default_context(cadata=authority)
    mine = membership.token(home)
    body = {
        "token": asked.secret,
        "node_hash": hashlib.sha256(mine.encode()).hexdigest(),
        "name": name,
        "capacity": offered,
        "version": __version__,
    }
    told = Client(asked.url, "", timeout_s=30, trust=trust).post("/api/v1/node/join", body)
    member = Membership(
        name=str(told["name"]),
        url=asked.url,
        lab=asked.fingerprint,
        lab_name=str(told.get("lab_name") or ""),
        capacity=offered,
    )
    membership.write(home, member, authority)
    return member


def _authority(asked: JoinToken) -> str:
    """The authority of whoever answers there, when it is the one that the token names. Nothing is told before."""
    from homelab.cli.client import Client, NoAnswerError

    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    try:
        told: Any = Client(asked.url, "", timeout_s=30, trust=anybody).get("/api/v1/node/authority")
    except (NoAnswerError, TimedOutError) as error:
        raise type(error)(
            error.message,
            hint="Does this machine reach the lab's port for nodes by that address, and is the lab up (there:"
            " homelab status)? By another one: homelab node join https://NAME:PORT --token ...",
        ) from error
    try:
        pem = str(told["authority"])
        found = fingerprint(pem)
    except (ValueError, KeyError, TypeError):
        pem = found = ""
    if found != asked.fingerprint:
        raise RefusedError(
            f"the control plane at {asked.url} is not the one that made this token",
            hint="Make a new token on the machine of the lab: homelab node token NAME",
        )
    return pem


@click.command()
@click.option("--forget", is_flag=True, help="Even when the lab does not answer: it still knows the node then.")
@dry_run
@as_json
def leave(forget: bool, dry_run: bool, as_json: bool) -> None:
    """Be a node no more, once the daemon is stopped (homelab down). What its runs left stays in the home."""
    from homelab.cli import nodeup, output
    from homelab.cli.daemon import running_in

    home = Home.default()
    try:
        member = membership.read(home)
    except InputError:
        if not forget:
            raise
        member = None
    if member is None and not (forget and membership.path_of(home).exists()):
        raise NotFoundError(f"{home.root} is no node of a lab", hint="Join one with: homelab node join")
    if running_in(home):
        raise RefusedError("the node's daemon is running", hint="Stop it first: homelab down")
    if dry_run:
        _told(_would_leave(home, member), action="leave", undo="", as_json=as_json)
        return
    if member is not None:
        try:
            nodeup.client(home, member).post("/api/v1/node/leave")
        except HomelabError as error:
            if not forget and not isinstance(error, RefusedError):
                raise type(error)(error.message, hint="Leave all the same with: homelab node leave --forget") from error
            output.note(f"the lab was not told: {error.message}")
    membership.forget(home)
    if as_json:
        output.json_document({"left": None if member is None else member.name})
    else:
        output.note(f"{home.root} is no node any more")


def _would_leave(home: Home, member: Membership | None) -> list[str]:
    told = [] if member is None else [
        f"The lab at {member.url} is told that node '{member.name}' is one no more; its token is good for nothing then."
    ]  # fmt: skip
    return [*told, f"node.json, ca.pem and the token in {home.root} go; what its runs left stays."]
