"""Whose a run is, as the node port asks: which node has it, who may take it, which flow runs of Prefect belong to it.

Called by `control.api` for what nodes send; the statements are `store`'s.
"""

from collections.abc import Collection, Iterable

from homelab.control import sent, store
from homelab.db.pool import Database
from homelab.flows.records import task_run_id


class NodeRuns:
    """One lab's runs by node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def nodes_of(self, runs: Collection[str]) -> dict[str, str]:
        """The node of each of these runs that has one."""
        async with self._database.connection() as conn:
            return await store.nodes_of_runs(conn, list(runs))

    async def foreign(self, runs: Iterable[str], node: str) -> list[str]:
        """Those of the runs that are not this node's, in order."""
        asked = sorted(set(runs))
        known = await self.nodes_of(asked)
        return [run for run in asked if known.get(run) != node]

    async def guests(self, runs: Collection[str], node: str) -> set[str]:
        """Those of the runs of which an attempt was sent to this node."""
        async with self._database.connection() as conn:
            return await sent.guests(conn, list(runs), node)

    async def note(self, run: str, node: str) -> None:
        """A flow run of Prefect is this node's, if it is not one of the lab's own."""
        async with self._database.connection() as conn:
            if await store.run_row(conn, run) is None:
                await store.note_flow_run(conn, run, node)

    async def has_task(self, run: str, task: str) -> bool:
        """Whether the task run is that of a job of this run of the lab."""
        async with self._database.connection() as conn:
            row = await store.run_row(conn, run)
        return row is not None and any(task_run_id(run, job) == task for job in row["jobs"] or ())

    async def may_read(self, digest: str, node: str) -> bool:
        """Whether the node has a run of that definition, or an attempt of one."""
        async with self._database.connection() as conn:
            is_own = await store.is_definition_of(conn, digest, node)
            return is_own or await sent.is_definition_of(conn, digest, node)
