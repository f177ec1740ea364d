"""Jobs of one run on several machines: sent where they must or may be, with what they need, and told of as one run."""

from collections.abc import Iterator

import pytest
from tests.fleet import OWN, Fleet, here
from tests.lab import until


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("sending"))
    mark = fleet.lab.mark(here())
    text = f"""
        [nodes.own]
        labels = {{ machine = "own" }}
        capacity = {{ seats = 1 }}
        [nodes.two]
        labels = {{ machine = "two" }}
        capacity = {{ seats = 1 }}

        [jobs.make]
        run = '''{mark}; mkdir -p out; echo "made by make" > out/file; echo "WORD=a word" >> $HOMELAB_OUTPUT'''
        requires = {{ labels = {{ machine = "own" }} }}
        save = ["out/*"]

        [jobs.far]
        needs = ["make"]
        requires = {{ labels = {{ machine = "two" }} }}
        run = '''{mark}; cat $HOMELAB_INPUTS/make/out/file; echo "WORD is $WORD, $ADDED"; echo "BACK=from two" >> $HOMELAB_OUTPUT'''
        params = {{ ADDED = "nothing" }}

        [jobs.near]
        needs = ["far"]
        run = '''{mark}; echo "BACK is $BACK"'''

        [jobs.all]
        run = '''{mark}'''
        requires = {{ labels = {{ machine = "own" }} }}
        [jobs.part-1]
        needs = ["all"]
        run = '''{mark}; sleep 3'''
        requires = {{ seats = 1 }}
        apart = true
        [jobs.part-2]
        needs = ["all"]
        run = '''{mark}; sleep 3'''
        requires = {{ seats = 1 }}
        apart = true

        [jobs.begin]
        run = '''{mark}'''
        requires = {{ labels = {{ machine = "own" }} }}
        [jobs.endless]
        needs = ["begin"]
        run = '''{mark}; sleep 300'''
        requires = {{ labels = {{ machine = "two" }} }}

        [jobs.steady]
        needs = ["begin"]
        run = '''{mark}; printf "half, "; while [ ! -e {fleet.lab.root}/steady ]; do sleep 0.1; done; echo "whole"'''
        requires = {{ labels = {{ machine = "two" }} }}

        [jobs.patient]
        needs = ["begin"]
        run = '''{mark}; sleep $([ $HOMELAB_ATTEMPT = 1 ] && echo 300 || echo 0)'''
        requires = {{ labels = {{ machine = "two" }}, seats = 1 }}
        restartable = true
        [jobs.urgent]
        run = '{mark}; sleep 1'
        requires = {{ labels = {{ machine = "two" }}, seats = 1 }}
        priority = 50
        """  # noqa: E501
    try:
        fleet.up(text)
        fleet.join("two")
        fleet.until_ready(OWN, "two")
        yield fleet
    finally:
        fleet.down()


def test_a_job_that_only_another_node_can_take_runs_there_and_the_run_goes_on(fleet: Fleet) -> None:
    lab = fleet.lab
    run = lab.run_job("make", "--param", "ADDED=more")
    lab.until_state(run, "near", "succeeded", timeout=60)
    assert [fleet.where(job) for job in ("make", "far", "near")] == [[OWN], ["two"], [OWN]]
    shown = lab.json("run", "show", run)["run"]
    assert shown["node"] == OWN
    assert {job["job"]: job["node"] for job in shown["jobs"]} == {"make": OWN, "far": "two", "near": OWN}
    until(
        lambda: "made by make\nWORD is a word, more" in lab.homelab("run", "logs", run, "--task", "far").stdout,
        timeout=20,
        what=lambda: lab.homelab("run", "logs", run).stdout + fleet.logs(),
    )
    assert "BACK is from two" in lab.homelab("run", "logs", run, "--task", "near").stdout
    assert {row["id"] for row in lab.json("run", "ls", "--job", "far")["runs"]} == {run}, "it is the same run"


def test_jobs_that_may_run_apart_use_both_machines_at_once(fleet: Fleet) -> None:
    lab = fleet.lab
    run = lab.run_job("all")
    for job in ("part-1", "part-2"):
        lab.until_state(run, job, "succeeded", timeout=60)
    assert sorted(fleet.where("part-1") + fleet.where("part-2")) == [OWN, "two"]
    marks = [lab.judge(job)[0].time for job in ("part-1", "part-2")]
    assert abs(marks[0] - marks[1]) < 3, "they ran side by side"


def test_what_was_cancelled_ends_where_it_runs(fleet: Fleet) -> None:
    lab = fleet.lab
    run = lab.run_job("begin")
    until(lambda: fleet.where("endless") == ["two"], timeout=30, what=fleet.logs)
    assert "endless" in [lease["owner"] for lease in lab.json("node", "show", "two")["node"]["leases"]]
    lab.homelab("run", "cancel", run)
    row = lab.until_state(run, "endless", "cancelled", timeout=30)
    assert (row["node"], "cancelled by" in row["reason"]) == ("two", True)
    assert lab.json("run", "show", run)["run"]["state"] == "cancelled"
    until(lambda: not lab.json("node", "show", "two")["node"]["leases"], timeout=20, what=fleet.logs)


def test_what_may_be_restarted_makes_room_where_it_runs_and_begins_anew_there(fleet: Fleet) -> None:
    lab = fleet.lab
    before = len(fleet.where("patient"))
    run = str(lab.json("job", "run", "begin")["run"]["id"])
    until(lambda: len(fleet.where("patient")) > before, timeout=30, what=fleet.logs)
    urgent = lab.run_job("urgent")
    lab.until_state(urgent, "urgent", "succeeded", timeout=30)
    row = lab.until_state(run, "patient", "succeeded", timeout=30)
    assert (row["node"], row["attempt"]) == ("two", 2)
    lab.homelab("run", "cancel", run)


def test_restarted_on_both_sides_what_was_sent_goes_on_and_is_told(fleet: Fleet) -> None:
    lab, two = fleet.lab, fleet.nodes["two"]
    before = len(fleet.where("steady"))
    run = lab.run_job("begin")
    until(lambda: len(fleet.where("steady")) > before, timeout=30, what=fleet.logs)
    until(lambda: lab.job_run(run, "steady")["state"] == "running", timeout=20, what=fleet.logs)
    assert two.json("restart", timeout=200)["restarted"][-1]["kept"] >= 1
    lab.homelab("restart", "worker", timeout=200)
    (lab.root / "steady").touch()
    row = lab.until_state(run, "steady", "succeeded", timeout=40)
    assert (row["node"], row["attempt"]) == ("two", 1)
    assert fleet.where("steady")[before:] == ["two"]
    until(
        lambda: lab.homelab("run", "logs", run, "--task", "steady").stdout == "half, whole\n",
        timeout=20,
        what=lambda: lab.homelab("run", "logs", run).stdout + fleet.logs(),
    )
    lab.homelab("run", "cancel", run)
