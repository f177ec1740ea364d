"""Runs as a person reads them in a terminal: the list, and one run with its jobs.

Answers of control go in, lines by `output` come out. Called by `run`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from homelab.cli import output
from homelab.core.jobs import FAILURES, OPEN

Json = Mapping[str, Any]


def listing(runs: Sequence[Json], *, now: datetime) -> None:
    """A row a job run."""
    rows = [
        [
            output.short_id(str(r["id"])) if output.is_terminal() else str(r["id"]),
            output.safe(str(r.get("job") or "-")),
            output.state(str(r.get("state"))),
            output.when(r.get("started") or r.get("due"), now=now),
            output.took(r.get("started"), r.get("ended"), now=now),
            output.text_of(r.get("attempt")),
            output.text_of(r.get("exit_code")),
            output.safe(str(r.get("reason") or "")),
        ]
        for r in runs
    ]
    output.table(
        ["run", "job", "state", "when", "took", "attempt", "exit", "reason"],
        rows,
        empty="No runs. Run a job now: homelab job run NAME",
        optional=["attempt", "exit"],
        whole=["run"],
    )
    if failed := next((r for r in runs if r.get("state") in FAILURES), None):
        output.hint(f"see why: homelab run logs {output.short_id(str(failed['id']))}")


def card(run: Json, *, now: datetime) -> None:
    """One run: how it stands, when it ran, then a row for each of its jobs."""
    jobs = [job for job in cast("Sequence[Json]", run.get("jobs") or []) if isinstance(job, Mapping)]  # pyright: ignore[reportUnnecessaryIsInstance]
    state = str(run.get("state"))
    output.line(f"{output.painted(output.safe(str(run.get('flow'))), '1')}  {output.state(state)}")
    params = cast("Mapping[str, object]", run.get("params") or {})
    output.line()
    output.fields(
        [
            ("id", output.safe(str(run.get("id")))),
            ("reason", output.safe(str(run.get("reason") or ""))),
            ("due", output.when(run.get("due"), now=now) if run.get("due") else ""),
            ("started", output.when(run.get("started"), now=now) if run.get("started") else ""),
            ("took", output.took(run.get("started"), run.get("ended"), now=now) if run.get("started") else ""),
            ("node", output.safe(str(run.get("node") or ""))),
            ("started by", _by(run)),
            ("parameters", output.safe(", ".join(f"{k}={v}" for k, v in params.items()))),
        ]
    )
    if not jobs:
        return
    output.line()
    has_other_nodes = any(j.get("node") not in (None, run.get("node")) for j in jobs)
    rows = [
        [
            output.safe(str(j.get("job") or j.get("name"))),
            output.state(str(j.get("state"))),
            *([output.safe(str(j.get("node") or "-"))] if has_other_nodes else []),
            output.took(j.get("started"), j.get("ended"), now=now),
            output.text_of(j.get("attempt")),
            output.text_of(j.get("exit_code")),
            output.safe(str(j.get("reason") or "")),
        ]
        for j in jobs
    ]
    node = ["node"] if has_other_nodes else []
    output.table(
        ["job", "state", *node, "took", "attempt", "exit", "reason"], rows, optional=["attempt"], whole=["job"]
    )
    for one in jobs:
        _explain(one)
    for one in jobs:
        _passes_on(one)
    identity = output.short_id(str(run.get("id")))
    if any(j.get("state") in FAILURES for j in jobs):
        output.hint(f"what it printed: homelab run logs {identity}; again: homelab run retry {identity} --failed")
    elif state in OPEN:
        output.hint(f"follow it: homelab run logs {identity} -f")


def _explain(job: Json) -> None:
    """How a job of the run failed: the sentence, what else was seen, what to do."""
    if not (job.get("facts") or job.get("advice") or (job.get("ending") and job.get("state") in FAILURES)):
        return
    output.line()
    output.line(f"{output.safe(str(job['job']))}: {output.safe(str(job['ending']))}")
    for fact in job.get("facts") or ():
        output.line(f"  {output.safe(str(fact))}")
    if job.get("advice"):
        output.line(f"  Next: {output.safe(str(job['advice']))}")


def _passes_on(job: Json) -> None:
    """The variables that the jobs which need it get."""
    outputs = cast("Mapping[str, object]", job.get("outputs") or {})
    if not outputs:
        return
    output.line()
    output.line(f"{output.safe(str(job['job']))} passes on:")
    for name, value in outputs.items():
        output.line(f"  {output.safe(name)}={output.safe(str(value))}")


def _by(run: Json) -> str:
    trigger, by = str(run.get("trigger") or ""), str(run.get("by") or "")
    return output.safe(by if trigger == "manual" else trigger)
