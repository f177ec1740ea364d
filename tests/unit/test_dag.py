"""The progress of a run: nothing starts too early, everything ends, and the result tells the truth."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from homelab.core import dag
from homelab.core.jobs import Flow, Job, Need, Retries, RunState, topological

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S, F = RunState.SUCCEEDED, RunState.FAILED


def flow(*jobs: Job) -> Flow:
    return Flow(name=jobs[0].name, schedule=None, timezone="UTC", jobs=tuple(topological(jobs)))


def job(name: str, *needs: str | Need, retries: int = 0) -> Job:
    edges = tuple(Need(job=n) if isinstance(n, str) else n for n in needs)
    return Job(name=name, run="true", needs=edges, retries=Retries(max=retries, jitter=0))


def play(
    f: Flow, ends: dict[str, list[RunState]], progress: dag.Progress | None = None
) -> tuple[dag.Progress, list[str]]:
    """Run to the end with the given outcomes (the last one repeats); the order of starts."""
    progress = progress or dag.start(f)
    now, order = NOW, []
    for _ in range(1000):
        progress, _ = dag.settle(f, progress)
        names = dag.ready(f, progress, now)
        for name in names:
            for need in f.job(name).needs:
                assert need.job not in progress or progress[need.job].state.is_final
            progress = dag.started(progress, name)
            order.append(name)
        if dag.is_finished(progress):
            return progress, order
        for name in [n for n, j in progress.items() if j.state is RunState.RUNNING]:
            outcomes = ends.get(name, [S])
            outcome = outcomes[min(progress[name].attempts, len(outcomes)) - 1]
            progress = dag.after_attempt(f, progress, name, outcome, now, 0.5, "exit status 1" if outcome is F else "")
        now = dag.next_wake(progress) or now
    raise AssertionError("the run does not end")


def test_jobs_start_after_what_they_need() -> None:
    progress, order = play(flow(job("c", "b"), job("b", "a"), job("a")), {})
    assert order == ["a", "b", "c"]
    assert dag.result(progress) == (S, "")


def test_what_needs_a_failed_job_is_blocked_and_says_by_whom() -> None:
    progress, order = play(flow(job("a"), job("b", "a"), job("c", "b")), {"a": [F]})
    assert order == ["a"]
    assert (progress["b"].state, progress["b"].reason) == (RunState.BLOCKED, "a failed")
    assert (progress["c"].state, progress["c"].reason) == (RunState.BLOCKED, "b did not run")
    assert dag.result(progress) == (F, "a: exit status 1 (2 more did not succeed)")


def test_a_failure_branch_is_skipped_when_nothing_failed_and_that_is_success() -> None:
    f = flow(job("a"), job("alarm", Need(job="a", when="failure")), job("after", "alarm"))
    progress, order = play(f, {})
    assert order == ["a"]
    assert progress["alarm"].state is progress["after"].state is RunState.SKIPPED
    assert dag.result(progress)[0] is S


def test_a_failure_branch_runs_when_something_upstream_was_blocked_and_the_run_stays_failed() -> None:
    f = flow(job("a"), job("b", "a"), job("alarm", Need(job="b", when="failure")))
    progress, order = play(f, {"a": [F]})
    assert order == ["a", "alarm"]
    assert dag.result(progress)[0] is F


def test_always_runs_whatever_happened() -> None:
    _, order = play(flow(job("a"), job("b", "a"), job("tidy", Need(job="b", when="always"))), {"a": [F]})
    assert order == ["a", "tidy"]


def test_a_retry_waits_its_time_and_then_succeeds() -> None:
    f = flow(job("a", retries=2))
    progress = dag.started(dag.start(f), "a")
    progress = dag.after_attempt(f, progress, "a", RunState.TIMED_OUT, NOW, 0.0)
    assert progress["a"].state is RunState.RETRYING
    assert dag.next_wake(progress) == NOW + timedelta(seconds=30)
    assert dag.ready(f, progress, NOW + timedelta(seconds=29)) == []
    assert dag.ready(f, progress, NOW + timedelta(seconds=30)) == ["a"]
    progress, order = play(f, {"a": [F, F, S]})
    assert (len(order), dag.result(progress)[0]) == (3, S)


def test_a_cancelled_attempt_is_not_retried() -> None:
    f = flow(job("a", retries=5), job("b", "a"))
    progress = dag.cancel(f, dag.started(dag.start(f), "a"), "by anna")
    progress = dag.after_attempt(f, progress, "a", RunState.CANCELLED, NOW, 0.0, "by anna")
    assert dag.is_finished(progress)
    assert dag.result(progress) == (RunState.CANCELLED, "a: by anna")


def test_a_run_that_is_left_by_its_worker_ends_there_whatever_still_ran() -> None:
    f = flow(job("a", retries=5), job("b", "a"))
    progress = dag.cancel(f, dag.started(dag.start(f), "a"), "the lab was stopped")
    assert not dag.is_finished(progress)
    assert dag.is_finished(dag.left(progress, "a", "the lab was stopped"))


def test_resuming_runs_only_what_is_left_with_the_next_attempt_number() -> None:
    f = flow(job("a"), job("b", "a", retries=1))
    resumed = dag.start(f, kept={"a": S}, attempts={"a": 1, "b": 2}, base={"b": 2})
    progress, order = play(f, {"b": [S, S, F, F]}, resumed)
    assert order == ["b", "b"]
    assert progress["b"].attempts == 4


def test_from_a_job_on_means_it_and_all_that_comes_after_it() -> None:
    f = flow(job("a"), job("b", "a"), job("c"), job("d", "b", "c"), job("e", "c"))
    assert [dag.onward(f, name) for name in ("a", "c", "d", "x")] == [["a", "b", "d"], ["c", "d", "e"], ["d"], []]


def test_a_crashed_attempt_uses_up_a_retry_even_across_workers() -> None:
    f = flow(job("a"))
    progress = dag.started(dag.start(f, attempts={"a": 1}), "a", 1)
    progress = dag.after_attempt(f, progress, "a", RunState.CRASHED, NOW, 0.0, "the worker ended")
    assert dag.result(progress) == (RunState.CRASHED, "the worker ended")


def test_only_one_job_runs_when_only_it_is_asked_for() -> None:
    f = flow(job("a"), job("b", "a"), job("c", "b"))
    progress, order = play(f, {}, dag.start(f, only=["b"]))
    assert order == ["b"]
    assert dag.result(progress) == (S, "")


def test_delays_grow_to_their_bound_and_never_overflow() -> None:
    retries = Retries(max=9999, delay_s=10, backoff=3, max_delay_s=100, jitter=0.5)
    assert [dag.retry_delay_s(retries, n, 0.0) for n in (1, 2, 3, 4, 5000)] == [10, 30, 90, 100, 100]
    assert dag.retry_delay_s(retries, 1, 1.0) == 15


ends = st.sampled_from([S, F, RunState.TIMED_OUT, RunState.CRASHED])


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    count = draw(st.integers(1, 7))
    jobs: list[Job] = []
    for n in range(count):
        upstream = draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set[int]()
        needs = [
            Need(job=f"j{u}", when=draw(st.sampled_from(["success", "always", "failure"]))) for u in sorted(upstream)
        ]
        jobs.append(job(f"j{n}", *needs, retries=draw(st.integers(0, 2))))
    return flow(*jobs)


@given(flows(), st.data())
def test_every_run_ends_within_its_retries_and_no_failure_is_hidden(f: Flow, data: st.DataObject) -> None:
    outcomes = {j.name: data.draw(st.lists(ends, min_size=1, max_size=3)) for j in f.jobs}
    progress, order = play(f, outcomes)
    for j in f.jobs:
        assert order.count(j.name) == progress[j.name].attempts <= j.retries.max + 1
        if progress[j.name].attempts == 0:
            assert progress[j.name].reason
    bad = any(j.state.is_failure or j.state is RunState.BLOCKED for j in progress.values())
    state, reason = dag.result(progress)
    assert (state is S) == (not bad)
    assert state in (S, F, RunState.TIMED_OUT, RunState.CRASHED)
    assert (reason == "") or bad
