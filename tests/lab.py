"""A real lab for acceptance and chaos tests: the installed `homelab` command in a home of its own.

The judge of what ran is a file that the jobs themselves write (`Lab.judge`), never the product's own database.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from tests.network import Network

from homelab.cli.client import Client
from homelab.home import endpoints, secrets
from homelab.home.paths import Home
from homelab.stack.postgres import place_of

T = TypeVar("T")
HOMELAB = Path(sys.executable).with_name("homelab")
JUDGE = 'echo "$(date +%s%N) $HOMELAB_RUN_ID $HOMELAB_ATTEMPT $HOMELAB_JOB'
"""Begin a command with this and end it with `WORD" >> J` to leave a line that `Lab.judge` reads."""


@dataclass(frozen=True)
class Mark:
    """One line of the judge file."""

    time: float
    run: str
    attempt: int
    job: str
    word: str


class Lab:
    """One home, one lab file, and the command to drive it. `down` ends all of it; call it whatever happens."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.file = root / "lab.toml"
        self.judge_file = root / "judge"
        self.within: list[str] = []
        """What a command begins with that is to run where this lab is, when that is another network."""
        self.inside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        """Within this, sockets that the test opens are where this lab is."""
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HOMELAB", "PREFECT"))},
            "HOMELAB_HOME": str(self.home),
            "HOMELAB_LAB": str(self.file),
            "NO_COLOR": "1",
        }

    def move_into(self, network: Network, name: str) -> str:
        """Before it is up: it is a machine of that network from now on, under that name; its address."""
        address = network.add(name)
        self.within = network.command(name)
        self.inside = functools.partial(network.inside, name)
        return address

    def mark(self, word: str) -> str:
        """A shell command that leaves a mark."""
        return f'{JUDGE} {word}" >> {self.judge_file}'

    def judge(self, job: str | None = None) -> list[Mark]:
        """The marks so far, in the order they were written."""
        if not self.judge_file.exists():
            return []
        marks: list[Mark] = []
        for line in self.judge_file.read_text().splitlines():
            nanoseconds, run, attempt, name, word = line.split(" ", 4)
            marks.append(Mark(int(nanoseconds) / 1e9, run, int(attempt), name, word))
        return [m for m in marks if job is None or m.job == job]

    def words(self, job: str) -> list[str]:
        return [m.word for m in self.judge(job)]

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def homelab(
        self, *arguments: str, ok: tuple[int, ...] = (0,), timeout: float = 90, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; AssertionError with everything it printed when its exit status is not in `ok`."""
        done = subprocess.run(
            [*self.within, HOMELAB, *arguments], env=self.environment, cwd=self.root, text=True, input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode in ok, (
            f"homelab {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        )
        return done

    def json(self, *arguments: str, ok: tuple[int, ...] = (0,), timeout: float = 90) -> Any:
        return json.loads(self.homelab(*arguments, "--json", ok=ok, timeout=timeout).stdout)

    def up(self, text: str | None = None) -> "Lab":
        if text is not None:
            self.write(text)
        self.homelab("up", "-d", "--wait", "120", timeout=150)
        return self

    def down(self) -> None:
        """End all of this home at once, however it stands. That a lab ends in good order is for tests of that."""
        database = self._database()
        send(database, signal.SIGCONT)
        for _ in range(2):  # also what was just being started
            send([p for p in self.processes() if p not in database], signal.SIGKILL)
        send(database[:1], signal.SIGQUIT)  # ends its others and takes its shared memory away
        _, left = psutil.wait_procs(database, timeout=10)
        send(left, signal.SIGKILL)
        if (outside := self.folder_outside()) is not None:
            shutil.rmtree(outside, ignore_errors=True)

    def _database(self) -> list[psutil.Process]:
        """Its server and what that started, whoever is its parent now."""
        with contextlib.suppress(OSError, ValueError, KeyError, psutil.NoSuchProcess):
            told = json.loads((self.home / "run" / "services.json").read_text())["postgres"]
            server = psutil.Process(told["pid"])
            if abs(server.create_time() - told["started"]) < 1:
                return [server, *server.children(recursive=True)]
        return []

    def folder_outside(self) -> Path | None:
        """The database's folder where it is not in the test's: as root, where the server's user can reach it."""
        data = place_of(Home(self.home)).data
        return None if self.root in data.parents else data.parent

    def _is_ours(self, process: psutil.Process) -> bool:
        environ = process.info["environ"] or {}
        return environ.get("HOMELAB_HOME") == str(self.home) and process.pid != os.getpid()

    def processes(self) -> list[psutil.Process]:
        """All of this machine that are the lab's or a job's, the oldest first, which is the supervisor."""
        found = {p for p in psutil.process_iter(["pid", "environ"]) if self._is_ours(p)}
        pids = {p.pid for p in found}
        for process in list(found):  # the database's server has an environment of its own
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.ppid() not in pids:
                    found |= set(process.children(recursive=True))
        return sorted(found, key=lambda p: p.create_time())

    def signal_all(self, number: int) -> None:
        """As if it lost its power (SIGKILL), slept (SIGSTOP) or woke (SIGCONT)."""
        send(self.processes(), number)

    def kill(self) -> None:
        self.signal_all(signal.SIGKILL)

    def service(self, name: str) -> dict[str, Any]:
        return next(s for s in self.json("status")["services"] if s["name"] == name)

    def pid(self, service: str) -> int:
        return int(self.service(service)["pid"])

    def run_job(self, name: str, *arguments: str) -> str:
        """Start a job by hand; the id of its run."""
        return str(self.json("job", "run", name, *arguments)["run"]["id"])

    def ask(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """What control answers. For what is asked again and again: a command costs an eighth of a second of a core."""
        home = Home(self.home)
        with self.inside():
            url, token = endpoints.require(home, "control"), secrets.read_or_create(home, "token-admin")
            return Client(url, token).get(path, query)

    def job_run(self, run: str, job: str) -> dict[str, Any]:
        """The job's row of one run, as `run ls` gives it; empty when there is none yet."""
        rows = self.ask("/api/v1/runs", {"job": job, "limit": 50})["runs"]
        return next((row for row in rows if row["id"] == run), {})

    def until_state(self, run: str, job: str, *states: str, timeout: float = 60) -> dict[str, Any]:
        return until(
            lambda: row if (row := self.job_run(run, job)).get("state") in states else None,
            timeout=timeout, what=lambda: f"{job} of {run} in {states}, is {self.job_run(run, job)}\n{self.logs()}",
        )  # fmt: skip

    def logs(self, lines: int = 25) -> str:
        """The ends of the services' logs, for a failing assertion."""
        parts: list[str] = []
        for path in sorted((self.home / "logs").glob("*.log")):
            end = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append(f"== {path.name}\n" + "\n".join(end))
        return "\n".join(parts)


def send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def until(probe: Callable[[], T | None], *, timeout: float, what: Callable[[], str] | str, step: float = 0.2) -> T:
    """The first true value of `probe`; AssertionError saying `what` was awaited after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if value := probe():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(step)
