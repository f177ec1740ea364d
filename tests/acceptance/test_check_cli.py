"""`homelab check`, `plan`, `apply` and `init` as a person calls them, without a running lab."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HOMELAB = Path(sys.executable).with_name("homelab")


def homelab(here: Path, *arguments: str, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HOMELAB")}
    if path:
        clean["PATH"] = path
    return subprocess.run(
        [HOMELAB, *arguments],
        cwd=here,
        env={**clean, "HOMELAB_HOME": str(here / "home"), "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def problems(here: Path, text: str, **environment: str) -> list[dict[str, Any]]:
    (here / "lab.toml").write_text(text)
    done = homelab(here, "check", "--json", **environment)
    found = json.loads(done.stdout)["problems"]
    assert done.returncode == (2 if any(p["severity"] == "error" for p in found) else 0), done
    assert done.stderr == ""
    return found


def test_a_good_file_is_counted_and_leaves_with_0(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(
        'jobs.a = {run = "x", schedule = "@daily"}\njobs.b = {run = "x", needs = ["a"]}\n'
    )
    done = homelab(tmp_path, "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "lab.toml: 2 jobs in 1 flow, no problems\n", "")


def test_problems_have_every_field_and_leave_with_2(tmp_path: Path) -> None:
    found = problems(tmp_path, '[jobs.a]\nrun = "x"\nschdule = "@daily"\nsecrets.KEY = "env:NOT_THERE"\n')
    assert found[0] == {
        "file": "lab.toml",
        "line": 3,
        "column": 1,
        "severity": "error",
        "code": "unknown-key",
        "message": "[jobs.NAME] has no setting 'schdule'",
        "hint": "Did you mean 'schedule'?",
    }
    assert [p["code"] for p in found] == ["unknown-key", "no-secret"]


def test_a_secret_that_is_there_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "home" / "secrets").mkdir(parents=True)
    (tmp_path / "home" / "secrets" / "key").write_text("s3cret")
    text = '[jobs.a]\nrun = "x"\nsecrets = { A = "env:THERE", B = "file:key", C = "file:gone" }\n'
    found = problems(tmp_path, text, THERE="yes")
    assert [(p["code"], p["line"], p["column"]) for p in found] == [("no-secret", 3, 50)]


def test_the_line_is_shown_with_a_mark_below_the_place(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text('[jobs.a]\nrun = "x"\n\ttimeout = "30x"\n')
    lines = homelab(tmp_path, "check").stdout.splitlines()
    assert lines[0] == "lab.toml:3:12: error: '30x': this is not a duration"
    assert lines[1].index('"30x"') == lines[2].index("^")
    assert lines[-1] == "lab.toml: 1 error"


def test_included_files_are_found_also_when_the_main_file_has_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "b.toml").write_text("[jobs.b]\nrun = 'x'\nneeds = ['a']\n")
    head = "[lab]\ninclude = ['jobs/*.toml']\n[jobs.a]\n"
    assert problems(tmp_path, head + "run = 'x'\n") == []
    found = problems(tmp_path, head + "run = x\n[jobs.c]\nrun='x'\nneeds = ['bb']\n")
    assert [(p["code"], p["line"]) for p in found] == [("syntax", 4), ("unknown-need", 7)]
    assert found[1]["hint"] == "Did you mean 'b'?"


def test_an_included_job_of_the_same_name_names_both_files(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text("[jobs.a]\nrun = 'x'\n")
    found = problems(tmp_path, "[lab]\ninclude = 'more.toml'\n[jobs.a]\nrun = 'x'\n")
    assert [(p["file"], p["line"]) for p in found] == [("more.toml", 1)]
    assert "lab.toml:3" in found[0]["message"]


def test_a_lab_file_elsewhere_is_named_by_an_option_or_a_variable(tmp_path: Path) -> None:
    lab = tmp_path / "elsewhere" / "my.toml"
    lab.parent.mkdir()
    (lab.parent / "more.toml").write_text("jobs.b.run = 'x'\n")
    lab.write_text("lab.include = 'more.toml'\njobs.a.run = 'x'\n")
    for done in (
        homelab(tmp_path, "check", "elsewhere/my.toml"),
        homelab(tmp_path, "--lab", str(lab), "check"),
        homelab(tmp_path, "check", HOMELAB_LAB=str(lab)),
    ):
        assert done.stdout == "elsewhere/my.toml: 2 jobs in 2 flows, no problems\n"


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_bytes(b"[lab]\nname = '\xff'\n")
    done = homelab(tmp_path, "check", "--json")
    assert done.returncode == 2
    assert [(p["line"], p["code"]) for p in json.loads(done.stdout)["problems"]] == [(2, "unreadable")]
    gone = homelab(tmp_path, "check", "gone.toml")
    assert gone.returncode == 3
    assert "gone.toml" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_hostile_names_do_nothing_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text('[jobs."\\u001b]0;x\\u0007"]\nrun = "x"\n[jobs.a]\nrun = "x\x1b[31m"\n')
    done = homelab(tmp_path, "check")
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x07" not in done.stdout + done.stderr


def test_the_schema_is_printed_for_editors(tmp_path: Path) -> None:
    schema = json.loads(homelab(tmp_path, "check", "--schema").stdout)
    assert "schedule" in schema["properties"]["jobs"]["additionalProperties"]["properties"]


def test_plan_and_apply_refuse_a_bad_file_before_asking_anyone(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("[jobs.a]\n")
    for command in ("plan", "apply"):
        done = homelab(tmp_path, command)
        assert done.returncode == 2
        assert "nothing was changed" in done.stderr
        assert done.stdout == ""


def test_plan_without_a_running_lab_says_so(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("jobs.a.run = 'x'\n")
    done = homelab(tmp_path, "plan")
    assert done.returncode == 3
    assert "homelab up" in done.stderr


def test_init_writes_a_file_that_check_accepts_and_never_overwrites_one(tmp_path: Path) -> None:
    done = homelab(tmp_path, "init", "--yes", "--no-import", TZ="Europe/Berlin")
    assert done.returncode == 0, done.stderr
    assert 'timezone = "Europe/Berlin"' in (tmp_path / "lab.toml").read_text()
    assert homelab(tmp_path, "check").returncode == 0
    again = homelab(tmp_path, "init", "--yes")
    assert again.returncode == 5
    assert "cron import" in again.stderr


def test_init_without_anyone_to_ask_writes_nothing(tmp_path: Path) -> None:
    done = homelab(tmp_path, "init")
    assert done.returncode == 5
    assert not (tmp_path / "lab.toml").exists()


def test_init_imports_the_jobs_of_the_crontab_it_found(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "crontab").write_text("#!/bin/sh\necho '# mine'; echo '5 4 * * * backup'; echo '@daily report'\n")
    (programs / "crontab").chmod(0o755)
    done = homelab(tmp_path, "init", "--yes", path=f"{programs}:/usr/bin:/bin", TZ="UTC")
    assert done.returncode == 0, done.stderr
    assert "your crontab: 2 jobs" in done.stderr
    assert done.stdout == ""
    assert homelab(tmp_path, "check").stdout == "lab.toml: 2 jobs in 2 flows, no problems\n"
