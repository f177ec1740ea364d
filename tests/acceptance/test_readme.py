"""The first ten minutes of the README, line by line, as a new user would type them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.lab import HOMELAB, Lab

from homelab.home.paths import Home
from homelab.stack.postgres import place_of

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


def test_three_machines_are_one_lab_as_the_readme_says(tmp_path: Path) -> None:
    section = README.read_text().split("## Three machines")[1].split("\n## ")[0]
    start, stop = [part.splitlines() for part in re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)]
    shutil.copytree(README.parent / "examples", tmp_path / "examples")
    homes = [Home(tmp_path / "fleet" / name) for name in ("mac1", "mac3", "mac4")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HOMELAB", "PREFECT"))}
    environment["PATH"] = f"{HOMELAB.parent}:{environment['PATH']}"

    def typed(*lines: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-ec", "\n".join(line.strip() for line in lines)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{lines}\n{done.stdout}{done.stderr}"
        return done.stdout

    try:
        assert "ready" in typed(*start)
        told = json.loads(typed("homelab --home fleet/mac1 status --json"))
        assert {n["name"]: n["state"] for n in told["nodes"]} == dict.fromkeys(("mac1", "mac3", "mac4"), "ready")
        typed(*stop)
        assert not any((home.run / "supervisor.sock").exists() for home in homes)
    finally:
        for home in reversed(homes):
            typed(f"homelab --home {home.root} down --now || true")
        data = place_of(homes[0]).data
        if tmp_path not in data.parents:
            shutil.rmtree(data.parent, ignore_errors=True)
