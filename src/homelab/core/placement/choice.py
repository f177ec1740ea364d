"""Where one request goes: filter, score, then a placement, or a rejection with the reasons of each node.

`place` is the decision that everything asks: the queue, `homelab place`, the simulation. It costs one look at each
amount asked on each node, and a score for each node that fits. Ties go to the name that comes first, so that equal
input gives equal output.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from homelab.core.capacity import GPU_MEMORY, noun
from homelab.core.durations import duration_text
from homelab.core.placement.feasibility import asks_of, is_open, permits, refusals, shared
from homelab.core.placement.nodes import Lease, Room, Snapshot, has_wrong_clock
from homelab.core.placement.reasons import Code, Reason, render, together
from homelab.core.placement.release import when_free
from homelab.core.placement.requests import Request

KEPT_FREE: Final = 2.0
"""Against a node with a GPU, or an application, that is not asked for: more than any fill, less than a preference."""
PREFERENCE: Final = 4.0
"""For each preferred neighbour, and against each avoided one."""
DATA: Final = 4.0
LOADED: Final = 8.0
"""A model that is loaded answers now; loading one takes minutes."""
CLOCK: Final = 50.0
ASLEEP: Final = 100.0
"""Above all the others together: a node is woken when no other can take the work."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The node, and why it. `score` is the sum of the reasons' scores; only its order means something."""

    request: Request
    room: Room
    device: int | None
    score: float

    @property
    def node(self) -> str:
        return self.room.node.name

    @property
    def wake(self) -> bool:
        """Whether the node must be woken first."""
        return self.room.node.state == "asleep"

    @cached_property
    def reasons(self) -> tuple[Reason, ...]:
        return merits(self.request, self.room)

    def lease(self, *, now: float) -> Lease:
        """What the request then holds, when it starts `now`."""
        request = self.request
        return Lease(
            id=request.id,
            node=self.node,
            owner=request.name or request.id,
            amounts=net_amounts(request, self.room),
            device=self.device,
            names=request.names,
            averse=request.averse,
            exclusive=request.exclusive,
            priority=request.priority,
            turn=request.turn,
            started=now,
            expected_end=None if request.expected_s is None else now + request.expected_s,
            restartable=request.restartable,
            evictions=request.evictions,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "score": round(self.score, 6),
            "wake": self.wake,
            "reasons": [render(r) for r in self.reasons],
            "details": [r.to_json() for r in self.reasons],
        }


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """No node can take it now. The reasons are worked out when somebody asks for them."""

    request: Request
    snapshot: Snapshot
    now: float

    @cached_property
    def reasons(self) -> dict[str, tuple[Reason, ...]]:
        """Node -> why not, in the order of names; at least one reason each, the gravest first."""
        return {room.node.name: explain(self.request, room, self.snapshot, self.now) for room in self.snapshot.rooms}

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {
                "node": node,
                "code": reasons[0].code.value,
                "reason": together(reasons),
                "details": [r.to_json() for r in reasons],
            }
            for node, reasons in self.reasons.items()
        ]


def place(request: Request, snapshot: Snapshot, now: float) -> Placement | Rejection:
    """The best node for the request at this moment, or why there is none."""
    return choose(request, snapshot) or Rejection(request=request, snapshot=snapshot, now=now)


def choose(request: Request, snapshot: Snapshot, *, besides: str = "") -> Placement | None:
    """`place` without the reasons of a rejection, and without the node `besides`."""
    if any(group in snapshot.groups for group in request.exclusive):
        return None
    best: Room | None = None
    best_score = 0.0
    asks, unified_asks = request.asks, request.unified_asks
    is_plain, has_models = request.is_plain, bool(request.models)
    for room in snapshot.rooms:
        free, total = room.free, room.total
        wanted = asks_of(request, room) if has_models else unified_asks if room.unified else asks
        empty = 0.0
        for name, value in wanted:
            has = free.get(name, 0)
            if has < value:
                break
            empty += (has - value) / total[name]
        else:
            if besides and room.node.name == besides:
                continue
            score = _base(request, room, empty, len(wanted))
            if not (is_plain and room.is_plain):
                if not (is_open(room) and permits(request, room)):
                    continue
                score += sum(r.score for r in _more_merits(request, room))
            if best is None or score > best_score:
                best, best_score = room, score
    return None if best is None else put(request, best, score=best_score)


