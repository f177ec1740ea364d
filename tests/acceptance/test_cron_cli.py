"""`homelab cron` as it is called: what it prints where, what it writes, and its exit status."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

CRONTAB = """\
# the server's jobs
MAILTO=ops@example.com
PATH=/usr/local/bin:/usr/bin
30 2 * * * /opt/bin/backup-db.sh --full
*/5 * * * * /opt/bin/check.sh web%status%
61 * * * * broken
@reboot /opt/bin/announce.sh
"""


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "crontab.txt").write_text(CRONTAB)
    return tmp_path


def homelab(folder: Path, *arguments: str, stdin: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMELAB_")} | {"TZ": "UTC"}
    done = subprocess.run(
        [sys.executable, "-m", "homelab", "cron", *arguments],
        cwd=folder, input=stdin, capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def inspect(folder: Path, *arguments: str, stdin: str = "") -> dict[str, Any]:
    return json.loads(homelab(folder, "inspect", *arguments, "--json", stdin=stdin).stdout)


def lab_jobs(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "lab.toml").read_text())["jobs"]


def test_inspect_gives_the_jobs_and_problems_of_a_file(there: Path) -> None:
    found = inspect(there, "crontab.txt", "--user", "ada", "--root", str(there))
    assert set(found) == {"jobs", "problems", "suggestions", "hazards"}
    assert found["jobs"][1] == {
        "name": "check-web",
        "line": 5,
        "schedule": "*/5 * * * *",
        "timezone": "UTC",
        "user": "ada",
        "command": "/opt/bin/check.sh web",
        "stdin": "status\n",
        "shell": "/bin/sh",
        "cwd": "/home/ada",
        "environment": {
            "SHELL": "/bin/sh",
            "PATH": "/usr/local/bin:/usr/bin",
            "HOME": "/home/ada",
            "LOGNAME": "ada",
            "MAILTO": "ops@example.com",
        },
        "mailto": "ops@example.com",
        "flags": [],
    }
    (problem,) = found["problems"]
    assert (problem["line"], problem["column"], problem["severity"]) == (6, 1, "error")


def test_inspect_reads_standard_input_and_changes_nothing(there: Path) -> None:
    before = sorted(there.iterdir())
    assert inspect(there, "-", stdin="@daily true\n")["jobs"][0]["schedule"] == "@daily"
    assert sorted(there.iterdir()) == before


def test_inspect_for_people_has_one_line_a_job_and_problems_on_the_other_stream(there: Path) -> None:
    done = homelab(there, "inspect", "crontab.txt")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["4", "5", "7"]
    assert "crontab.txt:6:1: error: bad minute" in done.stderr


def test_what_cannot_be_read_is_exit_2_with_its_name(there: Path) -> None:
    assert "missing.txt" in homelab(there, "inspect", "missing.txt", status=2).stderr
    assert "Nowhere/Land" in homelab(there, "inspect", "crontab.txt", "--timezone", "Nowhere/Land", status=2).stderr


def test_what_is_far_too_large_to_be_a_crontab_is_exit_2(there: Path) -> None:
    (there / "lines").write_text("a\n" * 200_000)
    (there / "line").write_bytes(b"x" * 50_000_000)
    assert "no crontab" in homelab(there, "inspect", "lines", status=2).stderr
    assert "no crontab" in homelab(there, "inspect", "line", status=2).stderr


def test_bytes_that_are_no_text_and_control_codes_are_harmless(there: Path) -> None:
    (there / "odd").write_bytes(b"0 1 * * * echo \xff\xfe\n0 2 * * * printf '\x1b[2J'\n0 3 * * * a\0b\n")
    assert [job["line"] for job in inspect(there, "odd")["jobs"]] == [1, 2]
    assert "\x1b" not in homelab(there, "inspect", "odd").stdout
    assert "odd:1" in homelab(there, "import", "odd", status=1).stderr
    assert [job["run"] for job in lab_jobs(there).values()] == ["printf '\x1b[2J'"]


def test_a_folder_of_system_crontabs_is_read_as_cron_reads_it(there: Path) -> None:
    folder = there / "cron.d"
    folder.mkdir()
    for name in ("backup", "old.rpmsave", "site.local", ".hidden"):
        (folder / name).write_text(f"0 1 * * * root run {name}\n")
    found = inspect(there, "cron.d", "--root", str(there))
    assert [Path(job["file"]).name for job in found["jobs"]] == ["backup", "site.local"]
    remarks = {Path(p["file"]).name: p["code"] for p in found["problems"]}
    assert remarks == {".hidden": "ignored-file", "old.rpmsave": "ignored-file", "site.local": "debian-ignored-file"}


def test_a_spool_folder_holds_the_crontabs_of_its_users(there: Path) -> None:
    spool = there / "var/spool/cron/crontabs"
    spool.mkdir(parents=True)
    (there / "etc").mkdir()
    (there / "etc/passwd").write_text("ada:x:7:7::/srv/ada:/bin/sh\n")
    (spool / "ada").write_text("0 1 * * * root-check\n")
    (job,) = inspect(there, str(spool), "--root", str(there))["jobs"]
    assert (job["user"], job["cwd"], job["command"]) == ("ada", "/srv/ada", "root-check")


def test_a_folder_that_cannot_hold_the_lab_file_is_exit_2(there: Path) -> None:
    (there / "file").write_text("")
    environment = {**os.environ, "HOMELAB_LAB": str(there / "file/lab.toml")}
    done = subprocess.run(
        [sys.executable, "-m", "homelab", "cron", "import", "crontab.txt"],
        cwd=there, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_import_writes_a_lab_file_and_importing_again_changes_no_byte(there: Path) -> None:
    homelab(there, "import", "crontab.txt", "--user", "ada", "--timezone", "Europe/Oslo")
    first = (there / "lab.toml").read_bytes()
    job = lab_jobs(there)["backup-db"]
    assert (job["schedule"], job["run"], job["user"]) == ("30 2 * * *", "/opt/bin/backup-db.sh --full", "ada")
    assert job["environment"]["PATH"] == "/usr/local/bin:/usr/bin"
    assert tomllib.loads(first.decode())["lab"]["timezone"] == "Europe/Oslo"
    homelab(there, "import", "crontab.txt", "--user", "ada", "--timezone", "Europe/Oslo")
    assert (there / "lab.toml").read_bytes() == first


def test_a_changed_crontab_changes_its_jobs_and_nothing_else(there: Path) -> None:
    (there / "lab.toml").write_text('# mine\n[lab]\nname = "attic"\n\n[jobs.hand]\nrun = "true"  # keep\n')
    text = "30 2 * * * /opt/one.sh\n0 3 * * * /opt/two.sh\n0 4 * * * /opt/three.sh\n"
    (there / "crontab.txt").write_text(text)
    homelab(there, "import", "crontab.txt")
    edited = (
        (there / "lab.toml").read_text().replace('run = "/opt/one.sh"', 'run = "/opt/one.sh"\nretries = 2  # flaky')
    )
    (there / "lab.toml").write_text(edited)
    (there / "crontab.txt").write_text("0 4 * * * /opt/three.sh\n45 2 * * * /opt/one.sh\n0 5 * * * /opt/four.sh\n")
    homelab(there, "import", "crontab.txt")
    jobs = lab_jobs(there)
    assert {name: job.get("schedule") for name, job in jobs.items()} == {
        "hand": None, "one": "45 2 * * *", "three": "0 4 * * *", "four": "0 5 * * *"
    }  # fmt: skip
    text = (there / "lab.toml").read_text()
    assert text.startswith('# mine\n[lab]\nname = "attic"\n\n[jobs.hand]\nrun = "true"  # keep\n')
    assert "retries = 2  # flaky" in text


def test_a_dry_run_prints_the_change_and_writes_nothing(there: Path) -> None:
    done = homelab(there, "import", "crontab.txt", "--dry-run")
    assert "+[jobs.backup-db]" in done.stdout
    assert not (there / "lab.toml").exists()


def test_a_bad_line_does_not_remove_the_job_it_was(there: Path) -> None:
    homelab(there, "import", "crontab.txt")
    (there / "crontab.txt").write_text(CRONTAB.replace("30 2 * * *", "30 25 * * *"))
    assert "backup-db" in homelab(there, "import", "crontab.txt").stderr
    assert "backup-db" in lab_jobs(there)


def test_an_empty_input_does_not_empty_the_lab(there: Path) -> None:
    homelab(there, "import", "-", stdin=CRONTAB)
    homelab(there, "import", "-", stdin="", status=5)
    assert len(lab_jobs(there)) == 3


def test_two_imports_at_once_both_take_effect(there: Path) -> None:
    for name in ("one", "two"):
        (there / name).write_text("".join(f"0 {n} * * * /opt/{name}-{n}.sh\n" for n in range(20)))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "homelab", "cron", "import", name], cwd=there, stderr=subprocess.DEVNULL
        )
        for name in ("one", "two", "one", "two")
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    assert len(lab_jobs(there)) == 40
    assert sorted(path.name for path in there.iterdir()) == ["crontab.txt", "lab.toml", "one", "two"]


def test_a_changed_crontab_imported_twice_at_once_is_imported_once(there: Path) -> None:
    lines = [f"0 {n} * * * /opt/task-{n}.sh\n" for n in range(20)]
    (there / "crontab.txt").write_text("".join(lines))
    homelab(there, "import", "crontab.txt")
    edited = [*lines[:5], "0 5 * * * /opt/task-five.sh\n", *lines[7:], "30 6 * * * /opt/task-6.sh\n", "@daily new\n"]
    (there / "crontab.txt").write_text("".join(edited))
    before = (there / "lab.toml").read_text()
    running = [
        subprocess.Popen([sys.executable, "-m", "homelab", "cron", "import", "crontab.txt"], cwd=there, stderr=-3)
        for _ in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    once = (there / "lab.toml").read_text()
    after = lab_jobs(there)
    assert after["task-5"]["run"] == "/opt/task-five.sh"
    assert after["new"]["run"] == "new"
    assert len(lab_jobs(there)) == 21
    (there / "lab.toml").write_text(before)
    homelab(there, "import", "crontab.txt")
    assert (there / "lab.toml").read_text() == once


def test_a_writer_killed_in_the_middle_leaves_the_lab_file_whole_and_no_lock(there: Path) -> None:
    homelab(there, "import", "crontab.txt")
    before = (there / "lab.toml").read_bytes()
    (there / "crontab.txt").write_text(CRONTAB + "@daily fresh\n")
    held = (
        "import os, sys, time\n"
        "def fsync(descriptor): print('writing', flush=True); time.sleep(60)\n"
        "os.fsync = fsync\n"
        "from homelab.cli.main import main\n"
        "main(['cron', 'import', 'crontab.txt'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", held], cwd=there, stdout=subprocess.PIPE, text=True, stderr=-3)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert len(list(there.glob(".lab.toml.*"))) == 1
    process.kill()
    process.wait()
    process.stdout.close()
    assert (there / "lab.toml").read_bytes() == before
    homelab(there, "import", "crontab.txt")
    assert "fresh" in lab_jobs(there)
    assert list(there.glob(".lab.toml.*")) == []


def test_a_run_parts_folder_is_suggested_and_imported_as_a_chain(there: Path) -> None:
    folder = there / "root/etc/cron.daily"
    folder.mkdir(parents=True)
    for name, mode in (("10-dump", 0o755), ("20-sync", 0o755), ("sweep.sh", 0o755), ("off", 0o644)):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(mode)
    (there / "sys").write_text("25 6 * * * root cd / && run-parts --report /etc/cron.daily\n")
    options = ("sys", "--system", "--root", str(there / "root"))
    found = inspect(there, *options)
    assert len(found["jobs"]) == 1
    (suggestion,) = found["suggestions"]
    assert suggestion["scripts"] == ["/etc/cron.daily/10-dump", "/etc/cron.daily/20-sync"]
    assert {hazard["message"].split()[0] for hazard in found["hazards"]} == {
        "/etc/cron.daily/sweep.sh",
        "/etc/cron.daily/off",
    }
    homelab(there, "import", *options, "--accept", "high")
    jobs = lab_jobs(there)
    assert jobs["cron-daily-20-sync"]["needs"] == [{"job": "cron-daily-10-dump", "when": "always"}]
    assert {job["cwd"] for job in jobs.values()} == {"/"}
    before = (there / "lab.toml").read_bytes()
    homelab(there, "import", *options)  # what was accepted once stays
    assert (there / "lab.toml").read_bytes() == before


def test_the_path_is_that_of_the_machines_cron(there: Path) -> None:
    (there / "usr/sbin").mkdir(parents=True)
    paths = []
    for daemon in ("cron", "crond"):
        (there / "usr/sbin" / daemon).write_text("")
        paths.append(inspect(there, "-", "--root", str(there), stdin="@daily x\n")["jobs"][0]["environment"]["PATH"])
        (there / "usr/sbin" / daemon).unlink()
    assert paths == ["/usr/bin:/bin", "/usr/bin:/bin:/usr/sbin:/sbin"]


def test_next_lists_instants_strictly_after_a_time(there: Path) -> None:
    done = homelab(there, "next", "30 2 * * *", "--timezone", "America/New_York", "--after", "2026-03-07T07:30:00Z",
                   "--count", "2", "--json")  # fmt: skip
    assert json.loads(done.stdout) == {"fires": ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]}


def test_next_of_what_cron_refuses_is_exit_2_and_says_why(there: Path) -> None:
    assert "bad minute" in homelab(there, "next", "5/15 * * * *", status=2).stderr
    assert json.loads(homelab(there, "next", "0 0 30 2 *", "--json").stdout) == {"fires": []}


def test_inspecting_250_lines_takes_less_than_a_second_of_cpu(there: Path) -> None:
    (there / "big").write_text(
        "".join(f"{n % 60} {n % 24} * * * /opt/task-{n}.sh >> /var/log/{n} 2>&1\n" for n in range(250))
    )
    before = os.times()
    assert len(inspect(there, "big")["jobs"]) == 250
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1


def units(folder: Path) -> Path:
    place = folder / "units"
    (place / "timers.target.wants").mkdir(parents=True)
    (place / "backup.timer").write_text("[Timer]\nOnCalendar=*-*-* 02:30:00\nPersistent=true\n")
    (place / "backup.service").write_text("[Service]\nType=oneshot\nExecStart=/opt/backup --to 'My Disk'\n")
    (place / "ship.timer").write_text("[Timer]\nOnCalendar=Mon *-*-1..7 04:00\nOnCalendar=03:00\n")
    (place / "ship.service").write_text(
        "[Unit]\nWants=backup.service\nAfter=backup.service\n[Service]\nExecStart=/opt/ship\n"
    )
    (place / "off.timer").write_text("[Timer]\nOnCalendar=daily\n")
    for name in ("backup.timer", "ship.timer"):
        (place / "timers.target.wants" / name).symlink_to(f"../{name}")
    return place


def test_timers_are_read_through_the_same_report_and_imported(there: Path) -> None:
    units(there)
    found = inspect(there, "--from", "systemd", "units", "--timezone", "Europe/Berlin")
    assert set(found) == {"jobs", "problems", "suggestions", "hazards"}
    assert [(j["name"], j["schedule"], j["missed"], Path(j["file"]).name) for j in found["jobs"]] == [
        ("backup", "30 2 * * *", "latest", "backup.timer"),
        ("ship", "0 3 * * *", "skip", "ship.timer"),
    ]
    codes = {(Path(p["file"]).name, p["line"], p["code"], p["severity"]) for p in found["problems"]}
    assert {("ship.timer", 2, "not-cron", "error"), ("off.timer", 1, "not-enabled", "note")} <= codes
    (order,) = [s for s in found["suggestions"] if s["kind"] == "needs"]
    assert (order["upstream"], order["downstream"], order["confidence"]) == ("backup", "ship", "high")
    homelab(there, "import", "--from", "systemd", "units", "--timezone", "Europe/Berlin")
    jobs = lab_jobs(there)
    assert jobs["backup"]["run"] == "/opt/backup --to 'My Disk'"
    assert (jobs["backup"]["missed"], jobs["backup"]["overlap"], jobs["ship"]["missed"]) == ("latest", "forbid", "skip")
    before = (there / "lab.toml").read_text()
    homelab(there, "import", "--from", "systemd", "units", "--timezone", "Europe/Berlin")
    assert (there / "lab.toml").read_text() == before


def test_the_usual_places_of_another_machine_are_found_below_its_root(there: Path) -> None:
    for folder, name, text in (
        ("lib/systemd/system", "tidy.service", "[Service]\nExecStart=/bin/tidy\n"),
        ("lib/systemd/system", "tidy.timer", "[Timer]\nOnCalendar=daily\n"),
        ("etc/systemd/system/tidy.timer.d", "time.conf", "[Timer]\nOnCalendar=\nOnCalendar=04:44\n"),
        ("home/ada/.config/systemd/user", "mine.timer", "[Timer]\nOnCalendar=hourly\n"),
        ("home/ada/.config/systemd/user", "mine.service", "[Service]\nExecStart=%h/bin/mine\n"),
        ("Library/LaunchDaemons", "a.plist", "<plist><dict><key>Program</key><string>/bin/a</string>"
         "<key>StartCalendarInterval</key><dict><key>Minute</key><integer>5</integer></dict></dict></plist>"),
        ("etc", "anacrontab", "1 5 cron.daily run-parts /etc/cron.daily\n"),
    ):  # fmt: skip
        (there / "root" / folder).mkdir(parents=True, exist_ok=True)
        (there / "root" / folder / name).write_text(text)

    enabled = there / "root/etc/systemd/system"
    (enabled / "linked.timer").symlink_to("/lib/systemd/system/tidy.timer")
    (enabled / "linked.service").symlink_to("/lib/systemd/system/tidy.service")
    (enabled / "outside.timer").symlink_to("../../../../outside.timer")
    (there / "outside.timer").write_text("[Timer]\nOnCalendar=daily\nUnit=tidy.service\n")

    def jobs(origin: str) -> list[tuple[str, str, str, str]]:
        found = inspect(there, "--from", origin, "--root", "root", "--user", "ada")
        return [(j["name"], j["schedule"], j["user"], j["command"]) for j in found["jobs"]]

    assert jobs("systemd") == [
        ("linked", "0 0 * * *", "root", "/bin/tidy"),
        ("mine", "0 * * * *", "ada", "/home/ada/bin/mine"),
        ("tidy", "44 4 * * *", "root", "/bin/tidy"),
    ]
    assert jobs("launchd") == [("a", "5 * * * *", "root", "/bin/a")]
    assert jobs("anacron") == [("cron-daily", "@daily", "ada", "run-parts /etc/cron.daily")]


def test_a_source_must_be_named_for_cron_and_must_be_there_for_the_others(there: Path) -> None:
    assert "FILE" in homelab(there, "inspect", status=2).stderr
    for origin in ("systemd", "launchd", "anacron"):
        assert "missing" in homelab(there, "inspect", "--from", origin, "missing", status=2).stderr
    assert "systemctl cat" in homelab(there, "inspect", "--from", "systemd", "-", stdin="nothing", status=2).stderr


def test_hazards_are_told_with_line_reason_and_remedy_and_never_with_the_secret(there: Path) -> None:
    root = there / "root"
    for path in ("bin/sh", "usr/bin/rsync", "opt/good.sh"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("#!/bin/sh\ncd /var/tmp/build\nrm -rf *\n" if path == "opt/good.sh" else "")
        (root / path).chmod(0o755)
    (there / "danger").write_text(
        "0 1 * * * /opt/good.sh\n"
        "5 1 * * * /opt/gone.sh > /dev/null 2>&1\n"
        "6 1 * * * /opt/gone.sh > /dev/null 2>&1\n"
        "*/2 * * * * rsync -a /a/ ada@host:/b/\n"
        "0 2 13 * 5 /opt/good.sh --password=hunter22\n"
    )
    found = inspect(there, "danger", "--root", "root", "--user", "ada")
    assert all(set(hazard) == {"line", "code", "message", "hint"} for hazard in found["hazards"])
    assert [(hazard["line"], hazard["code"]) for hazard in found["hazards"]] == [
        (1, "unchecked-cd"),
        (2, "missing-script"),
        (2, "output-lost"),
        (3, "missing-script"),
        (3, "output-lost"),
        (4, "no-lock"),
        (5, "unchecked-cd"),
        (5, "secret"),
        (5, "either-day"),
    ]
    shown = homelab(there, "inspect", "danger", "--root", "root", "--user", "ada").stderr
    assert "danger:2,3: what it prints is thrown away" in shown
    assert "hunter22" not in shown
    assert not (there / "var").exists()


def test_a_hostile_crontab_is_examined_in_time(there: Path) -> None:
    deep = "$(" * 1000 + "true" + ")" * 1000
    lines = [f"{n % 60} * * * * /opt/job{n}.sh > /dev/null 2>&1; echo {n}" for n in range(257)]
    lines += [f"0 1 * * * echo {deep}", "0 1 * * * " + "a" * 100_000, "0 1 * * * rm -rf " + "$X/" * 5000]
    (there / "hostile").write_bytes("\n".join(lines).encode() + b"\n0 1 * * * echo \xff\xfe\n")
    before = os.times()
    found = inspect(there, "hostile")
    after = os.times()
    assert after.children_user - before.children_user < 5
    assert len(found["jobs"]) == 261
    assert {hazard["code"] for hazard in found["hazards"]} >= {"output-lost", "failure-hidden"}


def test_what_timers_of_different_files_need_of_each_other_is_suggested_with_their_texts(there: Path) -> None:
    (there / "u").mkdir()
    for name, time, command in (
        ("dump", "02:00", "/bin/sh -c 'pg_dump app > /b/app.sql'"),
        ("ship", "02:30", "/usr/bin/rclone copy /b/app.sql remote:db"),
    ):
        (there / "u" / f"{name}.timer").write_text(f"[Timer]\nOnCalendar={time}\n")
        (there / "u" / f"{name}.service").write_text(f"[Service]\nType=oneshot\nExecStart={command}\n")
    (found,) = inspect(there, "--from", "systemd", "u")["suggestions"]
    assert (found["upstream"], found["downstream"], found["confidence"]) == ("dump", "ship", "high")
    assert "pg_dump app > /b/app.sql" in found["evidence"]
    assert Path(found["upstream_file"]).name == "dump.timer"


LOG = """\
Mar 28 02:30:01 nas CRON[11]: (ada) CMD (/opt/bin/backup-db.sh --full)
Mar 28 02:30:01 nas CRON[11]: (CRON) info (No MTA installed, discarding output)
Mar 28 02:35:01 nas CRON[12]: (ada) CMD (/opt/bin/check.sh web)
Mar 28 02:40:01 nas CRON[13]: (ada) CMD (/opt/bin/check.sh web)
Mar 28 02:42:17 nas CRON[14]: (ada) CMD (/opt/bin/check.sh web)
Mar 28 02:45:01 nas CRON[15]: (root) CMD (run-parts /etc/cron.hourly)
Mar 28 02:50:02 nas CRON[16]: (ada) CMD (/opt/bin/check.sh web)
Mar 28 02:52:00 nas sshd[17]: session opened
"""


def test_compare_tells_minute_by_minute_what_only_one_of_them_ran(there: Path) -> None:
    homelab(there, "import", "crontab.txt", "--user", "ada", "--shadow")
    assert all(job["shadow"] for job in lab_jobs(there).values())
    (there / "syslog").write_text(LOG)
    asked = ("compare", "--log", "syslog", "--since", "2026-03-28", "--timezone", "UTC")
    found = json.loads(homelab(there, *asked, "--json").stdout)
    assert found["matched"] == 4
    assert found["jobs"] == {"backup-db": 1, "check-web": 3}
    assert found["only_cron"] == [
        {"time": "2026-03-28T02:42:17Z", "user": "ada", "command": "/opt/bin/check.sh web", "job": "check-web"},
        {"time": "2026-03-28T02:45:01Z", "user": "root", "command": "run-parts /etc/cron.hourly", "job": None},
    ]
    assert [(run["job"], run["due"]) for run in found["only_lab"]] == [
        ("check-web", "2026-03-28T02:30:00Z"),
        ("check-web", "2026-03-28T02:45:00Z"),
    ]
    assert (found["since"], found["until"]) == ("2026-03-28T02:30:00Z", "2026-03-28T02:52:00Z")
    said = homelab(there, *asked, "--user", "ada").stderr
    assert "they differ: 4 runs in both, 1 only cron, 2 only lab" in said
    only = homelab(there, *asked, "--crontab", "crontab.txt", "--user", "ada", "--json")
    assert json.loads(only.stdout)["matched"] == 4


def test_compare_reads_rotated_logs_in_order_and_refuses_what_is_no_log(there: Path) -> None:
    import gzip

    (there / "lab.toml").write_text('[jobs.a]\nschedule = "0 * * * *"\nrun = "a"\nuser = "ada"\n')
    line = "2026-03-28T{}:00:01+00:00 nas CRON[1]: (ada) CMD (a)\n"
    (there / "log.1").write_text(line.format("03"))
    (there / "log").write_text(line.format("04"))
    (there / "log.2.gz").write_bytes(gzip.compress(line.format("02").encode()))
    logs = [word for name in ("log", "log.1", "log.2.gz") for word in ("--log", name)]
    found = json.loads(homelab(there, "compare", *logs, "--since", "2026-03-01", "--json").stdout)
    assert (found["matched"], found["only_cron"], found["only_lab"]) == (3, [], [])
    (there / "text").write_text("no log\n")
    assert "no line of the log" in homelab(there, "compare", "--log", "text", status=2).stderr
    assert "neither a time nor an age" in homelab(there, "compare", "--since", "soon", status=2).stderr
