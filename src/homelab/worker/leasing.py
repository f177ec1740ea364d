"""Leases as a worker has them: it asks before a job starts, repeats what waits, and keeps what it holds.

Where the lab has no other node, a job that asks for a slot alone needs none: local admission says the same, without a
question. So it is on control's own machine when `control` does not answer within two seconds, except for jobs of an
exclusive group, which may run elsewhere. What was started so gets its lease as soon as there is one to be had. A node
of another machine cannot know whether `control` is away or it is cut off, and what it had not begun is given to
others: it begins nothing without a lease. Called by `worker.execution`.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import structlog

from homelab.core.capacity import SLOTS
from homelab.core.jobs import Job
from homelab.core.placement import request_of
from homelab.core.times import iso
from homelab.core.work import Work
from homelab.worker.control_link import ControlLink, ControlRefused, ControlUnavailable

log = structlog.get_logger()

PATIENCE_S = 2.0
"""So long `control` may take before what needs nothing but a slot starts without it."""
REPEAT_S = 10.0
"""How often what waits is asked again: a `control` that was restarted makes its queue of that."""
RETRY_S = 1.0
MOST_ASKS = 500
Settled = Literal["held", "free", "sent", "elsewhere"]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One attempt of a job that is to start. `is_plain`: it asks for a slot and nothing else; `is_free`: and shares no
    exclusive group. `since`: since when it wants to, in seconds of a monotonic clock. `start_at`: when its run is due,
    if nothing of it has started: all of it may go to another node then, otherwise this attempt alone."""

    run: str
    job: str
    attempt: int
    digest: str | None
    is_plain: bool
    is_free: bool
    since: float
    evictions: int = 0
    start_at: datetime | None = None

    @property
    def work(self) -> str:
        return str(Work(self.run, self.job, self.attempt))

    def body(self, *, is_running: bool, is_bound: bool) -> dict[str, Any]:
        """`is_bound`: it does not start without a lease, whatever becomes of this ask. Until then its run stays: it may
        have started when `control` decides."""
        return {
            "work": self.work,
            "digest": self.digest,
            "waited_s": max(0.0, time.monotonic() - self.since),
            "evictions": self.evictions,
            "may_move": self.start_at is not None and is_bound,
            "may_send": self.start_at is None and self.digest is not None,
            "start_at": iso(self.start_at),
            "running": is_running,
        }


def asks_little(job: Job) -> bool:
    """Whether the job asks for a slot of any node, and nothing else."""
    request = request_of(job, identity="", submitted=0.0)
    return request.is_plain and all(name == SLOTS for name, _ in request.asks)


@dataclass(eq=False, kw_only=True)
class Place:
    """What became of an ask. `free`: it needs no lease, or started without one. `sent`: the lease is for another
    `node`, on which the attempt is to be made; `elsewhere`: that has the run."""

    ask: Ask
    state: Literal["waiting", Settled] = "waiting"
    token: int | None = None
    node: str = ""
    reasons: tuple[str, ...] = ()
    is_answered: bool = False
    asked_at: float = float("-inf")
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, state: Settled, *, token: int | None = None, node: str = "") -> None:
        self.state, self.token, self.node = state, token, node
        self.settled.set()


