"""Hearing that the machine is about to sleep: a D-Bus of our own, where somebody answers as systemd-logind does."""

import os
import queue
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jeepney
import pytest
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from homelab.worker.sensors import logind

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""
pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="no dbus-daemon is installed here")
NAME, PATH, MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    socket, config = tmp_path / "bus", tmp_path / "bus.conf"
    config.write_text(CONFIG.format(socket=socket))
    daemon = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    yield daemon.stdout.readline().strip()
    daemon.terminate()
    daemon.wait(10)
    daemon.stdout.close()


class Logind:
    """Answers Inhibit with one end of a pipe; whoever has the other sees when the inhibitor is let go."""

    def __init__(self, bus: str, *, refuses: bool = False) -> None:
        self._bus, self._refuses = bus, refuses
        self.inhibitors: queue.Queue[tuple[tuple[str, ...], int]] = queue.Queue()
        self._connection: DBusConnection = open_dbus_connection(bus, enable_fds=True)
        self._connection.send_and_get_reply(jeepney.message_bus.RequestName(NAME))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                call = self._connection.receive()
            except OSError:
                self._connection.close()
                return
            if call.header.message_type is not jeepney.MessageType.method_call:
                continue
            if self._refuses:
                self._connection.send(jeepney.new_error(call, f"{NAME}.OperationInProgress", "s", ("no",)))
                continue
            read, write = os.pipe()
            self._connection.send(jeepney.new_method_return(call, "h", (write,)))
            os.close(write)
            self.inhibitors.put((call.body, read))

    def says(self, going: bool) -> None:
        """From a connection of its own, since the other one waits in a thread."""
        address: Any = jeepney.DBusAddress(PATH, interface=MANAGER)
        with open_dbus_connection(self._bus) as connection:
            connection.send(jeepney.new_signal(address, "PrepareForSleep", "b", (going,)))
            connection.send_and_get_reply(jeepney.message_bus.GetId())  # it has arrived


def is_held(inhibitor: int) -> bool:
    """The read end of a pipe has an end of file once nobody has the other end."""
    return not select.select([inhibitor], [], [], 0)[0]


def test_sleep_is_told_before_it_comes_and_waking_after(bus: str) -> None:
    machine, told = Logind(bus), queue.Queue[tuple[bool, bool]]()
    held: list[int] = []
    assert logind.start(lambda going: told.put((going, is_held(held[0]))), bus=bus)
    (what, who, _, mode), inhibitor = machine.inhibitors.get(timeout=10)
    held.append(inhibitor)
    assert (what, who, mode) == ("sleep", "homelab", "delay") and is_held(inhibitor)
    machine.says(True)
    assert told.get(timeout=10) == (True, True), "the machine waits while it is being said"
    assert select.select([inhibitor], [], [], 10)[0], "then it is let go"
    machine.says(False)
    assert told.get(timeout=10) == (False, False)
    _, again = machine.inhibitors.get(timeout=10)
    assert is_held(again), "ready for the next sleep"
    held[0] = again
    machine.says(True)
    assert told.get(timeout=10) == (True, True)


def test_where_nobody_tells_of_sleep_nothing_is_told_and_nothing_breaks(bus: str, tmp_path: Path) -> None:
    before = threading.active_count()
    assert logind.start(lambda _: None, bus=f"unix:path={tmp_path}/nowhere")
    assert logind.start(lambda _: None, bus=bus), "there is a bus, and no logind on it"
    _ended("logind")
    Logind(bus, refuses=True)
    assert logind.start(lambda _: None, bus=bus)
    _ended("logind")
    assert threading.active_count() <= before + 1


def _ended(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(10)
            assert not thread.is_alive()
