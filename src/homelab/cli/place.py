"""`homelab place`: where something would go, and why not elsewhere. Nothing is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from homelab.cli.job import as_json
from homelab.core.errors import HomelabError, InputError, NotFoundError

if TYPE_CHECKING:
    from homelab.core.jobs import Strategy
    from homelab.core.labfile import Lab
    from homelab.core.placement import Lease, Node, Request, Snapshot


_REQUIRES = "cpu, memory, gpu_memory, slots, disk:/PATH, app, model, or what your nodes count: cpu=2,memory=16GiB."


@click.command()
@click.option("--requires", multiple=True, metavar="K=V,...", help=_REQUIRES)
@click.option("--label", "labels", multiple=True, metavar="K=V", help="A label the node must have.")
@click.option("--job", "job_name", metavar="NAME", help="Take the requirements from this job of the lab file.")
@click.option("--place", "strategy", type=click.Choice(["auto", "spread", "pack"]), help="As the job setting `place`.")
@click.option("--lab", "lab_file", metavar="FILE", help="The lab file (default: as for every command).")
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

    Decides on what the lab file declares of its nodes, less what running jobs hold. Exit status 1 when no node can take
    it now; the reasons of each node are printed.
    """
    import time

    from homelab.cli import output
    from homelab.cli.check import checked
    from homelab.core.placement import Placement, render
    from homelab.core.placement import place as decide

    lab, _ = checked(lab_file)
    now = time.time()
    request = _request(lab, requires, labels, job_name, strategy)
    snapshot = _snapshot(lab)
    _doubt(request, snapshot)
    found = decide(request, snapshot, now)
    if isinstance(found, Placement):
        if as_json:
            output.json_document({"placement": found.to_json()})
        else:
            output.line(output.painted(found.node, "1"))
            for reason in found.reasons:
                output.line(f"  {output.safe(render(reason))}")
        return 0
    if as_json:
        output.json_document({"rejections": found.to_json()})
    else:
        for reasons in found.reasons.values():
            for reason in reasons:
                output.line(output.safe(render(reason)))
        output.note("no node can take it now")
    return 1


def _request(
    lab: Lab, requires: Iterable[str], labels: Iterable[str], job_name: str | None, strategy: Strategy | None
) -> Request:
    """The job's requirements, and above them those of the options."""
    from dataclasses import replace

    from homelab.core import capacity
    from homelab.core.jobs import Job
    from homelab.core.placement import request_of

    job = Job(name="")
    if job_name is not None:
        try:
            job = lab.job(job_name)
        except KeyError:
            raise NotFoundError(f"the lab has no job '{job_name}'", hint="List them with: homelab job ls") from None
    asked: dict[str, Any] = {**job.requires, **capacity.table_of(",".join(requires))}
    asked["labels"] = {**asked.get("labels", {}), **_labels(labels)}
    changed = replace(job, requires=asked, place=strategy or job.place)
    return request_of(changed, identity=job_name or "this", submitted=0.0)


def _labels(labels: Iterable[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for one in labels:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise InputError(f"'{one}' is not NAME=VALUE", hint="Write it like --label zone=attic")
        found[name] = value
    return found


def _snapshot(lab: Lab) -> Snapshot:
    """The declared nodes and, when this lab runs here, what its running jobs hold."""
    from homelab.core.labfile.fleet import fleet_of
    from homelab.core.placement import Snapshot

    fleet = {node.name: node for node in fleet_of(lab.nodes, concurrency=lab.worker.concurrency)}
    told = _told(lab)
    if not fleet and not told:
        raise NotFoundError(
            "the lab file declares no nodes, and no lab runs here to ask",
            hint='Add one: [nodes.NAME] with capacity = { cpu = 8, memory = "16GiB" }',
        )
    return Snapshot.of(*live(lab, fleet, told))


def _told(lab: Lab) -> list[dict[str, Any]]:
    """The nodes of the running lab, as control knows them; none when another lab, or none, runs here."""
    from homelab.cli.client import Client

    try:
        answer = Client.of_home(timeout_s=3).get("/api/v1/lab")
    except HomelabError:
        return []
    return answer["nodes"] if answer["lab"] == lab.name else []


def live(lab: Lab, fleet: Mapping[str, Node], told: Iterable[Mapping[str, Any]]) -> tuple[list[Node], list[Lease]]:
    """The fleet with what control tells of it: states, and leases for the jobs that run, of what they require.

    A node that the lab file does not declare counts only when it declares none: of it only its slots are known.
    """
    from dataclasses import replace

    from homelab.core.capacity import SLOTS, UNIT, Capacity
    from homelab.core.placement import Lease, Node, request_of

    nodes, leases = dict(fleet), list[Lease]()
    jobs = {job.name: job for job in lab.jobs}
    for one in told:
        name = str(one["name"])
        if name in fleet:
            nodes[name] = replace(fleet[name], state=one["state"])
        elif not fleet:
            slots = Capacity(amounts={SLOTS: int(one["slots"]) * UNIT})
            nodes[name] = Node(name=name, state=one["state"], declared=slots)
        for run in one["running"]:
            for job in run["jobs"]:
                if job in jobs:
                    request = request_of(jobs[job], identity=f"{run['run']}/{job}", submitted=0.0)
                    leases.append(
                        Lease(
                            id=request.id,
                            node=name,
                            owner=job,
                            amounts=request.amounts,
                            names=request.names,
                            averse=request.averse,
                            exclusive=request.exclusive,
                        )
                    )
    return list(nodes.values()), leases


def _doubt(request: Request, snapshot: Snapshot) -> None:
    """A name that no node counts is probably a slip."""
    from homelab.cli import output
    from homelab.core.labfile.amounts import REQUIRES
    from homelab.core.labfile.problems import nearest, shown

    known = {*REQUIRES.names(), *(name for room in snapshot.rooms for name in room.total)}
    for name, _ in request.asks:
        if name not in known and ":" not in name and (close := nearest(name, known)):
            output.note(f"no node counts {shown(name)}; did you mean {shown(close)}?")
