"""*run*: the jobs of one run on one timeline, with how each ended; Enter opens the log of one."""

from datetime import datetime
from typing import Any

from homelab.console import words
from homelab.core.jobs import OPEN
from homelab.tui import marks
from homelab.tui.layout import BLANK, Line, Place, Span, Target, clean, cut, fit, line, wrap
from homelab.tui.view import Door, Frame, Json, Page, View, part


def load(door: Door, place: Place) -> Json:
    return door.get(f"/api/v1/runs/{part(place.run)}")


def chosen(jobs: list[dict[str, Any]], wanted: str) -> str:
    """The name of the job that is asked about; "" when there are none."""
    return words.asked_about(jobs, wanted)["job"] if jobs else ""


def draw(answer: Json, place: Place, frame: Frame) -> Page:
    run: dict[str, Any] = answer["run"]
    jobs: list[dict[str, Any]] = run["jobs"]
    is_open = run["state"] in OPEN
    wide = min(40, max([12, *(len(job["job"]) + 2 for job in jobs)]), frame.width // 3)
    lines: list[Line] = []
    for job in jobs:
        lines += _job(run, job, wide, frame)
    return Page(
        title=f"{clean(run['flow'])} {clean(run['id'][:8])}",
        summary=_summary(run, frame),
        head=(*(line((text, "idle")) for text in wrap(str(run.get("why") or ""), frame.width, most=2)), BLANK),
        lines=tuple(lines),
        selects=chosen(jobs, place.job),
        is_moving=is_open and any(job["state"] == "running" for job in jobs),
        empty="This run has no jobs.",
    )


def _summary(run: dict[str, Any], frame: Frame) -> Line:
    took = marks.took_s(run, frame.now)
    told = [marks.ago(run["started"] or run["due"] or run["created"], frame.now)]
    if took is not None:
        told.append(f"took {words.span(took)}" if run["state"] not in OPEN else f"for {words.span(took)}")
    if run["node"]:
        told.append(f"on {words.short(run['node'], 30)}")
    spans: list[Span] = [*marks.state(run["state"]), ("  " + " · ".join(told), "")]
    if run["reason"]:
        spans.append((f" · {words.short(run['reason'], 200)}", ""))
    return line(*spans)


def _job(run: dict[str, Any], job: dict[str, Any], wide: int, frame: Frame) -> list[Line]:
    name = job["job"]
    target = Target(job=name, run=run["id"], again="retry", opens=Place(view="log", run=run["id"], job=name))
    room = max(8, frame.width - wide - 15 - 10)
    ((state, tone),) = marks.state(job["state"])
    took = marks.took_s(job, frame.now)
    first = line(
        (fit(state, 13), tone), " ", (fit(name, wide), "strong"), " ", *_bar(run, job, room, frame.now),
        (fit("" if took is None else words.span(took), 10, right=True), ""), key=name, target=target,
    )  # fmt: skip
    ending = str(job["ending"] if words.mark(job["state"]).tone == "bad" else job["reason"] or "")
    elsewhere = f"on {words.short(job['node'], 30)}" if job["started"] and job["node"] != run["node"] else ""
    told = " · ".join(text for text in (elsewhere, "" if job["state"] == "succeeded" else ending) if text)
    if not told:
        return [first]
    return [first, line(" " * 14, (cut(told, frame.width - 14), ""), key=name, target=target)]


def _bar(run: dict[str, Any], job: dict[str, Any], cells: int, now: datetime) -> tuple[Span, ...]:
    """The job's place in the time of the whole run."""
    begins = [m for j in run["jobs"] if (m := words.moment(j["started"]))]
    begun = words.moment(job["started"])
    if begun is None or not begins:
        return ((" " * cells, ""),)
    ends = [words.moment(j["ended"]) or now for j in run["jobs"] if j["started"]]
    first, last = min(begins), max(ends)
    whole = max((last - first).total_seconds(), 0.001)
    ended = words.moment(job["ended"]) or now
    start = min(cells - 1, int((begun - first).total_seconds() / whole * cells))
    length = max(1, min(cells - start, round((ended - begun).total_seconds() / whole * cells)))
    bar: Span = ("━" * length, words.mark(job["state"]).tone)
    return (("·" * start, "idle"), bar, ("·" * (cells - start - length), "idle"))


VIEW = View(
    name="run",
    about="the jobs of one run on a timeline; `:run ID`",
    load=load,
    draw=draw,
    takes="run",
    needs_argument=True,
)
