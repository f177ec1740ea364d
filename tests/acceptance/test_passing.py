"""What jobs pass on to the jobs that need them, in a real lab: variables and files."""

import hashlib
import textwrap
from collections.abc import Iterator
from pathlib import Path

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

    [jobs.draw]
    save = ["reports/*.txt", "more"]
    run = '''
    mkdir -p reports more/deep
    date +%s%N > reports/when.txt
    echo "a file" > "reports/a b é.txt"
    echo deep > more/deep/x
    ln -sf /etc/passwd reports/passwd.txt
    '''

    [jobs.bind]
    needs = ["draw"]
    run = '''
    cd "$HOMELAB_INPUTS/draw"
    cat "reports/a b é.txt" more/deep/x
    cmp reports/when.txt "$OLDPWD/reports/when.txt"
    echo changed > reports/when.txt
    '''

    [jobs.promise]
    save = { paths = ["nothing/*"], required = true }
    run = "true"

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


def test_files_reach_the_job_that_needs_them_and_whoever_asks(lab: Lab, tmp_path: Path) -> None:
    run = lab.run_job("draw")
    jobs = ended(lab, run)
    assert {job["state"] for job in jobs.values()} == {"succeeded"}, lab.homelab("run", "logs", run).stdout
    said = lab.homelab("run", "logs", run).stdout
    assert "a file\n" in said and "deep\n" in said
    assert "reports/passwd.txt is not saved: a link leads out of the working folder" in said
    until(
        lambda: all(f["is_here"] for f in lab.json("run", "artefacts", run)["artefacts"]),
        timeout=20, what="the files in the store",
    )  # fmt: skip
    files = {f["path"]: f for f in lab.json("run", "artefacts", run)["artefacts"]}
    assert sorted(files) == ["more/deep/x", "reports/a b é.txt", "reports/when.txt"]
    assert files["more/deep/x"]["sha256"] == hashlib.sha256(b"deep\n").hexdigest()
    assert "reports/when.txt" in lab.homelab("run", "artefacts", run).stdout
    got = lab.json("run", "fetch", run, "--to", str(tmp_path))
    assert {Path(f["file"]).relative_to(tmp_path).as_posix() for f in got["artefacts"]} == {f"draw/{p}" for p in files}
    when = (tmp_path / "draw/reports/when.txt").read_bytes()
    assert when == (lab.root / "reports/when.txt").read_bytes(), "what a job does to its copy reaches no other"
    (tmp_path / "draw/reports/when.txt").write_text("spoiled")
    lab.homelab("run", "fetch", run, "--job", "draw", "--to", str(tmp_path))
    assert (tmp_path / "draw/reports/when.txt").read_bytes() == when
    assert "no files of job 'bind'" in lab.homelab("run", "fetch", run, "--job", "bind", ok=(3,)).stderr
    assert list((lab.home / "runs").rglob("*.inputs")) == []


def test_the_pages_of_run_and_job_offer_the_files(lab: Lab) -> None:
    import httpx

    run = lab.run_job("draw")
    ended(lab, run)
    until(
        lambda: all(f["is_here"] for f in lab.json("run", "artefacts", run)["artefacts"]),
        timeout=20, what="the files in the store",
    )  # fmt: skip
    url = lab.json("env")["HOMELAB_URL"]
    token = lab.json("env")["HOMELAB_TOKEN"]
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        for path in (f"/runs/{run}", "/jobs/draw"):
            page = http.get(path).text
            (link,) = [part.split('"')[0] for part in page.split('href="') if "a%20b" in part.split('"')[0]][:1]
            got = http.get(link.replace("&amp;", "&"))
            assert got.content == b"a file\n"
            assert got.headers["content-disposition"].startswith("attachment")
            assert got.headers["x-content-type-options"] == "nosniff"
        assert http.get("/api/v1/jobs/draw/artefacts").json()["artefacts"][0]["job"] == "draw"


def test_what_a_job_promises_to_save_and_does_not_have_fails_it(lab: Lab) -> None:
    run = lab.run_job("promise")
    job = ended(lab, run)["promise"]
    assert (job["state"], job["exit_code"]) == ("failed", 0)
    assert job["reason"].startswith("not saved: nothing to save")
    shown = lab.homelab("run", "show", run).stdout
    assert "not saved: nothing to save" in shown
    assert "exit status 0" not in job["ending"].lower(), job["ending"]
