"""Lines of cron's log, as real daemons and loggers write them, and their comparison with what is due."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from homelab.core.crontab.comparison import Expected, compare
from homelab.core.crontab.cronlog import CronStart, Stamps, as_logged, starts


def read(*lines: str, zone: str = "UTC", since: str = "2026-11-20", now: str = "2026-11-25T12:00") -> list[CronStart]:
    stamps = Stamps(zone=zone, since=_utc(since), now=_utc(now))
    return list(starts(lines, stamps))


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "line",
    [
        # Debian 12, cron 3.0pl1, through rsyslog's old and new format
        "Nov 24 23:44:01 nas CRON[9756]: (ada) CMD (echo out )",
        "2026-11-24T23:44:01.413213+00:00 nas CRON[9756]: (ada) CMD (echo out )",
        # the same with -L 15, which logs the pid of the job
        "<78>Nov 24 23:44:01 CRON[9756]: (ada) CMD ([9757] echo out )",
        # older Debian
        "Nov 24 23:44:01 nas /USR/SBIN/CRON[9756]: (ada) CMD (   echo out)",
        # cronie on Fedora: /var/log/cron, and journalctl -o short-iso
        "Nov 24 23:44:01 fedora CROND[9756]: (ada) CMD (echo out)",
        "2026-11-25T00:44:01+0100 fedora CROND[9756]: (ada) CMD (echo out)",
        # RFC 5424
        "<78>1 2026-11-24T23:44:01.413213Z nas CRON 9756 - - (ada) CMD (echo out)",
        # FreeBSD
        "Nov 24 23:44:01 bsd /usr/sbin/cron[9756]: (ada) CMD (echo out)",
        # macOS: log show --style syslog
        "2026-11-24 15:44:01.413213-0800  localhost cron[9756]: (ada) CMD (echo out)",
    ],
)
def test_a_start_is_read_whoever_wrote_it(line: str) -> None:
    (start,) = read(line)
    assert start.at.replace(microsecond=0) == _utc("2026-11-24T23:44:01")
    assert (start.user, start.command, start.is_cut) == ("ada", "echo out", False)


def test_the_journal_is_read_as_json() -> None:
    entry = {
        "__REALTIME_TIMESTAMP": "1795563841413213",
        "SYSLOG_IDENTIFIER": "CRON",
        "MESSAGE": "(ada) CMD (echo (a) )",
        "_PID": "9756",
    }
    other = {**entry, "SYSLOG_IDENTIFIER": "sshd"}
    (start,) = read(json.dumps(entry), json.dumps(other), '{"MESSAGE": "(x) CMD (', "{}")
    assert start.at == datetime(2026, 11, 24, 23, 44, 1, 413213, UTC)
    assert start.command == "echo (a)"


def test_other_lines_of_cron_are_no_starts() -> None:
    assert not read(
        "Nov 24 23:44:01 nas CRON[9755]: (root) END ([9756] echo out )",
        "Nov 24 23:44:01 nas CROND[9755]: (root) CMDEND (echo out)",
        "Nov 24 23:44:01 nas CROND[9755]: (root) CMDOUT (CMD (x))",
        "Nov 24 23:44:01 nas CRON[9754]: (CRON) info (No MTA installed, discarding output)",
        "Nov 24 23:44:01 nas sshd[1]: (root) CMD (echo not cron)",
        "Nov 31 23:44:01 nas CRON[1]: (root) CMD (no such day)",
        "Xxx 24 23:44:01 nas CRON[1]: (root) CMD (no such month)",
    )


def test_a_stamp_without_a_year_is_of_the_year_in_which_it_lies_before_now() -> None:
    lines = [f"{day} 23:59:01 nas CRON[1]: (root) CMD (x)" for day in ("Dec 31", "Jan  1")]
    found = read(*lines, since="2025-12-30", now="2026-01-02T10:00")
    assert [s.at for s in found] == [_utc("2025-12-31T23:59:01"), _utc("2026-01-01T23:59:01")]


def test_a_log_of_an_earlier_year_is_of_the_year_that_was_asked_for() -> None:
    (start,) = read("Mar 30 02:30:01 nas CRON[1]: (root) CMD (x)", since="2024-03-01")
    assert start.at == _utc("2024-03-30T02:30:01")
    (leap,) = read("Feb 29 02:30:01 nas CRON[1]: (root) CMD (x)", since="2026-11-01")
    assert leap.at == _utc("2024-02-29T02:30:01")


def test_the_hour_that_a_clock_change_repeats_is_told_by_the_order_of_the_lines() -> None:
    minutes = ["01:30", "02:10", "02:40", "02:10", "02:40", "03:10"]
    lines = [f"Oct 25 {at}:01 nas CRON[1]: (root) CMD (x)" for at in minutes]
    found = read(*lines, zone="Europe/Berlin", since="2026-10-20")
    hours = [s.at.strftime("%H:%M") for s in found]
    assert hours == ["23:30", "00:10", "00:40", "01:10", "01:40", "02:10"]


def test_what_cannot_be_printed_is_logged_as_cron_does() -> None:
    assert as_logged("echo \t'ä' \x7f") == "echo ^I'\\303\\244' ^?"


def start(at: str, command: str = "job", user: str = "ada", *, is_cut: bool = False) -> CronStart:
    return CronStart(at=_utc(f"2026-11-24T{at}"), user=user, command=command, is_cut=is_cut)


def due(at: str, command: str = "job", user: str = "ada") -> Expected:
    return Expected(due=_utc(f"2026-11-24T{at}"), job=f"the-{command}"[:12], user=user, command=command)


def test_each_start_is_matched_once_by_user_command_and_minute() -> None:
    result = compare(
        [due("10:00"), due("10:01"), due("10:02"), due("10:00", user="bob")],
        [start("10:00:01"), start("10:00:01", user="bob"), start("10:02:01"), start("10:02:09"), start("10:05:01")],
        names=[("the-job", "ada", "job")],
    )
    assert len(result.matched) == 4  # the second start at 10:02 is cron's late one of 10:01
    assert [(c.start.at.minute, c.job) for c in result.only_cron] == [(5, "the-job")]
    assert not result.only_lab


def test_what_only_one_of_them_ran_is_told() -> None:
    result = compare([due("10:00"), due("11:00")], [start("10:00:01"), start("10:30:01", "other")])
    assert [run.due.hour for run in result.only_lab] == [11]
    assert [(c.start.command, c.job) for c in result.only_cron] == [("other", None)]


def test_a_command_that_the_log_cut_off_is_known_by_its_beginning() -> None:
    long = "echo " + "x" * 2000
    result = compare([due("10:00", long)], [start("10:00:01", long[:900], is_cut=True)])
    assert len(result.matched) == 1


def test_a_month_of_forty_jobs_is_compared_quickly() -> None:
    at = _utc("2026-10-01")
    expected = [
        Expected(due=at + timedelta(minutes=15 * n), job=f"j{k}", user="ada", command=f"c{k}")
        for n in range(2880)
        for k in range(40)
    ]
    logged = [CronStart(at=run.due + timedelta(seconds=1), user="ada", command=run.command) for run in expected]
    assert len(compare(expected, logged).matched) == len(expected)
