"""What the jobs of a run have passed on, as control's copy of the reports has it. Reads only.

Asked by whoever hands a run, or one of its jobs, to another worker.
"""

from homelab.control import store
from homelab.core.passing import Artefact, Passed
from homelab.db.pool import Connection


async def passed_of(conn: Connection, run: str) -> dict[str, Passed]:
    """By job what its newest success in this run passes on; jobs without one, or that pass on nothing, are left out."""
    rows = await store.all_rows(
        conn,
        "select distinct on (job) job, attempt, outputs from job_run where run = %s and state = 'succeeded'"
        " order by job, attempt desc",
        (run,),
    )
    files = await store.all_rows(
        conn, "select job, attempt, path, sha256, bytes from artefact where run = %s order by path", (run,)
    )
    found: dict[str, Passed] = {}
    for row in rows:
        own = [f for f in files if (f["job"], f["attempt"]) == (row["job"], row["attempt"])]
        artefacts = tuple(Artefact(path=f["path"], sha256=f["sha256"], bytes=f["bytes"]) for f in own)
        if passed := Passed(outputs=dict(row["outputs"] or {}), artefacts=artefacts):
            found[row["job"]] = passed
    return found


async def outputs_of(conn: Connection, run: str) -> dict[str, dict[str, str]]:
    """By job the variables that its newest success in this run passes on."""
    return {job: dict(one.outputs) for job, one in (await passed_of(conn, run)).items() if one.outputs}
