"""The files of other schedulers on this machine, or of another one below `root`: found and read, never run or written.

What they mean is decided by `core.timers`. Called by `cli`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from homelab.core.errors import InputError
from homelab.core.timers import UnitText
from homelab.home.scripts import LeavesRoot, resolved

LARGEST_BYTES = 1024 * 1024
"""No unit and no property list is larger."""
_MOST_FILES = 5000
_UNITS = (".timer", ".service")
# In the order of their precedence: the first that has a name decides (systemd.unit(5)).
_SYSTEM_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system")
_VENDOR_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")
_USER_FOLDERS = ("/etc/systemd/user", "/run/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user")
_HOME_FOLDERS = (".config/systemd/user", ".local/share/systemd/user")
ANACRONTAB = "/etc/anacrontab"


@dataclass(frozen=True, kw_only=True)
class Plist:
    """One property list as it lies there. `owner`: of the home folder it is in, empty elsewhere."""

    file: str
    data: bytes
    is_daemon: bool
    owner: str = ""


# --- systemd ----------------------------------------------------------------------------------------------------------


def units(source: str, *, home: str, root: Path | None) -> list[UnitText]:
    """Timers of a file, a folder, or (empty) of the machine and of the user with that home; with all services there.

    Folders of the same manager are searched for the services too. InputError when the source cannot be read.
    """
    if not source:
        system = _units_in(_existing([*_SYSTEM_FOLDERS, *_VENDOR_FOLDERS], root), root, is_user=False)
        user = _units_in(
            _existing([*(f"{home}/{name}" for name in _HOME_FOLDERS), *_USER_FOLDERS], root), root, is_user=True
        )
        return [*system, *user]
    path = Path(source)
    if not path.exists():
        raise InputError("there is no such file or folder", where=source)
    folder = (path if path.is_dir() else path.parent).absolute()
    is_user = folder.parts[-2:] == ("systemd", "user")
    found = _units_in([folder, *_companions(folder, home, root)], root, is_user=is_user)
    if path.is_dir():
        names = {entry.name for entry in _entries(folder)}
        return [unit for unit in found if not unit.name.endswith(".timer") or unit.name in names]
    if path.suffix != ".timer":
        raise InputError("this is no timer", where=source, hint="Name a file that ends in .timer, or its folder.")
    return [unit for unit in found if not unit.name.endswith(".timer") or unit.name == path.name]


def _companions(folder: Path, home: str, root: Path | None) -> list[Path]:
    """The other folders of the manager that this folder belongs to; none for a folder of one's own."""
    for names in (
        (*_SYSTEM_FOLDERS, *_VENDOR_FOLDERS),
        (*(f"{home}/{name}" for name in _HOME_FOLDERS), *_USER_FOLDERS),
    ):
        places = _existing(names, root)
        if any(place.resolve() == folder.resolve() for place in places):
            return [place for place in places if place.resolve() != folder.resolve()]
    return []


def _existing(names: Iterable[str], root: Path | None) -> list[Path]:
    places: list[Path] = []
    for name in names:
        place = _below(root, name)
        if place.is_dir() and place.resolve() not in [known.resolve() for known in places]:
            places.append(place)
    return places


