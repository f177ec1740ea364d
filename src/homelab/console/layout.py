"""Where the boxes of a graph go: layers from left to right, few crossings, short edges. Pure and deterministic.

A node stands right of all it needs (longest path). Edges over several layers get a place in each, so that they cross
no box. Order within a layer is improved from several beginnings by medians and swaps of neighbours (Gansner et al.
1993, "A technique for drawing directed graphs"), heights by the mean of the neighbours. Components are laid out alone
and packed into rows. Sizes are pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

ROW = 40
"""From the top of one box to the next below it."""
BOX = 28
GAP = 56
"""Between two layers."""
_SPACE = 24
_SWEEPS = 24
_PATIENCE = 6
_BIG = 400
"""Nodes, passing edges included, above which a component gets less time."""
_SWAPS = 6
_SETTLE = 6
_SLOT = 16
"""Height that a passing edge takes in a layer."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """One node: its upper left corner and its size."""

    x: int
    y: int
    width: int
    height: int = BOX


@dataclass(frozen=True, kw_only=True)
class Line:
    """One edge: from the right side of `source` to the left side of `target`, through `points` (x, y)."""

    source: str
    target: str
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    boxes: Mapping[str, Box] = field(default_factory=dict[str, Box])
    lines: tuple[Line, ...] = ()
    width: int = 0
    height: int = 0


Edge = tuple[str, str]


def layout(widths: Mapping[str, int], edges: Sequence[Edge], *, wide: int = 1200) -> Layout:
    """Boxes for the nodes of `widths` (name to width) and lines for `edges` (upstream, downstream).

    Edges of which an end is unknown, loops, doubles and edges that would close a cycle are left out. Components are
    packed into rows of about `wide` pixels, those with edges first, in the order of their first node.
    """
    clean = _acyclic(list(widths), edges)
    groups = components(list(widths), clean)
    related = [g for g in groups if len(g) > 1]
    alone = [g[0] for g in groups if len(g) == 1]
    inside: dict[str, list[Edge]] = {}
    home = {name: group[0] for group in related for name in group}
    for edge in clean:
        inside.setdefault(home[edge[0]], []).append(edge)
    parts = [_component(group, widths, inside[group[0]]) for group in related]
    boxes, lines, height = _packed(parts, wide)
    height = _grid(alone, widths, boxes, top=height, wide=wide)
    right = max((b.x + b.width for b in boxes.values()), default=0)
    right = max([right, *(x for line in lines for x, _ in line.points)])
    return Layout(boxes=boxes, lines=tuple(lines), width=right, height=height)


def components(nodes: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """The connected sets of nodes, each in the given order, in the order of their first nodes."""
    near: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    place = {name: n for n, name in enumerate(nodes)}
    seen: set[str] = set()
    found: list[list[str]] = []
    for name in nodes:
        if name in seen:
            continue
        group, waiting = [name], [name]
        seen.add(name)
        while waiting:
            for other in near[waiting.pop()]:
                if other not in seen:
                    seen.add(other)
                    group.append(other)
                    waiting.append(other)
        found.append(sorted(group, key=place.__getitem__))
    return found


def _acyclic(nodes: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    """The edges between known nodes, each once, without those that go back along a path already taken."""
    known = set(nodes)
    down: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in dict.fromkeys(edges):
        if a in known and b in known and a != b:
            down[a].append(b)
    kept: list[Edge] = []
    state: dict[str, int] = {}
    for root in nodes:
        if root in state:
            continue
        state[root] = 1
        trail = [(root, iter(down[root]))]
        while trail:
            name, rest = trail[-1]
            for child in rest:
                if state.get(child) == 1:
                    continue  # back along the trail: it would close a cycle
                kept.append((name, child))
                if child not in state:
                    state[child] = 1
                    trail.append((child, iter(down[child])))
                    break
            else:
                state[name] = 2
                trail.pop()
    return kept


def ranks(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Each node's layer: right of all it needs, and no further from what needs it than it must be. `edges` must be
    free of cycles."""
    ups: dict[str, int] = dict.fromkeys(nodes, 0)
    down: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        ups[b] += 1
        down[a].append(b)
    in_degree = dict(ups)
    rank = dict.fromkeys(nodes, 0)
    ready = [name for name in nodes if not ups[name]]
    order: list[str] = []
    while ready:
        name = ready.pop()
        order.append(name)
        for child in down[name]:
            rank[child] = max(rank[child], rank[name] + 1)
            ups[child] -= 1
            if not ups[child]:
                ready.append(child)
    for name in reversed(order):  # shorter edges: what is needed more than it needs moves to what needs it
        if len(down[name]) > in_degree[name]:
            rank[name] = min(rank[child] for child in down[name]) - 1
    return rank


