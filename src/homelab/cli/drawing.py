"""Pictures of the jobs and what needs what: text, Mermaid, Graphviz, SVG. Pure: a graph in, text out.

The SVG is laid out in layers (a job stands right of all it needs), rows ordered by the mean row of their neighbours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, cast

from homelab.cli.output import safe, width


@dataclass(frozen=True, kw_only=True)
class Graph:
    """`nodes`: name to schedule (or ''); `edges`: (upstream, downstream, kind), both ends among the nodes."""

    nodes: Mapping[str, str]
    edges: tuple[tuple[str, str, str], ...]

    def upstream(self, name: str) -> list[str]:
        return [a for a, b, _ in self.edges if b == name]

    def downstream(self, name: str) -> list[str]:
        return [b for a, b, _ in self.edges if a == name]


def graph_of(answer: Mapping[str, Any]) -> Graph:
    """The graph in control's answer. Edges to jobs that are not there are dropped."""
    nodes: dict[str, str] = {}
    for node in cast("Iterable[Any]", answer.get("nodes") or []):
        if isinstance(node, dict):
            item = cast("dict[str, Any]", node)
            nodes[str(item.get("name") or item.get("id"))] = str(item.get("schedule") or "")
        else:
            nodes[str(node)] = ""
    edges: list[tuple[str, str, str]] = []
    for edge in cast("Iterable[Any]", answer.get("edges") or []):
        if isinstance(edge, dict):
            item = cast("dict[str, Any]", edge)
            ends = [
                next((str(item[k]) for k in keys if k in item), "")
                for keys in (("from", "source", "upstream"), ("to", "target", "downstream"))
            ]
            kind = str(item.get("kind") or item.get("when") or "")
        else:
            ends, kind = [str(end) for end in edge][:2], ""
        if len(ends) == 2 and ends[0] in nodes and ends[1] in nodes:
            edges.append((ends[0], ends[1], kind))
    return Graph(nodes=nodes, edges=tuple(edges))


def layers(graph: Graph) -> dict[str, int]:
    """Each job's layer: 0 without needs, else one more than the deepest of its needs. A cycle is cut, not followed."""
    depth: dict[str, int] = {}

    def of(name: str, trail: frozenset[str]) -> int:
        if name not in depth:
            above = [of(up, trail | {name}) for up in graph.upstream(name) if up not in trail and up != name]
            depth[name] = max(above, default=-1) + 1
        return depth[name]

    for name in graph.nodes:
        of(name, frozenset())
    return depth


