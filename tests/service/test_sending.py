"""Attempts that go to another node than their run: who gets them, what each side hears, what counts when one is lost.
A real control on Postgres; the nodes are played by what they would ask and tell."""

import asyncio
from typing import Any

import pytest
from tests.service.workers_site import Fleet, now

from homelab.control.queueing import asks_of
from homelab.core.errors import InputError
from homelab.core.times import iso

JOBS = """
[jobs.first]
run = "true"
[jobs.far]
run = "true"
needs = ["first"]
requires = { labels = { disk = "big" } }
[jobs.heavy]
run = "true"
needs = ["first"]
requires = { memory = "6GiB" }
[jobs.free]
run = "true"
needs = ["first"]
requires = { memory = "6GiB" }
apart = true
"""
NODES = """
[nodes.mac3]
capacity = { memory = "8GiB" }
[nodes.mac4]
capacity = { memory = "8GiB" }
labels = { disk = "big" }
"""


@pytest.fixture
async def lab(lab: Fleet) -> Fleet:
    await lab.apply(JOBS, NODES)
    await lab.heard("mac3", "mac4")
    return lab


async def begin(lab: Fleet, node: str = "mac3") -> str:
    """A run at work on the node, its first job done."""
    run = await lab.run("first")
    lab.sql("update run set node = %s, assigned = now() where id = %s", node, run)
    lab.prefect.runs[run].state = "RUNNING"
    await lab.report("run.started", run, node, flow="first")
    await lab.report("job.finished", run, node, flow="first", job="first")
    return run


async def ask(lab: Fleet, run: str, job: str, *, attempt: int = 1, node: str = "mac3") -> dict[str, Any]:
    digest = next(s.flow.digest for s in lab.control.looking._shared.flows.values())
    asks = asks_of([{"work": f"{run}/{job}/{attempt}", "digest": digest, "may_send": True}])
    return (await lab.control.waiting.ask(node, asks, ()))[0]


