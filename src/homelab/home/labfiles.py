"""Finding and reading the lab file and the files it includes. Nothing is written here, and nothing is judged:
`core.labfile.parse` does that with the texts. Called by `cli` and `control`.
"""

import os
from pathlib import Path
from typing import Final

from homelab.core.errors import InputError, NotFoundError
from homelab.core.labfile import includes
from homelab.home.paths import Home

LARGEST: Final = 4 * 1024 * 1024
"""Bytes read of one file: more is not a lab file, and might be a device without end."""
MOST_FILES: Final = 1000
_LAST: Final = "lab-file"


def find(explicit: str | os.PathLike[str] | None = None) -> Path:
    """The lab file: `explicit`, else HOMELAB_LAB, else ./lab.toml, else the one that `up` last used in this home.

    The path is absolute. NotFoundError says where was looked.
    """
    named = os.fspath(explicit) if explicit is not None else os.environ.get("HOMELAB_LAB")
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise NotFoundError(f"there is no lab file {path}", hint="Make one with: homelab init")
        return path
    here = Path.cwd() / "lab.toml"
    if here.is_file():
        return here
    if (found := last(Home.default())) is not None:
        return found
    raise NotFoundError(
        f"there is no lab.toml in {Path.cwd()}",
        hint="Make one with: homelab init, or name one with: homelab --lab FILE",
    )


def last(home: Home) -> Path | None:
    """The lab file that `up` last used in this home, if it is still there."""
    try:
        path = Path((home.root / _LAST).read_text().strip())
    except (OSError, ValueError):
        return None
    return path if path.is_file() else None


def remember(home: Home, path: Path) -> None:
    """Note the lab file that this home runs, so that later commands find it from any folder."""
    fresh = home.root / f".{_LAST}.{os.getpid()}"
    fresh.write_text(f"{path.absolute()}\n")
    fresh.replace(home.root / _LAST)


def read(path: Path) -> dict[str, str]:
    """The text of the lab file and of all it includes, by the path to show (`shown_path`). The lab file comes first,
    then the included files, by name within each pattern.

    InputError names a file that cannot be read or is not UTF-8. An include that matches nothing is left to `parse`.
    """
    main = shown_path(path)
    files = {main: _text(path)}
    for pattern in includes(files[main]):
        for found in _matches(path.parent, pattern):
            if found.resolve() == path.resolve():
                continue
            name = _shown_below(main, path.parent, pattern, found)
            if name not in files:
                files[name] = _text(found)
            if len(files) > MOST_FILES:
                raise InputError(
                    f"{main} includes more than {MOST_FILES} files", where=main, hint="Narrow the pattern in include."
                )
    return files


def _shown_below(main: str, folder: Path, pattern: str, found: Path) -> str:
    """The name of an included file, so that `parse` sees which pattern of `main` means it."""
    relative = found if Path(pattern).is_absolute() else Path(os.path.relpath(found, folder))
    return os.path.normpath(Path(main).parent / relative)


def shown_path(path: Path) -> str:
    """`path` relative to the current folder when it is below it, else absolute."""
    absolute = path.absolute()
    try:
        return str(absolute.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(absolute)


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Files that a pattern means, by name. `**` is not followed: one folder at a time, so that no disk is walked."""
    if "\x00" in pattern:
        return []
    if not any(c in pattern for c in "*?["):
        path = folder / pattern
        return [path] if path.is_file() else []
    import glob

    found = glob.glob(str(folder / pattern.replace("**", "*")))  # noqa: PTH207 - the pattern may be absolute
    return sorted(Path(p) for p in found if Path(p).is_file())


def _text(path: Path) -> str:
    shown = shown_path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(
            f"cannot read {shown}: {error.strerror}", where=shown, hint="Check its owner and mode."
        ) from error
    if len(raw) > LARGEST:
        raise InputError(
            f"{shown} is larger than 4 MiB", where=shown, hint="A lab file names programs; it does not hold data."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"this is not UTF-8 (byte {raw[error.start]:#04x})", where=f"{shown}:{line}", hint="Save the file as UTF-8."
        ) from error
