"""What a worker sees of real attempts, and the sentence that follows: missing, killed, out of memory, full, changed."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from homelab.core.endings import Circumstances, Ending, Explanation, explain
from homelab.core.jobs import Flow, Job, RunState
from homelab.home.paths import Home
from homelab.worker import runlog
from homelab.worker.artefacts import Artefacts
from homelab.worker.circumstances import Observer
from homelab.worker.control_link import ControlLink
from homelab.worker.facts import RunFacts
from homelab.worker.launch import Launcher
from homelab.worker.process import Outcome, Spec
from homelab.worker.redaction import Redactor

CANARY = "s3cr3t-canary-value"


class Site:
    """One worker's launcher over a home of its own."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root / "home")
        self.home.secrets.mkdir(parents=True)
        self.launcher = Launcher(self.home, Artefacts(self.home, ControlLink(self.home)))
        self.folder = root / "work"
        self.folder.mkdir()
        self.runs = 0

    def run(self, command: str, *, cancel_after_s: float | None = None, **settings: Any) -> Outcome:
        self.runs += 1
        settings.setdefault("environment", {"PATH": "/usr/bin:/bin"})
        job = Job(name="job", run=command, cwd=str(self.folder), **settings)
        flow = Flow(name="job", schedule=None, timezone="UTC", jobs=(job,))
        now = datetime.now(UTC)
        facts = RunFacts(id=f"run-{self.runs}", flow=flow, digest="d", due=None, start_at=now)

        async def attempt() -> Outcome:
            cancel = asyncio.Event()
            if cancel_after_s is not None:
                asyncio.get_running_loop().call_later(cancel_after_s, cancel.set)
            return await self.launcher.run(
                job, facts, number=1, handed={}, log_path=self.log, cancel=cancel,
                cancel_reason=lambda: "cancelled by ana", on_start=lambda pid, at: None,
            )  # fmt: skip

        return asyncio.run(attempt())

    @property
    def log(self) -> Path:
        return self.folder.parent / f"job.{self.runs}.log"

    def explained(self, outcome: Outcome, before: Outcome | None = None) -> Explanation:
        tail = [runlog.text(record) for record in runlog.tail(self.log, 20)]
        row = {
            "state": outcome.state, "exit_code": outcome.exit_code, "signal": outcome.signal,
            "reason": outcome.reason, "started": outcome.started, "tail": tail, "node": "here", "run": "run",
        }  # fmt: skip
        return explain(Ending.of(row), seen(outcome), None if before is None else seen(before), good="yesterday")


def seen(outcome: Outcome) -> Circumstances:
    """Through JSON, as it reaches the database."""
    found = Circumstances.from_json(json.loads(json.dumps(outcome.facts)))
    assert found is not None
    return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_command_that_is_not_on_the_path_is_named_with_the_place_where_it_is(site: Site, tmp_path: Path) -> None:
    tool = tmp_path / "home" / "bin" / "homelab-test-tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    found = site.explained(site.run("homelab-test-tool --all", environment=environment))
    assert found.sentence == "It ended with exit status 127: the command homelab-test-tool was not found."
    assert found.facts == (f"{tool} is there, but its folder is not on the job's PATH (/usr/bin:/bin).",)
    assert str(tool.parent) in found.action
    found = site.explained(site.run("true; homelab-no-such-tool"))
    assert found.sentence == "It ended with exit status 127: the command homelab-no-such-tool was not found."
    assert found.facts == ("No usual folder of programs on here has homelab-no-such-tool.",)


def test_a_script_without_the_right_to_be_executed_is_named_with_its_mode(site: Site) -> None:
    script = site.folder / "job.sh"
    script.write_text("#!/bin/sh\ntrue\n")
    script.chmod(0o644)
    outcome = site.run(str(script))
    assert outcome.exit_code == 126
    found = site.explained(outcome)
    assert f"{script} has mode 0644." in found.facts and found.action == f"chmod +x {script}"


def test_who_sent_the_signal_is_said_as_far_as_it_is_known(site: Site) -> None:
    killed = site.explained(site.run("kill -9 $$"))
    assert killed.sentence.startswith("It was ended by signal 9 (SIGKILL), which the lab did not send")
    assert "the kernel ended a process" not in killed.text
    assert any("of the machine's memory was used when it ended" in fact for fact in killed.facts)
    late = site.run("sleep 30", timeout_s=0.3, grace_s=1)
    assert late.state is RunState.TIMED_OUT and site.explained(late).sentence == "Timed out after 0.3 s."
    stopped = site.run("sleep 30", cancel_after_s=0.3, grace_s=1)
    assert site.explained(stopped).sentence == "Cancelled by ana."


def test_the_size_of_the_largest_process_and_its_processor_time_are_known(site: Site) -> None:
    outcome = site.run(f"{sys.executable} -c 'x = bytearray(80_000_000)'")
    assert outcome.peak_memory_bytes is not None and outcome.peak_memory_bytes > 80_000_000
    assert seen(outcome).peak_memory_bytes == outcome.peak_memory_bytes and (outcome.cpu_s or 0) > 0


def test_a_job_that_may_have_no_more_memory_is_quoted_and_no_kernel_is_blamed(site: Site) -> None:
    outcome = site.run(f"ulimit -v 300000; {sys.executable} -c 'x = bytearray(900_000_000)'")
    found = site.explained(outcome)
    assert found.sentence.startswith("It ended with exit status 1")
    assert any(fact.startswith("Its output says: “MemoryError”") for fact in found.facts)
    assert "kernel" not in found.text


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group of 40 MB, where this machine lets us make one."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"homelab-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text("40000000")
        except OSError:
            group.rmdir()
            continue
        yield group
        for _ in range(50):
            try:
                group.rmdir()
                return
            except OSError:
                time.sleep(0.05)
        return
    pytest.skip("no control group with a memory limit can be made here")


