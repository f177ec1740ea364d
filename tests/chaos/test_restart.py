"""The lab's programs restarted while jobs run: those notice nothing, and nothing of theirs is lost or done twice."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.lab import Lab, until

SECRET = "s3cr3t-canary-0815"
HALF = SECRET[:9]
STDIN_BYTES = 300_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("restart"))
    (lab.root / "work.py").write_text(
        textwrap.dedent(
            f"""
            import os, pathlib, time

            def waits():
                print("a function, begun", flush=True)
                while not pathlib.Path({str(lab.root)!r}, "go").exists():
                    time.sleep(0.1)
                print("a function, ended", flush=True)
            """
        )
    )
    (lab.root / "key").write_text(SECRET)
    (lab.root / "key").chmod(0o600)
    begun, ended = lab.mark("begun"), lab.mark("ended")
    wait = f"while [ ! -e {lab.root}/go ]; do sleep 0.1; done"
    lab.up(
        f"""
        [lab]
        name = "restart"
        timezone = "UTC"

        [jobs.long]
        run = '''{begun}; printf "half a line, "; {wait}; echo "and the rest"; echo "WORD=passed" >> $HOMELAB_OUTPUT; {ended}'''
        [jobs.after]
        needs = ["long"]
        run = '''echo "it has $WORD"; {ended}'''

        [jobs.fails]
        run = '''{begun}; {wait}; echo "to stderr" >&2; exit 3'''
        retries = {{ max = 1, delay = "1s" }}

        [jobs.killed]
        run = '''{begun}; {wait}; kill -9 $$'''

        [jobs.secret]
        secrets = {{ TOKEN = "file:{lab.root}/key" }}
        run = '''printf "it is {HALF}"; {begun}; {wait}; echo "{SECRET[9:]}."'''

        [jobs.much]
        output_limit = "10KiB"
        run = '''seq 1 300000; {begun}; {wait}; seq 300001 310000'''

        [jobs.reads]
        stdin = "{"x" * STDIN_BYTES}"
        run = '''{begun}; {wait}; wc -c'''

        [jobs.timed]
        timeout = "12s"
        run = '''{begun}; sleep 300'''

        [jobs.waits-to-retry]
        retries = {{ max = 1, delay = "1h" }}
        run = '''{begun}; exit 1'''

        [jobs.cancelled]
        run = '''{begun}; sleep 300'''

        [jobs.leaves]
        run = '''(while :; do echo "nobody reads it"; sleep 0.1; done) & echo $! > {lab.root}/left; {begun}'''

        [jobs.function]
        flow = "work:waits"
        cwd = "{lab.root}"
        """,  # noqa: E501
    )
    yield lab
    lab.down()


def prefect(lab: Lab, path: str, **query: str) -> Any:
    told = lab.json("env")
    auth = tuple(told["PREFECT_API_AUTH_STRING"].split(":", 1))
    got = httpx.get(f"{told['PREFECT_API_URL']}{path}", params=query, timeout=20, auth=auth)
    got.raise_for_status()
    return got.json()


def attempts(lab: Lab, run: str) -> dict[str, int]:
    return {job["job"]: job["attempt"] for job in lab.json("run", "show", run)["run"]["jobs"]}


def test_what_runs_notices_nothing_of_restarts(lab: Lab) -> None:
    begin = ("long", "fails", "killed", "secret", "much", "reads", "timed", "waits-to-retry", "cancelled", "function")
    foreign = ordinary_run(lab)
    runs = {job: lab.run_job(job) for job in begin}
    until(lambda: {mark.job for mark in lab.judge()} >= set(begin) - {"function"}, timeout=30, what=lab.logs)
    lab.until_state(runs["waits-to-retry"], "waits-to-retry", "retrying", timeout=20)
    until(lambda: "begun" in lab.homelab("run", "logs", runs["function"]).stdout, timeout=60, what=lab.logs)
    lab.until_state(lab.run_job("leaves"), "leaves", "succeeded", timeout=20)
    left = int((lab.root / "left").read_text())
    worker, jobs = lab.pid("worker"), commands(lab)
    assert {"long", "reads", "cancelled"} <= jobs.keys()

    for _ in range(3):  # who asks again while it begins must not end it
        os.kill(worker, signal.SIGHUP)
    told = lab.json("restart", "worker")["restarted"]
    assert [(one["name"], one["kept"]) for one in told] == [("worker", 10)], "and one waits to be tried again"
    os.kill(worker, signal.SIGTERM)  # its supervisor would start it again at once
    for _ in range(30):
        os.kill(worker, signal.SIGHUP)
        time.sleep(0.05)
    told = lab.json("restart", "worker")["restarted"]
    assert [(one["name"], one["kept"]) for one in told] == [("worker", 10)]
    assert lab.pid("worker") == worker
    told = lab.json("restart", timeout=200)["restarted"]
    assert [one["name"] for one in told] == ["supervisor", "prefect", "control", "worker"]
    assert lab.pid("worker") == worker
    assert psutil.pid_exists(left), "what was left in the background writes on"
    assert {job: pid for job, pid in commands(lab).items() if job != "timed"} == {
        job: pid for job, pid in jobs.items() if job != "timed"
    }, "they are the same processes"

    lab.homelab("run", "cancel", runs["cancelled"])
    assert lab.until_state(runs["cancelled"], "cancelled", "cancelled", timeout=20)["attempt"] == 1
    assert attempts(lab, runs["waits-to-retry"]) == {"waits-to-retry": 1}, "its hour is not over"
    timed = lab.until_state(runs["timed"], "timed", "timed_out", timeout=30)
    assert 12 <= timed["duration_s"] < 30, "its time counts from its start"

    (lab.root / "go").touch()
    lab.until_state(runs["long"], "after", "succeeded", timeout=30)
    assert lab.until_state(runs["fails"], "fails", "failed", timeout=30)["exit_code"] == 3
    killed = lab.until_state(runs["killed"], "killed", "failed", timeout=30)
    assert "signal 9" in killed["reason"]
    for job in ("secret", "much", "reads", "function"):
        lab.until_state(runs[job], job, "succeeded", timeout=30)
    assert attempts(lab, runs["long"]) == {"long": 1, "after": 1}
    assert attempts(lab, runs["fails"]) == {"fails": 2}, "its one retry, after its end was seen"
    assert lab.words("long") == ["begun", "ended"]

    def log(job: str, task: str = "") -> str:
        return lab.homelab("run", "logs", runs[job], "--task", task or job).stdout

    assert log("long") == "half a line, and the rest\n"
    assert log("long", "after") == "it has passed\n"
    assert log("secret") == "it is ***.\n", "a secret of which one half was printed before"
    assert log("reads").split() == [str(STDIN_BYTES)]
    assert log("function") == "a function, begun\na function, ended\n"
    much = log("much").splitlines()
    assert (much[0], much[-1]) == ("1", "310000")
    left_out = next(re.search(r"\((\d+) lines\) left out", line) for line in much if "left out" in line)
    assert left_out is not None
    assert sum(line.isdecimal() for line in much) + int(left_out[1]) == 310_000, "each line is there, or counted"

    states = [state["name"] for state in prefect(lab, "/flow_run_states/", flow_run_id=runs["long"])]
    assert states[-2:] == ["Running", "Completed"]
    assert not {"Crashed", "AwaitingRetry"} & set(states)
    assert states.count("Running") == 1
    until(lambda: prefect(lab, f"/flow_runs/{foreign}")["state_type"] == "COMPLETED", timeout=60, what=lab.logs)
    assert (lab.root / "made").read_text() == "once\n"


def commands(lab: Lab) -> dict[str, int]:
    """The processes that attempts of commands began with, by job."""
    found: dict[str, int] = {}
    for process in lab.processes():
        with contextlib.suppress(psutil.Error):
            if (job := process.environ().get("HOMELAB_JOB")) and os.getsid(process.pid) == process.pid:
                found[job] = process.pid
    return found


def ordinary_run(lab: Lab) -> str:
    """An ordinary Prefect deployment, running; its run."""
    (lab.root / "ordinary.py").write_text(
        textwrap.dedent(
            f"""
            import time
            from pathlib import Path
            from prefect import flow

            @flow
            def ordinary():
                Path({str(lab.root)!r}, "here").touch()
                while not Path({str(lab.root)!r}, "go").exists():
                    print("still waiting", flush=True)
                    time.sleep(0.1)
                with Path({str(lab.root)!r}, "made").open("a") as file:
                    file.write("once\\n")

            if __name__ == "__main__":
                source = flow.from_source({str(lab.root)!r}, "ordinary.py:ordinary")
                source.deploy("elsewhere", work_pool_name="homelab")
            """
        )
    )
    environment = {**lab.environment, **lab.json("env"), "PREFECT_HOME": str(lab.root / "prefect")}
    for command in (
        [sys.executable, "ordinary.py"],
        [str(Path(sys.executable).with_name("prefect")), "deployment", "run", "ordinary/elsewhere"],
    ):
        done = subprocess.run(command, env=environment, cwd=lab.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    until((lab.root / "here").exists, timeout=60, what=lab.logs)
    told = lab.json("env")
    auth = tuple(told["PREFECT_API_AUTH_STRING"].split(":", 1))
    query = {"flows": {"name": {"any_": ["ordinary"]}}}
    got = httpx.post(f"{told['PREFECT_API_URL']}/flow_runs/filter", json=query, timeout=20, auth=auth)
    return str(got.json()[0]["id"])


def test_a_restart_says_what_it_would_do_and_refuses_what_is_not_there(lab: Lab) -> None:
    assert lab.json("restart", "control", "--dry-run")["would_restart"] == ["control"]
    assert lab.json("restart", "--dry-run")["would_restart"] == ["supervisor", "prefect", "control", "worker"]
    assert "there is no service 'nobody'" in lab.homelab("restart", "nobody", ok=(3,)).stderr
