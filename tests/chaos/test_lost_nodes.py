"""Nodes that lose their power, their cable, or stand still, while jobs run on them. The jobs' own file is the judge.

Where the machine permits it each of them is in a network namespace, and what is cut off vanishes without a word.
"""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest
from tests.fleet import Fleet
from tests.lab import Lab, Mark, until
from tests.network import Network, why_not

LONG_S = {"a": 60, "b": 60, "c": 20}
"""What the jobs take on each node: longer than it is cut off before it is given up; c's stand still with it."""


@dataclass(frozen=True)
class Loss:
    """What was begun before the nodes were lost, all at once: the run of each job, and when that was."""

    runs: dict[str, str]
    at: float


def marks(lab: Lab, long_s: int) -> str:
    """A job that says where it starts and where it ends, and a line each second. Only its first attempt is long."""
    count = f"[ $HOMELAB_ATTEMPT = 1 ] && n={long_s} || n=3"
    lines = "for i in $(seq $n); do echo line $i; sleep 1; done"
    return f"{lab.mark('start:$HOMELAB_HOME')}; {count}; {lines}; {lab.mark('end:$HOMELAB_HOME')}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("lost"), network=None if why_not() else Network())
    jobs = "\n".join(
        f"""
        [jobs.{kind}-{name}]
        run = '''{marks(fleet.lab, long_s)}'''
        affinity = [{{ node = "{name}", required = {must} }}]
        retries = {{ max = {retries}, delay = "1s" }}
        """
        for name, long_s in LONG_S.items()
        for kind, retries, must in (("again", 1, "false"), ("once", 0, "true"))
    )
    chain = f"""
        [jobs.first]
        run = '''{fleet.lab.mark("first:$HOMELAB_HOME")}'''
        affinity = ["a"]

        [jobs.then]
        run = '''{marks(fleet.lab, LONG_S["a"])}'''
        affinity = ["a"]
        needs = ["first"]
        retries = {{ max = 1, delay = "1s" }}

        [jobs.last]
        run = '''{fleet.lab.mark("last:$HOMELAB_HOME")}'''
        needs = ["then"]

        [jobs.minutely]
        schedule = "* * * * *"
        run = '''{fleet.lab.mark("$HOMELAB_DUE:$HOMELAB_HOME")}'''
        affinity = ["b"]
        """
    try:
        fleet.up(f"[nodes.own]\n[nodes.a]\n[nodes.b]\n[nodes.c]\n{jobs}\n{chain}")
        for name in LONG_S:
            fleet.join(name, cable=True)
        yield fleet
    finally:
        fleet.down()


@pytest.fixture(scope="module")
def loss(fleet: Fleet) -> Loss:
    """Node a loses its power, node b its cable, and node c stands still."""
    fleet.until_ready("own", *LONG_S)
    time.sleep((45 - time.time()) % 60)
    jobs = ("again-a", "once-a", "first", "again-b", "once-b", "again-c", "once-c")
    runs = {job: fleet.lab.run_job(job) for job in jobs}
    runs["then"] = runs["last"] = runs["first"]
    for job in runs:
        until(lambda job=job: job == "last" or fleet.words(job, runs[job]), timeout=30, what=fleet.logs)
    time.sleep(
        (58.8 - time.time()) % 60
    )  # b has the lease for the run of the next minute, and cannot say that it began
    fleet.cut_power("a")
    fleet.cut("b")
    fleet.nodes["c"].signal_all(signal.SIGSTOP)
    return Loss(runs, time.time())


