"""Jobs as a person reads them in a terminal: the list, one job in full, why it ran or did not.

Answers of control go in, lines by `output` come out. Called by `job`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from homelab.cli import output, terminal
from homelab.core.jobs import FAILURES

Json = Mapping[str, Any]


def need_name(need: object) -> str:
    """The job a need names, as control writes needs: a name, or an object with `job`."""
    return str(cast("Json", need)["job"]) if isinstance(need, dict) else str(need)


def _listed(names: object) -> str:
    return output.safe(", ".join(need_name(name) for name in cast("list[object]", names or [])))


def bar_of(job: Json, *, most: int = output.RUNS_WIDE) -> str:
    health = cast("Json", job.get("health") or {})
    states = cast("Sequence[str]", health.get("states") or [])
    durations = cast("Sequence[float | None]", health.get("durations_s") or [None] * len(states))
    return output.runs_bar(states, durations, most=most)


def standing(job: Json) -> str:
    """What stands for the job in a list: that it is held, else the state of its last run."""
    last = cast("Json", job.get("last_run") or {})
    return "paused" if job.get("paused") else "shadow" if job.get("shadow") else str(last.get("state") or "-")


def listing(jobs: Sequence[Json], *, now: datetime) -> None:
    """A row a job. The row of bars is for terminals alone: elsewhere the columns stay what they are."""
    is_terminal = output.is_terminal()
    most = output.RUNS_WIDE if terminal.columns() >= output.WIDE else output.RUNS_NARROW
    header = ["job", "last", "started", "next", "schedule", "needs"]
    rows: list[list[str]] = []
    for job in jobs:
        last = cast("Json", job.get("last_run") or {})
        row = [
            output.safe(str(job["name"])),
            output.state(standing(job)),
            output.when(last.get("started"), now=now),
            "-" if job.get("paused") else output.when(job.get("next_due"), now=now),
            output.text_of(job.get("schedule")),
            _listed(job.get("needs")) or "-",
        ]
        if is_terminal:
            row.insert(2, bar_of(job, most=most))
        rows.append(row)
    if is_terminal:
        header.insert(2, "runs")
    empty = "The lab has no jobs. Import some: homelab cron import, or write one: homelab init"
    output.table(header, rows, empty=empty, optional=["needs", "schedule"], whole=["job", *header[2:3]])
    failing = [str(job["name"]) for job in jobs if standing(job) in FAILURES]
    if failing:
        output.hint(f"see why: homelab run logs {output.safe(failing[0])}")


def card(job: Json, graph: Json, *, now: datetime) -> None:
    """One job in full. `graph`: the answer of `/api/v1/graph`, for what needs it."""
    definition = cast("Json", job.get("definition") or {})
    health = cast("Json", job.get("health") or {})
    name = str(job["name"])
    output.line(f"{output.painted(output.safe(name), '1')}  {output.state(standing(job))}")
    if job.get("description"):
        output.line(output.safe(str(job["description"])))
    output.line()
    needed_by = [e["to"] for e in cast("list[Json]", graph.get("edges") or []) if e.get("from") == name]
    runs = int(health.get("runs") or 0)
    good = round(float(health.get("success_ratio") or 0) * runs)
    output.fields(
        [
            ("held", held(job)),
            ("last run", _last(job, now)),
            ("next run", output.when(job.get("next_due"), now=now)),
            ("schedule", _schedule(job)),
            ("needs", _listed(job.get("needs"))),
            ("needed by", _listed(needed_by)),
            ("runs", f"{bar_of(job)}  {good} of {runs} succeeded" if runs else ""),
            ("takes", _takes(job)),
            ("command", output.safe(str(definition.get("run") or definition.get("flow") or ""))),
            ("folder", output.safe(str(definition.get("cwd") or ""))),
            ("node", output.safe(str(job.get("node") or ""))),
            *_settings(definition),
            ("written in", output.safe(str(job.get("source") or ""))),
            ("taken over", adopted(job, now)),
        ]
    )
    if standing(job) in (*FAILURES, "blocked", "missed"):
        output.hint(f"see why: homelab job why {output.safe(name)}, homelab run logs {output.safe(name)}")


def held(job: Json) -> str:
    """Why the lab starts no runs of it, if it does not."""
    if job.get("paused"):
        return output.safe(f"paused (homelab job resume {job['name']})")
    if job.get("shadow"):
        return "in shadow: cron still runs it, the lab notes when it would have (homelab cron adopt takes it over)"
    return ""


def adopted(job: Json, now: datetime) -> str:
    """From which crontab the job was taken over and when; "" for one that was not."""
    found = cast("Json | None", job.get("adopted"))
    if not found:
        return ""
    return output.safe(f"from {found['crontab']}, {output.when(found['since'], now=now)} (homelab cron release)")


def _last(job: Json, now: datetime) -> str:
    last = cast("Json", job.get("last_run") or {})
    if not last:
        return "none yet"
    parts = [output.state(str(last.get("state"))), output.when(last.get("started"), now=now)]
    if last.get("started"):
        parts.append(f"took {output.took(last.get('started'), last.get('ended'), now=now)}")
    parts.append(output.safe(output.short_id(str(last.get("id")))))
    if last.get("reason"):
        parts.append(output.safe(str(last["reason"])))
    return "  ".join(parts)


def _schedule(job: Json) -> str:
    if not job.get("schedule"):
        return "none: it runs by hand"
    words = f"  {job['schedule_words']}" if job.get("schedule_words") else ""
    return output.safe(f"{job['schedule']}{words} ({job.get('timezone')})")


def _takes(job: Json) -> str:
    statistics = cast("Json", job.get("statistics") or {})
    spread = cast("Json | None", statistics.get("duration_s"))
    if not spread:
        return ""
    usual, longest = (output.duration(float(spread[k])) for k in ("middle", "largest"))
    return f"{usual} as a rule, {longest} at most"


def _settings(definition: Json) -> list[tuple[str, str]]:
    """What is set otherwise than it mostly is."""
    retries = cast("Json", definition.get("retries") or {})
    timeout = definition.get("timeout_s")
    again = f"{retries['max']}, after {output.duration(float(retries['delay_s']))}" if retries.get("max") else ""
    return [
        ("user", output.safe(str(definition.get("user") or ""))),
        ("retries", again),
        ("timeout", output.duration(float(timeout)) if timeout else ""),
        ("exclusive", _listed(definition.get("exclusive"))),
        ("tags", _listed(definition.get("tags"))),
    ]


def reasons(answer: Json, *, now: datetime) -> None:
    """Why a job did or did not run, a line a reason, the most telling first."""
    mark = "•" if output.is_unicode() and output.is_terminal() else "-"
    for reason in cast("list[object]", answer.get("reasons") or []):
        output.line(f"{mark} {output.said(output.text_of(reason), now=now)}")
    last = cast("Json", answer.get("last_run") or {})
    if last.get("state") in FAILURES:
        output.hint(f"what it printed: homelab run logs {output.short_id(str(last['id']))}")
