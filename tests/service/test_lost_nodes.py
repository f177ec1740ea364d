"""A node falls silent: what it had goes on elsewhere, once, or waits for it; what it tells later counts, or not."""

from typing import Any

import pytest
from tests.service.workers_site import Fleet

from homelab.control.queueing import asks_of
from homelab.flows.api import PrefectUnavailable


@pytest.fixture
async def lab(lab: Fleet) -> Fleet:
    await lab.apply(JOBS)
    await lab.heard("mac3", "mac4")
    return lab


JOBS = """
[jobs.again]
run = "true"
retries = { max = 1, delay = "1h" }
[jobs.once]
run = "true"
[jobs.first]
run = "true"
[jobs.second]
run = "true"
needs = ["first"]
retries = { max = 2, delay = "1h" }
[jobs.last]
run = "true"
needs = ["second"]
"""


async def look(lab: Fleet) -> None:
    """One look of recovery, by a control that has been there for a while."""
    lab.control._recovery._hears_since -= 1000
    await lab.control._recovery.look()
    lab.forget()


async def lose(lab: Fleet, name: str, seconds: float = 41) -> None:
    lab.silent(name, seconds)
    await look(lab)


async def begin(lab: Fleet, job: str, node: str, name: str = "", attempt: int = 1, run: str = "") -> tuple[str, int]:
    """A run of the job is claimed by the node, and its first attempt under way; the run and the token."""
    run = run or await lab.run(job)
    lab.sql("update run set node = %s, assigned = now() where id = %s", node, run)
    lab.prefect.runs[run].state = "RUNNING"
    name = name or job
    digest = next(s.flow.digest for s in lab.control.looking._shared.flows.values() if name in s.jobs)
    asks = asks_of([{"work": f"{run}/{name}/{attempt}", "digest": digest}])
    [answer] = await lab.control.waiting.ask(node, asks, ())
    assert answer["answer"] == "held", answer
    flow = lab.sql("select flow from run where id = %s", run)[0]["flow"]
    await lab.report("run.started", run, node, flow=flow)
    await lab.report("job.started", run, node, flow=flow, job=name, attempt=attempt, token=answer["token"])
    return run, answer["token"]


def row(lab: Fleet, run: str) -> dict[str, Any]:
    return lab.sql("select * from run where id = %s", run)[0]


def attempts(lab: Fleet, run: str) -> list[tuple[str, int, str, str]]:
    rows = lab.sql("select job, attempt, state, node from job_run where run = %s order by recorded, job, attempt", run)
    return [(r["job"], r["attempt"], r["state"], r["node"]) for r in rows]


async def test_at_30_s_nothing_goes_there_and_at_40_s_what_it_ran_goes_on_elsewhere_once(lab: Fleet) -> None:
    run, _ = await begin(lab, "again", "mac4")
    await lose(lab, "mac4", 31)
    assert row(lab, run)["state"] == "running"
    await lose(lab, "mac4")
    assert lab.sql("select how from lease") == [{"how": "expired"}]
    assert attempts(lab, run) == [("again", 1, "crashed", "mac4")]
    assert (row(lab, run)["state"], row(lab, run)["node"]) == ("scheduled", None)
    assert (lab.prefect.runs[run].state, lab.prefect.runs[run].name) == ("SCHEDULED", "AwaitingRetry")
    assert await lab.due("mac3") == [run]
    progress = await lab.control.dispatch.progress(run)
    assert progress == {"kept": {}, "attempts": {"again": 1}, "base": {}, "passed": {}, "sent": {}}
    for _ in range(2):
        await look(lab)
    assert attempts(lab, run) == [("again", 1, "crashed", "mac4")]
    events = [e["body"] for e in lab.sql("select body from event where kind = 'run.crashed'")]
    assert [(e["run"], e["node"], e["goes_on"]) for e in events] == [(run, "mac4", True)]


async def test_what_the_lost_node_tells_afterwards_is_dropped_and_it_hears_that_the_run_is_gone(lab: Fleet) -> None:
    run, token = await begin(lab, "again", "mac4")
    await lose(lab, "mac4")
    answer = await lab.heard("mac4", runs=[run], running=[{"run": run, "flow": "again", "jobs": ["again"]}])
    assert answer["gone"] == [run]
    await lab.report("job.finished", run, "mac4", job="again", attempt=1, token=token)
    assert await lab.due("mac3") == [run]
    await begin(lab, "again", "mac3", attempt=2, run=run)
    await lab.report("job.finished", run, "mac4", job="again", attempt=1, token=token)
    await lab.report("run.finished", run, "mac4", flow="again")
    assert attempts(lab, run) == [("again", 1, "crashed", "mac4"), ("again", 2, "running", "mac3")]
    assert (row(lab, run)["state"], row(lab, run)["node"]) == ("running", "mac3")


