"""The lab's events as they happen, in a thread of their own: reads `/api/v1/events`, resumes behind the last event it
has, connects again with growing pauses when the stream is lost.

The lab may come back at another address: each connection is made by `connect`. What the screen shows is asked for
anew whenever the stream is live again, so that nothing is missed even where no event was heard yet.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from homelab.core.errors import HomelabError, RefusedError
from homelab.tui.view import Door, Link

QUIET_S = 40.0
"""The lab says something at least every 15 s; a stream that is silent for longer is dead."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0


def pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))


def parsed(lines: Iterable[bytes]) -> Iterator[tuple[int | None, str, dict[str, Any]]]:
    """(id, kind, event) of a stream of server-sent events; comments and what is not JSON are left out."""
    number: int | None = None
    kind, data = "message", b""
    for raw in lines:
        row = raw.rstrip(b"\r")
        if not row:
            if data:
                try:
                    event: object = json.loads(data)
                except ValueError:
                    event = None
                if isinstance(event, dict):
                    yield number, kind, event  # pyright: ignore[reportUnknownVariableType]
            number, kind, data = None, "message", b""
            continue
        name, _, value = row.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"id" and value.isdigit():
            number = int(value)
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
        elif name == b"data":
            data += value


class Feed:
    """`told` hears every change of the link, `happened` the kind of every event; both in the feed's thread."""

    def __init__(
        self, connect: Callable[[], Door], *, told: Callable[[Link], object], happened: Callable[[str], object]
    ) -> None:
        self._connect = connect
        self._told = told
        self._happened = happened
        self._ended = threading.Event()
        self._again = threading.Event()
        self._cut: Callable[[], None] | None = None
        self._last: int | None = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the stream and the thread."""
        self._ended.set()
        self._again.set()
        if self._cut is not None:
            self._cut()

    def try_now(self) -> None:
        """Do not wait for the next try."""
        self._again.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._read()
                error = HomelabError("the lab ended the connection")
            except HomelabError as failed:
                error = failed
            except (
                Exception
            ) as failed:  # whatever it is: without this thread the screen would stand still, and not say so
                error = HomelabError(f"the lab's events cannot be read ({type(failed).__name__}: {failed})")
            if self._ended.is_set():
                return
            self._failures += 1
            wait_s = LONGEST_PAUSE_S if isinstance(error, RefusedError) else pause_s(self._failures)
            self._again.clear()
            self._told(
                Link(
                    state="refused" if isinstance(error, RefusedError) else "lost",
                    why=error.message,
                    hint=error.hint,
                    again_at=time.monotonic() + wait_s,
                )
            )
            self._again.wait(wait_s)

    def _read(self) -> None:
        door = self._connect()

        def opened(cut: Callable[[], None]) -> None:
            self._cut = cut
            if self._ended.is_set():
                cut()
            self._failures = 0
            self._told(Link(state="live", door=door))

        lines = door.lines("/api/v1/events", {"after": self._last}, quiet_s=QUIET_S, on_open=opened)
        for number, kind, _ in parsed(lines):
            self._last = number if number is not None else self._last
            self._happened(kind)
