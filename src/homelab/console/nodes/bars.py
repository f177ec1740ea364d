"""How full a machine is, as bars of SVG: a segment for each owner of a lease, model, other programs; the rest is free.
Pure; no inline styles. Colours are classes, one an owner, the same in every bar and timeline of a page."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from zlib import crc32

from markupsafe import Markup

from homelab.console.words import short
from homelab.core import capacity

Json = Mapping[str, Any]
HUES = 8
"""Colours of owners. More owners than that share some; every segment says whose it is."""
FREE_WORDS = "nothing is held"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """`left` and `wide` in percent of the bar. `look`: a class."""

    left: float
    wide: float
    look: str
    says: str


def hues(machines: Iterable[Collection[str]], before: Iterable[str] = ()) -> dict[str, str]:
    """Owner -> class of its colour, by its name, so that it stays from one look to the next. `machines`: who holds
    something of each now. Those are told apart while there are colours left, and after that those of one machine.
    `before`: owners that hold nothing any more."""
    near: dict[str, set[str]] = {}
    for holding in machines:
        for owner in holding:
            near.setdefault(owner, set()).update(holding)
    found: dict[str, int] = {}
    for owner in sorted(near):
        wanted = [(_wanted(owner) + n) % HUES for n in range(HUES)]
        taken, beside = set(found.values()), {found[other] for other in near[owner] if other in found}
        fresh = [hue for hue in wanted if hue not in taken] or [hue for hue in wanted if hue not in beside] or wanted
        found[owner] = fresh[0]
    return {owner: f"hue-{found.get(owner, _wanted(owner))}" for owner in (*before, *found)}


def _wanted(owner: str) -> int:
    return crc32(owner.encode("utf-8", "replace")) % HUES


def owners(nodes: Iterable[Json]) -> list[set[str]]:
    """Of each machine: who holds something of it, other programs apart."""
    return [{h["owner"] for r in n["resources"] for h in r["held"] if h["kind"] != "others"} for n in nodes]


def amount(resource: str, value: float) -> str:
    """`8 GiB`, `2.5`, as placement says it."""
    return capacity.text(resource, max(0, capacity.of_number(resource, value)))


def title(resource: Json) -> str:
    """`GPU memory 1`: the noun, and which device where there are several."""
    name = capacity.noun(str(resource["resource"]))
    return name if resource["device"] is None else f"{name} {resource['device']}"


def segments(resource: Json, colours: Mapping[str, str]) -> list[Segment]:
    """In the order in which they are told; never beyond the end of the bar."""
    total = float(resource["total"])
    found: list[Segment] = []
    left = 0.0
    for part in resource["held"]:
        wide = min(100.0 - left, float(part["amount"]) / total * 100) if total > 0 else 0.0
        if wide <= 0:
            continue
        says = f"{short(part['owner'], 40)}: {amount(str(resource['resource']), float(part['amount']))}"
        found.append(Segment(left=left, wide=wide, look=look(part, colours), says=says))
        left += wide
    return found


def bar(resource: Json, colours: Mapping[str, str], *, high: int = 12) -> Markup:
    """One resource as a bar as wide as its column. Read aloud it is one sentence."""
    name = str(resource["resource"])
    parts = segments(resource, colours)
    free = f"{amount(name, float(resource['free']))} free of {amount(name, float(resource['total']))}"
    says = escape(f"{title(resource)}: {free}; {', '.join(one.says for one in parts) or FREE_WORDS}")
    drawn = "".join(
        f'<rect class="{one.look}" x="{one.left:.2f}%" width="{max(0.6, one.wide):.2f}%" height="{high}">'
        f"<title>{escape(one.says)}</title></rect>"
        for one in parts
    )
    return Markup(
        f'<svg class="share" width="100%" height="{high}" role="img" aria-label="{says}"><title>{says}</title>'
        f'<rect class="share-ground" width="100%" height="{high}" rx="3"/>{drawn}</svg>'
    )


def legend(holders: Sequence[Json], colours: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(class, owner, what it holds) of everything on a machine, the amounts that tell most."""
    return [(look(one, colours), str(one["owner"]), held(one["amounts"], most=2)) for one in holders]


def look(one: Json, colours: Mapping[str, str]) -> str:
    """The class of whoever holds something."""
    if one["kind"] == "others":
        return "others"
    return colours.get(one["owner"], "hue-0") + (" model" if one["kind"] == "model" else "")


def held(amounts: Mapping[str, float], *, most: int = 9) -> str:
    """`6 GiB memory, 4 cores, 1 slot`: the amounts of a lease, as the API names them."""
    return capacity.telling(capacity.of_json(amounts), most=most) or "–"
