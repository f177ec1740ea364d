"""What needs a person, in which order, with which words; how a run differs from a good one."""

from datetime import UTC, datetime, timedelta
from typing import Any

from homelab.control.attention import JobNow, attention
from homelab.control.difference import compare
from homelab.core.endings import Circumstances, ScriptState
from homelab.core.jobs import Job, Retries

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def result(state: str = "failed", **more: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "state": state,
        "ended": NOW,
        "exit_code": 1,
        "signal": None,
        "reason": "",
        "attempt": 1,
        **more,
    }


def condition(since_s: float = 60, **more: Any) -> dict[str, Any]:
    return {"since": NOW - timedelta(seconds=since_s), "run": None, "due": None, "count": 1, **more}


def test_a_failure_names_what_waits_for_it_and_the_blocked_are_not_told_again() -> None:
    jobs = [
        JobNow(name="c", last=result("blocked"), needs=("b",)),
        JobNow(name="b", last=result("blocked"), needs=("a",)),
        JobNow(name="a", last=result(), failure=result(), failures=3, first=NOW - timedelta(hours=2)),
        JobNow(name="other", last=result("blocked"), needs=("elsewhere",)),
    ]
    found = attention(jobs, [], now=NOW)
    assert [(e.kind, e.job) for e in found] == [("failed", "a"), ("blocked", "other")]
    assert set(found[0].waiting) == {"b", "c"}
    assert found[0].reason.endswith("It has failed 3 times in a row.")
    assert found[0].since == NOW - timedelta(hours=2)


def test_the_worst_comes_first_and_a_paused_job_is_left_alone() -> None:
    jobs = [
        JobNow(
            name="slow",
            last=result("succeeded"),
            conditions={"slow": condition(reason="It took 9 min; usually 4 min (30 runs).")},
            usual_s=4,
        ),
        JobNow(name="late", last=result("succeeded"), conditions={"late": condition(due=NOW - timedelta(minutes=9))}),
        JobNow(name="bad", last=result(), failure=result(), failures=1),
        JobNow(name="rest", last=result(), failure=result(), failures=1, paused=True),
    ]
    problems = [{"severity": "error", "subject": "worker", "message": "nothing runs", "hint": "See"}]
    found = attention(jobs, problems, now=NOW)
    assert [e.subject for e in found] == ["worker", "bad", "late", "slow"]
    assert found[2].reason == "It was due 9 min ago and has not started."
    assert found[1].actions == ("look", "retry")
    assert found[3].reason == "It took 9 min; usually 4 min (30 runs)."


def test_a_job_that_failed_and_is_blocked_now_still_fails() -> None:
    found = attention([JobNow(name="a", last=result("blocked"), failure=result(), failures=1)], [], now=NOW)
    assert [(e.kind, e.job) for e in found] == [("failed", "a")]


def test_nothing_wrong_needs_nothing() -> None:
    assert attention([JobNow(name="a", last=result("succeeded")), JobNow(name="b")], [], now=NOW) == []


def attempt(**more: Any) -> dict[str, Any]:
    base = {"state": "succeeded", "exit_code": 0, "signal": None, "attempt": 1, "node": "mac3", "params": {}}
    return {
        **base,
        "started": NOW,
        "ended": NOW + timedelta(seconds=10),
        "output_bytes": 4000,
        "output_lines": 90,
        **more,
    }


def test_what_differs_from_the_good_run_comes_first_the_definition_before_all() -> None:
    found = compare(
        attempt(),
        attempt(state="failed", exit_code=1, ended=NOW + timedelta(seconds=40), output_bytes=200, node="mac4"),
        old=Job(name="a", run="old"),
        new=Job(name="a", run="new", retries=Retries(max=2)),
    )
    changed = {d.what: (d.before, d.now, d.note) for d in found if d.is_changed}
    assert changed["run"] == ("old", "new", "the definition changed")
    assert changed["retries"][:2] == ("0", "2")
    assert changed["result"] == ("succeeded, exit 0", "failed, exit 1", "")
    assert changed["duration"] == ("10 s", "40 s", "4.0 times as long")
    assert changed["output"] == ("4.0 kB", "200 B", "1/20 of it")
    assert changed["node"][1] == "mac4"
    assert "attempt" not in changed
    assert [d.is_changed for d in found] == sorted((d.is_changed for d in found), reverse=True)


def test_two_runs_alike_differ_in_nothing_and_a_blink_is_no_change_of_duration() -> None:
    found = compare(
        attempt(ended=NOW + timedelta(seconds=0.1)), attempt(ended=NOW + timedelta(seconds=0.9)), old=None, new=None
    )
    assert [d.what for d in found if d.is_changed] == []


def test_parameters_that_differ_are_named() -> None:
    found = compare(attempt(params={"A": "1"}), attempt(params={"A": "2", "B": "x" * 1000}), old=None, new=None)
    changed = {d.what: d for d in found if d.is_changed}
    assert (changed["parameter A"].before, changed["parameter A"].now) == ("1", "2")
    assert len(changed["parameter B"].now) < 400


def seen(digest: str, **variables: str) -> Circumstances:
    script = ScriptState(path="/scripts/backup.sh", digest=digest, changed=NOW - timedelta(days=2))
    return Circumstances(scripts=(script,), variables=variables)


def test_the_version_of_a_script_and_variables_that_the_definition_does_not_tell_of_are_compared() -> None:
    found = compare(
        attempt(),
        attempt(),
        old=Job(name="a", run="x", environment={"TABLE": "users", "API_TOKEN": "aaaa"}),
        new=Job(name="a", run="x", environment={"TABLE": "orders", "API_TOKEN": "bbbb"}),
        seen=(seen("aa", TABLE="1", API_TOKEN="1", KEY="1", HOME="1"), seen("bb", TABLE="2", API_TOKEN="2", KEY="2")),
    )
    changed = {d.what: (d.before, d.now) for d in found if d.is_changed}
    assert changed == {
        "environment.TABLE": ("users", "orders"),
        "environment.API_TOKEN": ("***", "***"),
        "script /scripts/backup.sh": ("aa, written 2026-04-29 12:00 UTC", "bb, written 2026-04-29 12:00 UTC"),
        "variable KEY": ("one value", "another"),
        "variable HOME": ("one value", "not set"),
    }


def test_the_same_script_is_shown_as_the_same_and_an_old_run_without_facts_says_nothing_of_it() -> None:
    both = compare(attempt(), attempt(), old=None, new=None, seen=(seen("aa", A="1"), seen("aa", A="1")))
    assert [d.what for d in both if d.is_changed] == [] and "script /scripts/backup.sh" in [d.what for d in both]
    one = compare(attempt(), attempt(), old=None, new=None, seen=(None, seen("aa", A="1")))
    assert not [d for d in one if d.what.startswith(("script", "variable"))]
