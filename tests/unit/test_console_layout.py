"""The graph's layout: nothing overlaps, everything points forward, always the same, and fast."""

import random
import time
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.console.layout import BOX, Layout, components, layout, ranks
from homelab.console.picture import BIG, Edge, Node, folded, svg

NAMES = [f"job-{n}" for n in range(24)]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Some nodes with widths, any edges between them: cycles, loops, doubles and unknown ends included."""
    names = NAMES[: draw(st.integers(1, 24))]
    widths = {name: draw(st.integers(40, 320)) for name in names}
    ends = st.sampled_from([*names, "nobody"])
    return widths, draw(st.lists(st.tuples(ends, ends), max_size=60))


def overlaps(made: Layout) -> list[tuple[str, str]]:
    return [
        (a, b)
        for (a, one), (b, two) in combinations(made.boxes.items(), 2)
        if one.x < two.x + two.width and two.x < one.x + one.width and one.y < two.y + BOX and two.y < one.y + BOX
    ]


@given(graphs())
@settings(deadline=None)  # the machine may be busy
def test_every_node_has_its_place_and_no_two_overlap(graph: tuple[dict[str, int], list[tuple[str, str]]]) -> None:
    widths, edges = graph
    made = layout(widths, edges)
    assert set(made.boxes) == set(widths)
    assert overlaps(made) == []
    for box in made.boxes.values():
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= made.width
        assert box.y + box.height <= made.height


@given(graphs())
@settings(deadline=None)  # the machine may be busy
def test_every_edge_points_forward_from_box_to_box(graph: tuple[dict[str, int], list[tuple[str, str]]]) -> None:
    widths, edges = graph
    made = layout(widths, edges)
    for line in made.lines:
        source, target = made.boxes[line.source], made.boxes[line.target]
        assert line.points[0] == (source.x + source.width, source.y + BOX // 2)
        assert line.points[-1] == (target.x, target.y + BOX // 2)
        xs = [x for x, _ in line.points]
        assert xs == sorted(xs)
        assert xs[0] < xs[-1]
    assert {(line.source, line.target) for line in made.lines} <= set(edges)


@given(graphs())
@settings(deadline=None)  # the machine may be busy
def test_the_same_graph_is_drawn_the_same(graph: tuple[dict[str, int], list[tuple[str, str]]]) -> None:
    assert layout(*graph) == layout(*graph)


@given(graphs())
@settings(deadline=None)  # the machine may be busy
def test_an_edge_is_only_left_out_when_it_would_close_a_cycle(
    graph: tuple[dict[str, int], list[tuple[str, str]]],
) -> None:
    widths, edges = graph
    kept = {(line.source, line.target) for line in layout(widths, edges).lines}
    rank = ranks(list(widths), sorted(kept))
    for a, b in set(edges) - kept:
        if a in widths and b in widths and a != b:
            assert rank[b] < rank[a]  # b comes before a: the edge points back


def test_two_edges_that_need_not_cross_do_not() -> None:
    made = layout(dict.fromkeys("abcd", 80), [("a", "d"), ("b", "c")])
    wants = made.boxes["a"].y < made.boxes["b"].y
    assert (made.boxes["d"].y < made.boxes["c"].y) == wants


def test_a_long_edge_passes_beside_the_boxes_between() -> None:
    made = layout(dict.fromkeys("abc", 80), [("a", "b"), ("b", "c"), ("a", "c")])
    line = next(line for line in made.lines if (line.source, line.target) == ("a", "c"))
    box = made.boxes["b"]
    assert [y for x, y in line.points if box.x <= x <= box.x + box.width and box.y <= y <= box.y + BOX] == []


def test_five_hundred_jobs_are_laid_out_in_less_than_300_ms_of_cpu() -> None:
    chance = random.Random(3)
    names = [f"job-{n}" for n in range(500)]
    edges = [
        (names[max(0, n - 1 - int(chance.expovariate(0.05)))], names[n])
        for n in range(1, 500)
        for _ in range(chance.choice((0, 1, 1, 2, 3)))
    ]
    spent: list[float] = []
    for _ in range(3):
        begun = time.process_time()
        layout(dict.fromkeys(names, 120), edges)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.3, spent


def test_components_come_in_the_order_of_their_first_nodes() -> None:
    assert components(["c", "a", "b", "d"], [("a", "d")]) == [["c"], ["a", "d"], ["b"]]


def chain(name: str, count: int) -> tuple[list[Node], list[Edge]]:
    nodes = [Node(name=f"{name}-{n}", state="succeeded", link="/") for n in range(count)]
    return nodes, [Edge(source=f"{name}-{n}", target=f"{name}-{n + 1}") for n in range(count - 1)]


def test_big_groups_of_a_big_lab_are_one_box_each_until_opened() -> None:
    nodes, edges = chain("a", 100)
    more, links = chain("b", BIG - 1)
    rest = [Node(name=f"c-{n}") for n in range(100)]
    shown, lines = folded([*nodes, *more, *rest], [*edges, *links], opened=[])
    assert [(n.name, n.folded) for n in shown if n.folded] == [("a-0", 100)]
    assert len(shown) == 1 + BIG - 1 + 100
    assert len(lines) == BIG - 2
    assert len(folded([*nodes, *more, *rest], edges, opened=["a-0"])[0]) == 100 + BIG - 1 + 100


def test_a_folded_box_shows_the_worst_state_of_what_it_holds() -> None:
    nodes, edges = chain("a", 200)
    nodes[77] = Node(name="a-77", state="failed")
    assert folded(nodes, edges, opened=[])[0][0].state == "failed"


def test_a_picture_escapes_what_jobs_are_called_and_stays_small_for_names_of_a_megabyte() -> None:
    hostile = "<script>\u202e&\"'\x00"
    made = svg([Node(name=hostile, state="failed", link='/"><b>'), Node(name="x" * 1_000_000)], [])
    assert "<script" not in made
    assert "<b>" not in made
    assert "\u202e" not in made
    assert len(made) < 5000
