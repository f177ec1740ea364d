"""What was taken out of which crontab: for each adoption one dated folder with all that is needed to go back.

    HOMELAB_HOME/backups/crontab/2026-11-24T23-41-07Z-crontab-of-ada/
        original        the bytes before       adopted      the bytes after
        restore.sh      puts `original` back, without Python and without the lab
        adoption.json   what was done, and how far: `AdoptionState`

Files are written whole and synchronised; the folder is for its owner alone. Called by `cli.handover` and `cli.status`.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from homelab.core.errors import RefusedError
from homelab.home.livecron import CronFile, Target, UserCrontab, user_crontab
from homelab.home.paths import Home

AdoptionState = Literal["planned", "installing", "adopted", "releasing", "released", "undone"]
"""planned: nothing is changed yet. installing: the crontab may be changed, the lab may not know. adopted: the lab has
the jobs. releasing: the lab may have let go, the crontab may not be back. released: they are cron's again. undone: it
was given up and taken back."""


@dataclass(frozen=True, kw_only=True)
class AdoptedLine:
    """A line as it was, and the jobs of the lab it became."""

    line: int
    text: bytes
    jobs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """One adoption. `at`: when it was planned; `since`: the moment of the switch. `lab_before`: the texts of the lab
    files that it changed, by path."""

    folder: Path
    target: Target
    state: AdoptionState
    at: datetime
    lines: tuple[AdoptedLine, ...]
    lab: str
    since: datetime | None = None
    lab_before: Mapping[str, str] = field(default_factory=dict[str, str])
    lab_after: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def original(self) -> bytes:
        return (self.folder / "original").read_bytes()

    @property
    def adopted(self) -> bytes:
        return (self.folder / "adopted").read_bytes()

    @property
    def restore(self) -> Path:
        return self.folder / "restore.sh"

    @property
    def texts(self) -> tuple[bytes, ...]:
        return tuple(line.text for line in self.lines)

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(job for line in self.lines for job in line.jobs)


def folder_of(home: Home) -> Path:
    return home.root / "backups" / "crontab"


@contextlib.contextmanager
def locked(home: Home) -> Generator[None]:
    """One adoption or release at a time in this home. RefusedError when another is at work."""
    folder = folder_of(home)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError("another adopt or release is at work", hint="Wait for it, then try again.") from error
        yield
    finally:
        os.close(descriptor)


def begin(home: Home, adoption: Adoption, original: bytes, adopted: bytes) -> Adoption:
    """Write the backup, the script and the journal; the adoption with its folder. Nothing else is touched."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", adoption.target.label).strip("-.")[:80]
    folder = folder_of(home) / f"{adoption.at:%Y-%m-%dT%H-%M-%SZ}-{slug}"
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{folder.name}-{number}")
    folder.mkdir(mode=0o700, parents=True)
    placed = replace(adoption, folder=folder)
    _write(folder / "original", original)
    _write(folder / "adopted", adopted)
    _write(folder / "restore.sh", restore_script(adoption.target).encode(), mode=0o700)
    return save(placed)


def save(adoption: Adoption) -> Adoption:
    """Note how far it is. What was noted is on the disk when this returns."""
    body = {
        "target": _target_json(adoption.target),
        "state": adoption.state,
        "at": adoption.at.isoformat(),
        "since": None if adoption.since is None else adoption.since.isoformat(),
        "lab": adoption.lab,
        "lines": [
            {"line": line.line, "text": line.text.decode("utf-8", "surrogateescape"), "jobs": list(line.jobs)}
            for line in adoption.lines
        ],
        "lab_before": dict(adoption.lab_before),
        "lab_after": dict(adoption.lab_after),
    }
    _write(adoption.folder / "adoption.json", json.dumps(body, indent=1).encode())
    return adoption


