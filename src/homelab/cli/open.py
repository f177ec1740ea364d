"""`homelab open`: a one-time link that signs one browser in."""

from urllib.parse import urlsplit, urlunsplit

import click

from homelab.cli import output
from homelab.cli.client import Client
from homelab.cli.job import as_json


def at_host(url: str, host: str) -> str:
    """The URL at another host, the port kept."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))


@click.command()
@click.option("--browser", is_flag=True, help="Open it in this machine's browser, too.")
@click.option("--person", metavar="NAME", help="Whose link it is (default: the owner's; with another role, a guest's).")
@click.option(
    "--role",
    "--scope",
    "role",
    type=click.Choice(["read", "operate", "admin"]),
    default="admin",
    show_default=True,
    help="What it allows at most.",
)
@click.option("--host", metavar="NAME", help="Another name of the lab, such as localhost, which passkeys need.")
@as_json
def open_(browser: bool, person: str | None, role: str, host: str | None, as_json: bool) -> None:
    """Print (and open) a one-time link to the lab's pages. It works once, within ten minutes."""
    body = {"scope": role} if person is None else {"scope": role, "person": person}
    answer = Client.of_home().post("/api/v1/sign-in-links", body)
    if host is not None:
        answer["url"] = at_host(str(answer["url"]), host)
    if as_json:
        output.json_document(answer)
    else:
        output.line(answer["url"])
        whose = output.safe(str(answer["person"]))
        output.note(f"Signs {whose} in, once, within {int(answer['expires_s']) // 60} minutes.")
    if browser:
        import webbrowser

        if not webbrowser.open(answer["url"]):
            output.note("No browser could be opened here; open the link by hand.")
