"""The power goes: in the whole lab of three machines at once, or on that of control alone, while jobs run and fall due.

Every process of a machine is killed, by its pid, the supervisor first; the jobs' own file is the judge of what ran.
"""

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime

import psutil
import pytest
from tests.fleet import OWN, Fleet
from tests.lab import HOMELAB, Mark, until
from tests.network import Network, why_not

pytestmark = pytest.mark.timeout(600)

HERD = 12
SERVICES = ("postgres", "prefect", "control", "worker")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("power"), network=None if why_not() else Network())
    mark = fleet.lab.mark
    due = "\n".join(
        f"[jobs.{name}]\nschedule = '* * * * *'\nmissed = '{policy}'\nrun = '''{mark('$HOMELAB_DUE')}'''"
        for name, policy in (("skip", "skip"), ("latest", "latest"), ("all", "all"))
    )
    herd = "\n".join(
        f"[jobs.herd-{n}]\nschedule = '* * * * *'\nmissed = 'latest'\nqueue = 'few'\n"
        f"run = '''{mark('begin:$HOMELAB_DUE')}; sleep 1; {mark('end:$HOMELAB_DUE')}'''"
        for n in range(HERD)
    )
    lines = "for i in $(seq $n); do echo line $i; sleep 1; done"
    work = f"""
        [queues.few]
        concurrency = 2

        [jobs.boot]
        schedule = "@reboot"
        run = '''{mark("ran")}'''

        [jobs.first]
        run = '''{mark("first")}'''
        affinity = ["a"]

        [jobs.then]
        run = '''{mark("start")}; [ $HOMELAB_ATTEMPT = 1 ] && n=60 || n=1; {lines}; {mark("end")}'''
        affinity = ["a"]
        needs = ["first"]
        retries = {{ max = 1, delay = "1s" }}

        [jobs.last]
        run = '''{mark("last")}'''
        needs = ["then"]

        [jobs.once]
        run = '''{mark("start")}; n=60; {lines}; {mark("end")}'''
        affinity = [{{ node = "b", required = true }}]

        [jobs.remote]
        run = '''{mark("start")}; n=45; {lines}; {mark("end")}'''
        affinity = [{{ node = "b", required = true }}]

        [jobs.careful]
        run = '''{mark("start")}; [ $HOMELAB_ATTEMPT = 1 ] && n=90 || n=2; {lines}; {mark("end")}'''
        affinity = [{{ node = "b", required = true }}]
        retries = {{ max = 3, delay = "1s" }}
        """
    try:
        fleet.up(f"[nodes.own]\n[nodes.a]\n[nodes.b]\n{due}\n{herd}\n{work}")
        for name in ("a", "b"):
            fleet.join(name, cable=True)
        fleet.until_ready(OWN, "a", "b")
        yield fleet
    finally:
        fleet.down()


def words(fleet: Fleet, job: str, run: str) -> list[str]:
    return [m.word for m in fleet.lab.judge(job) if m.run == run]


def minutes(marks: list[Mark]) -> list[int]:
    """The instants of marks whose word ends with one, as minutes since the epoch."""
    return [int(datetime.fromisoformat(m.word.partition(":")[2] if m.word[0] in "be" else m.word).timestamp()) // 60
            for m in marks]  # fmt: skip


def at_second(second: float) -> float:
    time.sleep((second - time.time()) % 60)
    return time.time()


