"""`homelab open`: a one-time link that signs one browser in."""

import click

from homelab.cli import output
from homelab.cli.client import Client
from homelab.cli.job import as_json


@click.command()
@click.option("--browser", is_flag=True, help="Open it in this machine's browser, too.")
@click.option("--scope", type=click.Choice(["read", "operate", "admin"]), default="admin", show_default=True)
@as_json
def open_(browser: bool, scope: str, as_json: bool) -> None:
    """Print (and open) a one-time link to the lab's pages. It works once, within ten minutes."""
    answer = Client.of_home().post("/api/v1/sign-in-links", {"scope": scope})
    if as_json:
        output.json_document(answer)
    else:
        output.line(answer["url"])
        output.note(f"Works once, within {int(answer['expires_s']) // 60} minutes.")
    if browser:
        import webbrowser

        if not webbrowser.open(answer["url"]):
            output.note("No browser could be opened here; open the link by hand.")
