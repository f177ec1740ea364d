"""The output of one attempt on disk: written as it comes, bounded, readable while it is written.

One record a line, `SECONDS.MICROS S BYTES\\n` (see ARCHITECTURE, "A run on disk"). The head, up to the limit, is on
disk at once, so that a follower sees a line as soon as the job has printed it. Past the limit the last part is kept
in memory, copied to `PATH.tail` every other second, and put after the head at the end, behind a record of the lab
that says how much was left out. A disk that is full or read-only never harms the job: output is dropped, counted, and
the hole is marked as soon as something can be written again. `Writer` is used by the launcher, the readers by every
command and page.
"""

import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from homelab.worker.redaction import Redactor

Stream = Literal["out", "err", "lab"]
Json = dict[str, Any]

MAX_RECORD = 16 * 1024
"""Bytes of one record; a longer line goes on in the next one, so that no reader needs much memory."""
LIMIT_BYTES = 10 * 1024 * 1024
TAIL_BYTES = 1024 * 1024
RETRY_S = 1.0
"""How often a disk that refused is tried again."""
SPILL_S = 2.0
_ENTRY_BYTES = 200
_BLOCK = 256 * 1024
_LETTERS: dict[str, Stream] = {"o": "out", "e": "err", "l": "lab"}


@dataclass(frozen=True, slots=True)
class Record:
    """`time`: Unix seconds. `partial`: the line goes on in the next record of the same stream (or ended without
    \\n)."""

    time: float
    stream: Stream
    line: bytes
    partial: bool


@dataclass(frozen=True, kw_only=True)
class LogFile:
    job: str
    attempt: int
    path: Path


# -- writing --------------------------------------------------------------------------------------------------------


class Writer:
    """The one writer of a log. Nothing here raises on behalf of the disk; call `close` once at the end.

    `output_bytes`, `output_lines`: all that the job wrote (after redaction), kept or not. `limit_bytes` bounds the
    head, in bytes of output; the tail adds at most about 1 MiB.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int = LIMIT_BYTES,
        redactor: Redactor | None = None,
        tail_bytes: int = TAIL_BYTES,
    ) -> None:
        self.output_bytes = 0
        self.output_lines = 0
        self._limit = limit_bytes
        self._file = _File(path)
        self._redacting = {s: redactor.stream() for s in ("out", "err")} if redactor and redactor.patterns else {}
        self._redactor = redactor
        self._pending = {"out": b"", "err": b""}
        self._unterminated = {"out": False, "err": False}
        self._tail: _Tail | None = None
        self._tail_bytes = tail_bytes
        self._spill_path = spill_of(path)
        self._spilled_at = 0.0

    def state(self) -> Json:
        """All that is not on disk, for the `restore` of a writer that goes on with the same log. It may hold the
        beginning of a secret, so it is not to be written anywhere."""
        self._file.stop()
        return {
            "output_bytes": self.output_bytes,
            "output_lines": self.output_lines,
            "pending": {stream: rest.decode("latin-1") for stream, rest in self._pending.items()},
            "unterminated": self._unterminated,
            "redacting": {stream: redacting.state() for stream, redacting in self._redacting.items()},
            "tail": None if self._tail is None else self._tail.state(),
            "lost": [self._file.lost_bytes, self._file.why],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there. KeyError, TypeError: it is no such state."""
        self.output_bytes, self.output_lines = int(state["output_bytes"]), int(state["output_lines"])
        self._pending = {stream: rest.encode("latin-1") for stream, rest in state["pending"].items()}
        self._unterminated = dict(state["unterminated"])
        for stream, kept in state["redacting"].items():
            self._redacting[stream].restore(kept)
        self._tail = None if state["tail"] is None else _Tail.of(self._tail_bytes, state["tail"])
        self._file.lost_bytes, self._file.why = state["lost"]

    def write(self, stream: Literal["out", "err"], chunk: bytes, time: float) -> None:
        """Bytes as read from the job, cut anywhere, at Unix time `time`."""
        if self._redacting:
            chunk = self._redacting[stream].feed(chunk)
        self._take(stream, chunk, time)

    def lab(self, text: str, time: float) -> None:
        """A word of the lab's own, in its place among the output; it does not count against the limit."""
        if self._redactor:
            text = self._redactor.text(text)
        line = text.replace("\n", " ").encode("utf-8", "replace")[:MAX_RECORD]
        if self._tail is None:
            self._file.put(_record(time, "l", line), time)
        else:
            self._tail.add("lab", line, time)

    def close(self, time: float) -> None:
        """Write what waits: the ends of lines, the tail and its mark."""
        for stream, redacting in self._redacting.items():
            self._take(stream, redacting.end(), time)
        self.output_lines += sum(self._unterminated.values())
        if self._tail is not None:
            records = self._tail.records(self._limit, time)
            self._file.put(records, time, size=max(1, len(records)), retry=True)
        self._flush_pending(time)
        self._file.close(time)
        if not self._file.lost_bytes:
            with suppress(OSError):
                self._spill_path.unlink(missing_ok=True)

    def _take(self, stream: str, chunk: bytes, time: float) -> None:
        if not chunk:
            return
        room = self._limit - self.output_bytes
        self.output_bytes += len(chunk)
        self.output_lines += chunk.count(b"\n")
        self._unterminated[stream] = not chunk.endswith(b"\n")
        if self._tail is None:
            if len(chunk) <= room:
                self._head(stream, chunk, time)
                return
            cut = chunk.rfind(b"\n", 0, max(0, room)) + 1
            if cut:
                self._head(stream, chunk[:cut], time)
            self._flush_pending(time)
            self._tail = _Tail(self._tail_bytes)
            chunk = chunk[cut:]
        first = not self._tail.dropped_bytes
        self._tail.add(stream, chunk, time)
        if first and self._tail.dropped_bytes:
            words = f"over the output limit of {_size(self._limit)}: from here only the end is kept"
            self._file.put(_record(time, "l", words.encode()), time)
        self._spill(time)

    def _head(self, stream: str, chunk: bytes, time: float) -> None:
        records, self._pending[stream] = _records(stream, self._pending[stream] + chunk, time)
        if records:
            self._file.put(records, time, size=len(chunk))

    def _flush_pending(self, time: float) -> None:
        for stream, rest in self._pending.items():
            if rest:
                self._file.put(_record(time, stream[0].upper(), rest), time)
                self._pending[stream] = b""

    def _spill(self, time: float) -> None:
        """For readers of a running job, and for the case that this process dies."""
        if self._tail is None or 0 <= time - self._spilled_at < SPILL_S:
            return
        self._spilled_at = time
        fresh = self._spill_path.with_suffix(".new")
        with suppress(OSError):
            fresh.write_bytes(self._tail.records(self._limit, time))
            fresh.replace(self._spill_path)


