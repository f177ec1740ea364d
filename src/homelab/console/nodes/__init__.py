"""*Nodes*: the machines, how full each is and by whom, what waits and why, what was on them; draining, waking and
removing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from homelab.console import forms, words
from homelab.console.forms import Question
from homelab.console.live import version
from homelab.console.nodes import bars, timeline
from homelab.console.rendering import fragment, respond, url_part
from homelab.console.screen import Parts, Screen, change, look
from homelab.control.access import allows
from homelab.control.api.routes_fleet import removed
from homelab.control.api.routing import Asked, Site
from homelab.core.errors import HomelabError, RefusedError

HERE = "Nodes"
CARDS = 12
"""So many machines have a card each; more are a table."""
HOURS = 6.0
NEWEST = 2000
"""Of what was on the machines, so much is drawn: a busy lab shows fewer hours."""
WAITING = 30
"""Of what waits, so much is shown; the rest is counted."""
REASONS = 4
PARTS = ("head", "machines", "queue", "timeline")


async def values(site: Site) -> dict[str, Any]:
    """Everything that the screen shows."""
    now = datetime.now(UTC)
    fleet = site.control.fleet
    nodes = await fleet.nodes()
    leases = await fleet.leases(timedelta(hours=HOURS), limit=NEWEST)
    waits = await fleet.queue()
    colours = bars.hues(bars.owners(nodes), (str(one["owner"]) for one in leases))
    return {
        "nodes": nodes if len(nodes) <= CARDS else sorted(nodes, key=is_well),
        "headline": headline(nodes, waits),
        "as_cards": len(nodes) <= CARDS,
        "colours": colours,
        "bars": bars,
        "waits": [{**one, **told_reasons(one["reasons"])} for one in waits[:WAITING]],
        "waiting": len(waits),
        **past(nodes, leases, now, colours),
        "now": now,
    }


def is_well(node: Mapping[str, Any]) -> bool:
    """Nothing to look at; in a long list the others come first."""
    return node["state"] in ("ready", "asleep", "stopped") and not node["problems"]


def headline(nodes: Sequence[Mapping[str, Any]], waits: Sequence[object]) -> str:
    """`3 machines, one of them unreachable · 8 pieces of work · 3 wait`."""
    states = Counter(str(node["state"]) for node in nodes if node["state"] != "ready")
    said = [words.counted(len(nodes), "machine")]
    said += [f"{count} {state}" for state, count in sorted(states.items())]
    said.append(f"{words.counted(sum(node['holds'] for node in nodes), 'piece')} of work")
    if waits:
        said.append(f"{len(waits)} {'waits' if len(waits) == 1 else 'wait'} for room")
    return " · ".join(said)


def told_reasons(reasons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The reasons of the first machines (`node`, the gravest `first`, the `rest`), and of how many
    machines they are left out."""
    told: list[dict[str, str]] = []
    for one in reasons[:REASONS]:
        first, also, rest = str(one["reason"]).removeprefix(f"{one['node']}: ").partition("; also, ")
        told.append({"node": str(one["node"]), "first": first, "rest": also.removeprefix("; ") + rest})
    return {"told": told, "more": len(reasons[REASONS:])}


def past(
    nodes: Sequence[Mapping[str, Any]], leases: Sequence[Mapping[str, Any]], now: datetime, colours: Mapping[str, str]
) -> dict[str, Any]:
    """The rows of the timeline: machines on which there was something, and those that are there."""
    over = timeline.window(now, hours_of(leases, now))
    of: dict[str, list[Mapping[str, Any]]] = {str(node["name"]): [] for node in nodes}
    for lease in leases:
        of.setdefault(str(lease["node"]), []).append(lease)
    busy = {name: held for name, held in of.items() if held or len(nodes) <= CARDS}
    known = {str(node["name"]) for node in nodes}
    rows = [(name, name in known, timeline.row(name, held, over, colours)) for name, held in busy.items()]
    return {"lanes": rows, "axis": timeline.axis(over), "since": over.start}


def hours_of(leases: Sequence[Mapping[str, Any]], now: datetime) -> float:
    """How many hours are told whole: where not all was read, those since the oldest that was."""
    if len(leases) < NEWEST:
        return HOURS
    oldest = min(words.moment(one["taken"]) or now for one in leases)
    return min(HOURS, max(0.25, (now - oldest).total_seconds() / 3600))


async def parts(site: Site, _: str) -> Parts:
    found = await values(site)
    return {f"nodes-{name}": str(fragment(f"nodes/{name}.html", **found)) for name in PARTS}


async def show(asked: Asked) -> Response:
    at = version()
    found = await values(asked.view)
    return respond(asked, "nodes/nodes.html", title="Nodes", here=HERE, live="nodes", version=at, **found)


# -- one machine ------------------------------------------------------------------------------------------------------


