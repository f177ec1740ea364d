"""*runs*: what happened, the newest first; of one job when it is named."""

from typing import Any

from homelab.console import words
from homelab.tui import marks
from homelab.tui.layout import Cell, Column, Place, Row, Target, cell, clean, line, table
from homelab.tui.view import Door, Frame, Json, Page, View

NEWEST = 300
COLUMNS = (
    Column(name="when", least=7, most=8),
    Column(name="job", least=14, most=44),
    Column(name="state", least=11, most=13),
    Column(name="took", least=6, most=8, right=True),
    Column(name="exit", least=4, most=6, right=True),
    Column(name="try", least=3, most=4, right=True, drop=72),
    Column(name="reason", least=8, most=80, grows=True),
    Column(name="node", least=4, most=14, drop=110),
    Column(name="run", least=18, most=18, drop=100),
)


def load(door: Door, place: Place) -> Json:
    return door.get("/api/v1/runs", {"job": place.job or None, "limit": NEWEST})


def draw(answer: Json, place: Place, frame: Frame) -> Page:
    runs: list[dict[str, Any]] = answer["runs"]
    head, lines = table(COLUMNS, [_row(run, frame) for run in runs], frame.width, frame.sort)
    told = words.counted(len(runs), "run") if len(runs) < NEWEST else f"the newest {NEWEST} runs"
    return Page(
        title=clean(place.job),
        summary=line(told + (f" of {clean(place.job)}" if place.job else "")),
        head=(head,),
        lines=tuple(lines),
        columns=len(COLUMNS),
        is_moving=any(run["state"] == "running" for run in runs),
        empty=f"{clean(place.job)} has not run yet. r runs it now." if place.job else "Nothing has run yet.",
    )


def short_id(run: str) -> str:
    """Enough of a run's id to type it back; as `homelab run ls` shows it."""
    return clean(run[:18])


def _row(run: dict[str, Any], frame: Frame) -> Row:
    return Row(
        cells=(
            marks.ago_cell(run["started"] or run["ended"] or run["due"], frame.now),
            cell(run["job"], "strong"),
            marks.state_cell(run["state"]),
            marks.took_cell(run, frame.now),
            Cell(spans=((_exit(run), ""),), sort=run["exit_code"]),
            Cell(spans=((str(run["attempt"] or "–"), ""),), sort=run["attempt"]),
            cell(str(run["reason"] or "")),
            cell(str(run["node"] or "–"), "idle"),
            cell(short_id(run["id"]), "idle"),
        ),
        key=f"{run['id']} {run['job']}",
        target=Target(
            job=run["job"], run=run["id"], again="retry", opens=Place(view="run", run=run["id"], job=run["job"])
        ),
    )


def _exit(run: dict[str, Any]) -> str:
    if run["signal"] is not None:
        return f"sig{run['signal']}"
    return "–" if run["exit_code"] is None else str(run["exit_code"])


VIEW = View(
    name="runs",
    aliases=("r",),
    about="what happened, newest first; `:runs JOB` of one job",
    load=load,
    draw=draw,
    takes="job",
)
