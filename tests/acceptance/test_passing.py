"""What jobs pass on to the jobs that need them, in a real lab: variables."""

import textwrap
from collections.abc import Iterator

import pytest
from tests.lab import Lab, until

TEXT = """
    [lab]
    name = "passing"
    timezone = "UTC"

    [defaults]
    cwd = "."

    [jobs.make]
    secrets = { TOKEN = "env:TOKEN" }
    run = '''
    echo "SUM=40 + 2; $(echo no) '\\"' é" >> $HOMELAB_OUTPUT
    { echo 'MANY<<END'; echo one; echo two; echo END; } >> $HOMELAB_OUTPUT
    echo "GIVEN=made" >> $HOMELAB_OUTPUT
    echo "LEAK=x$TOKEN" >> $HOMELAB_OUTPUT
    echo "just words" >> $HOMELAB_OUTPUT
    [ "$HOMELAB_ATTEMPT" = 1 ] && touch first
    true
    '''

    [jobs.use]
    needs = ["make"]
    params = { GIVEN = "default" }
    environment = { SUM = "of the lab file" }
    run = '''
    printf '%s|%s|%s|%s\\n' "$SUM" "$MANY" "$GIVEN" "${LEAK-none}" > used
    test -e broken && exit 3
    true
    '''

    [jobs.far]
    needs = ["use"]
    run = 'echo "${SUM-unset}" > far'

    [jobs.number]
    flow = "work:number"

    [jobs.twice]
    flow = "work:twice"
    needs = ["number"]
    params = { N = "0" }
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("passing"))
    (lab.root / "work.py").write_text(
        textwrap.dedent(
            """
            import os

            def number():
                with open(os.environ["HOMELAB_OUTPUT"], "a") as file:
                    print("N=21", file=file)

            def twice(N):
                print(2 * int(N))
            """
        )
    )
    lab.environment["TOKEN"] = "hunter22hunter22"
    try:
        yield lab.up(textwrap.dedent(TEXT))
    finally:
        lab.down()


def ended(lab: Lab, run: str) -> dict[str, dict]:  # type: ignore[type-arg]
    """The jobs of the run by name, once it has ended and control knows it."""
    found = until(
        lambda: run_ if (run_ := lab.json("run", "show", run)["run"])["state"] in ("succeeded", "failed") else None,
        timeout=60, what=lambda: f"the end of {run}\n{lab.logs()}",
    )  # fmt: skip
    return {job["job"]: job for job in found["jobs"]}


def test_variables_reach_the_jobs_that_need_it_and_no_others(lab: Lab) -> None:
    run = lab.run_job("make")
    jobs = ended(lab, run)
    assert {job["state"] for job in jobs.values()} == {"succeeded"}
    assert (lab.root / "used").read_text() == "40 + 2; no '\"' é|one\ntwo|made|none\n"
    assert (lab.root / "far").read_text() == "unset\n"
    assert jobs["make"]["outputs"] == {"SUM": "40 + 2; no '\"' é", "MANY": "one\ntwo", "GIVEN": "made"}
    assert jobs["use"]["outputs"] == {}
    said = lab.homelab("run", "logs", run, "--task", "make").stdout
    assert "the value of LEAK holds a secret" in said and "it is not NAME=VALUE" in said
    assert "hunter22" not in lab.homelab("run", "show", run, "--json").stdout
    shown = lab.homelab("run", "show", run).stdout
    assert "make passes on:" in shown and "  GIVEN=made" in shown


def test_what_a_person_gave_for_the_run_wins(lab: Lab) -> None:
    ended(lab, lab.run_job("make", "--param", "GIVEN=person"))
    assert (lab.root / "used").read_text().split("|")[2] == "person"


def test_a_retry_of_the_job_that_needs_it_has_the_variables_of_the_earlier_round(lab: Lab) -> None:
    (lab.root / "broken").touch()
    run = lab.run_job("make")
    assert ended(lab, run)["use"]["state"] == "failed"
    (lab.root / "broken").unlink()
    (lab.root / "used").unlink()
    lab.homelab("run", "retry", run, "--failed", "--wait")
    assert (lab.root / "used").read_text().split("|")[1] == "one\ntwo"
    assert ended(lab, run)["make"]["attempt"] == 1


def test_a_python_function_gets_as_its_argument_what_another_wrote(lab: Lab) -> None:
    run = lab.run_job("number")
    assert ended(lab, run)["twice"]["state"] == "succeeded"
    assert "42" in lab.homelab("run", "logs", run, "--task", "twice").stdout
