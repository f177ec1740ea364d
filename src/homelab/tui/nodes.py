"""*nodes*: the machines, how full each is and by whom; below them what waits for room, and why."""

from typing import Any

from homelab.console import words
from homelab.core import capacity
from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, SLOTS
from homelab.core.placement.usage import sums
from homelab.tui import marks
from homelab.tui.layout import (
    BLANK,
    Cell,
    Column,
    Line,
    Place,
    Row,
    Span,
    Target,
    cell,
    clean,
    fit,
    heading,
    line,
    table,
    wrap,
)
from homelab.tui.view import Door, Frame, Json, Page, View

BAR = 8
REASONS = 3
"""Of what waits, so many machines are told."""
MOST = 40
"""Of what waits, so much is shown."""
COLUMNS = (
    Column(name="node", least=6, most=18),
    Column(name="state", least=13, most=13),
    Column(name="cores", least=15, most=20),
    Column(name="memory", least=15, most=20),
    Column(name="gpu memory", least=15, most=20, drop=100),
    Column(name="slots", least=12, most=16),
    Column(name="work", least=4, most=6, right=True, drop=90),
    Column(name="heard", least=6, most=12, grows=True, drop=110),
)
_BARS = (CPU, MEMORY, GPU_MEMORY, SLOTS)


def load(door: Door, _: Place) -> Json:
    return {**door.get("/api/v1/nodes"), **door.get("/api/v1/queue")}


def draw(answer: Json, _: Place, frame: Frame) -> Page:
    nodes: list[dict[str, Any]] = answer["nodes"]
    head, rows = table(COLUMNS, [_row(node) for node in nodes], frame.width, frame.sort)
    below = {f"n {node['name']}": _details(node, frame) for node in nodes}
    lines = [one for row in rows for one in (row, *below[row.key])]
    return Page(
        summary=summary(answer),
        head=(head,),
        lines=(*lines, *_queue(answer["queue"], frame)),
        columns=len(COLUMNS),
        empty="No machine has been heard of yet.",
    )


def summary(answer: Json) -> Line:
    """How many machines, which of them are not ready, how much is on them, how much waits."""
    nodes, waits = answer["nodes"], answer["queue"]
    ill = [node for node in nodes if node["state"] == "unreachable" or node["problems"]]
    spans: list[Span] = [(words.counted(len(nodes), "machine"), "")]
    if ill:
        spans.append((f" · {words.listed([node['name'] for node in ill])} {_need(len(ill))} a look", "bad"))
    spans.append((f" · {words.counted(sum(node['holds'] for node in nodes), 'piece')} of work", ""))
    if waits:
        spans.append((f" · {len(waits)} {'waits' if len(waits) == 1 else 'wait'} for room", "warn"))
    return line(*spans)


def _need(count: int) -> str:
    return "needs" if count == 1 else "need"


def _row(node: dict[str, Any]) -> Row:
    age = node["heartbeat_age_s"]
    heard = "never" if age is None else "just now" if age < 30 else f"{words.span(age)} ago"
    return Row(
        cells=(
            cell(node["name"], "strong"),
            marks.state_cell(node["state"]),
            *(_share(node, resource) for resource in _BARS),
            Cell(spans=((str(node["holds"]), ""),), sort=node["holds"]),
            Cell(spans=((heard, "idle"),), sort=age),
        ),
        key=f"n {node['name']}",
        target=Target(node=node["name"]),
    )


def _share(node: dict[str, Any], resource: str) -> Cell:
    """A bar and `used/total`; ordered by how full it is."""
    bars = [one for one in node["resources"] if one["resource"] == resource]
    lab, others, total = sums(bars)
    if total <= 0:
        return Cell(spans=(("–", "idle"),))
    first, second = capacity.cells((lab, others), total, BAR)
    told = f" {_short(resource, lab + others)}/{_short(resource, total)}"
    spans: tuple[Span, ...] = (
        ("█" * first, "run"), ("▒" * second, "warn"), ("░" * (BAR - first - second), "idle"), (told, ""),
    )  # fmt: skip
    return Cell(spans=spans, sort=(lab + others) / total)


def _short(resource: str, amount: float) -> str:
    return capacity.brief(resource, capacity.of_number(resource, amount))


def _details(node: dict[str, Any], frame: Frame) -> list[Line]:
    """Who holds it, and what is wrong with it, below its row."""
    key, target = f"n {node['name']}", Target(node=node["name"])
    room = frame.width - 4
    made: list[Line] = []
    for text, tone in [*((text, "idle") for text in node["why"]), *_troubles(node)]:
        made += [line("    ", (part, tone), key=key, target=target) for part in wrap(words.stamps(text), room)]
    owners = [f"{one['owner']} {capacity.telling(capacity.of_json(one['amounts']))}" for one in node["holders"]]
    made += [line("    ", (part, "idle"), key=key, target=target) for part in wrap(" · ".join(owners), room, most=4)]
    return made


def _troubles(node: dict[str, Any]) -> list[Span]:
    """What is wrong beyond what its state says already."""
    said = ("node-unreachable", "node-stopped", "node-drained")
    return [(p["message"], "warn") for p in node["problems"] if p["code"] not in said]


def _queue(waits: list[dict[str, Any]], frame: Frame) -> list[Line]:
    if not waits:
        return []
    made = [BLANK, heading("Waits for room", str(len(waits)))]
    for number, one in enumerate(waits[:MOST], 1):
        run, job = one["run"] or "", one["job"]
        opens = Place(view="run", run=run, job=job) if run else None
        key, target = f"q {one['work']}", Target(job=job, run=run, again="retry", opens=opens)
        priority = f"  priority {one['priority']}" if one["priority"] else ""
        aside = f"{priority}  {marks.ago(one['since'], frame.now)}"
        name = fit(f"{number:>2} {clean(job)}", min(40, frame.width - 24)).rstrip()
        made.append(line((name, "strong"), (aside, "idle"), key=key, target=target))
        for reason in one["reasons"][:REASONS]:
            made += [
                line("    ", text, key=key, target=target) for text in wrap(reason["reason"], frame.width - 4, most=3)
            ]
        if left := len(one["reasons"]) - REASONS:
            told = f"    and {words.counted(left, 'more machine')} cannot take it"
            made += [line((told, "idle"), key=key, target=target)] if left > 0 else []
    if len(waits) > MOST:
        made.append(line((f"and {len(waits) - MOST} more behind them", "idle")))
    return made


VIEW = View(
    name="nodes",
    aliases=("machines", "m"),
    about="the machines: how full, who holds what, what waits and why",
    load=load,
    draw=draw,
    quiet_s=10.0,  # a heartbeat is no news of the lab
)
