"""The Python flow runner with real forks. What ran is judged by what the children wrote, not by the runner's word."""

import asyncio
import os
import pwd
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from homelab.core.errors import InputError
from homelab.flows.pyrunner import PythonRunner, PythonSpec, RunningChild

JOBS = """
import asyncio, os, signal, sys, time

def greet(name="nobody"):
    print("hello", name, os.getcwd(), os.environ.get("MARK"), sorted(os.environ)[:0])
    print("to err", file=sys.stderr)

async def later():
    await asyncio.sleep(0)
    print("async done")

def fail():
    raise ValueError("as asked")

def leave():
    sys.exit(7)

def environment():
    print("\\n".join(sorted(os.environ)))

def group():
    fds = "/proc/self/fd"
    print(os.getpid(), os.getpgrp(), os.getsid(0), len(os.listdir(fds)) if os.path.isdir(fds) else 0)

def sleep():
    print("up", flush=True)
    time.sleep(60)

def finishes_late(path):
    time.sleep(0.6)
    open(path, "w").write("done")

def registers():
    import atexit
    atexit.register(print, "said at exit")
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def runner() -> AsyncIterator[PythonRunner]:
    async with PythonRunner() as made:
        await made.start()
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs_of_test.py").write_text(JOBS)
    return tmp_path


pytestmark = pytest.mark.asyncio(loop_scope="module")


class Started:
    """A child whose output goes to two files, so that nothing can block on a full pipe."""

    def __init__(self, child: RunningChild, folder: Path) -> None:
        self.child = child
        self.folder = folder

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()


async def start(runner: PythonRunner, folder: Path, function: str, **parameters: object) -> Started:
    spec = PythonSpec(
        cwd=str(folder),
        environment={"MARK": "mine", "PREFECT_HOME": str(folder / "prefect")},
        target=f"jobs_of_test:{function}",
        parameters=parameters,
    )
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        child = await runner.spawn(spec, stdout=out.fileno(), stderr=err.fileno())
    return Started(child, folder)


async def test_a_function_runs_in_its_folder_with_its_environment_and_parameters(
    runner: PythonRunner, folder: Path
) -> None:
    started = await start(runner, folder, "greet", name="you; $(id)")
    assert await started.child.wait() == 0, started.err
    assert started.out.strip() == f"hello you; $(id) {folder} mine []"
    assert started.err.strip() == "to err"


async def test_nothing_of_the_callers_environment_reaches_the_child(
    runner: PythonRunner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await start(runner, folder, "environment")
    assert await started.child.wait() == 0
    assert set(started.out.split()) <= {"MARK", "PREFECT_HOME", "no_proxy"}


@pytest.mark.parametrize(("function", "status"), [("later", 0), ("fail", 1), ("leave", 7), ("missing", 1)])
async def test_the_exit_status_is_that_of_the_function(
    runner: PythonRunner, folder: Path, function: str, status: int
) -> None:
    started = await start(runner, folder, function)
    assert await started.child.wait() == status
    assert ("Traceback" in started.err) == (status == 1)


async def test_a_child_leads_its_own_session_and_holds_no_descriptor_of_the_server(
    runner: PythonRunner, folder: Path
) -> None:
    started = await start(runner, folder, "group")
    assert await started.child.wait() == 0
    pid, group, session, descriptors = map(int, started.out.split())
    assert pid == group == session == started.child.pid
    assert descriptors <= 4  # three, and the listing's own


async def test_what_was_registered_for_exit_runs(runner: PythonRunner, folder: Path) -> None:
    started = await start(runner, folder, "registers")
    assert await started.child.wait() == 0
    assert started.out.strip() == "said at exit"


async def test_a_killed_child_tells_the_signal(runner: PythonRunner, folder: Path) -> None:
    started = await start(runner, folder, "sleep")
    started.child.kill(signal.SIGKILL)
    async with asyncio.timeout(5):
        assert await started.child.wait() == -signal.SIGKILL


async def test_a_folder_that_is_not_there_is_a_failed_run_that_says_so(runner: PythonRunner, folder: Path) -> None:
    spec = PythonSpec(cwd=str(folder / "gone"), environment={}, target="jobs_of_test:greet")
    with (folder / "err").open("wb") as err:
        child = await runner.spawn(spec, stdout=err.fileno(), stderr=err.fileno())
    assert await child.wait() == 1
    assert "cannot enter" in (folder / "err").read_text()


async def test_many_at_once_all_run_and_each_end_reaches_its_own(runner: PythonRunner, tmp_path: Path) -> None:
    folders = [tmp_path / str(n) for n in range(12)]
    for folder in folders:
        folder.mkdir()
        (folder / "jobs_of_test.py").write_text(JOBS)
    began = await asyncio.gather(*(start(runner, f, "greet", name=f.name) for f in folders))
    assert [await s.child.wait() for s in began] == [0] * 12
    assert [s.out.split()[1] for s in began] == [f.name for f in folders]


async def test_a_dead_server_leaves_the_child_running_and_the_next_run_gets_a_new_one(folder: Path) -> None:
    async with PythonRunner() as runner:
        started = await start(runner, folder, "finishes_late", path=str(folder / "mark"))
        first = runner.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await started.child.wait() is None
        again = await start(runner, folder, "later")
        assert await again.child.wait() == 0
        assert runner.pid not in (None, first)
        deadline = time.monotonic() + 5
        while not (folder / "mark").exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert (folder / "mark").exists()


async def test_a_run_that_is_neither_a_function_nor_a_flow_run_is_refused(runner: PythonRunner, folder: Path) -> None:
    with (folder / "out").open("wb") as out, pytest.raises(InputError):
        await runner.spawn(PythonSpec(cwd="/", environment={}), stdout=out.fileno(), stderr=out.fileno())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a job as somebody else")
async def test_a_run_for_another_user_has_that_user_and_none_of_roots_groups(
    runner: PythonRunner, folder: Path
) -> None:
    text = "import os\ndef who():\n    print(os.getuid(), os.geteuid(), 0 in os.getgroups())\n"
    (folder / "who_of_test.py").write_text(text)
    spec = PythonSpec(cwd="/", environment={}, target="who_of_test:who", path=(str(folder),), user="nobody")
    for part in (folder, *folder.parents):
        if not part.stat().st_mode & 0o001:  # pytest's own folders; the system's are open already
            part.chmod(part.stat().st_mode | 0o055)
    with (folder / "out").open("wb") as out:
        child = await runner.spawn(spec, stdout=out.fileno(), stderr=out.fileno())
    status = await child.wait()
    uid = pwd.getpwnam("nobody").pw_uid
    assert (status, (folder / "out").read_text().strip()) == (0, f"{uid} {uid} False")
