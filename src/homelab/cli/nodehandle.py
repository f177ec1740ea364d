"""`homelab node drain`, `undrain`, `remove`: take a machine out of service, and back."""

from datetime import UTC, datetime
from typing import Any

import click

from homelab.cli import output, waiting
from homelab.cli.client import Client, segment
from homelab.cli.job import as_json
from homelab.cli.node import dry_run
from homelab.cli.nodelook import node_name
from homelab.core.errors import TimedOutError


@click.command()
@node_name
@click.option("--wait", is_flag=True, help="Until nothing is on it any more.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="With --wait: exit 4 then.")
@dry_run
@as_json
def drain(name: str, wait: bool, timeout: float | None, dry_run: bool, as_json: bool) -> None:
    """Start nothing new on a machine; what is on it may finish."""
    client = Client.of_home()
    if dry_run:
        preview(client, name, "drain", as_json)
        return
    node: dict[str, Any] = client.post(f"{_path(name)}/drain")["node"]
    if wait or timeout is not None:
        node = _emptied(client, name, timeout_s=timeout)
    if as_json:
        output.json_document({"node": node})
        return
    left = ", ".join(dict.fromkeys(output.safe(str(one["owner"])) for one in node["leases"]))
    output.note(f"{output.safe(name)}: {node['state']}" + (f"; still on it: {left}" if left else ""))
    output.note(f"To take that back: homelab node undrain {output.safe(name)}")


@click.command()
@node_name
@dry_run
@as_json
def undrain(name: str, dry_run: bool, as_json: bool) -> None:
    """Let a machine take work again."""
    client = Client.of_home()
    if dry_run:
        preview(client, name, "undrain", as_json)
        return
    answer = client.post(f"{_path(name)}/undrain")
    if as_json:
        output.json_document(answer)
    else:
        output.note(f"{output.safe(name)}: {answer['node']['state']}")


@click.command()
@node_name
@click.option("--force", is_flag=True, help="Give up what is on it: it counts as crashed.")
@dry_run
@as_json
def remove(name: str, force: bool, dry_run: bool, as_json: bool) -> None:
    """Forget a machine that is gone for good. Refused while work is on it."""
    client = Client.of_home()
    if dry_run:
        preview(client, name, "remove", as_json)
        if not force and not as_json and client.get(_path(name))["node"]["leases"]:
            output.note("Without --force it is refused while work is on it.")
        return
    answer = client.post(f"{_path(name)}/remove", {"force": force})
    if as_json:
        output.json_document(answer)
        return
    output.note(f"{output.safe(name)} is removed.")
    for work in answer["given_up"]:
        output.note(f"given up: {output.safe(str(work))}")


def _path(name: str) -> str:
    return f"/api/v1/nodes/{segment(name)}"


def preview(client: Client, name: str, action: str, as_json: bool) -> None:
    """Print what an act on a machine would do."""
    found = client.get(f"{_path(name)}/preview", {"action": action})
    if as_json:
        output.json_document(found)
    else:
        output.line("\n".join(output.said(output.safe(str(one)), now=datetime.now(UTC)) for one in found["will"]))


def _emptied(client: Client, name: str, *, timeout_s: float | None) -> dict[str, Any]:
    """The node once nothing is on it. Control may restart meanwhile; TimedOutError after `timeout_s`."""

    def look() -> tuple[dict[str, Any] | None, str]:
        node: dict[str, Any] = client.get(_path(name))["node"]
        return (None if node["holds"] else node), f"{node['holds']} still on it,"

    def late(after_s: float) -> TimedOutError:
        return TimedOutError(
            f"work is still on '{name}' after {output.duration(after_s)}; it stays drained",
            hint=f"See what: homelab node show {name}",
        )

    return waiting.until(name, look, late=late, timeout_s=timeout_s)
