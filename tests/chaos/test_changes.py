"""The lab file changes while its jobs run, and a need on another schedule is not met for a while."""

import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.lab import HOMELAB, Lab, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("changes"))
    lab.write(
        f"""
        # written by hand, and kept
        [lab]
        name = "changes"
        timezone = "UTC"

        [jobs.fetch]
        schedule = "@yearly"
        run = '''sleep 1; {lab.mark("ran")}'''

        [jobs.report]
        schedule = "* * * * *"
        needs = [{{ job = "fetch", within = "1h" }}]
        run = '''{lab.mark("ran")}'''

        [jobs.after]
        needs = ["fetch"]
        run = "true"

        [jobs.lingering]
        run = '''{lab.mark("begin")}; sleep 12; {lab.mark("as-before")}'''
        """
    )
    _import(lab, "kept", "edited", "removed", "renamed")
    lab.up()
    yield lab
    lab.down()


def _import(lab: Lab, *jobs: str, word: str = "old") -> None:
    (lab.root / "crontab").write_text(_crontab(lab, *jobs, word=word))
    lab.homelab("cron", "import", str(lab.root / "crontab"), "--timezone", "UTC")


def _crontab(lab: Lab, *jobs: str, word: str) -> str:
    for job in jobs:
        script = lab.root / f"{job}.sh"
        text = f'echo "$(date +%s%N) $HOMELAB_RUN_ID $HOMELAB_ATTEMPT {job} $1" >> {lab.judge_file}\n'
        script.write_text(f"#!/bin/sh\n{text}")
        script.chmod(0o755)
    (lab.root / "renamed-now.sh").symlink_to(lab.root / "renamed.sh") if word == "new" else None
    files = {job: f"{job}-now.sh" if job == "renamed" and word == "new" else f"{job}.sh" for job in jobs}
    return "".join(f"* * * * * {lab.root}/{files[job]} {word if job == 'edited' else 'same'}\n" for job in jobs)


def test_two_imports_at_once_while_jobs_run_lose_and_double_nothing(lab: Lab) -> None:
    until(
        lambda: all(lab.words(job) for job in ("kept", "edited", "removed", "renamed")),
        timeout=90,
        what=lambda: lab.logs(),
    )
    time.sleep((54 - time.time()) % 60)  # the next minute's runs are created and claimed by now
    lingering = lab.run_job("lingering")
    until(lambda: lab.words("lingering"), timeout=10, what=lambda: lab.logs())
    lab.write(lab.file.read_text().replace("as-before", "otherwise"))
    (lab.root / "crontab").write_text(_crontab(lab, "kept", "edited", "renamed", word="new"))
    command = f"{HOMELAB} cron import {lab.root}/crontab --timezone UTC && {HOMELAB} apply --yes"
    shells = [
        subprocess.Popen(["/bin/sh", "-c", command], env=lab.environment, cwd=lab.root, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [shell.wait(60) for shell in shells] == [0, 0]
    changed_at = time.time()
    text = lab.file.read_text()
    assert text.count("/kept.sh same") == 1
    assert "written by hand, and kept" in text
    assert "/removed.sh" not in text
    assert "[jobs.renamed-same]" in text
    assert "/renamed-now.sh same" in text
    until(lambda: any(m.word == "new" for m in lab.judge("edited")), timeout=130, what=lambda: lab.logs())
    time.sleep(3)
    assert [(m.run, m.word) for m in lab.judge("lingering")] == [(lingering, "begin"), (lingering, "as-before")]
    for job in ("kept", "edited", "renamed"):
        minutes = [int(m.time // 60) for m in lab.judge(job)]
        assert minutes == list(range(minutes[0], minutes[0] + len(minutes))), f"{job} ran in the minutes {minutes}"
    assert [m for m in lab.judge("removed") if m.time > changed_at + 30] == []
    runs = lab.json("run", "ls", "--job", "renamed-same", "--state", "succeeded")["runs"]
    assert len(runs) == len(lab.judge("renamed"))  # the history before the change is still its own


def test_what_waits_for_another_schedule_is_blocked_with_the_reason_and_released_once(lab: Lab) -> None:
    blocked = lab.json("run", "ls", "--job", "report", "--state", "blocked")["runs"]
    assert len(blocked) >= 2
    assert all("fetch" in row["reason"] for row in blocked)
    assert lab.words("report") == []
    time.sleep((20 - time.time()) % 60 if time.time() % 60 > 50 else 0)  # not over the edge of a minute
    lab.homelab("job", "run", "fetch", "--wait")
    until(lambda: lab.words("report"), timeout=20, what=lambda: lab.logs())
    time.sleep(2)
    released = [m for m in lab.judge("report") if m.time % 60 > 3]
    assert len(released) <= 1
    assert len({m.run for m in lab.judge("report")}) == len(lab.judge("report"))


def test_an_import_says_how_much_later_a_job_starts_when_the_lab_knows(lab: Lab) -> None:
    for _ in range(8):
        lab.homelab("job", "run", "fetch", "--wait")
    shown = lab.json("cron", "import", str(lab.root / "crontab"), "--timezone", "UTC", "--dry-run")
    after = next(row["after"] for row in shown["timetable"] if row["job"] == "after")
    assert after.startswith("when fetch has succeeded (earliest at 00:00 on day 1 of the month in January, about 1")
    assert after.endswith("s later)")
