"""`homelab up`: start everything of this home and apply the lab file.

In the foreground this process is the supervisor, and Ctrl-C stops all. With `-d` a process of its own is, and this one
returns when the lab is ready. The lab file is checked first: with a bad one nothing is started or touched.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from homelab.cli import daemon
from homelab.core.errors import HomelabError, NotFoundError, RefusedError
from homelab.home.paths import Home

if TYPE_CHECKING:
    from homelab.core.labfile import Lab
    from homelab.stack.supervisor import Supervisor


@click.command()
@click.option("-d", "--detach", is_flag=True, help="Return when the lab is ready; it goes on in the background.")
@click.option("--wait", "wait_s", type=float, default=120.0, show_default=True, help="Seconds to wait for readiness.")
@click.option("--supervise", is_flag=True, hidden=True)
def up(detach: bool, wait_s: float, supervise: bool) -> None:
    """Start everything and apply the lab file. In the home of a node that joined a lab: its daemon."""
    from homelab.home import membership

    home = Home.default().ensure()
    if member := membership.read(home):
        from homelab.cli import nodeup

        nodeup.up(home, member, detach=detach, wait_s=wait_s, supervise=supervise)
        return
    lab, files, main = _lab(home)
    if running := daemon.running_in(home):
        if not detach:
            raise RefusedError(
                f"the lab of {home.root} is running already (pid {running})",
                hint="Apply changes with: homelab apply. Stop it with: homelab down",
            )
        daemon.until_ready(home, None, wait_s)
        _apply(home, files, main)
        _note(f"the lab was running already (pid {running})")
        _show(home)
        return
    if detach:
        process = daemon.start_detached(home)
        daemon.until_ready(home, process, wait_s)
        _apply(home, files, main)
        _show(home)
        return
    with daemon.locked(home):
        asyncio.run(_supervise_lab(home, lab, None if supervise else (files, main)))


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


async def _supervise_lab(home: Home, lab: "Lab | None", apply: tuple[Mapping[str, str], str] | None) -> None:
    from homelab.stack import services

    began = time.monotonic()
    await daemon.supervise_here(home, services.embedded(home, lab), lambda s: _apply_when_ready(home, s, apply, began))


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
