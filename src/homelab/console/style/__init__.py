"""The style page: every token and every element of the console, alive, in the theme one looks at."""

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from homelab.console.charts import calendar, durations
from homelab.console.nodes import bars, timeline
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


OWNERS = ("train", "render", "index", "backup", "embed", "scan", "tidy", "report")
MEMORY: dict[str, Any] = {
    "resource": "memory", "device": None, "total": 64 << 30, "free": 8 << 30,
    "held": [*({"owner": name, "kind": "lease", "amount": (n + 2) << 30} for n, name in enumerate(OWNERS)),
             {"owner": "a-model", "kind": "model", "amount": 4 << 30},
             {"owner": "other programs", "kind": "others", "amount": 6 << 30}],
}  # fmt: skip
"""Made up, as the API tells of one resource of a machine."""


def stretches(now: datetime) -> list[dict[str, object]]:
    """Made up, as the API tells of leases: some that follow each other, one that was given up, one of many runs."""

    def one(owner: str, began: int, ended: int | None, how: str = "done") -> dict[str, object]:
        at = [None if m is None else (now - timedelta(minutes=m)).isoformat() for m in (began, ended)]
        run = {"work": f"{owner} {began}", "owner": owner, "run": "1", "job": owner, "node": "a-node"}
        return {**run, "taken": at[0], "ended": at[1], "how": how if ended is not None else ""}

    named = [one(name, 340 - 40 * n, 310 - 40 * n) for n, name in enumerate(OWNERS)]
    often = [one("every-minute", minute, minute) for minute in range(300, 60, -1)]
    return [*named, *often, one("given-up", 200, 120, "expired"), one("goes-on", 50, None)]


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
    colours = bars.hues([[*OWNERS, "a-model"]], ["every-minute", "given-up", "goes-on"])
    over = timeline.window(now, 6)
    return respond(
        asked,
        "style/style.html",
        share=bars.bar(MEMORY, colours, high=14),
        legend=[(bars.look(one, colours), one["owner"]) for one in MEMORY["held"]],
        axis=timeline.axis(over),
        lanes=timeline.row("a-node", stretches(now), over, colours),
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
