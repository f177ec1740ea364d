"""A second worker on the same home: refused by name, harmless under another."""

import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.lab import HOMELAB, Lab, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("second"))
    jobs = "\n".join(f"[jobs.j{n}]\nrun = '''{lab.mark('ran')}; sleep 1'''" for n in range(6))
    lab.up(f'[lab]\nname = "second"\ntimezone = "UTC"\n{jobs}')
    yield lab
    lab.down()


def test_a_worker_of_the_same_name_is_refused_with_the_pid_of_the_first(lab: Lab) -> None:
    done = subprocess.run(
        [HOMELAB, "worker"], env=lab.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5
    assert str(lab.pid("worker")) in done.stderr


def test_with_a_worker_of_another_name_beside_it_each_run_executes_once(lab: Lab) -> None:
    other = subprocess.Popen(
        [HOMELAB, "worker", "--name", "other"],
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: len(lab.json("status")["nodes"]) == 2, timeout=30, what="the other worker's heartbeat")
        runs = [lab.run_job(f"j{n}") for n in range(6) for _ in range(3)]
        until(lambda: len(lab.judge()) >= len(runs), timeout=90, what=lambda: f"{len(lab.judge())} of {len(runs)} runs")
        time.sleep(2)
        assert sorted(m.run for m in lab.judge()) == sorted(runs)
        assert other.poll() is None
    finally:
        other.terminate()
        other.wait(40)
