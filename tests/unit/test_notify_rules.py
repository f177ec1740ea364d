from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homelab.core.usual import Habit, Run, learn
from homelab.notify import rules
from homelab.notify.rules import Condition, Context, Verdict

T0 = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
STATES = ("succeeded", "failed", "timed_out", "crashed", "cancelled", "skipped", "blocked")


def report(state: str = "failed", *, at: datetime = T0, took_s: float = 5, **fields: Any) -> dict[str, Any]:
    return {
        "id": "r", "kind": "job.finished", "run": f"run-{at.timestamp():.0f}", "flow": "backup-db", "job": "backup-db",
        "due": (at - timedelta(seconds=took_s)).isoformat(), "attempt": 1, "state": state, "exit_code": 3,
        "started": (at - timedelta(seconds=took_s)).isoformat(), "ended": at.isoformat(), "signal": None, "reason": "",
        "output_bytes": 100, "output_lines": 2, "tail": ["one", "two"], "retry_at": None, **fields,
    }  # fmt: skip


class Ledger:
    """Carries conditions from one verdict to the next, as table `watch` does."""

    def __init__(self) -> None:
        self.open: dict[str, Condition] = {}
        self.told: list[str] = []

    def take(self, verdict: Verdict) -> Verdict:
        self.open |= {condition.kind: condition for condition in verdict.opens}
        for _, kind in verdict.closes:
            self.open.pop(kind, None)
        self.told += [alert.kind for alert in verdict.alerts]
        return verdict

    def finished(self, one: dict[str, Any], **context: Any) -> Verdict:
        return self.take(rules.finished(one, Context(open=dict(self.open), **context)))


def test_an_attempt_that_will_be_retried_says_nothing() -> None:
    assert rules.finished(report(retry_at=T0.isoformat()), Context()) == Verdict()


def test_a_failure_says_why_when_which_attempt_the_last_lines_and_where_to_look() -> None:
    context = Context(link="http://lab/runs/1", dependants=("upload",))
    alert = rules.finished(report(attempt=2, tail=[f"line {n}" for n in range(30)]), context).alerts[0]
    assert alert.title == "homelab: backup-db failed"
    assert alert.reason == "It ended with exit status 3, after 2 attempts."
    for part in (
        "2026-03-01 02:00:00 UTC",
        "Attempt: 2",
        "Needed by: upload",
        "http://lab/runs/1",
        "line 29",
        "line 10",
    ):
        assert part in alert.body
    assert "line 9\n" not in alert.body
    assert len(alert.tail) == 20


def test_a_job_that_fails_every_minute_for_three_days_is_told_once_a_day_and_then_recovers() -> None:
    ledger = Ledger()
    for minute in range(3 * 24 * 60):
        ledger.finished(report(at=T0 + timedelta(minutes=minute)))
    assert ledger.told == ["failed"] * 3
    verdict = ledger.finished(report("succeeded", at=T0 + timedelta(days=3)))
    assert ledger.told[3:] == ["recovered"]
    assert "failed 4320 times" in verdict.alerts[0].reason
    ledger.finished(report("succeeded", at=T0 + timedelta(days=3, minutes=1)))
    assert len(ledger.told) == 4 and not ledger.open


def test_recovery_is_not_told_when_the_failure_was_not() -> None:
    ledger = Ledger()
    ledger.finished(report(), on=("recovered",))
    ledger.finished(report("succeeded", at=T0 + timedelta(minutes=1)), on=("recovered",))
    assert ledger.told == []


@given(st.lists(st.tuples(st.sampled_from(STATES), st.booleans()), max_size=60))
def test_recovered_never_comes_without_a_failure_before_it_and_nothing_is_told_twice_in_a_row(
    history: list[tuple[str, bool]],
) -> None:
    ledger = Ledger()
    for minute, (state, retried) in enumerate(history):
        at = T0 + timedelta(minutes=minute)
        ledger.finished(report(state, at=at, retry_at=at.isoformat() if retried else None))
    assert ledger.told == [("failed", "recovered")[n % 2] for n in range(len(ledger.told))]
    final = [state for state, retried in history if not retried and state in STATES[:4]]
    assert (ledger.told[-1:] == ["failed"]) == (final[-1:] != [] and final[-1] != "succeeded")


def test_a_job_blocked_by_a_failure_in_its_own_run_adds_no_alert() -> None:
    assert rules.finished(report("blocked"), Context()).alerts == ()


DAY_S = 86400.0


def nightly(*, took_s: float = 60, output_bytes: int = 4000, runs: int = 30) -> Habit:
    """A habit of so many nights up to the one before `T0`."""
    first = T0.timestamp() - runs * DAY_S
    return learn(
        Run(ended=first + n * DAY_S, took_s=took_s + n % 3, output_bytes=output_bytes + n, late_s=0.1)
        for n in range(runs)
    )


