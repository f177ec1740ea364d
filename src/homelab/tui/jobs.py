"""*jobs*: every job with its newest state, its health, when it ran and when it is due."""

from typing import Any

from homelab.console import words
from homelab.tui import marks
from homelab.tui.layout import Cell, Column, Place, Row, Target, cell, line, table
from homelab.tui.view import Door, Frame, Json, Page, View

HEALTH = 10
COLUMNS = (
    Column(name="job", least=16, most=44),
    Column(name="state", least=11, most=13),
    Column(name="health", least=8, most=HEALTH),
    Column(name="ran", least=7, most=8),
    Column(name="due", least=7, most=8),
    Column(name="schedule", least=8, most=60, grows=True),
    Column(name="needs", least=8, most=30, drop=110),
)


def load(door: Door, _: Place) -> Json:
    return door.get("/api/v1/jobs")


def shown_state(job: dict[str, Any]) -> str:
    """Paused, in shadow, else the state of the newest run; "" without one."""
    held = "paused" if job["paused"] else "shadow" if job.get("shadow") else ""
    return held or last_run(job)[1]


def last_run(job: dict[str, Any]) -> tuple[str, str]:
    """(id, state) of a job's newest run; empty texts without one."""
    last: dict[str, Any] = job["last_run"] or {}
    return str(last.get("id") or ""), str(last.get("state") or "")


def draw(answer: Json, _: Place, frame: Frame) -> Page:
    jobs: list[dict[str, Any]] = answer["jobs"]
    rows = [_row(job, frame) for job in jobs]
    head, lines = table(COLUMNS, rows, frame.width, frame.sort)
    bad = sum(words.mark(shown_state(job)).tone == "bad" for job in jobs)
    paused = sum(bool(job["paused"]) for job in jobs)
    told = [words.counted(len(jobs), "job")] + ([f"{paused} paused"] if paused else [])
    return Page(
        summary=line(" · ".join(told) + (" · " if bad else ""), (f"{bad} failing" if bad else "", "bad")),
        head=(head,),
        lines=tuple(lines),
        columns=len(COLUMNS),
        empty="The lab has no jobs. Add some with: homelab cron import, or in the lab file.",
    )


def _row(job: dict[str, Any], frame: Frame) -> Row:
    last: dict[str, Any] = job["last_run"] or {}
    health: dict[str, Any] = job["health"]
    target = Target(job=job["name"], run=str(last.get("id") or ""), opens=Place(view="runs", job=job["name"]))
    return Row(
        cells=(
            cell(job["name"], "strong"),
            marks.state_cell(shown_state(job)),
            Cell(spans=marks.health(health["states"], HEALTH), sort=health["success_ratio"]),
            marks.ago_cell(last.get("started") or last.get("ended"), frame.now),
            marks.ago_cell(job["next_due"], frame.now),
            cell(str(job["schedule_words"] or job["schedule"] or "by hand")),
            cell(", ".join(job["needs"]), "idle"),
        ),
        key=job["name"],
        target=target,
    )


VIEW = View(name="jobs", aliases=("j",), about="every job: state, health, last and next run", load=load, draw=draw)
