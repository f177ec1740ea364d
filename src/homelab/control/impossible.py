"""Jobs that no node of the lab could ever run, as the fleet is now: what the lab file declares and what nodes measured.

The decision is `core.labfile.fleet`'s, as when a lab file is checked; here it is made again when the fleet changed.
Called for the problems of the lab and for `job why`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from homelab.control import nodes
from homelab.control.state import Shared
from homelab.control.store import Row
from homelab.core.labfile import Lab
from homelab.core.labfile.company import never_beside
from homelab.core.labfile.fleet import Impossible, impossible
from homelab.core.placement import Node, Snapshot

Json = dict[str, Any]


class Impossibles:
    """Judges anew only when the lab or what its nodes are has changed: a lab of 5,000 jobs is asked every second."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._lab: Lab | None = None
        self._fleet: tuple[Node, ...] = ()
        self._found: Mapping[str, tuple[Impossible, ...]] = {}
        self._told: frozenset[str] = frozenset()

    def now(self, rows: Iterable[Row]) -> Mapping[str, tuple[Impossible, ...]]:
        """Job -> why no node can ever run it. `rows` of `nodes.rows`: one that is away counts, it may come back."""
        lab = self._shared.lab
        fleet = tuple(_lasting(nodes.node_of(row, holds=False)) for row in rows)
        if lab is not self._lab or fleet != self._fleet:
            self._found = judged(lab, fleet)
            self._lab, self._fleet = lab, fleet
        return self._found

    def has_changed(self, rows: Iterable[Row]) -> bool:
        """Whether other jobs are impossible than when this was asked last."""
        before, self._told = self._told, frozenset(self.now(rows))
        return before != self._told

    def problems(self, rows: Iterable[Row]) -> list[Json]:
        return [
            {
                "code": "impossible",
                "severity": "warning",
                "subject": job,
                "message": f"{job} can never run: {one.message}",
                "hint": one.hint,
            }
            for job, found in self.now(rows).items()
            for one in found
        ]


def judged(lab: Lab | None, fleet: Sequence[Node]) -> dict[str, tuple[Impossible, ...]]:
    """Jobs that ask for more than a slot, in the order of the lab file. Those that cron runs are cron's."""
    if lab is None or not fleet:
        return {}
    found: dict[str, tuple[Impossible, ...]] = {}
    snapshot = Snapshot.of(fleet)
    for job in lab.jobs:
        asks = (job.requires, job.affinity, job.anti_affinity)
        if not any(asks) or job.shadow:
            continue
        if why := (*impossible(job, snapshot), *never_beside(job, lab.jobs, snapshot)):
            found[job.name] = why
    return found


def _lasting(node: Node) -> Node:
    """What a node is, without what changes while it works."""
    return replace(node, state="ready", foreign={}, models=(), clock_skew_s=None)
