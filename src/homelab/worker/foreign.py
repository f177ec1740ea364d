"""Ordinary Prefect deployments sent to the pool: Prefect's own engine runs them, in a child of the fork server.

The engine reports the run's states itself; this only claims, starts, and notices when the child died without a word.
Called by `worker.loop`.
"""

import structlog

from homelab.core.jobs import RunState
from homelab.flows import records
from homelab.flows.api import DueRun
from homelab.worker.execution import Node

log = structlog.get_logger()


async def run_foreign(node: Node, due: DueRun) -> None:
    """Run a flow run that is not one of the lab's jobs."""
    reason = "this worker cannot run Python flows"
    log.error("foreign.refused", run_id=due.id)
    await node.gate.until_taken(
        lambda: node.api.set_state(due.id, records.proposal(RunState.CRASHED, reason)), what="foreign"
    )
