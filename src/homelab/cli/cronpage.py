"""A review as one HTML page that needs nothing else: no script, no request, to be read, sent or printed.

Everything from a crontab is escaped by the template, after what a browser would act on (control bytes, marks that turn
the direction of text) is made visible. Called by `cli.cron` for `--format html`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from homelab.cli import cronview, drawing
from homelab.cli.cronimport import Plan, Suggestion
from homelab.cli.cronread import Reading
from homelab.cli.output import safe
from homelab.core.crontab import CronJob
from homelab.core.schedule import ScheduleError, parse

_MOST_COMMAND = 2000  # characters of a command: more is no reading matter


def page(readings: Sequence[Reading], plan: Plan, *, now: datetime | None = None) -> str:
    """The whole page. `now`: what "next" counts from; default: the clock."""
    at = now or datetime.now(UTC)
    text = files("homelab.cli").joinpath("cronpage.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_harmless)
    return environment.from_string(text).render(_values(readings, plan, at))


def _harmless(value: object) -> object:
    return value if isinstance(value, Markup) else safe(value) if isinstance(value, str) else value


def _values(readings: Sequence[Reading], plan: Plan, now: datetime) -> dict[str, Any]:
    zones = sorted({job.timezone for reading in readings for job in reading.jobs})
    moved = [row for row in plan.rows if row.change not in ("none", "added")]
    kept = len(plan.rows) - len(moved)
    jobs = [(reading, job) for reading in readings for job in reading.jobs]
    made, alone = _graph(plan)
    hazards = cronview.hazard_groups(readings)
    return {
        "title": ", ".join("standard input" if r.file == "-" else r.file for r in readings[:3])
        + (f" and {len(readings) - 3} more" if len(readings) > 3 else ""),
        "now": now.astimezone(ZoneInfo(zones[0]) if len(zones) == 1 else UTC).strftime("%a %d %b %Y, %H:%M %Z"),
        "tiles": _tiles(readings, plan, hazards),
        "graph": Markup(made) if made else "",  # noqa: S704 - `drawing.svg` escapes
        "alone": f"{alone} stand alone" if alone else "",
        "suggestions": [_suggestion(s, readings) for s in _sorted(plan.suggestions)],
        "moved": moved,
        "premise": plan.premise,
        "rest": f"{kept} {'job keeps its time' if kept == 1 else 'jobs keep their times'}." if kept else "",
        "hazards": hazards,
        "problems": [
            {"place": _place(r, p.line, readings), "severity": p.severity, "message": p.message, "hint": p.hint,
             "kind": {"error": "bad", "warning": "medium"}.get(p.severity, "low")}
            for r in readings for p in r.problems
        ],
        "jobs": [_job(reading, job, readings, now) for reading, job in jobs],
        "zones": ", ".join(zones),
    }  # fmt: skip


def _tiles(readings: Sequence[Reading], plan: Plan, hazards: Sequence[cronview.HazardGroup]) -> list[dict[str, Any]]:
    words = [f"{n} {c}" for c in cronview.CONFIDENCES if (n := sum(s.confidence == c for s in plan.suggestions))]
    bad = sum(p.severity == "error" for r in readings for p in r.problems)
    tiles = [
        (sum(len(r.jobs) for r in readings), "jobs", "", ""),
        (len(plan.suggestions), "suggestions", ", ".join(words), "high"),
        (
            sum(group.count for group in hazards),
            "hazards",
            f"of {len(hazards)} kinds" if len(hazards) > 1 else "",
            "medium",
        ),
        (bad, "bad lines", "cron refuses them" if bad else "", "bad"),
    ]
    return [
        {"count": count, "what": what[:-1] if count == 1 else what, "more": more, "kind": kind if count else ""}
        for count, what, more, kind in tiles
    ]


def _graph(plan: Plan) -> tuple[str, int]:
    """The picture, and how many jobs are not in it."""
    made, _ = cronview.graph(plan)
    edges = {(s.up, s.down): s for s in plan.suggestions if s.kind == "needs"}
    classes = {pair: edges[pair].confidence if edges[pair].standing != "accepted" else "" for pair in edges}
    alone = sum(1 for row in plan.rows if row.after) - len(made.nodes)
    return (drawing.svg(made, classes=classes, is_styled=False) if made.edges else ""), alone


def _sorted(suggestions: Sequence[Suggestion]) -> list[Suggestion]:
    ranks = {word: n for n, word in enumerate(cronview.CONFIDENCES)}
    return sorted(suggestions, key=lambda s: ranks.get(s.confidence, 9))


def _suggestion(suggestion: Suggestion, readings: Sequence[Reading]) -> dict[str, Any]:
    states = {"open": suggestion.confidence, "accepted": f"{suggestion.confidence}, accepted", "declined": "declined"}
    lines = [
        {"number": job.line, "schedule": job.schedule, "command": job.command[:_MOST_COMMAND]}
        for reading in readings
        if reading.file == suggestion.file
        for job in reading.jobs
        if job.line in suggestion.lines
    ]
    return {
        "title": suggestion.title, "confidence": suggestion.confidence, "state": states[suggestion.state],
        "reason": suggestion.reason, "evidence": suggestion.evidence, "effect": suggestion.effect, "lines": lines,
    }  # fmt: skip


def _job(reading: Reading, job: CronJob, readings: Sequence[Reading], now: datetime) -> dict[str, Any]:
    try:
        fires = islice(parse(job.schedule, job.timezone, seed=job.name).fires(now), 3)
        times = [fire.astimezone(ZoneInfo(job.timezone)).strftime("%a %d %b %H:%M") for fire in fires]
    except ScheduleError:
        times = []
    return {
        "place": _place(reading, job.line, readings), "name": job.name, "user": job.user, "schedule": job.schedule,
        "when": cronview.words_of(job), "next": times, "command": job.command[:_MOST_COMMAND],
    }  # fmt: skip


def _place(reading: Reading, line: int, readings: Sequence[Reading]) -> str:
    return f"{reading.file}:{line}" if len(readings) > 1 else str(line)
