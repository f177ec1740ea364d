"""The output of a run, read from its folder: merged over jobs by time, from the start or the end, finished or growing.

Reads only; the files and their format are `worker.runlog`'s. Blocking functions say so and are called off the loop.
Memory does not grow with the size of a log: files are read in pieces and merged lazily.
"""

import asyncio
import heapq
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from homelab.control.api.answers import dump

POLL_S = 0.1
"""How often a growing log is looked at; a line is on its way to the reader within this time."""
_ENDED_EVERY_S = 1.0
_PIECE = 256 * 1024
_LONGEST = 1024 * 1024
"""Records are far shorter; a line beyond this is shown in pieces rather than kept."""
_STREAMS = {"o": "out", "e": "err", "l": "lab"}
_RUN_ID = re.compile(r"[0-9a-fA-F-]{8,64}")
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_run_id(text: str) -> bool:
    """True for what may be the name of a run's folder."""
    return _RUN_ID.fullmatch(text) is not None


def is_job_name(text: str) -> bool:
    return _JOB.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One record of a log. `partial`: the line goes on in the next record of the same job and stream."""

    time: float
    stream: str
    line: bytes
    partial: bool
    job: str
    attempt: int


Write = Callable[[Line], bytes]


@dataclass(frozen=True, kw_only=True)
class LogFile:
    path: Path
    job: str
    attempt: int


def files(folder: Path, task: str | None = None) -> list[LogFile]:
    """The log files of a run, by job and attempt. Empty when nothing ran yet, or not on this machine. Blocking."""
    found: list[LogFile] = []
    for path in folder.glob("*.log"):
        job, _, attempt = path.name.removesuffix(".log").rpartition(".")
        if job and attempt.isdecimal() and task in (None, job):
            found.append(LogFile(path=path, job=job, attempt=int(attempt)))
    return sorted(found, key=lambda f: (f.job, f.attempt))


def jobs(folder: Path) -> set[str]:
    return {file.job for file in files(folder)}


def parse(record: bytes, *, job: str, attempt: int) -> Line | None:
    """One record without its line end; None for what is no record (a torn write after a crash)."""
    stamp, _, rest = record.partition(b" ")
    letter, _, line = rest.partition(b" ")
    mark = letter.decode("ascii", "replace")
    if mark.lower() not in _STREAMS:
        return None
    try:
        time = float(stamp)
    except ValueError:
        return None
    return Line(time=time, stream=_STREAMS[mark.lower()], line=line, partial=mark.isupper(), job=job, attempt=attempt)


def _records(opened: BinaryIO, file: LogFile) -> Iterator[Line]:
    while record := opened.readline(_LONGEST):
        line = parse(record.removesuffix(b"\n"), job=file.job, attempt=file.attempt)
        if line is not None:
            yield line


def _lines(file: LogFile, last: int | None) -> Iterator[Line]:
    try:
        with file.path.open("rb") as opened:
            if last is not None:
                opened.seek(_start_of_last(opened, last))
            yield from _records(opened, file)
    except FileNotFoundError:  # swept away between listing and opening
        return


def _start_of_last(opened: BinaryIO, count: int) -> int:
    """The offset at which the last `count` records start, reading backwards from the end."""
    end = opened.seek(0, 2)
    position, wanted = end, count + 1  # the file ends with a line end, which starts no record
    while position > 0:
        size = min(65536, position)
        opened.seek(position - size)
        piece = opened.read(size)
        here = piece.count(b"\n")
        if here >= wanted:
            at = len(piece)
            for _ in range(wanted):
                at = piece.rindex(b"\n", 0, at)
            return position - size + at + 1
        wanted -= here
        position -= size
    return 0


def merged(folder: Path, task: str | None = None, *, tail: int | None = None) -> Iterator[Line]:
    """All lines of a run in the order of their times, or only the last `tail` of them. Blocking."""
    streams = [_lines(file, tail) for file in files(folder, task)]
    ordered = heapq.merge(*streams, key=lambda line: line.time)
    return iter(deque(ordered, maxlen=tail)) if tail is not None else ordered


def raw(folder: Path, task: str | None = None) -> Iterator[bytes]:
    """What the job wrote, byte for byte as far as it was kept; the lab's own words left out. Blocking."""
    for line in merged(folder, task):
        if line.stream != "lab":
            yield line.line if line.partial else line.line + b"\n"


