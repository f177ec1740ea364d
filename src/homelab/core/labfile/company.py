"""Work that must run beside other work: what of it can never be. Pure.

Asked when a lab file is checked, and again when the fleet changed (`control.impossible`).
"""

from collections.abc import Iterable, Mapping, Sequence

from homelab.core.jobs import Job
from homelab.core.labfile.fleet import Impossible, suitable
from homelab.core.labfile.graph import Placed
from homelab.core.labfile.problems import nearest, shown
from homelab.core.placement import Node, Snapshot

_HINT = "Let one of the two go, or say that it is a preference: required = false."


def check_company(placed: Mapping[str, Placed], fleet: tuple[Node, ...]) -> None:
    """Report required neighbours that can never be there, and doubt those that no job of the lab is."""
    jobs, snapshot = [one.job for one in placed.values()], Snapshot.of(fleet)
    names = sorted({name for job in jobs for name in (job.name, *job.tags)})
    for one in placed.values():
        for found in never_beside(one.job, jobs, snapshot):
            (one.at / found.setting).error("impossible", f"job {shown(one.job.name)} {found.message}", found.hint)
        for work in _required(one.job):
            if work not in names:
                close = nearest(work, names)
                (one.at / "affinity").warning(
                    "unknown-work",
                    f"job {shown(one.job.name)} must run beside {shown(work)}, which is no job or tag of this lab: it"
                    " waits until something of that name runs",
                    f"Did you mean {shown(close)}?" if close else "",
                )


def never_beside(job: Job, jobs: Sequence[Job], fleet: Snapshot) -> tuple[Impossible, ...]:
    """Why a neighbour that the job requires can never be beside it. `jobs`: all of the lab; a neighbour that none of
    them is may come from elsewhere. Where no node at all suits the job, that is said by `fleet.impossible`."""
    if not (required := _required(job)):
        return ()
    found: list[Impossible] = []
    for work in required:
        others = [other for other in jobs if work in (other.name, *other.tags)]
        if others and (why := _never(job, work, [o for o in others if o.name != job.name], fleet)):
            found.append(Impossible(setting="affinity", message=f"must run beside {shown(work)}: {why}", hint=_HINT))
    return tuple(found)


def _required(job: Job) -> list[str]:
    return [term.work for term in job.affinity if term.required and term.work]


def _never(job: Job, work: str, others: Sequence[Job], fleet: Snapshot) -> str:
    """Why none of the others is ever beside the job; "" when one may be."""
    if not others:
        return "that is itself, and none can be the first"
    if _averse(job, (work,)) or all(_averse(job, (o.name, *o.tags)) for o in others):
        return "its anti_affinity says that it must not"
    if all(_averse(other, (job.name, *job.tags)) for other in others):
        return f"the anti_affinity of {shown(others[0].name)} says that it must not"
    shared = [set(job.exclusive).intersection(other.exclusive) for other in others]
    if all(shared):
        return f"both are of the group {shown(min(shared[0]))}, of which one runs at a time"
    mine, theirs = suitable(job, fleet), {node for other in others for node in suitable(other, fleet)}
    if mine and theirs and not mine & theirs:
        return f"no node suits both; it suits {_listed(mine)}, the other {_listed(theirs)}"
    return ""


def _averse(job: Job, names: Iterable[str]) -> bool:
    return any(term.required and term.work in names for term in job.anti_affinity)


def _listed(nodes: set[str]) -> str:
    return ", ".join(sorted(nodes)[:4])
