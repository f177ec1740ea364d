"""`homelab node wake`: send the message that wakes a machine which sleeps."""

import time

import click

from homelab.cli import output, waiting
from homelab.cli.client import Client, segment
from homelab.cli.job import as_json
from homelab.cli.node import dry_run
from homelab.cli.nodehandle import preview
from homelab.cli.nodelook import node_name
from homelab.core.errors import TimedOutError

_AGAIN_S = 20.0
"""A message may be lost; a machine that wakes takes some seconds until its worker is heard."""


@click.command()
@node_name
@click.option("--wait", is_flag=True, help="Until it is there; asked again every 20 s.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=180.0,
    metavar="S",
    help="With --wait: exit 4 after so many seconds (180).",
)
@dry_run
@as_json
def wake(name: str, wait: bool, timeout: float, dry_run: bool, as_json: bool) -> None:
    """Wake a machine that sleeps, by the address that the lab file gives (`wake`)."""
    client = Client.of_home()
    if dry_run:
        preview(client, name, "wake", as_json)
        return
    answer = client.post(_path(name))
    if wait and answer["sent"]:
        _until_awake(client, name, timeout_s=timeout)
        answer["message"] = f"{name} is awake"
    if as_json:
        output.json_document(answer)
    else:
        output.note(output.safe(str(answer["message"])))


def _until_awake(client: Client, name: str, *, timeout_s: float) -> None:
    asked = time.monotonic()

    def look() -> tuple[bool | None, str]:
        nonlocal asked
        if any(n["name"] == name and n["state"] == "ready" for n in client.get("/api/v1/lab")["nodes"]):
            return True, ""
        if time.monotonic() - asked > _AGAIN_S:
            client.post(_path(name))
            asked = time.monotonic()
        return None, "waking,"

    def late(after_s: float) -> TimedOutError:
        return TimedOutError(
            f"'{name}' is not heard after {output.duration(after_s)}",
            hint="Is Wake-on-LAN on there, and is it on the network that the message went to?",
        )

    waiting.until(output.safe(name), look, late=late, timeout_s=timeout_s, doing="waking", patience_s=timeout_s)


def _path(name: str) -> str:
    return f"/api/v1/nodes/{segment(name)}/wake"
