"""Several machines on one: a lab and node daemons that joined it, each with a home of its own.

The node of control's own machine is called `OWN`. All share one judge file, so that what ran where is told by the jobs
themselves: `here()` is a word that names the node (`Fleet.where` reads it). A node may be reached by a `Cable`, which a
test cuts and mends.
"""

import contextlib
import shlex
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from tests.lab import Lab, until

OWN = "own"


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

    def signal_all(self, number: int) -> None:
        """To every process of this machine that is the lab's or a job's, the supervisor first: as if it lost its power
        (SIGKILL), slept (SIGSTOP) or woke (SIGCONT)."""
        processes = [p for p in psutil.process_iter(["pid", "environ", "create_time"]) if self._is_ours(p)]
        for process in sorted(processes, key=lambda p: p.info["create_time"]):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        self.signal_all(signal.SIGKILL)


class Fleet:
    """A lab and its nodes. Call `down` whatever happens."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / OWN).mkdir(parents=True, exist_ok=True)
        self.lab = Lab(root / OWN)
        self.nodes: dict[str, Node] = {}
        self.cables: dict[str, Cable] = {}

    def up(self, text: str = "") -> "Fleet":
        """Start the lab. `text`: jobs and nodes of its lab file; the name, the zone and the own node's name are set."""
        self.lab.up(self.file(text))
        return self

    def apply(self, text: str) -> None:
        self.lab.write(self.file(text))
        self.lab.homelab("apply", "--yes")

    def file(self, text: str) -> str:
        return f'[lab]\nname = "fleet"\ntimezone = "UTC"\n[worker]\nname = "{OWN}"\n{text}'

    def token(self, name: str, *arguments: str) -> Any:
        """`{token, join, url, ...}`."""
        return self.lab.json("node", "token", name, *arguments)

    def machine(self, name: str) -> Node:
        """A machine with an empty home, not joined."""
        return Node(self.root / name, name, self.lab.judge_file)

    def join(self, name: str, *, capacity: str = "", cable: bool = False, start: bool = True) -> Node:
        """A new node, its daemon running if `start`. With `cable`, it reaches control by one of its own."""
        node = self.machine(name)
        made = self.token(name)
        url = made["url"]
        if cable:
            self.cables[name] = Cable(urlsplit(url).port or 0)
            url = f"https://127.0.0.1:{self.cables[name].port}"
        more = [*(["--capacity", capacity] if capacity else []), *([] if start else ["--no-start"])]
        self.nodes[name] = node
        node.homelab("node", "join", url, "--token", made["token"], *more, timeout=120)
        return node

    def where(self, job: str) -> list[str]:
        """The nodes on which the job left a mark made with `here()`, in order."""
        return [self._node_of(mark.word) for mark in self.lab.judge(job)]

    def _node_of(self, word: str) -> str:
        return Path(word).parent.name

    def ready(self) -> set[str]:
        """Names of the nodes that the lab holds for ready."""
        return {n["name"] for n in self.lab.json("status")["nodes"] if n["state"] == "ready"}

    def until_ready(self, *names: str, timeout: float = 60) -> None:
        until(lambda: self.ready() >= set(names) or None, timeout=timeout, what=lambda: f"{names}, is {self.ready()}")

    def down(self) -> None:
        def end(node: Node) -> None:
            node.signal_all(signal.SIGCONT)
            node.down()

        with ThreadPoolExecutor() as threads:
            list(threads.map(end, self.nodes.values()))
        self.lab.down()
        for cable in self.cables.values():
            cable.close()

    def logs(self) -> str:
        return "\n".join(f"==== {m.root.name}\n{m.logs()}" for m in (self.lab, *self.nodes.values()))


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