def text(graph: Graph, *, notes: Mapping[tuple[str, str], str] | None = None) -> str:
    """A tree for a terminal: each job under what it needs; one that needs several is drawn in full once. A job that
    waits for one of another schedule is shown with its own.

    `notes`: words for some edges, (upstream, downstream), shown behind the downstream job, with its schedule.
    """
    lines: list[str] = []
    drawn: set[str] = set()
    fresh = {(a, b) for a, b, kind in graph.edges if kind == "freshness"}

    def draw(name: str, above: str, lead: str, mark: str, below: str) -> None:
        is_root = not lead and not mark
        has_own = is_root or notes is not None or (above, name) in fresh
        schedule = f"  ({safe(graph.nodes[name])})" if graph.nodes[name] and has_own else ""
        again = "  (see above)" if name in drawn and graph.downstream(name) else ""
        note = safe((notes or {}).get((above, name), ""))
        lines.append(f"{lead}{mark}{safe(name)}{schedule}{'  ' + note if note else ''}{again}")
        if name in drawn:
            return
        drawn.add(name)
        children = graph.downstream(name)
        for place, child in enumerate(children):
            last = place == len(children) - 1
            draw(child, name, lead + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    roots = [n for n in graph.nodes if not graph.upstream(n)]
    for name in [*roots, *graph.nodes]:  # the second pass draws what only cycles reach
        if name not in drawn:
            draw(name, "", "", "", "")
    return "\n".join(lines)


def plain(tree: str) -> str:
    """The tree in letters that every terminal has."""
    return tree.replace("└─ ", "`- ").replace("├─ ", "|- ").replace("│  ", "|  ")


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart. Names are quoted with entities, so that none can end its label."""
    ids = {name: f"n{i}" for i, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for name in graph.nodes:
        label = "".join(c if c.isalnum() or c in " ._-" else f"#{ord(c)};" for c in safe(name))
        lines.append(f'  {ids[name]}["{label}"]')
    for a, b, kind in graph.edges:
        lines.append(f"  {ids[a]} {'-.->' if kind == 'freshness' else '-->'} {ids[b]}")
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    """A Graphviz digraph."""

    def quoted(name: str) -> str:
        return '"' + safe(name).replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = ["digraph lab {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    lines += [f"  {quoted(name)};" for name in graph.nodes]
    for a, b, kind in graph.edges:
        lines.append(f"  {quoted(a)} -> {quoted(b)}{' [style=dashed]' if kind == 'freshness' else ''};")
    return "\n".join([*lines, "}"])


_ROW, _GAP, _BOX, _MARGIN = 44, 64, 28, 16
_SVG_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#1c2127}rect{fill:#fff;stroke:#8892a0}"
    "path{fill:none;stroke:#8892a0}"
    "@media(prefers-color-scheme:dark){rect{fill:#1c2026}text{fill:#e6e9ed}}</style>"
)


def rows_of(graph: Graph) -> dict[str, int]:
    """Each job's row in its layer: connected jobs stay together, then each beside the mean of what it needs."""
    layer = layers(graph)
    rows: dict[str, int] = {}
    taken: dict[int, set[int]] = {}
    floor = 0
    for group in _components(graph):
        for name in sorted(group, key=lambda n: (layer[n], _mean([rows[u] for u in graph.upstream(n) if u in rows]))):
            above = [rows[u] for u in graph.upstream(name) if u in rows]
            row = max(floor, round(_mean(above))) if above else floor
            while row in taken.setdefault(layer[name], set()):
                row += 1
            taken[layer[name]].add(row)
            rows[name] = row
        floor = max(rows[n] for n in group) + 1
    return rows


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _components(graph: Graph) -> list[list[str]]:
    left = dict.fromkeys(graph.nodes)
    found: list[list[str]] = []
    while left:
        start = next(iter(left))
        group: dict[str, None] = {}
        waiting = [start]
        while waiting:
            name = waiting.pop(0)
            if name not in group:
                group[name] = None
                left.pop(name, None)
                waiting += [*graph.upstream(name), *graph.downstream(name)]
        found.append(list(group))
    return found


def svg(graph: Graph, *, classes: Mapping[tuple[str, str], str] | None = None, is_styled: bool = True) -> str:
    """An SVG picture that follows the reader's light or dark setting. Every name is escaped.

    `classes`: a class for the line of some edges. Not `is_styled`: the page around it says how it looks.
    """
    layer, row = layers(graph), rows_of(graph)
    widths: dict[int, int] = {}
    for name in graph.nodes:
        widths[layer[name]] = max(widths.get(layer[name], 60), 8 * width(safe(name)) + 24)
    left = {i: _MARGIN + sum(widths[k] + _GAP for k in range(i)) for i in range(len(widths))}
    wide = max((left[i] + widths[i] for i in left), default=0) + _MARGIN
    high = (max(row.values(), default=-1) + 1) * _ROW + 2 * _MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}">']
    parts += [_SVG_STYLE] if is_styled else []
    for a, b, kind in graph.edges:
        x1, y1 = left[layer[a]] + widths[layer[a]], row[a] * _ROW + _MARGIN + _BOX // 2
        x2, y2 = left[layer[b]], row[b] * _ROW + _MARGIN + _BOX // 2
        dash = ' stroke-dasharray="4 3"' if kind in ("freshness", "suggested") else ""
        named = f' class="{escape(safe(found))}"' if (found := (classes or {}).get((a, b), "")) else ""
        bend = (x1 + x2) // 2
        parts.append(f'<path d="M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}"{dash}{named}/>')
        parts.append(f'<path d="M{x2 - 6} {y2 - 4}L{x2} {y2}L{x2 - 6} {y2 + 4}"{named}/>')
    for name, schedule in graph.nodes.items():
        x, y = left[layer[name]], row[name] * _ROW + _MARGIN
        title = f"<title>{escape(safe(schedule))}</title>" if schedule else ""
        parts.append(
            f'<g>{title}<rect x="{x}" y="{y}" width="{widths[layer[name]]}" height="{_BOX}" rx="6"/>'
            f'<text x="{x + 12}" y="{y + 18}">{escape(safe(name))}</text></g>'
        )
    return "\n".join([*parts, "</svg>"])
