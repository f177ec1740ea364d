"""What becomes of instants that passed unseen."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.jobs import Flow, Job, Missed, Need
from homelab.core.missed import MAX_CATCH_UP, decide, policies_of

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICIES = st.sampled_from(["skip", "latest", "all"])


def _flow(*jobs: Job) -> Flow:
    return Flow(name=jobs[0].name, schedule="@daily", timezone="UTC", jobs=jobs)


def _job(name: str, policy: Missed | None = None, *needs: str) -> Job:
    return Job(name=name, run="true", missed=policy, needs=tuple(Need(job=n) for n in needs))


@given(policy=POLICIES, minutes=st.sets(st.integers(0, 5000), max_size=300), later=st.booleans())
def test_each_instant_gets_one_decision_and_a_policy_runs_as_many_as_it_says(
    policy: Missed, minutes: set[int], later: bool
) -> None:
    due = [START + timedelta(minutes=m) for m in minutes]
    decisions = decide(_flow(_job("a", policy)), due, why="the lab was down", later=later)
    assert [d.due for d in decisions] == sorted(due)
    runs = [d.due for d in decisions if d.jobs]
    most = {"skip": 0, "latest": 0 if later else 1, "all": MAX_CATCH_UP}[policy]
    assert runs == sorted(due)[len(due) - min(most, len(due)) :]
    assert all(d.reason for d in decisions if not d.jobs)


@given(policies=st.lists(st.one_of(st.none(), POLICIES), min_size=3, max_size=3), later=st.booleans())
def test_no_job_loses_a_run_it_was_promised_and_none_runs_unasked(policies: list[Missed | None], later: bool) -> None:
    """Three jobs in a row, two missed instants."""
    a, b, c = policies
    flow = _flow(_job("a", a), _job("b", b, "a"), _job("c", c, "b"))
    effective = policies_of(flow)
    old, new = decide(flow, [START, START + timedelta(days=1)], why="down", later=later)
    for decision, newest in ((old, False), (new, not later)):
        promised = {n for n, p in effective.items() if p == "all" or (p == "latest" and newest)}
        assert promised <= set(decision.jobs)
        last = max((("a", "b", "c").index(n) for n in promised), default=-1)
        assert decision.jobs == ("a", "b", "c")[: last + 1], "what a promised job needs, and nothing behind it"


@pytest.mark.parametrize(
    ("upstream", "own", "is_"),
    [("latest", None, "latest"), ("all", None, "all"), (None, None, "skip"), ("all", "skip", "skip")],
)
def test_a_job_without_a_policy_takes_that_of_what_it_needs(
    upstream: Missed | None, own: Missed | None, is_: Missed
) -> None:
    assert policies_of(_flow(_job("dump", upstream), _job("upload", own, "dump")))["upload"] == is_
