"""Who gets a lease and who waits, with a real control on Postgres and workers that ask as workers do."""

import asyncio
from typing import Any

import psycopg
import pytest
from tests.service.workers_site import Fleet

from homelab.control.queueing import asks_of
from homelab.core.errors import InputError

NODES = """
[nodes.mac3]
capacity = { memory = "8GiB" }
[nodes.mac4]
capacity = { memory = "16GiB" }
"""
JOBS = """
[jobs.small]
run = "true"
requires = { memory = "4GiB" }
[jobs.large]
run = "true"
requires = { memory = "12GiB" }
[jobs.urgent]
run = "true"
requires = { memory = "16GiB" }
priority = 10
[jobs.render]
run = "true"
requires = { memory = "12GiB" }
restartable = true
[jobs.one]
run = "true"
exclusive = ["disk"]
[jobs.two]
run = "true"
exclusive = ["disk"]
"""


def work(run: str, job: str, attempt: int = 1) -> str:
    return f"{run}/{job}/{attempt}"


async def ask(lab: Fleet, node: str, *works: str, gives: tuple[str, ...] = (), **more: Any) -> list[dict[str, Any]]:
    """The answers to asks for these works, each `RUN/JOB/ATTEMPT`."""
    digests = {job: s.flow.digest for s in lab.control.looking._shared.flows.values() for job in s.jobs}
    asks = [{"work": one, "digest": digests.get(one.split("/")[1]), **more} for one in works]
    return await lab.control.waiting.ask(node, asks_of(asks), gives)


async def done(lab: Fleet, node: str, one: str, token: int, state: str = "succeeded") -> None:
    run, job, attempt = one.split("/")
    await lab.report("job.finished", run, node, job=job, attempt=int(attempt), state=state, token=token)


@pytest.fixture
async def two(lab: Fleet) -> Fleet:
    await lab.apply(JOBS, NODES)
    await lab.heard("mac3", "mac4")
    return lab


async def test_a_lease_is_held_from_the_ask_to_the_report_of_the_end(two: Fleet) -> None:
    [answer] = await ask(two, "mac3", work("r1", "small"))
    assert answer["answer"] == "held"
    assert await ask(two, "mac3", work("r1", "small")) == [answer], "asked again, it is the same lease"
    [row] = two.sql("select node, ended from lease")
    assert row == {"node": "mac3", "ended": None}
    await done(two, "mac3", work("r1", "small"), answer["token"])
    [row] = two.sql("select how from lease")
    assert row["how"] == "done"


async def test_what_finds_no_room_waits_with_the_words_of_placement_and_is_told_when_it_has_some(two: Fleet) -> None:
    [first, second] = await ask(two, "mac3", work("r1", "small"), work("r2", "small"))
    [third] = await ask(two, "mac3", work("r3", "small"))
    assert [first["answer"], second["answer"], third["answer"]] == ["held", "held", "wait"]
    reasons = {one["node"]: one["reason"] for one in third["reasons"]}
    assert reasons["mac3"] == "mac3: 0 B memory free of 4 GiB asked; small holds 8 GiB"
    assert reasons["mac4"] == "mac4: it must be with its run on mac3"
    [listed] = await two.control.queue()
    assert (listed["run"], listed["job"], listed["node"]) == ("r3", "small", "mac3")
    assert {one["node"]: one["reason"] for one in listed["reasons"]} == reasons
    serving = asyncio.create_task(two.control.waiting.serve())
    woken = asyncio.create_task(two.control.workers.commands("mac3"))
    await asyncio.sleep(0)
    await done(two, "mac3", work("r1", "small"), first["token"])
    assert await asyncio.wait_for(woken, 5) == [{"kind": "lease"}]
    [third] = await ask(two, "mac3", work("r3", "small"))
    assert third["answer"] == "held"
    assert await two.control.queue() == []
    serving.cancel()


async def test_a_run_of_which_nothing_has_started_goes_where_there_is_room(two: Fleet) -> None:
    run = await two.run("small")
    await ask(two, "mac3", work("r1", "small"), work("r2", "small"))
    two.sql("update run set node = 'mac3', assigned = now() where id = %s", run)
    two.prefect.runs[run].state = "PENDING"
    start_at = two.prefect.runs[run].due.isoformat()
    [bound] = await ask(two, "mac3", work(run, "small"), start_at=start_at)
    assert bound["answer"] == "wait", "it might start without a lease until its worker has heard this"
    [answer] = await ask(two, "mac3", work(run, "small"), may_move=True, start_at=start_at)
    assert answer == {"work": work(run, "small"), "answer": "elsewhere", "node": "mac4"}
    assert await two.due("mac4") == [run]
    assert await two.due("mac3") == []
    [again] = await ask(two, "mac3", work(run, "small"), may_move=True, start_at=start_at)
    assert again["answer"] == "elsewhere", "whoever missed the answer hears it again"
    [there] = await ask(two, "mac4", work(run, "small"), may_move=True, start_at=start_at)
    assert there["answer"] == "held"


