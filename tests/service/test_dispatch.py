"""Which node gets which run, with a real control on Postgres; Prefect is asked once for all of them."""

import asyncio

from tests.service.workers_site import Fleet

from homelab.control import nodes, store
from homelab.flows.api import DUE_RUNS


async def want(lab: Fleet, node: str, wanted: str) -> None:
    async with lab.control.database.connection() as conn:
        await nodes.want(conn, node, wanted)
    lab.forget()


async def node_of(lab: Fleet, run: str) -> str | None:
    async with lab.control.database.connection() as conn:
        return await store.node_of_run(conn, run)


PLAIN = "[jobs.a]\nrun = 'true'"


async def test_a_node_that_is_alone_is_given_everything_and_told_so(lab: Fleet) -> None:
    await lab.apply(PLAIN, "[nodes.mac4]\ncapacity = { cpu = 8 }")
    await lab.heard("mac1")
    runs = {await lab.run("a") for _ in range(3)}
    answer = await lab.control.dispatch.due("mac1", "mac1")
    assert {run["id"] for run in answer["runs"]} == runs
    assert answer["alone"] is True, "a node that was never heard is nobody"
    await want(lab, "mac1", "drained")
    answer = await lab.control.dispatch.due("mac1", "mac1")
    assert (answer["runs"], answer["alone"]) == ([], False)


async def test_runs_are_shared_out_and_each_is_given_to_one_node(lab: Fleet) -> None:
    await lab.apply(PLAIN)
    await lab.heard("mac1", "mac3", "mac4")
    runs = {await lab.run("a") for _ in range(9)}
    given = {name: set(await lab.due(name)) for name in ("mac1", "mac3", "mac4")}
    assert [len(mine) for mine in given.values()] == [3, 3, 3]
    assert set.union(*given.values()) == runs
    for name, mine in given.items():
        assert {await node_of(lab, run) for run in mine} == {name}
        assert not (await lab.control.dispatch.due(name, name))["alone"]
    await lab.restart()
    assert {name: set(await lab.due(name)) for name in given} == given, "what was given stays given"


async def test_however_many_nodes_ask_prefect_is_asked_once(lab: Fleet) -> None:
    await lab.apply(PLAIN)
    names = [f"n{n}" for n in range(12)]
    await lab.heard(*names)
    for _ in range(12):
        await lab.run("a")
    lab.forget()
    before = lab.prefect.calls
    answers = await asyncio.gather(*(lab.control.dispatch.due(name, name) for name in names))
    assert lab.prefect.calls - before == 2
    assert [len(answer["runs"]) for answer in answers] == [1] * 12


async def test_a_job_goes_where_its_requirements_are_and_waits_while_that_node_is_away(lab: Fleet) -> None:
    await lab.apply(
        "[jobs.render]\nrun = 'true'\nrequires = { labels = { gpu = 'yes' }, memory = '4GiB' }\n" + PLAIN,
        "[nodes.mac4]\nlabels = { gpu = 'yes' }\ncapacity = { memory = '8GiB' }\n"
        "[nodes.mac1]\ncapacity = { memory = '64GiB' }",
    )
    await lab.heard("mac1")
    run = await lab.run("render")
    assert await lab.due("mac1") == []
    [waiting] = [one for one in await lab.control.queue() if one["run"] == run]
    assert waiting["job"] == "render"
    assert {r["node"]: r["reason"] for r in waiting["reasons"]} == {
        "mac1": "mac1: it has no label gpu=yes", "mac4": "mac4: it is unreachable",
    }  # fmt: skip
    await lab.heard("mac4")
    assert await lab.due("mac1") == []
    assert await lab.due("mac4") == [run]
    assert await lab.control.queue() == []


async def test_what_was_given_to_a_node_that_falls_silent_or_is_drained_goes_elsewhere(lab: Fleet) -> None:
    await lab.apply(PLAIN)
    await lab.heard("mac1", "mac3")
    runs = [await lab.run("a") for _ in range(4)]
    assert len(await lab.due("mac3")) == 2
    lab.silent("mac3", 31)
    assert sorted(await lab.due("mac1")) == sorted(runs)
    await lab.heard("mac3")
    assert await lab.due("mac3") == [], "it does not go back and forth"
    await want(lab, "mac1", "drained")
    assert sorted(await lab.due("mac3")) == sorted(runs)


async def test_what_was_given_to_a_node_that_comes_back_in_another_release_goes_elsewhere(lab: Fleet) -> None:
    """Its worker begins nothing for this control."""
    await lab.apply(PLAIN)
    await lab.heard("mac1", "mac3")
    runs = [await lab.run("a") for _ in range(4)]
    assert len(await lab.due("mac3")) == 2
    await lab.heard("mac3", version="99.0.0")
    assert sorted(await lab.due("mac1")) == sorted(runs)
    assert await lab.due("mac3") == []
    assert "not to mac3: it is of another release (homelab 99.0.0; control is" in str(await lab.control.why("a"))


async def test_a_run_that_is_at_work_counts_by_its_leases_and_its_flow_stays_with_it(lab: Fleet) -> None:
    await lab.apply("[jobs.a]\nrun = 'true'\noverlap = 'queue'")
    await lab.heard("mac1", "mac3")
    first = await lab.run("a")
    [at] = [name for name in ("mac1", "mac3") if await lab.due(name)]
    lab.prefect.runs[first].state = "RUNNING"
    await lab.report("run.started", first, at, job="a")
    later = [await lab.run("a") for _ in range(3)]
    assert sorted(await lab.due(at)) == sorted(later), "they wait for it there"


