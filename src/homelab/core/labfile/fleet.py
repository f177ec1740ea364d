"""The nodes of a lab file as placement sees them, and the requirements that none of them can ever meet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from homelab.core import capacity
from homelab.core.jobs import Job
from homelab.core.labfile.graph import Placed
from homelab.core.labfile.model import Node as Declared
from homelab.core.labfile.problems import At, shown
from homelab.core.placement import Code, Node, Reason, Request, Room, Snapshot, lacks, render, request_of

MEASURED_LABELS: Final = ("os", "arch")
"""Labels that a node tells of itself: of one that was not heard, they are not known."""


@dataclass(frozen=True, kw_only=True)
class Impossible:
    """What of a job's requirements no node can ever meet: a resource, `labels`, or "" for all of them together."""

    setting: str
    message: str
    hint: str


def fleet_of(nodes: Iterable[Declared], *, concurrency: int) -> tuple[Node, ...]:
    """What the file declares of each node. One that says nothing of slots has those of `[worker] concurrency`."""
    found: list[Node] = []
    for node in nodes:
        has = capacity.capacity_of(node.capacity)
        amounts = {capacity.SLOTS: concurrency * capacity.UNIT, **has.amounts}
        declared = replace(has, amounts=amounts)
        found.append(Node(name=node.name, declared=declared, roles=node.roles, labels=node.labels))
    return tuple(found)


def impossible(job: Job, fleet: Snapshot) -> tuple[Impossible, ...]:
    """Why no node can ever take the job, by what is declared and measured of each; empty when one may, or when there
    are none. What is unknown (the models of a node, a capacity that nobody told) does not speak against a node here."""
    request = request_of(job, identity=job.name, submitted=0.0)
    refused = _refused(request, fleet)
    if not refused:
        return ()
    first, *others = (
        {(r.code, r.resource, r.subject if r.code is Code.LABEL else "") for r in reasons}
        for reasons in refused.values()
    )
    found: list[Impossible] = []
    for code, resource, subject in sorted(first.intersection(*others)):
        if code is Code.TOO_SMALL:
            message, hint = _largest(request, resource, fleet), "Lower it, or add a node that has it."
            found.append(Impossible(setting=resource, message=message, hint=hint))
        elif code is Code.LABEL:
            message, hint = f"no node has the label {shown(subject)}", "Give a node the label, or remove it here."
            found.append(Impossible(setting="labels", message=message, hint=hint))
    if not found:
        said = "; ".join(render(reasons[0]) for reasons in list(refused.values())[:4])
        message, hint = f"no node has all that it needs: {said}", "Lower it, or add a node that has all of it."
        found.append(Impossible(setting="", message=message, hint=hint))
    return tuple(found)


def suitable(job: Job, fleet: Snapshot) -> set[str]:
    """The nodes that may ever take the job, by what is known of them."""
    request = request_of(job, identity=job.name, submitted=0.0)
    return {room.node.name for room in fleet.rooms if not _against(request, room)}


def _against(request: Request, room: Room) -> tuple[Reason, ...]:
    return tuple(reason for reason in lacks(request, room) if not _is_unsure(reason, room.node))


def _refused(request: Request, fleet: Snapshot) -> dict[str, tuple[Reason, ...]]:
    """Node -> why it can never take the request; empty when one may."""
    refused: dict[str, tuple[Reason, ...]] = {}
    for room in fleet.rooms:
        found = _against(request, room)
        if not found:
            return {}
        refused[room.node.name] = found
    return refused


def _is_unsure(reason: Reason, node: Node) -> bool:
    if reason.code is Code.LABEL:
        return node.measured is None and reason.subject.partition("=")[0] in MEASURED_LABELS
    return reason.code is Code.MODEL


def check_requirements(placed: Mapping[str, Placed], fleet: tuple[Node, ...], defaults: Mapping[str, At]) -> None:
    """Report what no declared node can meet, at the requirement that is too large. Without nodes there is one, of this
    machine, of which nothing is known before it runs. `defaults`: file -> its [defaults], where that says it."""
    if not fleet:
        return
    names, snapshot = [node.name for node in fleet], Snapshot.of(fleet)
    for one in placed.values():
        _check_nodes(one, names)
        for found in impossible(one.job, snapshot):
            _place(one, found.setting, defaults).error("impossible", found.message, found.hint)


def _check_nodes(one: Placed, names: list[str]) -> None:
    for setting in ("affinity", "anti_affinity"):
        for term in getattr(one.job, setting):
            if term.node and term.node not in names:
                (one.at / setting).unknown(
                    "unknown-node",
                    f"job {shown(one.job.name)} names the node {shown(term.node)}, which the lab does not define",
                    term.node,
                    names,
                    f"Known nodes: {', '.join(names[:8])}.",
                )


def _largest(request: Request, resource: str, fleet: Snapshot) -> str:
    """`no node has 200 GiB memory; the largest is mac4 with 64 GiB`."""
    best = max(fleet.rooms, key=lambda room: room.total.get(resource, 0))
    asked = dict(request.unified_asks if best.unified else request.asks).get(resource, 0)
    noun, most = capacity.noun(resource), best.total.get(resource, 0)
    if most == 0:
        return f"no node has {noun}"
    wanted = f"{capacity.text(resource, asked, up=True)} {noun}"
    return f"no node has {wanted}; the largest is {best.node.name} with {capacity.text(resource, most)}"


def _place(one: Placed, resource: str, defaults: Mapping[str, At]) -> At:
    """Where the file says it: the value in the job's own table, else the [defaults] of its file."""
    key = resource.split(":", 1)[0] if resource.startswith(capacity.DISK) else resource
    key = "apps" if resource.startswith(capacity.APP) else key
    own = one.at / "requires"
    if own.path not in own.positions.values and one.at.file in defaults:
        own = defaults[one.at.file] / "requires"
    return own / key if key else own
