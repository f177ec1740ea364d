"""Numbers for Prometheus: read in one transaction, written as text. `text` is pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from homelab.control.rows import Pool, rows


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`runs`: job runs of the last day by state; `open`: flow runs by state; times are Unix seconds, ages seconds."""

    runs: Mapping[str, int] = field(default_factory=dict[str, int])
    open: Mapping[str, int] = field(default_factory=dict[str, int])
    due: int = 0
    last_success: Mapping[str, float] = field(default_factory=dict[str, float])
    worker_age_s: Mapping[str, float] = field(default_factory=dict[str, float])
    worker_slots: Mapping[str, int] = field(default_factory=dict[str, int])
    worker_running: Mapping[str, int] = field(default_factory=dict[str, int])
    notifications: Mapping[str, int] = field(default_factory=dict[str, int])
    conditions: Mapping[str, int] = field(default_factory=dict[str, int])


async def read(pool: Pool) -> Sample:
    """The sample of now. Every query is answered from an index or a small table."""
    async with pool.connection() as connection:

        async def table(query: str) -> dict[Any, Any]:
            return {row[0]: row[1] for row in await rows(connection, query)}

        open_runs = await table(
            "select state, count(*) from run where state in ('scheduled', 'pending', 'running', 'retrying') group by 1"
        )
        due = await rows(
            connection, "select count(*) from run where state in ('scheduled', 'pending') and due <= now()"
        )
        return Sample(
            runs=await table(
                "select state, count(*) from job_run where recorded > now() - interval '1 day' group by state"
            ),
            open=open_runs,
            due=int(due[0][0]),
            last_success=await table(
                "select job, extract(epoch from max(ended))::float8 from job_run where state = 'succeeded'"
                " and recorded > now() - interval '35 days' and ended is not null group by job"
            ),
            worker_age_s=await table("select name, extract(epoch from now() - last_seen)::float8 from worker"),
            worker_slots=await table("select name, slots from worker"),
            worker_running=await table("select name, jsonb_array_length(running) from worker"),
            notifications=await table("select state, count(*) from notification where state <> 'sent' group by state"),
            conditions=await table("select kind, count(*) from watch group by kind"),
        )


def label(value: str) -> str:
    """A label value as the text format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def text(sample: Sample) -> str:
    """The sample in Prometheus' text format, series in a stable order."""
    return "".join(
        [
            *_series("homelab_job_runs_last_day", "Job runs that ended in the last day.", "state", sample.runs),
            *_series("homelab_flow_runs", "Flow runs that are not over.", "state", sample.open),
            *_series("homelab_flow_runs_due", "Flow runs that are due and not started.", "", {"": sample.due}),
            *_series(
                "homelab_job_last_success_timestamp_seconds", "Last success of a job.", "job", sample.last_success
            ),
            *_series("homelab_worker_last_seen_seconds", "Age of a heartbeat.", "worker", sample.worker_age_s),
            *_series("homelab_worker_slots", "Jobs that a worker runs at once.", "worker", sample.worker_slots),
            *_series("homelab_worker_runs", "Runs on a worker.", "worker", sample.worker_running),
            *_series("homelab_notifications", "Notifications not sent.", "state", sample.notifications),
            *_series("homelab_conditions", "Conditions that hold now.", "kind", sample.conditions),
        ]
    )


def _series(name: str, description: str, key: str, values: Mapping[str, float]) -> Iterable[str]:
    yield f"# HELP {name} {description}\n# TYPE {name} gauge\n"
    for value in sorted(values):
        labels = f'{{{key}="{label(value)}"}}' if key else ""
        yield f"{name}{labels} {values[value]:.15g}\n"