def test_after_a_power_cut_of_everything_all_returns_in_order_and_nothing_is_lost_or_doubled(fleet: Fleet) -> None:
    lab = fleet.lab
    until(lambda: lab.words("boot"), timeout=30, what=fleet.logs)
    at_second(40)
    chain, once = lab.run_job("first"), lab.run_job("once")
    until(lambda: words(fleet, "then", chain) and words(fleet, "once", once), timeout=20, what=fleet.logs)
    before = int(at_second(52) // 60)
    fleet.cut_power()
    assert [p for machine in fleet.machines().values() for p in machine.processes()] == []
    time.sleep((before + 2) * 60 + 4 - time.time())
    back = time.time()
    starting = [
        subprocess.Popen(
            [*machine.within, HOMELAB, "up", "-d", "--wait", "90"], env=machine.environment, cwd=machine.root,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for machine in fleet.machines().values()
    ]  # fmt: skip
    assert [one.wait(120) for one in starting] == [0, 0, 0], fleet.logs()
    fleet.until_ready(OWN, "a", "b")
    _is_in_order(fleet)
    lab.until_state(chain, "last", "succeeded", timeout=60)
    assert (words(fleet, "first", chain), words(fleet, "last", chain)) == (["first"], ["last"])
    assert words(fleet, "then", chain) == ["start", "start", "end"]
    lab.until_state(once, "once", "crashed", timeout=60)
    assert words(fleet, "once", once) == ["start"]
    assert lab.words("boot") == ["ran"], "once a boot of the machine, and that was none"
    _is_by_policy(fleet, missed=before + 1, now=int(back // 60))
    _is_no_storm(fleet, back)


def _is_in_order(fleet: Fleet) -> None:
    """Each service began after what it needs, and none was started in vain."""
    pids = {s["name"]: s["pid"] for s in fleet.lab.json("status")["services"]}
    began = [psutil.Process(pids[name]).create_time() for name in SERVICES]
    assert began == sorted(began)
    for machine in fleet.machines().values():
        told = machine.json("status")["services"]
        assert {(s["name"], s["state"], s["restarts"]) for s in told} == {(s["name"], "ready", 0) for s in told}


def _is_by_policy(fleet: Fleet, *, missed: int, now: int) -> None:
    """`missed`: the instant that came while there was no power; `now`: that of the minute in which it was back."""
    lab = fleet.lab
    until(
        lambda: all(now + 1 in minutes(lab.judge(job)) for job in ("skip", "latest", "all")),
        timeout=90, what=lambda: f"{lab.judge()}\n{fleet.logs()}",
    )  # fmt: skip
    every = minutes(lab.judge("all"))
    assert sorted(every) == list(range(min(every), max(every) + 1)), "all: each instant, once"
    for job in ("skip", "latest"):
        ran = minutes(lab.judge(job))
        assert len(ran) == len(set(ran)), job
        assert missed not in ran, job
    assert now in minutes(lab.judge("latest")), "the newest of those that passed"
    rows = lab.json("run", "ls", "--job", "skip", "--state", "missed")["runs"]
    assert missed in {int(datetime.fromisoformat(row["due"]).timestamp()) // 60 for row in rows}


def _is_no_storm(fleet: Fleet, back: float) -> None:
    """What was missed by many is made up for by each once, and no more of them at once than their queue lets."""
    most = running = 0
    marks = [m for n in range(HERD) for m in fleet.lab.judge(f"herd-{n}")]
    for mark in sorted((m for m in marks if m.time > back), key=lambda m: m.time):
        running += 1 if mark.word.startswith("begin") else -1
        most = max(most, running)
    assert most <= 2 * len(fleet.machines()), "two at once on each machine"
    for n in range(HERD):
        began = minutes([m for m in fleet.lab.judge(f"herd-{n}") if m.word.startswith("begin")])
        assert len(began) == len(set(began)), f"herd-{n}"


def test_a_job_of_another_machine_goes_on_while_that_of_control_is_without_power(fleet: Fleet) -> None:
    """What might be begun elsewhere is stopped where it is before it could be, and goes on there afterwards."""
    lab, b = fleet.lab, fleet.nodes["b"]
    remote, careful = lab.run_job("remote"), lab.run_job("careful")
    until(lambda: words(fleet, "remote", remote) and words(fleet, "careful", careful), timeout=20, what=fleet.logs)
    fleet.cut_power(OWN)
    at = time.time()
    until(lambda: b.json("status")["problems"], timeout=20, what="the node to say that its lab is away")
    until(lambda: "sending SIGTERM" in b.log(careful, "careful.1").decode(), timeout=50, what=fleet.logs)
    assert at + 25 < time.time() < at + 40, "before others could begin it"
    lab.homelab("up", "-d", "--wait", "90", timeout=120)
    row = lab.until_state(careful, "careful", "succeeded", timeout=60)
    assert (row["attempt"], row["node"]) == (2, "b")
    assert words(fleet, "careful", careful) == ["start", "start", "end"]
    row = lab.until_state(remote, "remote", "succeeded", timeout=60)
    assert (row["attempt"], row["node"]) == (1, "b")
    assert words(fleet, "remote", remote) == ["start", "end"]
    until(lambda: "line 45" in lab.homelab("run", "logs", remote).stdout, timeout=20, what=fleet.logs)
    assert lab.homelab("run", "logs", remote).stdout.splitlines() == [f"line {n}" for n in range(1, 46)]
    for job in ("skip", "latest", "all"):
        ran = minutes(lab.judge(job))
        assert len(ran) == len(set(ran)), job


def test_a_daemon_that_is_stopped_while_its_job_runs_ends_in_time_and_takes_it_up_again(fleet: Fleet) -> None:
    lab, b = fleet.lab, fleet.nodes["b"]
    run = lab.run_job("careful")
    until(lambda: words(fleet, "careful", run), timeout=30, what=fleet.logs)
    began = time.monotonic()
    b.homelab("down")
    assert time.monotonic() - began < 20, "it waits ten seconds for what runs, and not for what it has ended"
    b.start()
    row = lab.until_state(run, "careful", "succeeded", timeout=60)
    assert (row["attempt"], row["node"]) == (2, "b")
    assert words(fleet, "careful", run) == ["start", "start", "end"]
