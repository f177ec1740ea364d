"""A worker that was told to stop says so: nothing new comes to its node, what it has stays, what it left goes on."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.service.workers_site import Fleet, fleet

from homelab.control.queueing import asks_of
from homelab.core.times import iso

SAID = "mac4: its daemon was stopped"


@pytest.fixture
async def lab(database: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(database, tmp_path) as made:
        await made.apply(JOBS, NODES)
        await made.heard("mac3", "mac4")
        yield made


NODES = """
[nodes.mac4]
labels = { disk = "big" }
[nodes.air]
sleeps = true
wake = "02:00:00:00:00:01"
"""
JOBS = """
[jobs.a]
run = "true"
[jobs.only]
run = "true"
requires = { labels = { disk = "big" } }
[jobs.again]
run = "true"
retries = { max = 1, delay = "1h" }
"""
pids = itertools.count(100)


@contextlib.asynccontextmanager
async def serving(lab: Fleet) -> AsyncIterator[None]:
    """Control hands out at once what may start at once."""
    task = asyncio.create_task(lab.control.dispatch.serve())
    yield
    task.cancel()


async def next_worker(lab: Fleet, name: str, **more: Any) -> dict[str, Any]:
    """The first heartbeat of another process, which has the home of the one before."""
    old = lab.sql("select pid, started from worker where name = %s", name)[0]
    replaces = {"pid": old["pid"], "started": iso(old["started"])}
    return await lab.heard(name, pid=next(pids), replaces=replaces, **more)


async def begin(lab: Fleet, job: str, node: str) -> tuple[str, int]:
    """A run of the job has its lease on that node and runs there."""
    run, token = await promise(lab, job, node)
    lab.prefect.runs[run].state = "RUNNING"
    await lab.report("run.started", run, node, flow=job)
    await lab.report("job.started", run, node, job=job, token=token)
    return run, token


async def promise(lab: Fleet, job: str, node: str) -> tuple[str, int]:
    """A run of the job is claimed by that node, and its first attempt has its lease there."""
    run = await claim(lab, job, node)
    digest = next(s.flow.digest for s in lab.control.looking._shared.flows.values() if job in s.jobs)
    [answer] = await lab.control.waiting.ask(node, asks_of([{"work": f"{run}/{job}/1", "digest": digest}]), ())
    return run, int(answer["token"])


async def claim(lab: Fleet, job: str, node: str) -> str:
    run = await lab.run(job)
    lab.sql("update run set node = %s, assigned = now() where id = %s", node, run)
    lab.prefect.runs[run].state = "PENDING"
    return run


def open_leases(lab: Fleet) -> list[str]:
    return [row["work"] for row in lab.sql("select work from lease where ended is null order by token")]


async def states(lab: Fleet) -> dict[str, str]:
    return {node["name"]: node["state"] for node in await lab.control.fleet.nodes()}


async def test_what_was_given_to_it_and_not_claimed_goes_elsewhere_at_once_and_nothing_new_comes(lab: Fleet) -> None:
    runs = [await lab.run("a") for _ in range(4)]
    assert len(await lab.due("mac4")) == 2
    await lab.heard("mac4", leaving=True)
    answer = await lab.control.dispatch.due("mac3", "mac3")
    assert sorted(run["id"] for run in answer["runs"]) == sorted(runs), "what was read a moment ago is read again"
    more = await lab.run("a")
    assert more in await lab.due("mac3")
    assert await lab.due("mac4") == []


async def test_the_reason_is_the_same_everywhere(lab: Fleet) -> None:
    await lab.heard("mac4", leaving=True)
    run = await lab.run("only")
    assert await lab.due("mac3") == []
    [waiting] = await lab.control.fleet.queue()
    assert (waiting["run"], {r["node"]: r["reason"] for r in waiting["reasons"]}["mac4"]) == (run, SAID)
    placed = await lab.control.fleet.place("only", {}, {}, None)
    assert {r["node"]: r["reason"] for r in placed["rejections"]}["mac4"] == SAID
    assert any(SAID in reason for reason in (await lab.control.why("only"))["reasons"])
    assert f"not to {SAID}" in (await lab.control.why("a"))["reasons"]
    shown = await lab.control.fleet.node("mac4")
    assert (shown["state"], shown["is_away"]) == ("stopped", True)
    assert shown["why"][0].startswith("Its daemon was stopped at ")


async def test_its_leases_runs_and_late_reports_stay_until_they_end(lab: Fleet) -> None:
    run, token = await begin(lab, "a", "mac4")
    answer = await lab.heard("mac4", leaving=True, leases=[token], runs=[run], running=[{"run": run, "jobs": ["a"]}])
    assert (answer["lost"], answer["gone"]) == ([], [])
    assert open_leases(lab) == [f"{run}/a/1"]
    assert "1 piece of work on it may still end" in (await lab.control.fleet.node("mac4"))["why"][1]
    await lab.report("job.finished", run, "mac4", job="a", token=token)
    await lab.report("run.finished", run, "mac4", flow="a")
    assert lab.sql("select state, node from run") == [{"state": "succeeded", "node": "mac4"}]
    assert open_leases(lab) == []


async def test_it_gets_no_new_lease_and_keeps_the_one_it_has(lab: Fleet) -> None:
    run, token = await begin(lab, "only", "mac4")
    await lab.heard("mac4", leaving=True, leases=[token])
    [kept] = await lab.control.waiting.ask("mac4", asks_of([{"work": f"{run}/only/1"}]), ())
    assert (kept["answer"], kept["token"]) == ("held", token)
    other = await claim(lab, "only", "mac4")
    [refused] = await lab.control.waiting.ask("mac4", asks_of([{"work": f"{other}/only/1"}]), ())
    assert refused["answer"] == "wait"
    assert {r["node"]: r["reason"] for r in refused["reasons"]}["mac4"] == SAID


async def test_only_the_next_worker_opens_the_node(lab: Fleet) -> None:
    await lab.heard("mac4", leaving=True)
    await lab.heard("mac4")
    assert (await states(lab))["mac4"] == "stopped", "the heartbeat was on its way before the farewell"
    run = await lab.run("only")
    assert await lab.due("mac4") == []
    await next_worker(lab, "mac4")
    assert (await states(lab))["mac4"] == "ready"
    answer = await lab.control.dispatch.due("mac4", "mac4")
    assert [one["id"] for one in answer["runs"]] == [run], "what was read before is not believed any more"


async def test_what_it_claimed_and_did_not_begin_is_offered_again_for_its_instant(lab: Fleet) -> None:
    run, _ = await promise(lab, "a", "mac4")
    cancelled, others, running = (
        await claim(lab, "a", "mac4"),
        await claim(lab, "a", "mac3"),
        await begin(lab, "a", "mac4"),
    )
    lab.prefect.runs[cancelled].state = "CANCELLED"
    at = datetime.now(UTC) + timedelta(seconds=20)
    named = {one: iso(at) for one in (run, cancelled, others, running[0], "unknown")}
    async with serving(lab):
        await lab.heard("mac4", leaving=True, unbegun=named, leases=[running[1]])
        await lab.until("select id from run where node = 'mac3'", rows=2)
    assert (lab.prefect.runs[run].state, lab.prefect.runs[run].due) == ("SCHEDULED", at)
    assert [lab.prefect.runs[one].state for one in (cancelled, others, running[0])] == [
        "CANCELLED",
        "PENDING",
        "RUNNING",
    ]
    assert run in await lab.due("mac3")
    assert (await next_worker(lab, "mac4", runs=[run, running[0]]))["gone"] == [run]


async def test_a_lease_for_what_did_not_begin_is_free_for_the_others_at_once(lab: Fleet) -> None:
    run, _ = await promise(lab, "a", "mac4")
    await lab.heard("mac4", leaving=True, unbegun={run: iso(datetime.now(UTC))})
    assert open_leases(lab) == []
    assert lab.sql("select how from lease") == [{"how": "released"}]


async def test_while_prefect_is_away_what_it_left_is_found_when_the_node_is_given_up(lab: Fleet) -> None:
    run, _ = await promise(lab, "a", "mac4")
    lab.prefect.is_away = True
    async with serving(lab):
        before = lab.prefect.calls
        await lab.heard("mac4", leaving=True, unbegun={run: iso(datetime.now(UTC))})
        async with asyncio.timeout(10):
            while lab.prefect.calls == before:
                await asyncio.sleep(0.02)
    lab.prefect.is_away = False
    assert lab.prefect.runs[run].state == "PENDING"
    await lost(lab, "mac4")
    assert lab.prefect.runs[run].name == "AwaitingRetry"
    assert run in await lab.due("mac3")


async def lost(lab: Fleet, name: str) -> None:
    lab.silent(name, 41)
    lab.control._recovery._hears_since -= 1000
    await lab.control._recovery.look()
    lab.forget()


async def test_what_it_ended_is_recovered_as_where_a_node_is_lost(lab: Fleet) -> None:
    run, token = await begin(lab, "again", "mac4")
    await lab.heard("mac4", leaving=True, leases=[token])
    lab.silent("mac4", 39)
    lab.control._recovery._hears_since -= 1000
    await lab.control._recovery.look()
    assert open_leases(lab) == [f"{run}/again/1"]
    await lost(lab, "mac4")
    assert await lab.due("mac3") == [run]
    [attempt] = lab.sql("select state, reason from job_run where attempt > 0")
    assert attempt == {"state": "crashed", "reason": "the daemon of node mac4 was stopped"}
    assert (await states(lab))["mac4"] == "stopped"


async def test_it_is_no_failure_and_nothing_is_said_of_it(lab: Fleet) -> None:
    before = lab.sql("select count(*) from event")
    await lab.heard("mac4", leaving=True)
    lab.silent("mac4", 3600)
    assert [p["code"] for p in await lab.control.problems()] == []
    assert (await lab.control.looking.now())["attention"] == []
    assert {n["name"]: n["state"] for n in (await lab.control.lab())["nodes"]}["mac4"] == "stopped"
    assert lab.sql("select count(*) from event") == before
    assert lab.sql("select count(*) from audit") == [{"count": 0}]
    lab.silent("mac4", 25 * 3600)
    assert [(p["code"], p["severity"]) for p in await lab.control.problems()] == [("node-stopped", "warning")]


async def test_where_silence_is_sleep_it_sleeps_when_it_is_silent_and_can_be_woken(lab: Fleet) -> None:
    """It may have been shut down, and may be one that is woken from that."""
    await lab.heard("air", leaving=True)
    assert (await states(lab))["air"] == "stopped"
    lab.silent("air", 31)
    assert (await states(lab))["air"] == "asleep"


async def test_the_lab_s_own_node_has_work_from_the_first_heartbeat_of_the_next_start(
    database: str, tmp_path: Path
) -> None:
    async with fleet(database, tmp_path) as lab:
        await lab.apply("[jobs.a]\nrun = 'true'")
        await lab.heard("own")
        run = await lab.run("a")
        assert (await lab.control.dispatch.due("own", "own"))["alone"] is True
        await lab.heard("own", leaving=True)
        await lab.restart()
        assert await lab.due("own") == []
        await next_worker(lab, "own")
        answer = await lab.control.dispatch.due("own", "own")
        assert ([one["id"] for one in answer["runs"]], answer["alone"]) == ([run], True)
