"""Real commands: how they start, what of them is kept, how they end, and what they leave behind."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from homelab.core.jobs import RunState
from homelab.worker import survivors
from homelab.worker.environment import Account
from homelab.worker.process import Outcome, Spec, account_of, begin
from homelab.worker.runlog import Writer, raw, read, tail, text

UNIQUE = f"r{os.getpid()}-{time.time_ns()}"
MARKS = {"HOMELAB_RUN_ID": UNIQUE, "HOMELAB_JOB": "job", "HOMELAB_ATTEMPT": "1"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "job.1.log"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """What a test leaves in the background carries our mark and goes by pid."""
    yield
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOMELAB_RUN_ID") == UNIQUE:
                process.kill()
        except psutil.Error:
            continue


async def start(command: str, log: Path, *, cancel: asyncio.Event | None = None, **settings) -> Outcome:
    writer = Writer(log)
    environment = {"PATH": "/usr/bin:/bin", **MARKS, **settings.pop("environment", {})}
    settings.setdefault("cwd", str(log.parent))
    spec = Spec(command=command, environment=environment, **settings)
    try:
        begun = await begin(spec, writer)
        if isinstance(begun, Outcome):
            return begun
        try:
            return await begun.see_through(cancel or asyncio.Event())
        finally:
            begun.end_now()
    finally:
        writer.close(time.time())


def lines(log: Path, *streams: str) -> list[str]:
    return [text(r) for r in read(log) if r.stream in (streams or ("out", "err"))] if log.exists() else []


def alive(argument: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if argument in " ".join(p.info["cmdline"] or ())]


async def test_output_and_exit_status_are_kept(log: Path) -> None:
    outcome = await start("echo out; echo err >&2; exit 3", log)
    assert (outcome.state, outcome.exit_code, outcome.reason) == (RunState.FAILED, 3, "exit status 3")
    assert (lines(log, "out"), lines(log, "err")) == (["out"], ["err"])
    assert outcome.started is not None and outcome.started <= outcome.ended


async def test_a_command_sees_its_environment_folder_umask_and_nothing_else(log: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORKER_OWN", "x")
    await start("env | sort; pwd; umask; ls /proc/self/fd 2>/dev/null | wc -l", log, environment={"A": "b c"})
    shown = lines(log)
    assert "A=b c" in shown and str(log.parent) in shown and "0022" in shown
    assert not any("WORKER_OWN" in line for line in shown)
    if sys.platform == "linux":
        assert int(shown[-1]) <= 5  # 0, 1, 2, and those ls itself opens


@pytest.mark.parametrize("command", ["cat", "true", "head -c 10"])
async def test_standard_input_is_fed_without_deadlock(log: Path, command: str) -> None:
    outcome = await start(command, log, stdin="line of input\n" * 40_000)
    assert outcome.state is RunState.SUCCEEDED
    assert b"".join(raw(log) if log.exists() else ()) == {
        "cat": b"line of input\n" * 40_000, "true": b"", "head -c 10": b"line of in"
    }[command]  # fmt: skip


async def test_without_input_a_command_reads_the_end_at_once(log: Path) -> None:
    assert (await start("cat; read x; echo $?", log)).state is RunState.SUCCEEDED
    assert lines(log) == ["1"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("kill -9 $$", "killed by signal 9 (SIGKILL)"),
        ("kill -TERM $$", "killed by signal 15 (SIGTERM)"),
        ("no-such-command", "exit status 127: command not found"),
        ("/dev/null", "exit status 126: the command is not executable"),
        ("exit 143", "exit status 143: a command in it was ended by signal 15 (SIGTERM)"),
    ],
)
async def test_the_reason_is_one_sentence_of_facts(log: Path, command: str, reason: str) -> None:
    assert (await start(command, log)).reason == reason


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"cwd": "/no/such/folder"}, "not started: the working folder /no/such/folder does not exist"),
        ({"shell": "/no/such/shell"}, "not started: the shell /no/such/shell: No such file or directory"),
        ({"environment": {"A": "x" * 10_000_000}}, "not started: Argument list too long"),
    ],
)
async def test_what_cannot_be_started_is_an_outcome(log: Path, settings: dict, reason: str) -> None:
    outcome = await start("true", log, **settings)
    assert (outcome.state, outcome.reason, outcome.started) == (RunState.FAILED, reason, None)


async def test_a_command_that_ignores_sigterm_is_killed_with_its_group(log: Path) -> None:
    loop = f"trap '' TERM INT; while :; do sh -c 'sleep 1; : {UNIQUE}-loop'; done"
    began = time.monotonic()
    outcome = await start(loop, log, timeout_s=0.4, grace_s=0.5)
    assert (outcome.state, outcome.signal) == (RunState.TIMED_OUT, 9)
    assert outcome.reason == "timed out after 0.4 s; ignored SIGTERM, killed"
    assert time.monotonic() - began < 3
    assert alive(f"{UNIQUE}-loop") == []


async def test_cancelling_ends_the_group_and_lets_a_command_tidy_up(log: Path) -> None:
    cancel = asyncio.Event()
    command = f"trap 'echo tidy; exit 0' TERM; sh -c 'sleep 30; : {UNIQUE}-c' & wait"
    task = asyncio.create_task(start(command, log, cancel=cancel))
    while not alive(f"{UNIQUE}-c"):
        await asyncio.sleep(0.02)
    cancel.set()
    outcome = await asyncio.wait_for(task, 5)
    assert (outcome.state, outcome.reason) == (RunState.CANCELLED, "cancelled")
    assert "tidy" in lines(log)
    assert alive(f"{UNIQUE}-c") == []


async def test_a_shell_killed_by_somebody_does_not_leave_its_command_running(log: Path) -> None:
    outcome = await start(f"sh -c 'sleep 30; : {UNIQUE}-k' & sleep 0.1; kill -9 $$", log, grace_s=1)
    assert outcome.signal == 9
    assert alive(f"{UNIQUE}-k") == []


async def test_when_the_task_is_cancelled_nothing_stays(log: Path) -> None:
    task = asyncio.create_task(start(f"sh -c 'sleep 30; : {UNIQUE}-t'; true", log))
    while not alive(f"{UNIQUE}-t"):
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while alive(f"{UNIQUE}-t"):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("background", ["setsid sleep 30", "sleep 30", "sleep 30 >/dev/null 2>&1"])
async def test_a_run_ends_with_its_command_and_names_what_stays_in_the_background(log: Path, background: str) -> None:
    began = time.monotonic()
    outcome = await start(f"({background} &) ; echo parent done", log)
    assert time.monotonic() - began < 2.5
    assert outcome.state is RunState.SUCCEEDED
    [left] = outcome.left_behind
    assert psutil.pid_exists(left)
    assert lines(log, "out") == ["parent done"]
    assert lines(log, "lab") == [f"left running in the background: pid {left}; its further output is not kept"]


async def test_a_job_running_beside_it_in_the_same_run_is_not_taken_for_left_behind(log: Path) -> None:
    sibling = subprocess.Popen(["/bin/sleep", "30"], env={**MARKS, "HOMELAB_JOB": "other"}, start_new_session=True)
    outcome = await start("(setsid sleep 30 &)", log)
    sibling.kill()
    sibling.wait()
    assert sibling.pid not in outcome.left_behind
    assert len(outcome.left_behind) == 1


async def test_a_background_process_that_prints_later_is_not_killed_by_that(log: Path, tmp_path: Path) -> None:
    await start(f"(sleep 0.8; echo late; echo survived > {tmp_path}/judge) & echo done", log)
    for _ in range(100):
        if (tmp_path / "judge").exists():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it died when it wrote to a pipe that nobody reads")


def memory() -> int:
    """Of this process, which reads what the jobs print."""
    return int(psutil.Process().memory_info().rss)


async def test_much_output_costs_little_and_its_end_is_kept(log: Path) -> None:
    rss, before = memory(), resource.getrusage(resource.RUSAGE_SELF)
    outcome = await start("yes abcdefghij | head -c 200000000; sleep 0.1; echo done >&2", log)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert outcome.state is RunState.SUCCEEDED
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4.0
    assert log.stat().st_size < 60_000_000
    assert "done" in [text(r) for r in tail(log, 5)]
    assert memory() - rss < 100 * 2**20


async def test_a_line_that_never_ends_needs_no_memory(log: Path) -> None:
    rss = memory()
    outcome = await start("head -c 50000000 /dev/zero", log)
    assert outcome.state is RunState.SUCCEEDED
    assert memory() - rss < 40 * 2**20


async def test_a_command_that_cannot_run_as_its_user_says_so(log: Path) -> None:
    if os.geteuid() == 0:
        nobody = account_of("nobody")
        assert (await start("id -u; id -un", log, account=nobody, cwd="/")).state is RunState.SUCCEEDED
        assert lines(log) == [str(nobody.uid), "nobody"]
    else:
        other = Account(name="other", uid=os.geteuid() + 1, gid=1, home="/")
        outcome = await start("true", log, account=other)
        assert "cannot run as user 'other'" in outcome.reason


async def test_the_end_is_seen_where_the_kernel_has_no_pidfd(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    outcome = await start("echo one; exit 4", log)
    assert (outcome.exit_code, lines(log)) == (4, ["one"])
    outcome = await start("sleep 30", log, timeout_s=0.1)
    assert (outcome.state, outcome.signal) == (RunState.TIMED_OUT, 15)


async def test_many_at_once_lose_no_line_and_no_status(tmp_path: Path) -> None:
    loop = "i=0; while [ $i -lt 20 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf end"
    logs = [tmp_path / f"job{n}.1.log" for n in range(60)]
    outcomes = await asyncio.gather(*(start(f"{loop}; exit {n}", log) for n, log in enumerate(logs)))
    assert [o.exit_code for o in outcomes] == list(range(60))
    for log in logs:
        assert lines(log, "out") == [*(f"out{n}" for n in range(20)), "end"]
        assert lines(log, "err") == [f"err{n}" for n in range(20)]


async def test_a_background_process_that_floods_does_not_keep_the_run_open(log: Path) -> None:
    began = time.monotonic()
    outcome = await start("(while :; do echo more; sleep 0.05; done) & echo done", log)
    assert time.monotonic() - began < 3.5
    assert outcome.state is RunState.SUCCEEDED
    assert len(outcome.left_behind) >= 1
    assert (outcome.ended - outcome.started).total_seconds() < 1  # type: ignore[operator]


async def test_a_trivial_command_is_cheap_to_start(log: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(50):
        assert (await start("true", log)).state is RunState.SUCCEEDED
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 50 < 0.010


def test_what_a_dead_worker_left_is_ended_and_nothing_else() -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOMELAB_RUN_ID": UNIQUE}
    command = ["/bin/sh", "-c", "trap '' TERM; sleep 30 & echo ready; while :; do sleep 0.1; done"]
    ours = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE)
    assert ours.stdout is not None and ours.stdout.readline() == b"ready\n"
    mark = survivors.start_mark(ours.pid)
    assert survivors.end(pid=ours.pid, mark="of another time", run_id=UNIQUE) == ()
    assert ours.poll() is None
    assert ours.pid in survivors.end(pid=ours.pid, mark=mark, run_id=UNIQUE, grace_s=0.2)
    assert ours.wait(2) == -9
    ours.stdout.close()
    assert not survivors.group_lives(ours.pid)


@pytest.mark.parametrize(("run_id", "ended"), [(UNIQUE, True), ("another run", False)])
def test_children_of_a_leader_that_is_gone_are_ours_only_by_their_run_id(run_id: str, ended: bool) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOMELAB_RUN_ID": UNIQUE}
    leader = subprocess.Popen(["/bin/sh", "-c", "sleep 30 & exit 0"], env=environment, start_new_session=True)
    leader.wait(2)
    found = survivors.end(pid=leader.pid, mark="m", run_id=run_id)
    assert (len(found) == 1) is ended
    assert survivors.group_lives(leader.pid) is not ended
