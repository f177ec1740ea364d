"""What the journal of a run says after anything: a normal end, a crash at any byte, a retry, a full disk."""

import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from homelab.core import dag
from homelab.core.jobs import Flow, Job, RunState
from homelab.core.passing import Passed
from homelab.home.paths import Home
from homelab.worker import journal as journals
from homelab.worker.facts import RunFacts
from homelab.worker.journal import Journal, open_journals, open_or_create, prune, replay

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FLOW = Flow(name="a", schedule=None, timezone="UTC", jobs=(Job(name="a", run="true"), Job(name="b", run="true")))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).ensure()


def facts(run_id: str = "ab12") -> RunFacts:
    return RunFacts(id=run_id, flow=FLOW, digest="d1", due=NOW, start_at=NOW, params={"K": "V"}, only=frozenset({"a"}))


def attempt(journal: Journal, job: str, number: int, state: RunState | None, *, retry: bool = False) -> None:
    journal.attempt_started(job=job, attempt=number, pid=999_999, time=NOW, mark="m")
    if state is None:
        return
    journal.attempt_finished(job=job, attempt=number, state=state, exit_code=0, reason="", time=NOW)
    retry_at = "2026-01-01T00:01:00Z" if retry else None
    journal.report(
        {
            "id": f"{job}{number}",
            "kind": "job.finished",
            "job": job,
            "attempt": number,
            "state": state,
            "retry_at": retry_at,
        }
    )


def path_of(home: Home, run_id: str = "ab12") -> Path:
    return home.run_folder(run_id) / "journal.jsonl"