async def test_what_may_not_be_tried_again_is_crashed_and_its_late_result_counts(lab: Fleet) -> None:
    run, token = await begin(lab, "once", "mac4")
    await lose(lab, "mac4")
    assert row(lab, run)["state"] == "crashed"
    assert "node mac4 is silent for" in row(lab, run)["reason"]
    assert lab.prefect.runs[run].state == "CRASHED"
    assert await lab.due("mac3") == []
    answer = await lab.heard("mac4", runs=[run], running=[{"run": run, "flow": "once", "jobs": ["once"]}])
    assert answer["gone"] == []
    assert (row(lab, run)["state"], lab.prefect.runs[run].state) == ("running", "RUNNING"), "it is not dead"
    assert attempts(lab, run) == [("once", 1, "running", "mac4")]
    await lab.report("job.finished", run, "mac4", job="once", attempt=1, token=token)
    await lab.report("run.finished", run, "mac4", flow="once")
    assert (row(lab, run)["state"], attempts(lab, run)) == ("succeeded", [("once", 1, "succeeded", "mac4")])


async def test_where_no_other_node_can_take_it_the_run_waits_for_its_own(lab: Fleet) -> None:
    run, token = await begin(lab, "again", "mac4")
    lab.silent("mac3", 50)
    await lose(lab, "mac4")
    assert (row(lab, run)["state"], row(lab, run)["node"]) == ("crashed", "mac4")
    assert (await lab.heard("mac4", runs=[run]))["gone"] == []
    await lab.report("job.finished", run, "mac4", job="again", attempt=1, token=token)
    assert attempts(lab, run) == [("again", 1, "succeeded", "mac4")]


async def test_a_run_goes_on_with_what_had_succeeded(lab: Fleet) -> None:
    run, token = await begin(lab, "first", "mac4")
    await lab.report("job.finished", run, "mac4", flow="first", job="first", attempt=1, token=token, outputs={"N": "1"})
    await begin(lab, "second", "mac4", run=run)
    await lose(lab, "mac4")
    assert await lab.due("mac3") == [run]
    assert await lab.control.dispatch.progress(run) == {
        "kept": {"first": "succeeded"}, "attempts": {"first": 1, "second": 1}, "base": {},
        "passed": {"first": {"outputs": {"N": "1"}}},
        "sent": {},
    }  # fmt: skip
    await begin(lab, "second", "mac3", attempt=2, run=run)
    lab.forget()
    await lab.heard("mac4")
    await lose(lab, "mac3")
    assert await lab.due("mac4") == [run], "retries are left: it goes on once more, also where it was lost before"
    await begin(lab, "second", "mac4", attempt=3, run=run)
    await lab.heard("mac3")
    await lose(lab, "mac4")
    assert row(lab, run)["state"] == "crashed", "none are left"
    assert [a[2] for a in attempts(lab, run)] == ["succeeded", "crashed", "crashed", "crashed"]


async def test_a_retry_by_hand_begins_a_new_round_elsewhere_too(lab: Fleet) -> None:
    run, token = await begin(lab, "again", "mac4")
    await lab.report("job.finished", run, "mac4", job="again", attempt=1, token=token, state="failed", retry_at=None)
    await lab.report("run.finished", run, "mac4", flow="again", state="failed")
    await lab.control.retry(run, failed=True, by="test")
    lab.silent("mac4", 31)
    assert await lab.due("mac3") == [run]
    progress = await lab.control.dispatch.progress(run)
    assert progress == {"kept": {}, "attempts": {"again": 1}, "base": {"again": 1}, "passed": {}, "sent": {}}


async def test_runs_that_were_claimed_and_had_not_begun_are_claimed_elsewhere(lab: Fleet) -> None:
    run = await lab.run("once")
    lab.sql("update run set node = 'mac4', assigned = now() where id = %s", run)
    lab.prefect.runs[run].state = "PENDING"
    await lose(lab, "mac4")
    assert lab.prefect.runs[run].state == "SCHEDULED"
    assert await lab.due("mac3") == [run]
    assert (await lab.heard("mac4", runs=[run]))["gone"] == [run]


async def promise(lab: Fleet, job: str, node: str) -> tuple[str, int]:
    """A run of the job is claimed by the node, which gets the lease of its first attempt and is not heard any more."""
    run = await lab.run(job)
    lab.sql("update run set node = %s, assigned = now() where id = %s", node, run)
    lab.prefect.runs[run].state = "PENDING"
    digest = next(s.flow.digest for s in lab.control.looking._shared.flows.values() if job in s.jobs)
    [answer] = await lab.control.waiting.ask(node, asks_of([{"work": f"{run}/{job}/1", "digest": digest}]), ())
    assert answer["answer"] == "held", answer
    return run, answer["token"]