def put(request: Request, room: Room, *, score: float, other: Room | None = None) -> Placement:
    """The placement on a room that fits; with `other`, on a device that has the memory there too."""
    bytes_ = net_amounts(request, room).get(GPU_MEMORY, 0)
    return Placement(request=request, room=room, device=room.device_for(bytes_, other) if bytes_ else None, score=score)


def net_amounts(request: Request, room: Room) -> dict[str, int]:
    """What a lease of the request holds: all it asks, less what its own models hold there already."""
    amounts = dict(request.asks)
    if request.models and GPU_MEMORY in amounts:
        left = amounts[GPU_MEMORY] - sum(room.loaded(model) for model in request.models)
        amounts[GPU_MEMORY] = left
        if left <= 0:
            del amounts[GPU_MEMORY]
    return amounts


def fill_score(request: Request, room: Room) -> float:
    """How full the node becomes in what is asked, 0 to 1 (when spread, how empty it stays), less what is kept free."""
    wanted = asks_of(request, room)
    return _base(request, room, sum((room.free[n] - value) / room.total[n] for n, value in wanted), len(wanted))


def _base(request: Request, room: Room, empty: float, count: int) -> float:
    """`empty`: the shares of what is asked that stay free, summed over `count` resources."""
    share = empty / count if count else 1.0
    score = 1.0 - share if request.packs else share
    for name in room.scarce:
        if name not in request.amounts:
            score -= KEPT_FREE
    return score


def merits(request: Request, room: Room) -> tuple[Reason, ...]:
    """What speaks for and against a node that fits; the scores add up to the placement's."""
    node = room.node.name
    kept = [
        Reason(code=Code.KEPT_FREE, node=node, subject=noun(name), score=-KEPT_FREE)
        for name in room.scarce
        if name not in request.amounts
    ]
    code = Code.PACK if request.packs else Code.FREE
    base = fill_score(request, room) + KEPT_FREE * len(kept)
    asks = asks_of(request, room)
    found = [
        Reason(
            code=code,
            node=node,
            resource=n,
            asked=v,
            free=room.free[n],
            total=room.total[n],
            subject=shared(request, room, n),
            score=base / len(asks),
        )
        for n, v in asks
    ] or [Reason(code=code, node=node, score=base)]
    return (*found, *kept, *_more_merits(request, room))


def _more_merits(request: Request, room: Room) -> list[Reason]:
    node = room.node
    found: list[Reason] = []

    def note(code: Code, subject: str, score: float) -> None:
        found.append(Reason(code=code, node=node.name, subject=subject, score=score))

    for terms, code, score in (
        (request.affinity, Code.NEAR, PREFERENCE),
        (request.anti_affinity, Code.FAR, -PREFERENCE),
    ):
        for one in terms:
            if one.node == node.name:
                note(code, f"node {one.node}", score)
            elif one.work and any(one.work in lease.names for lease in room.leases.values()):
                note(code, one.work, score)
    if request.data and (there := sum(size for name, size in request.data.items() if name in node.data)):
        share = there / max(1, sum(request.data.values()))
        note(Code.DATA, f"{share * 100:.0f}%", DATA * share)
    for model in request.models:
        if room.loaded(model):
            note(Code.LOADED, model, LOADED / len(request.models))
    if node.state == "asleep":
        note(Code.ASLEEP, "", -ASLEEP)
    if has_wrong_clock(node):
        note(Code.CLOCK, duration_text(abs(node.clock_skew_s or 0.0)), -CLOCK)
    return found


def explain(request: Request, room: Room, snapshot: Snapshot, now: float) -> tuple[Reason, ...]:
    """Why a node cannot take the request now, the gravest first; and when it could, where the ends of what it waits
    for are known."""
    found = sorted(refusals(request, room), key=lambda r: _GRAVITY.index(r.code))
    if found and all(r.code in (Code.SHORT, Code.ANTI_AFFINITY) for r in found):
        release = when_free(request, room, now)
        if release is not None and release.at is not None:
            found[0] = replace(found[0], wait_s=release.at - now)
    for group in request.exclusive:
        if group in snapshot.groups:
            subject = f"{snapshot.groups[group]} holds the group {group}"
            found.append(Reason(code=Code.EXCLUSIVE, node=room.node.name, subject=subject))
    return tuple(found)


_GRAVITY: Final = list(Code)