class Leasing:
    """All places of one worker. `is_alone`: the lab has no other node, as `control` last said."""

    def __init__(self, link: ControlLink, node: str) -> None:
        self._link = link
        self._node = node
        self._places: dict[str, Place] = {}
        self._gives: list[str] = []
        self._wanted = asyncio.Event()
        self._looked_at = 0.0
        self.is_alone = False

    def want(self, ask: Ask) -> Place:
        """Ask for a lease; the same ask again is the same place. Ends with `over` or `done`."""
        known = self._places.get(ask.work)
        if known is not None:
            return known
        place = self._places[ask.work] = Place(ask=ask)
        if self.is_alone and ask.is_plain:
            place.settle("free")
        else:
            self._wanted.set()
        return place

    def keep(self, ask: Ask, token: int | None) -> Place:
        """The place of an attempt that runs since before this process executed itself anew; `token`: of its lease."""
        place = self._places[ask.work] = Place(ask=ask)
        place.settle("free" if token is None else "held", token=token)
        return place

    def done(self, work: str) -> int | None:
        """The attempt is over: the token that goes with the report of its end, which ends the lease."""
        place = self._places.pop(work, None)
        return None if place is None else place.token

    def token(self, work: str) -> int | None:
        place = self._places.get(work)
        return None if place is None else place.token

    def over(self, run: str) -> None:
        """Nothing more of the run starts here: what it holds, or waits for, is given back."""
        for work in [work for work, place in self._places.items() if place.ask.run == run]:
            place = self._places.pop(work)
            if place.state != "free":
                self._gives.append(work)
                self._wanted.set()

    def look(self) -> None:
        """`control` has an answer for something that waits."""
        self._looked_at = time.monotonic()
        for place in self._places.values():
            if place.state == "waiting":
                place.asked_at = float("-inf")
        self._wanted.set()

    def tokens(self) -> list[int]:
        """What this worker holds, for its heartbeat."""
        return [p.token for p in self._places.values() if p.token is not None and p.state != "sent"]

    def lose(self, tokens: Iterable[int]) -> None:
        """These were given up. What runs goes on, and asks for a lease of its own again."""
        gone = set(tokens)
        for place in self._places.values():
            if place.token in gone:
                log.warning("lease.lost", work=place.ask.work, token=place.token)
                place.state, place.token, place.asked_at = "free", None, float("-inf")
                self._wanted.set()

    async def serve(self) -> None:
        """Ask, ask again, give back, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            await self._exchange()

    def _pause_s(self) -> float | None:
        """Until the next ask is to be repeated; None when there is none."""
        open_ = [place.asked_at for place in self._places.values() if self._is_open(place)]
        return None if not open_ else max(0.05, min(open_) + REPEAT_S - time.monotonic())

    def _is_open(self, place: Place) -> bool:
        if place.state == "free":  # it started without a lease where it needs one (again)
            return not (self.is_alone and place.ask.is_plain)
        return place.state == "waiting"

    async def _exchange(self) -> None:
        now = time.monotonic()
        open_ = [p for p in self._places.values() if self._is_open(p) and now - p.asked_at >= REPEAT_S][:MOST_ASKS]
        gives, self._gives = self._gives[:MOST_ASKS], self._gives[MOST_ASKS:]
        if not open_ and not gives:
            return
        for place in open_:
            place.asked_at = now  # also where there is no answer: its run is another node's, as the heartbeat will say
        body = {
            "node": self._node,
            "asks": [
                place.ask.body(is_running=place.state == "free", is_bound=not self._may_go_without(place))
                for place in open_
            ],
            "gives": gives,
        }
        try:
            answer = await self._link.call("POST", "/api/v1/worker/leases", body, timeout_s=PATIENCE_S)
        except (ControlUnavailable, ControlRefused) as error:
            self._gives = gives + self._gives if isinstance(error, ControlUnavailable) else self._gives
            log.warning("leases.unanswered", error=str(error), asks=len(open_))
            self._go_without(open_)
            return
        self._take(answer["leases"], now)

    def _go_without(self, asked: Iterable[Place]) -> None:
        """No answer: beside control, what needs but a slot starts; the rest is asked again in a moment."""
        again = time.monotonic() - REPEAT_S + RETRY_S
        for place in asked:
            place.asked_at = again
            if self._may_go_without(place):
                place.settle("free")

    def _may_go_without(self, place: Place) -> bool:
        is_unheard = place.state == "waiting" and not place.is_answered
        return is_unheard and place.ask.is_free and not self._link.is_remote

    def _take(self, answers: Iterable[Mapping[str, Any]], at: float) -> None:
        for answer in answers:
            place = self._places.get(str(answer["work"]))
            if place is None:
                if answer["answer"] == "held":  # its run ended while the question was on its way
                    self._gives.append(str(answer["work"]))
                    self._wanted.set()
                continue
            becomes_bound, place.is_answered = self._may_go_without(place), True
            place.asked_at = at if self._looked_at < at else float("-inf")
            match answer["answer"]:
                case "held":
                    place.settle("held", token=int(answer["token"]))
                case "sent" if place.state == "waiting":
                    place.settle("sent", token=int(answer["token"]), node=str(answer["node"]))
                case "elsewhere" if place.state == "waiting":
                    place.settle("elsewhere", node=str(answer["node"]))
                case "wait":
                    place.reasons = tuple(str(one["reason"]) for one in answer.get("reasons", ()))
                    if becomes_bound and place.ask.start_at is not None:  # from now on its run may go elsewhere
                        place.asked_at = float("-inf")
                        self._wanted.set()
                case _:
                    pass
