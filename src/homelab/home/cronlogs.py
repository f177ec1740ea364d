"""Where cron's log lies on this machine, and its lines, the oldest first. Called by `cli.croncompare`.

The journal where it has cron's lines, else the files that syslog writes, with their older, rotated ones. macOS's
`log show` is read likewise and not yet proven.
"""

import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from homelab.core.errors import InputError, NotFoundError

_FILES = ("cron", "cron.log", "syslog", "messages")
_LONGEST = 65536
_ROTATED = re.compile(r"\.(\d+)(?:\.gz)?$")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A log: files in the order of their lines, or a command that prints it. `is_live`: it grows while cron runs."""

    name: str
    files: tuple[Path, ...] = ()
    command: tuple[str, ...] = ()
    is_live: bool = False

    def lines(self) -> Iterator[str]:
        """Its lines; bytes that are not UTF-8 are replaced. InputError when it cannot be read."""
        if self.command:
            yield from _of_command(self.command)
        for path in self.files:
            yield from _of_file(path)


def named(paths: tuple[Path, ...]) -> Source:
    """The files a person named, in the order of time: `syslog.2.gz`, `syslog.1`, `syslog`."""
    ordered = tuple(sorted(paths, key=lambda path: (-_age(path), str(path))))
    return Source(name=", ".join(map(str, ordered)), files=ordered)


def of_machine(since: datetime, *, folder: Path = Path("/var/log")) -> Source:
    """Cron's log of this machine. NotFoundError when none is found that has lines of cron."""
    if sys.platform == "darwin":
        start = since.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        predicate = ("--predicate", 'process == "cron"', "--info")
        command = ("log", "show", "--style", "syslog", *predicate, "--start", start)
        return Source(name="macOS's log", command=command, is_live=True)
    if shutil.which("journalctl"):
        tags = tuple(word for name in ("CRON", "CROND", "cron", "crond") for word in ("-t", name))
        command = ("journalctl", "-o", "json", "--no-pager", "-q", *tags, f"--since=@{int(since.timestamp())}")
        source = Source(name="the journal", command=command, is_live=True)
        if _has_lines(source):
            return source
    for name in _FILES:
        files = _with_rotated(folder / name, since)
        source = Source(name=str(folder / name), files=files, is_live=True)
        if files and _has_lines(source):
            return source
    raise NotFoundError(
        "cron's log was not found: neither the journal nor /var/log has lines of it",
        hint="Name the file with --log FILE. Reading the journal or /var/log may need root or the group adm.",
    )


def _has_lines(source: Source) -> bool:
    try:
        return any("CMD (" in line for line in source.lines())
    except InputError:
        return False


def _with_rotated(path: Path, since: datetime) -> tuple[Path, ...]:
    if not path.parent.is_dir():
        return ()
    older = (path.name + ".", path.name + "-")
    found = [p for p in path.parent.iterdir() if p.name == path.name or p.name.startswith(older)]
    limit = (since - timedelta(days=1)).timestamp()
    recent = [p for p in found if p.is_file() and p.stat().st_mtime >= limit]
    return tuple(sorted(recent, key=lambda p: (p.stat().st_mtime, -_age(p))))


def _age(path: Path) -> int:
    found = _ROTATED.search(path.name)
    return int(found[1]) if found else 0


def _of_file(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(_LONGEST):
                yield line.decode("utf-8", "replace").rstrip("\n")
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the log: {reason}", where=str(path)) from error


def _of_command(command: tuple[str, ...]) -> Iterator[str]:
    try:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            try:
                while line := process.stdout.readline(_LONGEST):
                    yield line.decode("utf-8", "replace").rstrip("\n")
            finally:
                process.kill()
    except OSError as error:
        raise InputError(f"cannot run {command[0]}: {error.strerror}") from error
