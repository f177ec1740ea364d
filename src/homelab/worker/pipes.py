"""The pipes of a started command, read and fed by the event loop in large blocks. Used by `worker.process`."""

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

_BLOCK = 256 * 1024
_F_SETPIPE_SZ = 1031

Take = Callable[[Literal["out", "err"], bytes, float], None]


class OutputPipe:
    """One output of the command. Blocks go to `take` as they are read; the job waits when this side is slower."""

    def __init__(self, stream: Literal["out", "err"], take: Take, *, kept: int | None = None) -> None:
        """`kept`: the descriptor of one that was handed over (`hand_over`), below 0 when it had ended."""
        self._stream: Literal["out", "err"] = stream
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._fd, self.child_end = os.pipe() if kept is None else (kept, -1)
        self._large = False
        self.discards = False
        self.end = asyncio.Event()
        self.last_read = 0.0
        if self._fd < 0:
            self.end.set()
            return
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)

    @property
    def ended(self) -> bool:
        return self.end.is_set()

    def start(self) -> None:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._read)

    def hand_over(self) -> int:
        """Open for the program that this process executes next: what is not read yet stays in it."""
        if self._fd >= 0:
            os.set_inheritable(self._fd, True)
        return self._fd

    def _read(self) -> None:
        try:
            chunk = os.read(self._fd, _BLOCK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return
        self.last_read = time.monotonic()
        if not self._large and len(chunk) >= 32 * 1024 and sys.platform == "linux":
            self._large = True  # only for those who write much: the kernel bounds the sum for a user
            with suppress(OSError):
                fcntl.fcntl(self._fd, _F_SETPIPE_SZ, _BLOCK)
        try:
            self._take(self._stream, chunk, time.time())
        except BaseException:
            self.close()  # left open, it would be read and refused for ever
            raise

    def discard(self) -> None:
        """Read on until the end, for nobody: who was left behind with this pipe would be killed by its closing."""
        self.discards = True
        self._take = _drop

    def close_child_end(self) -> None:
        if self.child_end >= 0:
            os.close(self.child_end)
            self.child_end = -1

    def close(self) -> None:
        self.close_child_end()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self.end.set()


def discarded(descriptor: int) -> OutputPipe:
    """One that was handed over and is read for nobody."""
    pipe = OutputPipe("out", _drop, kept=descriptor)
    pipe.discard()
    pipe.start()
    return pipe


def _drop(stream: Literal["out", "err"], chunk: bytes, time: float) -> None:
    pass


class InputPipe:
    """Text for the command's standard input, fed as it is read; that the command closes it early is no error."""

    def __init__(self, text: str, *, kept: int | None = None) -> None:
        """`kept`: the descriptor of one that was handed over, with the `text` that it still had."""
        self._rest = memoryview(text.encode("utf-8", "surrogateescape"))
        self._loop = asyncio.get_running_loop()
        self.child_end, self._fd = os.pipe() if kept is None else (-1, kept)
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)

    def start(self) -> None:
        self._write()
        if self._fd >= 0:
            self._loop.add_writer(self._fd, self._write)

    def hand_over(self) -> dict[str, Any] | None:
        """As `OutputPipe.hand_over`, with what the command has not read; None when it has all."""
        if self._fd < 0:
            return None
        os.set_inheritable(self._fd, True)
        return {"fd": self._fd, "rest": self._rest.tobytes().decode("utf-8", "surrogateescape")}

    def _write(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass  # EPIPE: the command does not want it
        self.close()

    def close_child_end(self) -> None:
        if self.child_end >= 0:
            os.close(self.child_end)
            self.child_end = -1

    def close(self) -> None:
        self.close_child_end()
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
