"""The files that an attempt leaves: found by the patterns of its job, below its working folder, and nowhere else.

What a pattern finds is opened step by step without following a link, so that no link, made before or meanwhile, leads
out of the working folder; and of files of others only what anybody may read is taken: the worker may be able to read
more than the job. What is not saved is said, with why. Blocking; called by `worker.handing` in a thread.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from homelab.core.durations import size_text
from homelab.core.passing import Artefact
from homelab.home.objects import BLOCK, Objects

MOST_FILES = 1000
MOST_BYTES = 10 * 1024**3
"""Of one attempt together."""
MOST_WARNINGS = 10


@dataclass
class Saved:
    """`problems`: what was not saved, in sentences."""

    artefacts: list[Artefact] = field(default_factory=list[Artefact])
    problems: list[str] = field(default_factory=list[str])

    @property
    def told(self) -> list[str]:
        """The problems for a log: at most `MOST_WARNINGS` and a last one."""
        more = len(self.problems) - MOST_WARNINGS
        last = [f"{more} more files are not saved"] if more > 0 else []
        return self.problems[:MOST_WARNINGS] + last


def save(
    patterns: Iterable[str],
    *,
    folder: Path,
    owner: int | None,
    objects: Objects,
    most_files: int = MOST_FILES,
    most_bytes: int = MOST_BYTES,
) -> Saved:
    """Put what the patterns find below `folder` into `objects`. `owner`: the number of the job's account, when it
    is not the worker's. A file that is still written to is saved as it is at that moment."""
    saved = Saved()
    root = os.path.realpath(folder)
    wanted: dict[str, None] = {}
    for pattern in patterns:
        before = len(wanted)
        for path in found(root, pattern):
            wanted.setdefault(path)
            if len(wanted) > most_files:
                break
        if len(wanted) == before and not any(_matches(path, pattern) for path in wanted):
            saved.problems.append(f"nothing to save: {folder} has no {pattern}")
    if len(wanted) > most_files:
        saved.problems.append(f"more than {most_files} files to save: only the first {most_files} are saved")
    total = 0
    for path in list(wanted)[:most_files]:
        problem, artefact = _keep(root, path, owner, objects, most_bytes - total, most_bytes)
        if artefact is not None:
            saved.artefacts.append(artefact)
            total += artefact.bytes
        else:
            saved.problems.append(f"{path} is not saved: {problem}")
    return saved


def found(root: str, pattern: str) -> Iterator[str]:
    """Paths below `root` of what is no folder, in order. `*`, `?` and `[...]` stand for parts of one name, `**` for any
    number of folders, a folder for all in it. Hidden names are found only by name. No link to a folder is followed by
    `**`."""
    seen: set[str] = set()
    for path in _expand(root, "", [part for part in pattern.split("/") if part not in ("", ".")]):
        inside = _expand(root, path, ["**", "*"]) if os.path.isdir(f"{root}/{path}") else iter((path,))  # noqa: PTH112
        for one in inside:
            if one not in seen and not os.path.isdir(f"{root}/{one}"):  # noqa: PTH112
                seen.add(one)
                yield one


def _expand(root: str, below: str, parts: Sequence[str]) -> Iterator[str]:
    if not parts:
        return
    head, rest = parts[0], parts[1:]
    if head == "**":
        yield from _expand(root, below, rest or ["*"])
        for name, is_folder in _names(root, below):
            if is_folder and not name.startswith("."):
                yield from _expand(root, _join(below, name), parts)
        return
    if any(c in head for c in "*?["):
        names = [
            name for name, _ in _names(root, below)
            if fnmatchcase(name, head) and (head.startswith(".") or not name.startswith("."))
        ]  # fmt: skip
    else:
        names = [head] if os.path.lexists(f"{root}/{_join(below, head)}") else []
    for name in names:
        if rest:
            yield from _expand(root, _join(below, name), rest)
        else:
            yield _join(below, name)


def _names(root: str, below: str) -> list[tuple[str, bool]]:
    """(name, whether it is a folder and no link) of all in a folder, by name."""
    try:
        with os.scandir(f"{root}/{below}") as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        return []


def _join(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name


def _matches(path: str, pattern: str) -> bool:
    """Whether a file that an earlier pattern found may be one of this pattern, too."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern.rstrip('/')}/*")


def _keep(
    root: str, path: str, owner: int | None, objects: Objects, room: int, most_bytes: int
) -> tuple[str, Artefact | None]:
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not text in UTF-8", None
    if any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "its name holds a control character", None
    try:
        descriptor = _open_below(root, path)
    except OSError as error:
        return _why(error), None
    with os.fdopen(descriptor, "rb") as file:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            return "it is no ordinary file", None
        if owner not in (None, seen.st_uid) and not seen.st_mode & stat.S_IROTH:
            return "it belongs to another user, who keeps it to himself", None
        if seen.st_size > room:
            return f"all files of an attempt together may have {size_text(most_bytes)}", None
        if seen.st_size > objects.room():
            return "the disk of this machine is full", None
        try:
            incoming = objects.incoming()
        except OSError as error:
            return error.strerror or str(error), None
        try:
            left = room
            while left >= 0 and (block := file.read(min(BLOCK, left + 1))):
                incoming.write(block)
                left -= len(block)
            if left < 0:
                incoming.discard()
                return "it grows while it is read", None
            size = incoming.bytes
            return "", Artefact(path=path, sha256=incoming.keep(), bytes=size)
        except OSError as error:
            incoming.discard()
            return error.strerror or str(error), None


def _open_below(root: str, path: str) -> int:
    """The file that `path` leads to, when that lies below `root`, a real path. OSError (ELOOP: a link leads out)."""
    real = os.path.realpath(f"{root}/{path}")
    inside = os.path.relpath(real, root)
    if inside == ".." or inside.startswith("../"):
        raise OSError(errno.ELOOP, "a link leads out of the working folder")
    parts = inside.split("/")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        with suppress(OSError):
            os.close(folder)


def _why(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link leads out of the working folder"
    return error.strerror or str(error)
