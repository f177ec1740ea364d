"""The style page: every token and every element of the console, alive, in the theme one looks at."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from homelab.console.charts import calendar, durations
from homelab.console.picture import Edge, Node, svg
from homelab.console.rendering import respond
from homelab.console.screen import Screen, look
from homelab.console.words import MARKS
from homelab.control.api.routing import Asked

COLOURS = (
    "ground", "surface", "raised", "line", "line-strong", "ink", "soft", "faint", "accent", "good", "bad", "warn",
    "run", "idle",
)  # fmt: skip


RUNS = [
    {"id": "1", "job": "a-job", "state": state, "started": "2026-05-01T02:00:00Z", "duration_s": seconds}
    for state, seconds in (("failed", 1.1), ("succeeded", 2.4), ("succeeded", 2.2), ("succeeded", 3.9))
]
"""Made up, to show how long runs took; the newest first."""


ANSI = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


async def show(asked: Asked) -> Response:
    now = datetime.now(UTC)
    days = [
        {"day": (now.date() - timedelta(days=n)).isoformat(), "runs": n * 7 % 90, "failures": (n % 9 == 0) * (n % 5)}
        for n in range(60)
    ]
    nodes = [
        Node(name=f"{state}-job", state=state) for state in ("succeeded", "failed", "running", "blocked", "paused")
    ]
    nodes.append(Node(name="a-group", state="succeeded", link="/style", folded=12))
    edges = [Edge(source="succeeded-job", target="failed-job"), Edge(source="failed-job", target="blocked-job"),
             Edge(source="succeeded-job", target="running-job", dashed=True)]  # fmt: skip
    return respond(
        asked,
        "style/style.html",
        title="Style",
        colours=COLOURS,
        marks=MARKS,
        ansi=ANSI,
        effects=("dim", "italic", "underline", "strike", "inverse"),
        calendar=calendar(days, today=now.date()),
        picture=svg(nodes, edges, title="An example", selected="running-job"),
        took=durations(RUNS, 2.4),
        states=["succeeded", "failed", "timed_out", "succeeded", "running", "skipped"] * 5,
        now=now,
    )


SCREEN = Screen(
    name="",
    path="/style",
    routes=(look("/style", show, "How pages look."),),
)
