"""Jobs that ignore signals, flood, fork, print rubbish, leak secrets or are given hostile parameters."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql
from tests.lab import Lab, until

from homelab.home.paths import Home
from homelab.stack.postgres import database_url, place_of

CANARY = "s3cr3t-canary-7Yq"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("hostile"))
    lab.environment["LAB_TEST_TOKEN"] = CANARY
    alerts = lab.root / "alerts.jsonl"
    lab.up(
        f"""
        [lab]
        name = "hostile"
        timezone = "UTC"

        [notify]
        urls = ["log://{alerts}"]

        [jobs.stubborn]
        run = '''trap "" TERM INT; echo started; {lab.mark("began")}; while :; do sleep 1; done'''
        timeout = "2s"
        grace = "2s"

        [jobs.patient]
        run = '''trap "" TERM INT; {lab.mark("began")}; while :; do sleep 1; done'''
        grace = "2s"

        [jobs.flood]
        run = "yes abcdefghij | head -c 200000000; echo done >&2"

        [jobs.one-line]
        run = "head -c 50000000 /dev/zero | tr '\\\\0' x; echo; echo end"

        [jobs.forker]
        run = "(setsid sleep 314159 &) ; echo parent done"

        [jobs.holder]
        run = "(sleep 271828 &) ; echo parent done"

        [jobs.bytes]
        run = '''printf 'ok\\377\\376\\303\\050\\000\\033[2J\\r\\n\\342\\200\\256abc\\n' '''

        [jobs.leaky]
        run = "echo token $API_TOKEN; echo $API_TOKEN | base64; printf %s $API_TOKEN | od -c | head -1; ls /$API_TOKEN"
        secrets = {{ API_TOKEN = "env:LAB_TEST_TOKEN" }}

        [jobs.parameters]
        params = {{ WHO = "nobody" }}
        run = 'printf "%s" "$WHO" > {lab.root}/who'

        [jobs.overlapping]
        schedule = "* * * * *"
        run = '''{lab.mark("begin")}; sleep 70; {lab.mark("end")}'''
        """
    )
    yield lab
    lab.down()


def test_a_job_that_ignores_sigterm_is_killed_at_its_timeout_within_the_grace(lab: Lab) -> None:
    began = time.monotonic()
    run = lab.json("job", "run", "stubborn", "--wait", ok=(1,))["run"]
    assert run["state"] == "timed_out"
    assert time.monotonic() - began < 2 + 2 + 5
    assert "began" in lab.words("stubborn")
    assert not _processes("while :; do sleep 1; done", lab)


def test_a_job_that_ignores_sigterm_is_killed_when_cancelled(lab: Lab) -> None:
    run = lab.run_job("patient")
    until(lambda: lab.words("patient"), timeout=10, what="the job to begin")
    lab.homelab("run", "cancel", run)
    lab.until_state(run, "patient", "cancelled", timeout=10)
    assert not _processes("while :; do sleep 1; done", lab)


def test_two_hundred_megabytes_of_output_leave_the_worker_small_and_the_tail_readable(lab: Lab) -> None:
    worker = psutil.Process(lab.pid("worker"))
    run = lab.run_job("flood")
    peak = 0
    while lab.job_run(run, "flood").get("state") not in ("succeeded", "failed"):
        peak = max(peak, worker.memory_info().rss)
        time.sleep(0.05)
    assert lab.job_run(run, "flood")["state"] == "succeeded"
    assert peak < 300 * 2**20
    began = time.monotonic()
    tail = lab.homelab("run", "logs", run, "--tail", "20").stdout
    assert time.monotonic() - began < 3
    assert "done" in tail
    whole = lab.homelab("run", "logs", run).stdout
    assert len(whole) < 40 * 2**20
    assert any("over the output limit" in line for line in whole.splitlines() if line != "abcdefghij")


def test_fifty_megabytes_in_one_line_are_harmless(lab: Lab) -> None:
    run = lab.json("job", "run", "one-line", "--wait", timeout=120)["run"]
    assert run["state"] == "succeeded"
    assert "end" in lab.homelab("run", "logs", run["id"], "--tail", "5").stdout
    assert psutil.Process(lab.pid("worker")).memory_info().rss < 300 * 2**20


@pytest.mark.parametrize(("job", "seconds"), [("forker", "314159"), ("holder", "271828")])
def test_a_run_ends_with_its_command_and_reports_what_was_left_behind(lab: Lab, job: str, seconds: str) -> None:
    began = time.monotonic()
    run = lab.json("job", "run", job, "--wait")["run"]
    assert run["state"] == "succeeded"
    assert time.monotonic() - began < 10
    log = lab.homelab("run", "logs", run["id"]).stdout
    assert "parent done" in log
    left = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]
    assert len(left) == 1, "cron leaves a daemon alone, and so do we"
    if job == "holder":
        assert str(left[0].pid) in log
    left[0].kill()


def test_broken_utf8_and_control_bytes_are_kept_raw_and_shown_harmless(lab: Lab) -> None:
    run = lab.json("job", "run", "bytes", "--wait")["run"]
    assert run["state"] == "succeeded"
    shown = subprocess.run(
        [*_homelab(lab), "run", "logs", run["id"]], env=lab.environment, capture_output=True, check=True
    ).stdout
    assert b"\x1b" not in shown
    assert b"\x00" not in shown
    assert "\N{RIGHT-TO-LEFT OVERRIDE}".encode() not in shown
    assert b"abc" in shown
    kept = next((lab.home / "runs").glob(f"*/{run['id']}/bytes.1.log")).read_bytes()
    assert b"ok\xff\xfe\xc3\x28\x00\x1b[2J" in kept


def test_a_secret_appears_nowhere_in_plain(lab: Lab) -> None:
    run = lab.json("job", "run", "leaky", "--wait", ok=(1,))["run"]["id"]
    assert "token ***" in lab.homelab("run", "logs", run).stdout
    assert CANARY not in lab.homelab("run", "show", run, "--json").stdout
    assert CANARY not in lab.homelab("job", "show", "leaky", "--json").stdout
    until(lambda: (lab.root / "alerts.jsonl").exists(), timeout=30, what="the alert")
    assert CANARY not in (lab.root / "alerts.jsonl").read_text()
    time.sleep(1)
    found = subprocess.run(
        ["grep", "-rlaF", CANARY, str(lab.home), str(place_of(Home(lab.home)).data)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout  # includes the database's files
    assert found == ""
    assert _rows_with(lab, CANARY) == [], "nor where the database has packed it"
    pages = _pages(lab, "/", "/jobs/leaky", f"/runs/{run}", "/runs", "/lab")
    assert any("token ***" in page for page in pages.values())
    assert [path for path, page in pages.items() if CANARY in page] == []
    assert [p for p in lab.processes() if any(CANARY in part for part in p.cmdline())] == []


@pytest.mark.parametrize("value", ["x; touch PWN", "$(touch PWN)", "a\nb; touch PWN", "-rf", "%", "x" * 100_000])
def test_a_parameter_arrives_as_it_is_and_is_never_executed(lab: Lab, value: str) -> None:
    pwned = [lab.root / "PWN", Path.home() / "PWN", Path("/tmp/PWN")]
    lab.json("job", "run", "parameters", "--param", f"WHO={value}", "--wait")
    assert (lab.root / "who").read_text() == value
    assert not any(p.exists() for p in pwned)


def test_a_name_of_a_parameter_that_is_none_is_refused(lab: Lab) -> None:
    assert lab.homelab("job", "run", "parameters", "--param", "A;B=1", ok=(2,)).stderr.startswith("error:")
    assert lab.homelab("job", "run", "../../etc/passwd", ok=(3,)).stderr.startswith("error:")


def test_runs_overlap_as_cron_lets_them(lab: Lab) -> None:
    """Each minute a run that takes seventy seconds: cron runs two at once, and so does an import as it is."""

    def two_at_once() -> bool:
        marks = lab.judge("overlapping")
        begun = [m for m in marks if m.word == "begin"]
        ended = {m.run: m.time for m in marks if m.word == "end"}
        return any(
            b.run != a.run and b.time < ended.get(a.run, b.time + 1) for a in begun for b in begun if b.time > a.time
        )

    until(two_at_once, timeout=150, what="two runs at once")
    rows = lab.json("run", "ls", "--job", "overlapping", "--limit", "200")["runs"]
    assert len([row for row in rows if row["state"] in ("scheduled", "pending")]) < 15, "what waits does not pile up"


def _rows_with(lab: Lab, text: str) -> list[str]:
    """Tables of both databases that have it in a row."""
    found: list[str] = []
    password = (lab.home / "secrets/postgres").read_text().strip()
    for database in ("homelab", "prefect"):
        with psycopg.connect(database_url(place_of(Home(lab.home)), database), password=password) as conn:
            tables = conn.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
            assert tables
            for (table,) in tables:
                statement = sql.SQL("select 1 from {0} where {0}::text like %s limit 1").format(sql.Identifier(table))
                found += [f"{database}.{table}"] if conn.execute(statement, (f"%{text}%",)).fetchone() else []
    return found


def _pages(lab: Lab, *paths: str) -> dict[str, str]:
    """As somebody reads them who is signed in."""
    link = urlsplit(lab.homelab("open").stdout.strip())
    origin = f"{link.scheme}://{link.netloc}"
    with httpx.Client(base_url=origin, timeout=20) as browser:
        signed_in = browser.post("/sign-in", data=dict(parse_qsl(link.query)), headers={"Origin": origin})
        assert signed_in.status_code == 303
        return {path: browser.get(path).raise_for_status().text for path in paths}


def _homelab(lab: Lab) -> list[str]:
    from tests.lab import HOMELAB

    return [str(HOMELAB)]


def _processes(words: str, lab: Lab) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline"]):
        if any(words in part and str(lab.root) in part for part in process.info["cmdline"] or []):
            found.append(process)
    return found