def _units_in(folders: Sequence[Path], root: Path | None, *, is_user: bool) -> list[UnitText]:
    """All timers and services of those folders, the first folder that has a name wins, with their drop-ins."""
    files: dict[str, Path] = {}
    drop_ins: dict[str, dict[str, Path]] = {}
    enabled: set[str] = set()
    has_wants = False
    for folder in folders:
        for entry in _entries(folder):
            if entry.name.endswith((".wants", ".requires")) and entry.is_dir():
                has_wants = True
                enabled |= {link.name for link in _entries(entry)}
            elif entry.name.endswith(".d") and entry.is_dir():
                for piece in _entries(entry):
                    if piece.suffix == ".conf":
                        drop_ins.setdefault(entry.name[:-2], {}).setdefault(piece.name, piece)
            elif entry.suffix in _UNITS:
                files.setdefault(entry.name, entry)
    if len(files) > _MOST_FILES:
        raise InputError(f"more than {_MOST_FILES} units", where=str(folders[0]))
    # Instances of templates exist as links only; their services share the instance.
    for name in sorted(enabled):
        if name.endswith(".timer") and name not in files and (template := files.get(_template(name))):
            files[name] = template
    for name in [name for name in files if name.endswith(".timer") and _instance(name)]:
        service = name.removesuffix(".timer") + ".service"
        if service not in files and (template := files.get(_template(service))):
            files[service] = template
    return [
        UnitText(
            name=name,
            texts=tuple((str(one), _text(one, root)) for one in (path, *_drop_ins_of(name, drop_ins))),
            is_enabled=name in enabled if has_wants and name.endswith(".timer") else None,
            is_user=is_user,
        )
        for name, path in sorted(files.items())
    ]


def _instance(name: str) -> str:
    return name.rpartition(".")[0].partition("@")[2]


def _template(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    return f"{stem.partition('@')[0]}@.{kind}"


def _drop_ins_of(name: str, known: dict[str, dict[str, Path]]) -> list[Path]:
    """By file name, whatever folder they are in; those of one unit win over those of its template and of its type."""
    pieces: dict[str, Path] = {}
    for owner in (name.rpartition(".")[2], _template(name) if _instance(name) else "", name):
        pieces |= known.get(owner, {})
    return [pieces[piece] for piece in sorted(pieces)]


# --- launchd ----------------------------------------------------------------------------------------------------------


def plists(source: str, *, home: str, root: Path | None) -> list[Plist]:
    """Property lists of a file, a folder, or (empty) where the machine and the user with that home keep their own."""
    if source:
        path = Path(source)
        if not path.exists():
            raise InputError("there is no such file or folder", where=source)
        places = [path] if path.is_file() else [entry for entry in _entries(path) if entry.suffix == ".plist"]
    else:
        names = (f"{home}/Library/LaunchAgents", "/Library/LaunchAgents", "/Library/LaunchDaemons")
        places = [entry for folder in _existing(names, root) for entry in _entries(folder) if entry.suffix == ".plist"]
    return [
        Plist(
            file=str(path),
            data=_bytes(path, root),
            is_daemon=path.absolute().parent.name == "LaunchDaemons",
            owner=_owner(path),
        )
        for path in places
    ]


def _owner(path: Path) -> str:
    parts = path.absolute().parts
    at = parts.index("Users") if "Users" in parts else len(parts)
    return parts[at + 1] if len(parts) > at + 2 and "LaunchAgents" in parts else ""


# --- files ------------------------------------------------------------------------------------------------------------


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder: {error.strerror}", where=str(folder)) from error


def _bytes(path: Path, root: Path | None) -> bytes:
    """The content; empty for what is no plain file (a masked unit links to /dev/null), is gone, or leaves `root`."""
    try:
        real = _followed(path, root)
        if real is None or not real.is_file():
            return b""
        with real.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", where=str(path)) from error


def _followed(path: Path, root: Path | None) -> Path | None:
    """Where its links lead on the machine it is of: below `root` an absolute link begins there."""
    if root is None or not path.absolute().is_relative_to(root.absolute()):
        return path
    try:
        real = resolved(str(root.resolve()), "/" + str(path.absolute().relative_to(root.absolute())))
    except LeavesRoot:
        return None
    return Path(real) if real else None


def _text(path: Path, root: Path | None) -> str:
    """The text of a unit; empty for what is none: far too large, or with NUL bytes."""
    data = _bytes(path, root)
    return "" if len(data) > LARGEST_BYTES or b"\0" in data else data.decode("utf-8", "surrogateescape")


def _below(root: Path | None, path: str) -> Path:
    return root / path.lstrip("/") if root else Path(path)