@dataclass
class _Layered:
    """A component in layers. Nodes are numbers; those from `real` on stand for edges that pass a layer."""

    layers: list[list[int]]
    up: list[list[int]]
    down: list[list[int]]
    real: int
    chains: dict[Edge, list[int]]


def _layered(nodes: Sequence[str], edges: Sequence[Edge]) -> _Layered:
    rank = ranks(nodes, edges)
    number = {name: n for n, name in enumerate(nodes)}
    layers: list[list[int]] = [[] for _ in range(max(rank.values()) + 1)]
    for name in nodes:
        layers[rank[name]].append(number[name])
    up: list[list[int]] = [[] for _ in nodes]
    down: list[list[int]] = [[] for _ in nodes]
    chains: dict[Edge, list[int]] = {}
    for a, b in edges:
        last = number[a]
        chain: list[int] = []
        for layer in range(rank[a] + 1, rank[b]):
            chain.append(len(up))
            layers[layer].append(len(up))
            up.append([last])
            down.append([])
            down[last].append(chain[-1])
            last = chain[-1]
        down[last].append(number[b])
        up[number[b]].append(last)
        chains[a, b] = chain
    return _Layered(layers, up, down, len(nodes), chains)


def _component(nodes: Sequence[str], widths: Mapping[str, int], edges: Sequence[Edge]) -> Layout:
    made = _layered(nodes, edges)
    _order(made)
    middle = _heights(made)
    wide = [max((widths[nodes[n]] for n in layer if n < made.real), default=0) for layer in made.layers]
    left = [sum(wide[:i]) + GAP * i for i in range(len(wide))]
    boxes: dict[str, Box] = {}
    through: dict[int, list[tuple[int, int]]] = {}
    for place, layer in enumerate(made.layers):
        for n in layer:
            if n < made.real:
                boxes[nodes[n]] = Box(x=left[place], y=middle[n] - BOX // 2, width=widths[nodes[n]])
            else:
                through[n] = [(left[place], middle[n]), (left[place] + wide[place], middle[n])]
    lines: list[Line] = []
    for (a, b), chain in made.chains.items():
        source, target = boxes[a], boxes[b]
        points = [(source.x + source.width, source.y + BOX // 2)]
        for n in chain:
            points += through[n]
        points.append((target.x, target.y + BOX // 2))
        lines.append(Line(source=a, target=b, points=tuple(points)))
    height = max(middle) + BOX // 2 + max(0, (ROW - BOX) // 2)
    return Layout(boxes=boxes, lines=tuple(lines), width=left[-1] + wide[-1], height=height)


def _order(made: _Layered) -> None:
    """Fewer crossings: from several first orders the best that is found. A big component gets one, for its time."""
    place = [0] * len(made.up)
    best, fewest = made.layers, -1
    is_big = len(made.up) > _BIG
    for first in [made.layers] if is_big else _first_orders(made):
        copy = replace(made, layers=[list(layer) for layer in first])
        layers, crossed = _improved(copy, place, patience=2 if is_big else _PATIENCE)
        if fewest < 0 or crossed < fewest:
            best, fewest = layers, crossed
        if fewest == 0:
            break
    made.layers[:] = best


def _first_orders(made: _Layered) -> list[list[list[int]]]:
    """As given, backwards, and as a walk from what needs nothing meets the nodes, in both directions."""
    orders = [made.layers, [layer[::-1] for layer in made.layers]]
    roots = [n for layer in made.layers for n in layer if not made.up[n]]
    for step in (1, -1):
        met: dict[int, int] = {}
        waiting = roots[::-step]
        while waiting:
            node = waiting.pop()
            if node not in met:
                met[node] = len(met)
                waiting += made.down[node][::-step]
        orders.append([sorted(layer, key=met.__getitem__) for layer in made.layers])
    return orders


def _improved(made: _Layered, place: list[int], *, patience: int) -> tuple[list[list[int]], int]:
    """(layers, crossings): sweeps by the median of the neighbours in the layer before, then swaps of neighbours; the
    best order met. Ends when `patience` sweeps in a row brought nothing. Equal medians change sides in turn, which
    leads out of orders that no single change makes better."""
    for layer in made.layers:
        _number(layer, place)
    best, fewest, idle = [list(layer) for layer in made.layers], _crossings(made, place), 0
    for sweep in range(_SWEEPS):
        if fewest == 0 or idle == patience:
            break
        forward, side = sweep % 2 == 0, -1 if sweep % 4 >= 2 else 1
        near = made.up if forward else made.down
        for i in range(1, len(made.layers)) if forward else range(len(made.layers) - 2, -1, -1):
            layer = made.layers[i]
            layer.sort(key=lambda n: (median([place[m] for m in near[n]]) if near[n] else place[n], side * place[n]))
            _number(layer, place)
        _swap(made, place)
        crossed, idle = _crossings(made, place), idle + 1
        if crossed < fewest:
            best, fewest, idle = [list(layer) for layer in made.layers], crossed, 0
    return best, fewest


def _swap(made: _Layered, place: list[int]) -> None:
    """Exchange neighbours in a layer while that takes crossings away."""
    near = [[made.up[n], made.down[n]] for n in range(len(made.up))]
    for _ in range(_SWAPS):
        is_better = False
        for layer in made.layers:
            for i in range(len(layer) - 1):
                first, second = layer[i], layer[i + 1]
                gain = 0
                for ones, others in zip(near[first], near[second], strict=True):
                    for one in ones:
                        at = place[one]
                        for other in others:
                            gain += (at > place[other]) - (at < place[other])
                if gain > 0:
                    layer[i], layer[i + 1] = second, first
                    place[first], place[second] = i + 1, i
                    is_better = True
        if not is_better:
            return


def _number(layer: Sequence[int], place: list[int]) -> None:
    for n, node in enumerate(layer):
        place[node] = n


def _crossings(made: _Layered, place: Sequence[int]) -> int:
    """Pairs of edges between neighbouring layers that cross: inversions, counted with a binary indexed tree."""
    total = 0
    for upper, lower in zip(made.layers, made.layers[1:], strict=False):
        ends = [p for n in upper for p in sorted(place[m] for m in made.down[n])]
        tree = [0] * (len(lower) + 1)
        for seen, end in enumerate(ends):
            at, below = end + 1, 0
            while at:
                below += tree[at]
                at &= at - 1
            total += seen - below
            at = end + 1
            while at <= len(lower):
                tree[at] += 1
                at += at & -at
    return total


def _heights(made: _Layered) -> list[int]:
    """The middle of each node: near the mean of its neighbours, in the layer's order, nothing too close."""
    need = [ROW if n < made.real else _SLOT for n in range(len(made.up))]
    middle = [0.0] * len(need)
    for layer in made.layers:
        at = 0.0
        for n in layer:
            middle[n] = at + need[n] / 2
            at += need[n]
    for sweep in range(_SETTLE):
        forward = sweep % 2 == 0
        near = made.up if forward else made.down
        for layer in made.layers if forward else made.layers[::-1]:
            wish = [sum(middle[m] for m in near[n]) / len(near[n]) if near[n] else middle[n] for n in layer]
            _settle(layer, wish, need, middle)
    top = min(middle[n] - need[n] / 2 for layer in made.layers for n in layer)
    return [round(m - top) for m in middle]


def _settle(layer: Sequence[int], wish: Sequence[float], need: Sequence[int], middle: list[float]) -> None:
    """Positions nearest to the wishes (least squares) that keep order and distance: pool adjacent violators."""
    offset: list[float] = []
    at = 0.0
    for i, n in enumerate(layer):
        at += (need[layer[i - 1]] + need[n]) / 2 if i else 0.0
        offset.append(at)
    blocks: list[tuple[float, int]] = []  # (sum of wish - offset, how many)
    for w, o in zip(wish, offset, strict=True):
        total, count = w - o, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    i = 0
    for total, count in blocks:
        for _ in range(count):
            middle[layer[i]] = total / count + offset[i]
            i += 1


def _packed(parts: Sequence[Layout], wide: int) -> tuple[dict[str, Box], list[Line], int]:
    """The components in rows, each row as high as its highest."""
    boxes: dict[str, Box] = {}
    lines: list[Line] = []
    x = y = high = 0
    for part in parts:
        if x and x + part.width > wide:
            x, y, high = 0, y + high + _SPACE, 0
        for name, box in part.boxes.items():
            boxes[name] = Box(x=box.x + x, y=box.y + y, width=box.width)
        for line in part.lines:
            points = tuple((a + x, b + y) for a, b in line.points)
            lines.append(Line(source=line.source, target=line.target, points=points))
        x, high = x + part.width + _SPACE * 2, max(high, part.height)
    return boxes, lines, y + high


def _grid(names: Sequence[str], widths: Mapping[str, int], boxes: dict[str, Box], *, top: int, wide: int) -> int:
    """Nodes without edges, side by side below the rest; the height of everything."""
    if not names:
        return top
    y = top + _SPACE if top else 0
    column = max(widths[name] for name in names) + _SPACE // 2
    fit = max(1, wide // column)
    for n, name in enumerate(names):
        boxes[name] = Box(x=n % fit * column, y=y + n // fit * (BOX + 10), width=widths[name])
    return y + ((len(names) - 1) // fit) * (BOX + 10) + BOX
