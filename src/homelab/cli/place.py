"""`homelab place`: where something would go, and why not elsewhere. Nothing is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from homelab.cli.job import as_json
from homelab.core.errors import HomelabError, InputError, NotFoundError

if TYPE_CHECKING:
    from homelab.cli.client import Client
    from homelab.core.jobs import Strategy
    from homelab.core.labfile import Lab
    from homelab.core.placement import Request, Snapshot


_REQUIRES = "cpu, memory, gpu_memory, slots, disk:/PATH, app, model, or what your nodes count: cpu=2,memory=16GiB."


@click.command()
@click.option("--requires", multiple=True, metavar="K=V,...", help=_REQUIRES)
@click.option("--label", "labels", multiple=True, metavar="K=V", help="A label the node must have.")
@click.option("--job", "job_name", metavar="NAME", help="Take the requirements from this job.")
@click.option("--place", "strategy", type=click.Choice(["auto", "spread", "pack"]), help="As the job setting `place`.")
@click.option("--lab", "lab_file", metavar="FILE", help="Decide on this lab file alone, whatever runs.")
@as_json
def place(
    requires: tuple[str, ...],
    labels: tuple[str, ...],
    job_name: str | None,
    strategy: Strategy | None,
    lab_file: str | None,
    as_json: bool,
) -> int:
    """Say on which node something would run, and why.

    The running lab decides on its machines as they are now. Where none runs, the lab file's nodes are taken as empty.
    Exit status 1 when no node can take it now; the reasons of each node are printed.
    """
    from homelab.core import capacity

    table, labelled = capacity.table_of(",".join(requires)), _labels(labels)
    client = None if lab_file else _running()
    if client is None:
        answer, known = _by_the_file(lab_file, table, labelled, job_name, strategy)
    else:
        answer, known = _by_the_lab(client, table, labelled, job_name, strategy)
    return _told(answer, table, known, as_json=as_json)


def _told(answer: Mapping[str, Any], table: Mapping[str, Any], known: Iterable[str], *, as_json: bool) -> int:
    """Print the decision; `known` are the names of resources that some node counts."""
    from homelab.cli import output

    _doubt(table, known)
    if as_json:
        output.json_document(dict(answer))
        return 0 if "placement" in answer else 1
    if "placement" in answer:
        found = answer["placement"]
        output.line(output.painted(output.safe(str(found["node"])), "1"))
        for reason in found["reasons"]:
            output.line(f"  {output.safe(str(reason))}")
        return 0
    for rejection in answer["rejections"]:
        output.line(output.safe(str(rejection["reason"])))
    output.note("no node can take it now")
    return 1


def _running() -> Client | None:
    """The lab that runs here; None when there is none, or when the lab file at hand is that of another one."""
    from homelab.cli.check import load
    from homelab.cli.client import Client

    try:
        client = Client.of_home(timeout_s=5)
        name = client.get("/api/v1/names")["lab"]
    except HomelabError:
        return None
    try:
        lab, _, _ = load(None)
    except HomelabError:
        return client
    return client if lab is None or lab.name == name else None


def _by_the_lab(
    client: Client,
    table: Mapping[str, Any],
    labels: Mapping[str, str],
    job_name: str | None,
    strategy: Strategy | None,
) -> tuple[Mapping[str, Any], set[str]]:
    asked: dict[str, Any] = {"requires": dict(table), "labels": dict(labels)}
    asked |= {"job": job_name} if job_name else {}
    asked |= {"place": strategy} if strategy else {}
    try:
        answer = client.post("/api/v1/place", asked)
    except NotFoundError as error:
        hint = error.hint or "A job that is only in the lab file: homelab apply, or ask with --lab FILE"
        raise NotFoundError(error.message, hint=hint) from error
    nodes: list[dict[str, Any]] = client.get("/api/v1/nodes")["nodes"] if "rejections" in answer else []
    return answer, {str(name).removesuffix("_bytes") for node in nodes for name in node["capacity"]}


def _by_the_file(
    lab_file: str | None,
    table: Mapping[str, Any],
    labels: Mapping[str, str],
    job_name: str | None,
    strategy: Strategy | None,
) -> tuple[Mapping[str, Any], set[str]]:
    import time

    from homelab.cli.check import checked
    from homelab.core.placement import Placement
    from homelab.core.placement import place as decide

    lab, _ = checked(lab_file)
    snapshot = _snapshot(lab)
    found = decide(_request(lab, table, labels, job_name, strategy), snapshot, time.time())
    known = {name for room in snapshot.rooms for name in room.total}
    if isinstance(found, Placement):
        return {"placement": found.to_json()}, known
    return {"rejections": found.to_json()}, known


def _request(
    lab: Lab, table: Mapping[str, Any], labels: Mapping[str, str], job_name: str | None, strategy: Strategy | None
) -> Request:
    """The job's requirements, and above them those of the options."""
    from homelab.core.jobs import Job
    from homelab.core.placement.requests import asking

    job = Job(name="")
    if job_name is not None:
        try:
            job = lab.job(job_name)
        except KeyError:
            raise NotFoundError(f"the lab has no job '{job_name}'", hint="List them with: homelab job ls") from None
    return asking(job, table, labels, strategy)


def _labels(labels: Iterable[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for one in labels:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise InputError(f"'{one}' is not NAME=VALUE", hint="Write it like --label zone=attic")
        found[name] = value
    return found


def _snapshot(lab: Lab) -> Snapshot:
    """The declared nodes, with nothing on them."""
    from homelab.core.labfile.fleet import fleet_of
    from homelab.core.placement import Snapshot

    fleet = fleet_of(lab.nodes, concurrency=lab.worker.concurrency)
    if not fleet:
        raise NotFoundError(
            "the lab file declares no nodes, and no lab runs here to ask",
            hint='Add one: [nodes.NAME] with capacity = { cpu = 8, memory = "16GiB" }',
        )
    return Snapshot.of(fleet)


def _doubt(table: Mapping[str, Any], known: Iterable[str]) -> None:
    """A name that no node counts is probably a slip."""
    from homelab.cli import output
    from homelab.core.labfile.amounts import REQUIRES
    from homelab.core.labfile.problems import nearest, shown

    counted = {*REQUIRES.names(), *known}
    for name in table:
        if name not in counted and (close := nearest(name, counted)):
            output.note(f"no node counts {shown(name)}; did you mean {shown(close)}?")