def test_a_run_that_ended_and_was_told_is_not_open(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    journal.run_started(time=NOW)
    attempt(journal, "a", 1, RunState.SUCCEEDED)
    journal.run_finished(state=RunState.SUCCEEDED, reason="", time=NOW)
    journal.close()
    assert [j.run_id for j in open_journals(home, worker="w")] == ["ab12"]
    journal.delivered("a1")
    assert open_journals(home, worker="w") == []


def test_a_run_that_its_worker_left_is_found_with_all_that_was_settled(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    journal.run_started(time=NOW)
    attempt(journal, "a", 1, RunState.SUCCEEDED)
    attempt(journal, "b", 1, RunState.FAILED, retry=True)
    attempt(journal, "b", 2, None)
    journal.delivered("a1")
    assert open_journals(home, worker="other") == []
    [found] = open_journals(home, worker="w")
    assert found.facts(FLOW, resumed=False) == facts()
    state = found.state
    assert state.kept() == {"a": RunState.SUCCEEDED}
    assert state.attempts() == {"a": 1, "b": 2}
    assert state.base() == {}
    assert [(f.job, f.attempt, f.pid, f.started) for f in state.in_flight()] == [("b", 2, 999_999, NOW)]
    assert [r["id"] for r in state.undelivered()] == ["b1"]
    assert (state.started, state.finished) == (NOW, False)
    assert str(os.getpid()) in state.crash_reason


def test_an_attempt_on_another_node_is_known_until_its_end_and_is_no_process_of_this_one(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    journal.attempt_sent(job="a", attempt=1, node="mac4", token=7)
    journal.attempt_sent(job="b", attempt=2, node="mac4", token=8)
    [left] = open_journals(home, worker="w")
    assert [(s.job, s.attempt, s.node, s.token) for s in left.state.sent()] == [
        ("a", 1, "mac4", 7),
        ("b", 2, "mac4", 8),
    ]
    assert (left.state.in_flight(), left.state.attempts()) == ((), {"a": 1, "b": 2})
    journal.attempt_finished(job="a", attempt=1, state=RunState.SUCCEEDED, exit_code=0, reason="", time=NOW)
    journal.attempt_stopped(job="b", attempt=2, reason="mac4 was lost", time=NOW)
    state = replay(path_of(home))
    assert (state.sent(), state.kept(), state.base()) == ((), {"a": RunState.SUCCEEDED}, {"b": 1})
    journal.adopt(
        {
            "kept": {},
            "attempts": {"b": 3},
            "base": {},
            "passed": {},
            "sent": {"b": {"attempt": 3, "node": "n", "token": 9}},
        }
    )
    assert [s.token for s in replay(path_of(home)).sent()] == [9]
    journal.hand_on("mac3")
    assert replay(path_of(home)).sent() == ()


def test_what_a_job_passed_on_is_there_for_a_resumed_run_and_gone_when_it_is_to_run_once_more(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    for number, outputs in ((1, {"V": "1"}), (2, {"V": "2", "W": "x"})):
        journal.attempt_started(job="a", attempt=number, pid=999_999, time=NOW, mark="m")
        journal.attempt_finished(
            job="a", attempt=number, state=RunState.SUCCEEDED, exit_code=0, reason="", time=NOW,
            passed=Passed(outputs=outputs),
        )  # fmt: skip
    attempt(journal, "b", 1, RunState.FAILED)
    assert replay(path_of(home)).passed() == {"a": Passed(outputs={"V": "2", "W": "x"})} == journal.state.passed()
    again = open_or_create(home, facts(), worker="w")
    assert again.state.passed() == {"a": Passed(outputs={"V": "2", "W": "x"})}
    redone = open_or_create(home, facts(), worker="w", redo=["a"])
    assert redone.state.passed() == {}
    attempt(redone, "a", 3, RunState.SUCCEEDED)
    assert replay(path_of(home)).passed() == {"a": Passed()}


def test_a_job_that_had_failed_for_good_is_not_run_again_by_a_recovery_but_by_a_retry(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    attempt(journal, "a", 1, RunState.SUCCEEDED)
    attempt(journal, "b", 1, RunState.FAILED)
    assert replay(path_of(home)).kept() == {"a": RunState.SUCCEEDED, "b": RunState.FAILED}
    journal.run_finished(state=RunState.FAILED, reason="b failed", time=NOW)
    assert replay(path_of(home)).result() == (RunState.FAILED, "b failed")
    again = open_or_create(home, facts(), worker="w")
    assert again.state.kept() == {"a": RunState.SUCCEEDED}
    assert (again.state.attempts(), again.state.base()) == ({"a": 1, "b": 1}, {"a": 1, "b": 1})
    assert not again.state.finished
    redone = open_or_create(home, facts(), worker="w", redo=["a"])
    assert redone.state.kept() == {}
    attempt(redone, "a", 2, RunState.SUCCEEDED)
    assert replay(path_of(home)).kept() == {"a": RunState.SUCCEEDED}
    afresh = open_or_create(home, facts(), worker="w", afresh=True)
    assert afresh.state.kept() == {}


def test_a_job_that_waits_to_be_tried_again_is_known_to_wait_until_it_is_or_a_person_asks(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    attempt(journal, "a", 1, RunState.FAILED, retry=True)
    due = {"a": NOW + timedelta(minutes=1)}
    (left,) = open_journals(home, worker="w")
    assert (left.state.retry_at(), left.state.kept()) == (due, {})
    progress = dag.start(FLOW, attempts=left.state.attempts(), retry_at=due)
    assert dag.ready(FLOW, progress, NOW) == ["b"]
    assert dag.ready(FLOW, progress, due["a"]) == ["a", "b"]
    attempt(journal, "a", 2, None)
    assert journal.state.retry_at() == {}
    attempt(journal, "a", 2, RunState.FAILED, retry=True)
    again = open_or_create(home, facts(), worker="w")
    assert again.state.retry_at() == {}, "somebody asked for it now"


def test_a_journal_cut_at_any_byte_can_be_read_and_written_on(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    attempt(journal, "a", 1, RunState.SUCCEEDED)
    whole = path_of(home).read_bytes()
    for cut in range(0, len(whole), 7):
        path_of(home).write_bytes(whole[:cut])
        fresh = Journal(home, "ab12", header={}, state=replay(path_of(home)))
        fresh.run_finished(state=RunState.CRASHED, reason="x", time=NOW)
        after = replay(path_of(home))
        assert after.finished
        assert after.skipped_lines <= 1
        assert set(after.kept()) <= {"a"}


def test_steps_taken_while_the_disk_is_full_are_written_when_there_is_room(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path_of(home).stat().st_size + 10, before[1]))
    try:
        attempt(journal, "a", 1, RunState.SUCCEEDED)
        assert journal.degraded
        assert journal.state.kept() == {"a": RunState.SUCCEEDED}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    attempt(journal, "b", 1, None)
    after = replay(path_of(home))
    assert not journal.degraded
    assert after.skipped_lines == 0
    assert (after.kept(), after.attempts()) == ({"a": RunState.SUCCEEDED}, {"a": 1, "b": 1})


def test_old_runs_go_first_by_age_and_then_by_size_but_never_open_ones(home: Home) -> None:
    now = NOW.timestamp()
    for n, run_id in enumerate(["aa1", "bb2", "cc3", "dd4"]):
        journal = open_or_create(home, facts(run_id), worker="w")
        journal.run_finished(state=RunState.SUCCEEDED, reason="", time=NOW)
        if run_id != "bb2":
            journal.close()
        (journal.folder / "a.1.log").write_bytes(b"x" * 100_000)
        for path in journal.folder.iterdir():
            at = now - timedelta(days=40 - 10 * n).total_seconds()
            os.utime(path, (at, at))
    assert prune(home, keep_days=35, max_bytes=10**9, now=now) == 1
    assert prune(home, keep_days=35, max_bytes=150_000, now=now) == 1
    assert sorted(p.name for p in home.runs.glob("??/*")) == ["bb2", "dd4"]


def test_reports_are_kept_per_receiver_in_order(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    for n in range(3):
        journal.report({"id": str(n), "kind": "run.started"})
    journal.delivered("1")
    journal.delivered("0", "1", to="prefect")
    state = replay(path_of(home))
    assert [r["id"] for r in state.undelivered()] == ["0", "2"]
    assert [r["id"] for r in state.undelivered("prefect")] == ["2"]


def test_an_unknown_kind_of_line_is_left_to_newer_versions(home: Home) -> None:
    journal = open_or_create(home, facts(), worker="w")
    journal.run_started(time=NOW)
    with path_of(home).open("ab") as file:
        file.write(b'{"e":"from the future","x":1}\n[1]\n{"e":"report"}\n')
    assert replay(path_of(home)).skipped_lines == 2
    assert journals.replay(home.root / "nothing").started is None
