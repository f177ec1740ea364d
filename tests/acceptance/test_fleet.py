"""Three daemons with homes of their own are one lab: joining, running there, leaving; what is refused, and how."""

import shutil
import signal
from collections.abc import Iterator

import httpx
import psutil
import pytest
from tests.fleet import OWN, Fleet, here
from tests.lab import until

from homelab.core.jointoken import JoinToken, parse

LAB = """
[nodes.own]
[nodes.three]
[nodes.two]
labels = {{ machine = "two" }}

[defaults]
requires = {{ labels = {{ machine = "two" }} }}

[jobs.far]
run = '''{mark}'''

[jobs.python]
flow = "work:outer"
cwd = "{folder}"
"""
WORK = """
from prefect import flow, task

@task
def double(x):
    return 2 * x

@flow(log_prints=True, name="from-two")
def outer():
    print("sum", double(1) + double.submit(2).result())
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    (fleet.lab.root / "work.py").write_text(WORK)
    try:
        fleet.up(LAB.format(mark=fleet.lab.mark(here()), folder=fleet.lab.root))
        fleet.join("two", capacity="cpu=2")
        fleet.join("three")
        yield fleet
    finally:
        fleet.down()


def test_each_home_is_a_node_and_says_so(fleet: Fleet) -> None:
    fleet.until_ready(OWN, "two", "three")
    told = fleet.nodes["two"].json("status")
    assert [s["name"] for s in told["services"]] == ["worker"]
    assert [(n["name"], n["state"]) for n in told["nodes"]] == [("two", "ready")]
    assert told["lab"] == "fleet"
    assert told["problems"] == []
    checks = {c["name"]: c["status"] for c in fleet.nodes["two"].json("doctor")["checks"]}
    assert "fail" not in checks.values(), checks
    assert checks["lab"] == "ok"
    unit = fleet.nodes["two"].homelab("service", "print").stdout
    assert str(fleet.nodes["two"].home) in unit
    assert "HOMELAB_LAB" not in unit


def test_nothing_of_the_lab_listens_beyond_this_machine_unless_the_lab_file_says_so(fleet: Fleet) -> None:
    pids = [int(s["pid"]) for machine in (fleet.lab, *fleet.nodes.values()) for s in machine.json("status")["services"]]
    family = {p for pid in pids for p in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))}
    listening = {c.laddr.ip for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::1"}
    assert listening


def test_what_a_lab_is_asked_elsewhere_is_said_to_be_elsewhere(fleet: Fleet) -> None:
    refused = fleet.nodes["two"].homelab("job", "ls", ok=(3,))
    assert "node 'two'" in refused.stderr
    assert "no lab runs here" in refused.stderr


def test_a_job_runs_on_a_node_of_another_home_and_its_story_comes_back(fleet: Fleet) -> None:
    others = [psutil.Process(fleet.lab.pid("worker")), fleet.nodes["three"].worker()]
    for other in others:
        other.send_signal(signal.SIGSTOP)
    try:
        run, python = fleet.lab.run_job("far"), fleet.lab.run_job("python")
        row = fleet.lab.until_state(run, "far", "succeeded", timeout=40)
        flow = fleet.lab.until_state(python, "python", "succeeded", "failed", timeout=60)
    finally:
        for other in others:
            other.send_signal(signal.SIGCONT)
    assert fleet.where("far") == ["two"]
    assert row["node"] == "two"
    assert row["exit_code"] == 0
    assert (flow["state"], flow["node"]) == ("succeeded", "two"), flow
    told = fleet.lab.json("env")
    own = httpx.post(
        f"{told['PREFECT_API_URL']}/flow_runs/filter", json={"flows": {"name": {"any_": ["from-two"]}}},
        auth=tuple(told["PREFECT_API_AUTH_STRING"].split(":", 1)),
    )  # fmt: skip
    assert [r["state_type"] for r in own.json()] == ["COMPLETED"], "the flow run that the function itself is"


def test_a_token_works_once(fleet: Fleet) -> None:
    made = fleet.token("four")
    four, five = fleet.machine("four"), fleet.machine("five")
    fleet.nodes["four"] = four
    asked = four.join(made["join"], "--dry-run")
    assert f"The control plane at {made['url']} is the one that made this token." in asked.stdout
    assert not four.home.exists()
    four.join(made["join"], "--no-start")
    assert "is one no more" in four.homelab("node", "leave", "--dry-run").stdout
    refused = five.join(made["join"], "--no-start", ok=(5,))
    assert "lets nobody in" in refused.stderr
    assert "homelab node token" in refused.stderr
    assert not (five.home / "node.json").exists()
    assert four.json("node", "leave") == {"left": "four"}
    assert "no node" in four.homelab("node", "leave", ok=(3,)).stderr


def test_a_name_that_is_taken_is_refused_and_the_token_stays_good(fleet: Fleet) -> None:
    made = fleet.token("six")
    six = fleet.machine("six")
    fleet.nodes["six"] = six
    for name in ("two", OWN):
        refused = six.join(made["join"], "--no-start", "--name", name, ok=(5,))
        assert f"there is a node '{name}' already" in refused.stderr
    assert six.homelab("node", "join", made["token"], "--no-start", "--json").returncode == 0
    assert "already" in six.join(made["join"], ok=(5,)).stderr
    six.homelab("node", "leave")


def test_a_home_of_a_lab_cannot_be_a_node(fleet: Fleet) -> None:
    made = fleet.token("seven")
    refused = fleet.lab.homelab("node", "join", made["url"], "--token", made["token"], ok=(5,))
    assert "is the home of a lab" in refused.stderr


def test_a_copy_of_a_node_s_home_is_refused_and_the_node_goes_on(fleet: Fleet) -> None:
    two = fleet.nodes["two"]
    first = two.pid("worker")
    copy = fleet.machine("copy")
    fleet.nodes["copy"] = copy
    shutil.copytree(two.home, copy.home, ignore=shutil.ignore_patterns("*.sock", "*.lock", "services.json"))
    refused = copy.homelab("up", "-d", ok=(5,), timeout=60)
    assert "'two' is already at work" in refused.stderr
    until(lambda: copy.homelab("status", ok=(0, 3)).returncode == 3 or None, timeout=30, what="the copy's end")
    assert two.pid("worker") == first
    assert "two" in fleet.ready()


def test_a_daemon_that_was_killed_is_back_at_once(fleet: Fleet) -> None:
    two = fleet.nodes["two"]
    first = two.worker()
    first.kill()
    until(lambda: two.service("worker")["pid"] not in (None, first.pid) or None, timeout=20, what="another worker")
    until(lambda: two.json("status")["nodes"][0]["state"] == "ready" or None, timeout=15, what="ready again")
    two.start()
    assert two.service("worker")["restarts"] <= 1


def test_a_supervisor_that_is_new_takes_over_the_daemon_that_runs(fleet: Fleet) -> None:
    """As an upgrade does it, or a unit that is restarted."""
    three = fleet.nodes["three"]
    worker = three.pid("worker")
    psutil.Process(int((three.home / "run" / "supervisor.lock").read_text())).kill()
    until(lambda: three.homelab("status", ok=(0, 3)).returncode == 3 or None, timeout=20, what="its end")
    three.start()
    assert three.pid("worker") == worker


def test_a_node_whose_token_is_no_good_any_more_is_told_so(fleet: Fleet) -> None:
    eight = fleet.machine("eight")
    fleet.nodes["eight"] = eight
    eight.join(fleet.token("eight")["join"], "--no-start")
    copy = fleet.machine("copy-of-eight")
    shutil.copytree(eight.home, copy.home)
    copy.homelab("node", "leave")
    refused = eight.homelab("up", "-d", ok=(5,), timeout=60)
    assert "does not take this node's token any more" in refused.stderr
    assert "homelab node leave" in refused.stderr
    assert eight.homelab("doctor", ok=(1,)).returncode == 1


def test_a_token_of_another_lab_or_for_another_address_lets_nobody_know_anything(fleet: Fleet) -> None:
    made = fleet.token("nine")
    given = parse(made["token"])
    foreign = JoinToken(url=given.url, fingerprint="0" * 64, secret=given.secret).text()
    nine = fleet.machine("nine")
    refused = nine.homelab("node", "join", made["url"], "--token", foreign, ok=(5,))
    assert "is not the one that made this token" in refused.stderr
    forged = JoinToken(url=given.url, fingerprint=given.fingerprint, secret="hlj_forged").text()
    assert "lets nobody in" in nine.homelab("node", "join", "--token", forged, ok=(5,)).stderr
    assert nine.homelab("node", "join", made["url"], "--token", "garbage", ok=(2,)).returncode == 2
    assert not (nine.home / "node.json").exists()


def test_a_node_whose_cable_is_cut_says_so_and_is_there_again_when_it_is_mended(fleet: Fleet) -> None:
    ten = fleet.join("ten", cable=True)
    worker = ten.pid("worker")
    fleet.cut("ten")
    told = until(lambda: ten.json("status")["problems"], timeout=20, what="a problem")
    assert "no lab answers at https://127.0.0.1:" in told[0]["message"]
    fleet.mend("ten")
    until(lambda: ten.json("status")["problems"] == [] or None, timeout=20, what="no problem")
    assert ten.pid("worker") == worker


def test_a_machine_that_is_drained_takes_nothing_and_one_that_is_removed_is_let_in_no_more(fleet: Fleet) -> None:
    lab, three = fleet.lab, fleet.nodes["three"]
    assert lab.json("place", "--job", "far")["placement"]["node"] == "two"
    assert lab.json("node", "drain", "two", "--wait", "--timeout", "60")["node"]["state"] == "drained"
    try:
        refused = {r["node"]: r["reason"] for r in lab.json("place", "--job", "far", ok=(1,))["rejections"]}
        assert refused["two"] == "two: it is drained"
        assert "two: it is drained" in str(lab.json("job", "why", "far")["reasons"])
    finally:
        assert lab.json("node", "undrain", "two")["node"]["state"] == "ready"
    assert "it would be back at once" in lab.homelab("node", "remove", OWN, ok=(5,)).stderr
    assert lab.json("node", "remove", "three") == {"node": "three", "given_up": []}
    until(
        lambda: "homelab node join" in three.homelab("status", ok=(0, 3, 5)).stderr or three.json("status")["problems"],
        timeout=40,
        what="the machine learns that it is no node any more",
    )
    names = {n["name"] for n in lab.json("node", "ls")["nodes"]}
    assert {OWN, "two"} <= names
    assert "three" not in names
    assert "three" not in {n["name"] for n in lab.json("status")["nodes"]}
