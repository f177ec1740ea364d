"""`homelab notify`: send a test message to every target; list what was told to whom, and what was not delivered."""

import json
import sys
from typing import Any, cast

import click

from homelab.core.errors import HomelabError, NotFoundError, RefusedError
from homelab.home import endpoints
from homelab.home.paths import Home
from homelab.home.secrets import read_or_create


@click.group()
def notify() -> None:
    """Test and inspect notifications."""


@notify.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def test(as_json: bool) -> int:
    """Send a test message to every target now, and say which took it.

    Exit status 1 when one did not, 3 when the lab file names no target.
    """
    results = _call("POST", "/api/v1/notifications/test")
    if as_json:
        click.echo(json.dumps({"notifications": results}))
    elif not results:
        raise NotFoundError("the lab file names no notification target", hint='Add one: [notify] urls = ["ntfy://..."]')
    else:
        for result in results:
            click.echo(f"{result['target']}: {'sent' if result['ok'] else 'not sent: ' + result['error']}")
    return 0 if all(result["ok"] for result in results) else 1


@notify.command("ls")
@click.option("--limit", default=50, show_default=True, help="How many, the newest first.")
@click.option("--failed", is_flag=True, help="Only those that were not delivered.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ls(limit: int, failed: bool, as_json: bool) -> None:
    """List notifications: what was told to whom, what waits, what was given up."""
    found = _call("GET", f"/api/v1/notifications?limit={limit}")
    if failed:
        found = [one for one in found if one["state"] == "failed" or (one["state"] == "queued" and one["error"])]
    if as_json:
        click.echo(json.dumps({"notifications": found}))
    elif sys.stdout.isatty():
        _table(found)
    else:
        for one in found:
            click.echo("\t".join((one["created"], one["state"], one["target"], one["title"], one["error"] or "")))


def _table(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("CREATED", "STATE", "TARGET", "TITLE", "ERROR"):
        table.add_column(name, overflow="fold")
    for one in found:
        cells = (one["created"], one["state"], one["target"], one["title"], one["error"] or "")
        table.add_row(*(Text(str(cell)) for cell in cells))
    Console().print(table)


def _call(method: str, path: str) -> list[dict[str, Any]]:
    import httpx

    home = Home.default()
    url = endpoints.require(home, "control")
    headers = {"authorization": f"Bearer {read_or_create(home, 'token-admin')}"}
    try:
        # A test waits for the slowest target: 30 s, and a margin.
        answer = httpx.request(method, url + path, headers=headers, timeout=45.0)
    except httpx.HTTPError as error:
        raise NotFoundError(
            f"the lab's control does not answer at {url}: {error}", hint="See: homelab status"
        ) from error
    if answer.status_code in (401, 403):
        raise RefusedError(f"control refused: {answer.text[:200]}", hint="Was the lab started in this HOMELAB_HOME?")
    if not answer.is_success:
        raise HomelabError(f"control answered {answer.status_code}: {answer.text[:200]}", hint="See: homelab status")
    return cast("list[dict[str, Any]]", answer.json()["notifications"])
