"""The disk for logs is full, the state folder cannot be used: jobs end as they would, and all comes back by itself."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from tests.lab import Lab, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("disk"))
    runs = lab.home / "runs"
    runs.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(runs)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    small = "\n".join(f"[jobs.small-{n}]\nrun = '''{lab.mark('ran')}; echo line {n}; exit {n}'''" for n in range(3))
    try:
        lab.up(
            f"""
            [lab]
            name = "disk"
            timezone = "UTC"
            [jobs.flood]
            output_limit = "20MiB"
            run = "yes 0123456789012345678901234567890 | head -c 30000000; exit 3"
            {small}
            """
        )
        yield lab
    finally:
        lab.down()
        subprocess.run(["umount", "-l", str(runs)], check=False)


def test_jobs_end_with_their_own_status_on_a_full_disk_and_logging_comes_back(lab: Lab) -> None:
    run = lab.json("job", "run", "flood", "--wait", ok=(1,), timeout=120)["run"]["id"]
    assert lab.job_run(run, "flood")["exit_code"] == 3
    filler = lab.home / "runs" / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), b"x" * 65536)
        except OSError:
            pass
    for number in range(3):
        done = lab.json("job", "run", f"small-{number}", "--wait", ok=(0, 1))["run"]["id"]
        assert lab.job_run(done, f"small-{number}")["exit_code"] == number
    assert len([m for m in lab.judge() if m.job.startswith("small")]) == 3
    filler.unlink()
    for log in (lab.home / "runs").glob("*/*/flood.1.log"):
        log.unlink()
    again = lab.json("job", "run", "small-1", "--wait", ok=(1,))["run"]["id"]
    assert "line 1" in lab.homelab("run", "logs", again).stdout
    assert lab.service("postgres")["restarts"] == 0


def test_a_folder_that_turns_read_only_is_named_and_jobs_go_on(lab: Lab) -> None:
    def problems() -> str:
        return str(lab.json("status")["problems"])

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(lab.home / "runs")], check=True)

    before = len(lab.judge("small-1"))
    remount("ro")
    try:
        lab.homelab("job", "run", "small-1", "--wait", ok=(1,))
        assert len(lab.judge("small-1")) == before + 1
        until(lambda: f"{lab.home / 'runs'} cannot be written" in problems(), timeout=30, what=problems)
    finally:
        remount("rw")
    until(lambda: "cannot be written" not in problems(), timeout=30, what=problems)
    again = lab.json("job", "run", "small-1", "--wait", ok=(1,))["run"]["id"]
    assert "line 1" in lab.homelab("run", "logs", again).stdout


def test_a_state_folder_that_cannot_be_used_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Lab(tmp_path_factory.mktemp("unusable"))
    other.write('[lab]\nname = "x"\n')
    other.home.write_text("a file where the folder belongs")
    done = other.homelab("up", "-d", ok=(2,))
    assert str(other.home) in done.stderr
    assert "HOMELAB_HOME" in done.stderr


def test_a_foreign_database_folder_is_named_and_once_given_back_the_lab_starts_by_itself(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    from homelab.home.paths import Home
    from homelab.stack.postgres import place_of

    other = Lab(tmp_path_factory.mktemp("foreign"))
    try:
        other.up('[lab]\nname = "x"\n')
        other.homelab("down")
        data = place_of(Home(other.home)).data
        owner = data.stat().st_uid
        os.chown(data, 12345, 12345)
        done = other.homelab("up", "-d", "--wait", "4", ok=(4,))
        assert str(data) in done.stderr
        assert "chown" in other.homelab("status", "--json").stdout or "12345" in done.stderr
        os.chown(data, owner, -1)
        until(lambda: other.service("worker")["state"] == "ready", timeout=90, what=lambda: other.logs())
    finally:
        other.down()
