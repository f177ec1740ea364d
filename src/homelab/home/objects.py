"""Files by the SHA-256 of what is in them, in a folder: written whole or not at all, never changed, removed by whoever
owns the folder.

    FOLDER/ab/ab12...       one object, mode 0400
    FOLDER/new/...          what is just being written

Blocking. Used by control for its store and by a worker for what it saves and fetches.
"""

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from homelab.core.errors import HomelabError

BLOCK = 1024 * 1024
RESERVE_BYTES = 256 * 1024 * 1024
"""Never filled by objects: logs, journals and the database of the same disk go on."""


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in lower case: the only name that an object has."""
    return len(text) == 64 and not text.strip("0123456789abcdef")


class Damaged(HomelabError):  # noqa: N818 - a state of the disk
    """What is there, or has come, is not what its name says."""


class Objects:
    """One folder. It is made when the first object comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, sha256: str) -> Path:
        if not is_digest(sha256):
            raise ValueError(f"{sha256[:80]!r} is no SHA-256")
        return self.folder / sha256[:2] / sha256

    def size(self, sha256: str) -> int | None:
        """None when it is not here."""
        try:
            return self.path_of(sha256).stat().st_size
        except OSError:
            return None

    def touch(self, sha256: str) -> bool:
        """Count it as used now. False when it is not here."""
        try:
            os.utime(self.path_of(sha256))
        except OSError:
            return False
        return True

    def incoming(self) -> "Incoming":
        """Begin to write one. OSError: the disk refuses."""
        return Incoming(self)

    def room(self) -> int:
        """Bytes that may still come."""
        there = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        return shutil.disk_usage(there).free - RESERVE_BYTES

    def remove(self, sha256: str) -> None:
        with suppress(OSError):
            self.path_of(sha256).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, float, int]]:
        """(SHA-256, time of its last use, size) of each, in no order."""
        for shelf in _children(self.folder):
            for path in _children(shelf) if len(shelf.name) == 2 else ():
                with suppress(OSError):
                    seen = path.stat()
                    yield path.name, seen.st_mtime, seen.st_size

    def copy(self, sha256: str, target: Path) -> None:
        """Into a new file at `target`, checked on the way. Damaged, and removed, when it is not what it should be;
        OSError when it is not here or the disk refuses."""
        digest = hashlib.sha256()
        with self.path_of(sha256).open("rb") as source, target.open("xb") as file:
            while block := source.read(BLOCK):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            self.remove(sha256)
            target.unlink()
            raise Damaged(f"the copy of {sha256[:12]} in {self.folder} was damaged")

    def sweep(self, older_than_s: float = 86400.0) -> None:
        """Remove what was being written when somebody died."""
        for path in _children(self.folder / "new"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()


class Incoming:
    """An object that is being written. `keep` or `discard` ends it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._digest = hashlib.sha256()
        self.bytes = 0
        folder = objects.folder / "new"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / str(uuid.uuid4())
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400), "wb")

    def write(self, block: bytes) -> None:
        self._digest.update(block)
        self._file.write(block)
        self.bytes += len(block)

    def keep(self, expected: str | None = None) -> str:
        """Its SHA-256, under which it is there from now on, on the disk. Damaged when it is not the `expected` one."""
        sha256 = self._digest.hexdigest()
        if expected not in (None, sha256):
            self.discard()
            raise Damaged(f"what came is {sha256[:12]}..., not {str(expected)[:12]}...")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target = self._objects.path_of(sha256)
            target.parent.mkdir(exist_ok=True)
            self._path.replace(target)
        except OSError:
            self.discard()
            raise
        return sha256

    def discard(self) -> None:
        """As if it had never been begun."""
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
