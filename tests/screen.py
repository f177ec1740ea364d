"""The installed command on a terminal of its own: what it writes there, keys, its exit status and what it cost."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab import HOMELAB, Lab


@dataclass
class Screen:
    """One command under way. `text`: all it has written so far, standard output and error together."""

    process: int
    terminal: int
    text: str = ""
    status: int | None = None
    peak_bytes: int = field(default=0)

    def read(self, seconds: float) -> bool:
        """Take what comes within so long; False when the command has closed the terminal."""
        ready, _, _ = select.select([self.terminal], [], [], seconds)
        if not ready:
            return True
        try:
            piece = os.read(self.terminal, 65536)
        except OSError:  # Linux says so when nobody holds the other end any more
            return False
        self.text += piece.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(piece)

    def until(self, probe: Callable[[str], bool], *, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not probe(self.text):
            assert time.monotonic() < deadline, self.text
            assert self.read(0.1) or probe(self.text), self.text

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def interrupt(self) -> None:
        """Ctrl-C, as the terminal's driver turns it into a signal."""
        self.type("\x03")

    def end(self, *, timeout: float = 60) -> int:
        """The exit status, once it has ended; a command that does not is killed."""
        deadline = time.monotonic() + timeout
        while self.read(0.1):
            if time.monotonic() > deadline:
                os.kill(self.process, signal.SIGKILL)
                raise AssertionError(f"it goes on\n{self.text[-2000:]}")
        _, status, usage = os.wait4(self.process, 0)
        os.close(self.terminal)
        self.peak_bytes = usage.ru_maxrss * 1024
        self.status = os.waitstatus_to_exitcode(status)
        return self.status


def on_terminal(
    lab: Lab, *arguments: str, program: str = str(HOMELAB), columns: int = 80, rows: int = 24, **variables: str
) -> Screen:
    """Start `homelab ARGUMENTS` (or another program) on a terminal of that size."""
    environment = {k: v for k, v in lab.environment.items() if k not in ("PAGER", "LESS", "COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **variables}
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(lab.root)
        os.execvpe(program, [program, *arguments], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return Screen(process, terminal)


def shown(lab: Lab, *arguments: str, columns: int = 80, **variables: str) -> str:
    """All that a command writes to a terminal."""
    screen = on_terminal(lab, *arguments, columns=columns, **variables)
    screen.end()
    return screen.text
