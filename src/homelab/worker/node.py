"""What all executions of one worker share: its home and names, and its lines to Prefect, to control and to the disk."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homelab.flows import records
from homelab.flows.api import PrefectApi
from homelab.home.paths import Home
from homelab.worker.admission import Admission
from homelab.worker.control_link import Outbox
from homelab.worker.launch import Launcher
from homelab.worker.leasing import Leasing
from homelab.worker.log_copies import LogCopies
from homelab.worker.log_shipping import LogShipping
from homelab.worker.record import Gate
from homelab.worker.sent import Errands
from homelab.worker.starts import Starts


@dataclass(frozen=True, kw_only=True)
class Node:
    home: Home
    worker: str
    name: str
    api: PrefectApi
    gate: Gate
    reports: Outbox
    shipping: LogShipping
    copies: LogCopies
    admission: Admission
    leasing: Leasing
    errands: Errands
    launcher: Launcher
    starts: Starts
    confirmed: Callable[[], Awaitable[None]]
    """Returns when it is known that what this worker has is still its own."""

    @contextmanager
    def showing(self, path: Path, *, run: str, job: str) -> Generator[None]:
        """What is written to the log of an attempt goes to Prefect and to control; at the end it is complete."""
        shipment = self.shipping.follow(path, run_id=run, task_run_id=records.task_run_id(run, job))
        self.copies.follow(path)
        try:
            yield
        finally:
            self.shipping.end(shipment)
            self.copies.end(path)
