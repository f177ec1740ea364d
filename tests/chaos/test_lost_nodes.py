"""Nodes that lose their power, their cable, or stand still, while jobs run on them. The jobs' own file is the judge."""

import signal
import time
from collections.abc import Iterator

import pytest
from tests.fleet import Fleet
from tests.lab import Lab, until

LONG_S = 60
"""Longer than it takes to give a node up."""


def marks(lab: Lab) -> str:
    """A job that says where it starts and where it ends. Only its first attempt is long."""
    takes = f"sleep $([ $HOMELAB_ATTEMPT = 1 ] && echo {LONG_S} || echo 3)"
    return f"{lab.mark('start:$HOMELAB_HOME')}; {takes}; {lab.mark('end:$HOMELAB_HOME')}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("lost"))
    jobs = "\n".join(
        f"""
        [jobs.{kind}-{name}]
        run = '''{marks(fleet.lab)}'''
        affinity = [{{ node = "{name}", required = {must} }}]
        retries = {{ max = {retries}, delay = "1s" }}
        """
        for name in ("a", "b")
        for kind, retries, must in (("again", 1, "false"), ("once", 0, "true"))
    )
    chain = f"""
        [jobs.first]
        run = '''{fleet.lab.mark("first:$HOMELAB_HOME")}'''
        affinity = ["a"]

        [jobs.then]
        run = '''{marks(fleet.lab)}'''
        affinity = ["a"]
        needs = ["first"]
        retries = {{ max = 1, delay = "1s" }}

        [jobs.last]
        run = '''{fleet.lab.mark("last:$HOMELAB_HOME")}'''
        needs = ["then"]
        """
    try:
        fleet.up(f"[nodes.own]\n[nodes.a]\n[nodes.b]\n{jobs}\n{chain}")
        for name in ("a", "b"):
            fleet.join(name, cable=True)
        yield fleet
    finally:
        fleet.down()


def words(fleet: Fleet, job: str, run: str) -> list[tuple[str, str]]:
    """(what, node) of each mark of the run, in the order of time."""
    found = sorted((m for m in fleet.lab.judge(job) if m.run == run), key=lambda m: m.time)
    return [(word, home.split("/")[-2]) for word, home in (m.word.split(":", 1) for m in found)]


def begin(fleet: Fleet, *jobs: str) -> dict[str, str]:
    """Start the jobs; each run, once it is at work."""
    fleet.until_ready("own", "a", "b")
    runs = {job: fleet.lab.run_job(job) for job in jobs}
    for job, run in runs.items():
        at_work = "then" if job == "first" else job
        until(lambda at=at_work, run=run: words(fleet, at, run), timeout=30, what=fleet.logs)
    return runs


def test_a_node_without_power_or_cable_and_one_that_stands_still_lose_and_double_nothing(fleet: Fleet) -> None:
    """Node a is killed whole; node b is cut off, all at once. Retryable work goes on elsewhere within a minute."""
    runs = begin(fleet, "again-a", "once-a", "first", "again-b", "once-b")
    fleet.nodes["a"].kill()
    fleet.cables["b"].cut()
    at = time.time()

    def again(job: str) -> str | None:
        began = [
            m for m in fleet.lab.judge(job) if m.run == runs.get(job, runs["first"]) and m.word.startswith("start")
        ]
        return began[1].word.split("/")[-2] if len(began) > 1 else None

    for job, lost in (("again-a", "a"), ("then", "a"), ("again-b", "b")):
        where = until(lambda job=job: again(job), timeout=60, what=fleet.logs, step=0.5)
        assert where != lost
    took = time.time() - at
    assert took < 60
    assert fleet.lab.until_state(runs["once-a"], "once-a", "crashed", timeout=20)["reason"]
    fleet.lab.until_state(runs["once-b"], "once-b", "crashed", timeout=20)
    # What may not be tried again ran on behind the cut cable; its result comes late and counts.
    until(lambda: ("end", "b") in words(fleet, "once-b", runs["once-b"]), timeout=60, what="the end behind the cut")
    fleet.cables["b"].mend()
    row = fleet.lab.until_state(runs["once-b"], "once-b", "succeeded", timeout=60)
    assert row["node"] == "b"
    for job in ("again-a", "again-b"):
        assert fleet.lab.until_state(runs[job], job, "succeeded", timeout=90)["attempt"] == 2
        said = words(fleet, job, runs[job])
        assert [word for word, _ in said] == ["start", "start", "end"]
        assert said[1][1] == said[2][1]
    fleet.lab.until_state(runs["first"], "last", "succeeded", timeout=90)
    assert [w for w, _ in words(fleet, "first", runs["first"])] == ["first"], "what had succeeded is not done again"
    assert [w for w, _ in words(fleet, "then", runs["first"])] == ["start", "start", "end"]
    assert [w for w, _ in words(fleet, "last", runs["first"])] == ["last"]
    assert [w for w, _ in words(fleet, "once-a", runs["once-a"])] == ["start"]
    fleet.nodes["a"].start()
    fleet.until_ready("a")


def test_a_node_that_stood_still_for_a_minute_does_not_report_over_its_successor(fleet: Fleet) -> None:
    runs = begin(fleet, "again-a", "once-a")
    fleet.nodes["a"].signal_all(signal.SIGSTOP)
    try:
        until(lambda: len(words(fleet, "again-a", runs["again-a"])) > 1, timeout=60, what=fleet.logs, step=0.5)
        time.sleep(15)  # a minute in all
    finally:
        fleet.nodes["a"].signal_all(signal.SIGCONT)
    row = fleet.lab.until_state(runs["again-a"], "again-a", "succeeded", timeout=120)
    assert (row["attempt"], row["node"] != "a") == (2, True)
    said = words(fleet, "again-a", runs["again-a"])
    assert [word for word, _ in said] == ["start", "start", "end"], "the one that had stood still was ended"
    row = fleet.lab.until_state(runs["once-a"], "once-a", "succeeded", timeout=120)
    assert (row["attempt"], row["node"]) == (1, "a")
    assert words(fleet, "once-a", runs["once-a"]) == [("start", "a"), ("end", "a")]


def test_a_worker_killed_and_back_at_once_keeps_its_work_and_loses_no_lease(fleet: Fleet) -> None:
    runs = begin(fleet, "again-b")
    fleet.nodes["b"].worker().kill()
    until(lambda: len(words(fleet, "again-b", runs["again-b"])) > 1, timeout=30, what=fleet.logs, step=0.5)
    assert words(fleet, "again-b", runs["again-b"])[1] == ("start", "b")
    row = fleet.lab.until_state(runs["again-b"], "again-b", "succeeded", timeout=120)
    assert (row["attempt"], row["node"]) == (2, "b")
