"""Numbers for Prometheus: read in one transaction, written as text. `text` is pure.

Every metric is a line of `METRICS`; `docs/reference/metrics.md` is made of it. Labels are bounded by what the lab file
names: jobs, machines and their resources; of more than `MOST_NODES` machines the rest is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, get_args

from homelab.control.rows import Pool, rows
from homelab.core.placement import State

MOST_NODES: Final = 500
MOST_RESOURCES: Final = 40
"""Of one machine."""
Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The machines as `control.fleet` tells of them: `nodes`, what waits, leases of the last day that were given up."""

    nodes: Sequence[Json] = ()
    waiting: Sequence[Json] = ()
    given_up: int = 0
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)


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
    fleet: Fleet = field(default_factory=Fleet)


async def read(pool: Pool, fleet: Fleet) -> Sample:
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
            fleet=fleet,
        )


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`labels`: their names. `unit`: of its numbers, for the document."""

    name: str
    about: str
    labels: tuple[str, ...] = ()
    unit: str = ""


_OF_RESOURCE = ("node", "resource")
_AMOUNT = "bytes where the resource ends in `_bytes`, else units"
METRICS: tuple[Metric, ...] = (
    Metric(name="homelab_job_runs_last_day", about="Job runs that ended in the last day.", labels=("state",)),
    Metric(name="homelab_flow_runs", about="Flow runs that are not over.", labels=("state",)),
    Metric(name="homelab_flow_runs_due", about="Flow runs that are due and not started."),
    Metric(name="homelab_job_last_success_timestamp_seconds", about="Last success of a job.", labels=("job",),
           unit="Unix seconds"),
    Metric(name="homelab_worker_last_seen_seconds", about="Age of a heartbeat.", labels=("worker",), unit="seconds"),
    Metric(name="homelab_worker_slots", about="Jobs that a worker runs at once.", labels=("worker",)),
    Metric(name="homelab_worker_runs", about="Runs on a worker.", labels=("worker",)),
    Metric(name="homelab_notifications", about="Notifications not sent.", labels=("state",)),
    Metric(name="homelab_conditions", about="Conditions that hold now.", labels=("kind",)),
    Metric(name="homelab_node_state", about="1 for the state that a machine is in, 0 for the others.",
           labels=("node", "state")),
    Metric(name="homelab_node_heartbeat_age_seconds", about="Age of the last heartbeat; none: never heard of.",
           labels=("node",), unit="seconds"),
    Metric(name="homelab_node_clock_skew_seconds", about="The clock of a machine less the lab's; none: not known.",
           labels=("node",), unit="seconds"),
    Metric(name="homelab_node_work", about="Pieces of work on a machine.", labels=("node",)),
    Metric(name="homelab_node_capacity", about="What a machine has, of what is known.", labels=_OF_RESOURCE,
           unit=_AMOUNT),
    Metric(name="homelab_node_leased", about="Of it: what work and models of the lab hold.", labels=_OF_RESOURCE,
           unit=_AMOUNT),
    Metric(name="homelab_node_used_by_others", about="Of it: what programs outside the lab use.", labels=_OF_RESOURCE,
           unit=_AMOUNT),
    Metric(name="homelab_node_free", about="Of it: what may still be given.", labels=_OF_RESOURCE, unit=_AMOUNT),
    Metric(name="homelab_queue_length", about="Pieces of work that wait for room."),
    Metric(name="homelab_queue_longest_wait_seconds", about="How long the first of them has waited.", unit="seconds"),
    Metric(name="homelab_leases_given_up_last_day", about="Leases that ended because their machine was not heard of."),
)  # fmt: skip

Series = Mapping[tuple[str, ...], float]


def label(value: str) -> str:
    """A label value as the text format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def text(sample: Sample) -> str:
    """The sample in Prometheus' text format, series in a stable order."""
    found = {**_of_runs(sample), **_of_fleet(sample.fleet)}
    return "".join(part for metric in METRICS for part in _written(metric, found[metric.name]))


def _of_runs(sample: Sample) -> dict[str, Series]:
    def by(values: Mapping[str, float]) -> Series:
        return {(name,): value for name, value in values.items()}

    return {
        "homelab_job_runs_last_day": by(sample.runs),
        "homelab_flow_runs": by(sample.open),
        "homelab_flow_runs_due": {(): sample.due},
        "homelab_job_last_success_timestamp_seconds": by(sample.last_success),
        "homelab_worker_last_seen_seconds": by(sample.worker_age_s),
        "homelab_worker_slots": by(sample.worker_slots),
        "homelab_worker_runs": by(sample.worker_running),
        "homelab_notifications": by(sample.notifications),
        "homelab_conditions": by(sample.conditions),
    }


def _of_fleet(fleet: Fleet) -> dict[str, Series]:
    nodes = fleet.nodes[:MOST_NODES]

    def amounts(what: str) -> Series:
        return {
            (node["name"], name): value
            for node in nodes
            for name, value in sorted(node[what].items())[:MOST_RESOURCES]
            if name in node["capacity"]
        }

    def known(what: str) -> Series:
        return {(node["name"],): node[what] for node in nodes if node[what] is not None}

    waits = [(fleet.now - datetime.fromisoformat(one["since"])).total_seconds() for one in fleet.waiting]
    return {
        "homelab_node_state": {(n["name"], s): float(s == n["state"]) for n in nodes for s in get_args(State)},
        "homelab_node_heartbeat_age_seconds": known("heartbeat_age_s"),
        "homelab_node_clock_skew_seconds": known("clock_skew_s"),
        "homelab_node_work": known("holds"),
        "homelab_node_capacity": amounts("capacity"),
        "homelab_node_leased": amounts("leased"),
        "homelab_node_used_by_others": amounts("others"),
        "homelab_node_free": amounts("free"),
        "homelab_queue_length": {(): len(fleet.waiting)},
        "homelab_queue_longest_wait_seconds": {(): max([0.0, *waits])},
        "homelab_leases_given_up_last_day": {(): fleet.given_up},
    }


def _written(metric: Metric, values: Series) -> Iterable[str]:
    yield f"# HELP {metric.name} {metric.about}\n# TYPE {metric.name} gauge\n"
    for key in sorted(values):
        pairs = ",".join(f'{name}="{label(value)}"' for name, value in zip(metric.labels, key, strict=True))
        yield f"{metric.name}{'{' + pairs + '}' if pairs else ''} {values[key]:.15g}\n"


def page() -> str:
    """The document of all metrics."""
    parts = [
        "# Metrics",
        "",
        "`GET /metrics` of `control`, in Prometheus' text format, with a token of scope read. All are gauges of this",
        f"moment. Labels are bounded: of more than {MOST_NODES} machines, or {MOST_RESOURCES} resources of one, the",
        "rest is left out.",
        "",
        "| metric | labels | what it says | unit |",
        "|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{name}`" for name in metric.labels)
        parts.append(f"| `{metric.name}` | {labels} | {metric.about} | {metric.unit} |")
    return "\n".join(parts) + "\n"
