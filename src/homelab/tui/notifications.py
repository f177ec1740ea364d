"""*notifications*: what was told to whom, and what could not be delivered."""

from typing import Any

from homelab.console import words
from homelab.tui import marks
from homelab.tui.layout import Column, Place, Row, Target, cell, line, table
from homelab.tui.view import Door, Frame, Json, Page, View

COLUMNS = (
    Column(name="when", least=7, most=8),
    Column(name="state", least=11, most=13),
    Column(name="title", least=20, most=100, grows=True),
    Column(name="target", least=8, most=30),
    Column(name="error", least=8, most=60, drop=100),
)


def load(door: Door, _: Place) -> Json:
    return door.get("/api/v1/notifications", {"limit": 200})


def draw(answer: Json, _: Place, frame: Frame) -> Page:
    told: list[dict[str, Any]] = answer["notifications"]
    head, lines = table(COLUMNS, [_row(item, frame) for item in told], frame.width, frame.sort)
    failed = sum(bool(item["error"]) for item in told)
    return Page(
        summary=line(
            words.counted(len(told), "notification"),
            (" · " if failed else ""),
            (f"{failed} not delivered" if failed else "", "bad"),
        ),
        head=(head,),
        lines=tuple(lines),
        columns=len(COLUMNS),
        empty="Nobody has been told anything. Targets are set under [notify] in the lab file.",
    )


def _row(item: dict[str, Any], frame: Frame) -> Row:
    job, run = str(item["job"] or ""), str(item["run"] or "")
    opens = Place(view="run", run=run, job=job) if run else Place(view="job", job=job) if job else None
    return Row(
        cells=(
            marks.ago_cell(item["created"], frame.now),
            marks.state_cell("failed" if item["error"] and item["state"] != "sent" else item["state"]),
            cell(item["title"], "strong"),
            cell(str(item["target"] or ""), "idle"),
            cell(str(item["error"] or ""), "bad"),
        ),
        key=str(item["id"]),
        target=Target(job=job, run=run, again="retry" if run else "run", opens=opens),
    )


VIEW = View(name="notifications", aliases=("alerts",), about="what was told to whom", load=load, draw=draw)
