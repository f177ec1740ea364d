"""Timers, property lists and anacron's table as jobs: what is taken over, what is said, what is refused."""

import plistlib
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.schedule import parse
from homelab.core.timers import (
    Found,
    Machine,
    Order,
    TimerJob,
    UnitText,
    read_anacrontab,
    read_plist,
    read_units,
    split_cat,
    units_of,
)

MACHINE = Machine(timezone="Europe/Berlin", owner="ada", accounts={"ada": "/home/ada", "root": "/root", "web": "/srv"})
TIMER = "[Timer]\nOnCalendar=*-*-* 02:30:00\nPersistent=true\n"
SERVICE = "[Service]\nType=oneshot\nExecStart=/opt/backup --full\n"


def unit(name: str, *texts: str, user: bool = False, enabled: bool | None = None) -> UnitText:
    named = [(f"/u/{name}", texts[0]), *((f"/u/{name}.d/{n}.conf", text) for n, text in enumerate(texts[1:]))]
    return UnitText(name=name, texts=tuple(named), is_user=user, is_enabled=enabled)


def systemd(timer: str, service: str = SERVICE, **options: Any) -> tuple[list[TimerJob], dict[str, str]]:
    """The jobs of one timer and its service, and problems by code."""
    founds, _ = read_units(
        [unit("backup.timer", timer, **options), unit("backup.service", service, **options)], MACHINE
    )
    return jobs_of(founds), codes_of(founds)


def jobs_of(founds: list[Found]) -> list[TimerJob]:
    return [job for found in founds for job in found.jobs]


def codes_of(founds: list[Found]) -> dict[str, str]:
    return {p.code: f"{p.severity}:{p.line}: {p.message} {p.hint}" for found in founds for p in found.problems}


# --- systemd ----------------------------------------------------------------------------------------------------------


def test_a_timer_with_its_service_is_a_job_that_makes_up_for_the_last_missed_run() -> None:
    (job,), problems = systemd(TIMER)
    assert (job.name, job.line, job.schedule, job.timezone) == ("backup", 2, "30 2 * * *", "Europe/Berlin")
    assert (job.command, job.user, job.cwd, job.missed, job.overlap) == (
        "/opt/backup --full",
        "root",
        "/",
        "latest",
        "forbid",
    )
    assert job.environment["HOME"] == "/root"
    assert "/usr/local/sbin" in job.environment["PATH"]
    assert problems == {}


def test_a_user_manager_runs_as_its_user_in_the_home_folder() -> None:
    service = "[Service]\nExecStart=%h/bin/sync %u\nWorkingDirectory=~\n"
    (job,), _ = systemd("[Timer]\nOnCalendar=hourly\n", service, user=True)
    assert (job.user, job.cwd, job.command, job.missed) == ("ada", "/home/ada", "/home/ada/bin/sync ada", "skip")


def test_each_calendar_line_is_a_job_of_its_own() -> None:
    jobs, _ = systemd("[Timer]\nOnCalendar=Mon..Fri 08:00\nOnCalendar=Sat 10:00 UTC\n")
    assert [(j.name, j.schedule, j.timezone) for j in jobs] == [
        ("backup", "0 8 * * 1-5", "Europe/Berlin"),
        ("backup-2", "0 10 * * 6", "UTC"),
    ]


def test_drop_ins_are_applied_and_an_empty_value_takes_back_all_times() -> None:
    timer = unit(
        "backup.timer", "[Timer]\nOnBootSec=5min\nOnCalendar=daily\n", "[Timer]\nOnCalendar=\nOnCalendar=weekly\n"
    )
    service = unit("backup.service", SERVICE, "[Service]\nExecStart=\nExecStart=/opt/other\nUser=web\n")
    founds, _ = read_units([timer, service], MACHINE)
    (job,) = jobs_of(founds)
    assert (job.schedule, job.command, job.user, job.line) == ("0 0 * * 1", "/opt/other", "web", 1)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("OnCalendar=*:*:30", "seconds"),
        ("OnCalendar=2027-05-01", "years"),
        ("OnCalendar=Mon *-*-1..7", "either one"),
        ("OnUnitInactiveSec=10min", "end of the last run"),
        ("OnUnitActiveSec=45s", "seconds"),
        ("OnUnitActiveSec=2d", "evenly"),
        ("OnActiveSec=5min", "switched on"),
    ],
)
def test_what_cron_cannot_express_is_an_error_and_no_job(line: str, why: str) -> None:
    jobs, problems = systemd(f"[Timer]\n{line}\n")
    assert jobs == []
    assert problems["not-cron"].startswith("error:2:")
    assert why in problems["not-cron"]


