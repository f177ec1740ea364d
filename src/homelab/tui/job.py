"""*job*: one job described: schedule in words, where it comes from, why it ran here, how it differs from its last
good run. With a run: that run of it."""

from typing import Any

from homelab.console import words
from homelab.core.errors import NotFoundError
from homelab.tui import marks
from homelab.tui.jobs import last_run, shown_state
from homelab.tui.layout import BLANK, Line, Place, Span, Target, clean, fit, heading, line, wrap
from homelab.tui.runs import short_id
from homelab.tui.view import Door, Frame, Json, Page, View, part

NAME_CELLS = 13
RECENT = 8


def load(door: Door, place: Place) -> Json:
    """The job, why it did or did not run, its newest runs; of the run (its newest, when none is named) the view and the
    difference to the last good one."""
    job = door.get(f"/api/v1/jobs/{part(place.job)}")["job"]
    edges = door.get("/api/v1/graph")["edges"]
    run_id = place.run or last_run(job)[0]
    return {
        "job": job,
        "needed_by": [edge["to"] for edge in edges if edge["from"] == place.job],
        "why": door.get(f"/api/v1/jobs/{part(place.job)}/why")["reasons"],
        "runs": door.get("/api/v1/runs", {"job": place.job, "limit": RECENT})["runs"],
        "run": _run(door, run_id),
        "difference": _difference(door, run_id, place.job),
    }


def _run(door: Door, run_id: str) -> Json | None:
    try:
        return door.get(f"/api/v1/runs/{part(run_id)}")["run"] if run_id else None
    except NotFoundError:  # it is older than runs are kept
        return None


def _difference(door: Door, run_id: str, job: str) -> Json | None:
    try:
        return door.get(f"/api/v1/runs/{part(run_id)}/difference", {"job": job}) if run_id else None
    except NotFoundError:  # it has not begun in that run
        return None


def draw(answer: Json, place: Place, frame: Frame) -> Page:
    job, run = answer["job"], answer["run"]
    lines = [
        *_facts(answer, frame),
        BLANK,
        heading("Why"),
        *(text for reason in answer["why"] for text in _point(words.stamps(str(reason)), frame)),
    ]
    if run is not None:
        lines += [
            BLANK,
            heading("This run" if place.run else "Last run", short_id(run["id"])),
            *_of_run(run, job, frame),
        ]
    lines += _differences(answer["difference"], frame)
    if answer["runs"]:
        lines += [BLANK, heading("Recent runs"), *(_recent(row, frame) for row in answer["runs"])]
    return Page(
        title=clean(job["name"]),
        summary=line(*marks.state(shown_state(job)), "  ", *marks.health(job["health"]["states"], 30)),
        lines=tuple(lines),
        is_moving=any(row["state"] == "running" for row in answer["runs"]),
    )


def _facts(answer: Json, frame: Frame) -> list[Line]:
    job: dict[str, Any] = answer["job"]
    definition: dict[str, Any] = job["definition"]
    took, printed = job["statistics"]["duration_s"], job["statistics"]["output_bytes"]
    schedule = job["schedule_words"] or "by hand only"
    if job["schedule"]:
        schedule += f" ({job['schedule']}, {job['timezone']})"
    ratio = job["health"]["success_ratio"]
    usual = "" if took is None else words.span(took["middle"])
    if usual and printed is not None:
        usual += f", {words.size(printed['middle'])} of output"
    pairs = [
        ("about", str(job["description"] or "")),
        ("schedule", schedule),
        (
            "next due",
            "" if job["next_due"] is None else f"{marks.ago(job['next_due'], frame.now)}, {_stamp(job['next_due'])}",
        ),
        ("defined in", str(job["source"] or "")),
        ("command", str(definition.get("run") or definition.get("flow") or "")),
        ("folder", str(definition.get("cwd") or "")),
        ("needs", ", ".join(job["needs"])),
        ("needed by", ", ".join(answer["needed_by"])),
        ("usually", usual),
        ("health", "" if ratio is None else f"{ratio:.0%} of the last {job['health']['runs']} runs succeeded"),
    ]
    return [made for name, value in pairs if value for made in _fact(name, value, frame)]


def _fact(name: str, value: str, frame: Frame, tone: str = "") -> list[Line]:
    texts = wrap(" ".join(value.split("\n")), frame.width - NAME_CELLS, most=6) or [""]
    first = line((fit(name, NAME_CELLS), "idle"), (texts[0], tone))
    return [first, *(line(" " * NAME_CELLS, (text, tone)) for text in texts[1:])]


def _point(text: str, frame: Frame) -> list[Line]:
    first, *rest = wrap(text, frame.width - 2) or [""]
    return [line(("· ", "idle"), first), *(line("  ", more) for more in rest)]


def _stamp(text: str) -> str:
    at = words.moment(text)
    return "" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _of_run(run: dict[str, Any], job: dict[str, Any], frame: Frame) -> list[Line]:
    mine = next((row for row in run["jobs"] if row["job"] == job["name"]), None)
    made = _fact("started by", str(run["why"]), frame)
    if mine is None:
        return made
    made.append(line((fit("state", NAME_CELLS), "idle"), *marks.state(mine["state"])))
    took = marks.took_s(mine, frame.now)
    usual = "" if not mine.get("usual_s") else f" (usually {words.span(mine['usual_s'])})"
    node = f"on {mine['node']}, " if mine["node"] else ""
    began = f"{node}{marks.ago(mine['started'], frame.now)}, {_stamp(mine['started'])}" if mine["started"] else ""
    pairs = [
        ("ended", str(mine.get("ending") or "")),
        ("ran", began),
        ("took", "" if took is None else words.span(took) + usual),
        ("attempt", str(mine["attempt"] or "")),
    ]
    return [*made, *(one for name, value in pairs if value for one in _fact(name, value, frame))]


def _differences(found: Json | None, frame: Frame) -> list[Line]:
    if found is None:
        return []
    if found["to"] is None:
        return [BLANK, heading("Difference"), line("There is no good run before it to compare with.")]
    to = found["to"]
    made = [BLANK, heading("Against its last good run", f"{short_id(to['id'])}, {marks.ago(to['ended'], frame.now)}")]
    for row in found["differences"]:
        tone = "warn" if row["is_changed"] else ""
        told = f"{row['before']} → {row['now']}" if row["before"] != row["now"] else f"{row['now']}, as before"
        made += _fact(row["what"], told + (f"  ({row['note']})" if row["note"] else ""), frame, tone)
    return made


def _recent(row: dict[str, Any], frame: Frame) -> Line:
    ((state, tone),) = marks.state(row["state"])
    took = marks.took_s(row, frame.now)
    when: Span = (fit(marks.ago(row["started"] or row["ended"] or row["due"], frame.now), NAME_CELLS), "idle")
    target = Target(
        job=row["job"], run=row["id"], again="retry", opens=Place(view="run", run=row["id"], job=row["job"])
    )
    return line(
        when, (fit(state, 13), tone), (fit("" if took is None else words.span(took), 9, right=True), ""), "  ",
        (fit(str(row["reason"] or ""), max(8, frame.width - NAME_CELLS - 13 - 9 - 2)), ""),
        key=row["id"], target=target,
    )  # fmt: skip


VIEW = View(
    name="job", aliases=("describe",), about="one job described; `:job NAME`", load=load, draw=draw, takes="job",
    needs_argument=True,
)  # fmt: skip
