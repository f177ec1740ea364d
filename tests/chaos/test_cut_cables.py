"""The cable that tests cut is a real one: what is cut vanishes without a word, and nothing of it outlives its test."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.lab import until
from tests.network import Network, why_not


@pytest.fixture
def network() -> Iterator[Network]:
    if why_not():
        pytest.skip(why_not())
    with contextlib.closing(Network()) as network:
        yield network


def test_what_is_cut_vanishes_without_a_word_and_comes_through_when_it_is_mended(network: Network) -> None:
    address = network.add("a")
    network.add("b")
    with network.inside("a"):
        listening = socket.create_server((address, 0))
    with network.inside("b"):
        open_ = socket.create_connection(listening.getsockname(), 5)
    other, _ = listening.accept()
    network.cut("b")
    open_.sendall(b"late")
    other.settimeout(1)
    with pytest.raises(TimeoutError):
        other.recv(4)
    with network.inside("a"), pytest.raises(TimeoutError):  # nothing listens there, and no refusal comes back either
        socket.create_connection((network.address("b"), 9), 1)
    network.mend("b")
    other.settimeout(20)
    assert other.recv(4) == b"late"
    for one in (open_, other, listening):
        one.close()


def test_of_a_network_whose_test_was_killed_nothing_is_left(network: Network, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    text = f"""
import subprocess, time
from pathlib import Path
from tests.network import Network
network = Network()
network.add("x")
network.remove_at_end(Path({str(outside)!r}))
inside = subprocess.Popen([*network.command("x"), "sleep", "600"], start_new_session=True)
print(network.namespace("x"), inside.pid, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert owner.stdout is not None
    namespace, pid = owner.stdout.readline().split()
    inside = psutil.Process(int(pid))
    assert Path("/run/netns", namespace).exists()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    until(lambda: not Path("/run/netns", namespace).exists() or None, timeout=20, what="the namespace to go")
    until(
        lambda: not inside.is_running() or inside.status() == psutil.STATUS_ZOMBIE, timeout=5, what="its process to go"
    )
    assert not outside.exists()
    owner.stdout.close()
