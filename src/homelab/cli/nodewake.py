"""`homelab node wake`: send the message that wakes a machine which sleeps."""

import time

import click

from homelab.cli import output
from homelab.cli.client import Client, NoAnswerError, segment
from homelab.cli.job import as_json
from homelab.core.errors import TimedOutError

_AGAIN_S = 20.0
"""A message may be lost; a machine that wakes takes some seconds until its worker is heard."""


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--wait", is_flag=True, help="Until it is there; asked again every 20 s.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=180.0,
    metavar="S",
    help="With --wait: exit 4 after so many seconds (180).",
)
@as_json
def wake(name: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Wake a machine that sleeps, by the address that the lab file gives (`wake`)."""
    client = Client.of_home()
    answer = client.post(f"/api/v1/nodes/{segment(name)}/wake")
    if wait and answer["sent"]:
        _until_awake(client, name, timeout_s=timeout)
        answer["message"] = f"{name} is awake"
    if as_json:
        output.json_document(answer)
    else:
        output.note(output.safe(str(answer["message"])))


def _until_awake(client: Client, name: str, *, timeout_s: float) -> None:
    start = asked = time.monotonic()
    with output.progress(f"{output.safe(name)}: waking") as spinner:
        while (waited_s := time.monotonic() - start) < timeout_s:
            try:
                if any(n["name"] == name and n["state"] == "ready" for n in client.get("/api/v1/lab")["nodes"]):
                    return
                if time.monotonic() - asked > _AGAIN_S:
                    client.post(f"/api/v1/nodes/{segment(name)}/wake")
                    asked = time.monotonic()
            except NoAnswerError:
                pass  # control may be starting
            spinner.say(f"{output.safe(name)}: waking, for {output.duration(waited_s)}")
            time.sleep(min(0.5, timeout_s))
    raise TimedOutError(
        f"'{name}' is not heard after {output.duration(timeout_s)}",
        hint="Is Wake-on-LAN on there, and is it on the network that the message went to?",
    )
