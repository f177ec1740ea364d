"""Our nouns in Prefect's words and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.jobs import Flow, Job, Need, RunState
from homelab.core.times import iso
from homelab.flows import records

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = "3e1c6f6e-7f0e-4a57-9a0c-6e1f5c1b2a3d"
FLOW = Flow(
    name="a",
    schedule=None,
    timezone="UTC",
    jobs=(Job(name="a", run="true"), Job(name="b", run="true", needs=(Need(job="a"), Need(job="elsewhere")))),
)


def event(state: RunState, *, job: int = 1, attempt: int = 1, after_s: float = 2.0) -> dict[str, object]:
    return records.task_run_event(
        run_id=RUN, flow=FLOW, job=FLOW.jobs[job], state=state, attempt=attempt,
        started=NOON, time=NOON + timedelta(seconds=after_s), reason="why\0",
    )  # fmt: skip


@pytest.mark.parametrize("state", list(RunState))
def test_a_state_told_to_prefect_comes_back_as_itself(state: RunState) -> None:
    told = records.proposal(state, "", at=NOON)
    assert records.run_state(told.type, told.name) is state


@pytest.mark.parametrize("state", [s for s in RunState if s.is_final])
def test_a_final_state_is_final_for_prefect_too(state: RunState) -> None:
    told = records.proposal(state, "", at=NOON)
    assert told.type in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    assert told.scheduled_time is None


def test_only_states_to_come_carry_a_time() -> None:
    assert records.proposal(RunState.RETRYING, "", at=NOON).body()["state_details"] == {
        "scheduled_time": "2026-03-01T12:00:00Z"
    }
    assert records.proposal(RunState.RUNNING, "", at=NOON).body()["state_details"] == {}


@pytest.mark.parametrize("job", [None, "dump-app", "from"])
def test_the_name_of_a_rerun_says_from_which_job_on(job: str | None) -> None:
    name = records.rerun_name(job)
    assert records.is_retry(name) and records.is_retry("AwaitingRetry") and not records.is_retry("Scheduled")
    assert records.rerun_from(name) == job
    assert records.run_state("SCHEDULED", name) is RunState.SCHEDULED


@pytest.mark.parametrize(
    ("kind", "name", "state"),
    [
        ("SCHEDULED", "Late", RunState.SCHEDULED),
        ("SCHEDULED", "AwaitingRetry", RunState.RETRYING),
        ("COMPLETED", "Cached", RunState.SUCCEEDED),
        ("CANCELLING", "Cancelling", RunState.RUNNING),
        ("FAILED", "Missed", RunState.FAILED),
        ("CRASHED", None, RunState.CRASHED),
    ],
)
def test_a_state_that_somebody_else_named_is_read_by_its_type(kind: str, name: str | None, state: RunState) -> None:
    assert records.run_state(kind, name) is state


def test_edges_are_those_inside_the_flow() -> None:
    body = event(RunState.RUNNING)["payload"]["task_run"]  # type: ignore[index]
    assert body["task_inputs"] == {"a": [{"input_type": "task_run", "id": records.task_run_id(RUN, "a")}]}


def test_a_step_told_twice_is_one_event_and_the_next_attempt_another() -> None:
    assert event(RunState.FAILED)["id"] == event(RunState.FAILED)["id"]
    others = [event(RunState.RUNNING), event(RunState.FAILED, attempt=2), event(RunState.FAILED, job=0)]
    assert len({e["id"] for e in [event(RunState.FAILED), *others]}) == 4


def test_a_job_belongs_to_its_flow_run_and_has_its_times() -> None:
    told = event(RunState.SUCCEEDED)
    assert told["related"] == [{"prefect.resource.id": f"prefect.flow-run.{RUN}", "prefect.resource.role": "flow-run"}]
    task = told["payload"]["task_run"]  # type: ignore[index]
    assert (task["start_time"], task["end_time"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:00:02Z")
    assert task["total_run_time"] == 2.0


def test_a_clock_that_went_back_gives_no_negative_duration() -> None:
    task = event(RunState.SUCCEEDED, after_s=-5)["payload"]["task_run"]  # type: ignore[index]
    assert task["total_run_time"] == 0.0


def test_times_are_told_in_utc() -> None:
    assert iso(NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))) == "2026-03-01T12:00:00Z"


@given(st.text(st.characters(), max_size=200), st.integers(0, 50))
def test_any_text_becomes_one_that_postgres_takes(text: str, limit: int) -> None:
    cleaned = records.clean(text, limit=limit)
    assert "\0" not in cleaned
    assert len(cleaned) <= limit
    cleaned.encode()