def night(ledger: Ledger, habit: Habit, number: int, *, took_s: float = 60, output_bytes: int = 4000) -> Verdict:
    """One more night, judged as `watcher` does it."""
    at = T0 + timedelta(days=number)
    found = habit.observe(Run(ended=at.timestamp(), took_s=took_s, output_bytes=output_bytes))
    return ledger.finished(report("succeeded", at=at, took_s=took_s, output_bytes=output_bytes), found=found)


def test_a_silent_run_is_told_once_until_the_job_prints_again_and_that_is_told_too() -> None:
    ledger, habit = Ledger(), nightly()
    verdict = night(ledger, habit, 0, output_bytes=0)
    assert verdict.alerts[0].title == "homelab: backup-db printed nothing"
    assert verdict.alerts[0].reason == "It succeeded but printed nothing; usually it prints 4.0 kB (30 runs)."
    assert verdict.opens[0].reason == verdict.alerts[0].reason
    night(ledger, habit, 1, output_bytes=0)
    assert ledger.told == ["silent"]
    again = night(ledger, habit, 2, output_bytes=3900)
    assert again.alerts[0].title == "homelab: backup-db is as usual again"
    assert again.alerts[0].reason == "It had printed nothing since 2026-03-01 02:00:00 UTC. It took 60 s."
    night(ledger, habit, 3)
    assert ledger.told == ["silent", "recovered"] and not ledger.open


def test_a_slow_and_a_shrunken_run_are_told_with_what_is_usual() -> None:
    alert = night(Ledger(), nightly(took_s=200), 0, took_s=840).alerts[0]
    assert (alert.kind, alert.reason) == ("slow", "It took 14 min; usually 3 min (30 runs).")
    alert = night(Ledger(), nightly(), 0, output_bytes=300).alerts[0]
    assert (alert.kind, alert.reason) == (
        "shrunken",
        "It succeeded but printed only 300 B; usually 4.0 kB (30 runs).",
    )


def test_the_first_failure_of_a_job_that_never_failed_says_so() -> None:
    habit = nightly()
    habit.observe(Run(ended=T0.timestamp(), is_good=False))
    first = rules.finished(report(exit_code=3), Context(habit=habit)).alerts[0]
    assert first.reason == "It ended with exit status 3. It is the first failure in 31 runs."
    habit.observe(Run(ended=T0.timestamp() + 60, is_good=False))
    assert rules.finished(report(exit_code=3), Context(habit=habit)).alerts[0].reason == "It ended with exit status 3."


def test_a_job_that_stays_slower_is_told_once_and_then_it_is_usual() -> None:
    ledger, habit = Ledger(), nightly()
    for number in range(40):
        night(ledger, habit, number, took_s=400 + number % 5)
    assert ledger.told == ["slow"] and not ledger.open
    assert night(ledger, habit, 40, took_s=2000).alerts[0].reason.startswith("It took 33 min; usually 7 min")


def test_a_run_is_late_once_a_minute_after_the_later_of_its_due_time_and_the_start_of_the_lab() -> None:
    def judge(after_due_s: float, *, up_s: float = -9999, period_s: float | None = 60, **more: Any) -> Verdict:
        due = T0
        return rules.late(
            flow="f", run="1", due=due, up_since=due + timedelta(seconds=up_s), period_s=period_s,
            now=due + timedelta(seconds=after_due_s), context=Context(**more),
        )  # fmt: skip

    assert not judge(60).alerts
    verdict = judge(61)
    assert verdict.alerts[0].title == "homelab: f is late"
    assert not judge(120, open={"late": verdict.opens[0]}).alerts
    assert not judge(3600, up_s=3590).alerts
    assert not judge(299, period_s=86400).alerts and judge(301, period_s=86400).alerts


def test_a_run_that_waits_in_a_queue_every_night_is_not_late_when_it_waits_so_long_again() -> None:
    habit = learn(Run(ended=n * DAY_S, took_s=9, late_s=280 + n % 40) for n in range(20))

    def judge(after_due_s: float, habit: Habit | None) -> Verdict:
        return rules.late(
            flow="f", run="1", due=T0, up_since=T0, period_s=DAY_S, now=T0 + timedelta(seconds=after_due_s),
            context=Context(habit=habit),
        )  # fmt: skip

    assert judge(400, None).alerts and not judge(400, habit).alerts
    assert judge(1000, habit).alerts[0].reason == (
        "It was due 17 min ago and has not started; usually it starts within 5 min (20 runs)."
    )


