"""What an act would do is said in sentences, with what takes it back; and what cannot be taken back is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

from homelab.control import preview

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
JOB: dict[str, Any] = {"name": "fetch", "paused": False, "shadow": False, "schedule_words": "every hour"}


def a_run(*states: str, due: datetime | None = NOW, started: datetime | None = NOW, state: str = "running") -> Any:
    jobs = [{"job": f"j{n}", "state": s} for n, s in enumerate(states)]
    return {"jobs": jobs, "state": state, "due": due, "started": started, "created": "2026-05-01T12:00:00Z"}


def test_running_says_what_comes_with_it_and_is_undone_by_cancelling() -> None:
    alone = preview.run(JOB, ["fetch"])
    assert alone.will == ("“fetch” starts now.",)
    assert alone.undo == "cancel"
    together = preview.run({**JOB, "paused": True, "shadow": True}, ["fetch", "use"])
    assert [text.split(" ")[0] for text in together.will] == ["“fetch”", "What", "It", "Cron"]


def test_pausing_and_resuming_undo_each_other_and_name_what_is_held() -> None:
    assert preview.pause(JOB, ["a", "b"]).will[1] == "a and b need it and will not run either."
    assert (preview.pause(JOB, []).undo, preview.resume(JOB).undo) == ("resume", "pause")


def test_a_retry_tells_what_runs_again_from_what_stays() -> None:
    will = preview.retry(a_run("failed", "succeeded", "blocked")).will
    assert will[1] == "j0 and j2 run again, with the next attempt number."
    assert will[2] == "j1 succeeded and will not run again."


def test_cancelling_ahead_of_the_instant_can_be_restored_and_else_only_retried() -> None:
    ahead = preview.cancel(a_run("scheduled", due=NOW + timedelta(hours=1), started=None, state="scheduled"), NOW)
    assert (ahead.undo, ahead.is_grave) == ("restore", True)
    assert preview.cancel(a_run("running", "pending"), NOW).undo == "retry"
    soon = a_run("scheduled", due=NOW + timedelta(seconds=20), started=None, state="scheduled")
    assert preview.cancel(soon, NOW).undo == "retry"


def test_only_what_was_cancelled_before_it_began_and_is_still_to_come_is_restorable() -> None:
    later = NOW + timedelta(hours=1)
    good = a_run(due=later, started=None, state="cancelled")
    assert preview.is_restorable(good, NOW)
    assert preview.is_restorable({**good, "due": later.isoformat()}, NOW)
    for change in ({"state": "failed"}, {"started": NOW}, {"due": None}, {"due": NOW}):
        assert not preview.is_restorable({**good, **change}, NOW)


def test_an_apply_that_moved_jobs_between_cron_and_the_lab_is_not_taken_back() -> None:
    moved = {"jobs": [{"name": "a", "fields": [{"field": "shadow", "old": "true", "new": "false"}]}]}
    other = {"jobs": [{"name": "a", "fields": [{"field": "run", "old": "x", "new": "y"}]}]}
    assert "a went between cron and the lab" in preview.undo_refused(moved, is_takeover=False)
    assert preview.undo_refused(other, is_takeover=True)
    assert preview.undo_refused(other, is_takeover=False) == ""


def test_many_names_are_told_as_some_and_a_number() -> None:
    assert preview.listed(["a"]) == "a"
    assert preview.listed(["a", "b", "c"]) == "a, b and c"
    assert preview.listed([str(n) for n in range(9)]) == "0, 1, 2, 3, 4 and 4 more"