def test_a_good_calendar_stays_beside_a_bad_one() -> None:
    jobs, problems = systemd("[Timer]\nOnCalendar=nonsense\nOnCalendar=daily\n")
    assert [job.line for job in jobs] == [3]
    assert "error:2" in problems["bad-schedule"]


def test_an_interval_becomes_a_schedule_of_the_clock_and_that_is_said() -> None:
    (job,), problems = systemd("[Timer]\nOnBootSec=10min\nOnUnitActiveSec=15min\n")
    assert (job.schedule, job.missed) == ("*/15 * * * *", "skip")
    assert "*/15 * * * *" in problems["interval"]


def test_a_time_after_boot_alone_is_a_reboot_job_that_waits() -> None:
    (job,), _ = systemd("[Timer]\nOnBootSec=2min\nPersistent=true\n")
    assert (job.schedule, job.command, job.missed) == ("@reboot", "sleep 120 && /opt/backup --full", "skip")


def test_what_the_lab_does_otherwise_is_said() -> None:
    service = SERVICE + "TimeoutStartSec=1h\nEnvironmentFile=/etc/backup.env\nNice=19\nPrivateTmp=yes\n"
    _, problems = systemd(TIMER + "RandomizedDelaySec=1h\n", "[Unit]\nConditionACPower=true\n" + service)
    assert "1h late" in problems["random-delay"]
    assert "/etc/backup.env" in problems["environment-file"]
    assert "`timeout`" in problems["lab-setting"]
    assert "ConditionACPower=" in problems["condition"]
    assert "Nice=, PrivateTmp=" in problems["not-taken-over"]


def test_a_template_runs_for_its_instances_only() -> None:
    service = "[Service]\nUser=web\nExecStart=/opt/dump %i %I %p %n\n"
    texts = [
        unit("dump@.timer", TIMER),
        unit("dump@17-main.timer", TIMER, enabled=True),
        unit("dump@17-main.service", service),
    ]
    founds, _ = read_units(texts, MACHINE)
    (job,) = jobs_of(founds)
    assert (job.name, job.command) == ("dump-17-main", "/opt/dump 17-main 17/main dump dump@17-main.service")
    assert "template" in codes_of(founds)


def test_a_timer_that_is_not_enabled_is_no_job() -> None:
    jobs, problems = systemd(TIMER, enabled=False)
    assert jobs == []
    assert "not enabled" in problems["not-enabled"]


def test_what_is_no_unit_is_one_note_however_long_it_is() -> None:
    founds, _ = read_units([unit("masked.timer", ""), unit("odd.timer", "x\n" * 5000)], MACHINE)
    assert [(f.file, [p.code for p in f.problems]) for f in founds] == [
        ("/u/masked.timer", ["no-unit"]),
        ("/u/odd.timer", ["ignored-line", "no-unit"]),
    ]


def test_a_timer_without_its_service_is_an_error() -> None:
    founds, _ = read_units([unit("backup.timer", TIMER + "Unit=other.service\n")], MACHINE)
    assert codes_of(founds)["no-service"].startswith("error:4:")


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        ("ExecStart=/bin/a\nExecStart=/bin/b", "/bin/a && /bin/b"),
        ("ExecStart=-/bin/a\nExecStart=/bin/b", "{ /bin/a || :; } && /bin/b"),
        ("ExecStartPre=/bin/p\nExecStart=/bin/a x ; /bin/b", "/bin/p && /bin/a x && /bin/b"),
        ("ExecCondition=/bin/c\nExecStart=/bin/a", "if /bin/c; then /bin/a; fi"),
        ("ExecStart=/bin/a 'one two' \"three\" fo\\x20ur", "/bin/a 'one two' three 'fo ur'"),
        ("ExecStart=/bin/a $X ${Y}z $$5 *.gz", "/bin/a $X \"${Y}\"z '$5' '*.gz'"),
        ("ExecStart=:/bin/a $X ${Y}", "/bin/a '$X' '${Y}'"),
        ("ExecStart=@/bin/a shown real", "/bin/a real"),
        ("ExecStart=/bin/a \\\n  # no argument\n  b", "/bin/a b"),
        ("ExecStart=/bin/a\nStandardOutput=append:/var/log/a b", "/bin/a 1>>'/var/log/a b' 2>&1"),
        ("ExecStart=/bin/a\nExecStart=/bin/b\nStandardOutput=null", "{ /bin/a && /bin/b; } 1>/dev/null 2>&1"),
    ],
)
def test_exec_lines_become_one_command_for_the_shell(lines: str, command: str) -> None:
    (job,), _ = systemd(TIMER, f"[Service]\nType=oneshot\n{lines}\n")
    assert job.command == command


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=8))
)
def test_arguments_reach_the_program_as_systemd_would_hand_them_over(arguments: list[str]) -> None:
    quoted = [
        '"' + a.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%") + '"' for a in arguments
    ]
    (job,), _ = systemd(TIMER, "[Service]\nExecStart=/bin/printf " + " ".join(quoted) + "\n")
    assert shlex.split(job.command)[1:] == arguments


