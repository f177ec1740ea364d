"""Prefect's copy of what jobs print, as they print it: read from the run logs on disk, sent in common batches.

The files are the truth and stay; so nothing is lost while the server is away, and nothing waits in memory. What one
attempt sends is bounded: Prefect keeps its logs in Postgres, and the whole output is a `homelab run logs` away.
Called by `worker.loop`, which owns the one task of `serve`.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from homelab.flows.api import LogLine, PrefectApi, PrefectRefused, PrefectUnavailable
from homelab.worker import runlog

log = structlog.get_logger()

INTERVAL_S = 0.4
"""How long a line may wait before it is sent: short for people who look, long enough to share a request."""
MAX_LINES = 2_000
MAX_BYTES = 512 * 1024
_BATCH_LINES = 500
_LEVELS = {"out": logging.INFO, "err": logging.WARNING, "lab": logging.INFO}

Json = dict[str, Any]


@dataclass
class Shipment:
    """One attempt's log on its way. `offset` is the byte of the file up to which Prefect has it."""

    path: Path
    run_id: str
    task_run_id: str
    offset: int = 0
    lines: int = 0
    sent_bytes: int = 0
    ended: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class LogShipping:
    """All attempts of this worker whose output is not wholly in Prefect yet."""

    def __init__(self, api: PrefectApi) -> None:
        self._api = api
        self._open: list[Shipment] = []
        self._news = asyncio.Event()

    def follow(self, path: Path, *, run_id: str, task_run_id: str) -> Shipment:
        """Begin to send the log at `path` (which may not exist yet), or go on with it after `take_up`."""
        shipment = next((one for one in self._open if one.path == path), None)
        if shipment is None:
            shipment = Shipment(path, run_id, task_run_id)
            self._open.append(shipment)
        shipment.ended = False
        self._news.set()
        return shipment

    @property
    def is_idle(self) -> bool:
        """Whether nothing is waiting of a log that is complete."""
        return not any(shipment.ended for shipment in self._open)

    def hand_over(self) -> list[Json]:
        """How far all logs are, for `take_up` in the program that this process executes next."""
        return [
            {
                "path": str(one.path),
                "run_id": one.run_id,
                "task_run_id": one.task_run_id,
                "offset": one.offset,
                "lines": one.lines,
                "sent_bytes": one.sent_bytes,
            }
            for one in self._open
        ]

    def take_up(self, states: Iterable[Json]) -> None:
        """Go on with these logs; those that nobody follows are complete."""
        for one in states:
            shipment = Shipment(Path(one["path"]), one["run_id"], one["task_run_id"], ended=True)
            shipment.offset, shipment.lines, shipment.sent_bytes = one["offset"], one["lines"], one["sent_bytes"]
            self._open.append(shipment)
        self._news.set()

    def end(self, shipment: Shipment) -> None:
        """The file is complete: what is left of it is sent, then `shipment.done` is set."""
        shipment.ended = True
        self._news.set()

    async def serve(self) -> None:
        """Send until cancelled. While the server is away the files wait, and this loop asks ever more rarely."""
        pause_s = INTERVAL_S
        while True:
            if not self._open:
                self._news.clear()
                await self._news.wait()
            try:
                await self._send_once()
                pause_s = INTERVAL_S
            except PrefectUnavailable:
                pause_s = min(pause_s * 2, 10.0)
            await asyncio.sleep(pause_s)

    async def _send_once(self) -> None:
        batch: list[LogLine] = []
        moved: list[tuple[Shipment, int, int, int]] = []
        for shipment in self._open:
            if len(batch) >= _BATCH_LINES:
                break
            lines, offset, size = _next_lines(shipment, _BATCH_LINES - len(batch))
            batch += lines
            moved.append((shipment, offset, len(lines), size))
        if batch:
            try:
                await self._api.send_logs(batch)
            except PrefectRefused as error:
                log.warning("prefect.logs_refused", lines=len(batch), error=str(error))
        for shipment, offset, lines_sent, size in moved:
            unchanged = offset == shipment.offset
            shipment.offset = offset
            shipment.lines += lines_sent
            shipment.sent_bytes += size
            if shipment.ended and unchanged:
                shipment.done.set()
        self._open = [s for s in self._open if not s.done.is_set()]


def _next_lines(shipment: Shipment, room: int) -> tuple[list[LogLine], int, int]:
    """The next lines of one log, the offset after them and their size. Past the bound the rest is passed over."""
    if shipment.lines >= MAX_LINES or shipment.sent_bytes >= MAX_BYTES:
        return [], shipment.offset, 0
    lines: list[LogLine] = []
    offset, size = shipment.offset, 0
    try:
        for record, after in runlog.read_from(shipment.path, offset):
            text = runlog.text(record)
            size += len(text)
            offset = after
            full = shipment.lines + len(lines) + 1 >= MAX_LINES or shipment.sent_bytes + size >= MAX_BYTES
            lines.append(_line(shipment, record, text))
            if full:
                note = f"... the rest is in: homelab run logs {shipment.run_id}"
                lines.append(_line(shipment, record, note))
            if full or len(lines) >= room:
                break
    except OSError:
        return [], offset, 0
    return lines, offset, size


def _line(shipment: Shipment, record: runlog.Record, text: str) -> LogLine:
    return LogLine(
        time=datetime.fromtimestamp(record.time, UTC),
        level=_LEVELS[record.stream],
        message=text or " ",
        run_id=shipment.run_id,
        task_run_id=shipment.task_run_id,
    )
