"""The review of an import as a person sees it: a real terminal of 80 by 24, single keys."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import HOMELAB

CRONTAB = """\
0 2 * * * pg_dump app > /backups/app.sql
30 2 * * * rclone copy /backups/app.sql remote:db
0 * * * * curl -fsS https://example.org/feed -o /srv/feed.json
30 6 * * 1-5 /usr/bin/jq .items /srv/feed.json > /srv/items.txt
*/5 * * * * /usr/local/bin/check-disk
"""


class Terminal:
    """A process at the other end of a pseudo terminal. `seen`: all it wrote, without escape codes."""

    def __init__(self, folder: Path, *arguments: str, stdin: str | None = None, colour: bool = False) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMELAB_")}
        environment |= {"TZ": "UTC", "TERM": "xterm-256color", "HOMELAB_HOME": str(folder / "home")}
        environment |= {} if colour else {"NO_COLOR": "1"}

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(1, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [HOMELAB, *arguments], cwd=folder, env=environment, preexec_fn=take_terminal,
            stdin=slave if stdin is None else subprocess.PIPE, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        if stdin is not None and self.process.stdin:
            self.process.stdin.write(stdin.encode())
            self.process.stdin.close()
        self.raw = ""

    @property
    def seen(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw).replace("\r\n", "\n")

    def until(self, *words: str, timeout_s: float = 30) -> str:
        """Read until the words stand in what came since the last key, in this order, however it is wrapped."""
        start = len(self.seen)
        deadline = time.monotonic() + timeout_s
        while not self._holds(self.seen[self._from :], words):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._master], [], [], left)[0], f"no {words} in:\n{self.seen}"
            try:
                got = os.read(self._master, 65536)
            except OSError:
                got = b""
            assert got, f"it ended without {words}:\n{self.seen[start:]}"
            self.raw += got.decode()
        return self.seen[self._from :]

    _from = 0

    @staticmethod
    def _holds(text: str, words: tuple[str, ...]) -> bool:
        at = 0
        text = " ".join(text.split())
        for word in words:
            found = text.find(word, at)
            if found < 0:
                return False
            at = found + len(word)
        return True

    def press(self, *keys: str) -> None:
        """Type keys, each when the process waits for one: what is typed before that is thrown away."""
        self._from = len(self.seen)
        for key in keys:
            deadline = time.monotonic() + 30
            while termios.tcgetattr(self._master)[3] & termios.ICANON:
                assert time.monotonic() < deadline, f"it does not wait for a key:\n{self.seen}"
                time.sleep(0.002)
            os.write(self._master, key.encode())

    def end(self) -> int:
        """Read to the end; the exit status."""
        while True:
            try:
                got = os.read(self._master, 65536)
            except OSError:
                break
            if not got:
                break
            self.raw += got.decode()
        return self.process.wait(30)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "crontab.txt").write_text(CRONTAB)
    return tmp_path


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for terminal in made:
        terminal.close()


def jobs(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "lab.toml").read_text())["jobs"]


def named(folder: Path, word: str) -> dict[str, Any]:
    (found,) = [job for job in jobs(folder).values() if word in job["run"]]
    return found


ASK = "[y]es"


def test_each_suggestion_is_asked_and_the_new_timetable_is_shown_before_the_last_yes(
    folder: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(folder, "cron", "import", "crontab.txt")
    terminals.append(terminal)
    terminal.until("5 jobs, 2 suggestions (2 high)", "rclone", "high?", "[q]uit")
    while ASK not in terminal.seen:
        terminal.press("\r")
        terminal.until("[q]uit")
    terminal.until("1 of 2", "line 1", "line 2", "evidence", "/backups/app.sql", "instead of at 02:30 every day", ASK)
    terminal.press("?")
    terminal.until("quit, nothing is written", ASK)
    terminal.press("y")
    terminal.until("2 of 2", "succeeded within", ASK)
    terminal.press("b")
    terminal.until("1 of 2", "you said yes")
    terminal.press("y")
    terminal.until("2 of 2", ASK)
    terminal.press("n")
    shown = terminal.until("Timetable", "before at 02:30 every day", "after when", "5 added. Write", "[b]ack")
    assert not (folder / "lab.toml").exists()
    assert all(len(line) <= 80 for line in terminal.seen.splitlines())
    assert "\x1b[" not in terminal.raw
    assert shown.count("before") == 1
    terminal.press("d")
    terminal.until("+++", "[q]uit")
    terminal.press("q")
    terminal.until("[b]ack")
    terminal.press("y")
    assert terminal.end() == 0
    assert "schedule" not in named(folder, "rclone")
    assert named(folder, "jq")["schedule"] == "30 6 * * 1-5"

    before = (folder / "lab.toml").read_bytes()
    again = Terminal(folder, "cron", "import", "crontab.txt")
    terminals.append(again)
    assert again.end() == 0  # it asks nothing: neither about the accepted one nor about the declined one
    assert "The lab file is as it should be" in again.seen
    assert (folder / "lab.toml").read_bytes() == before


def test_a_lab_file_that_changes_during_the_review_is_not_overwritten(folder: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(folder, "cron", "import", "crontab.txt")
    terminals.append(terminal)
    terminal.until("[q]uit")
    while ASK not in terminal.seen:
        terminal.press("\r")
        terminal.until("[q]uit")
    terminal.press("a")
    terminal.until("5 added. Write", "[b]ack")
    (folder / "lab.toml").write_text('# mine\n[lab]\nname = "attic"\ntimezone = "UTC"\n')
    terminal.press("y")
    terminal.until("changed meanwhile", "5 added. Write", "[b]ack")
    assert (folder / "lab.toml").read_text().count("[jobs.") == 0
    terminal.press("y")
    assert terminal.end() == 0
    assert (folder / "lab.toml").read_text().startswith('# mine\n[lab]\nname = "attic"')
    assert len(jobs(folder)) == 5


def test_quitting_writes_nothing(folder: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(folder, "cron", "import", "crontab.txt", colour=True)
    terminals.append(terminal)
    terminal.until("[q]uit")
    assert "\x1b[" in terminal.raw
    terminal.press("q")
    assert terminal.end() == 5
    assert "nothing was written" in terminal.seen
    assert not (folder / "lab.toml").exists()


def test_ctrl_c_leaves_the_terminal_and_the_files_alone(folder: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(folder, "cron", "import", "crontab.txt")
    terminals.append(terminal)
    terminal.until("[q]uit")
    terminal.press("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert not (folder / "lab.toml").exists()


def test_a_crontab_on_standard_input_leaves_the_keyboard_to_the_person(folder: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(folder, "cron", "import", "-", stdin=CRONTAB)
    terminals.append(terminal)
    terminal.until("[q]uit")
    while ASK not in terminal.seen:
        terminal.press("\r")
        terminal.until("[q]uit")
    terminal.press("a")
    terminal.until("5 added. Write", "[b]ack")
    terminal.press("y")
    assert terminal.end() == 0
    assert len(jobs(folder)) == 5


@pytest.mark.parametrize("options", [("--yes",), ("--accept", "none"), ("--json",)])
def test_options_answer_instead_of_the_person(
    folder: Path, terminals: list[Terminal], options: tuple[str, ...]
) -> None:
    terminal = Terminal(folder, "cron", "import", "crontab.txt", *options)
    terminals.append(terminal)
    assert terminal.end() == 0
    assert len(jobs(folder)) == 5
