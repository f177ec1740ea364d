"""The ledger and its scheduler on a real Postgres: every instant once, whatever is away or killed at whatever moment.

Prefect is played by a recorder with Prefect's rules for what is asked of it (idempotency keys, states, deletion); the
worker by taking what it holds when it is due. Time is virtual.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from tests.service.postgres_site import fresh
from tests.service.prefect_recorder import Recorder

from homelab.control.service import Control
from homelab.core.errors import RefusedError
from homelab.flows.api import PrefectUnavailable
from homelab.home import adoptions
from homelab.home.paths import Home

START = datetime(2026, 3, 2, 10, 0, 30, tzinfo=UTC)


@dataclass
class Site:
    """One lab: its database, its home, the recorder, a clock; `control` is opened anew by `restart`."""

    url: str
    home: Home
    prefect: Recorder = field(default_factory=Recorder)
    now: datetime = START
    ran: list[tuple[str, datetime]] = field(default_factory=list)
    """(flow, instant) of everything that was executed, in order."""
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    control: Control = None  # type: ignore[assignment]

    async def restart(self) -> None:
        """As after kill -9: what was only in memory is gone."""
        await self.stack.aclose()
        opened = Control.open(self.home, self.url, self.prefect, clock=lambda: self.now)  # type: ignore[arg-type]
        self.control = await self.stack.enter_async_context(opened)

    async def look(self) -> None:
        """One look of the scheduler, then one of the worker."""
        shared, scheduler = self.control._shared, self.control._scheduler
        async with shared.applying:
            await scheduler.tick(self.now)
        for run in self.prefect.work(self.now):
            flow = (run.key or "").split("@")[0]
            self.ran.append((flow, datetime.fromisoformat(run.parameters["due"])))

    async def apply(self, text: str) -> None:
        await self.control.apply({"lab.toml": text}, "lab.toml", by="test")

    async def pass_minutes(self, minutes: float) -> None:
        await self.pass_until(self.now + timedelta(minutes=minutes))

    async def pass_until(self, end: datetime) -> None:
        """A look each fifteen seconds."""
        while self.now < end:
            self.now += timedelta(seconds=15)
            await self.look()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(statement.encode()).fetchall()  # type: ignore[arg-type]

    def instants(self, flow: str) -> list[str]:
        """The executed instants of a flow, as HH:MM."""
        return [f"{due:%H:%M}" for name, due in self.ran if name == flow]


@pytest.fixture
async def site(database: str, tmp_path: Path) -> AsyncIterator[Site]:
    fresh(database)
    site = Site(database, Home(tmp_path / "home").ensure())
    await site.restart()
    yield site
    await site.stack.aclose()


def _lab(*jobs: str) -> str:
    return '[lab]\nname = "t"\ntimezone = "UTC"\n' + "\n".join(jobs)


def _minutely(name: str, *more: str) -> str:
    return "\n".join([f"[jobs.{name}]", 'schedule = "* * * * *"', 'run = "true"', *more])


def _minutes(first: int, last: int) -> list[str]:
    return [f"10:{m:02}" for m in range(first, last + 1)]


async def test_a_minutely_job_runs_once_each_minute_and_is_created_ahead(site: Site) -> None:
    await site.apply(_lab(_minutely("a")))
    await site.pass_minutes(5)
    assert site.instants("a") == _minutes(1, 5)
    ahead = [r for r in site.prefect.runs.values() if r.state == "SCHEDULED"]
    assert len(ahead) >= 3


SCENARIO = _lab(_minutely("a"), _minutely("b"))


async def _ten_busy_minutes(site: Site, *, killed: bool) -> None:
    """Everything that a person does to a lab; after a failure `control` goes on, or (`killed`) begins anew, and what
    failed is asked for again."""
    steps: list[Callable[[], Any]] = [
        lambda: site.apply(SCENARIO),
        lambda: site.control.pause("b", "test"),
        lambda: site.control.resume("b", "test"),
        lambda: site.apply(SCENARIO.replace('"true"', '"date"')),
        lambda: site.apply(_lab(_minutely("a"))),
    ]
    for number, step in enumerate(steps, 1):
        end = START + timedelta(minutes=2 * number)
        for action in (step, lambda end=end: site.pass_until(end)):
            for _ in range(3):
                try:
                    await action()
                except PrefectUnavailable:
                    if killed:
                        await site.restart()
                else:
                    break


def _is_each_once(site: Site) -> None:
    a, b = site.instants("a"), site.instants("b")
    assert sorted(a) == _minutes(1, 10)
    assert sorted(b) == [*_minutes(1, 2), *_minutes(5, 8)], "paused for two minutes, removed after eight"


async def test_no_instant_is_lost_or_doubled_wherever_prefect_fails_and_control_is_killed(site: Site) -> None:
    """Every call to Prefect of the scenario fails once, before and after its effect."""
    await _ten_busy_minutes(site, killed=False)
    _is_each_once(site)
    calls = site.prefect.calls
    assert calls > 30
    for number in range(1, calls + 1):
        for after, killed in ((False, number % 3 > 0), (True, number % 3 < 2)):
            await site.stack.aclose()
            fresh(site.url)
            (site.home.root / "scheduler.json").unlink()
            site.prefect, site.now, site.ran = Recorder(fails_at=number, after=after), START, []
            await site.restart()
            await _ten_busy_minutes(site, killed=killed)
            try:
                _is_each_once(site)
            except AssertionError as error:
                raise AssertionError(f"{number=} {after=} {killed=}") from error


async def test_an_outage_of_prefect_makes_no_storm_and_loses_nothing_that_is_made_up_for(site: Site) -> None:
    policies = [_minutely(p, f'missed = "{p}"') for p in ("skip", "latest", "all")]
    await site.apply(_lab(*policies))
    await site.pass_minutes(2)
    site.prefect.is_away = True
    for _ in range(6 * 10):
        site.now += timedelta(seconds=10)
        with contextlib.suppress(PrefectUnavailable):
            await site.look()
    site.prefect.is_away = False
    await site.pass_minutes(2)
    for policy in ("skip", "latest", "all"):
        ran = site.instants(policy)
        assert len(ran) == len(set(ran)), policy
        assert set(_minutes(13, 14)) <= set(ran)
    assert set(site.instants("all")) == set(_minutes(1, 14))
    missed = {
        str(due)[11:16] for (due,) in site.sql("select due from instant where flow = 'skip' and decision = 'missed'")
    }
    assert set(site.instants("skip")) | missed == set(_minutes(1, 14)), "lost instants are visible"


async def test_a_clock_that_jumps_forward_and_back_runs_each_instant_once(site: Site) -> None:
    await site.apply(_lab(_minutely("skip", 'missed = "skip"'), _minutely("latest", 'missed = "latest"')))
    await site.pass_minutes(2)
    site.now += timedelta(hours=2)
    await site.pass_minutes(1)
    site.now -= timedelta(hours=2)
    await site.pass_minutes(3)
    for flow in ("skip", "latest"):
        assert len(site.instants(flow)) == len(set(site.instants(flow)))
    behind = [due for flow, due in site.ran if flow == "latest" and due.hour == 12]
    assert 1 <= len(behind) <= 3, "of two hours the newest, and what came due since"
    looks = [site.control._shared.flows["skip"].check_at - site.now]
    assert looks[0] > timedelta(minutes=1), "nothing to do until the clock is where it was: no busy loop"


async def test_a_clock_that_is_set_in_steps_of_ten_seconds_runs_each_instant_once(site: Site) -> None:
    await site.apply(_lab(_minutely("a", 'missed = "all"')))
    for step in (10, 10, 10, -10, 10, -10, -10, 10, 10, -10, 10, 10):
        site.now += timedelta(seconds=step)
        await site.look()
        await site.pass_minutes(0.25)
    await site.pass_until(START + timedelta(minutes=6))
    assert site.instants("a") == _minutes(1, 6)


async def test_after_three_hours_down_each_job_makes_up_for_what_it_missed_as_it_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each policy with an hourly job, and one daily instant in between; the machine itself was up all the time."""
    monkeypatch.setattr(psutil, "boot_time", lambda: START.timestamp() - 60)
    policies = ("skip", "latest", "all")
    jobs = [f'[jobs.{p}]\nschedule = "10 * * * *"\nrun = "true"\nmissed = "{p}"' for p in policies]
    jobs += [f'[jobs.daily-{p}]\nschedule = "30 11 * * *"\nrun = "true"\nmissed = "{p}"' for p in policies]
    await site.apply(_lab(*jobs, '[jobs.boot]\nschedule = "@reboot"\nrun = "true"'))
    await site.pass_minutes(15)
    assert [site.instants(p) for p in policies] == [["10:10"]] * 3
    await site.stack.aclose()
    site.now += timedelta(hours=3)
    for run in site.prefect.runs.values():  # a worker that starts gives up what came due while nobody was there
        if run.state == "SCHEDULED" and run.due < site.now - timedelta(minutes=1):
            run.state, run.name = "CANCELLED", "Missed"
    await site.restart()
    await site.pass_minutes(5)
    assert site.instants("skip") == ["10:10"]
    assert site.instants("latest") == ["10:10", "13:10"], "one run, not three"
    assert sorted(site.instants("all")) == ["10:10", "11:10", "12:10", "13:10"]
    assert [site.instants(f"daily-{p}") for p in policies] == [[], ["11:30"], ["11:30"]]
    assert [flow for flow, _ in site.ran if flow == "boot"] == ["boot"]
    statement = (
        "select to_char(due at time zone 'utc', 'HH24:MI') from instant where decision = 'missed' and flow = '{}'"
    )
    assert [m for (m,) in site.sql(f"{statement.format('skip')} order by due")] == ["11:10", "12:10", "13:10"]
    assert [m for (m,) in site.sql(statement.format("daily-skip"))] == ["11:30"]