def test_the_command_does_what_the_service_says_when_a_real_shell_runs_it() -> None:
    service = (
        "[Service]\nType=oneshot\nEnvironment=\"WORDS=a b\" 'ONE=c d'\n"
        "ExecStart=-/bin/false\nExecStart=/usr/bin/printf [%%s] $WORDS ${ONE} '$$x' \"q'q\"\n"
    )
    (job,), _ = systemd(TIMER, service)
    done = subprocess.run(["/bin/sh", "-c", job.command], env=dict(job.environment), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[a][b][c d][$x][q'q]")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("ExecStart=/bin/a 'open", "bad-command"),
        ("ExecStart=/bin/a %H", "specifier"),
        ("ExecStart=/bin/a\nDynamicUser=yes", "dynamic-user"),
        ("User=web", "no-command"),
    ],
)
def test_a_service_that_cannot_be_a_job_is_an_error_of_its_timer(lines: str, code: str) -> None:
    jobs, problems = systemd(TIMER, f"[Service]\n{lines}\n")
    assert jobs == []
    assert problems[code].startswith("error:")
    assert "backup.service:" in problems[code]


def orders(first: str, second: str, second_time: str = "*-*-* 02:30:00") -> list[Order]:
    units = [
        unit("dump.timer", TIMER),
        unit("dump.service", first + SERVICE),
        unit("ship.timer", f"[Timer]\nOnCalendar={second_time}\n"),
        unit("ship.service", second + SERVICE),
    ]
    return read_units(units, MACHINE)[1]


def test_services_that_wait_for_each_other_are_suggested_with_the_line_that_says_so() -> None:
    (order,) = orders("", "[Unit]\nRequires=dump.service\nAfter=network.target dump.service\n")
    assert (order.upstream.name, order.downstream.name, order.confidence) == ("dump", "ship", "high")
    assert (order.file, order.line, order.text) == ("/u/ship.service", 3, "After=network.target dump.service")
    (before,) = orders("[Unit]\nBefore=ship.service\n", "")
    assert (before.upstream.name, before.downstream.name, before.confidence) == ("dump", "ship", "medium")
    (apart,) = orders("", "[Unit]\nAfter=dump.service\n", second_time="12:00")
    assert apart.confidence == "low"


def test_an_order_in_both_directions_is_none() -> None:
    assert orders("[Unit]\nAfter=ship.service\n", "[Unit]\nAfter=dump.service\n") == []


def test_the_output_of_systemctl_cat_is_read_with_the_lines_of_its_files() -> None:
    text = (
        f"# /etc/systemd/system/backup.timer\n{TIMER}\n"
        f"# /etc/systemd/system/backup.service\n{SERVICE}\n"
        "# /etc/systemd/system/backup.service.d/user.conf\n[Service]\nUser=web\n"
    )
    founds, _ = read_units(units_of(split_cat(text)), MACHINE)
    (job,) = jobs_of(founds)
    assert (job.line, job.user, founds[0].file) == (2, "web", "/etc/systemd/system/backup.timer")


@given(st.text("[]=\\\n#;TimerOnCalendarExecStart/bin/ %$'\"\x00é*-:0", max_size=200))
def test_no_text_of_units_breaks_the_reader(text: str) -> None:
    for timer, service in ((text, SERVICE), (TIMER, text), (TIMER, "[Service]\nExecStart=" + text)):
        read_units([unit("a.timer", timer), unit("a.service", service)], MACHINE)


# --- launchd ----------------------------------------------------------------------------------------------------------

