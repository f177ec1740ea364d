"""What becomes of instants that passed unseen."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.jobs import Flow, Job, Missed
from homelab.core.missed import MAX_CATCH_UP, decide, policy_of

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICIES = st.sampled_from(["skip", "latest", "all"])


@given(policy=POLICIES, minutes=st.sets(st.integers(0, 5000), max_size=300), later=st.booleans())
def test_each_instant_gets_one_decision_and_a_policy_runs_as_many_as_it_says(
    policy: Missed, minutes: set[int], later: bool
) -> None:
    due = [START + timedelta(minutes=m) for m in minutes]
    decisions = decide(policy, due, why="the lab was down", later=later)
    assert [d.due for d in decisions] == sorted(due)
    runs = [d.due for d in decisions if d.run]
    most = {"skip": 0, "latest": 0 if later else 1, "all": MAX_CATCH_UP}[policy]
    assert runs == sorted(due)[len(due) - min(most, len(due)) :]
    assert all(d.reason for d in decisions if not d.run)


@pytest.mark.parametrize(
    ("policies", "wins"), [(("skip", "skip"), "skip"), (("skip", "latest"), "latest"), (("latest", "all"), "all")]
)
def test_a_flow_makes_up_for_what_any_of_its_jobs_was_promised(policies: tuple[Missed, ...], wins: Missed) -> None:
    jobs = tuple(Job(name=f"j{n}", run="true", missed=policy) for n, policy in enumerate(policies))
    assert policy_of(Flow(name="f", schedule="@daily", timezone="UTC", jobs=jobs)) == wins
