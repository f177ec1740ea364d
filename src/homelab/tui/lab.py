"""*lab*: the services and machines of the lab, and what is wrong with the lab itself."""

from typing import Any

from homelab.console import words
from homelab.tui import marks
from homelab.tui.layout import BLANK, Cell, Column, Line, Place, Row, cell, heading, line, table, wrap
from homelab.tui.view import Door, Frame, Json, Page, View

SERVICES = (
    Column(name="service", least=10, most=20),
    Column(name="state", least=11, most=13),
    Column(name="restarts", least=8, most=9, right=True),
    Column(name="memory", least=8, most=10, right=True),
    Column(name="pid", least=6, most=8, right=True, drop=100),
    Column(name="message", least=8, most=100, grows=True),
    Column(name="url", least=10, most=40, drop=90),
)
NODES = (
    Column(name="node", least=10, most=20),
    Column(name="state", least=13, most=13),
    Column(name="running", least=8, most=9, right=True),
    Column(name="slots", least=8, most=10, right=True),
    Column(name="heard", least=10, most=12, grows=True),
)


def load(door: Door, _: Place) -> Json:
    return {**door.get("/api/v1/lab"), **door.get("/api/v1/services")}


def draw(answer: Json, _: Place, frame: Frame) -> Page:
    services, nodes, problems = answer["services"], answer["nodes"], answer["problems"]
    lines: list[Line] = []
    for number, problem in enumerate(problems):
        lines += _problem(problem, number, frame)
    if services:
        head, rows = table(SERVICES, [_service(s) for s in services], frame.width)
        lines += [*([BLANK] if lines else []), head, *rows]
    if nodes:
        head, rows = table(NODES, [_node(n, frame) for n in nodes], frame.width)
        lines += [*([BLANK] if lines else []), head, *rows]
    if shadow := answer.get("shadow"):
        told = f"{words.counted(len(shadow), 'job')} in shadow: cron runs {'it' if len(shadow) == 1 else 'them'}."
        lines += [BLANK, heading("Shadow"), *(line(text) for text in wrap(told, frame.width))]
    bad = len(problems)
    verdict = line(("✓ the lab is whole", "good")) if not bad else line((f"✗ {words.counted(bad, 'problem')}", "bad"))
    return Page(
        summary=verdict,
        lines=tuple(lines),
        empty="No services are known here: another machine runs them.",
    )


def _problem(problem: dict[str, Any], number: int, frame: Frame) -> list[Line]:
    key = f"!{number}"
    ((state, tone),) = marks.state(problem.get("severity") or "warning")
    texts = wrap(f"{problem.get('subject') or 'lab'}: {problem.get('message') or ''}", frame.width - 12)
    made = [line((f"{state:12}", tone), texts[0], key=key), *(line(" " * 12, text, key=key) for text in texts[1:])]
    if problem.get("hint"):
        made += [
            line(" " * 12, ("→ ", "idle"), (text, "idle"), key=key) for text in wrap(problem["hint"], frame.width - 14)
        ]
    return made


def _service(service: dict[str, Any]) -> Row:
    return Row(
        cells=(
            cell(service["name"], "strong"),
            marks.state_cell(service["state"]),
            Cell(spans=((str(service["restarts"]), "warn" if service["restarts"] else ""),), sort=service["restarts"]),
            cell(words.size(service["memory_bytes"])),
            cell(str(service["pid"] or "–"), "idle"),
            cell(str(service["message"] or "")),
            cell(str(service["url"] or "–"), "idle"),
        ),
        key=f"s {service['name']}",
    )


def _node(node: dict[str, Any], frame: Frame) -> Row:
    running: list[Any] | int = node["running"]
    return Row(
        cells=(
            cell(node["name"], "strong"),
            marks.state_cell(node["state"]),
            cell(str(len(running) if isinstance(running, list) else running)),
            cell(str(node["slots"])),
            cell(f"{words.span(node['heartbeat_age_s'])} ago", "idle"),
        ),
        key=f"n {node['name']}",
    )


VIEW = View(
    name="lab",
    aliases=("services",),
    about="services, machines, what is wrong with the lab",
    load=load,
    draw=draw,
)