class _Tail:
    """The last chunks of an output, about `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: deque[tuple[float, str, bytes]] = deque()
        self._size = 0
        self._mid_line: dict[str, bool] = {}
        self.dropped_bytes = 0
        self.dropped_lines = 0

    def state(self) -> Json:
        return {
            "chunks": [(time, stream, chunk.decode("latin-1")) for time, stream, chunk in self._chunks],
            "mid_line": self._mid_line,
            "dropped": [self.dropped_bytes, self.dropped_lines],
        }

    @classmethod
    def of(cls, limit: int, state: Mapping[str, Any]) -> "_Tail":
        tail = cls(limit)
        for time, stream, chunk in state["chunks"]:
            tail.add(stream, chunk.encode("latin-1"), time)
        tail._mid_line = dict(state["mid_line"])
        tail.dropped_bytes, tail.dropped_lines = state["dropped"]
        return tail

    def add(self, stream: str, chunk: bytes, time: float) -> None:
        self._chunks.append((time, stream, chunk))
        self._size += len(chunk) + _ENTRY_BYTES
        while len(self._chunks) > 1 and self._size - len(self._chunks[0][2]) - _ENTRY_BYTES >= self._limit:
            _, gone_stream, gone = self._chunks.popleft()
            self._size -= len(gone) + _ENTRY_BYTES
            if gone_stream != "lab":
                self.dropped_bytes += len(gone)
                self.dropped_lines += gone.count(b"\n")
                self._mid_line[gone_stream] = not gone.endswith(b"\n")

    def records(self, limit: int, now: float) -> bytes:
        """The mark of the cut, then the tail, beginning with a whole line where there is one."""
        parts: list[bytes] = []
        bytes_out, lines_out = self.dropped_bytes, self.dropped_lines
        mid_line = dict(self._mid_line)
        pending: dict[str, bytes] = {}
        for time, stream, chunk in self._chunks:
            if stream == "lab":
                parts.append(_record(time, "l", chunk))
                continue
            if mid_line.pop(stream, False):
                whole = chunk.find(b"\n") + 1
                bytes_out, lines_out = bytes_out + whole, lines_out + (whole > 0)
                chunk = chunk[whole:]
            done, pending[stream] = _records(stream, pending.get(stream, b"") + chunk, time)
            parts.append(done)
        parts += [_record(now, stream[0].upper(), rest) for stream, rest in pending.items() if rest]
        if self.dropped_bytes:
            words = f"{bytes_out} bytes ({lines_out} lines) left out here: the output limit is {_size(limit)}"
            parts.insert(0, _record(self._chunks[0][0] if self._chunks else now, "l", words.encode()))
        return b"".join(parts)


class _File:
    """Appends whole records. When the disk refuses it counts what is lost and marks the hole when it can."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._end = 0
        self.lost_bytes = 0
        self._refused_at = float("-inf")
        self.why = ""

    def put(self, records: bytes, time: float, *, size: int = 1, retry: bool = False) -> None:
        """`size`: bytes of output in them. While there is a hole the disk is tried once in RETRY_S, or with `retry`."""
        if self.lost_bytes:
            waits = not retry and 0 <= time - self._refused_at < RETRY_S
            words = f"about {self.lost_bytes} bytes of output could not be written here: {self.why}"
            if waits or not self._append(_record(time, "l", words.encode()), time):
                self.lost_bytes += size
                return
            self.lost_bytes = 0
        if not self._append(records, time):
            self.lost_bytes += size

    def close(self, time: float) -> None:
        if self.lost_bytes:
            self.put(b"", time, retry=True)
        self.stop()

    def stop(self) -> None:
        """Another one goes on: its descriptor is opened again by whoever writes next."""
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _append(self, records: bytes, time: float) -> bool:
        """All of `records`, or none of them: what a full disk took of a block is cut off again."""
        try:
            if self._fd < 0:
                self._open()
            rest = memoryview(records)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self.why = error.strerror or str(error)
            self._refused_at = time
            with suppress(OSError):
                if self._fd >= 0:
                    os.ftruncate(self._fd, self._end)
            return False
        self._end += len(records)
        return True

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._end = _mend(self._path, self._fd)


