"""The probe that asks cron what a job finds: its line, its answer, what is shown of it."""

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from homelab.core.crontab import parse
from homelab.core.crontab import probe as rules
from homelab.core.crontab.probe import Surroundings

CRONTAB = b"A=1\n@daily job\nA=2\n@daily other\n"


def test_the_probe_stands_where_the_jobs_assignments_hold_and_goes_without_a_trace() -> None:
    data = rules.with_probe(CRONTAB, after=2, folder="/tmp/p", user=None)
    job = parse(data.decode(), user="ada").jobs[1]
    assert (job.schedule, job.command, job.environment["A"]) == (
        "* * * * *",
        "/bin/sh /tmp/p/probe.sh # homelab-probe",
        "1",
    )
    assert rules.without_probe(data) == CRONTAB
    system = rules.with_probe(b"@daily ada job\n", after=1, folder="/tmp/p", user="ada")
    assert parse(system.decode(), system=True).jobs[1].user == "ada"


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), min_size=1, max_size=6), st.integers(0, 6))
def test_taking_the_probe_out_changes_no_other_byte(lines: list[bytes], after: int) -> None:
    data = b"\n".join(lines)
    assert rules.without_probe(rules.with_probe(data, after=after, folder="/tmp/p", user=None)) == data


def test_the_script_tells_what_it_finds_and_only_once(tmp_path: Path) -> None:
    (tmp_path / "probe.sh").write_text(rules.script(str(tmp_path)))
    environment = {"HOME": "/", "MANY": "one\ntwo=2", "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["/bin/sh", tmp_path / "probe.sh"], env=environment, cwd="/", umask=0o027, check=True)
    path = tmp_path / "answer"
    found = rules.answer(path.read_text())
    assert found is not None
    assert (found.cwd, found.umask) == ("/", "0027")
    assert found.environment["HOME"] == "/"
    assert "PWD" not in found.environment
    assert path.stat().st_mode & 0o777 == 0o600


def test_differences_are_told_without_secrets() -> None:
    cron = Surroundings(
        environment={"PATH": "/bin", "API_TOKEN": "s3cr3t", "URL": "https://me:pw1234@host/", "SAME": "x"},
        cwd="/home/ada", user="ada", umask="0022",
    )  # fmt: skip
    lab = Surroundings(environment={"PATH": "/usr/bin", "API_TOKEN": "other", "SAME": "x"}, cwd="/", user="ada")
    found = {d.what: (d.cron, d.lab) for d in rules.differences(cron, lab)}
    assert found == {
        "cwd": ("/home/ada", "/"),
        "PATH": ("/bin", "/usr/bin"),
        "API_TOKEN": ("***", "***"),
        "URL": ("https://me:***@host/", None),
    }
    (declared,) = rules.differences(Surroundings(environment={"A": "x"}), lab_of("y"), secrets=frozenset({"A"}))
    assert (declared.cron, declared.lab) == ("***", "***")


def lab_of(value: str) -> Surroundings:
    return Surroundings(environment={"A": value})
