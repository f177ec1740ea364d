"""A job sees cron's environment and its own, and nothing of ours; parameters cannot choose what runs."""

from datetime import UTC, datetime

import pytest

from homelab.core.errors import InputError
from homelab.core.jobs import Job
from homelab.worker.environment import DEFAULT_PATH, Account, cwd_of, environment_of

ANNA = Account(name="anna", uid=1000, gid=1000, home="/home/anna")


def of(job: Job, **more) -> dict[str, str]:
    return environment_of(job, account=ANNA, run_id="r1", attempt=2, due=datetime(2026, 1, 1, tzinfo=UTC), **more)


def test_a_job_has_exactly_these_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_OWN", "x")
    assert of(Job(name="a", run="true")) == {
        "SHELL": "/bin/sh",
        "PATH": DEFAULT_PATH,
        "HOME": "/home/anna",
        "USER": "anna",
        "LOGNAME": "anna",
        "HOMELAB_RUN_ID": "r1",
        "HOMELAB_JOB": "a",
        "HOMELAB_DUE": "2026-01-01T00:00:00Z",
        "HOMELAB_ATTEMPT": "2",
    }


def test_an_imported_job_keeps_what_its_crontab_set_but_not_logname() -> None:
    job = Job(name="a", run="true", environment={"PATH": "/usr/bin:/bin", "HOME": "/srv", "LOGNAME": "root", "X": ""})
    found = of(job)
    assert (found["PATH"], found["HOME"], found["LOGNAME"], found["X"]) == ("/usr/bin:/bin", "/srv", "anna", "")
    assert cwd_of(job, found) == "/srv"


def test_parameters_given_win_over_defaults_and_are_taken_as_they_are() -> None:
    value = "x; touch /tmp/PWN\n$(id) % -rf"
    found = of(Job(name="a", run="true", params={"WHAT": "default"}), params={"WHAT": value, "big": "y" * 100_000})
    assert (found["WHAT"], len(found["big"])) == (value, 100_000)


def test_what_a_needed_job_passed_on_wins_over_the_lab_file_and_loses_to_what_a_person_gave() -> None:
    job = Job(
        name="a", run="true", environment={"E": "job", "P": "job", "G": "job"},
        params={"P": "default", "G": "default"}, secrets={"S": "env:S"},
    )  # fmt: skip
    passed = dict.fromkeys(("E", "P", "G", "S", "NEW"), "passed")
    found = of(job, passed=passed, params={"G": "given"}, secrets={"S": "secret"}, output="/runs/a.2.output")
    assert [found[n] for n in ("E", "P", "G", "S", "NEW")] == ["passed", "passed", "given", "secret", "passed"]
    assert found["HOMELAB_OUTPUT"] == "/runs/a.2.output"


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "a;b", "A=B", "BASH_ENV", "LD_PRELOAD", "PATH", "IFS", "HOMELAB_JOB", "é"]
)
def test_a_parameter_that_is_no_variable_or_could_steer_a_shell_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        of(Job(name="a", run="true"), params={name: "x"})


def test_a_declared_parameter_may_have_any_name() -> None:
    assert of(Job(name="a", run="true", params={"PYTHONPATH": ""}), params={"PYTHONPATH": "lib"})["PYTHONPATH"] == "lib"


def test_a_parameter_cannot_replace_a_secret() -> None:
    with pytest.raises(InputError):
        of(Job(name="a", run="true", secrets={"TOKEN": "env:T"}), params={"TOKEN": "x"}, secrets={"TOKEN": "real"})


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "HOMELAB_JOB", "a b", ""])
def test_what_is_passed_from_another_machine_cannot_choose_what_runs_here(name: str) -> None:
    with pytest.raises(InputError):
        of(Job(name="a", run="true"), passed={name: "x"})


@pytest.mark.parametrize("value", ["a\0b", "x" * 200_000])
def test_a_value_that_no_program_can_be_given_is_refused(value: str) -> None:
    with pytest.raises(InputError):
        of(Job(name="a", run="true"), params={"V": value})


@pytest.mark.parametrize(
    ("cwd", "folder"), [("", "/home/anna"), ("~", "/home/anna"), ("~/x", "/home/anna/x"), ("/y", "/y")]
)
def test_the_working_folder_is_home_unless_the_job_says_otherwise(cwd: str, folder: str) -> None:
    assert cwd_of(Job(name="a", run="true", cwd=cwd), {"HOME": "/home/anna"}) == folder