async def state(lab: Fleet, answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the run's node hears of what it sent."""
    return (await lab.control.sending.ask([{"work": answer["work"], "token": answer["token"], **more}]))[0]


async def send(lab: Fleet, run: str, job: str = "far", *, is_retried: bool = False, **more: Any) -> dict[str, Any]:
    """The answer to the ask, after the attempt was handed over."""
    answer = await ask(lab, run, job, **more)
    assert (answer["answer"], answer["node"]) == ("sent", "mac4")
    task = {"digest": "d", "flow": "first", "due": None, "params": {"A": "1"}, "is_retried": is_retried}
    assert (await state(lab, answer, task=task))["state"] == "waiting"
    return answer


async def tell(lab: Fleet, answer: dict[str, Any], node: str = "mac4", **what: Any) -> None:
    await lab.control.sending.tell(node, [{"node": node, "token": answer["token"], **what}])


def outcome(state: str = "succeeded", **more: Any) -> dict[str, Any]:
    at = iso(now())
    return {"state": state, "reason": "", "started": at, "ended": at, "exit_code": 0, "signal": None, **more}


async def lose(lab: Fleet, name: str) -> None:
    lab.silent(name, 41)
    lab.control._recovery._hears_since -= 1000
    await lab.control._recovery.look()
    lab.forget()


async def crash(lab: Fleet, run: str, answer: dict[str, Any]) -> None:
    """The run's node reports the crash of what it sent."""
    crashed = {"flow": "first", "job": "far", "state": "crashed", "on": "mac4", "token": answer["token"]}
    await lab.report("job.finished", run, "mac3", **crashed)


async def test_what_the_node_of_a_run_can_never_take_is_made_where_it_can_be(lab: Fleet) -> None:
    run = await begin(lab)
    answer = await ask(lab, run, "far")
    assert (answer["answer"], answer["node"]) == ("sent", "mac4")
    assert await ask(lab, run, "far") == answer, "asked again, it is the same lease"
    assert (await state(lab, answer))["state"] == "unknown"
    await send(lab, run)
    [guest] = await lab.control.sending.due("mac4")
    assert (guest["work"], guest["task"]["params"], guest["stop"]) == (f"{run}/far/1", {"A": "1"}, "")
    assert await lab.control.sending.due("mac3") == []
    at = iso(now())
    await tell(lab, answer, started=at, pid=42)
    heard = await state(lab, answer)
    assert (heard["state"], heard["pid"]) == ("started", 42)
    await tell(lab, answer, outcome=outcome(outputs={"A": "b"}))
    heard = await state(lab, answer)
    assert (heard["state"], heard["outcome"]["outputs"]) == ("ended", {"A": "b"})
    assert lab.sql("select how from lease where token = %s", answer["token"]) == [{"how": "done"}]
    assert await lab.control.sending.due("mac4") == []
    await lab.report("job.finished", run, "mac3", flow="first", job="far", token=answer["token"], on="mac4")
    [row] = lab.sql("select node, state from job_run where run = %s and job = 'far'", run)
    assert row == {"node": "mac4", "state": "succeeded"}


async def test_both_sides_are_woken_for_what_they_have_to_hear(lab: Fleet) -> None:
    for name in ("mac3", "mac4"):
        lab.control.dispatch._shared.commands[name] = asyncio.Queue(10)
    run = await begin(lab)
    answer = await send(lab, run)
    assert await lab.control.workers.commands("mac4") == [{"kind": "poll"}]
    await tell(lab, answer, started=iso(now()), pid=1)
    await tell(lab, answer, started=iso(now()), pid=1)
    assert {"kind": "sent"} in await lab.control.workers.commands("mac3")
    await state(lab, answer, stop="cancelled by somebody")
    await state(lab, answer, stop="cancelled by somebody")
    assert await lab.control.workers.commands("mac4") == [{"kind": "poll"}], "once"
    [guest] = await lab.control.sending.due("mac4")
    assert guest["stop"] == "cancelled by somebody"


async def test_what_could_run_beside_the_others_waits_for_room_there_unless_it_may_run_apart(lab: Fleet) -> None:
    one, two = await begin(lab), await begin(lab)
    assert (await ask(lab, one, "heavy"))["answer"] == "held"
    waits = await ask(lab, two, "heavy")
    assert waits["answer"] == "wait"
    assert {r["node"]: r["reason"] for r in waits["reasons"]}["mac4"] == "mac4: it must be with its run on mac3"
    free = await ask(lab, two, "free")
    assert (free["answer"], free["node"]) == ("sent", "mac4")
    three = await begin(lab, "mac4")
    lab.sql("update lease set ended = now(), how = 'done'")
    assert (await ask(lab, three, "free", node="mac4"))["answer"] == "held", "its run's node, where that has room"


async def test_a_node_that_is_lost_before_it_began_leaves_nothing_and_afterwards_a_crash(lab: Fleet) -> None:
    run = await begin(lab)
    answer = await send(lab, run)
    await lose(lab, "mac4")
    assert (await state(lab, answer))["state"] == "lost"
    await lab.heard("mac4", "mac3")
    again = await send(lab, run, attempt=2)
    await tell(lab, again, started=iso(now()), pid=1)
    await lose(lab, "mac4")
    heard = await state(lab, again)
    assert heard["outcome"]["state"] == "crashed"
    assert heard["outcome"]["reason"] == "node mac4 fell silent"
    assert (await state(lab, {"work": f"{run}/far/3", "token": 999}, task={"digest": "d", "flow": "f", "due": None}))[
        "state"
    ] == "lost", "of a lease that is none"


async def test_a_result_that_comes_late_counts_where_nothing_took_its_place(lab: Fleet) -> None:
    run = await begin(lab)
    answer = await send(lab, run)
    await tell(lab, answer, started=iso(now()), pid=1)
    await lose(lab, "mac4")
    await crash(lab, run, answer)
    await tell(lab, answer, outcome=outcome())
    assert job_state(lab, run, 1) == "crashed", "the run goes on, and decides"
    await lab.report("run.finished", run, "mac3", flow="first", state="crashed")
    await tell(lab, answer, outcome=outcome("cancelled"))
    assert job_state(lab, run, 1) == "crashed"
    await tell(lab, answer, node="mac3", outcome=outcome())
    assert job_state(lab, run, 1) == "crashed", "of another node"
    await tell(lab, answer, outcome=outcome(outputs={"A": "late"}))
    assert job_state(lab, run, 1) == "succeeded"
    await tell(lab, answer, outcome=outcome("failed"))
    assert job_state(lab, run, 1) == "succeeded"
    [row] = lab.sql("select node, outputs from job_run where run = %s and job = 'far'", run)
    assert row == {"node": "mac4", "outputs": {"A": "late"}}


def job_state(lab: Fleet, run: str, attempt: int) -> str:
    [row] = lab.sql("select state from job_run where run = %s and job = 'far' and attempt = %s", run, attempt)
    return str(row["state"])


async def test_when_the_node_of_the_run_is_lost_another_gets_the_run_and_what_was_sent_stays(lab: Fleet) -> None:
    await lab.heard("mac5")
    run = await begin(lab, "mac5")
    answer = await send(lab, run, node="mac5")
    await tell(lab, answer, started=iso(now()), pid=1)
    await lab.report("job.started", run, "mac5", flow="first", job="far", token=answer["token"], on="mac4")
    await lose(lab, "mac5")
    [row] = lab.sql("select lost_by, state from run where id = %s", run)
    assert row == {"lost_by": "mac5", "state": "scheduled"}
    assert job_state(lab, run, 1) == "running"
    progress = await lab.control.dispatch.progress(run)
    assert progress["sent"] == {"far": {"attempt": 1, "node": "mac4", "token": answer["token"]}}
    assert (progress["attempts"]["far"], progress["kept"]) == (1, {"first": "succeeded"})
    await tell(lab, answer, outcome=outcome())
    assert (await state(lab, answer))["state"] == "ended"
    assert (await lab.control.dispatch.progress(run))["sent"]["far"]["attempt"] == 1, "until its end was told"


async def test_a_run_that_is_started_again_ends_what_a_lost_node_may_still_do_of_it(lab: Fleet) -> None:
    run = await begin(lab)
    answer = await send(lab, run)
    await tell(lab, answer, started=iso(now()), pid=1)
    await lose(lab, "mac4")
    await crash(lab, run, answer)
    await lab.report("run.finished", run, "mac3", flow="first", state="crashed")
    lab.prefect.runs[run].state = "CRASHED"
    await lab.control.retry(run, failed=True, by="test")
    [guest] = await lab.control.sending.due("mac4")
    assert guest["stop"] == "the run was started again"


async def test_what_makes_no_sense_is_refused_and_nothing_is_kept_of_it(lab: Fleet) -> None:
    run = await begin(lab)
    answer = await ask(lab, run, "far")
    bad: list[dict[str, Any]] = [{"digest": "d"}, {"digest": "d", "flow": "f", "due": None, "handed": {"a": 7}}]
    for task in bad:
        with pytest.raises(InputError, match="cannot be read"):
            await state(lab, answer, task=task)
    await send(lab, run)
    wrong: list[dict[str, Any]] = [{}, {"started": "yesterday", "pid": 1}, {"started": iso(now()), "pid": "x"}]
    wrong += [{"outcome": body} for body in ({}, outcome("running"), outcome(ended="x"), outcome(artefacts=[{}]))]
    for told in wrong:
        with pytest.raises(InputError):
            await tell(lab, answer, **told)
    assert (await state(lab, answer))["state"] == "waiting"
