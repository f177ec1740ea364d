"""Several machines on one: a lab and node daemons that joined it, each with a home of its own.

The node of control's own machine is called `OWN`. All share one judge file, so that what ran where is told by the jobs
themselves: `here()` is a word that names the node (`Fleet.where` reads it). A node's way to control can be cut and
mended: with a `network` every machine is in a namespace of its own, and what is cut vanishes without a word; without
one it is reached over a `Cable`, a relay that ends what was open.
"""

import contextlib
import shlex
import signal
import socket
import threading
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
from tests.lab import Lab, send, until
from tests.network import Network

OWN = "own"
L = TypeVar("L", bound=Lab)


class Node(Lab):
    """One machine that joined: `homelab` in its home, its daemon, its worker. `down` stops all of it."""

    def __init__(self, root: Path, name: str, judge: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root)
        self.name = name
        self.judge_file = judge
        self.environment.pop("HOMELAB_LAB")

    def join(self, text: str, *arguments: str, ok: tuple[int, ...] = (0,)) -> Any:
        """Run the `join` command that a token came with; what it printed."""
        return self.homelab(*shlex.split(text)[1:], *arguments, ok=ok)

    def start(self) -> "Node":
        self.homelab("up", "-d", "--wait", "60", timeout=90)
        return self

    def worker(self) -> psutil.Process:
        return psutil.Process(self.pid("worker"))

    def log(self, run: str, attempt: str) -> bytes:
        """`JOB.ATTEMPT` of a run, as it is on this machine."""
        return next((self.home / "runs").glob(f"*/{run}/{attempt}.log")).read_bytes()


class Fleet:
    """A lab and its nodes. Call `down` whatever happens."""

    def __init__(self, root: Path, *, network: Network | None = None) -> None:
        self.root = root
        self.network = network
        (root / OWN).mkdir(parents=True, exist_ok=True)
        self.lab = self._placed(OWN, Lab(root / OWN))
        self.nodes: dict[str, Node] = {}
        self.cables: dict[str, Cable] = {}

    def up(self, text: str = "") -> "Fleet":
        """Start the lab. `text`: jobs and nodes of its lab file; the name, the zone and the own node's name are set."""
        self.lab.up(self.file(text))
        if self.network is not None and (outside := self.lab.folder_outside()) is not None:
            self.network.remove_at_end(outside)
        return self

    def apply(self, text: str) -> None:
        self.lab.write(self.file(text))
        self.lab.homelab("apply", "--yes")

    def file(self, text: str) -> str:
        port = f'[control]\nnodes = "{self.network.address(OWN)}"\n' if self.network is not None else ""
        return f'[lab]\nname = "fleet"\ntimezone = "UTC"\n[worker]\nname = "{OWN}"\n{port}{text}'

    def _placed(self, name: str, machine: L) -> L:
        """The machine, in a namespace of its own when there is a network."""
        if self.network is not None:
            machine.move_into(self.network, name)
        return machine

    def token(self, name: str, *arguments: str) -> Any:
        """`{token, join, url, ...}`."""
        return self.lab.json("node", "token", name, *arguments)

    def machine(self, name: str) -> Node:
        """A machine with an empty home, not joined."""
        return self._placed(name, Node(self.root / name, name, self.lab.judge_file))

    def join(self, name: str, *, capacity: str = "", cable: bool = False, start: bool = True) -> Node:
        """A new node, its daemon running if `start`. With `cable`, its way to control can be `cut`."""
        node = self.machine(name)
        made = self.token(name)
        url = made["url"]
        if cable and self.network is None:
            self.cables[name] = Cable(urlsplit(url).port or 0)
            url = f"https://127.0.0.1:{self.cables[name].port}"
        more = [*(["--capacity", capacity] if capacity else []), *([] if start else ["--no-start"])]
        self.nodes[name] = node
        node.homelab("node", "join", url, "--token", made["token"], *more, timeout=120)
        return node

    def cut(self, name: str) -> None:
        """Nothing gets through between this node and control any more."""
        if self.network is not None:
            self.network.cut(name)
        else:
            self.cables[name].cut()

    def mend(self, name: str) -> None:
        if self.network is not None:
            self.network.mend(name)
        else:
            self.cables[name].mend()

    def where(self, job: str) -> list[str]:
        """The nodes on which the job left a mark made with `here()`, in order."""
        return [self._node_of(mark.word) for mark in self.lab.judge(job)]

    def words(self, job: str, run: str) -> list[tuple[str, str]]:
        """(what, node) of each mark `WHAT:` + `here()` of the run, in the order of time."""
        found = sorted((mark for mark in self.lab.judge(job) if mark.run == run), key=lambda mark: mark.time)
        return [(word, self._node_of(home)) for word, home in (mark.word.split(":", 1) for mark in found)]

    def _node_of(self, word: str) -> str:
        return Path(word).parent.name

    def ready(self) -> set[str]:
        """Names of the nodes that the lab holds for ready."""
        return {n["name"] for n in self.lab.ask("/api/v1/lab")["nodes"] if n["state"] == "ready"}

    def until_ready(self, *names: str, timeout: float = 60) -> None:
        until(lambda: self.ready() >= set(names) or None, timeout=timeout, what=lambda: f"{names}, is {self.ready()}")

    def machines(self) -> dict[str, Lab]:
        return {OWN: self.lab, **self.nodes}

    def cut_power(self, *names: str) -> None:
        """Of these machines, or of all, at once: kill -9 of every process of them, the supervisors first."""
        processes = [p for name in names or self.machines() for p in self.machines()[name].processes()]
        send(processes, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)

    def down(self) -> None:
        for machine in (*self.nodes.values(), self.lab):
            machine.down()
        for cable in self.cables.values():
            cable.close()
        if self.network is not None:
            self.network.close()

    def logs(self) -> str:
        return "\n".join(f"==== {m.root.name}\n{m.logs()}" for m in self.machines().values())


def here() -> str:
    """A word for `Lab.mark` that names the machine on which it is written."""
    return "$HOMELAB_HOME"


class Cable:
    """A TCP relay to a loopback port. `cut`: nothing gets through and what was open ends; `mend`: as before."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self._is_cut:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._open |= {near, far}
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and not self._is_cut:
                target.sendall(data)
        for one in (source, target):
            self._open.discard(one)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()