def written(lines: Iterable[Line], write: Write) -> Iterator[bytes]:
    for line in lines:
        yield write(line)


def ndjson(line: Line) -> bytes:
    """`{time, stream, line, job, attempt}`; `partial` is there, and true, when the line goes on in the next object."""
    body: dict[str, object] = {
        "time": datetime.fromtimestamp(line.time, UTC),
        "stream": line.stream,
        "line": line.line.decode("utf-8", "replace"),
        "job": line.job,
        "attempt": line.attempt,
    }
    if line.partial:
        body["partial"] = True
    return dump(body) + b"\n"


_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def safe(line: bytes) -> str:
    """A line that any terminal or page can show: undecodable bytes replaced, control and bidi characters spelt out."""
    text = line.decode("utf-8", "replace").removesuffix("\r")
    return _UNSAFE.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


@dataclass
class PlainText:
    """Writes lines as safe text; pieces of one long line are joined unless another line came between."""

    prefix: bool = False
    _open: tuple[str, str] | None = field(default=None, init=False)

    def __call__(self, line: Line) -> bytes:
        key = (line.job, line.stream)
        start = ""
        if self._open != key:
            start = "\n" if self._open else ""
            start += f"{line.job}: " if self.prefix else ""
        self._open = key if line.partial else None
        return (start + safe(line.line) + ("" if line.partial else "\n")).encode()


@dataclass
class _Growing:
    """Where reading of one growing file stands; `rest` is the start of a record that is not yet complete."""

    file: LogFile
    offset: int = 0
    rest: bytes = b""

    def read(self) -> list[Line]:
        try:
            with self.file.path.open("rb") as opened:
                opened.seek(self.offset)
                fresh = opened.read(_PIECE)
        except FileNotFoundError:
            return []
        self.offset += len(fresh)
        records = (self.rest + fresh).split(b"\n")
        self.rest = records.pop()
        parsed = (parse(r, job=self.file.job, attempt=self.file.attempt) for r in records)
        return [line for line in parsed if line is not None]


@dataclass
class _Follower:
    """All files of one run that grows, new attempts included."""

    folder: Path
    task: str | None
    tail: int | None
    _growing: dict[Path, _Growing] = field(default_factory=dict[Path, _Growing])
    _started: bool = False

    def read(self) -> list[Line]:
        """What was added since the last call, in order of time. Blocking."""
        if not self._started:
            self._started = True
            if self.tail is not None:
                return self._last(self.tail)
        for file in files(self.folder, self.task):
            if file.path not in self._growing:
                self._growing[file.path] = _Growing(file=file)
        lines = [line for growing in self._growing.values() for line in growing.read()]
        return sorted(lines, key=lambda line: line.time)

    def _last(self, count: int) -> list[Line]:
        lines: list[Line] = []
        for file in files(self.folder, self.task):
            growing = self._growing[file.path] = _Growing(file=file)
            with file.path.open("rb") as opened:
                growing.offset = _start_of_last(opened, count)
            while fresh := growing.read():
                lines = [*lines, *fresh][-100_000:]
        return sorted(lines, key=lambda line: line.time)[-count:] if count else []


async def follow(
    folder: Path,
    task: str | None,
    *,
    tail: int | None,
    has_ended: Callable[[], Awaitable[bool]],
) -> AsyncIterator[list[Line]]:
    """Batches of lines as they are written, each within `POLL_S`, until the run has ended and all of it was read."""
    loop = asyncio.get_running_loop()
    follower = _Follower(folder, task, tail)
    ended, asked = False, -_ENDED_EVERY_S
    while True:
        if lines := await asyncio.to_thread(follower.read):
            yield lines
            continue
        if ended:
            return
        if loop.time() - asked >= _ENDED_EVERY_S:
            asked = loop.time()
            ended = await has_ended()
        if not ended:
            await asyncio.sleep(POLL_S)
