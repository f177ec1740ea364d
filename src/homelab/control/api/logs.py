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
from itertools import islice
from pathlib import Path

import orjson

from homelab.worker import runlog

POLL_S = 0.1
"""How often a growing log is looked at; a line is on its way to the reader within this time."""
_ENDED_EVERY_S = 1.0
_BATCH = 2000
"""Records read of one file at a time: at most 32 MB, typically 200 KB."""
_RUN_ID = re.compile(r"[0-9a-fA-F-]{8,64}")
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_run_id(text: str) -> bool:
    """True for what may be the name of a run's folder."""
    return _RUN_ID.fullmatch(text) is not None


def is_job_name(text: str) -> bool:
    return _JOB.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Line:
    """One record of one job's attempt."""

    record: runlog.Record
    job: str
    attempt: int

    @property
    def stream(self) -> str:
        return self.record.stream

    @property
    def text(self) -> str:
        """The line, safe for any terminal or page (a page must still escape it)."""
        return runlog.text(self.record)


Write = Callable[[Line], bytes]


def files(folder: Path, task: str | None = None) -> list[runlog.LogFile]:
    """The logs of a run, by job and attempt. Empty when nothing ran yet, or not on this machine. Blocking."""
    return [file for file in runlog.files(folder) if task in (None, file.job)]


def jobs(folder: Path) -> set[str]:
    """The jobs of which there is a log. Blocking."""
    return {file.job for file in runlog.files(folder)}


def _time(line: Line) -> float:
    return line.record.time


def _lines(file: runlog.LogFile) -> Iterator[Line]:
    try:
        for record in runlog.read(file.path):
            yield Line(record, file.job, file.attempt)
    except OSError:  # swept away between listing and opening, or a disk that fails: the other logs are still of use
        return


def merged(folder: Path, task: str | None = None, *, tail: int | None = None) -> Iterator[Line]:
    """All lines of a run in the order of their times, or only the last `tail` of them. Blocking."""
    found = files(folder, task)
    if tail is None:
        return heapq.merge(*map(_lines, found), key=_time)
    last = [[Line(record, f.job, f.attempt) for record in runlog.tail(f.path, tail)] for f in found]
    return iter(deque(heapq.merge(*last, key=_time), maxlen=tail))


def raw(folder: Path, task: str | None = None) -> Iterator[bytes]:
    """What the job wrote, byte for byte as far as it was kept; the lab's own words left out. Blocking."""
    for line in merged(folder, task):
        if line.stream != "lab":
            yield line.record.line if line.record.partial else line.record.line + b"\n"


def written(lines: Iterable[Line], write: Write) -> Iterator[bytes]:
    for line in lines:
        yield write(line)


def ndjson(line: Line) -> bytes:
    """`{time, stream, line, job, attempt}`; `partial` is there, and true, when the line goes on in the next object."""
    body: dict[str, object] = {
        "time": datetime.fromtimestamp(line.record.time, UTC),
        "stream": line.stream,
        "line": line.record.line.decode("utf-8", "replace"),
        "job": line.job,
        "attempt": line.attempt,
    }
    if line.record.partial:
        body["partial"] = True
    return orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


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
        self._open = key if line.record.partial else None
        return (start + line.text + ("" if line.record.partial else "\n")).encode()


@dataclass
class _Follower:
    """All logs of one run that grows, new attempts included; `_offsets` is how far each was read."""

    folder: Path
    task: str | None
    tail: int | None
    _offsets: dict[Path, int] = field(default_factory=dict[Path, int])

    def read(self) -> list[Line]:
        """What was added since the last call, in order of time. Blocking."""
        if self.tail is not None:
            tail, self.tail = self.tail, None
            return self._last(tail)
        lines: list[Line] = []
        for file in files(self.folder, self.task):
            lines += self._fresh(file)
        return sorted(lines, key=_time)

    def _fresh(self, file: runlog.LogFile) -> Iterator[Line]:
        offset = self._offsets.get(file.path, 0)
        try:
            if file.path.stat().st_size == offset:
                return
            for record, after in islice(runlog.read_from(file.path, offset), _BATCH):
                self._offsets[file.path] = after
                yield Line(record, file.job, file.attempt)
        except OSError:  # gone, or not readable now: looked at again next time
            return

    def _last(self, count: int) -> list[Line]:
        """The last lines of what is there. Each log is read once to its end, keeping no more than asked for."""
        kept: list[deque[Line]] = []
        for file in files(self.folder, self.task):
            last: deque[Line] = deque(maxlen=count)
            while fresh := list(self._fresh(file)):
                last.extend(fresh)
            kept.append(last)
        return sorted((line for last in kept for line in last), key=_time)[-count:] if count else []


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
