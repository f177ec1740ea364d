"""`homelab notify`: a test message to every target; the digest; what was told to whom, and what was not delivered."""

from datetime import UTC, datetime
from typing import Any, cast

import click

from homelab.cli import output, paging
from homelab.cli.client import Client
from homelab.cli.job import as_json
from homelab.core.errors import NotFoundError

_TEST_TIMEOUT_S = 45.0
"""A test waits for the slowest target (30 s)."""


@click.group()
def notify() -> None:
    """Test and inspect notifications."""


@notify.command()
@as_json
def test(as_json: bool) -> int:
    """Send a test message to every target now, and say which took it.

    Exit status 1 when one did not, 3 when the lab file names no target.
    """
    with output.progress("sending to every target"):
        answer = Client.of_home(timeout_s=_TEST_TIMEOUT_S).post("/api/v1/notifications/test")
    results = cast("list[dict[str, Any]]", answer["notifications"])
    if not results:
        raise NotFoundError("the lab file names no notification target", hint='Add one: [notify] urls = ["ntfy://..."]')
    if as_json:
        output.json_document(answer)
    else:
        rows = [[output.safe(r["target"]), "sent" if r["ok"] else "not sent", output.safe(r["error"])] for r in results]
        output.table(["target", "result", "error"], rows, empty="")
    return 0 if all(result["ok"] for result in results) else 1


@notify.command()
@click.option("--send", is_flag=True, help="Send it to every target of the lab file now.")
@as_json
def digest(send: bool, as_json: bool) -> None:
    """How the lab did since the last digest: runs, failures, what is slow, silent or idle, the disk.

    The lab sends it by itself, on Monday at 8:00 unless `[notify] digest` says otherwise.
    """
    client = Client.of_home()
    if send:
        answer = client.post("/api/v1/digest")
        if as_json:
            output.json_document(answer)
        else:
            output.note(f"queued for {', '.join(output.safe(t) for t in answer['digest']['targets'])}")
            output.hint("what became of it: homelab notify ls")
        return
    answer = client.get("/api/v1/digest")
    if as_json:
        output.json_document(answer)
        return
    found = cast("dict[str, Any]", answer["digest"])
    for line in str(found["body"]).splitlines():
        output.line(output.safe(line))
    if not found["targets"]:
        output.hint('nobody gets it: add a target, [notify] urls = ["ntfy://..."]')
    elif found["next"]:
        output.hint(
            f"it is sent {output.relative(found['next'], now=datetime.now(UTC))}; now: homelab notify digest --send"
        )


@notify.command("ls")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--failed", is_flag=True, help="Only those that were not delivered.")
@as_json
def ls(limit: int, failed: bool, as_json: bool) -> None:
    """Notifications, newest first: what was told to whom, what waits, what was given up."""
    answer = Client.of_home().get("/api/v1/notifications", {"limit": limit})
    found = cast("list[dict[str, Any]]", answer["notifications"])
    if failed:
        found = [one for one in found if one["state"] == "failed" or (one["state"] == "queued" and one["error"])]
    if as_json:
        output.json_document({"notifications": found})
        return
    now = datetime.now(UTC)
    rows = [
        [
            output.when(one["created"], now=now),
            output.state(str(one["state"])),
            output.safe(str(one["target"])),
            output.safe(str(one["title"])),
            output.safe(str(one["error"] or "")),
        ]
        for one in found
    ]
    with paging.paged():
        output.table(
            ["when", "state", "target", "title", "error"], rows, empty="No notifications.", optional=["target"]
        )