async def test_a_run_given_up_by_a_worker_while_prefect_is_away_is_made_up_for_once(site: Site) -> None:
    await site.apply(_lab(_minutely("a", 'missed = "all"')))
    await site.pass_minutes(1)
    run = min((r for r in site.prefect.runs.values() if r.state == "SCHEDULED"), key=lambda r: r.due)
    run.state, run.name = "CANCELLED", "Missed"
    site.now = run.due + timedelta(seconds=90)
    report = {
        "id": "m1", "kind": "run.missed", "run": run.id, "flow": "a", "due": run.due.isoformat(),
        "time": site.now.isoformat(), "reason": "the machine slept",
    }  # fmt: skip
    site.prefect.is_away = True
    await site.control.workers.take_reports([report])
    with pytest.raises(PrefectUnavailable):
        await site.look()
    site.prefect.is_away = False
    await site.restart()
    await site.control.workers.take_reports([report])
    await site.look()
    await site.look()
    assert site.instants("a").count(f"{run.due:%H:%M}") == 1


async def test_a_worker_that_died_before_it_could_say_that_it_gave_up_is_found_out(site: Site) -> None:
    await site.apply(_lab(_minutely("a", 'missed = "all"')))
    await site.pass_minutes(1)
    run = min((r for r in site.prefect.runs.values() if r.state == "SCHEDULED"), key=lambda r: r.due)
    run.state, run.name = "CANCELLED", "Missed"
    await site.pass_minutes(5)
    assert site.instants("a").count(f"{run.due:%H:%M}") == 1


