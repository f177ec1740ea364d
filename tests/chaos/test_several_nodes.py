"""Two workers with homes of their own share the work of one lab. The jobs' own file is the judge of what ran where."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import HOMELAB, Lab, Mark, until


class Second:
    """A worker beside the lab's own, in a home of its own, that speaks to the same control and Prefect."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name, self.home = lab, name, lab.root / name
        for part in ("secrets", "run", "logs"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        for secret in ("token-node", "prefect-auth", "prefect"):
            if (lab.home / "secrets" / secret).exists():
                shutil.copy(lab.home / "secrets" / secret, self.home / "secrets" / secret)
        shutil.copy(lab.home / "run" / "endpoints.json", self.home / "run" / "endpoints.json")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Second":
        environment = {**self.lab.environment, "HOMELAB_HOME": str(self.home)}
        with (self.home / "logs" / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [HOMELAB, "worker", "--name", self.name], env=environment, stdout=log, stderr=log
            )
        until(lambda: self.state() == "ready", timeout=30, what=f"{self.name}'s heartbeat")
        return self

    def state(self) -> str:
        return next((n["state"] for n in self.lab.json("status")["nodes"] if n["name"] == self.name), "")

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.send(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()


def overlap(marks: list[Mark]) -> int:
    """How many jobs ran at once, by their marks `start` and `end`."""
    most = now = 0
    for mark in sorted(marks, key=lambda m: m.time):
        now += {"start": 1, "end": -1}.get(mark.word, 0)
        most = max(most, now)
    return most


def between(lab: Lab, seconds: float) -> str:
    return f"{lab.mark('start')}; sleep {seconds}; {lab.mark('end')}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("nodes"))
    lab.up(
        f"""
        [lab]
        name = "nodes"
        timezone = "UTC"

        [worker]
        name = "one"

        [nodes.one]
        capacity = {{ seats = 8 }}
        [nodes.two]
        capacity = {{ seats = 16 }}
        labels = {{ gpu = "yes" }}

        [jobs.large]
        run = '''{between(lab, 4)}'''
        requires = {{ seats = 6 }}
        affinity = [{{ node = "one", required = true }}]

        [jobs.wide]
        run = '''{between(lab, 2)}'''
        requires = {{ seats = 8 }}

        [jobs.far]
        run = '''{lab.mark("ran")}'''
        requires = {{ labels = {{ gpu = "yes" }} }}

        [jobs.render]
        run = '''{between(lab, 8)}'''
        requires = {{ seats = 8 }}
        affinity = [{{ node = "one", required = true }}]
        restartable = true

        [jobs.urgent]
        run = '''{between(lab, 1)}'''
        requires = {{ seats = 8 }}
        affinity = [{{ node = "one", required = true }}]
        priority = 10

        [jobs.plain]
        run = '''{lab.mark("ran")}; sleep 4'''
        """
    )
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def two(lab: Lab) -> Iterator[Second]:
    second = Second(lab, "two").start()
    yield second
    second.stop()


def test_on_one_node_what_does_not_fit_beside_the_others_waits_and_says_for_what(lab: Lab) -> None:
    runs = [lab.run_job("large") for _ in range(3)]
    why = until(
        lambda: next((r for r in lab.json("job", "why", "large")["reasons"] if "6 asked" in r), None),
        timeout=10, what=lambda: f"why it waits: {lab.json('job', 'why', 'large')} {lab.judge()}\n{lab.logs()}",
    )  # fmt: skip
    assert "one: 2 seats free of 6 asked; large holds 6" in why
    shown = [job["reason"] for run in runs for job in lab.json("run", "show", run)["run"]["jobs"]]
    assert why in "; ".join(shown)
    for run in runs:
        lab.until_state(run, "large", "succeeded", timeout=30)
    assert len(lab.judge("large")) == 6
    assert overlap(lab.judge("large")) == 1


def test_work_of_higher_priority_stops_a_restartable_job_which_then_runs_once_more(lab: Lab) -> None:
    render = lab.run_job("render")
    until(lambda: lab.words("render"), timeout=20, what="the render to start")
    urgent = lab.run_job("urgent")
    lab.until_state(urgent, "urgent", "succeeded", timeout=30)
    row = lab.until_state(render, "render", "succeeded", timeout=40)
    assert row["attempt"] == 2
    assert lab.words("render") == ["start", "start", "end"]
    first, second = [m.time for m in lab.judge("render") if m.word == "start"]
    begin, end = (m.time for m in lab.judge("urgent"))
    assert first < begin < end < second


def test_each_run_is_executed_once_and_what_needs_a_label_goes_to_the_node_that_has_it(lab: Lab, two: Second) -> None:
    far = [lab.run_job("far") for _ in range(3)]
    plain = [lab.run_job("plain") for _ in range(12)]
    for run in far:
        assert lab.until_state(run, "far", "succeeded")["node"] == "two"
    where = {lab.until_state(run, "plain", "succeeded")["node"] for run in plain}
    assert where == {"one", "two"}
    assert sorted(m.run for m in lab.judge("plain")) == sorted(plain)


def test_work_is_spread_over_both_up_to_what_they_have(lab: Lab, two: Second) -> None:
    runs = [lab.run_job("wide") for _ in range(6)]
    for run in runs:
        lab.until_state(run, "wide", "succeeded", timeout=60)
    assert overlap(lab.judge("wide")) == 3
    assert sorted({m.run for m in lab.judge("wide")}) == sorted(runs)
    assert len(lab.judge("wide")) == 12


def test_a_job_by_hand_starts_on_an_idle_other_node_within_a_moment(lab: Lab, two: Second) -> None:
    time.sleep(1)
    took: list[float] = []
    for _ in range(5):
        before = len(lab.judge("far"))
        created = lab.json("run", "show", lab.run_job("far"))["run"]["created"]
        until(lambda before=before: len(lab.judge("far")) > before, timeout=20, what="the job", step=0.02)
        at = time.mktime(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float("0" + created[19:-1])
        took.append(lab.judge("far")[-1].time - at)
    assert sorted(took)[2] < 2, took


def test_a_command_killed_with_its_worker_leaves_room_again(lab: Lab, two: Second, tmp_path: Path) -> None:
    run = lab.run_job("wide")
    until(lambda: lab.job_run(run, "wide").get("state") == "running", timeout=20, what="it to run")
    if lab.job_run(run, "wide")["node"] == "two":
        two.kill()
        two.start()
        lab.until_state(run, "wide", "crashed", timeout=30)
    again = [lab.run_job("wide") for _ in range(3)]
    for one in again:
        lab.until_state(one, "wide", "succeeded", timeout=30)
