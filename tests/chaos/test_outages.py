"""Services killed for real while jobs run: nothing is lost, nothing runs twice. The jobs' own file is the judge."""

import os
import signal
import time
from collections.abc import Iterator

import psutil
import pytest
from tests.lab import Lab, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("outages"))
    alerts = lab.root / "alerts.jsonl"
    minutely = "\n".join(
        f"""
        [jobs.minutely-{n}]
        schedule = "* * * * *"
        run = '''{lab.mark("ran")}'''
        """
        for n in range(5)
    )
    lab.up(
        f"""
        [lab]
        name = "outages"
        timezone = "UTC"

        [notify]
        urls = ["log://{alerts}"]
        {minutely}

        [jobs.long]
        run = '''{lab.mark("start")}; [ $HOMELAB_ATTEMPT = 1 ] && sleep 25; {lab.mark("end")}'''
        retries = {{ max = 1, delay = "1s" }}

        [jobs.once]
        run = '''{lab.mark("start")}; sleep 25; {lab.mark("end")}'''

        [jobs.counting]
        params = {{ LINES = "40" }}
        run = '''{lab.mark("start")}; for i in $(seq 1 $LINES); do echo line $i; sleep 0.3; done; {lab.mark("end")}'''
        """
    )
    yield lab
    lab.signal_all(signal.SIGCONT)
    lab.down()


def test_a_killed_worker_leaves_a_crashed_run_whose_retry_starts_once(lab: Lab) -> None:
    worker = lab.pid("worker")
    run = lab.run_job("long")
    until(lambda: lab.words("long"), timeout=20, what="the job to start")
    children = psutil.Process(worker).children(recursive=True)
    os.kill(worker, signal.SIGKILL)
    until(lambda: len(lab.words("long")) >= 2, timeout=60, what="the retry")
    assert not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children if c.pid != worker)
    row = lab.until_state(run, "long", "succeeded", timeout=60)
    assert row["attempt"] == 2
    assert lab.words("long") == ["start", "start", "end"]
    attempts = lab.json("run", "show", run)["run"]["jobs"]
    assert lab.pid("worker") != worker
    assert any("crashed" in str(a) for a in attempts) or "crashed" in str(lab.json("run", "show", run))


def test_without_retries_the_run_ends_crashed_and_says_so(lab: Lab) -> None:
    run = lab.run_job("once")
    until(lambda: lab.words("once"), timeout=20, what="the job to start")
    os.kill(lab.pid("worker"), signal.SIGKILL)
    row = lab.until_state(run, "once", "crashed", "failed", timeout=60)
    assert row["reason"]
    assert lab.words("once") == ["start"]
    alerts = lab.root / "alerts.jsonl"
    until(lambda: alerts.exists() and "once" in alerts.read_text(), timeout=60, what="the alert")


def test_a_shell_killed_from_outside_is_a_failed_attempt_and_is_retried(lab: Lab) -> None:
    before = len(lab.words("long"))
    run = lab.run_job("long")
    until(lambda: len(lab.words("long")) > before, timeout=20, what="the job to start")
    shells = [
        c
        for c in psutil.Process(lab.pid("worker")).children(recursive=True)
        if any("sleep 25" in part for part in c.cmdline())
    ]
    shells[0].kill()
    row = lab.until_state(run, "long", "succeeded", timeout=90)
    assert row["attempt"] == 2


@pytest.mark.parametrize("victim", ["prefect", "control", "postgres"])
def test_a_running_job_survives_the_death_of_a_service_and_its_log_is_whole(lab: Lab, victim: str) -> None:
    before = len(lab.words("counting"))
    run = lab.run_job("counting")
    until(lambda: len(lab.words("counting")) > before, timeout=20, what="the job to start")
    time.sleep(3)
    process = psutil.Process(lab.pid(victim))
    os.kill(process.pid, signal.SIGQUIT if victim == "postgres" else signal.SIGKILL)  # QUIT: immediate shutdown
    until(lambda: lab.words("counting")[before:] == ["start", "end"], timeout=90, what="the job to end")
    until(lambda: lab.service(victim)["state"] == "ready", timeout=60, what=f"{victim} to be ready again")
    lab.until_state(run, "counting", "succeeded", timeout=90)
    assert _lines(lab, run) == list(range(1, 41))


def test_a_running_job_goes_on_while_prefect_and_control_are_away_for_half_a_minute(lab: Lab) -> None:
    """With the worker alone; the job ends when they are back, the minutely ones are due meanwhile."""
    before = len(lab.words("counting"))
    run = lab.run_job("counting", "--param", "LINES=130")
    until(lambda: len(lab.words("counting")) > before, timeout=20, what="the job to start")
    time.sleep(3)
    victims = [psutil.Process(lab.pid(name)) for name in ("prefect", "control")]
    supervisor = victims[0].parent()
    assert supervisor is not None
    supervisor.suspend()  # nobody starts them again
    for victim in victims:
        victim.kill()
    time.sleep(30)
    supervisor.resume()
    until(lambda: lab.service("control")["state"] == "ready", timeout=60, what="control to be ready again")
    lab.until_state(run, "counting", "succeeded", timeout=90)
    assert lab.words("counting")[before:] == ["start", "end"]
    assert _lines(lab, run) == list(range(1, 131))
    until(lambda: lab.service("prefect")["state"] == "ready", timeout=60, what="Prefect to be ready again")


def _lines(lab: Lab, run: str) -> list[int]:
    """The numbers that the job printed, as its log has them."""
    log = lab.homelab("run", "logs", run).stdout
    return [int(line.split()[-1]) for line in log.splitlines() if "line " in line]


def test_a_killed_supervisor_is_replaced_without_touching_what_runs(lab: Lab) -> None:
    before = len(lab.words("counting"))
    pids = {name: lab.pid(name) for name in ("postgres", "prefect", "control", "worker")}
    supervisor = psutil.Process(pids["worker"]).parent()
    assert supervisor is not None
    run = lab.run_job("counting")
    until(lambda: len(lab.words("counting")) > before, timeout=20, what="the job to start")
    supervisor.kill()
    supervisor.wait(10)
    lab.homelab("up", "-d", "--wait", "60")
    assert {name: lab.pid(name) for name in pids} == pids
    lab.until_state(run, "counting", "succeeded", timeout=90)
    assert lab.words("counting")[before:] == ["start", "end"]


def test_through_all_of_that_each_minute_ran_exactly_once(lab: Lab) -> None:
    """The five minutely jobs ran beside everything above: one mark for each job and minute, late or not."""
    time.sleep(max(0.0, 10 - time.time() % 60))  # let this minute's finish
    rows = lab.json("run", "ls", "--job", "minutely-0", "--limit", "200")["runs"]
    decided = sorted(row["due"] for row in rows if row["due"])
    assert len(decided) == len(set(decided))
    for number in range(5):
        runs = [m.run for m in lab.judge(f"minutely-{number}")]
        assert len(runs) == len(set(runs)), "a run was executed twice"
        minutes = sorted(int(m.time // 60) for m in lab.judge(f"minutely-{number}"))
        rows = lab.json("run", "ls", "--job", f"minutely-{number}", "--limit", "200")["runs"]
        final = [row for row in rows if row["state"] in ("succeeded", "missed", "crashed", "failed")]
        assert len(final) >= minutes[-1] - minutes[0], "an instant has no record"
        ran = [row for row in rows if row["state"] == "succeeded"]
        assert abs(len(ran) - len(runs)) <= 1
