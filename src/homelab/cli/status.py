"""`homelab status`: the services of this home, its nodes and what is wrong."""

from collections.abc import Mapping
from typing import Any

import click

from homelab import __version__
from homelab.cli import output, watching
from homelab.cli.job import as_json
from homelab.cli.nodeview import heard
from homelab.core.errors import HomelabError
from homelab.home import membership
from homelab.home.membership import Membership
from homelab.home.paths import Home


@click.command(cls=watching.Command)
@as_json
def status(as_json: bool, watch: float | None) -> None:
    """Services, nodes, problems, and the jobs that need a look."""
    from homelab.cli.client import Client

    watching.shown(watch, lambda: _draw(as_json), client=lambda: Client.of_home(timeout_s=10))


def _draw(as_json: bool) -> None:
    from homelab.stack import control_socket

    home = Home.default()
    supervisor = control_socket.ask(home, {"do": "status"}, timeout_s=20)
    services = supervisor["services"]
    member = membership.read(home)
    lab, nodes, problems, shadow, jobs = _told(home, member)
    problems += [
        {
            "code": f"service-{s['state']}",
            "severity": "error",
            "subject": s["name"],
            "message": s["message"],
            "hint": "",
        }
        for s in services
        if s["state"] in ("crashed", "degraded")
    ]
    problems += [*_interrupted(home), *of_another_version(supervisor)]
    if as_json:
        told = {"lab": lab, "services": services, "nodes": nodes, "problems": problems, "shadow": shadow}
        output.json_document({**told, "attention": jobs})
        return
    is_terminal = output.is_terminal()
    if member is not None:
        output.line(output.safe(f"node {member.name} of {lab or 'a lab'} at {member.url}: {nodes[0]['state']}"))
    rows = [
        [s["name"], output.state(s["state"]), str(s["pid"] or "-"), _size(s["memory_bytes"]), str(s["restarts"]),
         output.safe(_shown_url(s["url"]) if is_terminal else s["url"] or "-"), output.safe(s["message"])]
        for s in services
    ]  # fmt: skip
    header = ["service", "state", "pid", "memory", "restarts", "url", "message"]
    if is_terminal and not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    output.table(header, rows, optional=["restarts", "pid"])
    if member is None and len(nodes) > 1 and is_terminal:
        output.line()
        _machines(nodes)
    for problem in problems:
        colour = "31" if problem["severity"] == "error" else "33"
        output.warn(problem["severity"], output.safe(f"{problem['subject']}: {problem['message']}"), colour=colour)
        if problem.get("hint"):
            output.hint(output.safe(problem["hint"]))
    for entry in jobs:
        output.warn(str(entry["kind"]).replace("_", " "), output.safe(f"{entry['subject']}: {entry['reason']}"))
        if entry.get("advice"):
            output.hint(output.safe(str(entry["advice"])))
    if shadow:
        many = f"{len(shadow)} job{'s' if len(shadow) > 1 else ''}"
        output.warn(
            "note",
            f"{many} in shadow: cron runs them, the lab notes when it would have (homelab cron compare)",
            colour="2",
        )
    if not problems and not jobs and member is None:
        output.hint("homelab job ls, homelab run ls; in the browser: homelab open")


def _machines(nodes: list[dict[str, Any]]) -> None:
    """Where there are several; how full they are is `homelab node ls`."""
    rows = [
        [output.safe(str(node["name"])), output.state(str(node["state"])), str(len(node["running"])), heard(node)]
        for node in nodes
    ]
    output.table(["node", "state", "runs", "heard"], rows)


def _shown_url(url: str | None) -> str:
    """An address as a person needs it: where a socket lies is a long parameter that clients get by `homelab env`."""
    return (url or "-").partition("?")[0]


def _told(
    home: Home, member: Membership | None
) -> tuple[str | None, list[dict[str, Any]], list[dict[str, Any]], list[str], list[dict[str, Any]]]:
    """What control says of the lab: name, nodes, problems, jobs in shadow, jobs that need a look (worst first). When it
    is silent, that is what is wrong."""
    from homelab.cli.client import Client

    if member is not None:
        from homelab.cli import nodeup

        told = nodeup.told_of(home, member)
        return told["lab"], told["nodes"], told["problems"], [], []
    try:
        client = Client.of_home(timeout_s=10)
        answer = client.get("/api/v1/lab")
        entries = client.get("/api/v1/now")["attention"]
    except HomelabError as error:
        problem = {"code": "control", "severity": "error", "subject": "control", "message": error.message, "hint": ""}
        return None, [], [problem], [], []
    jobs = [entry for entry in entries if entry["job"]]
    return answer["lab"], answer["nodes"], answer["problems"], answer["shadow"], jobs


def _interrupted(home: Home) -> list[dict[str, Any]]:
    """Adoptions of a crontab that were killed half way: their jobs may run nowhere."""
    from homelab.home import adoptions

    if not adoptions.folder_of(home).exists() or adoptions.is_busy(home):
        return []
    return [
        {
            "code": "adoption-interrupted",
            "severity": "error",
            "subject": adoption.target.label,
            "message": f"homelab cron {verb} was interrupted: {', '.join(adoption.jobs[:5])} may run nowhere",
            "hint": f"Finish it with: homelab cron {verb}",
        }
        for adoption in adoptions.interrupted(home)
        if (verb := "release" if adoption.state == "releasing" else "adopt")
    ]


def of_another_version(supervisor: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What runs was started before the upgrade. `supervisor`: what it answers; early ones do not say their version."""
    runs = supervisor.get("version")
    if runs == __version__:
        return []
    return [
        {
            "code": "another-version",
            "severity": "warning",
            "subject": "homelab",
            "message": f"{runs or 'an earlier version'} runs here, {__version__} is installed",
            "hint": "Jobs go on when you change over: homelab restart" if runs else "homelab down, then homelab up -d",
        }
    ]


def _size(value: int | None) -> str:
    return "-" if value is None else f"{value / 2**20:.0f} MB"
