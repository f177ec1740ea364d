"""The supervisor with small services that are real processes: order, restarts, adoption, and what it must not touch."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from homelab.core.errors import HomelabError, RefusedError
from homelab.home.paths import Home
from homelab.stack import children, control_socket, plan
from homelab.stack.children import Child
from homelab.stack.plan import Probe, Service
from homelab.stack.supervisor import Supervisor

SLEEPS = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.05)"
TALKS = "import time\nfor n in range(10**6): print(n, flush=True); time.sleep(0.05)"
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home").ensure()
    yield home
    for child in children.survivors(home).values():
        child.kill_group()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BACKOFF_FIRST_S", 0.02)
    monkeypatch.setattr(plan, "BACKOFF_MOST_S", 0.1)


def service(name: str, code: str = SLEEPS, **settings: Any) -> Service:
    plain = Service(name=name, argv=(sys.executable, "-c", code), environment=dict(os.environ), stop_within_s=5.0)
    return replace(plain, **settings)


def of(supervisor: Supervisor, name: str) -> dict[str, Any]:
    return next(s for s in supervisor.status() if s["name"] == name)


async def until(probe: Callable[[], object], what: str, *, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not probe():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.02)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def abandon(supervisor: Supervisor) -> None:
    """What a kill of the supervisor leaves: nobody keeps the services, and they run."""
    for task in supervisor._tasks.values():  # pyright: ignore[reportPrivateUsage]
        task.cancel()
    await asyncio.gather(*supervisor._tasks.values(), return_exceptions=True)  # pyright: ignore[reportPrivateUsage]


async def test_a_service_starts_once_what_it_needs_answers(home: Home) -> None:
    port = free_port()
    listens = f"import socket, time\ntime.sleep(0.4)\ns = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(600)"
    last_when_first_was_ready: list[int | None] = []

    def changed(name: str, state: str, _: str) -> None:
        if (name, state) == ("first", "ready"):
            last_when_first_was_ready.append(of(supervisor, "last")["pid"])

    first = service("first", listens, ready=Probe(kind="tcp", target=f"127.0.0.1:{port}"))
    supervisor = Supervisor(home, [service("last", needs=("first",)), first], on_change=changed)
    supervisor.run()
    async with asyncio.timeout(15):
        await supervisor.until_ready()
    assert last_when_first_was_ready == [None]
    assert supervisor.is_ready
    await supervisor.stop()


async def test_a_killed_service_comes_back_and_what_needs_it_is_left_alone(home: Home) -> None:
    supervisor = Supervisor(home, [service("db"), service("app", needs=("db",))])
    supervisor.run()
    async with asyncio.timeout(15):
        await supervisor.until_ready()
    db, app = of(supervisor, "db")["pid"], of(supervisor, "app")["pid"]
    os.kill(db, signal.SIGKILL)
    await until(lambda: of(supervisor, "db")["pid"] not in (db, None) and supervisor.is_ready, "db to be back")
    assert of(supervisor, "app")["pid"] == app
    assert of(supervisor, "db")["restarts"] == 1
    await supervisor.stop()


async def test_all_stop_in_the_reverse_of_their_order(home: Home) -> None:
    events: list[tuple[str, str]] = []
    supervisor = Supervisor(
        home,
        [service("db"), service("app", needs=("db",))],
        on_change=lambda name, state, _: events.append((name, state)),
    )
    supervisor.run()
    async with asyncio.timeout(15):
        await supervisor.until_ready()
    pids = [of(supervisor, name)["pid"] for name in ("db", "app")]
    await supervisor.stop()
    assert events[-2:] == [("app", "stopped"), ("db", "stopped")]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert children.survivors(home) == {}


async def test_a_service_that_ignores_its_signal_is_killed_at_its_deadline(home: Home) -> None:
    supervisor = Supervisor(home, [service("deaf", DEAF, stop_within_s=60.0, stop_now_within_s=0.3)])
    supervisor.run()
    await until(lambda: children.last_line(home.logs / "deaf.log") == "deaf", "it to be deaf")
    pid = of(supervisor, "deaf")["pid"]
    async with asyncio.timeout(10):
        await supervisor.stop(now=True)
    assert not psutil.pid_exists(pid)


async def test_a_service_survives_its_supervisor_logs_on_and_is_adopted(home: Home) -> None:
    first = Supervisor(home, [service("talker", TALKS)])
    first.run()
    async with asyncio.timeout(15):
        await first.until_ready()
    pid, log = of(first, "talker")["pid"], home.logs / "talker.log"
    await abandon(first)
    size = log.stat().st_size
    await until(lambda: log.stat().st_size > size, "the log to grow without a supervisor")
    second = Supervisor(home, [service("talker", TALKS)])
    second.run()
    async with asyncio.timeout(15):
        await second.until_ready()
    assert of(second, "talker")["pid"] == pid
    await second.stop()
    assert not children.survivors(home)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a start time stays when the clock is set")
async def test_setting_the_clock_does_not_hide_a_survivor(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Supervisor(home, [service("s")])
    first.run()
    async with asyncio.timeout(15):
        await first.until_ready()
    pid = of(first, "s")["pid"]
    await abandon(first)
    began = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: began + 7200)
    assert {name: child.pid for name, child in children.survivors(home).items()} == {"s": pid}


async def test_an_adopted_service_that_dies_is_started_again(home: Home) -> None:
    first = Supervisor(home, [service("s")])
    first.run()
    async with asyncio.timeout(15):
        await first.until_ready()
    await abandon(first)
    second = Supervisor(home, [service("s")])
    second.run()
    async with asyncio.timeout(15):
        await second.until_ready()
    pid = of(second, "s")["pid"]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: of(second, "s")["pid"] not in (pid, None), "another process")
    await second.stop()


async def test_a_stranger_that_got_the_pid_of_a_service_is_neither_adopted_nor_stopped(home: Home) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        started = psutil.Process(stranger.pid).create_time()
        children.remember(home, {"s": Child(stranger.pid, started - 3600)})
        supervisor = Supervisor(home, [service("s")])
        supervisor.run()
        async with asyncio.timeout(15):
            await supervisor.until_ready()
        assert of(supervisor, "s")["pid"] != stranger.pid
        await supervisor.stop(now=True)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(
    "now", [service("other"), Service(name="old", url="tcp://x", external=True)], ids=["gone", "external"]
)
async def test_a_survivor_that_the_lab_no_longer_runs_is_stopped_not_forgotten(home: Home, now: Service) -> None:
    first = Supervisor(home, [service("old")])
    first.run()
    async with asyncio.timeout(15):
        await first.until_ready()
    pid = of(first, "old")["pid"]
    old_started = psutil.Process(pid).create_time()
    await abandon(first)
    second = Supervisor(home, [now])
    second.run()
    async with asyncio.timeout(15):
        await second.until_ready()
    try:
        await until(lambda: not Child(pid, old_started).is_alive(), "the old one to end", timeout=5)
    finally:
        await second.stop()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert children.survivors(home) == {}


def test_down_leaves_the_services_of_a_supervisor_that_lives_but_does_not_answer(home: Home) -> None:
    child = children.start(service("worker"), home.logs / "worker.log")
    children.remember(home, {"worker": child})
    with (home.run / "supervisor.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        refused = down(home)
        assert refused.returncode == 5
        assert f"pid {os.getpid()}" in refused.stderr
        assert child.is_alive()
    assert down(home).returncode == 0
    assert not child.is_alive()
    assert down(home).returncode == 3


def down(home: Home) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "homelab", "down", "--now"], env={**os.environ, "HOMELAB_HOME": str(home.root)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


async def test_a_failing_preparation_is_the_message_and_is_tried_until_it_works(home: Home) -> None:
    fails = [True]

    def prepare() -> None:
        if fails[0]:
            raise HomelabError("the disk is full", where="/somewhere")

    supervisor = Supervisor(home, [service("db", prepare=prepare), service("app", needs=("db",))])
    supervisor.run()
    await until(lambda: "the disk is full" in of(supervisor, "db")["message"], "the reason")
    assert of(supervisor, "app")["pid"] is None
    fails[0] = False
    async with asyncio.timeout(15):
        await supervisor.until_ready()
    assert of(supervisor, "db")["message"] == ""
    await supervisor.stop()


async def test_a_crash_loop_is_shown_with_the_last_words_and_tried_on(home: Home) -> None:
    supervisor = Supervisor(home, [service("bad", "print('no such setting: x'); raise SystemExit(3)")])
    supervisor.run()
    await until(lambda: "keeps failing" in of(supervisor, "bad")["message"], "a crash loop")
    shown = of(supervisor, "bad")
    assert "exit status 3: no such setting: x" in shown["message"]
    await until(lambda: of(supervisor, "bad")["restarts"] > shown["restarts"], "another try")
    await supervisor.stop()


async def test_a_service_that_stops_answering_is_degraded_then_replaced(home: Home) -> None:
    answers = home.root / "answers"
    answers.touch()
    probe = Probe(kind="exec", command=("test", "-e", str(answers)))
    states: list[str] = []
    supervisor = Supervisor(
        home,
        [service("hung", ready=probe, live_every_s=0.05, live_misses=3)],
        on_change=lambda _, state, __: states.append(state),
    )
    supervisor.run()
    async with asyncio.timeout(15):
        await supervisor.until_ready()
    pid = of(supervisor, "hung")["pid"]
    answers.unlink()
    await until(lambda: "crashed" in states, "the decision")
    answers.touch()
    await until(lambda: of(supervisor, "hung")["pid"] not in (pid, None) and supervisor.is_ready, "a new one")
    assert states.index("degraded") < states.index("crashed")
    assert not psutil.pid_exists(pid)
    await supervisor.stop()


def test_a_log_too_large_is_copied_once_and_emptied_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "s.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 90 + b"\n" + b"newest\n")
        children.rotate(log, most_bytes=50)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    kept = (tmp_path / "s.log.1").read_bytes()
    assert kept.endswith(b"newest\n")
    assert len(kept) == 50


@pytest.mark.parametrize("folder", ["short", "long" * 30])
async def test_the_socket_answers_only_its_owner_wherever_the_home_is(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / folder).ensure()

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        return {"asked": request["do"]}

    server = await control_socket.serve(home, answer)
    path = control_socket.path_of(home)
    assert len(str(path).encode()) <= 104
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # another shell of the same user
    monkeypatch.setattr("tempfile.tempdir", None)
    try:
        assert await asyncio.to_thread(control_socket.ask, home, {"do": "status"}) == {"asked": "status"}
    finally:
        server.close()
        path.unlink(missing_ok=True)
        if path != home.supervisor_socket:
            path.parent.rmdir()


async def test_a_socket_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 30)).ensure()
    folder = control_socket.path_of(home).parent
    folder.mkdir()
    folder.chmod(0o755)

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        return request

    try:
        with pytest.raises(RefusedError, match="not ours alone"):
            await control_socket.serve(home, answer)
    finally:
        folder.rmdir()
