"""What a lab file means, when it is good."""

from textwrap import dedent

from homelab.core.jobs import Need, Retries
from homelab.core.labfile import Lab, parse, secret_problems


def lab_of(text: str, **included: str) -> Lab:
    files = {"lab.toml": dedent(text), **{f"jobs/{name}.toml": dedent(t) for name, t in included.items()}}
    lab, problems = parse(files, main="lab.toml")
    assert lab is not None, problems
    assert not [p for p in problems if p.severity == "error"]
    return lab


def test_a_job_has_every_setting_it_was_given() -> None:
    lab = lab_of(
        """
        [lab]
        name = "home"
        timezone = "Europe/Berlin"
        [queues.slow]
        concurrency = 2
        [jobs.other]
        run = "true"
        schedule = "@hourly"
        [jobs.a]
        description = "what it is for"
        run = '''
        one
        two'''
        schedule = "0  2 * *\t*"
        timezone = "America/New_York"
        needs = [{ job = "other", within = "26h" }]
        shell = "/bin/bash"
        cwd = "/srv"
        user = "backup"
        stdin = "in"
        environment = { PATH = "/bin", N = 1, F = 1.10, "odd name" = "x" }
        secrets.TOKEN = "env:TOKEN"
        params = { day = "today" }
        retries = { max = 3, delay = "1m", backoff = 3, max_delay = "10m", jitter = 0 }
        timeout = "30m"
        grace = 5
        overlap = "queue"
        exclusive = "disk"
        missed = "latest"
        queue = "slow"
        paused = true
        tags = ["a", "b", "a"]
        output_limit = "1MiB"
        notify = { on = ["failed"], urls = "ntfy://topic" }
        requires = { memory = "1GiB" }
        imported = { file = "crontab", line = 3 }
        """
    )
    job = lab.job("a")
    assert job.run == "one\ntwo"
    assert (job.schedule, job.timezone) == ("0 2 * * *", "America/New_York")
    assert job.needs == (Need(job="other", within_s=93600.0),)
    assert job.environment == {"PATH": "/bin", "N": "1", "F": "1.10", "odd name": "x"}
    assert job.retries == Retries(max=3, delay_s=60, backoff=3, max_delay_s=600, jitter=0)
    assert (job.timeout_s, job.grace_s, job.output_limit_bytes) == (1800, 5, 1 << 20)
    assert (job.exclusive, job.tags, job.queue) == (("disk",), ("a", "b"), "slow")
    assert (job.overlap, job.missed, job.paused, job.user) == ("queue", "latest", True, "backup")
    assert (job.notify_on, job.notify_urls) == (("failed",), ("ntfy://topic",))
    assert job.source == "lab.toml:10"
    assert lab.queues == {"default": 20, "slow": 2}


def test_defaults_hold_where_a_job_says_nothing_and_tables_are_merged() -> None:
    lab = lab_of(
        """
        [defaults]
        timeout = "1h"
        retries = { delay = "5s" }
        environment = { A = "1", B = "1" }
        tags = ["x"]
        [jobs.a]
        run = "true"
        [jobs.b]
        run = "true"
        timeout = "none"
        retries = 2
        environment.B = "2"
        tags = []
        """
    )
    a, b = lab.jobs
    assert (a.timeout_s, a.retries.max, a.retries.delay_s, a.tags) == (3600, 0, 5, ("x",))
    assert (b.timeout_s, b.retries.max, b.retries.delay_s, b.tags) == (None, 2, 5, ())
    assert b.environment == {"A": "1", "B": "2"}


def test_included_files_add_jobs_and_have_defaults_of_their_own() -> None:
    lab = lab_of(
        """
        [lab]
        name = "home"
        include = ["jobs/*.toml"]
        [defaults]
        timeout = 10
        shell = "/bin/zsh"
        [jobs.a]
        run = "true"
        """,
        more="""
        [defaults]
        timeout = 20
        [jobs.b]
        run = "true"
        needs = "a"
        """,
    )
    a, b = lab.jobs
    assert (a.timeout_s, b.timeout_s, b.shell) == (10, 20, "/bin/zsh")
    assert b.source == "jobs/more.toml:4"
    assert [[j.name for j in f.jobs] for f in lab.flows] == [["a", "b"]]


def test_an_empty_file_is_a_lab_with_nothing_in_it() -> None:
    lab = lab_of("")
    assert (lab.name, lab.timezone, lab.jobs) == ("lab", "UTC", ())
    assert lab.services["postgres"].port == "auto"
    assert lab.services["control"].host == "127.0.0.1"


def test_a_job_without_schedule_runs_in_the_flow_of_what_it_needs() -> None:
    lab = lab_of(
        """
        jobs.c = { run = "true", needs = ["b"] }
        jobs.b = { run = "true", needs = ["a"] }
        jobs.a = { run = "true", schedule = "@daily" }
        """
    )
    assert [(f.name, f.schedule, [j.name for j in f.jobs]) for f in lab.flows] == [("a", "@daily", ["a", "b", "c"])]


def test_notify_false_silences_a_job() -> None:
    assert lab_of('jobs.a = { run = "true", notify = false }').jobs[0].notify_on == ()


def test_a_password_in_a_url_is_noted_and_not_repeated() -> None:
    lab, problems = parse(
        {"lab.toml": 'notify.urls = ["mailto://me:hunter2@example.org", "ntfy://topic"]'}, main="lab.toml"
    )
    assert lab is not None
    assert [(p.severity, p.code, p.column) for p in problems] == [("note", "password", 16)]
    assert "hunter2" not in problems[0].message + problems[0].hint


def test_agents_are_kept_with_a_note() -> None:
    lab, problems = parse({"lab.toml": '[agents.helper]\ngoal = "x"\nanything = [1]\n'}, main="lab.toml")
    assert lab is not None
    assert lab.agents == ("helper",)
    assert [(p.severity, p.line) for p in problems] == [("note", 1)]


def test_a_secret_that_is_not_there_is_reported_at_its_place() -> None:
    text = """
        notify.urls = ["ntfy://x", "env:URL"]
        [jobs.a]
        run = "true"
        secrets = { A = "file:/key", B = "env:URL" }
        """
    lab = lab_of(text)
    found = secret_problems(lab, lambda reference: reference == "file:/key")
    assert [(p.line, p.column, p.code) for p in found] == [(2, 28, "no-secret"), (5, 34, "no-secret")]
    lab2, problems = parse({"lab.toml": dedent(text)}, main="lab.toml", exists=lambda _: False)
    assert lab2 is None
    assert len(problems) == 3
