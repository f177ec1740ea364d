"""That the machine is about to sleep, as systemd-logind tells it, and a moment to say so before it does (Linux).

logind waits for whoever holds an inhibitor of the kind "delay", for five seconds unless it is set otherwise. Where
there is no system bus or no logind, nothing is told: the worker finds out afterwards that it slept (`sleep`). Source:
systemd.io/INHIBITOR_LOCKS and org.freedesktop.login1(5).
"""

import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger()

SOCKET: Final = "/run/dbus/system_bus_socket"
_MANAGER: Final = ("/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager")

Tell = Callable[[bool], None]
"""Called in the thread: True before the machine sleeps, False when it is awake. Returns when that has been said."""


def start(tell: Tell, *, bus: str | None = None) -> bool:
    """Listen in a daemon thread for as long as the process lives; whether there is a bus to listen to. `bus`: an
    address of D-Bus; None: the system's."""
    if bus is None and not Path(SOCKET).exists():
        return False
    threading.Thread(target=_listen, args=(tell, bus or "SYSTEM"), name="logind", daemon=True).start()
    return True


def _listen(tell: Tell, bus: str) -> None:
    # Without types; imported where it is used, since most machines of a lab have no use for it.
    jeepney: Any = importlib.import_module("jeepney")
    blocking: Any = importlib.import_module("jeepney.io.blocking")
    try:
        with blocking.open_dbus_connection(bus, enable_fds=True) as connection:
            path, name, interface = _MANAGER
            rule = jeepney.MatchRule(type="signal", path=path, interface=interface, member="PrepareForSleep")
            connection.send_and_get_reply(jeepney.message_bus.AddMatch(rule), timeout=5)
            with connection.filter(rule) as signals:
                manager = jeepney.DBusAddress(path, bus_name=name, interface=interface)
                _follow(tell, jeepney, connection, signals, manager)
    except (OSError, jeepney.DBusErrorResponse, jeepney.AuthenticationError, jeepney.FDNegotiationError) as error:
        log.info("sleep.untold", error=f"{type(error).__name__}: {error}"[:200])


def _follow(tell: Tell, jeepney: Any, connection: Any, signals: Any, manager: Any) -> None:
    held: Any = None
    while True:
        if held is None:
            ask = ("sleep", "homelab", "Telling the lab that this machine sleeps", "delay")
            reply = connection.send_and_get_reply(jeepney.new_method_call(manager, "Inhibit", "ssss", ask), timeout=5)
            if reply.header.message_type is jeepney.MessageType.error:
                log.info("sleep.untold", error=str(reply.body)[:200])
                return
            held = reply.body[0]
        is_going = bool(connection.recv_until_filtered(signals).body[0])
        tell(is_going)
        if is_going:
            held.close()
            held = None
            # The next inhibitor is for the next sleep: one that is taken now would hold up this one.
            tell(bool(connection.recv_until_filtered(signals).body[0]))
