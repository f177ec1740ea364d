"""Needs between schedules."""

from datetime import UTC, datetime, timedelta

from homelab.control.freshness import Condition, conditions, unmet
from homelab.core.jobs import Job, Need, effective_schedules, flows_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _flow(within_s: float | None = None, schedule: str = "@hourly") -> tuple[Condition, ...]:
    jobs = [
        Job(name="fetch", run="true", schedule=schedule),
        Job(name="report", run="true", schedule="@daily", needs=(Need(job="fetch", within_s=within_s),)),
    ]
    flow = next(f for f in flows_of(jobs) if f.name == "report")
    return conditions(flow, effective_schedules({j.name: j for j in jobs}), at=NOW)


def test_without_a_window_it_is_one_period_and_a_little_more() -> None:
    (condition,) = _flow()
    assert timedelta(hours=1) < timedelta(seconds=condition.within_s) < timedelta(hours=1.5)
    (daily,) = _flow(schedule="0 3 * * *")
    assert timedelta(hours=24) < timedelta(seconds=daily.within_s) < timedelta(hours=28)


def test_a_fresh_success_lets_it_start_and_a_stale_or_missing_one_says_why() -> None:
    found = _flow(within_s=3600)
    assert unmet(found, {"fetch": (NOW - timedelta(minutes=59), None)}, now=NOW) == ""
    assert "never succeeded" in unmet(found, {}, now=NOW)
    stale = unmet(found, {"fetch": (NOW - timedelta(hours=3), NOW)}, now=NOW)
    assert "fetch" in stale
    assert "3h" in stale


def test_needs_inside_the_flow_are_no_conditions() -> None:
    jobs = [Job(name="a", run="true", schedule="@daily"), Job(name="b", run="true", needs=(Need(job="a"),))]
    (flow,) = flows_of(jobs)
    assert conditions(flow, effective_schedules({j.name: j for j in jobs}), at=NOW) == ()
