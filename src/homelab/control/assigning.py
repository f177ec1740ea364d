"""On which node a run goes to work, decided when it is nearly due. Pure: runs and a snapshot in, nodes and reasons out.

A run is claimed and coordinated by one node. What is decided here is advice: its jobs ask for their leases when they
start, and a run of which nothing has started may still go elsewhere then. Called by `control.dispatch`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from homelab.core import dag
from homelab.core.capacity import SLOTS, UNIT
from homelab.core.jobs import Affinity, Flow, Job
from homelab.core.placement import Placement, Rejection, Request, Snapshot, ahead, request_of

_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Due:
    """A run that is to be assigned. `requests`: what it asks for, and what it asks for at least (`requests_of_run`).

    `node`: where it was assigned already; "" for nowhere. `before`: where it has been at work, and has its journal.
    `group`: runs of one group go where the others are, which must not overlap with it; "": it may overlap with any.
    `avoid`: a node that lost it.
    """

    run: str
    requests: Sequence[Request]
    node: str = ""
    before: str = ""
    group: str = ""
    avoid: str = ""


@dataclass(frozen=True, kw_only=True)
class Assignments:
    """Run -> its place, and run -> why no node can take it."""

    placed: Mapping[str, Placement]
    waiting: Mapping[str, Rejection]


def requests_of_run(
    flow: Flow, *, run: str, submitted: float, only: Collection[str] | None = None, skip: Collection[str] = ()
) -> tuple[Request, ...]:
    """What a run asks for when it is assigned, the best first: a node that suits all its jobs, since they stay on the
    node of their run; else its first jobs, those that need nothing before them; else the first of these.

    A run with nothing to start, since all that is left of it is at work on other nodes, asks for a slot.

    Of several jobs the largest amount of each resource is asked, for they need not run at once, all labels, models and
    affinities, and the highest priority of the first ones. Exclusive groups are left to the leases of the jobs.
    """
    progress = dag.start(flow, only=only, skip=skip)
    ready = dag.ready(flow, progress, _LATEST)
    if not ready:
        return (slot(run, name=flow.name, submitted=submitted),)
    first = [flow.job(name) for name in ready]
    later = [job for job in flow.jobs if job not in first and not progress[job.name].excluded]
    asks = [_alone(job, run=run, submitted=submitted) for job in (*first, *later)]
    whole, both = _together(asks), _together(asks[: len(first)])
    if whole is not None:
        whole = replace(whole, priority=max(r.priority for r in asks[: len(first)]))
    found = [one for one in (whole, both, asks[0]) if one is not None]
    return tuple(one for n, one in enumerate(found) if one not in found[:n])


def slot(run: str, *, name: str, submitted: float) -> Request:
    """What a run asks for of which nothing more is known: a slot of the emptiest node."""
    return Request(id=run, name=name, amounts={SLOTS: UNIT}, strategy="spread", submitted=submitted)


def _alone(job: Job, *, run: str, submitted: float) -> Request:
    return replace(request_of(job, identity=f"{run}/{job.name}/0", submitted=submitted), exclusive=())


def _together(requests: Sequence[Request]) -> Request | None:
    """One request for a node that suits them all; None when they contradict each other."""
    if len(requests) == 1:
        return requests[0]
    amounts: dict[str, int] = {}
    labels: dict[str, str] = {}
    nodes: set[str] | None = None
    for request in requests:
        if any(labels.get(name, value) != value for name, value in request.labels.items()):
            return None
        labels |= request.labels
        for name, value in request.amounts.items():
            amounts[name] = max(value, amounts.get(name, 0))
        if wanted := {a.node for a in request.affinity if a.required and a.node}:
            nodes = wanted if nodes is None else nodes & wanted
    if nodes is not None and not nodes:
        return None
    others = dict.fromkeys(a for r in requests for a in r.affinity if not (a.required and a.node))
    must = [Affinity(node=name, required=True) for name in sorted(nodes or ())]
    return replace(
        requests[0],
        tags=tuple(dict.fromkeys(n for r in requests for n in (r.name, *r.tags) if n != requests[0].name)),
        amounts=amounts,
        labels=labels,
        models=tuple(dict.fromkeys(m for r in requests for m in r.models)),
        affinity=(*others, *must),
        anti_affinity=tuple(dict.fromkeys(a for r in requests for a in r.anti_affinity)),
        priority=max(r.priority for r in requests),
        expected_s=None,
        restartable=all(r.restartable for r in requests),
    )


def assign(dues: Sequence[Due], snapshot: Snapshot, now: float, *, at_work: Mapping[str, str]) -> Assignments:
    """Each run to a node, in the order of the queue; each counts for those after it.

    A run that has a node keeps it as long as that node is ready and big enough. `snapshot` has the leases and, as
    leases, what was assigned before and has not begun. `at_work`: group -> the node where a run of it is.
    """
    homes = dict(at_work)
    placed: dict[str, Placement] = {}
    waiting: dict[str, Rejection] = {}
    for due in sorted(dues, key=lambda d: (not d.node, d.requests[0].turn)):
        found = _place(due, snapshot, now, home=homes.get(due.group, ""))
        if isinstance(found, Rejection):
            waiting[due.run] = found
        else:
            placed[due.run] = found
            if due.group:
                homes.setdefault(due.group, found.node)
            snapshot = snapshot.holding(found.lease(now=now))
    return Assignments(placed=placed, waiting=waiting)


def _place(due: Due, snapshot: Snapshot, now: float, *, home: str) -> Placement | Rejection:
    if due.node and not home:
        kept = _first(due, snapshot, now, node=due.node)
        if isinstance(kept, Placement):
            return kept
    return _first(due, snapshot, now, node=home)


def _first(due: Due, snapshot: Snapshot, now: float, *, node: str) -> Placement | Rejection:
    """The place (on `node`, when it is named) of the first of its requests that has one; else why the least that it
    asks for has none."""
    *larger, least = (replace(_minding(request, due), node=node) for request in due.requests)
    for request in larger:
        found = ahead(request, snapshot, now)
        if isinstance(found, Placement):
            return found
    return ahead(least, snapshot, now)


def _minding(request: Request, due: Due) -> Request:
    """The request with where the run would better, and where it must not be."""
    if due.before and due.before != due.avoid:
        request = replace(request, affinity=(*request.affinity, Affinity(node=due.before)))
    if due.avoid:
        shunned = Affinity(node=due.avoid, required=True)
        request = replace(request, anti_affinity=(*request.anti_affinity, shunned))
    return request
