"""The difference of two labs, as plan and apply use it."""

import json
from textwrap import dedent

import click
from hypothesis import given
from hypothesis import strategies as st

from homelab.cli.plan import render
from homelab.control.plan import Plan, plan
from homelab.core.jobs import Job, Need, flows_of
from homelab.core.labfile import Lab, parse


def lab_of(text: str) -> Lab:
    lab, problems = parse({"lab.toml": dedent(text)}, main="lab.toml")
    assert lab is not None, problems
    return lab


def difference(old: str, new: str) -> Plan:
    return plan(lab_of(old), lab_of(new))


BEFORE = """
    [jobs.dump]
    schedule = "0 2 * * *"
    run = "dump"
    [jobs.upload]
    needs = ["dump"]
    run = "upload"
    [jobs.alone]
    schedule = "@hourly"
    run = "alone"
    """


def test_the_same_lab_is_an_empty_plan_wherever_its_jobs_are_written() -> None:
    same = difference(BEFORE, "# a comment\n\n" + dedent(BEFORE))
    assert same.is_empty
    assert (same.unchanged_jobs, same.unchanged_flows) == (3, 2)
    assert same.summary() == "nothing to change; 3 jobs unchanged"


def test_the_first_plan_adds_everything() -> None:
    first = plan(None, lab_of(BEFORE))
    assert [(c.kind, c.name) for c in first.jobs] == [("added", "dump"), ("added", "upload"), ("added", "alone")]
    assert [(c.kind, c.name) for c in first.flows] == [("added", "dump"), ("added", "alone")]
    assert (first.settings, first.replaced_flows, first.restarts) == ((), (), ())


def test_a_changed_job_lists_its_settings_before_and_after_and_its_flow_is_replaced() -> None:
    found = difference(
        BEFORE,
        """
        [jobs.dump]
        schedule = "30 2 * * *"
        run = "dump"
        timeout = "90m"
        environment = { LEVEL = 9 }
        retries = { max = 2 }
        [jobs.upload]
        needs = [{ job = "dump", when = "always" }]
        run = "upload"
        [jobs.alone]
        schedule = "@hourly"
        run = "alone"
        """,
    )
    assert [(c.kind, c.name) for c in found.jobs] == [("changed", "dump"), ("changed", "upload")]
    assert [(f.field, f.old, f.new) for f in found.jobs[0].fields] == [
        ("schedule", "0 2 * * *", "30 2 * * *"),
        ("retries", "0", "2"),
        ("timeout", "none", "1h30m"),
        ("environment.LEVEL", "", "9"),
    ]
    assert [(f.old, f.new) for f in found.jobs[1].fields] == [("dump", "dump (when always)")]
    assert found.replaced_flows == ("dump",)
    assert found.unchanged_flows == 1
    assert found.summary() == "2 to change; 1 job unchanged"


def test_a_job_with_another_name_and_the_same_definition_is_renamed() -> None:
    found = difference(BEFORE, dedent(BEFORE).replace("[jobs.alone]", "[jobs.lonely]"))
    assert [(c.kind, c.name, c.old_name) for c in found.jobs] == [("renamed", "lonely", "alone")]
    assert found.replaced_flows == ("alone",)


def test_two_alike_jobs_are_never_taken_for_each_other() -> None:
    found = difference('jobs.a.run = "x"\njobs.b.run = "x"', 'jobs.c.run = "x"')
    assert [(c.kind, c.name) for c in found.jobs] == [("added", "c"), ("removed", "a"), ("removed", "b")]


def test_a_job_that_leaves_its_flow_changes_the_flow() -> None:
    found = difference(BEFORE, dedent(BEFORE).replace('needs = ["dump"]', 'schedule = "@weekly"'))
    assert [(c.kind, c.name) for c in found.flows] == [("changed", "dump"), ("added", "upload")]
    assert ("jobs", "dump, upload", "dump") in [(f.field, f.old, f.new) for f in found.flows[0].fields]


def test_settings_that_need_a_restart_name_the_service() -> None:
    found = difference("", "worker = { concurrency = 3, name = 'w' }\npostgres.port = 5555\nqueues.q.concurrency = 1")
    assert [f.field for f in found.settings] == [
        "queues.default.concurrency",
        "worker.concurrency",
        "worker.name",
        "postgres.port",
        "queues.q.concurrency",
    ]
    assert found.restarts == ("postgres", "worker")


def test_the_password_in_a_url_is_not_in_the_plan_but_its_change_is() -> None:
    found = difference('notify.urls = "json://u:secret1@host"', 'notify.urls = "json://u:secret2@host"')
    assert [f.field for f in found.settings] == ["notify.urls"]
    assert "secret" not in json.dumps(found.to_json())


def test_the_plan_is_shown_one_line_a_change_and_no_control_character_reaches_the_terminal() -> None:
    found = difference(
        'jobs.a.run = "x"\njobs.gone.run = "y"',
        'worker.name = "w"\njobs.a.run = "one\\ntwo\\u001b[31m"\njobs.new.run = "z"',
    )
    lines = click.unstyle(render(json.loads(json.dumps(found.to_json())))).splitlines()
    assert lines == [
        "~ job a",
        "    run: x -> one\\ntwo\\x1b[31m",
        "+ job new",
        "- job gone",
        "~ worker.name: (not set) -> w",
        "Waiting runs are made anew for: a, gone. Runs under way end as they began.",
        "Needs a restart to count: worker (homelab down, homelab up)",
        "1 to add, 1 to change, 1 to remove, 1 setting of the lab to change; 0 jobs unchanged",
    ]


NAMES = st.sampled_from("abcdef")
JOBS = st.dictionaries(NAMES, st.tuples(st.sampled_from(["x", "y"]), st.sampled_from([None, "@daily"])), max_size=5)


def made(jobs: dict[str, tuple[str, str | None]]) -> Lab:
    names = list(jobs)
    made_jobs = tuple(
        Job(name=n, run=run, schedule=schedule, needs=tuple(Need(job=b) for b in names[: i % 2]))
        for i, (n, (run, schedule)) in enumerate(jobs.items())
    )
    return Lab(name="x", jobs=made_jobs, flows=flows_of(made_jobs))


@given(JOBS, JOBS)
def test_every_job_is_in_the_plan_once_and_the_way_back_is_the_opposite(
    old: dict[str, tuple[str, str | None]], new: dict[str, tuple[str, str | None]]
) -> None:
    there, back = plan(made(old), made(new)), plan(made(new), made(old))
    kinds = {c.name: c.kind for c in there.jobs}
    renamed_away = {c.old_name for c in there.jobs if c.kind == "renamed"}
    assert len(kinds) == len(there.jobs)
    assert {n for n, k in kinds.items() if k == "removed"} | renamed_away == set(old) - set(new)
    assert {n for n, k in kinds.items() if k in ("added", "renamed")} == set(new) - set(old)
    assert there.unchanged_jobs + sum(k == "changed" for k in kinds.values()) == len(set(old) & set(new))
    assert there.is_empty == back.is_empty
    assert {(c.name, c.old_name) for c in there.jobs if c.kind == "renamed"} == {
        (c.old_name, c.name) for c in back.jobs if c.kind == "renamed"
    }
    json.dumps(there.to_json())
