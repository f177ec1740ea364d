"""Machines as a person reads them in a terminal: the list, one in full. Answers of control go in, lines by `output`
come out. Called by `nodelook`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from homelab.cli import output, terminal
from homelab.core import capacity
from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, SLOTS
from homelab.core.placement.usage import sums

Json = Mapping[str, Any]
COLUMNS = ((CPU, "cpu"), (MEMORY, "memory"), (GPU_MEMORY, "gpu memory"), (SLOTS, "slots"))
BAR, NARROW = 10, 6
WITH_BARS = 80
"""Columns below which numbers are worth more than bars in the table of one machine."""


def listing(nodes: Sequence[Json]) -> None:
    """A row a machine. On a terminal a bar for each of the main resources; elsewhere `used/total` as numbers."""
    is_terminal = output.is_terminal()
    wide = BAR if terminal.columns() >= output.WIDE else NARROW
    rows: list[list[str]] = []
    for node in nodes:
        cells = [_share(node, name, wide) if is_terminal else _numbers(node, name) for name, _ in COLUMNS]
        rows.append(
            [
                output.safe(str(node["name"])),
                output.state(str(node["state"])),
                *cells,
                str(node["holds"]),
                heard(node),
            ]
        )
    header = ["node", "state", *(title for _, title in COLUMNS), "holds", "heard"]
    empty = "No machine yet. Start the lab: homelab up. Add one: homelab node token NAME"
    output.table(header, rows, empty=empty, optional=["holds", "cpu"], whole=["node"])
    for node in nodes:
        _problems(node)


def _problems(node: Json) -> None:
    for problem in cast("Sequence[Json]", node["problems"]):
        output.warn("problem", output.safe(str(problem["message"])))
        output.hint(output.safe(str(problem["hint"])))


def heard(node: Json) -> str:
    """How long ago it was heard of: words on a terminal, seconds elsewhere."""
    age = node["heartbeat_age_s"]
    if age is None:
        return "never" if output.is_terminal() else "-"
    if not output.is_terminal():
        return f"{age:.1f}"
    return "just now" if age < 15 else f"{output.roughly(float(age))} ago"


def _bars(node: Json, resource: str) -> list[Json]:
    return [one for one in cast("list[Json]", node["resources"]) if one["resource"] == resource]


def _share(node: Json, resource: str, wide: int) -> str:
    bars = _bars(node, resource)
    if not bars:
        return ""
    lab, others, total = sums(bars)
    if total <= 0:
        return "none"
    bar = output.filled_bar(lab, others, total, wide=wide)
    return f"{bar} {_short(resource, lab + others)}/{_short(resource, total)}"


def _numbers(node: Json, resource: str) -> str:
    bars = _bars(node, resource)
    lab, others, total = sums(bars)
    return f"{round(lab + others, 3):.15g}/{total:.15g}" if bars else "-"


def _short(resource: str, amount: float) -> str:
    return capacity.brief(resource, capacity.of_number(resource, amount))


def _long(resource: str, amount: float) -> str:
    return capacity.text(resource, capacity.of_number(resource, amount))


def card(node: Json, *, now: datetime) -> None:
    """One machine in full."""
    output.line(f"{output.painted(output.safe(str(node['name'])), '1')}  {output.state(str(node['state']))}")
    for sentence in cast("list[str]", node["why"]):
        output.line(output.said(output.safe(sentence), now=now))
    output.line()
    labels = ", ".join(f"{name}={value}" for name, value in cast("Json", node["labels"]).items())
    output.fields(
        [
            ("heard", heard(node)),
            ("address", output.safe(str(node["address"]))),
            ("roles", output.safe(", ".join(cast("list[str]", node["roles"])))),
            ("labels", output.safe(labels)),
            ("version", output.safe(str(node["version"]))),
            ("clock", clock(node["clock_skew_s"])),
            ("power", output.safe(_said(node["power"]))),
            ("thermal", output.safe(_said(node["thermal"]))),
            ("apps", output.safe(", ".join(cast("list[str]", node["apps"])))),
            ("models", output.safe(", ".join(map(_model, cast("list[Json]", node["models"]))))),
        ]
    )
    _capacity(node)
    _leases(node, now)
    _problems(node)


def clock(skew_s: Any) -> str:
    """How far its clock is off; "" while nobody knows."""
    if skew_s is None:
        return ""
    return "right" if abs(skew_s) < 1 else f"{abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}"


def _said(value: Any) -> str:
    """What a sensor told, `source battery, level 0.62`."""
    return ", ".join(f"{name} {told}" for name, told in cast("Json", value or {}).items())


def _model(model: Json) -> str:
    size = int(model["gpu_memory_bytes"])
    return f"{model['name']} ({_long(GPU_MEMORY, size)})" if size else str(model["name"])


def _capacity(node: Json) -> None:
    rows: list[list[str]] = []
    columns = terminal.columns() if output.is_terminal() else 0
    wide = 20 if columns >= output.WIDE else BAR if columns >= WITH_BARS else 0
    for one in cast("list[Json]", node["resources"]):
        resource = str(one["resource"])
        lab, others, total = sums([one])
        name = capacity.noun(resource) + ("" if one["device"] is None else f" {one['device']}")
        who = ", ".join(
            f"{part['owner']} {_long(resource, float(part['amount']))}" for part in cast("list[Json]", one["held"])
        )
        free = _long(resource, max(0.0, float(one["free"])))
        bar = output.filled_bar(lab, others, total, wide=wide) if wide else ""
        rows.append([output.safe(name), bar, f"{free} free of {_long(resource, total)}", output.safe(who)])
    header = ["resource", "", "free", "held by"]
    if not wide:
        header, rows = [*header[:1], *header[2:]], [[row[0], *row[2:]] for row in rows]
    if output.is_terminal():
        output.line()
    output.table(header, rows, whole=["free"], empty="Nothing is known of what it has.")


def _leases(node: Json, now: datetime) -> None:
    rows: list[list[str]] = []
    for one in [*cast("list[Json]", node["leases"]), *cast("list[Json]", node["recent"])[:10]]:
        is_over = "ended" in one
        amounts = ", ".join(capacity.said(*one_) for one_ in capacity.of_json(cast("Json", one["amounts"])).items())
        rows.append(
            [
                output.safe(str(one["owner"])),
                output.state(str(one["how"]) or "done") if is_over else output.state("running"),
                output.when(one["taken"], now=now),
                output.took(one["taken"], one.get("ended"), now=now),
                output.safe(output.short_id(str(one["run"]))) if one["run"] else "-",
                output.safe(amounts),
            ]
        )
    if output.is_terminal():
        output.line()
    output.table(
        ["work", "state", "since", "took", "run", "holds"], rows, empty="Nothing has run on it.", optional=["run"]
    )
