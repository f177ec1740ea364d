"""A worker that is killed leaves a journal from which its successor knows what ran, ends it, and keeps its output."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from homelab.core.jobs import RunState
from homelab.home.paths import Home
from homelab.worker.journal import open_journals
from homelab.worker.runlog import read, text

WORKER = """
import asyncio, sys, time
from datetime import UTC, datetime
from pathlib import Path
from homelab.core.jobs import Flow, Job
from homelab.home.paths import Home
from homelab.worker.facts import RunFacts
from homelab.worker.journal import open_or_create
from homelab.worker.process import Spec, begin
from homelab.worker.runlog import Writer

home = Home(Path(sys.argv[1])).ensure()
now = datetime.now(UTC)
flow = Flow(name="a", schedule=None, timezone="UTC", jobs=(Job(name="a", run="-"),))
journal = open_or_create(home, RunFacts(id="ab12", flow=flow, digest="d", due=now, start_at=now), worker="w")
journal.run_started(time=now)
log = Writer(journal.folder / "a.1.log")
spec = Spec(
    command=f"trap '' TERM; echo begun; (setsid sleep 60 &); while :; do sleep 0.1; echo x >> {home.root}/judge; done",
    cwd="/",
    environment={"PATH": "/usr/bin:/bin", "HOMELAB_RUN_ID": "ab12"},
)

async def main():
    begun = await begin(spec, log)
    journal.attempt_started(job="a", attempt=1, pid=begun.process.pid, time=begun.started)
    await begun.see_through(asyncio.Event())

asyncio.run(main())
"""


def test_after_a_kill_the_successor_ends_the_command_and_knows_the_attempt(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
    judge = tmp_path / "judge"
    while not judge.exists():
        assert worker.poll() is None
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    [journal] = open_journals(Home(tmp_path), worker="w")
    [attempt] = journal.state.in_flight()
    assert (attempt.job, attempt.attempt) == ("a", 1)
    assert attempt.started is not None and attempt.started >= began
    assert psutil.pid_exists(attempt.pid), "the command outlives its worker"
    ended = journal.end_survivors(grace_s=0.3)
    assert attempt.pid in ended["a"]
    size = judge.stat().st_size
    time.sleep(0.3)
    assert judge.stat().st_size == size
    assert [text(r) for r in read(journal.folder / "a.1.log")] == ["begun"]
    for process in psutil.process_iter():  # what left the session is no part of the group, and not ended
        try:
            if process.environ().get("HOMELAB_RUN_ID") == "ab12":
                process.kill()
        except psutil.Error:
            continue
    journal.attempt_finished(
        job="a", attempt=1, state=RunState.CRASHED, exit_code=None, reason="", time=datetime.now(UTC)
    )
    [again] = open_journals(Home(tmp_path), worker="w")
    assert again.state.in_flight() == ()
    assert again.state.attempts() == {"a": 1}
