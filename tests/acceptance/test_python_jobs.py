"""Python functions as jobs, and ordinary Prefect deployments sent to the lab's pool."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import Lab, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("python"))
    (lab.root / "work.py").write_text(
        textwrap.dedent(
            """
            import os, sys, time

            def greet(who="nobody"):
                print("hello", who, "from", os.environ["HOMELAB_JOB"])
                print("to stderr", file=sys.stderr)

            def breaks():
                raise ValueError("no good")

            def sleeps():
                print("asleep", flush=True)
                time.sleep(60)
            """
        )
    )
    lab.up(
        """
        [lab]
        name = "python"
        timezone = "UTC"

        [defaults]
        cwd = "."

        [jobs.greet]
        flow = "work:greet"
        params = { who = "world" }

        [jobs.breaks]
        flow = "work:breaks"
        retries = { max = 1, delay = "0.1s" }

        [jobs.sleeps]
        flow = "work:sleeps"
        timeout = "1s"
        """
    )
    yield lab
    lab.down()


def test_a_function_is_called_with_its_parameters_and_its_output_is_in_the_log(lab: Lab) -> None:
    run = lab.json("job", "run", "greet", "--param", "who=you", "--wait")["run"]
    assert run["state"] == "succeeded"
    log = lab.homelab("run", "logs", run["id"]).stdout
    assert "hello you from greet" in log
    assert "to stderr" in log


def test_an_exception_fails_the_attempt_with_its_traceback_and_is_retried(lab: Lab) -> None:
    run = lab.json("job", "run", "breaks", "--wait", ok=(1,))["run"]
    assert lab.job_run(run["id"], "breaks")["attempt"] == 2
    assert "ValueError: no good" in lab.homelab("run", "logs", run["id"]).stdout


def test_a_function_that_takes_too_long_is_ended(lab: Lab) -> None:
    run = lab.json("job", "run", "sleeps", "--wait", ok=(1,))["run"]
    assert run["state"] == "timed_out"


def test_an_ordinary_prefect_deployment_runs_in_the_labs_pool(lab: Lab) -> None:
    (lab.root / "ordinary.py").write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from prefect import flow, task

            @task
            def write(text):
                Path({str(lab.root)!r}, "made").write_text(text)

            @flow
            def ordinary(text: str = "by Prefect"):
                write(text)

            if __name__ == "__main__":
                source = flow.from_source({str(lab.root)!r}, "ordinary.py:ordinary")
                source.deploy("elsewhere", work_pool_name="homelab")
            """
        )
    )
    environment = {**lab.environment, **lab.json("env"), "PREFECT_HOME": str(lab.root / "prefect")}
    environment |= {"COLUMNS": "240"}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, env=environment, cwd=lab.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "ordinary.py")
    run(Path(sys.executable).with_name("prefect"), "deployment", "run", "ordinary/elsewhere")
    until((lab.root / "made").exists, timeout=60, what=lambda: f"the file\n{lab.logs()}")
    listed = ""

    def completed() -> bool:
        nonlocal listed
        listed = run(Path(sys.executable).with_name("prefect"), "flow-run", "ls", "--limit", "3")
        return "COMPLETED" in listed

    until(completed, timeout=30, what=lambda: listed)
