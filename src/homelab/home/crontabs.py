"""What a crontab needs from the machine it is for: its text, accounts, zone, and the folders that run-parts runs.

Everything is read below `root` when one is given, so that the crontab of another machine can be examined; nothing is
written and nothing is run. Called by `cli.cron`.
"""

import os
import pwd
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from homelab.core.crontab import DEFAULT_PATH
from homelab.core.errors import InputError
from homelab.core.schedule import ScheduleError, check_zone

_LARGEST_BYTES = 16 * 1024 * 1024
_MOST_LINES = 100_000  # cron itself takes 10,000 jobs
_SPOOLS = re.compile(r"(?:/spool/cron/crontabs|/spool/cron|/cron/tabs)/([^/]+)$")
_UTC_NAMES = frozenset({"Etc/UTC", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"})


def read_text(source: str) -> str:
    """The text of a file, or of standard input for `-`. Bytes that are not UTF-8 are kept as surrogates.

    InputError (exit 2) when it cannot be read or is far too large to be a crontab.
    """
    try:
        if source == "-":
            data = sys.stdin.buffer.read(_LARGEST_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read the crontab: {error.strerror}", where=source) from error
    if len(data) > _LARGEST_BYTES:
        raise InputError(f"larger than {_LARGEST_BYTES} bytes: this is no crontab", where=source)
    if data.count(b"\n") > _MOST_LINES:
        raise InputError(f"more than {_MOST_LINES} lines: this is no crontab", where=source)
    return data.decode("utf-8", "surrogateescape")


def is_system(source: str) -> bool:
    """Whether the path alone says that lines have a user column: /etc/crontab, a file in a folder `cron.d`."""
    path = Path(source).absolute()
    return source != "-" and (path.parent.name == "cron.d" or path.parts[-2:] == ("etc", "crontab"))


def owner_of(source: str) -> str:
    """Whose crontab it is: named by the file in a spool folder, else the person who asks."""
    if source != "-" and (found := _SPOOLS.search(str(Path(source).absolute()))):
        return found[1]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("LOGNAME", "")


def is_spool(folder: Path) -> bool:
    """Whether it is a folder of users' crontabs, each named like its owner."""
    return _SPOOLS.search(f"{folder.absolute()}/any") is not None


def files_of_folder(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Of a folder like /etc/cron.d: the files that cron reads, by name, and those it ignores with the reason."""
    taken: list[Path] = []
    ignored: list[tuple[Path, str]] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder: {error.strerror}", where=str(folder)) from error
    for path in entries:
        reason = why_ignored(path.name)
        if reason or not path.is_file():
            ignored.append((path, reason or "it is not a plain file"))
        else:
            taken.append(path)
    return taken, ignored


def why_ignored(name: str) -> str:
    """Why cronie ignores a file of this name in cron.d; empty when it reads it."""
    if name.startswith("."):
        return "its name begins with a dot"
    if name.startswith("#") or name.endswith("~"):
        return "its name is that of an editor's backup"
    if name.endswith((".rpmsave", ".rpmorig", ".rpmnew")):
        return "its name is that of a file a package left behind"
    return ""


def is_ignored_by_debian(name: str) -> bool:
    """Debian's cron reads only names of letters, digits, `_` and `-`."""
    return re.fullmatch(r"[A-Za-z0-9_-]+", name) is None


def accounts(root: Path | None) -> Mapping[str, str]:
    """Users and their home folders, of this machine or of the one below `root`; empty when that has no list."""
    if root is None:
        return {entry.pw_name: entry.pw_dir for entry in pwd.getpwall()}
    try:
        lines = (root / "etc/passwd").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    rows = [line.split(":") for line in lines]
    return {row[0]: row[5] for row in rows if len(row) >= 7 and row[0]}


def zone(root: Path | None) -> str:
    """The zone of the machine: TZ (only for this one), /etc/timezone, /etc/localtime; UTC when none says."""
    if root is None and (named := os.environ.get("TZ", "").removeprefix(":")) and "/" not in named[:1]:
        return _plain_zone(named)
    base = root or Path("/")
    try:
        named = (base / "etc/timezone").read_text().split("#")[0].strip()
        if named:
            return _plain_zone(named)
    except (OSError, UnicodeDecodeError):
        pass
    try:
        target = str((base / "etc/localtime").readlink())
    except OSError:
        return "UTC"
    return _plain_zone(target.partition("zoneinfo/")[2])


def default_path(root: Path | None) -> str:
    """The PATH that the machine's cron gives a job. `crond` is cronie, which since 1.7 adds the system folders."""
    base = root or Path("/")
    is_cronie = (base / "usr/sbin/crond").exists() and not (base / "usr/sbin/cron").exists()
    return DEFAULT_PATH + ":/usr/sbin:/sbin" if is_cronie else DEFAULT_PATH


def _plain_zone(name: str) -> str:
    if name in _UTC_NAMES or not name:
        return "UTC"
    try:
        check_zone(name)
    except ScheduleError:
        return "UTC"
    return name


# --- run-parts --------------------------------------------------------------------------------------------------------

_RUN_PARTS = re.compile(r"(?:^|[\s;&|(])(?:\S*/)?run-parts((?:\s+-\S+)*)\s+(/[^\s;&|)]+)")
_ONLY_RUN_PARTS = re.compile(
    r"\s*(?:\(\s*)?(?:cd\s+/\s*&&\s*)?(?:\S*/)?run-parts(?:\s+(?:--report|--verbose|-v|--))*\s+/[^\s;&|)]+\s*(?:\)\s*)?"
)
_ANACRON_GUARD = re.compile(r"^\s*(?:test\s+-x|\[\s+-x)\s+(/usr/sbin/anacron)(?:\s+\])?\s*\|\|")


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """A command that runs the scripts of a folder one after the other.

    `scripts`: their absolute paths, in the order they run. `ignored`: files that would be expected to run and do not,
    with the reason. `is_whole`: the command does nothing else, so it can be replaced by its scripts.
    """

    folder: str
    scripts: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]
    is_whole: bool


def run_parts(command: str, root: Path | None) -> RunParts | None:
    """What a `run-parts FOLDER` in a command runs, by the rules of Debian's run-parts; None when there is none."""
    found = _RUN_PARTS.search(command)
    if found is None:
        return None
    folder = found[2].strip("\"'")
    base = _below(root, folder)
    scripts: list[str] = []
    ignored: list[tuple[str, str]] = []
    try:
        entries = sorted(os.scandir(base), key=lambda entry: os.fsencode(entry.name))
    except OSError:
        return None
    for entry in entries:
        path = f"{folder.rstrip('/')}/{entry.name}"
        real = Path(entry.path)
        if real.is_symlink() and root is not None and (target := str(real.readlink())).startswith("/"):
            real = _below(root, target)
        if not real.is_file() or entry.name.startswith("."):
            continue
        if re.fullmatch(r"[A-Za-z0-9_-]+", entry.name) is None:
            ignored.append((path, "run-parts runs only names of letters, digits, '_' and '-'"))
        elif not os.access(real, os.X_OK):
            ignored.append((path, "it is not executable"))
        else:
            scripts.append(path)
    guard = _ANACRON_GUARD.match(command)
    rest = command[guard.end() :] if guard else command
    is_whole = _ONLY_RUN_PARTS.fullmatch(rest) is not None and not (guard and _below(root, guard[1]).exists())
    return RunParts(folder=folder, scripts=tuple(scripts), ignored=tuple(ignored), is_whole=is_whole)


def _below(root: Path | None, path: str) -> Path:
    return root / path.lstrip("/") if root else Path(path)
