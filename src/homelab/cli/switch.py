"""Single steps of a switch between cron and the lab: the moment, signals, the lab's answer, the lab files on disk.

Called by `cli.handover`.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from homelab.cli.client import Client, NoAnswerError
from homelab.core.crontab import adoption as rules
from homelab.core.errors import NotFoundError, RefusedError
from homelab.home import labedit
from homelab.home.paths import Home

Say = Callable[[str], None]
_WORKER_S = 25.0
"""Two heartbeats of a worker and a little more."""


def lab_if_running(home: Home) -> Client | None:
    """The control of this home; None when the lab is down. One that is starting again is waited for."""
    from homelab.stack import control_socket

    deadline = time.monotonic() + 20
    while True:
        try:
            client = Client.of_home()
            client.get("/api/v1/lab")
        except NotFoundError:
            try:
                control_socket.ask(home, {"do": "status"}, timeout_s=5)
            except NotFoundError:
                return None
            if time.monotonic() > deadline:
                return None
            time.sleep(0.3)
        else:
            return client


def running_lab() -> Client:
    """The lab that would run the jobs: control answers and a worker is at work, or says so within its next heartbeats.
    NotFoundError, RefusedError if not."""
    deadline = time.monotonic() + _WORKER_S
    while True:
        try:
            client = Client.of_home()
            nodes = client.get("/api/v1/lab")["nodes"]
        except NotFoundError as error:
            hint = "Start it with: homelab up -d"
            raise NotFoundError("the lab is not running, so that nobody would run the jobs", hint=hint) from error
        if any(node["state"] == "ready" for node in nodes):
            return client
        if time.monotonic() > deadline:
            raise RefusedError("no worker of the lab is at work: nothing would run", hint="See: homelab status")
        time.sleep(0.5)


def await_moment(say: Say, check: Callable[[], None]) -> None:
    """Return at a moment at which a crontab may be changed, `check` having passed just before; it raises what speaks
    against it. Nothing is changed before; Ctrl-C is safe here."""
    while True:
        _wait(say)
        check()
        if rules.wait_s(datetime.now(UTC)) == 0:  # else the check took too long, or the machine slept
            return


def _wait(say: Say) -> None:
    while (seconds := rules.wait_s(datetime.now(UTC))) > 0:
        say(f"waiting {seconds:.0f} s for a moment at which cron is not reading")
        time.sleep(min(seconds, 1.0))


@contextlib.contextmanager
def uninterrupted(say: Say) -> Generator[None]:
    """Signals that ask to stop wait until the switch is whole. It takes a second or two, never more than a minute."""
    came: list[int] = []
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, lambda got, _: came.append(got)) for number in asked}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        if came:
            say("a request to stop came in the middle of the switch, which is whole now")


def give_up_at(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0) + timedelta(seconds=rules.GIVE_UP_S)


def left_s(until: datetime) -> float:
    return max(0.5, (until - datetime.now(UTC)).total_seconds())


def apply(
    client: Client,
    texts: Mapping[str, str],
    lab: Path,
    *,
    since: datetime | None = None,
    deadline: datetime | None = None,
) -> None:
    """Have the lab carry out these texts. A control that does not answer is asked again until the deadline (or for
    some seconds): it may be starting, and carrying out the same twice changes nothing."""
    body = body_of(texts, lab)
    if since is not None:
        body["since"] = since.isoformat()
        body["deadline"] = (deadline or datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    until = deadline or datetime.now(UTC) + timedelta(seconds=15)
    while True:
        try:
            client.within(left_s(until) + 1).post("/api/v1/apply", body)
        except NoAnswerError:
            if datetime.now(UTC) > until:
                raise
            time.sleep(0.3)
        else:
            return


def body_of(texts: Mapping[str, str], lab: Path) -> dict[str, Any]:
    return {"files": dict(texts), "main": str(lab), "folder": str(lab.parent)}


def difference(new: Mapping[str, str], old: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in new.items() if old.get(name) != text}


def write(texts: Mapping[str, str], *, only_if: Mapping[str, str] | None = None) -> None:
    """Write these lab files; with `only_if`, those alone that still have that text: what a person wrote stays."""
    for name, text in texts.items():
        path = Path(name)
        if only_if is None or (path.exists() and path.read_text(encoding="utf-8") == only_if.get(name)):
            labedit.write(path, text)