def test_what_the_kernel_ended_for_want_of_memory_is_counted(site: Site, small_memory: Path) -> None:
    swap = small_memory / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")
    outcome = site.run(f"echo $$ > {small_memory}/cgroup.procs; exec {sys.executable} -c 'x = bytearray(400_000_000)'")
    if outcome.signal != 9:
        pytest.skip(f"the kernel did not end it: {outcome.reason}")
    facts = seen(outcome)
    if facts.oom_kills is None:
        pytest.skip("this kernel does not count what it ended")
    found = site.explained(outcome)
    assert "which the lab did not send" in found.sentence
    if facts.oom_scope == "machine":
        assert any(fact.startswith("While it ran, the kernel ended a process") for fact in found.facts)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this test may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_was_filled_is_named_with_what_was_free(site: Site, small_disk: Path) -> None:
    outcome = site.run(f"cat /dev/zero > {small_disk}/dump.sql")
    assert outcome.state is RunState.FAILED
    found = site.explained(outcome)
    assert any("No space left on device" in fact for fact in found.facts)
    assert f"{small_disk} had 0 B free of 2.1 MB when it ended." in found.facts
    assert found.action == f"Free space on {small_disk}."


def test_a_script_that_was_edited_between_two_runs_is_told(site: Site) -> None:
    script = site.folder / "backup.sh"
    inner = site.folder / "inner.sh"
    script.write_text(f"#!/bin/sh\n. {inner}\n")
    inner.write_text("true\n")
    script.chmod(0o755)
    good = site.run(str(script))
    again = site.run(str(script))
    assert good.state is RunState.SUCCEEDED and seen(good).scripts == seen(again).scripts
    assert {one.path for one in seen(good).scripts} == {str(script), str(inner)}
    inner.write_text("exit 3\n")
    os.utime(inner, (time.time() - 3 * 3600,) * 2)
    bad = site.run(str(script))
    found = site.explained(bad, good)
    assert found.sentence == "It ended with exit status 3."
    assert len(found.facts) == 1
    assert found.facts[0].startswith(f"{inner} has changed since the run that succeeded yesterday: on ")
    assert found.facts[0].endswith("UTC, 3 h before this run.")
    script.unlink()
    found = site.explained(site.run(str(script)), good)
    assert any(fact.startswith(f"{script} is not there any more") for fact in found.facts)


def test_a_rotated_secret_and_a_changed_variable_are_told_by_name_and_no_value_is_kept(site: Site) -> None:
    store = site.home.secrets / "environment"

    def run(token: str, table: str) -> Outcome:
        store.write_text(f"TOKEN={token}\n")
        store.chmod(0o600)
        environment = {"PATH": "/usr/bin:/bin", "TABLE": table}
        return site.run(f"cat /{CANARY}; false", environment=environment, secrets={"TOKEN": "env:TOKEN"})

    first, second = run(CANARY, "table-canary"), run(CANARY + "2", "table-canary")
    found = site.explained(second, first)
    assert found.facts == ("Variables that are not as they were: TOKEN.",)
    assert site.explained(run(CANARY, "other"), first).facts == ("Variables that are not as they were: TABLE.",)
    for outcome in (first, second):
        assert CANARY not in json.dumps(outcome.facts) and "table-canary" not in json.dumps(outcome.facts)


def test_the_same_value_has_another_digest_in_another_home(tmp_path: Path) -> None:
    both = [Site(tmp_path / name) for name in ("one", "two") if not (tmp_path / name).mkdir()]
    one, other = (seen(site.run("true")).variables["PATH"] for site in both)
    assert one != other


def test_nothing_that_a_command_or_script_holds_is_run_by_reading_it(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "PWN"
    script = site.folder / "x.sh"
    script.write_text(f"echo $(touch {mark}) `touch {mark}`\n")
    site.run(f"false && {script} $(touch {mark})")
    assert not mark.exists()


def test_facts_cost_a_scheduled_run_less_than_two_milliseconds(site: Site) -> None:
    script = site.folder / "backup.sh"
    script.write_text("#!/bin/sh\ntar -czf /tmp/x.tgz /etc/hostname\n")
    environment = {f"VARIABLE_{n}": "x" * 40 for n in range(20)} | {"PATH": "/usr/bin:/bin", "HOME": "/root"}
    spec = Spec(command=str(script), cwd=str(site.folder), environment=environment)
    observer = Observer(site.home)
    ended = Outcome(
        state=RunState.FAILED, reason="", ended=datetime.now(UTC), exit_code=1, peak_memory_bytes=1, cpu_s=0
    )

    async def runs(count: int) -> float:
        began = observer.begin(spec)
        observer.read_beside(spec, began)
        await observer.end(spec, began, ended, [], Redactor(()))
        before = time.process_time()
        for _ in range(count):
            began = observer.begin(spec)
            observer.read_beside(spec, began)
            await observer.end(spec, began, ended, [], Redactor(()))
        return (time.process_time() - before) / count

    cost_s = asyncio.run(runs(300))
    print(f"facts of one run: {cost_s * 1000:.3f} ms CPU")
    assert cost_s < 0.002


def test_what_an_attempt_used_of_the_cores_that_it_asked_for_is_kept_for_the_sensors(site: Site) -> None:
    site.run("i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done")
    assert site.launcher.ended() == [], "it asked for nothing"
    outcome = site.run("i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done", requires={"cpu": 1})
    (ended,) = site.launcher.ended()
    assert (ended.session, ended.promised) == (outcome.pid, {"cpu": 1000})
    assert ended.ended_cpu_s == outcome.cpu_s and (outcome.cpu_s or 0) > 0
    assert site.launcher.ended() == []
