"""A second worker with what is another's: refused under the same name on any machine, harmless under another."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.fleet import OWN, Fleet, here
from tests.lab import HOMELAB, Lab, until


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("second"))
    jobs = "\n".join(f"[jobs.j{n}]\nrun = '''echo said; {fleet.lab.mark(here())}; sleep 1'''" for n in range(6))
    try:
        fleet.up(f"[nodes.own]\n[nodes.two]\n{jobs}")
        fleet.join("two")
        fleet.until_ready(OWN, "two")
        yield fleet
    finally:
        fleet.down()


@pytest.fixture
def lab(fleet: Fleet) -> Lab:
    return fleet.lab


def test_a_worker_of_the_same_name_is_refused_with_the_pid_of_the_first(lab: Lab) -> None:
    done = subprocess.run(
        [HOMELAB, "worker", "--name", OWN], env=lab.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5
    assert str(lab.pid("worker")) in done.stderr


def test_with_a_worker_of_another_name_beside_it_each_run_executes_once(fleet: Fleet, lab: Lab) -> None:
    """Three workers: two on the machine of control, of one home, and one on another machine."""
    other = subprocess.Popen(
        [HOMELAB, "worker", "--name", "other"],
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: len(lab.json("status")["nodes"]) == 3, timeout=30, what="the other worker's heartbeat")
        runs = [lab.run_job(f"j{n}") for n in range(6) for _ in range(3)]
        until(lambda: len(lab.judge()) >= len(runs), timeout=90, what=lambda: f"{len(lab.judge())} of {len(runs)} runs")
        time.sleep(2)
        assert sorted(m.run for m in lab.judge()) == sorted(runs)
        assert {name for n in range(6) for name in fleet.where(f"j{n}")} == {OWN, "two"}
        logs = [path for machine in fleet.machines().values() for path in (machine.home / "runs").glob("*/*/*.log")]
        assert len({path.parent.name for path in logs}) == len(runs), "each has its log"
        assert other.poll() is None
    finally:
        other.terminate()
        other.wait(40)


@pytest.mark.parametrize(("name", "why"), [("two", "'two' is already at work"), ("thief", "another node's name")])
def test_a_copy_of_a_node_s_home_is_refused_under_its_name_and_under_another(fleet: Fleet, name: str, why: str) -> None:
    """What a node may say goes by its token, which names it: another name in the file makes it no other node."""
    two = fleet.nodes["two"]
    worker = two.pid("worker")
    copy = fleet.machine(f"copy-{name}")
    fleet.nodes[copy.name] = copy
    shutil.copytree(two.home, copy.home, ignore=shutil.ignore_patterns("*.sock", "*.lock", "services.json"))
    member = json.loads((copy.home / "node.json").read_text())
    (copy.home / "node.json").write_text(json.dumps({**member, "name": name}))
    refused = copy.homelab("up", "-d", ok=(5,), timeout=90)
    assert why in refused.stderr
    run = fleet.lab.run_job("j0")
    # A worker that another test has ended counts as there for up to 30 s.
    fleet.lab.until_state(run, "j0", "succeeded", timeout=60)
    assert [m.run for m in fleet.lab.judge("j0")].count(run) == 1
    assert two.pid("worker") == worker
    assert "two" in fleet.ready()
