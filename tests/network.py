"""Machines with a network of their own, on one: each in a network namespace, its cable plugged into one router.

    machine -- veth -- router -- veth -- machine

What runs in a namespace sees its own loopback and its cable, and nothing of the machine that tests. `cut`: the router
drops what comes from a machine and what goes there, without a word, and both ends see their links up.

Whoever opens a network may die at any moment: a guard, a process of its own, hears of it by the end of its input. It
ends all that runs in the namespaces, and takes them away. `close` is no other way.
"""

import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)


class NoNamespacesError(Exception):
    """They cannot be made here; the text says why."""


@functools.cache
def why_not() -> str:
    """Why no network namespaces can be made here; "" when they can: one is made, with a cable, and taken away."""
    try:
        with contextlib.closing(Network()) as network:
            network.add("probe")
    except NoNamespacesError as error:
        return str(error)
    return ""


class Network:
    """See the module. Names are short: they are part of the names of links."""

    def __init__(self) -> None:
        self._prefix = f"hl{os.getpid()}-{next(_numbers)}-"
        self._addresses: dict[str, str] = {}
        try:
            self._guard = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
            )
            self._make("router")
            self._inside("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        except (OSError, subprocess.CalledProcessError) as error:
            self._give_up(error)

    def add(self, name: str) -> str:
        """A machine that is cabled to the router; its address."""
        number = len(self._addresses) + 1
        address, gateway = f"10.83.{number}.2", f"10.83.{number}.1"
        try:
            self._make(name)
            # Both ends are made where they belong: not even for a moment is one of them in the network of this machine.
            _ip("-n", self.namespace(name), "link", "add", "cable", "type", "veth",
                "peer", "name", f"to-{name}", "netns", self.namespace("router"))  # fmt: skip
            _ip("-n", self.namespace(name), "addr", "add", f"{address}/24", "dev", "cable")
            _ip("-n", self.namespace("router"), "addr", "add", f"{gateway}/24", "dev", f"to-{name}")
            _ip("-n", self.namespace(name), "link", "set", "cable", "up")
            _ip("-n", self.namespace("router"), "link", "set", f"to-{name}", "up")
            _ip("-n", self.namespace(name), "route", "add", "default", "via", gateway)
        except (OSError, subprocess.CalledProcessError) as error:
            self._give_up(error)
        self._addresses[name] = address
        return address

    def address(self, name: str) -> str:
        return self._addresses[name]

    def namespace(self, name: str) -> str:
        return self._prefix + name

    def command(self, name: str) -> list[str]:
        """What a command begins with that is to run on that machine."""
        return ["nsenter", f"--net=/run/netns/{self.namespace(name)}"]

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread is on that machine: sockets that it opens are there, and stay there."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.namespace(name)}", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(here)
            os.close(here)
            os.close(there)

    def cut(self, name: str) -> None:
        """Nothing gets through any more, and nobody is told. Also of connections that are open."""
        for way in ("from", "to"):
            _ip("-n", self.namespace("router"), "rule", "add", way, self._addresses[name], "blackhole")

    def mend(self, name: str) -> None:
        for way in ("from", "to"):
            _ip("-n", self.namespace("router"), "rule", "del", way, self._addresses[name], "blackhole")

    def remove_at_end(self, folder: Path) -> None:
        """A folder outside the test's own, once nothing runs any more."""
        self._tell(str(folder))

    def close(self) -> None:
        """Ends everything that still runs in it, too."""
        self._guard.stdin.close()  # type: ignore[union-attr]
        self._guard.wait(60)

    def _make(self, name: str) -> None:
        self._tell(self.namespace(name))
        _ip("netns", "add", self.namespace(name))
        _ip("-n", self.namespace(name), "link", "set", "lo", "up")

    def _tell(self, line: str) -> None:
        self._guard.stdin.write(f"{line}\n")  # type: ignore[union-attr]
        self._guard.stdin.flush()  # type: ignore[union-attr]

    def _inside(self, name: str, *command: str) -> None:
        subprocess.run([*self.command(name), *command], check=True, capture_output=True, text=True)

    def _give_up(self, error: Exception) -> None:
        self.close()
        said = getattr(error, "stderr", "") or str(error)
        raise NoNamespacesError(f"network namespaces cannot be made here: {said.strip()}") from error


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _guard() -> None:
    """Hear names of namespaces, and of folders, until whoever says them is gone; then they go, with what runs there."""
    names = [line.strip() for line in sys.stdin]
    for name in names:
        if name.startswith("/"):
            shutil.rmtree(name, ignore_errors=True)
        elif Path("/run/netns", name).exists():
            while pids := _pids(name):
                subprocess.run(["kill", "-9", *pids], check=False, capture_output=True)
                time.sleep(0.02)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _pids(name: str) -> list[str]:
    said = subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True, text=True).stdout
    return [pid for pid in said.split() if _lives(pid)]


def _lives(pid: str) -> bool:
    """A zombie has ended, and is nobody's to kill."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


if __name__ == "__main__":
    _guard()
