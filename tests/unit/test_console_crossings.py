"""The graph's layout beside that of Graphviz, the reference: about as few crossings, on labs and on chance."""

import json
import random
import shutil
import subprocess
from itertools import pairwise

import pytest
from tests import history

from homelab.console.layout import layout
from homelab.core import labfile

Point = tuple[float, float]
Lines = dict[tuple[str, str], list[Point]]
Graph = tuple[list[str], list[tuple[str, str]]]

pytestmark = pytest.mark.skipif(
    shutil.which("dot") is None, reason="no Graphviz on this machine: tests/system-packages.sh installs it"
)


def crossings(lines: Lines) -> int:
    """Pairs of edges without a common end that cross, as drawn."""
    parts = [(edge, a, b) for edge, points in lines.items() for a, b in pairwise(points)]

    def side(a: Point, b: Point, c: Point) -> bool:
        return (b[0] - a[0]) * (c[1] - a[1]) > (b[1] - a[1]) * (c[0] - a[0])

    crossed: set[tuple[tuple[str, str], tuple[str, str]]] = set()
    for n, (one, a, b) in enumerate(parts):
        for other, c, d in parts[:n]:
            is_apart = max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0])
            if (
                not is_apart
                and not {*one} & {*other}
                and side(a, b, c) != side(a, b, d)
                and side(c, d, a) != side(c, d, b)
            ):
                crossed.add((one, other))
    return len(crossed)


def ours(graph: Graph) -> int:
    made = layout(dict.fromkeys(graph[0], 100), graph[1])
    return crossings({(line.source, line.target): list(line.points) for line in made.lines})


def graphviz(graph: Graph) -> int:
    nodes = "".join(f'"{name}";' for name in graph[0])
    edges = "".join(f'"{a}" -> "{b}";' for a, b in graph[1])
    style = "rankdir=LR; splines=polyline; node [shape=box fixedsize=true width=1.4 height=0.4];"
    text = f"digraph {{{style} {nodes} {edges}}}"
    drawn = json.loads(subprocess.run(["dot", "-Tjson"], input=text, text=True, capture_output=True, check=True).stdout)
    names = [node["name"] for node in drawn["objects"]]
    lines: Lines = {}
    for edge in drawn["edges"]:
        points = [p.removeprefix("e,").split(",") for p in edge["pos"].split(" ")]
        end, *rest = [(float(x), float(y)) for x, y in points]  # it writes the tip of the arrow first
        lines[names[edge["tail"]], names[edge["head"]]] = [*rest, end]
    return crossings(lines)


def of_lab(text: str) -> Graph:
    lab, problems = labfile.parse({"lab.toml": text}, main="lab.toml")
    assert lab is not None, problems
    return [job.name for job in lab.jobs], [(need.job, job.name) for job in lab.jobs for need in job.needs]


def of_chance(seed: int, count: int) -> Graph:
    chance = random.Random(seed)
    names = [f"job-{n}" for n in range(count)]
    back = [
        (n, max(0, n - 1 - int(chance.expovariate(0.15))))
        for n in range(1, count)
        for _ in range(chance.choice((1, 1, 2)))
    ]
    return names, sorted({(names[a], names[b]) for b, a in back})


def test_the_reference_lab_is_drawn_without_a_crossing_as_graphviz_draws_it() -> None:
    graph = of_lab(history.LAB.read_text())
    assert (ours(graph), graphviz(graph)) == (0, 0)


def test_crossings_are_few_beside_those_of_graphviz() -> None:
    graphs = [of_chance(seed, count) for seed in range(6) for count in (15, 30, 60)] + [of_lab(history.large_lab(300))]
    mine, reference = sum(map(ours, graphs)), sum(map(graphviz, graphs))
    assert reference > 50, "the graphs are too simple to compare"
    assert mine <= reference * 1.4, (mine, reference)
