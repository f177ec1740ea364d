"""What the jobs of a run have passed on, as control's copy of the reports has it. Reads only.

Asked by whoever hands a run, or one of its jobs, to another worker.
"""

from homelab.control import store
from homelab.db.pool import Connection


async def outputs_of(conn: Connection, run: str) -> dict[str, dict[str, str]]:
    """By job the variables of its newest success in this run; jobs without one, or that pass on none, are left out."""
    rows = await store.all_rows(
        conn,
        "select distinct on (job) job, outputs from job_run where run = %s and state = 'succeeded'"
        " order by job, attempt desc",
        (run,),
    )
    return {row["job"]: dict(row["outputs"]) for row in rows if row["outputs"]}
