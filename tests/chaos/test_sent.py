"""Attempts that run on another node than their run: what dies of the two, or is cut between them. The jobs' own file is
the judge."""

from collections.abc import Iterator

import psutil
import pytest
from tests.fleet import OWN, Fleet
from tests.lab import Lab, until

LONG_S = 45


def marks(lab: Lab, takes: str) -> str:
    return f"{lab.mark('start:$HOMELAB_HOME')}; sleep {takes}; {lab.mark('end:$HOMELAB_HOME')}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Flows NAME-1, NAME-2, NAME-3: the first on a node of `first`, the second on one of `second`."""
    fleet = Fleet(tmp_path_factory.mktemp("sent"))

    def flow(name: str, one: str, two: str, takes: str, retries: int, more: str = "") -> str:
        return f"""
            [jobs.{name}-1]
            run = '''{marks(fleet.lab, "0")}'''
            requires = {{ labels = {one} }}
            [jobs.{name}-2]
            needs = ["{name}-1"]
            run = '''{marks(fleet.lab, takes)}'''
            requires = {{ labels = {two} }}
            retries = {{ max = {retries}, delay = "1s" }}
            {more}
            [jobs.{name}-3]
            needs = ["{name}-2"]
            run = '''{marks(fleet.lab, "0")}'''
            """

    own, a, b, c = (f'{{ machine = "{name}" }}' for name in ("own", "a", "b", "c"))
    first = f"$([ $HOMELAB_ATTEMPT = 1 ] && echo {LONG_S} || echo 2)"
    flows = [
        flow("again", own, '{ where = "far" }', first, 1, 'affinity = ["a"]'),
        flow("moved", a, b, "60", 0).replace("[jobs.moved-3]", '[jobs.moved-3]\naffinity = ["own"]'),
        flow("cut", own, c, str(LONG_S + 20), 0),
        flow("steady", own, b, "12", 0),
        flow("fenced", own, '{ pair = "yes" }', first, 1, 'affinity = ["c"]'),
    ]
    nodes = "".join(
        f"[nodes.{name}]\nlabels = {{ machine = '{name}', where = '{where}', pair = '{pair}' }}\n"
        for name, where, pair in ((OWN, "here", "no"), ("a", "far", "no"), ("b", "far", "yes"), ("c", "out", "yes"))
    )
    try:
        fleet.up(nodes + "\n".join(flows))
        for name in ("a", "b", "c"):
            fleet.join(name, cable=name == "c")
        yield fleet
    finally:
        fleet.down()


def begin(fleet: Fleet, name: str) -> str:
    """Start the flow; its run, once the second job is at work."""
    run = fleet.lab.run_job(f"{name}-1")
    until(lambda: fleet.words(f"{name}-2", run), timeout=40, what=fleet.logs)
    return run


@pytest.fixture(scope="module")
def lost(fleet: Fleet) -> dict[str, str]:
    """A run of each of four flows, at work when node a loses its power and node c its cable, at once."""
    fleet.until_ready(OWN, "a", "b", "c")
    runs = {name: begin(fleet, name) for name in ("again", "moved", "cut", "fenced")}
    assert fleet.lab.json("run", "show", runs["moved"])["run"]["node"] == "a"
    fleet.nodes["a"].kill()
    fleet.cables["c"].cut()
    return runs


def test_what_was_sent_to_a_node_that_dies_is_made_again_elsewhere_once(fleet: Fleet, lost: dict[str, str]) -> None:
    run = lost["again"]
    until(lambda: len(fleet.words("again-2", run)) > 1, timeout=60, what=fleet.logs, step=0.5)
    row = fleet.lab.until_state(run, "again-3", "succeeded", timeout=60)
    assert fleet.words("again-2", run) == [("start", "a"), ("start", "b"), ("end", "b")]
    assert fleet.lab.job_run(run, "again-2")["attempt"] == 2
    assert row["node"] == OWN
    assert fleet.words("again-1", run) == [("start", OWN), ("end", OWN)]


def test_behind_a_cut_cable_it_has_ended_before_it_is_made_again_elsewhere(fleet: Fleet, lost: dict[str, str]) -> None:
    run = lost["fenced"]
    fleet.lab.until_state(run, "fenced-3", "succeeded", timeout=60)
    assert fleet.words("fenced-2", run) == [("start", "c"), ("start", "b"), ("end", "b")]
    assert fleet.lab.job_run(run, "fenced-2")["attempt"] == 2


def test_when_the_node_of_the_run_dies_another_takes_it_up_around_what_was_sent(
    fleet: Fleet, lost: dict[str, str]
) -> None:
    run = lost["moved"]
    row = fleet.lab.until_state(run, "moved-3", "succeeded", timeout=120)
    assert fleet.words("moved-1", run) == [("start", "a"), ("end", "a")]
    assert fleet.words("moved-2", run) == [("start", "b"), ("end", "b")], "it is not begun a second time"
    assert row["node"] in (OWN, "b")
    assert [word for word, _ in fleet.words("moved-3", run)] == ["start", "end"]


def test_behind_a_cut_cable_it_runs_to_its_end_and_its_result_comes_late(fleet: Fleet, lost: dict[str, str]) -> None:
    run = lost["cut"]
    row = fleet.lab.until_state(run, "cut-2", "crashed", timeout=70)
    assert row["reason"] == "node c fell silent"
    fleet.lab.until_state(run, "cut-3", "blocked", timeout=20)
    until(lambda: ("end", "c") in fleet.words("cut-2", run), timeout=60, what="the end behind the cut")
    fleet.cables["c"].mend()
    fleet.lab.until_state(run, "cut-2", "succeeded", timeout=60)
    assert fleet.lab.json("run", "show", run)["run"]["state"] == "crashed", "the run had been given up"
    fleet.lab.homelab("run", "retry", run, "--failed")
    fleet.lab.until_state(run, "cut-3", "succeeded", timeout=60)
    assert fleet.words("cut-2", run) == [("start", "c"), ("end", "c")], "what succeeded late is not done again"


def test_the_worker_of_the_run_is_killed_and_what_was_sent_goes_on_and_counts(fleet: Fleet) -> None:
    fleet.until_ready(OWN, "b")
    run = begin(fleet, "steady")
    psutil.Process(fleet.lab.pid("worker")).kill()
    row = fleet.lab.until_state(run, "steady-3", "succeeded", timeout=90)
    assert row["node"] == OWN
    assert fleet.words("steady-2", run) == [("start", "b"), ("end", "b")]
    assert fleet.lab.job_run(run, "steady-2")["attempt"] == 1


def test_a_killed_worker_of_the_other_node_means_a_crash_that_is_told_at_once(fleet: Fleet) -> None:
    fleet.until_ready(OWN, "b")
    run = begin(fleet, "steady")
    fleet.nodes["b"].worker().kill()
    row = fleet.lab.until_state(run, "steady-2", "crashed", timeout=30)
    assert (row["node"], "the worker ended while it ran" in row["reason"]) == ("b", True)
    assert fleet.words("steady-2", run) == [("start", "b")], "its process ended with it"
    fleet.lab.until_state(run, "steady-3", "blocked", timeout=20)
