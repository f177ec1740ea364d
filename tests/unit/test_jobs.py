"""Grouping jobs into flows."""

from homelab.core.jobs import Flow, Job, Need, flows_of


def test_jobs_that_need_each_other_on_one_schedule_are_one_flow_in_topological_order() -> None:
    jobs = [
        Job(name="upload", run="true", needs=(Need(job="dump"),)),
        Job(name="dump", run="true", schedule="0 2 * * *"),
        Job(name="alone", run="true", schedule="0 2 * * *"),
    ]
    flows = flows_of(jobs)
    assert [(f.name, [j.name for j in f.jobs], f.schedule) for f in flows] == [
        ("dump", ["dump", "upload"], "0 2 * * *"),
        ("alone", ["alone"], "0 2 * * *"),
    ]


def test_a_need_between_two_schedules_is_no_edge() -> None:
    jobs = [
        Job(name="fetch", run="true", schedule="@hourly"),
        Job(name="report", run="true", schedule="@daily", needs=(Need(job="fetch"),)),
    ]
    assert [f.name for f in flows_of(jobs)] == ["fetch", "report"]


def test_a_flow_survives_json_and_its_digest_ignores_where_it_was_written() -> None:
    job = Job(name="a", run="echo 'ü'", schedule="@daily", needs=(Need(job="b", within_s=60.0),), notify_on=("failed",))
    flow = flows_of([job])[0]
    assert Flow.from_json(flow.to_json()) == flow
    moved = flows_of([Job(**{**job.__dict__, "source": "lab.toml:9"})])[0]
    assert moved.digest == flow.digest


def test_shadow_is_part_of_what_runs_and_a_flow_is_in_shadow_when_all_its_jobs_are() -> None:
    real, watched = Job(name="a", run="true"), Job(name="b", run="true", shadow=True)
    mixed = Flow(name="a", schedule="@daily", timezone="UTC", jobs=(real, watched))
    shadow = Flow(name="b", schedule="@daily", timezone="UTC", jobs=(watched,))
    assert (mixed.is_shadow, shadow.is_shadow) == (False, True)
    lit = Flow(name="b", schedule="@daily", timezone="UTC", jobs=(Job(name="b", run="true"),))
    assert shadow.digest != lit.digest
    assert Flow.from_json(shadow.to_json()) == shadow
