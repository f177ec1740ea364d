"""A page in a real browser: headless Chromium, driven by its own debugging protocol over loopback.

`Page.open` waits until a page is loaded; what it asked for and what went wrong are then in `requests` and `errors`.
"""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip


def program() -> str | None:
    """The browser of this machine; None when there is none (tests/system-packages.sh installs one)."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Page:
    """One tab. `requests`: URLs it asked for; `errors`: messages of its console and exceptions."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection = connection
        self._session = session
        self._ids = count(100)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._loaded = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; gives its result. AssertionError when the browser refuses it."""
        number = next(self._ids)
        message = {"id": number, "sessionId": self._session, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while (got := self._next()).get("id") != number:
            pass
        assert "error" not in got, got
        return got["result"]

    def _next(self) -> dict[str, Any]:
        got: dict[str, Any] = json.loads(self._connection.recv(timeout=60))
        values = got.get("params", {})
        match got.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(values["exceptionDetails"]["text"])
            case "Log.entryAdded" if values["entry"]["level"] in ("error", "warning"):
                self.errors.append(values["entry"]["text"])
            case "Page.loadEventFired":
                self._loaded = True
            case _:
                pass
        return got

    def open(self, url: str) -> None:
        self.requests.clear()
        self.errors.clear()
        self._loaded = False
        for domain in ("Network", "Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._next()

    def look(self, *, width: int, scheme: str) -> None:
        """As it looks at this width (pixels) for a reader who prefers `light` or `dark`."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")


@contextlib.contextmanager
def page() -> Iterator[Page]:
    """A tab of a fresh browser, which is ended with it."""
    found = program()
    assert found, "no Chromium on this machine: tests/system-packages.sh installs one"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                [found, *FLAGS, f"--user-data-dir={folder}/profile", "about:blank"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            try:
                assert process.stderr is not None
                address = ""
                for line in process.stderr:
                    sink.write(line)
                    if heard := re.search(r"DevTools listening on (ws://127\.0\.0\.1:\S+)", line):
                        address = heard[1]
                        break
                assert address, log.read_text()
                with connect(address, max_size=None, compression=None) as connection:
                    yield Page(connection, _tab(connection))
            finally:
                process.kill()
                process.wait()
                if process.stderr is not None:
                    process.stderr.close()


def _tab(connection: ClientConnection) -> str:
    def ask(number: int, method: str, **parameters: Any) -> dict[str, Any]:
        connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (got := json.loads(connection.recv(timeout=60))).get("id") != number:
            pass
        return got["result"]

    target = ask(1, "Target.createTarget", url="about:blank")["targetId"]
    return ask(2, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
