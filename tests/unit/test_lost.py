"""What is left of a run whose node is gone, by the copy of its reports."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homelab.control.lost import Progress, Round, judge, left_of, progress_of
from homelab.core import dag
from homelab.core.jobs import Flow, Job, Need, Retries, RunState, flows_of

NAMES = ("a", "b", "c", "d")


def row(job: str, attempt: int, state: str, *, retried: bool = False) -> dict[str, Any]:
    return {"job": job, "attempt": attempt, "state": state, "retry_at": "then" if retried else None}


def chain(**retries: int) -> Flow:
    jobs = [
        Job(name=n, run="-", retries=Retries(max=retries.get(n, 0)), needs=(Need(job=NAMES[i - 1]),) if i else ())
        for i, n in enumerate(NAMES)
    ]
    return flows_of(jobs)[0]


def test_a_success_stays_whatever_came_before_it() -> None:
    found = progress_of(
        [row("a", 1, "failed", retried=True), row("a", 2, "succeeded"), row("b", 1, "running")], Round()
    )
    assert (found.kept, found.attempts, found.running) == ({"a": "succeeded"}, {"a": 2, "b": 1}, {"b": 1})


def test_a_failure_counts_in_its_round_alone_and_a_success_unless_it_is_to_be_done_again() -> None:
    rows = [row("a", 1, "succeeded"), row("b", 1, "failed"), row("c", 0, "blocked")]
    assert progress_of(rows, Round()).kept == {"a": "succeeded", "b": "failed"}
    new = Round(base={"a": 1, "b": 1})
    assert progress_of(rows, new).kept == {"a": "succeeded"}
    afresh = Round.of(Round(base={"a": 1, "b": 1}, redo=frozenset("ab")).to_json())
    assert progress_of(rows, afresh).kept == {}
    assert progress_of([*rows, row("a", 2, "succeeded")], afresh).kept == {"a": "succeeded"}


def test_what_runs_on_another_node_is_not_lost_with_the_node_of_its_run() -> None:
    rows = [row("a", 1, "succeeded"), row("b", 1, "running")]
    away = {"b": {"attempt": 1, "node": "mac4", "token": 7}}
    progress = progress_of(rows, Round(), away)
    assert (progress.running, progress.sent, progress.attempts) == ({}, away, {"a": 1, "b": 1})
    verdict = judge(chain(), progress)
    assert (verdict.retried, verdict.crashed, verdict.goes_on) == ((), (), True)
    assert left_of(NAMES, progress) == ["c", "d"]
    untold = progress_of(rows[:1], Round(), away)
    assert untold.attempts == {"a": 1, "b": 1}, "its start may not have been told yet"
    later = progress_of([*rows, row("b", 2, "running")], Round(), away)
    assert (later.running, later.sent) == ({"b": 2}, {}), "of an attempt that has a successor"


def test_what_was_in_flight_goes_on_while_it_has_retries_and_takes_what_needs_it_along_when_not() -> None:
    rows = [row("a", 1, "succeeded"), row("b", 1, "running")]
    verdict = judge(chain(b=1), progress_of(rows, Round()))
    assert (verdict.retried, verdict.crashed, verdict.goes_on) == (("b",), (), True)
    verdict = judge(chain(), progress_of(rows, Round()))
    assert (verdict.retried, verdict.crashed, verdict.goes_on) == ((), ("b",), False)
    third = [row("a", 1, "succeeded"), row("b", 1, "crashed", retried=True), row("b", 2, "running")]
    assert not judge(chain(b=1), progress_of(third, Round())).goes_on
    assert judge(chain(b=1), progress_of(third, Round(base={"b": 1}))).goes_on


def test_a_run_between_two_jobs_goes_on_and_one_that_has_all_behind_it_does_not() -> None:
    assert judge(chain(), progress_of([row("a", 1, "succeeded")], Round())).goes_on
    done = [row(name, 1, "succeeded") for name in NAMES]
    assert not judge(chain(), progress_of(done, Round())).goes_on
    assert not judge(chain(), progress_of(done[:2], Round()), only=["a", "b"]).goes_on


@st.composite
def stories(draw: st.DrawFn) -> tuple[Flow, Progress]:
    flow = chain(**{n: draw(st.integers(0, 3)) for n in NAMES})
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        attempts = draw(st.integers(0, 4))
        for attempt in range(1, attempts + 1):
            states = ["failed", "crashed"] if attempt < attempts else ["succeeded", "failed", "running", "timed_out"]
            state = draw(st.sampled_from(states))
            rows.append(row(name, attempt, state, retried=attempt < attempts))
    return flow, progress_of(rows, Round(base=draw(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2)))))


@given(stories())
def test_no_attempt_beyond_the_retries_and_nothing_done_twice(story: tuple[Flow, Progress]) -> None:
    flow, progress = story
    verdict = judge(flow, progress)
    assert set(verdict.retried) | set(verdict.crashed) == set(progress.running)
    for name in verdict.retried:
        assert progress.attempts[name] - progress.base.get(name, 0) <= flow.job(name).retries.max
    kept = {**progress.kept, **dict.fromkeys(verdict.crashed, RunState.CRASHED)}
    after, _ = dag.settle(flow, dag.start(flow, kept=kept, attempts=progress.attempts, base=progress.base))
    assert verdict.goes_on == (not dag.is_finished(after))
    assert not {n for n, s in progress.kept.items() if s is RunState.SUCCEEDED} & set(verdict.retried)
