"""Attempts of this node's runs that other nodes make: gives them away, and hears from control what became of each.

The lease on the other node was got by `worker.leasing`; `worker.execution` waits for the end. Control is asked when it
says that there is news, and every ten seconds. The other side is `worker.guests`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import structlog

from homelab.core.jobs import RunState
from homelab.core.passing import Passed
from homelab.core.times import iso, moment
from homelab.worker.control_link import ControlLink, ControlRefused, ControlUnavailable
from homelab.worker.process import Outcome

log = structlog.get_logger()

Json = dict[str, Any]
REPEAT_S = 10.0
RETRY_S = 1.0


def outcome_to_json(outcome: Outcome, *, tail: Sequence[str] = (), is_evicted: bool = False) -> Json:
    """How an attempt ended, as its node tells it. `tail`: the last lines of its output. `is_evicted`: it was stopped
    for more important work."""
    return {
        "state": str(outcome.state),
        "reason": outcome.reason,
        "started": iso(outcome.started),
        "ended": iso(outcome.ended),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "output_bytes": outcome.output_bytes,
        "output_lines": outcome.output_lines,
        "tail": list(tail),
        "facts": outcome.facts,
        "is_evicted": is_evicted,
        **outcome.passed.to_json(),
    }


def outcome_from_json(body: Mapping[str, Any]) -> Outcome:
    """The inverse; what a control that wrote it for a lost node left out is unknown."""
    return Outcome(
        state=RunState(body["state"]),
        reason=str(body.get("reason") or ""),
        started=moment(body.get("started")),
        ended=moment(body.get("ended")) or datetime.now(UTC),
        exit_code=body.get("exit_code"),
        signal=body.get("signal"),
        output_bytes=body.get("output_bytes") or 0,
        output_lines=body.get("output_lines") or 0,
        facts=body.get("facts"),
        passed=Passed.from_json(body),
    )


@dataclass(eq=False, kw_only=True)
class Errand:
    """One attempt on another node. `ended` is set when its end is known: `outcome` is None when it never began. `tail`
    and `is_evicted` as its node tells."""

    work: str
    token: int
    task: Callable[[], Json]
    on_start: Callable[[int, datetime], None]
    stop: str = ""
    has_started: bool = False
    is_unknown: bool = False
    """Control wants to be told what is to be done."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: Outcome | None = None
    tail: tuple[str, ...] = ()
    is_evicted: bool = False

    def hear(self, answer: Mapping[str, Any]) -> None:
        """What control knows of it now."""
        state = answer["state"]
        self.is_unknown = state == "unknown"
        started = moment(answer.get("started"))
        if started is not None and not self.has_started:
            self.has_started = True
            self.on_start(int(answer.get("pid") or 0), started)
        if state == "ended":
            body = cast("Json", answer["outcome"])
            self.outcome = outcome_from_json(body)
            self.tail = tuple(map(str, body.get("tail") or ()))
            self.is_evicted = bool(body.get("is_evicted"))
        if state in ("ended", "lost"):
            self.ended.set()


class Errands:
    """All errands of one worker."""

    def __init__(self, link: ControlLink, node: str) -> None:
        self._link = link
        self._node = node
        self._errands: dict[int, Errand] = {}
        self._news = asyncio.Event()
        self._asked_at = 0.0

    def follow(
        self, work: str, token: int, *, task: Callable[[], Json], on_start: Callable[[int, datetime], None]
    ) -> Errand:
        """See that the attempt is made on the node of that lease. `task`: what that node needs to know."""
        errand = self._errands[token] = Errand(work=work, token=token, task=task, on_start=on_start, is_unknown=True)
        self.look()
        return errand

    def stop(self, errand: Errand, reason: str) -> None:
        """It is to end; `ended` is set when it has."""
        errand.stop = errand.stop or reason or "cancelled"
        self.look()

    def leave(self, errand: Errand) -> None:
        """Nobody here waits for it any more."""
        self._errands.pop(errand.token, None)

    def look(self) -> None:
        """There is news, or something to say."""
        self._asked_at = 0.0
        self._news.set()

    async def serve(self) -> None:
        """Ask, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            if self._errands:
                self._asked_at = time.monotonic()
                await self._ask(list(self._errands.values()))

    def _pause_s(self) -> float | None:
        return max(0.05, self._asked_at + REPEAT_S - time.monotonic()) if self._errands else None

    async def _ask(self, asked: Sequence[Errand]) -> None:
        body = {"node": self._node, "sent": [_ask_of(one) for one in asked]}
        try:
            answer = await self._link.call("POST", "/api/v1/worker/sent", body)
        except ControlUnavailable as error:
            log.warning("sent.unanswered", error=str(error), errands=len(asked))
            self._asked_at = min(self._asked_at, time.monotonic() + RETRY_S - REPEAT_S)
            return
        except ControlRefused as error:
            if len(asked) > 1:  # one that control does not take must not hold up the others
                for one in asked:
                    await self._ask([one])
            else:
                log.error("sent.refused", work=asked[0].work, error=str(error))
            return
        for one in answer["sent"]:
            errand = self._errands.get(int(one["token"]))
            if errand is not None:
                self._hear(errand, one)

    def _hear(self, errand: Errand, answer: Mapping[str, Any]) -> None:
        try:
            errand.hear(answer)
        except (KeyError, TypeError, ValueError) as error:  # of a control that is newer, or broken
            log.error("sent.unreadable", work=errand.work, error=str(error))
            why = "what became of it on the other node cannot be read"
            errand.outcome = Outcome.not_started(RunState.CRASHED, why, datetime.now(UTC))
            errand.ended.set()
        if errand.is_unknown:
            self.look()


def _ask_of(errand: Errand) -> Json:
    task = {"task": errand.task()} if errand.is_unknown else {}
    stop = {"stop": errand.stop} if errand.stop else {}
    return {"work": errand.work, "token": errand.token, **task, **stop}
