"""Delivery against a real HTTP endpoint that refuses, hangs, errs and recovers; the queue in a real Postgres."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.service.postgres_site import fresh

from homelab.control import reports
from homelab.core.jobs import Flow, Job, Need
from homelab.notify import delivery, queue, rules
from homelab.notify.message import Message
from homelab.notify.watcher import Watcher

T0 = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


@pytest.fixture
async def conn(database: str) -> AsyncIterator[Any]:
    fresh(database)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


class Connections:
    """As much of a pool as the loop needs."""

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True, row_factory=dict_row) as one:
            yield one


@dataclass
class Endpoint:
    """What an HTTP server on an ephemeral port was sent. `behaviour` is a status code, or "hang"."""

    url: str = ""
    behaviour: int | str = 200
    titles: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if state.behaviour == "hang":
                state.release.wait(20)
                return
            if state.behaviour == 200:
                state.titles.append(body["title"])
                state.bodies.append(body["message"])
            self.send_response(int(state.behaviour))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"json://127.0.0.1:{server.server_port}/hook"
    yield state
    state.release.set()
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Settings:
    urls: tuple[str, ...]
    on: tuple[str, ...] = rules.KINDS
    throttle_s: float = 900.0


@dataclass(frozen=True)
class Lab:
    notify: Settings
    jobs: tuple[Job, ...] = ()
    flows: tuple[Flow, ...] = ()


def watcher_of(*urls: str, jobs: tuple[Job, ...] = (), **more: Any) -> Watcher:
    watcher = Watcher(control_url="http://lab", up_since=T0 - timedelta(hours=1), **more)
    flows = tuple(Flow(name=job.name, schedule="* * * * *", timezone="UTC", jobs=(job,)) for job in jobs)
    watcher.configure(Lab(notify=Settings(urls=urls), jobs=jobs, flows=flows))
    return watcher


def finished(job: str, state: str = "failed", *, at: datetime = T0, **fields: Any) -> dict[str, Any]:
    time_ = at.isoformat()
    return {
        "id": f"{job}{at}",
        "kind": "job.finished",
        "run": f"run-{job}-{at.timestamp():.0f}",
        "flow": job,
        "job": job,
        "due": time_,
        "attempt": 1,
        "started": time_,
        "ended": time_,
        "state": state,
        "exit_code": 1,
        "signal": None,
        "reason": "",
        "output_bytes": 3,
        "output_lines": 1,
        "tail": ["no"],
        "retry_at": None,
        **fields,
    }


async def rows(conn: Any, state: str = "queued") -> list[dict[str, Any]]:
    return await (await conn.execute("select * from notification where state = %s order by id", (state,))).fetchall()


async def test_fifty_alerts_reach_an_endpoint_that_refuses_hangs_errs_and_recovers_in_order_and_without_loss(
    conn: Any, endpoint: Endpoint
) -> None:
    tried: list[str] = []

    async def deliver(url: str, messages: Any) -> list[str]:
        tried.append(str(endpoint.behaviour))
        # Nothing listens on port 1: the connection is refused.
        url = "json://127.0.0.1:1/hook" if endpoint.behaviour == "refuse" else url
        return await delivery.deliver(url, messages, timeout_s=3)

    watcher = watcher_of(endpoint.url, deliver=deliver)
    for number in range(50):
        await watcher.on_report(conn, finished(f"job-{number:02}"))
    assert len(await rows(conn)) == 50

    outage = ((0, "refuse"), (5, "hang"), (60, 500), (200, 429))
    for minutes, behaviour in outage:
        now, endpoint.behaviour = T0 + timedelta(minutes=minutes), behaviour
        await watcher.deliver_once(conn, now)
        await watcher.deliver_once(conn, now + timedelta(seconds=29))
        waiting = await rows(conn)
        assert len(waiting) == 50 and waiting[0]["last_error"]
        assert [problem["code"] for problem in await watcher.problems(conn, now)] == ["notify_failed"]
    assert tried == [str(behaviour) for _, behaviour in outage], "each outage is tried once, not again within 30 s"

    endpoint.behaviour, now = 200, T0 + timedelta(minutes=400)
    await watcher.deliver_once(conn, now)
    await watcher.deliver_once(conn, now + timedelta(seconds=1))
    assert endpoint.titles[:4] == [f"homelab: job-{n:02} failed" for n in range(4)]
    assert len(endpoint.titles) == 5 and endpoint.titles[4].startswith("homelab: 46 jobs failed: job-04, job-05")
    assert all(f"job-{n:02} failed" in endpoint.bodies[4] for n in range(4, 44))
    assert not await rows(conn) and len(await rows(conn, "sent")) == 50
    assert await watcher.problems(conn, now) == []
    events = await (await conn.execute("select kind from event where kind = 'notify.failed'")).fetchall()
    assert len(events) == 1


async def test_a_target_that_never_answers_is_given_up_after_two_days_and_stays_visible(conn: Any) -> None:
    async def refuse(url: str, messages: Any) -> list[str]:
        return ["connection refused"]

    watcher = watcher_of("json://127.0.0.1:1/", deliver=refuse)
    await watcher.on_report(conn, finished("backup"))
    now, attempts = T0, 0
    while waiting := await queue.waiting(conn):
        now = max(now, *waiting.values())
        await watcher.deliver_once(conn, now)
        attempts += 1
        assert attempts < 100
    assert timedelta(hours=48) < now - T0 < timedelta(hours=50) and attempts < 60
    assert [row["last_error"] for row in await rows(conn, "failed")] == ["connection refused"]
    assert "1 given up" in (await watcher.problems(conn, now))[0]["message"]
    assert (await watcher.listing(conn))[0]["state"] == "failed"


async def test_other_targets_hear_that_one_does_not_take_notifications(conn: Any) -> None:
    async def one_is_down(url: str, messages: Any) -> list[str]:
        return ["no route"] if "down" in url else [""] * len(messages)

    watcher = watcher_of("json://down/", "json://fine/", deliver=one_is_down)
    await watcher.on_report(conn, finished("backup"))
    for minutes in (0, 1, 5, 20):
        await watcher.deliver_once(conn, T0 + timedelta(minutes=minutes))
        await watcher.tick(conn, T0 + timedelta(minutes=minutes))
    titles = [row["title"] for row in await watcher.listing(conn) if row["target"] == "json://fine/"]
    assert titles == ["homelab: notifications to json://down/ do not arrive", "homelab: backup failed"]


async def test_a_flapping_job_is_throttled_but_listed_and_told_again_later(conn: Any) -> None:
    watcher = watcher_of("log://alerts")
    for seconds, state in enumerate(("failed", "failed", "succeeded", "failed", "succeeded", "failed")):
        await watcher.on_report(conn, finished("flap", state, at=T0 + timedelta(seconds=seconds)))
    assert [row["kind"] for row in await rows(conn)] == ["failed", "recovered"]
    assert [row["kind"] for row in await rows(conn, "suppressed")] == ["failed", "failed"]
    await watcher.on_report(conn, finished("flap", at=T0 + timedelta(hours=1)))
    assert [row["kind"] for row in await rows(conn)] == ["failed", "recovered", "failed"]


async def test_a_queue_that_grows_without_end_is_merged_and_every_alert_stays_listed(
    conn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "QUEUE_MAX", 20)
    watcher = watcher_of("json://down/")
    for number in range(60):
        await watcher.on_report(conn, finished(f"job-{number:02}", at=T0 + timedelta(seconds=number)))
        await watcher.tick(conn, T0 + timedelta(seconds=number))
    waiting, merged = await rows(conn), await rows(conn, "suppressed")
    assert len(waiting) <= 20 and len(waiting) - 1 + len(merged) == 60
    assert waiting[0]["kind"] == "summary"
    assert waiting[0]["title"].startswith(f"homelab: {len(merged)} jobs failed: job-00, job-01")


async def test_output_with_control_bytes_reaches_table_and_target_harmless(conn: Any, endpoint: Endpoint) -> None:
    watcher = watcher_of(endpoint.url)
    await watcher.on_report(conn, finished("odd", tail=["ok\x1b[2J\x00\ud800 <b>&amp;"], reason="bad \x00 thing"))
    await watcher.deliver_once(conn, T0)
    assert "ok\\x1b[2J\\x00\\ud800 <b>&amp;" in endpoint.bodies[0]
    assert "Bad \\x00 thing." in endpoint.bodies[0]


async def test_late_missed_stuck_and_blocked_are_seen_by_looking(conn: Any) -> None:
    needs_a = (Need(job="a"),)
    jobs = (Job(name="a", run="x", timeout_s=60.0), Job(name="b", run="x", needs=needs_a), Job(name="c", run="x"))
    watcher = watcher_of("log://alerts", jobs=jobs)
    before = T0 - timedelta(hours=2)
    await conn.execute(
        "insert into run (id, flow, due, digest, trigger, state, created) values"
        " ('1', 'c', %s, '', 'schedule', 'scheduled', %s), ('2', 'a', %s, '', 'schedule', 'running', %s)",
        (T0, before, T0, before),
    )
    await conn.execute(
        "insert into job_run (run, job, attempt, flow, state, started) values ('2', 'a', 1, 'a', 'running', %s)", (T0,)
    )
    for flow, due, decision, reason in (
        ("b", T0, "blocked", "a has not succeeded for 26 h"),
        ("c", before, "missed", "the lab was down"),
        ("c", before + timedelta(minutes=59), "missed", "the lab was down"),
    ):
        await conn.execute(
            "insert into instant (flow, due, decision, reason, decided) values (%s, %s, %s, %s, %s)",
            (flow, due, decision, reason, T0),
        )
    for seconds in (0, 25, 62, 200, 300, 400):
        await watcher.tick(conn, T0 + timedelta(seconds=seconds))
    told = [row["title"].removeprefix("homelab: ") for row in await rows(conn)]
    assert told == ["b is blocked", "c missed 2 runs", "a seems stuck", "c is late"]
    await conn.execute("update run set state = 'running', started = now() where id = '1'")
    await watcher.on_report(conn, {"kind": "run.started", "flow": "c", "run": "1", "due": None, "time": T0.isoformat()})
    await watcher.on_report(conn, finished("a", "succeeded", at=T0 + timedelta(seconds=400)))
    await conn.execute("update job_run set state = 'succeeded', ended = now()")
    await watcher.tick(conn, T0 + timedelta(seconds=410))
    assert await (await conn.execute("select kind from watch")).fetchall() == [{"kind": "blocked"}]


async def test_three_days_of_a_failing_upstream_are_one_notification_a_day(conn: Any) -> None:
    jobs = (Job(name="a", run="x"), Job(name="b", run="x", needs=(Need(job="a", within_s=3600.0),)))
    watcher = watcher_of("log://alerts", jobs=jobs)
    for hour in range(72):
        at = T0 + timedelta(hours=hour)
        await watcher.on_report(conn, finished("a", at=at))
        await conn.execute(
            "insert into instant (flow, due, decision, reason, decided) values ('b', %s, 'blocked', 'a is stale', %s)",
            (at, at),
        )
        await watcher.tick(conn, at)
    assert [row["kind"] for row in await rows(conn)] == ["failed"] * 3
    await watcher.on_report(conn, finished("a", "succeeded", at=T0 + timedelta(hours=72)))
    assert [row["kind"] for row in await rows(conn)][3:] == ["recovered"]


async def test_a_run_that_failed_before_any_job_is_told(conn: Any) -> None:
    watcher = watcher_of("log://alerts")
    ended = {"kind": "run.finished", "run": "9", "flow": "f", "due": None, "state": "crashed", "started": None}
    await watcher.on_report(conn, {**ended, "ended": T0.isoformat(), "reason": "the definition could not be read"})
    assert [row["title"] for row in await rows(conn)] == ["homelab: f failed"]


async def test_the_loop_delivers_what_is_queued_while_another_target_hangs(
    conn: Any, database: str, endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.behaviour = "hang"
    file = tmp_path / "alerts.jsonl"
    watcher = watcher_of(endpoint.url, f"log://{file}")
    await watcher.on_report(conn, finished("backup"))
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(watcher.deliver_loop(Connections(database)))
        start = time.monotonic()
        while not file.exists() or not file.read_text():
            await asyncio.sleep(0.05)
            assert time.monotonic() - start < 10
        assert json.loads(file.read_text())["title"] == "homelab: backup failed"
        assert (await rows(conn))[0]["target"] == endpoint.url
        loop.cancel()


async def test_a_sender_that_hangs_is_killed_and_says_so(endpoint: Endpoint) -> None:
    endpoint.behaviour = "hang"
    start = time.monotonic()
    results = await delivery.deliver(endpoint.url, [Message(title="t", body="b")], timeout_s=1.5)
    assert results == ["no answer within 1.5 s"] and time.monotonic() - start < 3


async def test_a_test_message_goes_to_every_target_and_says_what_failed(
    conn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMELAB_HOME", str(tmp_path))
    results = await watcher_of("log://alerts.jsonl", "env:NOT_SET", "nonsense://s3cr3tcanary").test(conn, T0)
    assert [result["ok"] for result in results] == [True, False, False]
    assert "env:NOT_SET is not there" in results[1]["error"]
    stored = await (await conn.execute("select * from notification")).fetchall()
    assert "s3cr3tcanary" not in str(stored) + str(results) and len(stored) == 3
    assert (tmp_path / "alerts.jsonl").exists()


async def test_a_secret_in_a_url_is_in_no_table_and_no_error(conn: Any) -> None:
    watcher = watcher_of("json://user:s3cr3tcanary@127.0.0.1:1/x?key=s3cr3tcanary")
    await watcher.on_report(conn, finished("backup"))
    await watcher.deliver_once(conn, T0)
    notifications = await (await conn.execute("select * from notification")).fetchall()
    events = await (await conn.execute("select * from event")).fetchall()
    assert notifications[0]["last_error"] and len(events) == 2
    assert "s3cr3tcanary" not in str(notifications) + str(events)


async def test_what_waits_for_a_target_that_left_the_lab_file_is_failed_not_lost(conn: Any) -> None:
    watcher = watcher_of("json://old/")
    await watcher.on_report(conn, finished("backup"))
    watcher.configure(Lab(notify=Settings(urls=("log://new",))))
    await watcher.deliver_once(conn, T0)
    assert [row["last_error"] for row in await rows(conn, "failed")] == ["the lab file no longer has this target"]


def test_the_process_that_schedules_jobs_never_loads_apprise() -> None:
    code = "import homelab.notify.watcher, sys; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def seen(digest: str, *, free_bytes: int) -> dict[str, Any]:
    """The facts of a report, as a worker makes them."""
    return {
        "scripts": [{"path": "/scripts/dump.sh", "digest": digest, "changed": (T0 - timedelta(hours=3)).isoformat()}],
        "variables": {"PATH": "aa"},
        "programs": ["pg_dump"],
        "single": False,
        "disks": [{"path": "/backups", "free_bytes": free_bytes, "size_bytes": 20_000_000}],
        "load": 0.5,
    }


async def test_the_alert_of_a_failure_tells_the_facts_and_what_changed_since_the_last_good_run(conn: Any) -> None:
    watcher = watcher_of("log://alerts.jsonl", jobs=(Job(name="dump", run="/scripts/dump.sh"),))
    good = {**finished("dump", "succeeded", at=T0 - timedelta(days=1)), "exit_code": 0}
    bad = finished("dump", exit_code=2, tail=["pg_dump: error: No space left on device"])
    more = {"worker": "w", "node": "mac3"}
    for report, digest, free in ((good, "aa", 10**7), (bad, "bb", 0)):
        await conn.execute(
            "insert into run (id, flow, due, digest, trigger) values (%s, 'dump', %s, 'd', 'schedule')",
            (report["run"], report["due"]),
        )
        async with conn.transaction():
            await reports.take(conn, [{**report, **more, "facts": seen(digest, free_bytes=free)}], watcher)
    alert = (await queue.listing(conn))[0]
    lines = alert["body"].splitlines()
    assert lines[0] == (
        "It ended with exit status 2. Its output says: “pg_dump: error: No space left on device”."
        " /backups had 0 B free of 20.0 MB when it ended."
        " /scripts/dump.sh has changed since the run that succeeded 2026-02-28 02:00 UTC:"
        " on Saturday 2026-02-28 at 23:00 UTC, 3 h before this run."
    )
    assert lines[2] == "Next: Free space on /backups."
    kept = await (await conn.execute("select count(*) as n from setting")).fetchone()
    events = await (await conn.execute("select body from event where kind = 'job.finished'")).fetchall()
    assert kept["n"] == 2 and len(events) == 2 and not [e for e in events if "facts" in e["body"]]


async def test_a_report_without_facts_of_an_older_worker_is_taken(conn: Any) -> None:
    watcher = watcher_of("log://alerts.jsonl", jobs=(Job(name="dump", run="x"),))
    report = {**finished("dump", exit_code=3), "worker": "w", "node": "mac3"}
    await reports.take(conn, [report], watcher)
    assert (await queue.listing(conn))[0]["body"].startswith("It ended with exit status 3.\n")
    row = await (await conn.execute("select setting, facts from job_run")).fetchone()
    assert row == {"setting": None, "facts": None}


async def test_what_is_usual_is_learned_from_the_database_and_then_from_reports(conn: Any) -> None:
    def night(number: int, took_s: float) -> dict[str, Any]:
        ended = T0 + timedelta(days=number, seconds=took_s)
        one = finished("dump", "succeeded", at=T0 + timedelta(days=number), ended=ended.isoformat(), exit_code=0)
        return {**one, "worker": "w", "node": "mac3", "output_bytes": 4000}

    job = Job(name="dump", run="x")
    first = watcher_of("log://alerts.jsonl", jobs=(job,))
    for number in range(20):
        await conn.execute(
            "insert into run (id, flow, digest, trigger) values (%s, 'dump', 'd', 'schedule')",
            (night(number, 1)["run"],),
        )
        await reports.take(conn, [night(number, 60 + number % 3)], first)
        await conn.execute("update job_run set recorded = ended")
    second = watcher_of("log://alerts.jsonl", jobs=(job,))  # control started anew
    for number, took_s in ((20, 600), (21, 600), (22, 61)):
        await conn.execute(
            "insert into run (id, flow, digest, trigger) values (%s, 'dump', 'd', 'schedule')",
            (night(number, 1)["run"],),
        )
        await reports.take(conn, [night(number, took_s)], second)
        await reports.take(conn, [{**night(number, took_s), "id": f"again {number}"}], second)
    told = [(n["kind"], n["body"].splitlines()[0]) for n in reversed(await queue.listing(conn))]
    assert told == [
        ("slow", "It took 10 min; usually 60 to 62 s (20 runs)."),
        ("recovered", "It had been unusually slow since 2026-03-21 02:10:00 UTC. It took 61 s."),
    ]