def recover(path: Path) -> None:
    """Complete the log of an attempt whose writer died: cut a torn record, add the tail that was set aside."""
    spill = spill_of(path)
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            _mend(path, descriptor)
            if spill.exists():
                rest = memoryview(spill.read_bytes())
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                spill.unlink()
        finally:
            os.close(descriptor)


def _mend(path: Path, descriptor: int) -> int:
    """Cut what follows the last line end of an existing file; its length then."""
    size = os.fstat(descriptor).st_size
    if not size:
        return 0
    with path.open("rb") as file:
        start = max(0, size - 2 * MAX_RECORD)
        file.seek(start)
        end = start + file.read().rfind(b"\n") + 1
    if end < size:
        os.ftruncate(descriptor, end)
    return end


def _record(time: float, letter: str, line: bytes) -> bytes:
    return b"%.6f %s %s\n" % (time, letter.encode(), line)


def _records(stream: str, data: bytes, time: float) -> tuple[bytes, bytes]:
    """`data` as records, and the unfinished line at its end. Works on the block, not on its lines, wherever it can."""
    prefix = b"%.6f %s " % (time, stream[0].encode())
    end = data.rfind(b"\n")
    parts: list[bytes] = []
    if end >= 0:
        whole = data[:end]
        if _has_long_line(whole):
            for line in whole.split(b"\n"):
                pieces = _pieces(line)
                parts += [_record(time, stream[0].upper(), piece) for piece in pieces[:-1]]
                parts.append(prefix + pieces[-1] + b"\n")
        else:
            parts += (prefix, whole.replace(b"\n", b"\n" + prefix), b"\n")
    rest = data[end + 1 :]
    if len(rest) > MAX_RECORD:
        pieces = _pieces(rest)
        parts += [_record(time, stream[0].upper(), piece) for piece in pieces[:-1]]
        rest = pieces[-1]
    return b"".join(parts), rest


