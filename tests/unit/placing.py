"""Fleets and requests for the tests of placement: small amounts, so that nodes fill up.

Drawn from a seed, since Hypothesis by itself draws mostly short lists of little, in which nothing ever waits.
"""

from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from homelab.core.capacity import APP, CPU, GPU_MEMORY, MEMORY, SLOTS, UNIT, Capacity
from homelab.core.jobs import Affinity
from homelab.core.placement import Model, Node, Request

GIB = 1 << 30
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy."""
NAMES = ("a", "b", "c", "d", "e")
WORK = ("ollama", "photo", "train")


def node(name: str, *, gpus: tuple[int, ...] | None = (), unified: bool = False, **amounts: float) -> Node:
    """A node with cores, GiB of memory, slots; what is not named is unknown. `gpus` in GiB."""
    return Node(
        name=name,
        declared=Capacity(
            amounts={k: int(v * (GIB if k == MEMORY else UNIT)) for k, v in amounts.items()},
            gpus=None if gpus is None else tuple(g * GIB for g in gpus),
            unified=unified,
        ),
    )


def request(
    identity: str = "r", *, gpu: float = 0, memory: float = 0, cpu: float = 0, slots: float = 0, **more: object
):
    amounts = {
        CPU: int(cpu * UNIT), MEMORY: int(memory * GIB), GPU_MEMORY: int(gpu * GIB), SLOTS: int(slots * UNIT)
    }  # fmt: skip
    return Request(id=identity, amounts={k: v for k, v in amounts.items() if v}, **more)  # pyright: ignore[reportArgumentType]


def _capacity(chance: Random) -> Capacity:
    amounts = {MEMORY: chance.randint(4, 32) * GIB, SLOTS: chance.randint(1, 5) * UNIT}
    if chance.random() < 0.85:
        amounts[CPU] = chance.randint(1, 8) * UNIT
    if chance.random() < 0.5:
        amounts[APP + "photoshop"] = chance.randint(0, 2) * UNIT
    gpus = tuple(chance.randint(4, 16) * GIB for _ in range(chance.choice((0, 1, 1, 2))))
    return Capacity(
        amounts=amounts, gpus=None if chance.random() < 0.2 else gpus, unified=len(gpus) == 1 and chance.random() < 0.5
    )


def some_nodes(seed: int, *, busy: bool = True) -> list[Node]:
    """One to four nodes; `busy`: with models and foreign use, unready and measured ones among them."""
    chance = Random(seed)
    return [
        Node(
            name=name,
            state=chance.choice(("ready",) * 8 + ("asleep", "drained")) if busy else "ready",
            declared=_capacity(chance),
            measured=_capacity(chance) if busy and chance.random() < 0.2 else None,
            labels={"zone": chance.choice("xy")} if chance.random() < 0.7 else {},
            models=(Model(name=chance.choice(("m1", "m2")), gpu_memory=chance.randint(0, 3) * GIB),)
            if busy and chance.random() < 0.4
            else (),
            foreign={CPU: chance.randint(0, UNIT)} if busy and chance.random() < 0.3 else {},
            wakeable=chance.random() < 0.5,
            clock_skew_s=chance.choice((None, 0.0, 7.0)),
        )
        for name in chance.sample(NAMES, chance.randint(1, 4))
    ]


def _affinity(chance: Random) -> tuple[Affinity, ...]:
    required = chance.random() < 0.5
    if chance.random() < 0.5:
        return (Affinity(node=chance.choice(NAMES), required=required),)
    return (Affinity(work=chance.choice(WORK), required=required),)


def some_requests(seed: int, *, plain: bool = False, known: bool = False, most: int = 24) -> list[Request]:
    """Up to `most`. Half of them ask for more than amounts, unless `plain`; all say how long they run, if `known`."""
    chance = Random(seed)
    return [
        _request(chance, n, plain=plain or chance.random() < 0.5, known=known) for n in range(chance.randint(1, most))
    ]


def _request(chance: Random, n: int, *, plain: bool, known: bool) -> Request:
    amounts = {SLOTS: UNIT}
    for name, least, most, share in (
        (CPU, 500, 6000, 0.7),
        (MEMORY, GIB, 16 * GIB, 0.6),
        (GPU_MEMORY, GIB, 8 * GIB, 0.3),
    ):
        if chance.random() < share:
            amounts[name] = chance.randint(least, most)
    if chance.random() < 0.1:
        amounts[APP + "photoshop"] = UNIT
    more = {} if plain else {
        "labels": {"zone": chance.choice("xy")} if chance.random() < 0.2 else {},
        "models": ("m1",) if chance.random() < 0.2 else (),
        "affinity": _affinity(chance) if chance.random() < 0.3 else (),
        "anti_affinity": _affinity(chance) if chance.random() < 0.3 else (),
        "exclusive": ("group",) if chance.random() < 0.2 else (),
    }  # fmt: skip
    return Request(
        id=f"r{n:03}",
        name=chance.choice(WORK),
        amounts=amounts,
        strategy=chance.choice(("auto", "spread", "pack")),
        priority=chance.randint(-2, 2),
        submitted=float(chance.randint(0, 100)),
        expected_s=float(chance.randint(1, 50)) if known or chance.random() < 0.6 else None,
        restartable=chance.random() < 0.5,
        **more,
    )


seeds = st.integers(0, 1 << 40)
nodes = seeds.map(some_nodes)
free_nodes = seeds.map(lambda seed: some_nodes(seed, busy=False))
"""Nodes of which nothing is used but by leases, so that all comes back in time."""


def requests(*, plain: bool = False, known: bool = False, most: int = 24) -> st.SearchStrategy[list[Request]]:
    return seeds.map(lambda seed: some_requests(seed, plain=plain, known=known, most=most))


one_request = seeds.map(lambda seed: some_requests(seed, most=1)[0])
