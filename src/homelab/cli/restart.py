"""`homelab restart`: the lab's programs start anew, as after an upgrade, and what runs goes on.

The supervisor and the worker execute themselves anew, so that their processes stay, and with them what they started;
the others are stopped and started. The database goes on unless it is named.
"""

import time
from typing import Any

import click

from homelab.cli import output
from homelab.cli.job import as_json
from homelab.core.errors import HomelabError, NotFoundError, RefusedError, TimedOutError
from homelab.home.paths import Home

WITHIN_S = 180.0
UNTOUCHED = "postgres"
Json = dict[str, Any]


def _names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from homelab.stack import children

    return [name for name in children.survivors(Home.default()) if name.startswith(begun)]


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=_names)
@click.option("--dry-run", is_flag=True, help="Say what would be restarted.")
@as_json
def restart(services: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Restart the lab's programs, as after an upgrade; jobs that run go on.

    Without a SERVICE: the supervisor and all services but the database. Jobs notice nothing: their output is kept
    whole, their end is seen. What is due meanwhile starts a few seconds late.
    """
    home = Home.default()
    known = {str(one["name"]): one for one in _status(home)["services"] if one["state"] != "external"}
    for name in services:
        if name not in known:
            raise NotFoundError(
                f"there is no service '{name}' here", hint=f"There are: {', '.join(known) or 'none that are ours'}"
            )
    names = services or ("supervisor", *(name for name in known if name != UNTOUCHED))
    names = [name for name in ("supervisor", *known) if name in names]
    if dry_run:
        _would(names, as_json=as_json)
        return
    done: list[Json] = []
    for name in names:
        with output.progress(f"restarting {name}"):
            done.append(_restarted(home, name, known.get(name)))
        if not as_json:
            kept = done[-1].get("kept")
            jobs = f", {kept} running {'job goes' if kept == 1 else 'jobs go'} on" if kept else ""
            output.line(f"{name:<11} restarted in {done[-1]['seconds']:.1f} s{jobs}")
    if as_json:
        output.json_document({"restarted": done})


def _would(names: list[str], *, as_json: bool) -> None:
    if as_json:
        output.json_document({"would_restart": names})
        return
    output.line(f"would restart {', '.join(names)}; jobs that run go on")
    if UNTOUCHED in names:
        output.line("while the database is away nothing is due anew; what runs goes on")


def _status(home: Home) -> Json:
    from homelab.stack import control_socket

    return control_socket.ask(home, {"do": "status"}, timeout_s=20)


def _restarted(home: Home, name: str, before: Json | None) -> Json:
    """How long it took. `before`: the service as it was, None for the supervisor."""
    from homelab.stack import control_socket

    began = time.time()
    answer = control_socket.ask(home, {"do": "restart"} if before is None else {"do": "restart", "name": name})
    if "error" in answer:
        raise RefusedError(
            f"the supervisor that runs cannot restart {name}: {answer['error']}",
            hint="It is of an earlier version: homelab down, then homelab up -d",
        )
    while time.time() - began < WITHIN_S:
        time.sleep(0.1)
        try:
            status = _status(home)
        except NotFoundError:  # it is just executing itself anew
            continue
        if before is None:
            if float(status["began"]) > began:
                return {"name": name, "seconds": round(time.time() - began, 1)}
            continue
        if (found := _is_back(home, name, before, status, began)) is not None:
            return {"name": name, "seconds": round(time.time() - began, 1), **found}
    raise TimedOutError(f"{name} has not restarted within {WITHIN_S:g} s", hint="See: homelab status")


def _is_back(home: Home, name: str, before: Json, status: Json, began: float) -> Json | None:
    """What is to be said of it once it is back; None before."""
    from homelab.worker import registration

    now = next(one for one in status["services"] if one["name"] == name)
    if now["crash_loop"]:
        raise HomelabError(f"{name} does not come up again: {now['message']}", hint="See: homelab status")
    if name == "worker" and (said := registration.since(home, began)) is not None:
        if said.get("refused"):
            raise RefusedError(
                f"the worker goes on as it was: {said['refused']}", hint="Correct that, then: homelab restart worker"
            )
        return {"kept": said.get("kept", 0)} if now["state"] == "ready" else None
    return {} if now["state"] == "ready" and now["pid"] != before["pid"] else None