PLIST: dict[str, Any] = {
    "Label": "com.example.backup",
    "ProgramArguments": ["/usr/local/bin/backup", "--to", "/Volumes/My Disk"],
    "StartCalendarInterval": {"Hour": 2, "Minute": 30},
}


def launchd(*, is_daemon: bool = False, xml: bool = True, **changes: Any) -> tuple[list[TimerJob], dict[str, str]]:
    content = {k: v for k, v in {**PLIST, **changes}.items() if v is not None}
    data = plistlib.dumps(content, fmt=plistlib.FMT_XML if xml else plistlib.FMT_BINARY, sort_keys=False)
    machine = Machine(timezone="America/New_York", owner="ada", accounts={})
    found = read_plist(data, file="/Users/ada/Library/LaunchAgents/x.plist", machine=machine, is_daemon=is_daemon)
    return list(found.jobs), codes_of([found])


def test_a_property_list_is_a_job_in_both_formats() -> None:
    (job,), problems = launchd()
    assert (job.name, job.schedule, job.timezone, job.line) == ("backup", "30 2 * * *", "America/New_York", 13)
    assert job.command == "/usr/local/bin/backup --to '/Volumes/My Disk'"
    assert (job.user, job.environment["HOME"], job.cwd) == ("ada", "/Users/ada", "/")
    assert (job.missed, job.overlap, problems) == ("latest", "forbid", {})
    (binary,), _ = launchd(xml=False)
    assert (binary.command, binary.schedule, binary.line) == (job.command, job.schedule, 1)


@pytest.mark.parametrize(
    ("intervals", "schedules"),
    [
        ([{"Hour": 8, "Minute": 0, "Weekday": day} for day in (1, 2, 3, 4, 5)], ["0 8 * * 1-5"]),
        ([{"Minute": minute} for minute in (0, 15, 30, 45)], ["*/15 * * * *"]),
        ({"Day": 1, "Weekday": 1, "Hour": 9, "Minute": 0}, ["0 9 1 * 1"]),
        ({"Weekday": 7, "Hour": 9, "Minute": 0}, ["0 9 * * 0"]),
        ({"Month": 12, "Day": 24, "Hour": 18, "Minute": 5}, ["5 18 24 12 *"]),
        ([{"Hour": 8, "Minute": 0}, {"Hour": 20, "Minute": 30}], ["0 8 * * *", "30 20 * * *"]),
        ([{"Day": 1, "Hour": 3, "Minute": 0}, {"Weekday": 1, "Hour": 3, "Minute": 0}], ["0 3 1 * *", "0 3 * * 1"]),
    ],
)
def test_calendar_intervals_become_as_few_schedules_as_possible(intervals: Any, schedules: list[str]) -> None:
    jobs, _ = launchd(StartCalendarInterval=intervals)
    assert [job.schedule for job in jobs] == schedules


def test_day_and_weekday_together_mean_either_as_in_a_crontab() -> None:
    (job,), _ = launchd(StartCalendarInterval={"Day": 13, "Weekday": 5, "Hour": 0, "Minute": 0})
    assert parse(job.schedule).either_day


def test_a_missing_minute_is_every_minute_and_that_is_said() -> None:
    (job,), problems = launchd(StartCalendarInterval={"Hour": 3})
    assert job.schedule == "* 3 * * *"
    assert "each minute" in problems["every-minute"]


def test_an_interval_is_not_made_up_for_and_a_load_is_a_reboot() -> None:
    jobs, problems = launchd(StartCalendarInterval=None, StartInterval=3600, RunAtLoad=True)
    assert [(job.name, job.schedule, job.missed) for job in jobs] == [
        ("backup", "0 * * * *", "skip"),
        ("backup-2", "@reboot", "skip"),
    ]
    assert {"interval", "at-login"} <= problems.keys()
    assert launchd(StartCalendarInterval=None, StartInterval=100)[1]["not-cron"].startswith("error:")


def test_a_daemon_runs_as_root_or_whom_it_names() -> None:
    (job,), _ = launchd(is_daemon=True)
    assert (job.user, job.environment["HOME"]) == ("root", "/var/root")
    (job,), _ = launchd(is_daemon=True, UserName="web", WorkingDirectory="/srv", EnvironmentVariables={"A": "b c"})
    assert (job.user, job.cwd, job.environment["A"]) == ("web", "/srv", "b c")


