"""*log*: the output of one job of one run, by the piece. What is asked of the API and how its lines look; the pane that
scrolls them is `logpane`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from homelab.console import words
from homelab.core.errors import NotFoundError
from homelab.core.jobs import OPEN
from homelab.tui import marks
from homelab.tui.layout import Line, Place, Span, clean, line
from homelab.tui.run import chosen
from homelab.tui.view import Door, Frame, Json, Page, View, part

WINDOW = 500
"""Lines asked for at once."""
MOST = 4000
"""Lines held; what is farther from where one looks is let go and asked for again."""
AROUND = 100
STREAMS = {"err": ("! ", "bad"), "lab": ("» ", "idle"), "out": ("  ", "")}


@dataclass(frozen=True, kw_only=True)
class Window:
    """Some lines of a log, each with the byte it begins at. They lie between the bytes `start` and `end` of `size`."""

    lines: tuple[dict[str, Any], ...] = ()
    start: int = 0
    end: int = 0
    size: int = 0
    attempt: int = 0


def load(door: Door, place: Place) -> Json:
    """The run, which job of it is meant, and the end of its log; `window` is None while there is none."""
    run = door.get(f"/api/v1/runs/{part(place.run)}")["run"]
    job = chosen(run["jobs"], place.job)
    return {"run": run, "job": job, "window": window(door, Which(run=run["id"], job=job), back=True)}


def is_open(run: Json, job: str) -> bool:
    """Whether more of the job's output may come."""
    states = [row["state"] for row in run["jobs"] if row["job"] == job]
    return run["state"] in OPEN and (not states or states[0] in OPEN)


@dataclass(frozen=True, kw_only=True)
class Which:
    """One log: of a job in a run, the newest attempt where `attempt` is 0."""

    run: str
    job: str
    attempt: int = 0

    def query(self, **more: object) -> dict[str, object]:
        return {"job": self.job, "attempt": self.attempt or None, **more}


def window(
    door: Door, which: Which, *, start: int | None = None, back: bool = False, lines: int = WINDOW
) -> Window | None:
    """Lines from byte `start` on, or (`back`) before it; None start: the very end. None: there is no log (yet)."""
    query = which.query(lines=lines, back=1 if back else None) | {"from": start}
    try:
        found = door.get(f"/api/v1/runs/{part(which.run)}/lines", query)
    except NotFoundError:
        return None
    return Window(
        lines=tuple(found["lines"]),
        start=found["start"],
        end=found["end"],
        size=found["size"],
        attempt=found["attempt"],
    )


def find(door: Door, which: Which, text: str, start: int, *, back: bool) -> Json:
    """`{at, scanned, is_over}`; answers within about a second, to be asked again from `scanned`."""
    query = which.query(text=text, back=1 if back else None) | {"from": start}
    return door.get(f"/api/v1/runs/{part(which.run)}/find", query)


def joined(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], *, keep_end: bool
) -> list[dict[str, Any]]:
    """Two neighbouring pieces as one of at most `MOST` lines, cut at the end that is not to be kept."""
    both = [*first, *second]
    return both[-MOST:] if keep_end else both[:MOST]


def shown(row: dict[str, Any], *, times: bool, wanted: str = "") -> Line:
    """One line: its time where wanted, a mark for its stream, its text in the colours that it was given."""
    spans: list[Span] = []
    if times:
        spans.append((f"{datetime.fromtimestamp(row['time'], UTC):%H:%M:%S} ", "idle"))
    mark, tone = STREAMS.get(row["stream"], ("  ", ""))
    spans.append((mark, tone))
    for text, style in row["pieces"]:
        spans += _marked(clean(text), style or ("idle" if row["stream"] == "lab" else ""), wanted)
    if row.get("cut") or row.get("partial"):
        spans.append((" …", "idle"))
    return Line(spans=tuple(spans))


def _marked(text: str, style: str, wanted: str) -> list[Span]:
    """The text with every place where `wanted` stands set apart."""
    low, wanted = text.casefold(), wanted.casefold()
    if not wanted or len(low) != len(text):
        return [(text, style)]
    made: list[Span] = []
    at = 0
    while (found := low.find(wanted, at)) >= 0:
        made += [(text[at:found], style), (text[found : found + len(wanted)], f"{style} match".strip())]
        at = found + len(wanted)
    return [*made, (text[at:], style)]


def draw(answer: Json, place: Place, frame: Frame) -> Page:
    """The frame around the pane; its lines are the pane's own."""
    run, job = answer["run"], answer["job"]
    row = next((r for r in run["jobs"] if r["job"] == job), None)
    told: list[Span] = []
    if row is not None:
        took = marks.took_s(row, frame.now)
        attempt = f"attempt {row['attempt']}, " if row["attempt"] > 1 else ""
        told = [*marks.state(row["state"]), ("  " if took is None else f"  {attempt}{words.span(took)}  ", "idle")]
        told.append((words.short(row.get("ending") or "", 200), ""))
    return Page(title=f"{clean(job)} {clean(run['id'][:8])}", summary=line(*told))


VIEW = View(
    name="log", aliases=("logs", "l"), about="the output of a job; `:log RUN`, `:log JOB` of its newest run", load=load,
    draw=draw, takes="run", needs_argument=True, is_log=True,
)  # fmt: skip
