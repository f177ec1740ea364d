"""One attempt under way: its command, and all that belongs to it until its end.

It can be handed to the program that this process executes next (`worker.handover`): `state` has everything that is in
no file, secrets too, so it goes through memory alone. Made and concluded by `worker.launch`.
"""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from homelab.worker import process
from homelab.worker.circumstances import Began
from homelab.worker.environment import Account
from homelab.worker.handing import Exchange
from homelab.worker.process import Running, Spec
from homelab.worker.redaction import Redactor
from homelab.worker.runlog import LIMIT_BYTES, Writer

Json = dict[str, Any]


@dataclass(eq=False, kw_only=True)
class Attempt:
    """`work`: RUN/JOB/ATTEMPT. `exchange`, `began`: None where nothing is passed on, nothing observed. `running`: None
    before it is started. `held`: the slot and groups of one that was taken up."""

    work: str
    spec: Spec
    log_path: Path
    limit_bytes: int = LIMIT_BYTES
    redactor: Redactor
    queue: str
    exclusive: tuple[str, ...] = ()
    is_python: bool = False
    exchange: Exchange | None = None
    began: Began | None = None
    running: Running | None = None
    held: AsyncExitStack = field(default_factory=AsyncExitStack)
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.log_path, limit_bytes=self.limit_bytes, redactor=self.redactor)

    @property
    def is_steady(self) -> bool:
        """Whether its command just runs, or is not started."""
        return self.running is None or self.running.is_steady

    def close(self) -> None:
        """Nothing more is written, or passed on."""
        if self.exchange is not None:
            self.exchange.close()
        self.writer.close(time.time())

    def state(self) -> Json | None:
        """For `taken_up`; None when its command is not started: it is made anew."""
        if self.running is None:
            return None
        exchange = self.exchange
        return {
            "work": self.work,
            "spec": asdict(self.spec),
            "log_path": str(self.log_path),
            "limit_bytes": self.limit_bytes,
            "patterns": [pattern.decode("latin-1") for pattern in self.redactor.patterns],
            "queue": self.queue,
            "exclusive": self.exclusive,
            "is_python": self.is_python,
            "exchange": None if exchange is None else exchange.state(),
            "began": None if self.began is None else self.began.state(),
            "writer": self.writer.state(),
            "running": self.running.hand_over(),
        }

    @classmethod
    def taken_up(cls, state: Mapping[str, Any], python: process.Started | None) -> "Attempt":
        """With its command, of which the output is read from now on. `python`: its process, where the fork server has
        it. KeyError, TypeError, ValueError: it is no such state."""
        exchange, began = state["exchange"], state["began"]
        spec = dict(state["spec"])
        if spec["account"] is not None:
            spec["account"] = Account(**spec["account"])
        attempt = cls(
            work=state["work"],
            spec=Spec(**spec),
            log_path=Path(state["log_path"]),
            limit_bytes=int(state["limit_bytes"]),
            redactor=Redactor((), patterns=tuple(one.encode("latin-1") for one in state["patterns"])),
            queue=state["queue"],
            exclusive=tuple(state["exclusive"]),
            is_python=bool(state["is_python"]),
            exchange=None if exchange is None else Exchange.of(exchange),
            began=None if began is None else Began.of(began),
        )
        attempt.writer.restore(state["writer"])
        attempt.running = process.take_up(state["running"], attempt.spec, attempt.writer, process=python)
        return attempt
