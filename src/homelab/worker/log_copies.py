"""Control's copies of the logs that are written on this node, byte for byte, so that every view there shows them.

Only in the home of a node; on control's own machine the logs are where control reads them, and nothing here does
anything. The files are the truth and stay: while control is away nothing waits in memory, and afterwards each log goes
on from where control has it. A log that is not wholly there has a mark in `runs/copying`, so that the next worker goes
on, too. At its end control compares it by its hash; a copy that differs (a disk that was full had lines taken back) is
made anew. Called by `worker.loop`, which owns the one task of `serve`.
"""

import asyncio
import hashlib
import os
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from homelab.home.paths import Home
from homelab.worker import runlog
from homelab.worker.control_link import ControlRefused, ControlUnavailable

log = structlog.get_logger()

INTERVAL_S = 1.0
PIECE_BYTES = 512 * 1024
_PIECES = 8
"""Sent of one log before the others have their turn."""
_OUTAGE_MAX_S = 10.0
_REFUSED_S = 600.0
"""A log that control does not take for so long after its end is given up: the run is not this node's any more."""


class Link(Protocol):
    """`worker.control_link.ControlLink`."""

    async def call(self, method: str, path: str, body: Any = None, *, content: bytes | None = None) -> Any: ...


@dataclass
class _Copy:
    """One log on its way. `offset`: the bytes that control has, None until it said so. `spill`: what tells apart the
    versions of its `.tail`, of the one that control has."""

    path: Path
    run: str
    offset: int | None = None
    spill: tuple[int, int] | None = None
    is_ended: bool = False
    refused_at: float | None = None

    @property
    def address(self) -> str:
        return f"/api/v1/worker/logs/{self.run}/{quote(self.path.name.removesuffix('.log'))}"


class LogCopies:
    """All logs of this node that control does not have wholly yet."""

    def __init__(self, home: Home, link: Link, *, interval_s: float = INTERVAL_S) -> None:
        self._home = home
        self._link = link
        self._interval_s = interval_s
        self._is_on = home.is_node()
        self._open: dict[Path, _Copy] = {}
        self._news = asyncio.Event()
        self._is_away = False

    @property
    def unsent(self) -> int:
        """Logs that are written and could be there within a moment; none while control is away."""
        return 0 if self._is_away else sum(copy.is_ended for copy in self._open.values())

    def follow(self, path: Path) -> None:
        """Begin to copy the log of an attempt, which may not exist yet, or go on: `.../RUN/JOB.ATTEMPT.log`."""
        if not self._is_on:
            return
        if copy := self._open.get(path):
            copy.is_ended = False
            return
        with suppress(OSError):
            mark = _mark(self._home, path)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        self._open[path] = _Copy(path=path, run=path.parent.name)
        self._news.set()

    def end(self, path: Path) -> None:
        """The file is complete: what is left of it is sent at once."""
        if copy := self._open.get(path):
            copy.is_ended = True
            self._news.set()

    def recovered(self, run: str, *, but: Container[Path] = ()) -> None:
        """What an earlier worker left of this run's logs has been completed, `but` those."""
        for copy in self._open.values():
            if copy.run == run and copy.path not in but:
                copy.is_ended = True
        self._news.set()

    async def serve(self) -> None:
        """Copy until cancelled."""
        if not self._is_on:
            return
        self._take_up()
        pause_s = self._interval_s
        while True:
            if self._open:
                try:
                    await self._send_all()
                    self._is_away, pause_s = False, self._interval_s
                except ControlUnavailable as error:
                    if not self._is_away:
                        log.warning("logs.wait", logs=len(self._open), error=str(error))
                    self._is_away, pause_s = True, min(pause_s * 2, _OUTAGE_MAX_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s if self._open else None):
                    await self._news.wait()
            self._news.clear()
            if self._is_away:
                await asyncio.sleep(min(pause_s, self._interval_s))

    def _take_up(self) -> None:
        """Logs that an earlier worker did not get across. Those of runs that are still open end by `recovered`."""
        running = {path.name for path in _children(self._home.runs / "open")}
        for mark in _children(self._home.runs / "copying"):
            run, _, name = mark.name.partition(".")
            path = self._home.run_folder(run) / name
            self._open.setdefault(path, _Copy(path=path, run=run, is_ended=run not in running))

    async def _send_all(self) -> None:
        now = asyncio.get_running_loop().time()
        for copy in list(self._open.values()):
            try:
                if await self._send(copy):
                    self._close(copy)
                copy.refused_at = None
            except ControlRefused as error:
                copy.refused_at = copy.refused_at or now
                if copy.is_ended and now - copy.refused_at > _REFUSED_S:
                    log.warning("log.not_copied", run_id=copy.run, log=copy.path.name, error=str(error))
                    self._close(copy)

    async def _send(self, copy: _Copy) -> bool:
        """What is new of one log; whether control has all of it now, and it is complete."""
        was_ended = copy.is_ended  # before the file is read: what is written after its end does not exist
        if copy.offset is None:
            copy.offset = await self._put(copy, 0, b"")
        for _ in range(_PIECES):
            piece = await asyncio.to_thread(_read, copy.path, copy.offset)
            if not piece:
                break
            copy.offset = await self._put(copy, copy.offset, piece)
        else:
            self._news.set()
            return False
        if was_ended:
            return await self._compare(copy)
        await self._put_spill(copy)
        return False

    async def _put(self, copy: _Copy, offset: int, piece: bytes) -> int:
        answer = await self._link.call("PUT", f"{copy.address}?offset={offset}", content=piece)
        return int(answer["bytes"])

    async def _put_spill(self, copy: _Copy) -> None:
        spill = runlog.spill_of(copy.path)
        try:
            seen = spill.stat()
            version = (seen.st_mtime_ns, seen.st_size)
            if version == copy.spill:
                return
            newest = await asyncio.to_thread(spill.read_bytes)
        except OSError:
            return
        await self._link.call("PUT", f"{copy.address}?tail=1", content=newest)
        copy.spill = version

    async def _compare(self, copy: _Copy) -> bool:
        digest = await asyncio.to_thread(_digest, copy.path)
        answer: Mapping[str, Any] = await self._link.call(
            "PUT", f"{copy.address}?offset={copy.offset}&sha256={digest}", content=b""
        )
        copy.offset = int(answer["bytes"])
        if not answer["is_whole"]:
            self._news.set()
        return bool(answer["is_whole"])

    def _close(self, copy: _Copy) -> None:
        self._open.pop(copy.path, None)
        with suppress(OSError):
            _mark(self._home, copy.path).unlink(missing_ok=True)


def waiting(home: Home) -> set[str]:
    """The runs of which a log is not wholly copied: their folders must stay."""
    return {mark.name.partition(".")[0] for mark in _children(home.runs / "copying")}


def _mark(home: Home, path: Path) -> Path:
    return home.runs / "copying" / f"{path.parent.name}.{path.name}"


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read(path: Path, offset: int) -> bytes:
    """The next whole records from there; b"" when there are none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        piece = os.pread(descriptor, PIECE_BYTES, offset)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return piece[: piece.rfind(b"\n") + 1]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return hashlib.sha256(b"").hexdigest()
