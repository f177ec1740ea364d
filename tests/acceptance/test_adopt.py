"""A crontab carried over into the lab and back under a real cron daemon. The judge is a file that the jobs write.

Cron and its tables are real and the test's own (`tests.crond`); where no cron daemon can run, the tests say so.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.crond import Cron, why_not
from tests.lab import HOMELAB, Lab, until

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "cron runs here")

CRONTAB = """\
# every minute, and one that is never due
MAILTO=""
* * * * * echo "$(date +\\%s) ${{HOMELAB_RUN_ID:-cron}}" >> {judge}
* * * * * cat >> {stdin}%one%two
@reboot echo boot >> {boot}
17 3 1 1 * true
"""


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on, far from those that a lab takes by itself: other labs may start beside this."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


class Place:
    """A lab and a cron daemon's tables, with commands that see both."""

    def __init__(self, root: Path) -> None:
        self.lab = Lab(root)
        self.cron = Cron()
        control, prefect = free_ports()
        self.text = f'[lab]\nname = "adopting"\n[control]\nport = {control}\n[prefect]\nport = {prefect}\n'
        self.judge = root / "times"
        self.crontab = CRONTAB.format(judge=self.judge, stdin=root / "stdin", boot=root / "boot")
        self.backups = self.lab.home / "backups" / "crontab"

    def homelab(self, *arguments: str, status: int = 0, path: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        environment = dict(self.lab.environment)
        if path is not None:
            environment["PATH"] = f"{path}:{environment['PATH']}"
        done = self.cron.run(HOMELAB, "cron", *arguments, env=environment, ok=False, cwd=self.lab.root)
        assert done.returncode == status, f"{done.stdout.decode()}{done.stderr.decode()}{self.lab.logs()}"
        assert b"Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.homelab(*arguments, "--json").stdout)

    def minutes(self, who: str = "") -> list[int]:
        """The minutes that the judge has, in the order they were written: those of `who` (cron, lab), or all."""
        rows = [line.split() for line in self.judge.read_text().splitlines()] if self.judge.exists() else []
        return [int(at) // 60 for at, by in rows if who in ("", "cron" if by == "cron" else "lab")]

    def restore(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        (folder,) = [path.parent for path in self.backups.glob("*/adoption.json") if _state(path) == "adopted"]
        return self.cron.run("env", "-i", "PATH=/usr/bin:/bin", "sh", folder / "restore.sh", *arguments, ok=False)

    def doctor(self) -> dict[str, str]:
        done = self.cron.run(HOMELAB, "doctor", "--json", env=self.lab.environment, cwd=self.lab.root, ok=False)
        return next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "adopted")

    def shadow(self) -> list[str]:
        return self.lab.json("status")["shadow"]

    def trap(self, name: str, script: str) -> Path:
        """A folder for PATH whose `crontab` does what `script` says and is otherwise the real one, `$real`."""
        folder = self.lab.root / name
        folder.mkdir()
        (folder / "crontab").write_text(f'#!/bin/sh\nreal=/usr/bin/crontab\n{script}\nexec $real "$@"\n')
        (folder / "crontab").chmod(0o755)
        return folder


def _state(path: Path) -> str:
    return json.loads(path.read_text())["state"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    place = Place(tmp_path_factory.mktemp("adopt"))
    try:
        place.lab.write(place.text)
        yield place
    finally:
        place.lab.down()
        place.cron.stop()


@pytest.mark.timeout(480)
def test_each_minute_runs_exactly_once_while_jobs_go_to_the_lab_and_back(place: Place) -> None:
    place.cron.install(place.crontab)
    place.cron.start()
    refused = place.homelab("adopt", status=3)
    assert b"homelab up -d" in refused.stderr
    original = place.cron.crontab()
    assert original.decode() == place.crontab
    place.lab.homelab("cron", "import", "--shadow", "-", stdin=place.crontab)
    place.lab.up()

    probed = place.json("diff-env", "echo", "--probe")
    assert [(side["user"], side["cwd"], side["umask"]) for side in (probed["cron"], probed["lab"])] == [
        ("root", "/root", "0022")
    ] * 2
    for name in ("PATH", "SHELL", "HOME", "LOGNAME", "MAILTO"):
        assert probed["cron"]["environment"][name] == probed["lab"]["environment"][name]
    assert place.cron.crontab() == original
    assert (place.lab.home / "probes" / "echo.json").stat().st_mode & 0o777 == 0o600

    until(lambda: place.minutes("cron") or None, timeout=75, what="cron runs the job")
    until(lambda: sum("CMD ([" in x for x in place.cron.lines) >= 4 or None, timeout=20, what="cron logs all four")
    (place.lab.root / "syslog").write_text("\n".join(place.cron.lines))
    compared = place.json("compare", "--log", "syslog", "--since", "1h")
    strange = [row for row in compared["only_cron"] if "homelab-probe" not in row["command"]]
    assert (strange, compared["only_lab"]) == ([], []), compared
    assert compared["jobs"]["echo"] == compared["jobs"]["cat"] >= 1, "both ran, and as often"
    assert compared["matched"] == 2 * compared["jobs"]["echo"], compared
    assert compared["shadow"]["not_noted"] == []
    planned = place.json("adopt", "--dry-run")
    assert [row["line"] for row in planned["adopted"]] == [3, 4, 5, 6]
    assert place.cron.crontab() == original
    done = place.json("adopt")
    assert done["stays"] == []
    marked = place.cron.crontab()
    assert marked.decode().splitlines()[2:] == ["#homelab: " + line for line in place.crontab.splitlines()[2:]]

    until(lambda: len(place.minutes("lab")) >= 2 or None, timeout=150, what="the lab runs the job twice")
    done = place.json("release")
    assert done["released"][0]["exact"]
    assert place.cron.crontab() == original
    assert sorted(place.shadow()) == sorted(job for row in planned["adopted"] for job in row["jobs"])
    before = len(place.minutes("cron"))
    until(lambda: len(place.minutes("cron")) > before or None, timeout=75, what="cron runs the job again")
    time.sleep(2)  # a second start of this minute would come within this time: cron's is late by up to one second

    minutes = place.minutes()
    assert minutes == list(range(minutes[0], minutes[0] + len(minutes))), place.judge.read_text()
    assert len(minutes) >= 4
    assert (place.lab.root / "stdin").read_text() == "one\ntwo\n" * len(minutes)
    assert (place.lab.root / "boot").read_text() == "boot\n"
    rows = place.lab.json("run", "ls", "--limit", "100")["runs"]
    assert not [row for row in rows if row["state"] not in ("succeeded", "skipped")]


def test_a_change_by_somebody_else_is_not_overwritten(place: Place) -> None:
    ready(place)
    script = 'if [ "$1" = -l ] && [ -e "$0.seen" ]; then echo "@daily mine" | $real -; fi; : > "$0.seen"'
    done = place.homelab("adopt", status=5, path=place.trap("edited", script))
    assert b"changed by somebody else" in done.stderr
    assert place.cron.crontab() == b"@daily mine\n"
    assert _states(place) == ["undone"]


def test_a_crontab_that_refuses_the_change_leaves_all_as_it_was(place: Place) -> None:
    before = ready(place)
    script = 'case "$1" in -l) ;; *) echo "you are not allowed" >&2; exit 1;; esac'
    done = place.homelab("adopt", status=5, path=place.trap("refusing", script))
    assert b"not allowed" in done.stderr
    assert place.cron.crontab().decode() == place.crontab
    assert place.lab.file.read_text() == before
    assert place.lab.json("plan")["is_empty"]


def test_control_that_is_killed_in_the_middle_takes_the_jobs_when_it_is_back(place: Place) -> None:
    ready(place)
    script = f'case "$1" in -l) ;; *) kill -9 {place.lab.pid("control")};; esac'
    place.homelab("adopt", path=place.trap("killing-control", script))
    assert not place.shadow()
    assert place.cron.crontab().startswith(b'# every minute, and one that is never due\nMAILTO=""\n#homelab: * * * * *')

    # What is edited meanwhile stays, and so do jobs that came in by hand.
    edited = b"@daily new\n" + place.cron.crontab()
    place.cron.run("crontab", "-", stdin=edited)
    refused = place.restore()
    assert (refused.returncode, b"@daily new" in refused.stderr) == (5, True)
    done = place.json("release")["released"][0]
    assert not done["exact"]
    assert place.cron.crontab().decode() == "@daily new\n" + place.crontab


def test_a_lab_that_answers_too_late_does_not_get_the_jobs_and_cron_keeps_them(place: Place) -> None:
    before = ready(place)
    pid = place.lab.pid("control")
    script = f'case "$1" in -l) ;; *) kill -STOP {pid}; (sleep 47; kill -CONT {pid}) >/dev/null 2>&1 & esac'
    # Only the first call stops it: putting the lines back is a second one.
    once = 'if [ -e "$0.seen" ]; then exec $real "$@"; fi; case "$1" in -l) ;; *) : > "$0.seen";; esac\n'
    done = place.homelab("adopt", status=4, path=place.trap("stopping", once + script))
    assert b"cron has the jobs as before" in done.stderr
    assert place.cron.crontab().decode() == place.crontab
    assert place.lab.file.read_text() == before
    until(lambda: place.lab.json("plan", ok=(0, 3, 4))["is_empty"] or None, timeout=30, what="the lab has none of it")
    assert place.lab.json("job", "ls")["jobs"] == []
    assert _states(place) == ["undone"]


def test_a_request_to_stop_in_the_middle_waits_until_the_switch_is_whole(place: Place) -> None:
    ready(place)
    script = 'case "$1" in -l) ;; *) kill -INT $PPID; sleep 0.3;; esac'
    place.homelab("adopt", path=place.trap("interrupting", script))
    assert place.cron.crontab().count(b"#homelab: ") == 4
    assert len(place.lab.json("job", "ls")["jobs"]) == 4
    place.homelab("release")


def test_root_adopts_the_crontab_of_another_user_and_gives_it_back(place: Place) -> None:
    ready(place)
    text = b"0 4 1 1 * id\n"
    place.cron.run("crontab", "-u", "nobody", "-", stdin=text)
    place.homelab("adopt", "--user", "nobody")
    assert place.cron.crontab().decode() == place.crontab
    (job,) = place.lab.json("job", "ls")["jobs"]
    found = place.lab.json("job", "show", job["name"])["job"]
    assert found["definition"]["user"] == "nobody"
    assert "nobody" in found["adopted"]["crontab"] and found["adopted"]["since"].endswith("Z")
    assert "homelab cron release" in place.lab.homelab("job", "show", job["name"]).stdout
    assert any("taken over from" in reason for reason in place.lab.json("job", "why", job["name"])["reasons"])
    done = place.json("release")["released"][0]
    assert (done["target"], done["exact"]) == ("crontab of nobody", True)
    assert place.cron.run("crontab", "-u", "nobody", "-l").stdout == text


def test_an_adoption_that_was_killed_is_finished_by_the_next(place: Place) -> None:
    ready(place)
    script = 'case "$1" in -l) ;; *) $real "$@"; kill -9 $PPID; exit;; esac'
    place.homelab("adopt", status=-signal.SIGKILL, path=place.trap("killing", script))
    assert b"#homelab: *" in place.cron.crontab()
    (problem,) = [p for p in place.lab.json("status")["problems"] if p["code"] == "adoption-interrupted"]
    assert problem["hint"].endswith("homelab cron adopt")
    done = place.homelab("adopt")
    assert b"is adopted now" in done.stderr
    assert not place.shadow()
    assert [job["name"] for job in place.lab.json("job", "ls")["jobs"]] == ["echo", "cat", "echo-boot", "true"]
    place.homelab("release")
    assert place.cron.crontab().decode() == place.crontab


def test_a_lab_that_is_down_gives_its_jobs_back_and_leaves_them_to_cron_when_it_starts(place: Place) -> None:
    ready(place)
    place.homelab("adopt", "--only", "echo", "--only", "true")
    assert place.cron.crontab().decode().count("#homelab: ") == 2
    assert "2 jobs were taken over from cron" in place.lab.homelab("down").stderr
    assert place.doctor()["status"] == "ok"
    assert b"is as it was before" in place.restore().stderr
    assert place.cron.crontab().decode() == place.crontab
    assert "2 adopted lines are live" in place.doctor()["message"]
    place.homelab("release")
    assert place.cron.crontab().decode() == place.crontab
    (place.lab.home / "handed-back.json").read_text()
    place.lab.up()
    assert place.shadow() == ["echo", "true"]
    assert not (place.lab.home / "handed-back.json").exists()


def test_a_file_of_cron_d_keeps_its_mode_and_comes_back_by_its_script(place: Place) -> None:
    file = Path("/etc/cron.d/jobs")
    text = "SHELL=/bin/bash\n0 4 1 1 * root echo yearly\n0 4 1 1 * nobody-here echo never\n"
    place.cron.run("sh", "-c", f"cat > {file} && chmod 640 {file}", stdin=text.encode())
    ready(place)
    done = place.json("adopt", "--file", str(file))
    assert [row["line"] for row in done["stays"]] == [3]
    now = place.cron.run("sh", "-c", f"stat -c %a {file}; ls -A /etc/cron.d; cat {file}").stdout.decode()
    assert now.splitlines() == [
        "640",
        "jobs",
        "SHELL=/bin/bash",
        "#homelab: 0 4 1 1 * root echo yearly",
        text.splitlines()[2],
    ]
    assert place.restore().returncode == 0
    now = place.cron.run("sh", "-c", f"stat -c %a {file}; ls -A /etc/cron.d; cat {file}").stdout.decode()
    assert now == "640\njobs\n" + text
    released = place.json("release", "--file", str(file))["released"][0]
    assert (released["exact"], released["lines"], len(released["live"])) == (True, [], 1)
    assert b"adopted nothing" in place.homelab("release", status=3).stderr


def test_no_minute_ran_twice_in_all_of_this(place: Place) -> None:
    minutes = place.minutes()
    assert len(minutes) == len(set(minutes)), place.judge.read_text()


def ready(place: Place) -> str:
    """The crontab as it is at first, a lab that runs and has none of it; the text of the lab file."""
    assert os.geteuid() == 0
    place.cron.install(place.crontab)
    for path in place.backups.glob("*/adoption.json"):
        assert _state(path) in ("undone", "released")
        path.unlink()
    place.lab.write(place.text)
    if not place.lab.homelab("status", ok=(0, 3)).stdout:
        place.lab.up()
    place.lab.homelab("apply", "--yes")
    return place.text


def _states(place: Place) -> list[str]:
    return [_state(path) for path in sorted(place.backups.glob("*/adoption.json"))]
