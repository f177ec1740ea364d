"""The first ten minutes of the README, line by line, as a new user would type them."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.lab import HOMELAB, Lab

README = Path(__file__).parents[2] / "README.md"
CRONTAB = """# a small life
MAILTO=me@example.org
*/5 * * * * echo polled
30 2 * * 1-5 echo 'backing up' % to standard input
@daily /bin/echo report > /dev/null
61 * * * * never
"""
SAYS = {
    "cron inspect": "polled",
    "cron import": "3 added",
    "check": "3 jobs",
    "up -d": "3 jobs",
    "status": "ready",
    "job ls": "*/5 * * * *",
    "job run": "succeeded",
    "run logs": "polled",
    "job why": "next due",
    "open": "/sign-in?token=",
    "plan": "nothing to change",
    "cron adopt": "3 jobs carried over",
    "cron release": "has its old bytes again",
    "down": "stopped",
}


def _lines() -> list[str]:
    section = README.read_text().split("## The first ten minutes")[1].split("\n## ")[0]
    lines = [line.strip() for line in re.findall(r"^    (.+)$", section, re.MULTILINE)]
    return [line for line in lines if "homelab " in line and "git clone" not in line]


@pytest.fixture
def lab(tmp_path: Path) -> "Lab":
    lab = Lab(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "crontab.txt").write_text(CRONTAB)
    stub = programs / "crontab"
    stub.write_text(
        f'#!/bin/sh\ncase "$1" in -l) cat {tmp_path}/crontab.txt;; *) cat "$1" > {tmp_path}/crontab.txt;; esac\n'
    )
    stub.chmod(0o755)
    lab.environment["PATH"] = f"{programs}:{HOMELAB.parent}:{os.environ['PATH']}"
    del lab.environment["HOMELAB_LAB"]
    return lab


def test_the_first_ten_minutes_go_as_the_readme_says(lab: Lab) -> None:
    lines = _lines()
    assert len(lines) >= 12
    said: dict[str, str] = {}
    try:
        for line in lines:
            command = line.replace("NAME", _name(said))
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                env=lab.environment,
                cwd=lab.root,
                capture_output=True,
                text=True,
                timeout=150,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}\n{lab.logs()}"
            said[line] = done.stdout + done.stderr
    finally:
        lab.down()
    assert (lab.root / "crontab.txt").read_text() == CRONTAB
    for words, expected in SAYS.items():
        shown = "\n".join(text for line, text in said.items() if f"homelab {words}" in line)
        assert expected in shown, f"homelab {words} says:\n{shown}"


def _name(said: dict[str, str]) -> str:
    """The job that the reader would pick: the first one listed."""
    listed = next((text for line, text in said.items() if "job ls" in line), "")
    return listed.split("\t")[0].split()[0] if listed else "NAME"
