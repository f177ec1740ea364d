"""Logs that are written on other nodes, as they arrive here: appended where they end, compared when they are complete.

They lie where those of this machine lie, so that all who read logs need not know. Blocking; called off the loop by
`control.api.routes_passing`.
"""

import fcntl
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from homelab.core.times import moment
from homelab.worker import runlog

ARRIVES_WITHIN_S = 15.0
"""How long after the end of an attempt its log may still be on its way."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """`bytes`: the length of the copy. `is_whole`: it is complete and equal to what the node has."""

    bytes: int
    is_whole: bool = False


def append(path: Path, offset: int, piece: bytes) -> Held:
    """Add `piece`, when the copy ends at `offset`; otherwise nothing is changed. OSError: the disk refuses."""
    if not piece:
        return Held(bytes=_size(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _mark(path).touch()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size != offset:
            return Held(bytes=size)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        return Held(bytes=size + len(piece))
    finally:
        os.close(descriptor)


def put_tail(path: Path, newest: bytes) -> Held:
    """The newest output of a log that is over its limit, in place of what was there of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spill = runlog.spill_of(path)
    fresh = spill.with_suffix(".new")
    fresh.write_bytes(newest)
    fresh.replace(spill)
    return Held(bytes=_size(path))


def complete(path: Path, offset: int, sha256: str) -> Held:
    """The log ends at `offset`. A copy of that length that differs is removed, to be sent anew."""
    size = _size(path)
    if size != offset:
        return Held(bytes=size)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        found = hashlib.sha256(b"").hexdigest()
    if found != sha256:
        path.unlink(missing_ok=True)
        return Held(bytes=0)
    runlog.spill_of(path).unlink(missing_ok=True)
    _mark(path).unlink(missing_ok=True)
    return Held(bytes=size, is_whole=True)


def may_arrive(folder: Path, jobs: Sequence[Mapping[str, Any]], now: datetime) -> bool:
    """Whether a log of these jobs of an ended run may still be on its way: an attempt that printed something ended just
    now, and its log is not here, or not complete. `jobs` as `Control.run` gives them."""
    there = {(file.job, file.attempt) for file in runlog.files(folder) if not _mark(file.path).exists()}
    for job in jobs:
        for attempt in job.get("attempts") or ():
            ended = moment(attempt.get("ended"))
            is_fresh = ended is not None and (now - ended).total_seconds() < ARRIVES_WITHIN_S
            if attempt.get("output_bytes") and is_fresh and (job["job"], attempt["attempt"]) not in there:
                return True
    return False


def _mark(path: Path) -> Path:
    """There while a copy is not complete."""
    return path.with_name(path.name + ".copying")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