def _succeeded(site: Site, number: int) -> dict[str, Any]:
    return {
        "id": f"s{number}", "kind": "job.finished", "run": f"r{number}", "flow": "up", "job": "up", "due": None,
        "attempt": 1, "started": site.now.isoformat(), "ended": site.now.isoformat(), "state": "succeeded",
        "exit_code": 0, "signal": None, "reason": "", "output_bytes": 0, "output_lines": 0, "tail": [],
        "retry_at": None, "worker": "w", "node": "n",
    }  # fmt: skip


async def test_a_blocked_flow_is_released_once_though_prefect_is_away_when_its_need_succeeds(site: Site) -> None:
    down = '[jobs.down]\nschedule = "*/2 * * * *"\nneeds = [{ job = "up", within = "1h" }]\nrun = "true"'
    up = '[jobs.up]\nschedule = "0 0 1 1 *"\nrun = "true"'
    await site.apply(_lab(up, down))
    await site.pass_minutes(5)
    assert site.instants("down") == []
    site.prefect.is_away = True
    await site.control.workers.take_reports([_succeeded(site, 1)])
    with pytest.raises(PrefectUnavailable):
        await site.look()
    site.prefect.is_away = False
    await site.restart()
    await site.look()
    await site.look()
    assert site.instants("down") == ["10:04"], "the newest of those that waited"
    assert [d for (d,) in site.sql("select decision from instant where flow = 'down' order by due")] == [
        "superseded", "created"
    ]  # fmt: skip


async def test_a_resumed_job_runs_at_the_next_instant_though_it_was_decided_ahead(site: Site) -> None:
    await site.apply(_lab('[jobs.daily]\nschedule = "0 12 * * *"\nrun = "true"'))
    await site.look()
    await site.control.pause("daily", "test")
    await site.look()
    await site.control.resume("daily", "test")
    site.now = START.replace(hour=12, minute=0, second=5)
    await site.look()
    await site.look()
    assert site.instants("daily") == ["12:00"]


