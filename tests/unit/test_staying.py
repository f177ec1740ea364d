"""Where a job may go whose run is on a node already."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.placing import GIB, node, patient, request, some_nodes, some_requests

from homelab.core.capacity import MEMORY
from homelab.core.jobs import Affinity
from homelab.core.placement import Code, Lease, Placement, Rejection, Snapshot, fits, lacks, place, staying


def fleet(*held: tuple[str, int]) -> Snapshot:
    """a with 8 GiB, b with 32 GiB; `held`: GiB of each."""
    leases = [
        Lease(id=f"l-{name}", node=name, owner="other", amounts={MEMORY: size * GIB}, started=0.0)
        for name, size in held
    ]
    return Snapshot.of([node("a", memory=8, cpu=4), node("b", memory=32, cpu=4)], leases)


def test_it_stays_where_it_could_run_even_while_there_is_no_room() -> None:
    there = fleet(("a", 8))
    asked = staying(request(memory=4), "a", there, apart=False)
    assert asked.node == "a"
    assert not isinstance(place(asked, there, 0.0), Placement)


def test_it_goes_where_it_can_run_when_the_node_of_its_run_never_could() -> None:
    asked = staying(request(memory=16), "a", fleet(), apart=False)
    placed = place(asked, fleet(), 0.0)
    assert isinstance(placed, Placement) and placed.node == "b"
    nobody = place(staying(request(memory=64), "a", fleet(), apart=False), fleet(), 0.0)
    assert isinstance(nobody, Rejection)
    assert [code for one in nobody.reasons.values() for code in (r.code for r in one)] == [Code.TOO_SMALL] * 2


def test_apart_it_prefers_its_run_s_node_and_takes_any_other_with_room() -> None:
    one = request(memory=4)
    for held, where in (((), "a"), ((("a", 8),), "b")):
        placed = place(staying(one, "a", fleet(*held), apart=True), fleet(*held), 0.0)
        assert isinstance(placed, Placement) and placed.node == where


@patient
@given(st.integers(), st.integers(), st.booleans())
@example(315551447553007872, -1, False)  # its model is on a node that is said to have no GPU
def test_it_asks_for_nothing_else_and_leaves_only_a_node_that_cannot_take_it(
    seed: int, which: int, apart: bool
) -> None:
    nodes = some_nodes(seed)
    there = Snapshot.of(nodes, [])
    home = nodes[which % len(nodes)].name
    for one in some_requests(seed):
        bare = replace(one, node="")
        asked = staying(bare, home, there, apart=apart)
        assert replace(asked, node="", affinity=bare.affinity) == bare
        if apart:
            assert asked.affinity == (*bare.affinity, Affinity(node=home))
        elif not asked.node:
            room = next(room for room in there.rooms if room.node.name == home)
            assert any(True for _ in lacks(bare, room)) and not fits(bare, room)
        else:
            assert asked.node == home
