"""`homelab down`: stop everything of this home, and nothing else."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from homelab.core.errors import NotFoundError, TimedOutError
from homelab.home.paths import Home

if TYPE_CHECKING:
    from homelab.stack.children import Child

WITHIN_S = 120.0


@click.command()
@click.option("--now", is_flag=True, help="Do not wait for running jobs: end them.")
def down(now: bool) -> None:
    """Stop everything of this home. Running jobs get a few seconds; the next start takes up what was cut short."""
    from homelab.cli.output import progress
    from homelab.stack import children, control_socket

    home = Home.default()
    try:
        pid = int(control_socket.ask(home, {"do": "stop", "now": now})["pid"])
    except NotFoundError:
        left = children.survivors(home)
        if not left:
            raise
        from homelab.cli.daemon import locked

        # Refused while a supervisor lives that does not answer: it would start again what is ended here.
        with locked(home):
            _end_survivors(left, now=now)
            children.remember(home, {})
        click.echo(f"stopped {', '.join(left)}, left by a supervisor that is gone", err=True)
        return
    deadline = time.monotonic() + WITHIN_S
    with progress("stopping the lab"):
        while children.survivors(home) or _answers(home):
            if time.monotonic() > deadline:
                raise TimedOutError(f"the lab has not stopped within {WITHIN_S:g} s (pid {pid})", hint="homelab status")
            time.sleep(0.1)
    click.echo("stopped", err=True)
    _say_adopted(home)


def _say_adopted(home: Home) -> None:
    from homelab.home import adoptions

    if adoptions.folder_of(home).exists() and (jobs := [job for a in adoptions.active(home) for job in a.jobs]):
        click.echo(
            f"{len(jobs)} jobs were taken over from cron and run nowhere until the lab is up again"
            " (give them back: homelab cron release)",
            err=True,
        )


def _answers(home: Home) -> bool:
    from homelab.stack import control_socket

    try:
        control_socket.ask(home, {"do": "status"}, timeout_s=2)
    except NotFoundError:
        return False
    return True


def _end_survivors(left: "Mapping[str, Child]", *, now: bool) -> None:
    """In the reverse of their order, by their signals; only processes that are provably those that were started."""
    import signal

    for name in ("worker", "control", "prefect", "postgres"):
        child = left.get(name)
        if child is None:
            continue
        is_int = name == "postgres" or (name == "worker" and now)
        child.send(signal.SIGINT if is_int else signal.SIGTERM)
        deadline = time.monotonic() + (12 if now else 45)
        while child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        child.kill_group()
