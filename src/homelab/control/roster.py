"""Which nodes there are and what is promised of them, as last read: the snapshot that placement is asked about.

Read from the database at most once a second, however many nodes ask. What is written is checked again where it is
written (`control.leases`), so that a snapshot that is a second old costs a wait, never a mistake.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from homelab.control import leases, nodes
from homelab.control.state import Shared
from homelab.control.store import Row
from homelab.core.placement import Lease, Node, Snapshot
from homelab.db.pool import Connection

FRESH_S = 1.0
ABSENT_S = 900.0
"""A node that was heard of longer ago, and holds nothing, is no reason to ask for leases where one machine works
alone."""


@dataclass(frozen=True, kw_only=True)
class Roster:
    """`rows`: of table `node`, by name. `held`: the leases that have not ended."""

    rows: Mapping[str, Row]
    held: Sequence[Lease]

    def nodes(self) -> list[Node]:
        busy = {lease.node for lease in self.held}
        return [nodes.node_of(row, holds=name in busy) for name, row in self.rows.items()]

    def snapshot(self, more: Iterable[Lease] = ()) -> Snapshot:
        """All nodes with the leases, and `more` of them."""
        return Snapshot.of(self.nodes(), [*self.held, *more])

    def is_alone(self, node: str) -> bool:
        """Whether that node is ready, on control's own machine, and the only one of the lab: then whether something may
        start there is its own to say, except for what more than a slot is asked of."""
        row = self.rows.get(node)
        if row is None or row["wanted"] != "ready" or row["is_remote"]:
            return False
        return not any(
            name != node and row["age_s"] is not None and row["age_s"] < ABSENT_S for name, row in self.rows.items()
        ) and not any(lease.node != node for lease in self.held)

    def is_there(self, node: str) -> bool:
        """Whether the node was heard lately enough to count on it."""
        row = self.rows.get(node)
        return row is not None and row["age_s"] is not None and row["age_s"] <= nodes.UNREACHABLE.total_seconds()


async def read(conn: Connection) -> Roster:
    rows = {row["name"]: row for row in await nodes.rows(conn)}
    return Roster(rows=rows, held=await leases.everything(conn))


class Reader:
    """Hands out the newest roster; one read at a time."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._lock = asyncio.Lock()
        self._roster: Roster | None = None
        self._read_at = 0.0
        self._old_at = 0.0
        """What was read before then is known to be old."""

    async def read(self) -> Roster:
        """At most a second old. Raises what `db.pool.AWAY` names."""
        async with self._lock:
            found, at = self._roster, time.monotonic()
            if found is None or self._read_at <= self._old_at or at - self._read_at > FRESH_S:
                async with self._shared.database.connection() as conn:
                    found = self._roster = await read(conn)
                self._read_at = at
            return found

    def is_news(self, node: str) -> bool:
        """Whether that node, which was just heard, was not there, or stopped, when the roster was read."""
        known = self._roster
        return known is not None and not (known.is_there(node) and not known.rows[node]["farewell"])

    def forget(self) -> None:
        """What was read is known to be old, and what is being read."""
        self._old_at = time.monotonic()