def acts(node: Mapping[str, Any], role: str) -> list[tuple[str, str]]:
    """(word, class of the button) of what the role can do about a machine."""
    found: list[tuple[str, str]] = []
    if allows(role, "operate"):
        if node["is_away"] and node["wakeable"]:
            found.append(("Wake", " main"))
        found.append(("Undrain", " main") if node["drained_since"] else ("Drain", ""))
    if allows(role, "admin"):
        found.append(("Remove", ""))
    return found


async def one(site: Site, name: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    node = await site.control.fleet.node(name)
    held = [*({**lease, "ended": None, "how": ""} for lease in node["leases"]), *node["recent"]]
    colours = bars.hues(bars.owners([node]), (str(lease["owner"]) for lease in held))
    over = timeline.window(now, HOURS)
    return {
        "node": node,
        "acts": acts(node, site.role),
        "colours": colours,
        "bars": bars,
        "axis": timeline.axis(over),
        "lane": timeline.row(name, held, over, colours),
        "since": over.start,
        "now": now,
    }


async def node_parts(site: Site, name: str) -> Parts:
    found = await one(site, name)
    names = ("state", "acts", "notes", "capacity", "held", "past")
    return {f"node-{part}": str(fragment(f"nodes/node_{part}.html", **found)) for part in names}


async def show_node(asked: Asked) -> Response:
    at, name = version(), asked.path("name")
    found = await one(asked.view, name)
    return respond(asked, "nodes/node.html", title=name, here=HERE, live=f"node:{name}", version=at, **found)


# -- acts -------------------------------------------------------------------------------------------------------------


async def _question(asked: Asked, action: str, *, problem: str = "") -> Response:
    name = asked.path("name")
    found = await asked.site.control.fleet.preview(name, action)
    node = await asked.site.control.fleet.node(name)
    question = Question(
        title=f"{action.capitalize()} {words.short(name)}?",
        will=[words.stamps(sentence) for sentence in found["will"]],
        button=f"{action.capitalize()} it"
        if action != "remove" or not node["leases"]
        else "Give up its work, remove it",
        back=f"/nodes/{url_part(name)}",
        is_grave=found["is_grave"],
        fields="nodes/force_field.html" if action == "remove" else "",
        values={"force": "1" if node["leases"] else ""},
    )
    return forms.ask(asked, question, here=HERE, problem=problem, status=409 if problem else 200)


async def drain_question(asked: Asked) -> Response:
    return await _question(asked, "drain")


async def undrain_question(asked: Asked) -> Response:
    return await _question(asked, "undrain")


async def wake_question(asked: Asked) -> Response:
    return await _question(asked, "wake")


async def remove_question(asked: Asked) -> Response:
    return await _question(asked, "remove")


async def drain(asked: Asked) -> Response:
    return await _want(asked, drained=True)


async def undrain(asked: Asked) -> Response:
    return await _want(asked, drained=False)


async def _want(asked: Asked, *, drained: bool) -> Response:
    fields, name = await forms.read(asked), asked.path("name")
    fleet = asked.site.control.fleet

    async def action() -> str:
        await (fleet.drain if drained else fleet.undrain)(name, asked.by)
        return f"/nodes/{url_part(name)}?did={'drained' if drained else 'undrained'}"

    return await forms.carry_out(asked, fields, action, subject=name)


async def wake(asked: Asked) -> Response:
    fields, name = await forms.read(asked), asked.path("name")

    async def action() -> str:
        woken = await asked.site.control.waking.wake(name, by=asked.by)
        return f"/nodes/{url_part(name)}" + ("?did=asked-to-wake" if woken["sent"] else "")

    try:
        return await forms.carry_out(asked, fields, action, subject=name)
    except RefusedError as error:
        return await _question(asked, "wake", problem=f"{error.message}. {error.hint}")


async def remove(asked: Asked) -> Response:
    """What the page said is done: work that came onto the machine since is not given up unasked."""
    fields, name = await forms.read(asked), asked.path("name")
    force = fields.get("force", [""])[0] == "1"

    async def action() -> str:
        await removed(asked, name, force=force)
        return "/nodes"

    try:
        return await forms.carry_out(asked, fields, action, subject=name, body={"force": force})
    except HomelabError as error:
        return await _question(asked, "remove", problem=error.message)


SCREEN = Screen(
    name=HERE,
    path="/nodes",
    icon="nodes",
    routes=(
        look("/nodes", show, "The machines, what waits, what was on them."),
        look("/nodes/{name}", show_node, "One machine."),
        look("/nodes/{name}/drain", drain_question, "What draining would do.", "operate"),
        change("/nodes/{name}/drain", drain, "Start nothing new on it."),
        look("/nodes/{name}/undrain", undrain_question, "What undraining would do.", "operate"),
        change("/nodes/{name}/undrain", undrain, "Let it take work again."),
        look("/nodes/{name}/wake", wake_question, "What waking would do.", "operate"),
        change("/nodes/{name}/wake", wake, "Send the message that wakes it."),
        look("/nodes/{name}/remove", remove_question, "What removing would do.", "admin"),
        change("/nodes/{name}/remove", remove, "Forget it.", "admin"),
    ),
    live={"nodes": parts, "node": node_parts},
)
