"""`homelab node ls`, `show`, `top`: look at the machines of the running lab."""

from datetime import UTC, datetime

import click

from homelab.cli import output, paging, watching
from homelab.cli.client import Client, segment
from homelab.cli.job import as_json
from homelab.cli.names import NodeType

node_name = click.argument("name", type=NodeType())


@click.command(cls=watching.Command)
@as_json
def ls(as_json: bool, watch: float | None) -> None:
    """All machines: state, how full each is, when it was heard of. A bar shows what the lab holds, what other programs
    hold, what is free."""
    client = Client.of_home()
    with paging.paged(wanted=not as_json and watch is None):
        watching.shown(watch, lambda: _list(client, as_json), client=lambda: client)


def _list(client: Client, as_json: bool) -> None:
    from homelab.cli import nodeview

    answer = client.get("/api/v1/nodes")
    if as_json:
        output.json_document(answer)
    else:
        nodeview.listing(answer["nodes"])


@click.command(cls=watching.Command)
@node_name
@as_json
def show(name: str, as_json: bool, watch: float | None) -> None:
    """One machine in full: why it is in its state, who holds what of it, what runs there and what ran."""
    client = Client.of_home()
    watching.shown(watch, lambda: _show(client, name, as_json), client=lambda: client)


def _show(client: Client, name: str, as_json: bool) -> None:
    from homelab.cli import nodeview

    answer = client.get(f"/api/v1/nodes/{segment(name)}")
    if as_json:
        output.json_document(answer)
    else:
        nodeview.card(answer["node"], now=datetime.now(UTC))


@click.command()
@as_json
def top(as_json: bool) -> int | None:
    """Watch the machines live: `homelab top`, at its place for them."""
    from homelab.cli.top import watch

    return watch("nodes", as_json=as_json)
