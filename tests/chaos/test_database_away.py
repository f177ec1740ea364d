"""Postgres is killed early in a minute, and later is away for three: twenty minutely jobs lose and double nothing."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime

import psutil
import pytest
from tests.lab import Lab, until

pytestmark = pytest.mark.timeout(600)

JOBS = 20
AWAY_S = 180


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("away"))
    jobs = "\n".join(
        f"[jobs.minutely-{n:02}]\nschedule = '* * * * *'\nmissed = 'all'\nrun = '''{lab.mark('$HOMELAB_DUE')}'''"
        for n in range(JOBS)
    )
    lab.up(f"[lab]\nname = 'away'\ntimezone = 'UTC'\n{jobs}")
    yield lab
    lab.signal_all(signal.SIGCONT)
    lab.down()


def instants(lab: Lab, job: str) -> list[int]:
    """For which it ran, as minutes since the epoch, in the order in which it did."""
    return [int(datetime.fromisoformat(word).timestamp()) // 60 for word in lab.words(job)]


def until_all_ran(lab: Lab, minute: int, timeout: float) -> None:
    def left() -> list[str]:
        return [job for n in range(JOBS) if minute not in instants(lab, job := f"minutely-{n:02}")]

    until(lambda: not left(), timeout=timeout, what=lambda: f"{left()} of {minute}\n{lab.logs()}", step=1)


def test_killed_early_in_a_minute_it_is_back_and_no_run_of_that_minute_is_lost_or_doubled(lab: Lab) -> None:
    postgres = lab.pid("postgres")
    time.sleep((5 - time.time()) % 60)
    minute = int(time.time() // 60)
    os.kill(postgres, signal.SIGQUIT)  # immediate: no checkpoint, all connections dropped
    until(
        lambda: lab.service("postgres")["pid"] not in (None, postgres) and lab.service("control")["state"] == "ready",
        timeout=50,
        what=lab.logs,
    )
    until_all_ran(lab, minute + 1, 80)
    _is_each_once(lab, since=minute)


def test_away_for_three_minutes_nothing_spins_meanwhile_and_everything_is_made_up_for_once(lab: Lab) -> None:
    minute = int(time.time() // 60)
    postgres, *watched = (psutil.Process(lab.pid(name)) for name in ("postgres", "control", "worker"))
    supervisor = watched[0].parent()
    assert supervisor is not None
    supervisor.suspend()  # nobody starts it again
    postgres.send_signal(signal.SIGQUIT)
    time.sleep(AWAY_S / 2)
    before = [sum(p.cpu_times()[:2]) for p in watched]
    time.sleep(AWAY_S / 2)
    used_s = sum(sum(p.cpu_times()[:2]) - b for p, b in zip(watched, before, strict=True))
    assert used_s / (AWAY_S / 2) < 0.2, "a busy loop"
    assert [p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in watched] == [True, True]
    supervisor.resume()
    until(lambda: lab.service("control")["state"] == "ready", timeout=60, what=lambda: lab.logs())
    until_all_ran(lab, int(time.time() // 60), 100)
    _is_each_once(lab, since=minute)


def _is_each_once(lab: Lab, *, since: int) -> None:
    """Of each job every instant from then to the newest that all have had."""
    for n in range(JOBS):
        ran = instants(lab, f"minutely-{n:02}")
        assert len(ran) == len(set(ran)), f"minutely-{n:02} ran twice for an instant: {ran}"
        assert set(range(since, max(ran))) <= set(ran), f"minutely-{n:02} lost an instant: {sorted(ran)}"