@pytest.mark.parametrize("seconds", [39, 41])
async def test_what_had_its_lease_may_have_begun_and_is_no_run_that_has_not(lab: Fleet, seconds: float) -> None:
    """The node is silent for 41 s. The lease was given with or after its last heartbeat."""
    once, token = await promise(lab, "once", "mac4")
    again, _ = await promise(lab, "again", "mac4")
    lab.silent("mac4", 41)
    lab.sql("update lease set expires = now() + interval '40 s' - make_interval(secs => %s)", seconds)
    await look(lab)
    assert (row(lab, once)["state"], attempts(lab, once)) == ("crashed", [("once", 1, "crashed", "mac4")])
    assert await lab.due("mac3") == [again], "it may be tried again, as its second attempt"
    assert (await lab.control.dispatch.progress(again))["attempts"] == {"again": 1}
    assert (await lab.heard("mac4", runs=[once, again]))["gone"] == [again]
    await lab.report("job.started", once, "mac4", job="once", attempt=1, token=token)
    await lab.report("job.finished", once, "mac4", job="once", attempt=1, token=token)
    await lab.report("run.finished", once, "mac4", flow="once")
    assert (row(lab, once)["state"], attempts(lab, once)) == ("succeeded", [("once", 1, "succeeded", "mac4")])


async def test_a_node_that_was_removed_is_lost_at_once(lab: Fleet) -> None:
    run, _ = await begin(lab, "again", "mac4")
    lab.sql("insert into token (name, scope, hash, node) values ('node mac4', 'node', 'x', 'mac4')")
    await lab.control.fleet.remove("mac4", force=True, by="test")
    assert lab.sql("select revoked is not null as is_over from token where node = 'mac4'") == [{"is_over": True}]
    await look(lab)
    assert await lab.due("mac3") == [run]
    assert attempts(lab, run) == [("again", 1, "crashed", "mac4")]


async def test_the_run_of_a_prefect_user_is_crashed_and_left_to_prefect(lab: Fleet) -> None:
    deployment = next(iter(lab.prefect.deployments.values()))
    now = lab.control.looking._shared.clock()
    foreign = await lab.prefect.create_run(deployment, name="x", due=now, idempotency_key=None, parameters={})
    [at] = [name for name in ("mac3", "mac4") if foreign in await lab.due(name)]
    lab.prefect.runs[foreign].state = "RUNNING"
    await lose(lab, at)
    assert lab.prefect.runs[foreign].state == "CRASHED"
    lab.prefect.runs[foreign].state = "RUNNING"
    await look(lab)
    assert lab.prefect.runs[foreign].state == "RUNNING", "once"


async def test_after_a_start_of_control_everybody_gets_the_full_time(lab: Fleet) -> None:
    run, _ = await begin(lab, "again", "mac4")
    lab.silent("mac4", 300)
    await lab.restart()
    await lab.control._recovery.look()
    assert row(lab, run)["state"] == "running"
    assert lab.sql("select ended from lease") == [{"ended": None}]
    await lab.heard("mac4", leases=[1])
    await look(lab)
    assert row(lab, run)["state"] == "running"


async def test_while_prefect_is_away_nothing_is_lost_and_it_is_told_afterwards(lab: Fleet) -> None:
    run, _ = await begin(lab, "again", "mac4")
    lab.prefect.is_away = True
    lab.silent("mac4", 60)
    lab.control._recovery._hears_since -= 1000
    with pytest.raises(PrefectUnavailable):
        await lab.control._recovery.look()
    assert row(lab, run)["state"] == "running"
    lab.prefect.is_away = False
    await look(lab)
    assert await lab.due("mac3") == [run]


@pytest.mark.parametrize("number", range(6))
async def test_wherever_prefect_fails_and_control_is_killed_it_goes_on_once(lab: Fleet, number: int) -> None:
    run, _ = await begin(lab, "again", "mac4")
    lab.silent("mac4", 60)
    lab.prefect.fails_at, lab.prefect.after = lab.prefect.calls + 1 + number // 2, bool(number % 2)
    for _ in range(3):
        lab.control._recovery._hears_since -= 1000
        try:
            await lab.control._recovery.look()
        except PrefectUnavailable:
            await lab.restart()
    assert await lab.due("mac3") == [run]
    assert attempts(lab, run) == [("again", 1, "crashed", "mac4")]
    assert (row(lab, run)["state"], row(lab, run)["restart"]) == ("scheduled", "")
