"""A log by the piece: some lines from any place of it, forwards or backwards, and where a text comes next.

However long a log is, a piece costs the same: places are bytes of the file, and a file is only read around them. Also
of a log that is still written. Blocking; called off the loop by `routes_logs`.
"""

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

from homelab.worker import runlog

MOST_LINES = 2000
MOST_BYTES = 1 << 20
LONGEST = 4000
"""Characters of one line that a page gets; the rest is in the download."""
_BLOCK = 256 * 1024
_SEARCH_S = 1.0
"""A search answers after this with how far it came, and goes on when asked again."""
_RECORD_HEAD = 2 * runlog.MAX_RECORD


@dataclass(frozen=True, slots=True)
class Placed:
    """A record, the byte it begins at and the one after it."""

    record: runlog.Record
    at: int
    next: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """Lines in order. `start` and `end` are the bytes they lie between; `size` is the length of the file then."""

    lines: tuple[Placed, ...]
    start: int
    end: int
    size: int


def window(path: Path, start: int, *, lines: int = 200, back: bool = False) -> Window:
    """At most `lines` records that begin at or after byte `start`, or (`back`) that end at or before it.

    A `start` inside a record means its end, or with `back` its beginning; beyond the file it means its end. At most
    about 1 MiB is given. OSError: there is no such log.
    """
    size = path.stat().st_size
    start, lines = min(start, size), max(1, min(lines, MOST_LINES))
    if back:
        return _before(path, start, lines, size)
    start = _boundary(path, start)
    found: list[Placed] = []
    at = start
    for record, after in islice(runlog.read_from(path, start), lines):
        found.append(Placed(record, at, after))
        at = after
        if after - start > MOST_BYTES:
            break
    return Window(lines=tuple(found), start=start, end=at, size=size)


def _boundary(path: Path, place: int) -> int:
    """`place` when a record begins there, else the beginning of the next one."""
    if place <= 0:
        return 0
    with path.open("rb") as file:
        file.seek(place - 1)
        head = file.read(_RECORD_HEAD)
    newline = head.find(b"\n")
    return place + newline if newline >= 0 else place + len(head) - 1


def _before(path: Path, end: int, lines: int, size: int) -> Window:
    data, start = b"", end
    with path.open("rb") as file:
        while start > 0 and data.count(b"\n") <= lines and len(data) < MOST_BYTES:
            step = min(start, _BLOCK)
            start -= step
            file.seek(start)
            data = file.read(step) + data
    if start > 0:
        cut = data.find(b"\n") + 1
        data, start = data[cut:], start + cut
    whole = data.rfind(b"\n") + 1
    records: list[Placed] = []
    at = start
    for line in data[:whole].split(b"\n")[:-1]:
        record = runlog.parse(line)
        if record is not None:
            records.append(Placed(record, at, at + len(line) + 1))
        at += len(line) + 1
    kept = records[-lines:]
    return Window(lines=tuple(kept), start=kept[0].at if kept else at, end=at, size=size)


@dataclass(frozen=True, kw_only=True)
class Found:
    """`at`: where the record that holds the text begins, None when none was found up to `scanned`. `is_over`: there is
    no more to search."""

    at: int | None
    scanned: int
    is_over: bool


def find(path: Path, text: str, start: int, *, back: bool = False, seconds: float = _SEARCH_S) -> Found:
    """The next record at or after byte `start` (with `back`: the nearest before it) that holds `text`, case aside."""
    wanted = re.compile(re.escape(text.encode("utf-8", "surrogateescape")), re.IGNORECASE)
    size = path.stat().st_size
    deadline = monotonic() + seconds
    overlap = runlog.MAX_RECORD + 64
    place = min(start, size)
    with path.open("rb") as file:
        while (place > 0) if back else (place < size):
            low = max(0, place - _BLOCK * 16) if back else place
            high = place if back else min(size, place + _BLOCK * 16)
            file.seek(max(0, low - overlap))
            data = file.read(high - max(0, low - overlap))
            at = _in_block(wanted, data, max(0, low - overlap), start, back=back)
            if at is not None:
                return Found(at=at, scanned=at, is_over=False)
            place = low if back else high
            if monotonic() > deadline:
                return Found(at=None, scanned=place, is_over=False)
    return Found(at=None, scanned=place, is_over=True)


def _in_block(wanted: re.Pattern[bytes], data: bytes, base: int, start: int, *, back: bool) -> int | None:
    """The place of the matching record in a block, on the right side of `start`."""
    best: int | None = None
    for match in wanted.finditer(data):
        line = data.rfind(b"\n", 0, match.start()) + 1
        if line == 0 and base > 0:
            continue  # the record began before this block; the block before overlaps and has it whole
        if len(data[line : match.start()].split(b" ", 2)) < 3:
            continue  # it is in the time or the stream of the record, not in its text
        at = base + line
        if back and at < start:
            best = at
        elif not back and at >= start:
            return at
    return best