async def test_a_run_of_a_prefect_user_goes_to_the_node_with_the_most_room(lab: Fleet) -> None:
    await lab.apply(PLAIN)
    await lab.heard("mac1", slots=2)
    await lab.heard("mac3", slots=20)
    deployment = next(iter(lab.prefect.deployments.values()))
    foreign = await lab.prefect.create_run(
        deployment, name="x", due=lab.control.looking._shared.clock(), idempotency_key=None, parameters={"n": 1}
    )
    for _ in range(4):
        await lab.run("a")
    assert foreign in await lab.due("mac3")
    assert await node_of(lab, foreign) == "mac3"
    lab.silent("mac3", 31)
    assert foreign in await lab.due("mac1")
    assert await node_of(lab, foreign) == "mac1"


async def test_only_the_node_that_has_a_run_hears_that_it_is_being_cancelled(lab: Fleet) -> None:
    await lab.apply(PLAIN)
    await lab.heard("mac1", "mac3")
    run = await lab.run("a")
    [at] = [name for name in ("mac1", "mac3") if await lab.due(name)]
    lab.prefect.runs[run].state = "CANCELLING"
    lab.forget()
    for name in ("mac1", "mac3"):
        assert (await lab.control.dispatch.due(name, name))["cancelling"] == ([run] if name == at else [])


async def test_many_that_wait_for_a_node_that_is_away_hold_up_nobody(lab: Fleet) -> None:
    await lab.apply("[jobs.far]\nrun = 'true'\nrequires = { labels = { gpu = 'yes' } }\n" + PLAIN)
    await lab.heard("mac1")
    for _ in range(205):
        await lab.run("far")
    run = await lab.run("a")
    assert await lab.due("mac1") == [run]


async def test_of_more_runs_of_one_instant_than_prefect_tells_at_once_the_rest_is_told_when_some_are_claimed(
    lab: Fleet,
) -> None:
    await lab.apply(PLAIN)
    await lab.heard("mac1")
    runs = {await lab.run("a") for _ in range(DUE_RUNS + 30)}
    instant = min(run.due for run in lab.prefect.runs.values())
    for run in lab.prefect.runs.values():
        run.due = instant
    later = await lab.run("a")
    taken: set[str] = set()
    more = [True]
    while more[-1]:
        lab.forget()
        answer = await lab.control.dispatch.due("mac1", "mac1")
        mine = {run["id"] for run in answer["runs"]}
        assert mine.isdisjoint(taken)
        for run in mine:
            lab.prefect.runs[run].state = "PENDING"
        taken |= mine
        more.append(answer["more"])
        assert later in taken, "what is due after a crowded instant is not behind it"
    assert more == [True, True, False]
    assert taken == {*runs, later}


async def test_a_crowd_that_waits_for_a_node_that_is_away_hides_nothing_that_is_due_later(lab: Fleet) -> None:
    await lab.apply("[jobs.far]\nrun = 'true'\nrequires = { labels = { gpu = 'yes' } }\n" + PLAIN)
    await lab.heard("mac1")
    for _ in range(DUE_RUNS):
        await lab.run("far")
    instant = min(run.due for run in lab.prefect.runs.values())
    for run in lab.prefect.runs.values():
        run.due = instant
    run = await lab.run("a")
    answer = await lab.control.dispatch.due("mac1", "mac1")
    assert [one["id"] for one in answer["runs"]] == [run]


async def test_what_arrives_while_prefect_is_being_asked_is_found_by_the_next_look(lab: Fleet) -> None:
    await lab.apply(PLAIN)
    await lab.heard("mac1")
    asked, going = asyncio.Event(), asyncio.Event()
    whole = lab.prefect.cancelling_runs

    async def slow(pool: str) -> list[str]:
        asked.set()
        await going.wait()
        return await whole(pool)

    lab.prefect.cancelling_runs = slow  # type: ignore[method-assign]
    first = asyncio.create_task(lab.control.dispatch.due("mac1", "mac1"))
    await asked.wait()
    run = await lab.run("a")
    lab.forget()
    second = asyncio.create_task(lab.control.dispatch.due("mac1", "mac1"))
    await asyncio.sleep(0)
    going.set()
    assert (await first)["runs"] == []
    assert [one["id"] for one in (await second)["runs"]] == [run]


async def test_a_node_with_something_to_start_now_is_woken_and_no_other(lab: Fleet) -> None:
    await lab.apply(PLAIN)
    await lab.heard("mac1", "mac3")
    serving = asyncio.create_task(lab.control.dispatch.serve())
    try:
        for name in ("mac1", "mac3"):
            assert await lab.due(name) == []
        woken = {name: asyncio.create_task(lab.control.workers.commands(name)) for name in ("mac1", "mac3")}
        await asyncio.sleep(0)
        run = await lab.run("a")
        done, _ = await asyncio.wait(woken.values(), timeout=5, return_when=asyncio.FIRST_COMPLETED)
        [name] = [name for name, task in woken.items() if task in done]
        assert await node_of(lab, run) == name
        answer = await lab.control.dispatch.due(name, name)
        assert [one["id"] for one in answer["runs"]] == [run]
        [other] = [task for task in woken.values() if task not in done]
        assert not other.done()
        other.cancel()
    finally:
        serving.cancel()
