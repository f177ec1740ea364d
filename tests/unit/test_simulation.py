"""Virtual time: what waits, how full nodes are, and what no policy could do better."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.placing import node, patient, request, seeds, some_nodes, some_requests

from homelab.core.capacity import CPU, SLOTS, UNIT
from homelab.core.errors import InputError
from homelab.core.labfile import Lab, parse
from homelab.core.labfile.fleet import fleet_of
from homelab.core.placement import Lease, Node
from homelab.simulation import report
from homelab.simulation.engine import Outcome, simulate
from homelab.simulation.measure import Level, Use
from homelab.simulation.month import generate
from homelab.simulation.optimum import bound, optimum
from homelab.simulation.picture import page
from homelab.simulation.policies import ByPlacement, FirstCome, LeastLoaded, Policy, RoundRobin, Suitable
from homelab.simulation.traces import read_azure
from homelab.simulation.workload import FIELDS, Item, read

REFERENCE = Path(__file__).parents[2] / "examples/reference-lab/lab.toml"


def item(identity: str, arrival: float, duration: float, *, after: tuple[str, ...] = (), **asked: float) -> Item:
    import dataclasses

    asks = dataclasses.replace(request(identity, **asked), submitted=arrival, expected_s=duration)
    return Item(request=asks, duration_s=duration, after=after)


def policies(fleet: list[Node] | tuple[Node, ...]) -> list[Policy]:
    suitable = Suitable(fleet)
    return [ByPlacement(fleet), FirstCome(fleet), LeastLoaded(fleet, suitable), RoundRobin(fleet, suitable)]


def mean_waits(items: list[Item], fleet: list[Node] | tuple[Node, ...]) -> dict[str, float]:
    return {p.name: simulate(items, fleet, p).waits.summary()["mean_s"] for p in policies(fleet)}


def random_items(seed: int, most: int) -> list[Item]:
    chance = Random(seed)
    asked = sorted(some_requests(seed, plain=True, known=True, most=most), key=lambda r: r.submitted)
    return [Item(request=one, duration_s=float(chance.randint(1, 50))) for one in asked]


def test_a_wait_is_the_time_from_ready_to_start() -> None:
    fleet = [node("a", cpu=1)]
    outcome = simulate(
        [item("1", 0, 10, cpu=1), item("2", 4, 10, cpu=1), item("3", 30, 5, cpu=1)], fleet, ByPlacement(fleet)
    )
    assert outcome.waits.summary() == {
        "count": 3,
        "mean_s": 2.0,
        "p50_s": 0.0,
        "p95_s": 6.0,
        "p99_s": 6.0,
        "max_s": 6.0,
    }
    assert outcome.end_s == 35.0
    assert outcome.use.summary(35.0)["nodes"] == {"a": {"cpu": round(25 / 35, 4)}}


def test_work_that_comes_after_other_work_is_ready_when_that_has_ended() -> None:
    fleet = [node("a", cpu=4)]
    outcome = simulate([item("1", 0, 10, cpu=1), item("2", 0, 5, cpu=1, after=("1",))], fleet, ByPlacement(fleet))
    assert (outcome.waits.summary()["max_s"], outcome.end_s) == (0.0, 15.0)


def test_what_no_node_can_take_is_rejected_with_all_that_comes_after_it() -> None:
    fleet = [node("a", cpu=4)]
    for policy in policies(fleet):
        outcome = simulate(
            [item("1", 0, 1, cpu=9), item("2", 0, 1, cpu=1, after=("1",)), item("3", 0, 1, cpu=1)], fleet, policy
        )
        assert (outcome.rejected, outcome.completed) == (2, 1)


def test_work_that_was_stopped_starts_anew_and_its_waits_add_up() -> None:
    import dataclasses

    fleet = [node("a", cpu=1)]
    low = item("low", 0, 10, cpu=1)
    low = dataclasses.replace(low, request=dataclasses.replace(low.request, restartable=True))
    high = item("high", 5, 10, cpu=1)
    high = dataclasses.replace(high, request=dataclasses.replace(high.request, priority=5))
    outcome = simulate([low, high], fleet, ByPlacement(fleet, preempt=True))
    assert (outcome.preemptions, outcome.end_s) == (1, 25.0)
    assert outcome.waits.by_priority()["0"]["max_s"] == 10.0
    assert outcome.waits.by_priority()["5"]["max_s"] == 0.0


def test_what_comes_after_something_unknown_is_refused() -> None:
    fleet = [node("a", cpu=1)]
    with pytest.raises(InputError, match="comes after 'x', which no line above it has"):
        simulate([item("1", 0, 10, cpu=1, after=("x",))], fleet, ByPlacement(fleet))


@settings(patient, max_examples=30)
@given(seeds, seeds)
def test_no_policy_exceeds_a_node_and_all_of_them_finish(fleet_seed: int, items_seed: int) -> None:
    fleet = some_nodes(fleet_seed, busy=False)
    items = random_items(items_seed, 30)
    for policy in policies(fleet):
        outcome = simulate(items, fleet, policy)
        assert outcome.completed + outcome.rejected == len(items) == outcome.items
        assert outcome.never_started == 0
        shares = outcome.use.summary(outcome.end_s)["nodes"]
        assert all(0 <= share <= 1 for levels in shares.values() for share in levels.values())
        assert all(0 <= v <= 1 for n in outcome.use.series(outcome.end_s).values() for vs in n.values() for v in vs)


@settings(patient, max_examples=60)
@given(seeds, seeds)
def test_nobody_does_better_than_the_optimum_nor_the_optimum_better_than_the_bound(
    fleet_seed: int, items_seed: int
) -> None:
    fleet = some_nodes(fleet_seed, busy=False)[:2]
    items = random_items(items_seed, 5)
    best = optimum(items, fleet)
    if best.kind == "none":
        return
    placed = mean_waits(items, fleet)
    assert all(best.mean_wait_s <= wait + 1e-9 for wait in placed.values())
    assert bound(items, fleet) <= best.mean_wait_s + 1e-9


def test_the_optimum_may_wait_for_what_is_yet_to_come() -> None:
    """Someone who knows the future leaves the node idle for the many short ones that come a moment later."""
    fleet = [node("a", cpu=1)]
    items = [item("long", 0, 100, cpu=1), item("s1", 1, 1, cpu=1), item("s2", 1, 1, cpu=1)]
    best = optimum(items, fleet)
    assert (best.kind, best.mean_wait_s) == ("exact", (3 + 0 + 1) / 3)
    assert mean_waits(items, fleet)["placement"] == (0 + 99 + 100) / 3


def test_the_bound_is_tight_when_one_node_is_always_full() -> None:
    fleet = [node("a", cpu=1)]
    best = optimum([item(f"{n}", 0, 10, cpu=1) for n in range(20)], fleet)
    assert (best.kind, best.mean_wait_s) == ("fluid", 95.0)


@patient
@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 8)), max_size=40))
def test_the_buckets_of_a_level_add_up_to_what_was_held(changes: list[tuple[float, int]]) -> None:
    level = Level(total=8)
    for at, held in sorted(changes):
        level.change(held - level.held, at)
    assert sum(level.buckets) == pytest.approx(level.area)
    assert len(level.buckets) <= 120


def test_on_unified_memory_gpu_memory_is_in_use_as_memory_too() -> None:
    use = Use([node("mac", gpus=(8,), unified=True, memory=16)])
    use.hold(Lease(id="1", node="mac", owner="x", amounts={"gpu_memory": 4 << 30}, device=0), 0.0)
    use.finish(10.0)
    assert use.summary(10.0)["nodes"]["mac"] == {"gpu_memory": 0.5, "memory": 0.25}


# Workloads


def test_json_lines_and_csv_say_the_same() -> None:
    lines = [
        '{"arrival": 10, "duration": "2m", "id": "a", "priority": 3, "requires": {"cpu": 2, "app:photoshop": 1}}',
        '{"arrival": 12.5, "duration": 5, "after": ["a"], "labels": {"zone": "x"}, "expected": "unknown"}',
    ]
    rows = [
        "arrival,duration,id,priority,cpu,app:photoshop,after,labels,expected",
        "10,2m,a,3,2,1,,,",
        "12.5,5,,,,,a,zone=x,unknown",
    ]
    one, two = list(read(lines, source="f")), list(read(rows, source="f"))
    assert one[0] == two[0]
    assert [i.arrival for i in one] == [i.arrival for i in two] == [0.0, 2.5]
    assert one[0].request.amounts == {SLOTS: UNIT, CPU: 2 * UNIT, "app:photoshop": UNIT}
    assert (one[0].duration_s, one[0].request.expected_s, one[0].request.priority) == (120.0, 120.0, 3)
    assert one[1].after == two[1].after == ("a",)
    assert one[1].request.labels == two[1].request.labels == {"zone": "x"}
    assert one[1].request.expected_s is two[1].request.expected_s is None


def test_times_may_be_written_as_times() -> None:
    lines = ['{"arrival": "2026-01-31T02:00:00Z", "duration": 1}', '{"arrival": "2026-01-31T02:00:30Z", "duration": 1}']
    assert [i.arrival for i in read(lines, source="f")] == [0.0, 30.0]


@pytest.mark.parametrize(
    ("lines", "where", "message"),
    [
        (['{"arrival": 0, "duration": 1}', "{broken"], "f:2", "this is not JSON"),
        (['{"arrival": 0, "duration": 1}', "", '{"arrival": -5, "duration": 1}'], "f:3", "5 s before the line above"),
        (['{"arrival": 0}'], "f:1", "it has no duration"),
        (['{"duration": 1}'], "f:1", "it has no arrival"),
        (['{"arrival": 0, "duration": 1, "cpu": 2}'], "f:1", "there is no field 'cpu'"),
        (['{"arrival": 0, "duration": 1, "requires": {"memory": "lots"}}'], "f:1", "this is not a size"),
        (["arrival,duration", "0"], "f:2", "1 cells under 2 columns"),
        (["when,duration", "0,1"], "f:1", "no columns arrival and duration"),
        (["arrival,duration,priority", "0,1,high"], "f:2", "the priority is not a whole number"),
    ],
)
def test_a_bad_line_is_named(lines: list[str], where: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read(lines, source="f"))
    assert caught.value.where == where and message in caught.value.message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("cpu", "disk", "labels", "apps", "x")), inner)
    ),
    max_leaves=4,
)


@settings(patient, max_examples=200)
@given(
    st.dictionaries(st.sampled_from(FIELDS), values),
    st.dictionaries(st.sampled_from(("arrival", "duration")), st.just(1)),
)
def test_whatever_a_line_holds_it_is_an_item_or_an_error_with_its_number(row: dict[str, object], good: object) -> None:
    line = json.dumps({**row, **good})  # pyright: ignore[reportCallIssue]
    try:
        assert len(list(read([line], source="f"))) == 1
    except InputError as error:
        assert error.where == "f:1"


def test_an_id_may_stand_once() -> None:
    fleet = [node("a", cpu=1)]
    with pytest.raises(InputError, match="'1' is the id of two items"):
        simulate([item("1", 0, 1, cpu=1), item("1", 5, 1, cpu=1)], fleet, ByPlacement(fleet))


def test_nothing_is_a_workload_of_nothing() -> None:
    assert list(read([], source="f")) == []


def azure(seed: int, count: int) -> list[str]:
    """A trace with the columns of Azure's: bursts of requests of a few thousand tokens."""
    chance, at, lines = Random(seed), 0.0, ["TIMESTAMP,ContextTokens,GeneratedTokens\n"]
    for n in range(count):
        at += chance.expovariate(6.0 if n // 50 % 2 else 1.5)
        moment = f"2023-11-16 18:{int(at // 60) % 60:02}:{at % 60:010.7f}"
        lines.append(f"{moment},{int(chance.lognormvariate(7.3, 0.8))},{int(chance.lognormvariate(3.0, 0.9)) + 1}\n")
    return lines


def test_the_azure_trace_is_read_with_its_lengths_and_its_memory() -> None:
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:17:03.9799600,5000,40"]
    (one,) = read_azure(lines, source="t")
    assert one.duration_s == pytest.approx(5000 / 2500 + 40 / 40)
    assert one.request.amounts == {SLOTS: UNIT, "gpu_memory": 5040 * 160 * 1024}
    assert one.request.expected_s is None
    with pytest.raises(InputError) as caught:
        list(read_azure([*lines, "2023-11-16 18:17:04.0,many,1"], source="t"))
    assert caught.value.where == "t:3"


def reference() -> tuple[Lab, tuple[Node, ...]]:
    lab, _ = parse({"lab.toml": REFERENCE.read_text()}, main="lab.toml")
    assert lab is not None
    return lab, fleet_of(lab.nodes, concurrency=lab.worker.concurrency)


def test_the_generated_month_is_the_same_for_the_same_seed_and_keeps_the_needs() -> None:
    lab, _ = reference()
    first, second = list(generate(lab, days=0.1, seed=1)), list(generate(lab, days=0.1, seed=1))
    assert first == second != list(generate(lab, days=0.1, seed=2))
    assert [i.arrival for i in first] == sorted(i.arrival for i in first)
    known: set[str] = set()
    for one in first:
        assert known.issuperset(one.after)
        known.add(one.request.id)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_the_reference_lab_things_wait_less_than_under_either_baseline(seed: int) -> None:
    lab, fleet = reference()
    waits = mean_waits(list(generate(lab, days=0.1, seed=seed)), fleet)
    assert waits["placement"] < min(waits["round-robin"], waits["least-loaded"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_a_trace_of_model_requests_things_wait_less_than_under_either_baseline(seed: int) -> None:
    fleet = [node("a", gpus=(8,), slots=4), node("b", gpus=(4,), slots=3), node("c", gpus=(2,), slots=2)]
    items = list(read_azure(azure(seed, 800), source="t"))
    waits = mean_waits(items, fleet)
    assert 0 < waits["placement"] < min(waits["round-robin"], waits["least-loaded"])


# The report


def outcomes() -> tuple[list[Outcome], dict[str, object], list[Node]]:
    fleet = [node("a<b>", cpu=2), node("c", cpu=1)]
    items = [item(f"{n}", n, 10, cpu=1) for n in range(12)]
    found = [simulate(items, fleet, p) for p in policies(fleet)]
    return found, report.to_json(found, fleet, optimum(items, fleet)), fleet


def test_the_report_says_waits_and_levels() -> None:
    found, body, _ = outcomes()
    lines = report.text(body, found[0])
    assert lines[1].startswith("placement ") and any(line.startswith("  c            cores") for line in lines)
    assert body["optimum"]["kind"] == "fluid"  # pyright: ignore[reportIndexIssue, reportArgumentType, reportCallIssue]


def test_where_one_node_alone_can_take_the_work_the_report_says_that_there_was_nothing_to_choose() -> None:
    fleet = [node("a", cpu=2), node("c", memory=1)]
    items = [item(f"{n}", n, 10, cpu=1) for n in range(12)]
    same = [simulate(items, fleet, policy) for policy in policies(fleet)]
    said = "leaves them nothing to choose"
    assert any(said in line for line in report.text(report.to_json(same, fleet, optimum(items, fleet)), same[0]))
    fleet = [node("a", cpu=3), node("c", cpu=2)]  # now there is something to choose
    items = [item(f"{n}", n, 10, cpu=1 + n % 3) for n in range(30)]
    found = [simulate(items, fleet, policy) for policy in policies(fleet)]
    assert not any(said in line for line in report.text(report.to_json(found, fleet, optimum(items, fleet)), found[0]))


def test_the_page_is_whole_by_itself_and_escapes_names() -> None:
    found, body, _ = outcomes()
    made = page("A <fleet>", body, found[0], ["with <more>"])
    assert "<script" not in made and "http" not in made.replace("http-equiv", "")
    assert "a&lt;b&gt;" in made and "A &lt;fleet&gt;" in made and "with &lt;more&gt;" in made
    assert made.count("<svg") == 1 and "prefers-color-scheme: dark" in made


def test_one_more_node_is_compared_with_the_fleet_without_it() -> None:
    _, body, fleet = outcomes()
    items = [item(f"{n}", n, 10, cpu=1) for n in range(12)]
    larger = [*fleet, node("d", cpu=4)]
    other = report.to_json([simulate(items, larger, ByPlacement(larger))], larger, optimum([], larger))
    changed, lines = report.compare(body, other, "d")
    assert changed["waits"]["mean_s"][1] < changed["waits"]["mean_s"][0]
    assert lines[0] == "With d:"


def test_a_sparkline_has_a_mark_for_each_part() -> None:
    assert report.sparkline([0.0, 0.5, 1.0]) == " ▄█"
    assert len(report.sparkline([1.0] * 120)) == 60
    assert report.sparkline([0.0, 1.0], unicode=False) == " @"