def load(home: Home) -> list[Adoption]:
    """All adoptions of this home, the oldest first. RefusedError names a journal that cannot be read."""
    found: list[Adoption] = []
    for path in sorted(folder_of(home).glob("*/adoption.json")):
        try:
            found.append(_from_json(path.parent, json.loads(path.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = f"Go back by hand with: sh {shlex.quote(str(path.parent / 'restore.sh'))}"
            raise RefusedError("the journal of this adoption cannot be read", where=str(path), hint=hint) from error
    return sorted(found, key=lambda adoption: adoption.at)


def active(home: Home) -> list[Adoption]:
    """Those whose jobs the lab has now, or may have."""
    return [adoption for adoption in load(home) if adoption.state in ("installing", "adopted", "releasing")]


def interrupted(home: Home) -> list[Adoption]:
    """Those that ended before they knew how: killed, or the machine stopped."""
    return [adoption for adoption in load(home) if adoption.state in ("planned", "installing", "releasing")]


def is_busy(home: Home) -> bool:
    """Whether an adopt or release of this home is at work now."""
    try:
        with locked(home):
            return False
    except RefusedError:
        return True


def hand_back(home: Home, jobs: Sequence[str]) -> None:
    """Note that cron has these jobs again. A `control` that starts believes this more than the lab it had applied:
    it may have been down when they were released."""
    _write(_handed_back(home), json.dumps(list(jobs)).encode())


def handed_back(home: Home) -> frozenset[str]:
    """Jobs that cron has again, as long as no lab file was applied that says so."""
    try:
        return frozenset(json.loads(_handed_back(home).read_bytes()))
    except (OSError, ValueError, TypeError):
        return frozenset()


def forget_handed_back(home: Home) -> None:
    _handed_back(home).unlink(missing_ok=True)


def _handed_back(home: Home) -> Path:
    return home.root / "handed-back.json"


def _from_json(folder: Path, body: Any) -> Adoption:
    return Adoption(
        folder=folder,
        target=_target(body["target"]),
        state=body["state"],
        at=datetime.fromisoformat(body["at"]),
        since=None if body["since"] is None else datetime.fromisoformat(body["since"]),
        lab=body["lab"],
        lines=tuple(
            AdoptedLine(
                line=line["line"], text=line["text"].encode("utf-8", "surrogateescape"), jobs=tuple(line["jobs"])
            )
            for line in body["lines"]
        ),
        lab_before=body["lab_before"],
        lab_after=body["lab_after"],
    )


def _target_json(target: Target) -> dict[str, str]:
    return {"user": target.user} if isinstance(target, UserCrontab) else {"file": str(target.path)}


def _target(body: Mapping[str, str]) -> Target:
    if "file" in body:
        return CronFile(path=Path(body["file"]))
    me = user_crontab()
    return me if body["user"] == me.user else UserCrontab(user=body["user"], is_own=False)


def _write(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# --- the way back without the lab -------------------------------------------------------------------------------------


def restore_script(target: Target) -> str:
    """A plain POSIX shell script that puts `original` back from the folder it lies in."""
    if isinstance(target, UserCrontab):
        whose = "" if target.is_own else f" -u {shlex.quote(target.user)}"
        read = f"CRONTAB_NOHEADER=N crontab{whose} -l | LC_ALL=C sed '{_SED}'"
        write = _WRITE_USER.replace("@WHOSE@", whose)
    else:
        path = shlex.quote(str(target.path))
        read = f"cat {path}"
        write = _WRITE_FILE.replace("@PATH@", path)
    told: Sequence[tuple[str, str]] = (("@LABEL@", target.label), ("@READ@", read), ("@WRITE@", write))
    text = _SCRIPT
    for name, value in told:
        text = text.replace(name, shlex.quote(value) if name == "@LABEL@" else value)
    return text


_SED = (
    r"1{/^# DO NOT EDIT THIS FILE - edit the master and reinstall\.$/d;};"
    r"2{/^# (.* installed on .*)$/d;};3{/^# (Cron version .*)$/d;}"
)
_WRITE_USER = """# From within the folder: Debian's crontab cuts a path at 100 characters.
cd "$here"
crontab@WHOSE@ original"""
_WRITE_FILE = """# A new file in the same folder, renamed: cron sees the old one or the new. cp -p keeps mode and owner.
fresh=$(dirname @PATH@)/.homelab-restore.$$
cp -p @PATH@ "$fresh"
cat "$here/original" > "$fresh"
mv -f "$fresh" @PATH@"""
_SCRIPT = """#!/bin/sh
# Puts a crontab back as it was before `homelab cron adopt`. It needs neither Python nor the lab, only the file
# `original` beside it. What was edited since is not overwritten unless you say --force.
set -eu
label=@LABEL@
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
now=$(mktemp)
trap 'rm -f "$now"' EXIT
{ @READ@; } > "$now"
if cmp -s "$now" "$here/original"; then
    echo "$label is as it was before already" >&2
    exit 0
fi
if ! cmp -s "$now" "$here/adopted" && [ "${1:-}" != --force ]; then
    echo "refused: $label was changed since it was adopted. What would be lost:" >&2
    diff "$here/adopted" "$now" >&2 || true
    echo "To put the old one back all the same: sh $0 --force" >&2
    exit 5
fi
@WRITE@
echo "$label is as it was before. If the lab runs, it has the jobs, too: homelab cron release, or homelab down" >&2
"""
