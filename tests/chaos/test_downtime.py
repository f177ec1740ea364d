"""The lab is down, or stands still, while instants pass: each is made up for as its policy says, none runs twice."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.lab import Lab, until

from homelab.home.paths import Home
from homelab.stack.postgres import place_of


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("downtime"))
    yield lab
    lab.down()


def _once_at(lab: Lab, minute: int) -> str:
    """Three jobs due in one minute, one for each policy, and one for each boot."""
    due = time.gmtime(minute * 60)
    jobs = "\n".join(
        f"[jobs.{policy}]\nschedule = '{due.tm_min} {due.tm_hour} * * *'\nmissed = '{policy}'\n"
        f"run = '''{lab.mark('ran')}'''\n"
        for policy in ("skip", "latest", "all")
    )
    boot = f"[jobs.boot]\nschedule = '@reboot'\nrun = '''{lab.mark('ran')}'''\n"
    return f"[lab]\nname = 'downtime'\ntimezone = 'UTC'\n{boot}{jobs}"


def test_instants_missed_while_the_lab_was_down_follow_their_policy(lab: Lab) -> None:
    lab.up(_once_at(lab, int(time.time() + 27) // 60 + 1))
    until(lambda: lab.words("boot"), timeout=30, what="the @reboot job")
    due = lab.json("job", "show", "skip")["job"]["next_due"]
    lab.homelab("down")
    time.sleep(max(0.0, _seconds(due) + 63 - time.time()))
    lab.homelab("up", "-d", "--wait", "60")
    until(lambda: lab.words("latest") and lab.words("all"), timeout=30, what=lambda: f"catching up\n{lab.logs()}")
    time.sleep(3)
    assert lab.words("skip") == []
    assert lab.words("latest") == ["ran"]
    assert lab.words("all") == ["ran"]
    (row,) = lab.json("run", "ls", "--job", "skip", "--state", "missed")["runs"]
    assert row["due"] == due
    assert row["reason"]
    assert lab.words("boot") == ["ran"], "once a boot, not once a start of the lab"


def test_instants_missed_while_everything_stood_still_follow_their_policy(lab: Lab) -> None:
    """What a laptop that sleeps does to the processes: stopped over the instant, continued later."""
    before = {policy: len(lab.words(policy)) for policy in ("skip", "latest", "all")}
    lab.write(_once_at(lab, int(time.time() + 12) // 60 + 1))
    lab.homelab("apply", "--yes")
    due = _seconds(lab.json("job", "show", "skip")["job"]["next_due"])
    processes = [psutil.Process(lab.pid(name)) for name in ("worker", "control")]
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    time.sleep(max(0.0, due + 70 - time.time()))
    for process in processes:
        os.kill(process.pid, signal.SIGCONT)
    until(lambda: len(lab.words("all")) > before["all"], timeout=60, what=lambda: f"catching up\n{lab.logs()}")
    before_cpu = [p.cpu_times().user + p.cpu_times().system for p in processes]
    time.sleep(5)
    ran = {policy: len(lab.words(policy)) - before[policy] for policy in before}
    assert ran == {"skip": 0, "latest": 1, "all": 1}
    used = [p.cpu_times().user + p.cpu_times().system - b for p, b in zip(processes, before_cpu, strict=True)]
    assert sum(used) / 5 < 0.2, "a busy loop"


def test_a_database_restored_from_a_backup_runs_nothing_twice(lab: Lab) -> None:
    """The copy was made a minute before; what ran since is not in it. `all` would run it again."""
    mark = f"""echo "$(date +%s%N) $HOMELAB_RUN_ID $HOMELAB_ATTEMPT $HOMELAB_JOB $HOMELAB_DUE" >> {lab.judge_file}"""
    job = f"[jobs.minutely]\nschedule = '* * * * *'\nmissed = 'all'\nrun = '{mark}'\n"
    lab.write(f"[lab]\nname = 'downtime'\ntimezone = 'UTC'\n{job}")
    lab.homelab("apply", "--yes")
    lab.homelab("down")
    data = place_of(Home(lab.home)).data
    backup = data.with_name("backup")
    _copy(data, backup)
    before = len(lab.words("minutely"))
    lab.homelab("up", "-d", "--wait", "60")
    until(lambda: len(lab.words("minutely")) > before, timeout=90, what=lambda: f"a run\n{lab.logs()}")
    lab.homelab("down")
    ran = lab.words("minutely")
    shutil.rmtree(data)
    backup.rename(data)
    lab.homelab("up", "-d", "--wait", "60")
    time.sleep(5)
    words = lab.words("minutely")
    assert len(words) == len(set(words)), f"{words} after {ran}"
    assert "restored" in str(lab.json("status")["problems"])


def _copy(data: Path, copy: Path) -> None:
    """All of it, as its owner has it."""
    shutil.copytree(data, copy, symlinks=True)
    for source in (data, *data.rglob("*")):
        status = source.lstat()
        target = copy / source.relative_to(data)
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)


def _seconds(iso: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(iso).timestamp()
