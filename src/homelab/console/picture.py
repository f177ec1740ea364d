"""The graph of jobs as SVG: boxes that say their state by shape, word and colour, lines that point forward. Pure.

Big components can be folded into one box each, so that hundreds of jobs stay one picture.
"""

import hashlib
import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from urllib.parse import quote

from markupsafe import Markup

from homelab.console import layout
from homelab.console.words import counted, mark, short

FOLD_ABOVE = 150
"""Jobs above which big components are folded until somebody opens them."""
BIG = 24
GROUP = 3
FITS = 1400
"""Pixels. A picture no wider is made smaller where there is less room, and stays readable."""
_NAME = 30
_WORST = ("bad", "warn", "run", "idle", "good")


@dataclass(frozen=True, kw_only=True)
class Node:
    """`state` as the API has it, "" when it never ran. `link`: where it leads."""

    name: str
    state: str = ""
    link: str = ""
    note: str = ""
    folded: int = 0
    """How many jobs this box stands for; 0: it is one job."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    source: str
    target: str
    dashed: bool = False


def folded(nodes: Sequence[Node], edges: Sequence[Edge], *, opened: Collection[str]) -> tuple[list[Node], list[Edge]]:
    """The graph with its big components as one box each, but for those that `opened` names (by their first job, or
    "all"). A graph of at most `FOLD_ABOVE` jobs stays as it is, unless `opened` has "none": then every group is one
    box, but for those it names."""
    if "all" in opened or ("none" not in opened and len(nodes) <= FOLD_ABOVE):
        return list(nodes), list(edges)
    smallest = GROUP if "none" in opened else BIG
    by_name = {node.name: node for node in nodes}
    pairs = [(e.source, e.target) for e in edges if e.source in by_name and e.target in by_name]
    gone: dict[str, str] = {}
    made: list[Node] = []
    for group in layout.components(list(by_name), pairs):
        if len(group) < smallest or group[0] in opened:
            made += [by_name[name] for name in group]
            continue
        gone |= dict.fromkeys(group, group[0])
        states = sorted((by_name[name].state for name in group), key=lambda s: _WORST.index(mark(s).tone))
        link = "?" + "&".join(f"open={quote(name, safe='')}" for name in [*opened, group[0]])
        made.append(Node(name=group[0], state=states[0], link=link, folded=len(group)))
    return made, [e for e in edges if e.source not in gone and e.target not in gone]


def cells(text: str) -> int:
    """How many narrow characters wide a text is."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def label(node: Node) -> str:
    return f"{short(node.name, _NAME)} + {node.folded - 1}" if node.folded else short(node.name, _NAME)


def drawn_order(nodes: Sequence[Node]) -> list[Node]:
    """The boxes as they are numbered in the picture: those that stand for many first."""
    return sorted(nodes, key=lambda node: not node.folded)


def states(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, str]:
    """What an open picture needs to stay true without being drawn again: `shape` (of boxes and arrows; when it differs
    the picture is another), `marks` (tone, symbol, word) and, for each box in order, the number of its mark."""
    ordered = drawn_order(nodes)
    marks = list(dict.fromkeys(mark(node.state) for node in ordered))
    number = {look: n for n, look in enumerate(marks)}
    shape = repr([(n.name, n.folded) for n in ordered] + [(e.source, e.target, e.dashed) for e in edges])
    return {
        "shape": hashlib.sha256(shape.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        "marks": json.dumps([(look.tone, look.shape, look.word) for look in marks]),
        "states": ",".join(str(number[mark(node.state)]) for node in ordered),
    }


def svg(
    nodes: Sequence[Node], edges: Sequence[Edge], *, selected: str = "", wide: int = 1200, title: str = "Jobs"
) -> Markup:
    """The picture. Each box is a link; a list of the same for screen readers is the caller's."""
    nodes = drawn_order(nodes)
    widths = {node.name: 40 + round(7.8 * cells(label(node))) for node in nodes}
    made = _laid_out(tuple(widths.items()), tuple((e.source, e.target) for e in edges), wide)
    dashed = {(e.source, e.target) for e in edges if e.dashed}
    number = {node.name: n for n, node in enumerate(nodes)}
    parts = [_path(line, number, is_dashed=(line.source, line.target) in dashed) for line in made.lines]
    parts += [_box(node, made.boxes[node.name], number[node.name], is_selected=node.name == selected) for node in nodes]
    says = f"{title}: {counted(len(nodes), 'box', 'boxes')}, {counted(len(made.lines), 'arrow')}"
    fits = " fits" if made.width < FITS else ""
    return Markup(
        f'<svg class="graph{fits}" viewBox="-8 -8 {made.width + 16} {made.height + 16}" width="{made.width + 16}"'
        f' height="{made.height + 16}" role="group" aria-label="{escape(says)}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 1 7 4 0 7z"/></marker></defs>{"".join(parts)}</svg>'
    )


@lru_cache(maxsize=32)
def _laid_out(widths: tuple[tuple[str, int], ...], edges: tuple[layout.Edge, ...], wide: int) -> layout.Layout:
    """States change all the time, boxes and arrows only when the lab does."""
    return layout.layout(dict(widths), edges, wide=wide)


def _path(line: layout.Line, number: Mapping[str, int], *, is_dashed: bool) -> str:
    (x, y), *rest = line.points
    words = [f"M{x} {y}"]
    for n, (tx, ty) in enumerate(rest):
        if n % 2 == 1 and ty == y:  # along a layer, beside its boxes
            words.append(f"H{tx}")
        else:
            bend = (x + tx) // 2
            words.append(f"C{bend} {y} {bend} {ty} {tx} {ty}")
        x, y = tx, ty
    kind = "edge dashed" if is_dashed else "edge"
    return (
        f'<path class="{kind}" d="{"".join(words)}" marker-end="url(#tip)"'
        f' data-from="{number[line.source]}" data-to="{number[line.target]}"/>'
    )


def _box(node: Node, box: layout.Box, number: int, *, is_selected: bool) -> str:
    look = mark(node.state)
    says = f"{short(node.name, 120)}, {look.word}" + (f", {node.note}" if node.note else "")
    if node.folded:
        says = f"{counted(node.folded, 'job')} around {short(node.name, 120)}, the worst {look.word}: open"
    kind = f"node tone-{look.tone}" + (" selected" if is_selected else "") + (" folded" if node.folded else "")
    stack = f'<rect class="under" x="3" y="3" width="{box.width}" height="{box.height}" rx="6"/>' if node.folded else ""
    current = ' aria-current="true"' if is_selected else ""
    around = f' data-around="{escape(says.partition(look.word + ": open")[0])}"' if node.folded else ""
    inner = (
        f'<g class="{kind}" data-n="{number}" data-name="{escape(short(node.name, 120))}"{around}'
        f' transform="translate({box.x} {box.y})"><title>{escape(says)}</title>{stack}'
        f'<rect width="{box.width}" height="{box.height}" rx="6"/>'
        f'<use href="#s-{look.shape}" x="8" y="7" width="14" height="14"/>'
        f'<text x="28" y="18">{escape(label(node))}</text></g>'
    )
    return f'<a href="{escape(node.link)}" aria-label="{escape(says)}"{current}>{inner}</a>' if node.link else inner
