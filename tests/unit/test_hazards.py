"""What cron hides: each rule on the lines it is for, and silence on the lines that only look like it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.commands import Script, describe
from homelab.core.crontab import parse
from homelab.core.hazards import CODES, Facts, FileState, Hazard, Subject, examine, facts_of
from homelab.core.schedule import parse as parse_schedule

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def subjects_of(text: str, *, timezone: str = "UTC", scripts: Mapping[str, str] | None = None) -> list[Subject]:
    known = {path: Script(path=path, text=body) for path, body in (scripts or {}).items()}
    return [
        Subject(
            job=job,
            schedule=parse_schedule(job.schedule, job.timezone, seed=job.name),
            description=describe(
                job.command,
                environment=job.environment,
                folder=job.cwd,
                scripts=known,
                stdin=job.stdin,
                shell=job.shell,
            ),
        )
        for job in parse(text, user="ada", home="/home/ada", timezone=timezone).jobs
    ]


def hazards(
    text: str, *, timezone: str = "UTC", facts: Facts | None = None, scripts: Mapping[str, str] | None = None
) -> list[Hazard]:
    return examine(subjects_of(text, timezone=timezone, scripts=scripts), facts or Facts(), now=NOW)


def codes(command: str, schedule: str = "17 4 * * *", **given: Mapping[str, str]) -> list[str]:
    return [hazard.code for hazard in hazards(f"{schedule} {command}\n", scripts=given.get("scripts"))]


QUIET = [
    "/opt/backup.sh",
    "/opt/backup.sh --all >> /var/log/backup.log 2>&1",
    "/opt/backup.sh > /dev/null",
    "command -v debsums > /dev/null 2>&1 && debsums --all",
    "cd /srv/app && ./run.sh",
    "cd /srv/app && rm -rf tmp/*",
    "find /backups -mtime +30 -delete",
    "rm -rf /var/cache/app/*",
    'rm -rf "${CACHE:?}/"*',
    "DIR=/var/tmp/x; rm -rf \"$DIR/\"*",
    "rm -f $HOME/.cache/app.lock",
    "set -o pipefail; mysqldump app | gzip > /backups/app.gz",
    "echo hello | mail -s report ada@example.org",
    "ps ax | grep nginx",
    "/opt/backup.sh && curl -fsS https://hc-ping.com/abc -o /dev/null",
    "sleep 30; /opt/poll.sh",
    "export LEVEL=1; /opt/poll.sh",
    "date +\\%F > /tmp/today",
    "mail -s 'done' ada%The report is there",
    "mysqldump --defaults-extra-file=/root/.my.cnf app > /backups/app.sql",
    "mysqldump -p$PW app > /backups/app.sql",
    "PGPASSWORD=$(cat /root/.pgpass) pg_dump app > /b/app.sql",
    "curl -sS -o /dev/null https://example.org/cron.php?id=12345",
    "restic backup /home --password-file /root/.restic",
    "ssh -p 2222 backup@host true",
    "sudo reboot",
    "sort /var/lib/a > /var/lib/b",
    "~/bin/tidy",
]  # fmt: skip


@pytest.mark.parametrize("command", QUIET)
def test_an_ordinary_line_has_no_hazard(command: str) -> None:
    assert codes(command) == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("/opt/backup.sh > /dev/null 2>&1", "output-lost"),
        ("/opt/backup.sh 2>/dev/null >/dev/null", "output-lost"),
        ("(cd /srv && ./run.sh) > /dev/null 2>&1", "output-lost"),
        ("sh -c '/opt/backup.sh 2>&1' > /dev/null 2>&1", "output-lost"),
        ("mysqldump app | gzip > /backups/app.gz", "failure-hidden"),
        ("/opt/backup.sh 2>&1 | logger -t backup", "failure-hidden"),
        ("php /srv/artisan queue:work | grep -v debug >> /var/log/q.log", "failure-hidden"),
        ("/opt/backup.sh; echo done >> /var/log/done", "failure-hidden"),
        ("/opt/backup.sh ; curl -fsS https://hc-ping.com/abc -o /dev/null", "failure-hidden"),
        ("cd /var/tmp/cache; rm -rf *", "unchecked-cd"),
        ('rm -rf "$CACHE/"*', "unset-delete"),
        ("rm -rf $BUILD/out", "unset-delete"),
        ("rsync -a --delete /srv/ $TARGET/", "unset-delete"),
        ("cp /backups/`date +%F`.sql /mnt/", "cut-at-percent"),
        ('tar czf "/backups/$(date +%Y).tgz" /srv', "cut-at-percent"),
        ("$TOOLS/run.sh", "unset-variable"),
        ("sort /var/lib/list > /var/lib/list", "emptied-input"),
        ("/opt/a.sh 2>&1 >> /var/log/a.log", "redirect-order"),
        ("reboot", "not-in-path"),
        ("bin/tidy", "relative-path"),
        ("python3 tidy.py", "relative-path"),
        ("/opt/a.sh >> tidy.log", "relative-path"),
        ("curl -u ada:hunter22 https://example.org/ -sS -o /tmp/x", "secret"),
        ("mysqldump -uroot -phunter22 app > /b/app.sql", "secret"),
        ("tool --password=hunter22 run", "secret"),
        ("tool --api-key hunter22 run", "secret"),
        ("wget -qO- 'https://example.org/cron?token=hunter22'", "secret"),
        ("wget -qO- https://example.org/cron?token=hunter22", "secret"),
        ("wget -qO- https://ada:hunter22@example.org/", "secret"),
        ("curl -sS -o /tmp/x -H 'Authorization: Bearer hunter22' https://example.org", "secret"),
        ("PGPASSWORD=hunter22 pg_dump app > /b/app.sql", "secret"),
        ("sshpass -p hunter22 ssh host true", "secret"),
    ],
)
def test_a_dangerous_line_is_told_with_its_code(command: str, code: str) -> None:
    assert codes(command) == [code]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("0 7 1-7 * 1 /opt/a", "either-day"),
        ("0 7 1-31 * 1-5 /opt/a", "either-day"),
        ("* 5 * * * /opt/a", "every-minute"),
        ("* */6 * * * /opt/a", "every-minute"),
        ("* * 1 * * /opt/a", "every-minute"),
        ("* * * * * sleep 90; /opt/a", "overlap"),
        ("*/2 * * * * timeout 5m /opt/a", "overlap"),
        ("*/5 * * * * rsync -a /a/ /b/", "no-lock"),
        ("*/5 * * * * wget https://example.org/cron", "mail-pile"),
    ],
)
def test_a_schedule_that_does_not_do_what_it_looks_like_is_told(line: str, code: str) -> None:
    assert [hazard.code for hazard in hazards(line + "\n")] == [code]


@pytest.mark.parametrize(
    "line",
    [
        "0 7 * * 1 /opt/a",
        "0 7 1-7 * * /opt/a",
        "0 7 */2 * 1 /opt/a",
        "* 8-18 * * 1-5 /opt/a",
        "* * * * * /opt/a",
        "* * * * * sleep 30; /opt/a",
        "*/2 * * * * flock -n /run/a timeout 5m /opt/a",
        "*/5 * * * * flock -n /run/sync rsync -a /a/ /b/",
        "*/30 * * * * rsync -a /a/ /b/",
        "*/5 * * * * wget -q https://example.org/cron",
        "*/5 * * * * wget https://example.org/cron >> /var/log/cron.log 2>&1",
    ],
)
def test_a_schedule_that_is_meant_is_left_alone(line: str) -> None:
    assert hazards(line + "\n") == []


def test_no_secret_is_ever_repeated() -> None:
    for command in (
        "curl -u ada:hunter22 https://example.org/",
        "mysqldump -phunter22 app | gzip > /b/app.gz",
        "wget -qO- 'https://ada:hunter22@example.org/?token=hunter22'",
        'TOKEN=hunter22 rm -rf "$X/"* > /dev/null 2>&1',
        "cd /x; rm -rf hunter22",
    ):
        found = hazards(f"API_TOKEN=hunter22\n* 5 * * * {command}\n")
        assert found
        assert [h for h in found if "hunter22" in h.message + h.hint and h.code != "unchecked-cd"] == []


def test_a_password_in_an_assignment_is_told_once_at_the_first_job_below_it() -> None:
    found = hazards("DB_PASSWORD=hunter22\nTOKEN_FILE=/root/token\n0 1 * * * /opt/a\n0 2 * * * /opt/b\n")
    assert [(h.line, h.code) for h in found] == [(3, "secret")]
    assert 'DB_PASSWORD = "file:' in found[0].hint


def test_a_variable_in_an_assignment_that_cron_leaves_as_it_is() -> None:
    found = hazards("PATH=$PATH:/opt/bin\nLOG=$HOME/log\n0 1 * * * run >> $LOG\n0 2 * * * run\n")
    assert [h.message.split(" above")[0] for h in found if h.code == "unexpanded"] == [
        "cron does not expand $PATH in the value of PATH"
    ]
    assert [h.line for h in found if h.code == "unexpanded"] == [3]
    assert "$HOME in the value of LOG" in hazards("LOG=$HOME/log\n0 1 * * * run >> $LOG\n")[0].message


def test_mail_that_is_off_loses_the_output_too() -> None:
    assert [h.code for h in hazards('MAILTO=""\n0 1 * * * /opt/a\n')] == ["output-lost"]
    assert hazards('MAILTO=""\n0 1 * * * date >> /var/log/dates\n') == []
    assert hazards('MAILTO=""\n0 1 * * * /opt/a >> /var/log/a 2>&1\n') == []
    assert hazards("MAILTO=ada@example.org\n*/5 * * * * wget https://example.org/\n") == []


def test_two_jobs_that_empty_one_file_are_both_told() -> None:
    found = hazards("1 1 * * * /opt/a > /var/log/all.log\n2 1 * * * /opt/b > /var/log/all.log\n")
    assert [(h.line, h.code) for h in found] == [(1, "two-writers"), (2, "two-writers")]
    assert "line 2" in found[0].message
    assert hazards("1 1 * * * /opt/a >> /var/log/all.log\n2 1 * * * /opt/b >> /var/log/all.log\n") == []
    assert hazards("1 1 * * * date > /tmp/x && mail a < /tmp/x\n2 1 * * * df > /tmp/x && mail a < /tmp/x\n") == []
    assert hazards("1 1 * * 1-5 /opt/a > /var/log/a.log\n2 9 * * 6 /opt/a > /var/log/a.log\n") == []


def test_a_crowd_is_told_once_with_its_lines() -> None:
    text = "".join(f"0 0 * * * /opt/job{n}\n" for n in range(9)) + "*/5 * * * * /opt/often\n"
    (found,) = hazards(text)
    assert (found.line, found.code) == (1, "crowded-minute")
    assert "9 jobs start together at 00:00: lines 1, 2, 3, 4, 5, 6, 7, 8, 9" in found.message
    assert hazards("".join(f"{n} 0 * * * /opt/job{n}\n" for n in range(9))) == []


def test_clock_changes_count_in_zones_that_have_them() -> None:
    text = "30 2 * * * /opt/a\n30 4 * * * /opt/b\n*/30 2 * * 0 /opt/c\n15 */2 * * * /opt/d\n"
    assert hazards(text, timezone="Asia/Tokyo") == []
    found = hazards(text, timezone="Europe/Berlin")
    assert [(h.line, h.code) for h in found] == [(1, "clock-change"), (3, "clock-change")]
    assert "2027-03-28: it runs at 03:00" in found[0].message
    assert "2027-03-28: its run is left out" in found[1].message
    (other,) = hazards("30 1 * * * /opt/a\n30 2 * * * /opt/b\n", timezone="America/New_York")
    assert (other.line, "2027-03-14" in other.message) == (2, True)
    (twice,) = hazards("*/20 1 31 10 * /opt/a\n5 1 31 10 * /opt/b\n", timezone="Europe/London")
    assert (twice.line, "comes twice" in twice.message) == (1, True)


def test_what_a_script_does_counts_with_its_place() -> None:
    scripts = {
        "/opt/clean.sh": "#!/bin/sh\ncd /var/tmp/build\nrm -rf *\n",
        "/opt/dump.sh": "#!/bin/bash\nmysqldump app | gzip > /b/app.gz\n",
        "/opt/safe.sh": "#!/bin/bash\nset -euo pipefail\ncd /var/tmp/build\nrm -rf *\nmysqldump a | gzip > /b/a.gz\n",
        "/opt/args.sh": '#!/bin/sh\nrm -rf "$1/"*\n',
        "/opt/sync.sh": "#!/bin/sh\nrsync -a /a/ /b/\n",
        "/opt/locked.sh": "#!/bin/sh\nexec 9> /run/sync.lock\nflock -n 9 || exit 1\nrsync -a /a/ /b/\n",
    }
    assert codes("/opt/clean.sh", scripts=scripts) == ["unchecked-cd"]
    assert codes("/opt/dump.sh", scripts=scripts) == ["failure-hidden"]
    assert codes("/opt/safe.sh", scripts=scripts) == []
    assert codes("/opt/args.sh", scripts=scripts) == ["unset-delete"]
    assert codes("/opt/args.sh /srv/x", scripts=scripts) == []
    assert codes("/opt/sync.sh", "* * * * *", scripts=scripts) == ["no-lock"]
    assert codes("/opt/locked.sh", "* * * * *", scripts=scripts) == []
    (found,) = hazards("1 1 * * * /opt/clean.sh\n", scripts=scripts)
    assert "/opt/clean.sh:3:" in found.message


def test_a_job_that_usually_takes_longer_than_its_interval_overlaps() -> None:
    (job,) = subjects_of("*/5 * * * * /opt/import.sh\n")
    slow = Facts(durations_s={job.job.name: 400.0})
    assert [h.code for h in examine([job], slow, now=NOW)] == ["overlap"]
    assert examine([job], Facts(durations_s={job.job.name: 200.0}), now=NOW) == []
    (safe,) = subjects_of("*/5 * * * * flock -n /run/x /opt/import.sh\n")
    assert examine([safe], Facts(durations_s={safe.job.name: 400.0}), now=NOW) == []


# --- the machine ------------------------------------------------------------------------------------------------------

PLACES: dict[str, FileState] = {
    "/bin/sh": "executable",
    "/bin": "folder",
    "/usr/bin": "folder",
    "/usr/bin/rsync": "executable",
    "/opt": "folder",
    "/opt/good.sh": "executable",
    "/opt/plain.sh": "plain",
}


class Files(dict[str, FileState]):
    def __missing__(self, key: str) -> FileState:
        return "missing"

    def get(self, key: str, default: FileState | None = None) -> FileState | None:  # type: ignore[override]
        return self[key]


def on_machine(
    text: str, *, is_theirs: bool | None = True, places: Mapping[str, FileState] = PLACES
) -> list[tuple[int, str]]:
    subjects = subjects_of(text)
    facts = facts_of(Files(places), subjects, is_theirs=is_theirs)
    return [(hazard.line, hazard.code) for hazard in examine(subjects, facts, now=NOW)]


def test_scripts_that_are_not_there_or_not_executable_are_told_where_that_can_be_known() -> None:
    text = (
        "1 1 * * * /opt/good.sh\n2 1 * * * /opt/gone.sh\n3 1 * * * /opt/plain.sh\n4 1 * * * sh /opt/plain.sh\n"
        "5 1 * * * test -x /opt/gone.sh && /opt/gone.sh\n6 1 * * * /elsewhere/x.sh\n"
    )
    assert dict(on_machine(text.replace(" sh /opt", " /bin/sh /opt"))) == {
        2: "missing-script",
        3: "not-executable",
        6: "missing-script",
    }
    part = {path: state for path, state in PLACES.items() if path.startswith("/opt")}
    assert dict(on_machine(text, places=part)) == {2: "missing-script", 3: "not-executable"}


def test_a_machine_counts_as_theirs_only_when_half_of_their_programs_are_there() -> None:
    text = "1 1 * * * /opt/good.sh\n2 1 * * * /opt/gone.sh\n"
    assert on_machine(text, is_theirs=None) == [(2, "missing-script")]
    assert on_machine("1 1 * * * /srv/x\n" + text + "4 1 * * * /srv/y\n", is_theirs=None) == []
    assert on_machine("1 1 * * * rsync -a /a /b\n2 1 * * * nosuchtool\n", is_theirs=None) == []


def test_programs_are_looked_for_in_the_path_of_the_job() -> None:
    assert on_machine("1 1 * * * rsync -a /a /b\n2 1 * * * nosuchtool\n3 1 * * * echo a\n") == [(2, "not-in-path")]
    assert on_machine("PATH=/opt\n1 1 * * * good.sh\n2 1 * * * rsync -a /a /b\n") == [(2 + 1, "not-in-path")]


def test_bash_syntax_is_told_where_the_shell_is_dash() -> None:
    places = {**PLACES, "/bin/dash": "executable"}
    text = "1 1 * * * /opt/good.sh &> /dev/null\n"
    assert on_machine(text, places=places) == [(1, "bash-only")]  # type: ignore[arg-type]
    assert on_machine("SHELL=/bin/bash\n" + text, places=places) == [(2, "output-lost")]  # type: ignore[arg-type]


# --- properties -------------------------------------------------------------------------------------------------------


def test_every_code_that_can_be_found_has_a_heading() -> None:
    import ast
    from pathlib import Path

    folder = Path(__file__).parents[2] / "src/homelab/core/hazards"
    used = {
        keyword.value.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert used <= CODES.keys()
    assert CODES.keys() - used == {"run-parts-ignores"}


WORDS = ["rm -rf", "$X/", '"$1/"*', "cd /a", ">/dev/null", "2>&1", "mysqldump", "gzip", "-phunter22", "`date +%F`"]
PIECES = st.one_of(st.sampled_from(WORDS), st.sampled_from([*";|(){}\\'\"", "&&", "$(", "sleep 99"]))


@given(st.lists(PIECES, max_size=12), st.sampled_from(["* * * * *", "0 2 1 * 1", "@daily", "@reboot", "* 5 * * *"]))
def test_any_command_is_examined_and_the_order_of_lines_changes_nothing(pieces: list[str], schedule: str) -> None:
    line = f"{schedule} {' '.join(pieces) or 'true'}\n"
    found = hazards(line + "7 7 * * * /opt/other > /dev/null 2>&1\n", timezone="Europe/Berlin")
    turned = hazards("7 7 * * * /opt/other > /dev/null 2>&1\n" + line, timezone="Europe/Berlin")
    assert sorted((h.code, h.message, 3 - h.line) for h in found) == sorted((h.code, h.message, h.line) for h in turned)
    assert all(h.message and h.hint and h.line in (1, 2) for h in found)


@pytest.mark.parametrize(
    "piece", ["a", "http://", "-", "--a_", "x=", "://a:", "$X/", "timeout -1 ", "?a_", "; ", "$(", "date -a "]
)
def test_a_command_of_a_hundred_kilobytes_is_examined_at_once(piece: str) -> None:
    (subject,) = subjects_of(f"0 1 * * * rm -rf {piece * (90_000 // len(piece))}\n")
    start = process_time()
    examine([subject], Facts(), now=NOW)
    assert process_time() - start < 1
