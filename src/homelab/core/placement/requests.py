"""What asks for a place: a request, from a job or from anything else that runs on a node."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from homelab.core.capacity import GPU_MEMORY, MEMORY, SLOTS, UNIT, Amounts, requirements_of
from homelab.core.jobs import Affinity, Job, Strategy

AGEING_S: Final = 60.0
"""Waiting so long counts as much as one level of priority. So work of priority 10 overtakes what has waited less than
ten minutes, and nothing waits for ever behind it."""

Shape = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """`amounts` in smallest units; of `gpu_memory`, what one device must give. `id` is unique among all requests.

    `name`: how other work, and people, know it; `tags`: more names of it. `node`: the only one it may go to.
    `models`: must be on the node.
    `exclusive`: groups of which one member runs at a time in the whole lab. `data`: pieces it reads (name, bytes);
    nodes that have them are better. `submitted`: when it began to wait, in seconds of the same clock as `now`.
    `expected_s`: how long it will run; None when nobody knows. `evictions`: how often it was stopped for others.
    """

    id: str
    name: str = ""
    tags: tuple[str, ...] = ()
    node: str = ""
    amounts: Amounts = field(default_factory=dict[str, int])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    models: tuple[str, ...] = ()
    affinity: tuple[Affinity, ...] = ()
    anti_affinity: tuple[Affinity, ...] = ()
    exclusive: tuple[str, ...] = ()
    data: Mapping[str, int] = field(default_factory=dict[str, int])
    strategy: Strategy = "auto"
    priority: int = 0
    submitted: float = 0.0
    expected_s: float | None = None
    restartable: bool = False
    evictions: int = 0

    @cached_property
    def asks(self) -> tuple[tuple[str, int], ...]:
        """What is asked of an ordinary node, in the order of names; nothing asked is left out."""
        return tuple((name, self.amounts[name]) for name in sorted(self.amounts) if self.amounts[name] > 0)

    @cached_property
    def unified_asks(self) -> tuple[tuple[str, int], ...]:
        """The same of a node whose GPU memory is a share of its memory."""
        gpu = self.amounts.get(GPU_MEMORY, 0)
        if not gpu:
            return self.asks
        asks = {**dict(self.asks), MEMORY: self.amounts.get(MEMORY, 0) + gpu}
        return tuple(sorted(asks.items()))

    @cached_property
    def packs(self) -> bool:
        """Whether the fullest node that fits is the best one, not the emptiest.

        By itself, work that says what it needs is packed: that leaves room for large work, and in simulations things
        wait less (docs/explanation/placement.md). Work that asks for slots alone needs nobody knows what: it is spread.
        """
        if self.strategy == "auto":
            return any(name != SLOTS for name, _ in self.asks)
        return self.strategy == "pack"

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(value for _, value in self.asks)

    @cached_property
    def names(self) -> frozenset[str]:
        """All names that affinity of other work may mean."""
        return frozenset(n for n in (self.name, *self.tags) if n)

    @cached_property
    def company(self) -> bool:
        """Whether it must be with other work: what starts then can make room for it."""
        return any(a.required and a.work for a in self.affinity)

    @cached_property
    def averse(self) -> tuple[str, ...]:
        """Work that must not share a node with it."""
        return tuple(sorted({a.work for a in self.anti_affinity if a.required and a.work}))

    @cached_property
    def is_plain(self) -> bool:
        """Whether amounts alone decide."""
        return not (self.node or self.labels or self.models or self.affinity or self.anti_affinity or self.data)

    @cached_property
    def turn(self) -> tuple[float, str]:
        """The place in the queue, smallest first: by priority with ageing, then by id.

        Priority plus waiting time grows equally for all, so the order of two requests never changes: work of lower
        priority comes after what is submitted at most (difference of priorities) * AGEING_S later.
        """
        return (self.submitted - self.priority * AGEING_S, self.id)

    @cached_property
    def shape(self) -> Shape:
        """Everything but the amounts that says which nodes suit it, and which resources it asks for. Of two requests
        of one shape, the one that asks more of everything finds no room where the other finds none."""
        return (
            tuple(name for name, _ in self.asks),
            self.node,
            tuple(sorted(self.labels.items())),
            self.models,
            self.affinity,
            self.anti_affinity,
            self.exclusive,
            self.names,
        )

    def effective_priority(self, now: float) -> float:
        return self.priority + max(0.0, now - self.submitted) / AGEING_S


def request_of(job: Job, *, identity: str, submitted: float) -> Request:
    """The request of a job: what its definition asks for, and one slot if it says nothing about slots."""
    needs = requirements_of(job.requires)
    return Request(
        id=identity,
        name=job.name,
        tags=job.tags,
        amounts={SLOTS: UNIT, **needs.amounts},
        labels=needs.labels,
        models=needs.models,
        affinity=job.affinity,
        anti_affinity=job.anti_affinity,
        exclusive=tuple(sorted(job.exclusive)),
        strategy=job.place,
        priority=job.priority,
        submitted=submitted,
        expected_s=job.expect.duration_s,
        restartable=job.restartable,
    )


def asking(job: Job, requires: Mapping[str, Any], labels: Mapping[str, str], strategy: Strategy | None) -> Request:
    """What somebody asks about: the job's own requirements, and above them these."""
    asked: dict[str, Any] = {**job.requires, **requires}
    asked["labels"] = {**asked.get("labels", {}), **labels}
    changed = replace(job, requires=asked, place=strategy or job.place)
    return request_of(changed, identity=job.name or "this", submitted=0.0)
