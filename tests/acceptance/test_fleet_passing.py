"""Logs, variables and files of a run on another machine, over a cable that is cut while it runs."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet import OWN, Fleet
from tests.lab import until

TEXT = """
[nodes.own]
[nodes.two]
labels = { machine = "two" }

[defaults]
requires = { labels = { machine = "two" } }

[jobs.far]
save = ["out/*"]
run = '''
mkdir -p out
for n in $(seq 1 40); do echo line $n; sleep 0.25; done
echo "made there" > out/report.txt
echo "V=40 lines" >> $HOMELAB_OUTPUT
'''

[jobs.use]
needs = ["far"]
run = 'cat $HOMELAB_INPUTS/far/out/report.txt; echo "V is $V"'
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.up(TEXT)
        fleet.join("two", cable=True)
        fleet.until_ready(OWN, "two")
        yield fleet
    finally:
        fleet.down()


def test_the_story_of_a_run_elsewhere_is_told_here_as_if_it_were_here(fleet: Fleet, tmp_path: Path) -> None:
    lab = fleet.lab
    run = lab.run_job("far")
    until(lambda: "line 3\n" in lab.homelab("run", "logs", run).stdout, timeout=40, what=lambda: fleet.logs())
    assert lab.json("run", "show", run)["run"]["state"] == "running"
    fleet.cut("two")
    time.sleep(4)
    fleet.mend("two")
    lab.until_state(run, "use", "succeeded", timeout=60)
    until(
        lambda: "V is 40 lines" in lab.homelab("run", "logs", run).stdout,
        timeout=30,
        what=lambda: lab.homelab("run", "logs", run).stdout + fleet.logs(),
    )
    said = lab.homelab("run", "logs", run, "--task", "far").stdout.splitlines()
    assert said == [f"line {n}" for n in range(1, 41)]
    for path in (fleet.nodes["two"].home / "runs" / run[:2] / run).glob("*.log"):
        copy = lab.home / "runs" / run[:2] / run / path.name
        assert copy.read_bytes() == path.read_bytes()
    until(lambda: all(f["is_here"] for f in lab.json("run", "artefacts", run)["artefacts"]), timeout=30, what="files")
    lab.homelab("run", "fetch", run, "--to", str(tmp_path))
    assert (tmp_path / "far/out/report.txt").read_text() == "made there\n"
    jobs = {j["job"]: j for j in lab.json("run", "show", run)["run"]["jobs"]}
    assert jobs["far"]["outputs"] == {"V": "40 lines"} and jobs["far"]["node"] == "two"
