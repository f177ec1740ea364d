"""What an adoption would change, from a file of cron.d and a lab file; nothing is written."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homelab.cli import adoptionplan
from homelab.core.crontab import parse
from homelab.core.errors import InputError, RefusedError
from homelab.home import labshadow
from homelab.home.livecron import CronFile
from homelab.home.paths import Home

CRONTAB = """\
# two jobs
0 2 * * * root /bin/dump
30 2 * * * root /bin/upload
"""
LAB = '[lab]\nname = "x"\ntimezone = "UTC"\n'


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cron.d").mkdir()
    (tmp_path / "cron.d" / "jobs").write_text(CRONTAB)
    (tmp_path / "lab.toml").write_text(LAB)
    monkeypatch.setenv("HOMELAB_LAB", str(tmp_path / "lab.toml"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(adoptionplan, "_user_of_lab", lambda _home: None)
    return tmp_path


def plan(there: Path, *only: str) -> adoptionplan.AdoptionPlan:
    return adoptionplan.plan_adoption(CronFile(path=there / "cron.d" / "jobs"), Home(there / "home"), only=only)


def jobs(found: adoptionplan.AdoptionPlan) -> dict[str, dict[str, object]]:
    return tomllib.loads(found.after[str(found.lab)])["jobs"]


def test_each_line_becomes_a_job_and_a_comment_and_nothing_is_written(there: Path) -> None:
    found = plan(there)
    assert [(line.line, line.jobs) for line in found.lines] == [(2, ("dump",)), (3, ("upload",))]
    assert found.marked.decode() == CRONTAB.replace("\n0 2", "\n#homelab: 0 2").replace("\n30 2", "\n#homelab: 30 2")
    assert set(labshadow.taken_over(dict(found.after))) == {"dump", "upload"}
    assert jobs(found)["dump"]["user"] == "root"
    assert (there / "lab.toml").read_text() == LAB
    assert not (there / "home").exists()


def test_a_job_that_came_from_elsewhere_is_taken_as_it_is_and_not_made_twice(there: Path) -> None:
    mine = '[jobs.mine]\nschedule = "0 2 * * *"\nrun = "/bin/dump"\nuser = "root"\nshadow = true\n'
    (there / "lab.toml").write_text(LAB + mine)
    found = plan(there)
    assert [line.jobs for line in found.lines] == [("mine",), ("upload",)]
    assert list(jobs(found)) == ["mine", "upload"]
    assert "shadow" not in jobs(found)["mine"]


def test_what_would_run_nowhere_is_refused(there: Path) -> None:
    paused = '[jobs.mine]\nschedule = "0 2 * * *"\nrun = "/bin/dump"\npaused = true\n'
    (there / "lab.toml").write_text(LAB + paused)
    with pytest.raises(RefusedError, match="paused"):
        plan(there)
    waiting = (
        '[jobs.a]\nschedule = "0 2 * * *"\nrun = "/bin/dump"\nshadow = true\n'
        '[jobs.b]\nschedule = "30 2 * * *"\nrun = "/bin/upload"\nneeds = ["a"]\nshadow = true\n'
    )
    (there / "lab.toml").write_text(LAB + waiting)
    with pytest.raises(RefusedError, match="'b' needs 'a'"):
        plan(there, "upload")
    assert [line.jobs for line in plan(there).lines] == [("a",), ("b",)]


def test_a_job_that_is_not_there_is_told_with_those_that_are(there: Path) -> None:
    with pytest.raises(InputError, match="dump, upload"):
        plan(there, "nothing")


def test_a_lab_that_is_not_roots_leaves_roots_jobs_to_cron(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoptionplan, "_user_of_lab", lambda _home: "ada")
    assert [stay.line for stay in plan(there).choice.stays] == [2, 3]
    assert plan(there).marked.decode() == CRONTAB


def test_a_time_that_differs_in_the_lab_loses_the_run_between_the_two(there: Path) -> None:
    text = LAB + '[jobs.a]\nschedule = "0 2 * * *"\nrun = "x"\n[jobs.b]\nneeds = ["a"]\nrun = "y"\n'
    lines = parse(CRONTAB, system=True, accounts={"root": "/root"}).jobs
    pairs = [(lines[0], ("a",)), (lines[1], ("b",))]

    def lost(hour: int, minute: int) -> dict[str, datetime]:
        at = datetime(2026, 11, 25, hour, minute, tzinfo=UTC)
        return adoptionplan.lost({"lab.toml": text}, "lab.toml", pairs, at)

    assert lost(1, 59) == lost(2, 31) == {}
    assert lost(2, 10) == {"b": datetime(2026, 11, 25, 2, 30, tzinfo=UTC)}