async def test_a_database_restored_from_a_backup_of_a_minute_ago_runs_nothing_again(site: Site) -> None:
    await site.apply(_lab(_minutely("a", 'missed = "all"'), _minutely("b", 'missed = "latest"')))
    await site.pass_minutes(2)
    tables = ("instant", "run", "mark", "flow", "definition", "lab")
    backup = {t: site.sql(f"select to_jsonb(x) from {t} x") for t in tables}
    scheduled = {k: v for k, v in site.prefect.runs.items() if v.state == "SCHEDULED"}
    await site.pass_minutes(3)
    before = list(site.ran)
    await site.stack.aclose()
    with psycopg.connect(site.url, autocommit=True) as conn:
        for table in tables:
            conn.execute(f"truncate {table} cascade".encode())  # type: ignore[arg-type]
        for table in reversed(tables):
            for (row,) in backup[table]:
                statement = f"insert into {table} select * from jsonb_populate_record(null::{table}, %s)"
                conn.execute(statement.encode(), (psycopg.types.json.Jsonb(row),))  # type: ignore[arg-type]
    for run in scheduled.values():
        run.state, run.name = "SCHEDULED", "Scheduled"
    # The worker knows by its journals what it has run: those are left alone.
    site.prefect.runs = {k: v for k, v in scheduled.items() if (v.key.split("@")[0], v.due) not in before}  # type: ignore[union-attr]
    await site.restart()
    assert "database-restored" in site.control._shared.notes
    await site.pass_minutes(2)
    assert len(site.ran) == len(set(site.ran)), "an instant ran twice"
    assert set(site.instants("a")) == set(_minutes(1, 7))


async def test_reboot_jobs_run_once_a_boot_if_they_were_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "boot_time", lambda: START.timestamp() - 60)
    reboot = '[jobs.{0}]\nschedule = "@reboot"\nrun = "true"'
    await site.apply(_lab(reboot.format("first")))
    await site.pass_minutes(1)
    assert [flow for flow, _ in site.ran] == ["first"]
    site.now += timedelta(minutes=5)
    await site.apply(_lab(reboot.format("first"), reboot.format("later")))
    await site.look()
    await site.restart()
    await site.pass_minutes(1)
    assert [flow for flow, _ in site.ran] == ["first"], "'later' was not there when the machine started"
    site.sql("delete from instant where flow = 'first' returning 1")
    site.sql("update mark set sequence = 0, alive = alive - interval '1 hour' returning 1")
    await site.restart()
    await site.pass_minutes(1)
    assert [flow for flow, _ in site.ran] == ["first"], "not again by a restored database"


async def test_a_deployment_deleted_in_prefect_is_made_anew_and_stops_no_other_flow(site: Site) -> None:
    await site.apply(_lab(_minutely("a"), _minutely("b")))
    await site.pass_minutes(1)
    site.prefect.deployments.pop("a")
    await site.pass_minutes(6)
    assert site.instants("b") == _minutes(1, 7)
    assert site.instants("a") == _minutes(1, 7)


async def test_a_run_deleted_by_a_person_in_prefect_does_not_stay_open(site: Site) -> None:
    await site.apply(_lab(_minutely("a")))
    await site.pass_minutes(1)
    gone = min((r for r in site.prefect.runs.values() if r.state == "SCHEDULED"), key=lambda r: r.due)
    site.prefect.runs.pop(gone.id)
    await site.pass_minutes(5)
    assert site.sql(f"select state, reason from run where id = '{gone.id}'") == [
        ("cancelled", "deleted in Prefect before it started")
    ]


async def test_a_job_taken_over_from_cron_runs_from_the_next_instant_after_the_switch(site: Site) -> None:
    """In shadow each instant is noted and nothing runs; an apply that comes late loses no instant after the switch."""
    shadow = _minutely("a", "shadow = true")
    await site.apply(_lab(shadow))
    await site.pass_minutes(2)
    assert site.ran == []
    noted = site.sql("select due, decision, reason from instant where flow = 'a' order by due")
    assert [f"{due:%H:%M}" for due, _, _ in noted] == _minutes(1, 2)
    switch, site.now = site.now, site.now + timedelta(seconds=45)
    await site.look()
    late = {"lab.toml": _lab(_minutely("a"))}
    with pytest.raises(RefusedError):
        await site.control.apply(late, "lab.toml", by="t", since=switch, deadline=switch + timedelta(seconds=40))
    await site.control.apply(late, "lab.toml", by="t", since=switch, deadline=switch + timedelta(seconds=50))
    await site.pass_minutes(2)
    assert site.instants("a") == _minutes(3, 5)


async def test_a_job_given_back_to_cron_while_control_was_away_is_not_run_late_either(site: Site) -> None:
    """Its next run was created ahead, and is due by now: cron has started it."""
    await site.apply(_lab(_minutely("a"), _minutely("b")))
    await site.pass_minutes(1)
    await site.stack.aclose()
    adoptions.hand_back(site.home, ["a"])
    site.now += timedelta(seconds=50)
    await site.restart()
    await site.pass_minutes(2)
    assert site.instants("a") == _minutes(1, 1)
    assert site.instants("b") == _minutes(1, 4)
