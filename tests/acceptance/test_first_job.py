"""The shortest way through the product: a lab file, up, a job, its log, down."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import Lab


def tmp_script(lab: Lab) -> Path:
    return lab.root / "scripted.sh"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    lab.up(
        f"""
        [lab]
        name = "test"
        timezone = "UTC"

        [jobs.hello]
        schedule = "0 3 * * *"
        run = '''echo "hello from $HOMELAB_JOB"; echo trouble >&2; {lab.mark("ran")}'''

        [jobs.after]
        needs = ["hello"]
        run = '''{lab.mark("ran")}'''

        [jobs.flaky]
        run = '''{lab.mark("try")}; test "$HOMELAB_ATTEMPT" = 2'''
        retries = {{ max = 2, delay = "1s" }}

        [jobs.broken]
        run = "echo last words; exit 7"

        [jobs.scripted]
        run = "sh {tmp_script(lab)}"
        expect = {{ duration = "20m" }}

        [jobs.after-broken]
        needs = ["broken"]
        run = '''{lab.mark("ran")}'''
        """
    )
    yield lab
    lab.down()


def test_a_job_and_the_one_that_needs_it_run_in_one_run_in_order(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]
    assert run["state"] == "succeeded"
    marks = [m for m in lab.judge() if m.run == run["id"]]
    assert [m.job for m in marks] == ["hello", "after"]


def test_its_output_is_in_the_log_with_stream_and_time(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]["id"]
    text = lab.homelab("run", "logs", run, "--task", "hello").stdout
    assert "hello from hello" in text
    assert "trouble" in text


def test_a_flaky_job_succeeds_on_its_second_attempt(lab: Lab) -> None:
    run = lab.json("job", "run", "flaky", "--wait")["run"]["id"]
    assert [m.attempt for m in lab.judge("flaky") if m.run == run] == [1, 2]
    assert lab.job_run(run, "flaky")["attempt"] == 2


def test_a_failed_job_stops_what_needs_it_and_says_why(lab: Lab) -> None:
    run = lab.json("job", "run", "broken", "--wait", ok=(1,))["run"]["id"]
    row = lab.job_run(run, "broken")
    assert (row["state"], row["exit_code"]) == ("failed", 7)
    assert "7" in row["reason"]
    assert lab.job_run(run, "after-broken")["state"] == "blocked"
    assert lab.words("after-broken") == []


def test_status_lists_the_services_as_ready(lab: Lab) -> None:
    states = {s["name"]: s["state"] for s in lab.json("status")["services"]}
    assert states == {"postgres": "ready", "prefect": "ready", "control": "ready", "worker": "ready"}


def test_a_run_is_found_by_the_beginning_of_its_id_by_its_job_and_as_the_last(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]["id"]
    for text in (run[:8], "hello", "last"):
        assert lab.json("run", "show", text)["run"]["id"] == run
    assert "no run" in lab.homelab("run", "show", "0000ffff", ok=(3,)).stderr


def test_retry_of_what_failed_is_the_same_run_and_pause_keeps_a_job_from_its_time(lab: Lab) -> None:
    run = lab.json("job", "run", "broken", "--wait", ok=(1,))["run"]["id"]
    lab.homelab("run", "retry", run[:8], "--failed", "--wait", ok=(1,))
    assert lab.job_run(run, "broken")["attempt"] == 2
    lab.homelab("job", "pause", "hello")
    job = next(j for j in lab.json("job", "ls")["jobs"] if j["name"] == "hello")
    assert job["paused"]
    assert job["next_due"] is None
    assert "paused" in str(lab.json("job", "why", "hello")["reasons"])
    lab.homelab("job", "resume", "hello")
    assert next(j for j in lab.json("job", "ls")["jobs"] if j["name"] == "hello")["next_due"]


def test_a_failure_is_told_with_what_was_missing_and_which_script_changed_since_the_last_good_run(lab: Lab) -> None:
    script = tmp_script(lab)
    script.write_text("echo fine\n")
    lab.json("job", "run", "scripted", "--wait")
    script.write_text("echo fine\nhomelab-no-such-tool --all\n")
    run = lab.json("job", "run", "scripted", "--wait", ok=(1,))["run"]["id"]
    (job,) = lab.json("run", "show", run)["run"]["jobs"]
    assert job["ending"] == "It ended with exit status 127: the command homelab-no-such-tool was not found."
    assert any(fact.startswith(f"{script} has changed since the run that succeeded") for fact in job["facts"])
    shown = lab.homelab("run", "show", run).stdout
    assert job["ending"] in shown and "Next: Install homelab-no-such-tool on " in shown
    why = lab.json("job", "why", "scripted")
    assert "homelab-no-such-tool was not found" in str(why["reasons"]) and why["advice"].startswith("Install")
    unusual = lab.json("job", "show", "scripted")["job"]
    assert unusual["statistics"]["runs"] == 2 and unusual["statistics"]["failures"] == 1
    assert unusual["statistics"]["limits"]["stuck_s"] == 3600
    assert unusual["definition"]["expect"]["duration_s"] == 1200