def test_the_start_of_a_late_run_is_told_when_the_lateness_was() -> None:
    late = rules.late(
        flow="f", run="1", due=T0, up_since=T0, period_s=60, now=T0 + timedelta(seconds=90), context=Context()
    )
    started = {"kind": "run.started", "flow": "f", "run": "1", "time": T0 + timedelta(seconds=200)}
    verdict = rules.began(started, Context(open={"late": late.opens[0]}))
    assert [alert.kind for alert in verdict.alerts] == ["recovered"] and verdict.closes == (("f", "late"),)
    waits_for_success = replace(late.opens[0], run=None)
    assert rules.began(started, Context(open={"late": waits_for_success})) == Verdict()


def test_a_job_that_does_not_succeed_at_its_pace_any_more_is_late_unless_the_reason_is_known() -> None:
    habit = nightly()
    last = habit.ends[-1]

    def judge(hours: float, *, applied_days: float = 60, **more: Any) -> Verdict:
        now = datetime.fromtimestamp(last + hours * 3600, UTC)
        return rules.overdue(
            job="j", up_since=T0 - timedelta(days=90), applied=T0 - timedelta(days=applied_days), now=now,
            context=Context(habit=habit, **more),
        )  # fmt: skip

    assert not judge(25).alerts and not judge(35).alerts
    assert judge(40).alerts[0].reason == (
        "It last succeeded 40 h ago (2026-02-28 02:00 UTC); usually it does every 24 h (29 times)."
    )
    failing = {"failed": Condition(job="j", kind="failed", since=T0)}
    assert not judge(40, open=failing).alerts
    assert not judge(40, applied_days=3).alerts, "its schedule was another one before"


def test_a_run_is_stuck_beyond_its_timeout_or_far_beyond_its_past() -> None:
    def judge(going_s: float, *, timeout_s: float | None = None, habit: Habit | None = None) -> Verdict:
        return rules.stuck(
            job="j", run="1", attempt=1, started=T0, timeout_s=timeout_s, grace_s=10,
            now=T0 + timedelta(seconds=going_s), context=Context(habit=habit),
        )  # fmt: skip

    assert not judge(1e6).alerts
    assert not judge(130, timeout_s=60).alerts and judge(131, timeout_s=60).alerts
    known = nightly(took_s=100)
    assert not judge(350, habit=known).alerts
    assert judge(500, habit=known).alerts[0].reason == (
        "It has been running for 8 min and goes on; usually it takes 100 to 102 s (30 runs)."
    )


def test_an_outage_of_many_missed_runs_is_one_alert_with_their_number() -> None:
    ledger = Ledger()
    dues = [T0 + timedelta(minutes=n) for n in range(180)]
    for n in range(180):
        ledger.take(
            rules.missed(
                flow="f",
                dues=dues[: n + 1],
                reason="the lab was down",
                first_seen=T0,
                context=Context(open=ledger.open),
                now=T0 + timedelta(milliseconds=n),
            )
        )
    assert ledger.told == []
    later = T0 + rules.MISSED_SETTLE
    verdict = ledger.take(
        rules.missed(flow="f", dues=dues, reason="", first_seen=T0, now=later, context=Context(open=ledger.open))
    )
    assert verdict.alerts[0].title == "homelab: f missed 180 runs"
    again = rules.missed(flow="f", dues=dues, reason="", first_seen=T0, now=later, context=Context(open=ledger.open))
    assert again.alerts == ()


def test_a_blocked_flow_is_told_once_a_day_and_not_while_the_failure_above_it_was_told() -> None:
    def days(upstream_told: bool) -> list[str]:
        ledger = Ledger()
        for hour in range(72):
            now = T0 + timedelta(hours=hour)
            context = Context(open=dict(ledger.open))
            ledger.take(
                rules.blocked(
                    flow="b", due=now, reason="a is stale", upstream_told=upstream_told, now=now, context=context
                )
            )
        return ledger.told

    assert days(False) == ["blocked"] * 3
    assert days(True) == []


def test_kinds_that_are_switched_off_stay_quiet_but_are_remembered() -> None:
    verdict = rules.finished(report(), Context(on=()))
    assert verdict.alerts == () and [c.kind for c in verdict.opens] == ["failed"]


def test_a_failure_that_was_remembered_untold_is_told_when_it_is_seen_again() -> None:
    opened = replace(rules.finished(report(), Context()).opens[0], told=None)
    alert = rules.finished(report(), Context(open={"failed": opened})).alerts[0]
    assert alert.title == "homelab: backup-db still fails"


def test_every_kind_of_alert_is_described_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/notifications.md").read_text()
    assert [kind for kind in rules.KINDS if f"| `{kind}` |" not in page] == []
