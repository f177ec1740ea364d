"""`homelab token`: access tokens of programs and people, each with a scope."""

from datetime import UTC, datetime

import click

from homelab.cli import output
from homelab.cli.client import Client
from homelab.cli.job import as_json
from homelab.core.errors import NotFoundError


@click.group()
def token() -> None:
    """Make and revoke access tokens. Scopes: read, operate (run, pause, cancel), admin (apply, tokens), node."""


@token.command()
@as_json
def ls(as_json: bool) -> None:
    """All valid tokens, and those of feeds, without their secrets."""
    client = Client.of_home()
    answer = {**client.get("/api/v1/tokens"), **client.get("/api/v1/feeds")}
    if as_json:
        output.json_document(answer)
        return
    now = datetime.now(UTC)
    rows = [
        [
            str(t["id"]),
            output.safe(str(t["name"])),
            str(t["scope"]),
            output.when(t.get("created"), now=now),
            output.when(t.get("last_used"), now=now),
            output.when(t.get("expires"), now=now),
        ]
        for t in answer["tokens"]
    ]
    rows += [
        [
            f"f{f['id']}",
            output.safe(str(f["name"] or "-")),
            output.safe(f"feed {f['feed']}"),
            output.when(f.get("created"), now=now),
            output.when(f.get("last_used"), now=now),
            "-",
        ]
        for f in answer["feeds"]
    ]
    output.table(["id", "name", "scope", "created", "used", "expires"], rows, empty="No tokens.", optional=["expires"])
    if answer["feeds"]:
        output.hint("revoke one: homelab token revoke ID, homelab feed revoke ID")


@token.command()
@click.argument("name")
@click.option("--scope", type=click.Choice(["read", "operate", "admin", "node"]), default="read", show_default=True)
@click.option(
    "--ttl", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds it lives. Default: ever."
)
@as_json
def create(name: str, scope: str, ttl: float | None, as_json: bool) -> None:
    """Make a token. Its secret is printed now and never again."""
    answer = Client.of_home().post("/api/v1/tokens", {"name": name, "scope": scope, "ttl_s": ttl})
    if as_json:
        output.json_document(answer)
        return
    output.line(answer["token"]["token"])
    output.note("Keep it: it is not shown again. Use it as HOMELAB_TOKEN or as a bearer token.")


@token.command()
@click.argument("which", metavar="ID|NAME")
@as_json
def revoke(which: str, as_json: bool) -> None:
    """Make a token useless, at once."""
    client = Client.of_home()
    if which[:1] == "f" and which[1:].isdecimal():
        from homelab.cli.feed import revoked

        revoked(client, which[1:], as_json)
        return
    known = client.get("/api/v1/tokens")["tokens"]
    found = [t for t in known if which in (str(t["id"]), t["name"])]
    if not found:
        raise NotFoundError(f"no token '{which[:60]}'", hint="List them with: homelab token ls")
    for item in found:
        client.delete(f"/api/v1/tokens/{item['id']}")
    if as_json:
        output.json_document({"revoked": [t["id"] for t in found]})
    else:
        output.note(f"revoked: {', '.join(output.safe(str(t['name'])) for t in found)}")
