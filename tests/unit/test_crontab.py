"""Crontabs: what each line becomes, with what around it, and what is said about it."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.core.crontab import CronJob, ParsedCrontab, parse, split_command
from homelab.core.crontab.lines import read_assignment
from homelab.core.schedule import ScheduleError


def read(text: str, **options: object) -> ParsedCrontab:
    return parse(text, **{"user": "ada", "home": "/home/ada", **options})  # type: ignore[arg-type]


def only(text: str, **options: object) -> CronJob:
    (job,) = read(text, **options).jobs
    return job


def codes(parsed: ParsedCrontab, severity: str = "") -> list[tuple[int, str]]:
    return [(p.line, p.code) for p in parsed.problems if severity in ("", p.severity)]


# --- assignments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=b", ("A", "b")),
        ("A = b c  ", ("A", "b c")),
        ("A\t=\tb", ("A", "b")),
        ('A="b c "', ("A", "b c ")),
        ("A = ' b'  ", ("A", " b")),
        ('"A B" = c', ("A B", "c")),
        ("A=", ("A", "")),
        ("A =   ", ("A", "")),
        ('A=""', ("A", "")),
        ("A=$HOME/bin:$PATH", ("A", "$HOME/bin:$PATH")),
        ('A=it"s', ("A", 'it"s')),
        ("A=b # c", ("A", "b # c")),
        ("A==b", ("A", "=b")),
        ('A="b" c', None),
        ('A="b', None),
        ("A b=c", None),
        ('"A=b"=c', None),
        ("* * * * * A=b cmd", None),
        ("A", None),
        ('"', None),
    ],
)
def test_an_assignment_is_what_cron_takes_for_one(line: str, expected: tuple[str, str] | None) -> None:
    assert read_assignment(line) == expected


def test_an_assignment_holds_for_the_lines_below_it_until_it_is_changed() -> None:
    jobs = read("0 1 * * * a\nX=1\n0 2 * * * b\nX=2\n0 3 * * * c\n").jobs
    assert [job.environment.get("X") for job in jobs] == [None, "1", "2"]


def test_a_job_has_the_environment_cron_gives_it() -> None:
    job = only("0 1 * * * x\n")
    assert job.environment == {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "HOME": "/home/ada", "LOGNAME": "ada"}
    assert (job.shell, job.cwd, job.user, job.mailto) == ("/bin/sh", "/home/ada", "ada", None)


def test_shell_home_and_path_can_be_changed_and_the_account_cannot() -> None:
    parsed = read("SHELL=/bin/bash\nHOME=/srv\nPATH=/opt/bin\nLOGNAME=eve\nUSER=eve\n0 1 * * * x\n")
    (job,) = parsed.jobs
    assert (job.shell, job.cwd, job.environment["PATH"]) == ("/bin/bash", "/srv", "/opt/bin")
    assert (job.environment["LOGNAME"], job.environment["USER"]) == ("ada", "ada")
    assert codes(parsed, "warning") == [(4, "fixed-variable"), (5, "fixed-variable")]


@pytest.mark.parametrize(
    ("line", "mailto"), [("MAILTO=ops@example.com", "ops@example.com"), ('MAILTO=""', ""), ("MAILTO=", "")]
)
def test_mailto_is_the_address_or_empty_for_nobody(line: str, mailto: str) -> None:
    job = only(f"{line}\n0 1 * * * x\n")
    assert (job.mailto, job.environment["MAILTO"]) == (mailto, mailto)


def test_cron_tz_is_the_zone_of_the_lines_below_and_empty_takes_it_back() -> None:
    jobs = read("0 1 * * * a\nCRON_TZ=Asia/Tokyo\n0 1 * * * b\nCRON_TZ=\n0 1 * * * c\n", timezone="Europe/Oslo").jobs
    assert [job.timezone for job in jobs] == ["Europe/Oslo", "Asia/Tokyo", "Europe/Oslo"]


@pytest.mark.parametrize(
    ("value", "zone"), [("Mars/Base", "UTC"), ("UTC-3", "Etc/GMT-3"), (":Europe/Oslo", "Europe/Oslo")]
)
def test_a_zone_is_understood_as_the_c_library_does(value: str, zone: str) -> None:
    parsed = read(f"CRON_TZ={value}\n0 1 * * * a\n")
    assert parsed.jobs[0].timezone == zone
    assert ((1, "unknown-zone") in codes(parsed)) == (value == "Mars/Base")


def test_tz_alone_moves_no_schedule_and_is_remarked_on() -> None:
    parsed = read("TZ=Asia/Tokyo\n0 1 * * * a\n")
    assert parsed.jobs[0].timezone == "UTC"
    assert codes(parsed) == [(1, "tz-is-no-schedule")]


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "command", "stdin"),
    [
        ("date +\\%F", "date +%F", None),
        ("mail -s hi%Dear you,%%bye", "mail -s hi", "Dear you,\n\nbye\n"),
        ("cat%", "cat", ""),
        ("cat%a%", "cat", "a\n"),
        ("cat%50\\% off", "cat", "50% off\n"),
        ("a\\\\%b", "a\\\\", "b\n"),
        ("a\\nb", "a\\nb", None),
        ("cat%a\\b", "cat", "a\\b\n"),
        ("cat%\\", "cat", "\\"),
        ("  ", "  ", None),
    ],
)
def test_percent_signs_split_the_command_from_its_input(text: str, command: str, stdin: str | None) -> None:
    assert split_command(text) == (command, stdin)


def test_blanks_between_fields_do_not_matter_and_blanks_in_the_command_stay() -> None:
    job = only("  0\t1  *  * *   echo  a  b \n")
    assert (job.schedule, job.command) == ("0 1 * * *", "echo  a  b ")


def test_names_stand_for_fields_and_keep_their_name() -> None:
    assert [job.schedule for job in read("@daily a\n@reboot   b\n@midnight\tc\n").jobs] == [
        "@daily",
        "@reboot",
        "@midnight",
    ]


def test_the_option_n_is_a_flag_and_not_the_command() -> None:
    job = only("0 1 * * * -n backup\n")
    assert (job.command, job.flags) == ("backup", ("-n",))


@pytest.mark.parametrize("command", ["-q x", "-s x", "-n -n x", "-nx", "-n", "-"])
def test_other_options_are_refused(command: str) -> None:
    parsed = read(f"0 1 * * * {command}\n")
    assert parsed.jobs == ()
    assert codes(parsed, "error")[0][0] == 1


def test_only_root_and_the_system_may_switch_the_log_off() -> None:
    assert only("-0 1 * * * x\n", user="root").flags == ("-",)
    assert only("-@daily root x\n", system=True).flags == ("-",)
    assert codes(read("-0 1 * * * x\n"), "error") == [(1, "bad-option")]


# --- bad lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("61 * * * * x", 1),
        ("  * 25 * * * x", 5),
        ("* * * * *", 10),
        ("* * * *", 8),
        ("* * * * * * x", 11),
        ("@weekly", 8),
        ("@fortnightly x", 1),
        ("run at noon", 1),
        ("A='b' c", 1),
        ("0 1 * * * a\0b", 12),
    ],
)
def test_a_bad_line_is_a_problem_with_its_column_and_costs_no_other(line: str, column: int) -> None:
    parsed = read(f"0 1 * * * a\n\n{line}\n0 2 * * * b\n")
    assert [job.line for job in parsed.jobs] == [1, 4]
    assert [(p.line, p.column) for p in parsed.problems if p.severity == "error"] == [(3, column)]


def test_a_last_line_without_newline_is_kept_with_a_warning() -> None:
    parsed = read("0 1 * * * a\n0 2 * * * b")
    assert [job.command for job in parsed.jobs] == ["a", "b"]
    assert codes(parsed) == [(2, "no-final-newline")]
    assert codes(read("0 1 * * * a\n# end")) == []


def test_windows_line_ends_are_read_with_one_warning() -> None:
    parsed = read('A="x"\r\n\r\n0 1 * * * a\r\n')
    assert (parsed.jobs[0].command, parsed.jobs[0].environment["A"]) == ("a", "x")
    assert codes(parsed) == [(1, "carriage-return")]


def test_a_byte_order_mark_is_dropped_with_a_warning() -> None:
    parsed = read("\ufeff0 1 * * * a\n")
    assert parsed.jobs[0].schedule == "0 1 * * *"
    assert codes(parsed) == [(1, "byte-order-mark")]


def test_a_command_that_cron_would_cut_is_refused() -> None:
    assert len(read(f"0 1 * * * {'x' * 131_071}\n").jobs) == 1
    assert codes(read(f"0 1 * * * {'x' * 131_072}\n"), "error") == [(1, "too-long")]
    assert codes(read("x" * 5_000_000), "error") == [(1, "too-long")]
    assert codes(read(f"0 1 * * * {'x' * 2000}\n")) == [(1, "debian-too-long")]


def test_a_schedule_that_is_never_due_is_a_job_with_a_warning() -> None:
    parsed = read("0 0 30 2 * x\n")
    assert (len(parsed.jobs), codes(parsed)) == (1, [(1, "odd-schedule")])


def test_comments_end_nothing_and_start_only_lines() -> None:
    parsed = read("# one\n   # two\n0 1 * * * a # three\n")
    assert [job.command for job in parsed.jobs] == ["a # three"]


def test_an_unknown_zone_of_the_machine_is_an_error_of_the_caller() -> None:
    with pytest.raises(ScheduleError):
        read("0 1 * * * a\n", timezone="Nowhere/Else")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("CRON_TZ=Asia/Tokyo", "debian-cron-tz"),
        ("MAILTO=", "debian-empty-value"),
        ("A='b '", "debian-trims"),
        ("-0 1 * * * x", "debian-no-log"),
        ("0 1 * * * -n x", "debian-option"),
        ("0~9 1 * * * x", "random-time"),
    ],
)
def test_where_debians_cron_differs_the_line_has_a_note(line: str, code: str) -> None:
    assert codes(read(f"{line}\n", user="root"), "note") == [(1, code)]


# --- system crontabs --------------------------------------------------------------------------------------------------


def test_a_system_crontab_has_the_user_before_the_command() -> None:
    accounts = {"root": "/root", "www": "/var/www"}
    jobs = read("0 1 * * * root  a b\n0 2 * * *\twww\tc\n", system=True, accounts=accounts).jobs
    assert [(j.user, j.command, j.cwd, j.environment["LOGNAME"]) for j in jobs] == [
        ("root", "a b", "/root", "root"),
        ("www", "c", "/var/www", "www"),
    ]


def test_a_user_without_a_command_is_refused_in_a_system_crontab() -> None:
    assert codes(read("0 1 * * * root\n", system=True)) == [(1, "no-command")]


def test_reading_the_wrong_kind_is_remarked_on_with_the_remedy() -> None:
    as_user = read("0 1 * * * root /usr/bin/a\n0 2 * * * root /usr/bin/b\n")
    assert codes(as_user) == [(1, "user-column")]
    assert "--system" in as_user.problems[0].hint
    as_system = read("0 1 * * * /usr/bin/a all\n", system=True)
    assert codes(as_system) == [(1, "no-user-column")]
    assert "--system" in as_system.problems[0].hint


def test_a_user_the_machine_does_not_have_is_remarked_on() -> None:
    parsed = read("0 1 * * * bob a\n", system=True, accounts={"root": "/root"})
    assert (len(parsed.jobs), codes(parsed)) == (1, [(1, "unknown-user")])


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/opt/bin/backup-db.sh --full >> /var/log/b.log 2>&1", "backup-db"),
        ("cd /srv/app && ./manage.py clearsessions", "manage-clearsessions"),
        ("/usr/bin/python3 -u /opt/report.py daily", "report-daily"),
        ("python3 -m feeds.update", "feeds-update"),
        ("sudo -u www nice -n 19 /usr/bin/certbot renew --quiet", "certbot-renew"),
        ("flock -n /tmp/x.lock -c '/opt/sync-photos.sh'", "sync-photos"),
        ("timeout 10m bash -c 'cd /srv; rsync -a a/ b/'", "rsync-a-b"),
        ("LANG=C test -x /usr/bin/dump && /usr/bin/dump > /tmp/out", "dump"),
        ("curl -fsS https://hc.example.com/ping/123", "curl-hc-example-com"),
        ("run-parts --report /etc/cron.daily", "run-parts-cron-daily"),
        ("mysqldump -u root -p hunter2 shop", "mysqldump-shop"),
        ("echo 'a; b > c'", "echo"),
    ],
)
def test_a_name_says_what_runs(command: str, name: str) -> None:
    assert only(f"0 1 * * * {command}\n").name == name


def test_names_do_not_depend_on_other_lines_or_their_order() -> None:
    lines = [
        "0 1 * * * /opt/a.sh",
        "0 2 * * * /opt/sync.sh photos",
        "0 3 * * * /opt/sync.sh music",
        "0 4 * * * /opt/b.sh x",
    ]

    def names(order: list[str]) -> dict[str, str]:
        return {job.command: job.name for job in read("\n".join(order) + "\n").jobs}

    assert names(lines) == names(["# moved", *reversed(lines)])
    assert names(lines)["/opt/sync.sh photos"] == "sync-photos"


def test_one_command_at_two_times_has_two_names_that_stay_when_lines_move() -> None:
    lines = ["0 1 * * * /opt/a.sh", "0 13 * * * /opt/a.sh"]
    there = {job.schedule: job.name for job in read("\n".join(lines) + "\n").jobs}
    back = {job.schedule: job.name for job in read("\n".join(reversed(lines)) + "\n").jobs}
    assert there == back
    assert len(set(there.values())) == 2


def test_the_same_line_twice_is_two_jobs() -> None:
    names = [job.name for job in read("0 1 * * * /opt/a.sh\n0 1 * * * /opt/a.sh\n").jobs]
    assert len(set(names)) == 2


# --- any text at all --------------------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    ["*", "0", "5", "*/5", "1-5", "@daily", "@reboot", "root", "cmd", "%", "\\%", "\\", "A=b", "=", '"', "'", "#", "-n",
     "-", " ", "\t", "\n", "\r\n", "\0", "é", "\x1b[2J", ";", "&&", "CRON_TZ=", "~", ",", "/", "MAILTO="]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200), st.lists(_PIECES, max_size=60).map("".join), st.lists(_PIECES, max_size=40).map(" ".join)
)


@settings(max_examples=250, deadline=None)
@given(TEXTS, st.booleans())
def test_every_line_of_any_text_is_a_job_an_assignment_a_comment_or_an_error(text: str, system: bool) -> None:
    parsed = parse(text, system=system, user="ada")
    jobs, errors = {job.line for job in parsed.jobs}, {p.line for p in parsed.problems if p.severity == "error"}
    assert not jobs & errors
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        body = raw.rstrip("\r").lstrip(" \t") if raw.endswith("\r") else raw.lstrip(" \t")
        is_silent = not body or body.startswith("#") or ("\0" not in body and read_assignment(body) is not None)
        assert (number in jobs or number in errors) != is_silent
    assert len({job.name for job in parsed.jobs}) == len(parsed.jobs)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", job.name) for job in parsed.jobs)