def _has_long_line(data: bytes) -> bool:
    at = 0
    while len(data) - at > MAX_RECORD:
        newline = data.rfind(b"\n", at, at + MAX_RECORD + 1)
        if newline < 0:
            return True
        at = newline + 1
    return False


def _pieces(line: bytes) -> list[bytes]:
    """At most MAX_RECORD bytes each, not cut inside a UTF-8 character. At least one piece."""
    pieces: list[bytes] = []
    at = 0
    while len(line) - at > MAX_RECORD:
        cut = at + MAX_RECORD
        for back in range(3):
            if line[cut - back] & 0xC0 != 0x80:
                cut -= back
                break
        pieces.append(line[at:cut])
        at = cut
    pieces.append(line[at:])
    return pieces


def _size(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size} bytes"


def spill_of(path: Path) -> Path:
    """Where the newest output of a log is while it is over its limit and its attempt runs."""
    return path.with_name(path.name + ".tail")


# -- reading --------------------------------------------------------------------------------------------------------


def read(path: Path, *, start: int = 0) -> Iterator[Record]:
    """Whole records from byte `start` (0, or what `read_from` gave) to what is written now. OSError: no such log.

    From the start, the end of an output over its limit is given too while the job runs; a follower gets it afterwards.
    """
    for record, _ in read_from(path, start):
        yield record
    if start == 0:
        with suppress(OSError):
            for record, _ in read_from(spill_of(path), 0):
                yield record


def read_from(path: Path, start: int) -> Iterator[tuple[Record, int]]:
    """Each record with the offset after it, from which a follower goes on. A torn last record is not given."""
    with path.open("rb") as file:
        file.seek(start)
        offset, rest = start, b""
        while block := file.read(_BLOCK):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                offset += len(line) + 1
                if record := parse(line):
                    yield record, offset


def tail(path: Path, n: int) -> list[Record]:
    """The last `n` records (fewer when there are fewer), of a running job too. Empty when there is no such log."""
    records = _tail_of(spill_of(path), n)
    if len(records) < n:
        records = _tail_of(path, n - len(records)) + records
    return records


def _tail_of(path: Path, n: int) -> list[Record]:
    if n <= 0:
        return []
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start, data = end, b""
            while start > 0 and data.count(b"\n") <= n:
                step = min(start, _BLOCK)
                start -= step
                file.seek(start)
                data = file.read(step) + data
    except OSError:
        return []
    lines = data.split(b"\n")[:-1]
    if start > 0:
        lines = lines[1:]
    return [record for line in lines[-n:] if (record := parse(line))]


def raw(path: Path, *, streams: tuple[Stream, ...] = ("out", "err")) -> Iterator[bytes]:
    """The bytes as the job wrote them (secrets and left-out parts apart), for a download."""
    for record in read(path):
        if record.stream in streams:
            yield record.line if record.partial else record.line + b"\n"


def files(folder: Path) -> list[LogFile]:
    """The logs in a run's folder, by job and attempt; empty when there is no folder."""
    found: list[LogFile] = []
    with suppress(OSError):
        for path in folder.iterdir():
            job, dot, attempt = path.name.removesuffix(".log").rpartition(".")
            if path.name.endswith(".log") and dot and attempt.isdecimal():
                found.append(LogFile(job=job, attempt=int(attempt), path=path))
    return sorted(found, key=lambda f: (f.job, f.attempt))


def text(record: Record) -> str:
    """The line for a person: undecodable bytes replaced; control characters, escapes and bidi overrides shown, so
    that no terminal acts on them. Tabs stay; the \\r of a CRLF line goes."""
    return safe(record.line.removesuffix(b"\r").decode("utf-8", "replace"))


def safe(line: str) -> str:
    """`line` with everything that a terminal would act on made visible."""
    return _UNSAFE.sub(_shown, line)


_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the symbol for the character, ␛ for ESC
    return "␡" if code == 0x7F else f"<U+{code:04X}>"


def parse(line: bytes) -> Record | None:
    """One record of a log, without its line end; None when it is none."""
    fields = line.split(b" ", 2)
    if len(fields) != 3:
        return None
    letter = fields[1].decode("ascii", "replace")
    stream = _LETTERS.get(letter.lower())
    try:
        return None if stream is None else Record(float(fields[0]), stream, fields[2], letter.isupper())
    except ValueError:
        return None