def test_where_the_output_goes_is_part_of_the_command() -> None:
    (job,), _ = launchd(
        Program="/bin/x", ProgramArguments=["x", "y"], StandardOutPath="/dev/null", StandardErrorPath="/dev/null"
    )
    assert job.command == "/bin/x y > /dev/null 2>&1"
    (job,), _ = launchd(ProgramArguments=["x"], StandardOutPath="/tmp/o", StandardErrorPath="/tmp/e")
    assert job.command == "x >> /tmp/o 2>> /tmp/e"


def test_a_disabled_job_is_marked() -> None:
    (job,), problems = launchd(Disabled=True)
    assert job.flags == ("disabled",)
    assert "disabled" in problems


@pytest.mark.parametrize(
    "changes",
    [
        {"StartCalendarInterval": {"Hour": 25}},
        {"StartCalendarInterval": "daily"},
        {"StartCalendarInterval": None},
        {"StartCalendarInterval": {"Hours": 2}},
        {"ProgramArguments": None},
        {"StartCalendarInterval": None, "StartInterval": "60"},
    ],
)
def test_a_list_that_makes_no_job_says_why(changes: dict[str, Any]) -> None:
    jobs, problems = launchd(**changes)
    assert jobs == []
    assert any(text.startswith("error:") for text in problems.values())


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: b"bplist00" + tail))
def test_no_bytes_break_the_reader_of_property_lists(data: bytes) -> None:
    found = read_plist(data, file="x", machine=MACHINE, is_daemon=False)
    assert found.problems


def test_a_property_list_made_to_exhaust_the_reader_is_refused() -> None:
    deep = b"<plist><dict>" + b"<key>a</key><array>" * 50_000
    bomb = (
        b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><plist><string>&b;</string></plist>'
    )
    for data in (deep, bomb, b"x" * 2_000_000, plistlib.dumps([1])):
        (problem,) = read_plist(data, file="x", machine=MACHINE, is_daemon=False).problems
        assert problem.code == "bad-plist"


# --- anacron ----------------------------------------------------------------------------------------------------------

ANACRONTAB = """\
# the machine's jobs
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/bin
MAILTO=ada
1\t5\tcron.daily\trun-parts --report /etc/cron.daily
7 10 cron.weekly run-parts \\
  /etc/cron.weekly
@monthly 15 cron.monthly run-parts /etc/cron.monthly
"""


def anacron(text: str) -> tuple[list[TimerJob], dict[str, str]]:
    found = read_anacrontab(text, file="anacrontab", machine=Machine(owner="root", accounts={}))
    return list(found.jobs), codes_of([found])


def test_anacrons_table_is_read_with_its_variables() -> None:
    jobs, _ = anacron(ANACRONTAB)
    assert [(j.name, j.line, j.schedule) for j in jobs] == [
        ("cron-daily", 5, "@daily"),
        ("cron-weekly", 6, "@weekly"),
        ("cron-monthly", 8, "@monthly"),
    ]
    assert {j.missed for j in jobs} == {"latest"}
    assert jobs[0].environment == {
        "SHELL": "/bin/sh",
        "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/bin",
        "MAILTO": "ada",
        "HOME": "/root",
        "LOGNAME": "root",
    }
    assert (jobs[1].command, jobs[1].cwd, jobs[1].mailto) == ("run-parts   /etc/cron.weekly", "/", "ada")


def test_hours_of_start_and_delays_make_the_time_of_day() -> None:
    jobs, problems = anacron("START_HOURS_RANGE=3-22\nRANDOM_DELAY=45\n1 5 a x\n7 25 b y\n@monthly 70 c z\n")
    assert [job.schedule for job in jobs] == ["5 3 * * *", "25 3 * * 0", "10 4 1 * *"]
    assert {"hours-range", "random-delay"} <= problems.keys()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("3 5 x cmd", "not-cron"),
        ("@fortnight 5 x cmd", "bad-period"),
        ("1 5m x cmd", "bad-delay"),
        ("1 5 x", "bad-line"),
    ],
)
def test_a_line_that_is_no_job_of_cron_is_an_error_with_its_line(line: str, code: str) -> None:
    jobs, problems = anacron("A=b\n" + line + "\n1 0 good cmd\n")
    assert [job.name for job in jobs] == ["good"]
    assert problems[code].startswith("error:2:")


@given(st.text("0123456789@daily \t\n\\=AZaz#'\"\x00é", max_size=200))
def test_no_text_breaks_the_reader_of_anacrons_table(text: str) -> None:
    anacron(text)