def instants(fleet: Fleet) -> list[int]:
    """The instants for which the minutely job ran, as minutes since the epoch, in the order in which it did."""
    return [instant(mark) // 60 for mark in fleet.lab.judge("minutely")]


def instant(mark: Mark) -> int:
    """For which instant the minutely job left this mark."""
    return int(datetime.fromisoformat(mark.word.rpartition(":")[0]).timestamp())


def test_what_may_be_tried_again_goes_on_elsewhere_within_a_minute(fleet: Fleet, loss: Loss) -> None:
    def again(job: str) -> Mark | None:
        began = [m for m in fleet.lab.judge(job) if m.run == loss.runs[job] and m.word.startswith("start")]
        return began[1] if len(began) > 1 else None

    for job, lost in (("again-a", "a"), ("then", "a"), ("again-b", "b"), ("again-c", "c")):
        mark = until(lambda job=job: again(job), timeout=60, what=fleet.logs, step=0.5)
        assert mark.word.split("/")[-2] != lost
        assert loss.at + 29 < mark.time < loss.at + 60, "not before its lease has ended"


def test_what_may_not_be_tried_again_is_crashed_for_all_that_is_known(fleet: Fleet, loss: Loss) -> None:
    for name in LONG_S:
        assert fleet.lab.until_state(loss.runs[f"once-{name}"], f"once-{name}", "crashed", timeout=20)["reason"]


def test_what_went_on_behind_the_cut_is_told_late_and_counts(fleet: Fleet, loss: Loss) -> None:
    run = loss.runs["once-b"]
    until(lambda: ("end", "b") in fleet.words("once-b", run), timeout=60, what="the end behind the cut")
    assert fleet.lab.job_run(run, "once-b")["state"] == "crashed", "it has succeeded, and nobody here knows"
    fleet.mend("b")
    assert fleet.lab.until_state(run, "once-b", "succeeded", timeout=60)["node"] == "b"
    last = f"line {LONG_S['b']}\n"
    until(lambda: last in fleet.lab.homelab("run", "logs", run).stdout, timeout=20, what=fleet.logs)
    log = fleet.lab.homelab("run", "logs", run).stdout.splitlines()
    assert log == [f"line {n}" for n in range(1, LONG_S["b"] + 1)], "what was written behind the cut came, and is whole"


def test_a_node_that_stood_still_for_a_minute_does_not_report_over_its_successor(fleet: Fleet, loss: Loss) -> None:
    time.sleep(max(0.0, loss.at + 60 - time.time()))
    fleet.nodes["c"].signal_all(signal.SIGCONT)
    row = fleet.lab.until_state(loss.runs["once-c"], "once-c", "succeeded", timeout=120)
    assert (row["attempt"], row["node"]) == (1, "c")
    assert fleet.words("once-c", loss.runs["once-c"]) == [("start", "c"), ("end", "c")]


def test_each_was_done_once_and_nothing_was_done_again_that_had_succeeded(fleet: Fleet, loss: Loss) -> None:
    for name in LONG_S:
        job, run = f"again-{name}", loss.runs[f"again-{name}"]
        row = fleet.lab.until_state(run, job, "succeeded", timeout=90)
        assert (row["attempt"], row["node"] != name) == (2, True)
        said = fleet.words(job, run)
        assert [word for word, _ in said] == ["start", "start", "end"], (
            "the one that was cut off, or stood still, was ended"
        )
        assert said[1][1] == said[2][1]
    chain = loss.runs["first"]
    fleet.lab.until_state(chain, "last", "succeeded", timeout=90)
    assert [w for w, _ in fleet.words("first", chain)] == ["first"], "what had succeeded is not done again"
    assert [w for w, _ in fleet.words("then", chain)] == ["start", "start", "end"]
    assert [w for w, _ in fleet.words("last", chain)] == ["last"]
    assert [w for w, _ in fleet.words("once-a", loss.runs["once-a"])] == ["start"]
    fleet.nodes["a"].start()
    fleet.until_ready("a")


def test_what_fell_due_meanwhile_ran_once_or_has_its_record(fleet: Fleet, loss: Loss) -> None:
    """One instant came while its node was dead, or had just been cut off with the lease in its hand."""
    until(
        lambda: max(instants(fleet)) >= time.time() // 60, timeout=70, what=lambda: f"{instants(fleet)}{fleet.logs()}"
    )
    ran = instants(fleet)
    assert len(ran) == len(set(ran)), f"an instant ran twice: {fleet.lab.judge('minutely')}"
    rows = fleet.lab.json("run", "ls", "--job", "minutely", "--limit", "50")["runs"]
    known = {int(datetime.fromisoformat(row["due"]).timestamp()) // 60: row["state"] for row in rows}
    for minute in range(min(ran), max(ran)):
        assert known[minute] == "succeeded" if minute in ran else known[minute] in ("missed", "crashed"), known


def test_a_worker_killed_and_back_at_once_keeps_its_work_and_loses_no_lease(fleet: Fleet) -> None:
    fleet.until_ready("b")
    run = fleet.lab.run_job("again-b")
    until(lambda: fleet.words("again-b", run), timeout=30, what=fleet.logs)
    fleet.nodes["b"].worker().kill()
    until(lambda: len(fleet.words("again-b", run)) > 1, timeout=30, what=fleet.logs, step=0.5)
    assert fleet.words("again-b", run)[1] == ("start", "b")
    row = fleet.lab.until_state(run, "again-b", "succeeded", timeout=120)
    assert (row["attempt"], row["node"]) == (2, "b")


def test_a_daemon_that_is_stopped_gives_up_at_once_what_it_had_not_begun_and_is_no_failure(fleet: Fleet) -> None:
    lab, b = fleet.lab, fleet.nodes["b"]
    fleet.until_ready("b")
    if not 36 < time.time() % 60 < 50:  # then b has claimed the run of the next minute
        time.sleep((40 - time.time()) % 60)
    due = int(time.time()) // 60 * 60 + 60
    run = lab.run_job("again-b")
    until(lambda: fleet.words("again-b", run), timeout=30, what=fleet.logs)
    asked = time.time()
    b.homelab("down")
    [mark] = until(
        lambda: [m for m in lab.judge("minutely") if instant(m) == due], timeout=due + 10 - time.time(), what=fleet.logs
    )
    assert mark.word.split("/")[-2] != "b"
    assert mark.time < due + 2, "it was not waited for until b is unreachable"
    refused = {r["node"]: r["reason"] for r in lab.json("place", "--job", "once-b", ok=(1,))["rejections"]}
    assert refused["b"] == "b: its daemon was stopped"
    row = lab.until_state(run, "again-b", "succeeded", timeout=90)
    assert (row["attempt"], row["node"] != "b") == (2, True), "what it cut short goes on as where a node is lost"
    second = next(m for m in lab.judge("again-b") if (m.run, m.attempt) == (run, 2))
    assert asked + 29 < second.time < asked + 60, "not before its lease has ended"
    assert {n["name"]: n["state"] for n in lab.json("node", "ls")["nodes"]}["b"] == "stopped"
    assert [p for p in lab.json("status")["problems"] if p["subject"] == "b"] == []
    b.start()
    fleet.until_ready("b")
    assert lab.json("place", "--job", "once-b")["placement"]["node"] == "b"