async def test_it_stays_where_it_is_when_there_is_room(two: Fleet) -> None:
    [answer] = await ask(two, "mac3", work("r1", "small"), may_move=True)
    assert answer["answer"] == "held"


async def test_what_has_its_lease_does_not_wait_for_what_others_are_given_in_the_same_decision(two: Fleet) -> None:
    lock = "select name from node where name = 'mac4' for update"
    with psycopg.connect(two.url) as first, psycopg.connect(two.url) as second:
        first.execute(lock)
        one = asyncio.create_task(ask(two, "mac4", work("r1", "small")))
        await two.until("select 1 from pg_stat_activity where wait_event_type = 'Lock'", rows=1)
        longest = asyncio.create_task(ask(two, "mac3", work("r2", "small"), waited_s=100))
        other = asyncio.create_task(ask(two, "mac4", work("r3", "small")))
        waiting = asyncio.create_task(asyncio.to_thread(second.execute, lock))
        await two.until("select 1 from pg_stat_activity where wait_event_type = 'Lock'", rows=2)
        first.rollback()
        assert [(await each)[0]["answer"] for each in (one, longest)] == ["held", "held"]
        await waiting
        assert not other.done()
        second.rollback()
        assert [answer["answer"] for answer in await other] == ["held"]


async def test_a_group_has_one_holder_in_the_lab(two: Fleet) -> None:
    [one] = await ask(two, "mac3", work("r1", "one"))
    [other] = await ask(two, "mac4", work("r2", "two"))
    assert (one["answer"], other["answer"]) == ("held", "wait")
    assert any("only one of the group runs at a time" in r["reason"] for r in other["reasons"])
    assert await ask(two, "mac3", gives=(work("r1", "one"),)) == []
    [other] = await ask(two, "mac4", work("r2", "two"))
    assert other["answer"] == "held"


async def test_work_of_higher_priority_stops_what_may_be_restarted_which_keeps_its_turn(two: Fleet) -> None:
    [render] = await ask(two, "mac4", work("r1", "render"))
    assert render["answer"] == "held"
    listening = asyncio.create_task(two.control.workers.commands("mac4"))
    await asyncio.sleep(0.01)
    [urgent] = await ask(two, "mac4", work("r2", "urgent"))
    assert urgent["answer"] == "wait", "it must have stopped first"
    commands = await asyncio.wait_for(listening, 5)
    assert commands == [
        {"kind": "evict", "work": work("r1", "render"), "reason": "stopped for urgent, which is more important"}
    ]
    [small] = await ask(two, "mac4", work("r3", "small"))
    assert small["answer"] == "wait", "the room is the urgent one's"
    await done(two, "mac4", work("r1", "render"), render["token"], state="cancelled")
    [render] = await ask(two, "mac4", work("r1", "render", 2), evictions=1, waited_s=60)
    [urgent] = await ask(two, "mac4", work("r2", "urgent"))
    assert (render["answer"], urgent["answer"]) == ("wait", "held")


async def test_after_a_restart_the_queue_is_made_of_what_workers_ask_again(two: Fleet) -> None:
    [held] = await ask(two, "mac4", work("r1", "large"))
    [waits] = await ask(two, "mac4", work("r2", "large"))
    assert (held["answer"], waits["answer"]) == ("held", "wait")
    await two.restart()
    assert await two.control.queue() == []
    [again, waits] = await ask(two, "mac4", work("r1", "large"), work("r2", "large"), waited_s=100)
    assert (again, waits["answer"]) == (held, "wait")
    [listed] = await two.control.queue()
    assert listed["run"] == "r2"


async def test_what_was_started_without_a_lease_gets_one_when_there_is_room(two: Fleet) -> None:
    [held] = await ask(two, "mac4", work("r1", "large"))
    [running] = await ask(two, "mac4", work("r2", "large"), running=True)
    assert running["answer"] == "wait"
    assert await two.control.queue() == [], "it does not wait: it runs"
    await done(two, "mac4", work("r1", "large"), held["token"])
    [running] = await ask(two, "mac4", work("r2", "large"), running=True)
    assert running["answer"] == "held"


async def test_leases_live_by_the_heartbeat_that_names_them(two: Fleet) -> None:
    [kept, forgotten] = await ask(two, "mac4", work("r1", "small"), work("r2", "small"))
    two.sql("update lease set expires = now() + interval '5 s'")
    answer = await two.heard("mac4", leases=[kept["token"], 999])
    assert answer["lost"] == [999]
    rows = {
        r["token"]: r["left"] for r in two.sql("select token, expires > now() + interval '30 s' as left from lease")
    }
    assert rows == {kept["token"]: True, forgotten["token"]: False}


@pytest.mark.parametrize(
    "bad",
    [{}, {"work": "x"}, {"work": 1}, {"work": "r/j/1", "waited_s": "soon"}, {"work": "r/j/1", "start_at": "then"}],
)
def test_an_ask_that_means_nothing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        asks_of([bad])
