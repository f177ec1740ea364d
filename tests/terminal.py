"""A command on a terminal, and what a person sees of it: keys go in, the screen comes out as text."""

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from tests.lab import HOMELAB

_CODE = re.compile(r"\x1b(?:\[([0-9;?<>=$]*)([a-zA-Z])|\][^\x07]*\x07|[^\[\]])")


class Terminal:
    """A command at the other end of a pseudo terminal; `screen` is what a person sees of it."""

    def __init__(self, environment: dict[str, str], *arguments: str, rows: int = 24, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [HOMELAB, *arguments], env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.raw = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._grid = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._rest = ""

    @property
    def screen(self) -> str:
        """The text on the screen now."""
        return "\n".join("".join(line).rstrip() for line in self._grid)

    def _write(self, text: str) -> None:
        """What a terminal does with text. Understands what places it; anything else changes none."""
        text, at = self._rest + text, 0
        self._rest = ""
        while at < len(text):
            if text[at] == "\x1b":
                code = _CODE.match(text, at)
                if code is None:  # it goes on in the next piece
                    self._rest = text[at:]
                    return
                self._obey(code[1] or "", code[2] or "")
                at = code.end()
                continue
            self._put(text[at])
            at += 1

    def _obey(self, numbers: str, letter: str) -> None:
        if letter == "H":
            row, _, column = numbers.partition(";")
            self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
        elif letter == "J":
            self._grid = [[" "] * len(line) for line in self._grid]

    def _put(self, char: str) -> None:
        if char == "\n":
            self._row, self._column = self._row + 1, 0
        elif char == "\r":
            self._column = 0
        elif self._row < len(self._grid) and self._column < len(self._grid[0]):
            self._grid[self._row][self._column] = char
            self._column += 1

    @property
    def words(self) -> str:
        """The screen as one line, however it is wrapped."""
        return " ".join(self.screen.split())

    def read(self, wait_s: float) -> bool:
        """Take what it wrote; False when it has ended."""
        if select.select([self._master], [], [], wait_s)[0]:
            try:
                got = os.read(self._master, 65536)
            except OSError:
                return False
            self.raw += got
            self._write(self._decoder.decode(got))
            return bool(got)
        return True

    def until(self, *words: str, timeout: float = 40) -> str:
        deadline = time.monotonic() + timeout
        while not all(word in self.screen for word in words):
            assert time.monotonic() < deadline, f"no {words} in:\n{self.screen}"
            assert self.read(0.2), f"it ended without {words}:\n{self.screen}\n{self.raw[-2000:]!r}"
        return self.screen

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Its exit status, all it wrote read."""
        while self.read(20):
            pass
        return self.process.wait(20)

    def hang_up(self) -> None:
        """Its window is closed."""
        os.close(self._master)
        self._master = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._master >= 0:
            os.close(self._master)
