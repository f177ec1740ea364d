"""The scripts that a crontab's jobs call, read as they are asked for: below a root, or of this machine.

Read only, whole files only, never followed out of the root. Whatever is not a readable text of ordinary size is refused
with its reason; a path where nothing is is not in the mapping. Used by `cli` for `core.commands`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from homelab.core.commands import Refused, Script
from homelab.core.commands.patterns import clean

MAX_BYTES = 1024 * 1024
_MAX_LINKS = 32
_MAX_FILES = 5000


class FolderScripts(Mapping[str, Script | Refused]):
    """Scripts by the absolute path they have on their machine. Each file is read once.

    `root`: the folder that is that machine's `/`; None: this machine. Links, absolute ones too, are followed inside it.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = str(root.resolve()) if root is not None else "/"
        self._known: dict[str, Script | Refused | None] = {}

    def __getitem__(self, path: str) -> Script | Refused:
        if path not in self._known:
            if len(self._known) >= _MAX_FILES:
                return Refused(path=path, reason=f"more than {_MAX_FILES} files were asked for")
            self._known[path] = self._read(path)
        found = self._known[path]
        if found is None:
            raise KeyError(path)
        return found

    def __iter__(self) -> Iterator[str]:
        """Only those that were asked for and are there."""
        return iter([path for path, found in self._known.items() if found is not None])

    def __len__(self) -> int:
        return sum(found is not None for found in self._known.values())

    def _read(self, path: str) -> Script | Refused | None:
        if not path.startswith("/") or "\0" in path or len(path) > 4096:
            return None
        try:
            real = resolved(self._root, path)
            return None if real is None else self._text(path, real)
        except (_Refusal, LeavesRoot) as refusal:
            return Refused(path=path, reason=str(refusal))
        except OSError as error:
            return Refused(path=path, reason=f"it cannot be read: {error.strerror}")

    def _text(self, path: str, real: str) -> Script | Refused | None:
        # O_NONBLOCK: opening a named pipe must not wait for somebody to write to it.
        info = os.lstat(real)
        if stat.S_ISDIR(info.st_mode):
            return None
        if not stat.S_ISREG(info.st_mode):
            raise _Refusal("it is not a plain file")
        if info.st_size > MAX_BYTES:
            is_program = self._starts_like_program(real)
            return Refused(path=path, reason=f"it is larger than {MAX_BYTES} bytes", is_program=is_program)
        with open(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _Refusal(f"it is larger than {MAX_BYTES} bytes")
        if b"\0" in data[:8192]:
            return Refused(path=path, reason="it is binary", is_program=_is_program(data))
        return Script(path=path, text=clean(data.decode("utf-8", "replace")))

    def _starts_like_program(self, real: str) -> bool:
        with open(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            return _is_program(file.read(4))


class LeavesRoot(Exception):  # noqa: N818 - a verdict
    """A path that is not followed to its end; the message says why."""


class _Refusal(Exception):  # noqa: N818 - a verdict
    """Why a file is not read."""


def resolved(root: str, path: str) -> str | None:
    """The file of that path below the root with its links followed there; None when there is none.

    LeavesRoot: its path or a link leads out of the root, or links lead in a circle.
    """
    waiting: list[str] = [part for part in path.split("/") if part]
    done: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop(0)
        if part == ".":
            continue
        if part == "..":
            if not done:
                raise LeavesRoot("its path, or a link in it, leaves the root")
            done.pop()
            continue
        here = os.path.join(root, *done, part)  # noqa: PTH118 - bytes of any kind, piece by piece
        try:
            info = os.lstat(here)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISLNK(info.st_mode):
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise LeavesRoot("its links lead in a circle")
        target = os.readlink(here)  # noqa: PTH115 - its text as it is
        if target.startswith("/"):
            done = []
        waiting = [piece for piece in target.split("/") if piece] + waiting
    return os.path.join(root, *done)  # noqa: PTH118


def _is_program(data: bytes) -> bool:
    """ELF, or one of macOS's: what a compiler makes."""
    return data[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xce\xfa\xed\xfe")
