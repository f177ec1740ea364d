"""`homelab feed`: addresses that show one thing each to programs that cannot sign in: calendars, badges, menu bars."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem

from homelab.cli import output
from homelab.cli.client import Client
from homelab.cli.job import as_json
from homelab.cli.names import JobType
from homelab.core.errors import InputError

KINDS = {
    "due": "What is due and what failed, as a calendar (iCalendar).",
    "status": "The lab in a few fields (JSON), for menu bars and monitors.",
    "badge": "How the lab, or with --job a job, stands, as a picture (SVG).",
}


@click.group()
def feed() -> None:
    """Addresses for calendars, badges and menu bars. Each holds a token that opens this one thing and nothing else."""


class _FeedId(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only in newer versions
    name = "id"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            known = Client.of_home(timeout_s=1.5).get("/api/v1/feeds")["feeds"]
            found = [CompletionItem(str(f["id"]), help=f"{f['feed']} {f['name']}") for f in known]
            return [item for item in found if str(item.value).startswith(incomplete)]
        except Exception:  # a traceback in the middle of someone's command line helps nobody
            return []


@feed.command()
@as_json
def ls(as_json: bool) -> None:
    """All feeds that were given out, without their addresses."""
    answer = Client.of_home().get("/api/v1/feeds")
    if as_json:
        output.json_document(answer)
        return
    now = datetime.now(UTC)
    rows = [
        [
            str(f["id"]),
            output.safe(str(f["feed"])),
            output.safe(str(f["name"] or "-")),
            output.when(f.get("created"), now=now),
            output.when(f.get("last_used"), now=now),
        ]
        for f in answer["feeds"]
    ]
    output.table(["id", "feed", "name", "created", "used"], rows, empty="No feeds. Make one: homelab feed add due")


@feed.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--job", type=JobType(), metavar="NAME", help="With badge: of this job.")
@click.option("--name", default="", metavar="TEXT", help="Where it is used, for you to tell them apart.")
@as_json
def add(kind: str, job: str | None, name: str, as_json: bool) -> None:
    """Make an address and print it. It is shown now and never again; who has it can read this feed."""
    if job is not None and kind != "badge":
        raise InputError("--job goes with badge", hint="homelab feed add badge --job NAME")
    body = {"feed": f"{kind}/{job}" if job else kind, "name": name}
    answer = Client.of_home().post("/api/v1/feeds", body)
    if as_json:
        output.json_document(answer)
        return
    output.line(answer["feed"]["url"])
    if urlsplit(str(answer["feed"]["url"])).hostname in ("127.0.0.1", "localhost", "::1"):
        output.hint("it works on this machine alone; for a phone set [control] host in the lab file")
    output.hint(f"{KINDS[kind]} Take it back: homelab feed revoke {answer['feed']['id']}")


@feed.command()
@click.argument("id", type=_FeedId())
@as_json
def revoke(id: str, as_json: bool) -> None:  # noqa: A002
    """Make an address useless, at once. ID as `homelab feed ls` gives it."""
    revoked(Client.of_home(), id, as_json)


def revoked(client: Client, identity: str, as_json: bool) -> None:
    """Revoke one and say so. NotFoundError when there is none."""
    if not identity.isdecimal():
        raise InputError(f"'{output.safe(identity[:40])}' is no feed's id", hint="List them with: homelab feed ls")
    answer = client.delete(f"/api/v1/feeds/{identity}")
    if as_json:
        output.json_document(answer)
    else:
        output.note(f"revoked feed {identity}")
