"""The lab is down, or stands still, while instants pass: each is made up for as its policy says, none runs twice."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.lab import Lab, until


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
    """The copy is minutes old; the note beside the database is moved on, as if it were of yesterday."""
    import json
    import shutil
    from datetime import UTC, datetime, timedelta

    from homelab.home.paths import Home
    from homelab.stack.postgres import place_of

    lab.homelab("down")
    data = place_of(Home(lab.home)).data
    copy = data.with_name("copy")
    shutil.copytree(data, copy, symlinks=True, copy_function=_copy_with_owner)
    shutil.copystat(data, copy)
    os.chown(copy, data.stat().st_uid, data.stat().st_gid)
    for folder in copy.rglob("*"):
        if folder.is_dir():
            os.chown(folder, data.stat().st_uid, data.stat().st_gid)
    ran = {policy: len(lab.words(policy)) for policy in ("skip", "latest", "all")}
    shutil.rmtree(data)
    copy.rename(data)
    mark = lab.home / "scheduler.json"
    alive = datetime.fromisoformat(json.loads(mark.read_text())["alive"])
    mark.write_text(json.dumps({"alive": (alive + timedelta(minutes=11)).astimezone(UTC).isoformat()}))
    lab.homelab("up", "-d", "--wait", "60")
    time.sleep(3)
    assert {policy: len(lab.words(policy)) for policy in ran} == ran
    assert "restored" in str(lab.json("status")["problems"])


def _copy_with_owner(source: str, target: str) -> str:
    import shutil

    shutil.copy2(source, target)
    status = Path(source).stat()
    os.chown(target, status.st_uid, status.st_gid)
    return target


def _seconds(iso: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(iso).timestamp()
