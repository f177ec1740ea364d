"""What becomes of runs whose worker is gone: they are crashed, in Prefect and here, until it says otherwise.

Called by `control.service`: every ten seconds for workers that are silent, and when a node is removed.
"""

from typing import Any

import structlog

from homelab.control import store
from homelab.control.state import Shared
from homelab.core.jobs import RunState
from homelab.flows import records
from homelab.flows.api import PrefectRefused

log = structlog.get_logger()

SILENT_S = 40.0
"""A worker that has said nothing for so long is gone: what it ran is shown as crashed."""


async def silent(shared: Shared) -> None:
    """Crash the runs of workers that are silent."""
    async with shared.database.connection() as conn:
        workers = [w for w in await store.workers(conn) if w["age_s"] > SILENT_S]
        runs = [(w, r) for w in workers for r in await store.open_runs_of(conn, w["name"])]
    for worker, run in runs:
        reason = f"worker {worker['name']} on {worker['node']} has been silent for {worker['age_s']:.0f} s"
        await _crash(shared, run, reason)


async def of_node(shared: Shared, node: str) -> None:
    """The node was removed: crash the runs of its workers, and forget them."""
    async with shared.database.connection() as conn:
        gone = [w for w in await store.workers(conn) if w["node"] == node]
        runs = [r for w in gone for r in await store.open_runs_of(conn, w["name"])]
    for run in runs:
        await _crash(shared, run, f"node {node} was removed")
    async with shared.database.connection() as conn:
        for worker in gone:
            await store.forget_worker(conn, worker["name"])


async def _crash(shared: Shared, run: dict[str, Any], reason: str) -> None:
    try:
        await shared.prefect.set_state(run["id"], records.proposal(RunState.CRASHED, reason))
    except PrefectRefused:
        log.warning("crash.refused", run_id=run["id"])
    async with shared.database.connection() as conn:
        await store.crash_run(conn, run["id"], reason)
        await store.add_events(conn, [("run.crashed", run["flow"], {"run": run["id"], "reason": reason})])
    shared.tell()
