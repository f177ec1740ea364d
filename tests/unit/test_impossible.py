"""Jobs that no node could ever run, by what is declared and what was measured."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from homelab.control.impossible import judged
from homelab.core.capacity import MEMORY, SLOTS, UNIT, Capacity
from homelab.core.labfile import Lab, parse
from homelab.core.labfile.fleet import fleet_of
from homelab.core.placement import Node

GIB = 1 << 30


def lab(job: str, nodes: str = "") -> Lab:
    found, problems = parse({"lab.toml": f"{nodes}\n[jobs.train]\nrun = 'true'\n{job}\n"}, main="lab.toml")
    assert found is not None, problems
    return found


def node(name: str, **amounts: int) -> Node:
    has = {SLOTS: 20 * UNIT, **{n.replace("__", ":/"): v for n, v in amounts.items()}}
    return Node(name=name, measured=Capacity(amounts=has), labels={"os": "linux", "arch": "x86_64"})


def said(one: Lab, *fleet: Node) -> dict[str, list[str]]:
    return {job: [why.message for why in found] for job, found in judged(one, fleet).items()}


def test_a_job_that_no_measured_node_could_run_is_told_with_the_largest() -> None:
    big = lab('requires = { memory = "200GiB" }')
    fleet = (node("mac1", memory=16 * GIB), node("mac4", memory=64 * GIB))
    assert said(big, *fleet) == {"train": ["no node has 200 GiB memory; the largest is mac4 with 64 GiB"]}
    assert said(big, *fleet, node("studio", memory=256 * GIB)) == {}, "until a node joins that can"


def test_a_neighbour_that_no_node_has_room_for_beside_it_is_told_when_the_fleet_changed() -> None:
    one = lab(
        'requires = { memory = "40GiB" }\naffinity = [{ work = "model", required = true }]\n'
        "[jobs.model]\nrun = 'true'\naffinity = [{ node = \"mac1\", required = true }]",
    )
    mac4 = node("mac4", memory=64 * GIB)
    assert said(one, node("mac1", memory=16 * GIB), mac4) == {
        "train": ["must run beside 'model': no node suits both; it suits mac4, the other mac1"]
    }
    assert said(one, node("mac1", memory=64 * GIB), mac4) == {}


def test_what_is_measured_of_a_declared_node_counts() -> None:
    one = lab('requires = { memory = "40GiB" }', '[nodes.mac4]\ncapacity = { memory = "64GiB" }\n')
    declared = fleet_of(one.nodes, concurrency=20)
    assert said(one, *declared) == {}
    measured = replace(declared[0], measured=Capacity(amounts={MEMORY: 32 * GIB}))
    assert said(one, measured) == {"train": ["no node has 40 GiB memory; the largest is mac4 with 32 GiB"]}


def test_what_is_unknown_speaks_for_a_node_and_what_was_looked_for_and_not_found_against_it() -> None:
    one = lab('requires = { disk = { "/data" = "1GiB" }, apps = ["blender"] }')
    heard_once = node("mac4", disk__home=GIB)
    assert said(one, heard_once) == {}, "it was not asked for /data yet"
    looked = replace(
        heard_once, measured=Capacity(amounts={SLOTS: UNIT, "disk:/data": 0, "disk:/home": GIB, "app:blender": 0})
    )
    assert said(one, looked) == {"train": ["no node has blender", "no node has disk /data"]}


def test_labels_that_a_node_tells_of_itself_are_judged_when_it_was_heard() -> None:
    nodes = "[nodes.mac4]\n"
    one = lab('requires = { labels = { os = "macos" } }', nodes)
    assert said(one, *fleet_of(one.nodes, concurrency=20)) == {}
    assert said(one, node("mac4")) == {"train": ["no node has the label 'os=macos'"]}
    assert said(one, replace(node("mac4"), labels={"os": "macos"})) == {}


def test_without_nodes_nothing_is_known_and_what_cron_runs_is_crons() -> None:
    assert judged(None, [node("a")]) == {} and judged(lab("requires = { cpu = 99 }"), []) == {}
    assert said(lab("shadow = true\nschedule = '@daily'\nrequires = { memory = '9TiB' }"), node("a", memory=1)) == {}


@given(
    asked=st.integers(1, 512),
    has=st.lists(st.none() | st.integers(1, 512), max_size=5),
)
def test_it_is_impossible_only_where_every_node_is_known_to_have_less(asked: int, has: list[int | None]) -> None:
    fleet = [node(f"n{at}", **({} if one is None else {"memory": one * GIB})) for at, one in enumerate(has)]
    is_impossible = "train" in judged(lab(f'requires = {{ memory = "{asked}GiB" }}'), fleet)
    assert is_impossible == (bool(has) and all(one is not None and one < asked for one in has))
