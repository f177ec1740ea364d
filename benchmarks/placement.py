"""What a placement costs: a fleet as large as the target says, and how it grows. CPU time, one process."""

import random
import time
from pathlib import Path

from benchmarks.measuring import Row
from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, SLOTS, UNIT, Capacity
from homelab.core.placement import Lease, Node, Placement, Request, Snapshot, place

GIB = 1 << 30


def fleet(size: int, leases: int, seed: int = 1) -> Snapshot:
    """Nodes of four sizes, every third with a GPU, and leases spread over them."""
    chance = random.Random(seed)
    nodes = [
        Node(
            name=f"node-{n:04}",
            declared=Capacity(
                amounts={CPU: 16 * UNIT, MEMORY: (32 << n % 4) * GIB, SLOTS: 40 * UNIT},
                gpus=(48 * GIB,) if n % 3 == 0 else (),
            ),
            labels={"zone": f"z{n % 5}"},
        )
        for n in range(size)
    ]
    return Snapshot.of(
        nodes,
        [
            Lease(
                id=f"lease-{n}",
                node=f"node-{chance.randrange(size):04}",
                owner=f"job-{n % 50}",
                amounts={CPU: chance.randrange(UNIT), MEMORY: chance.randrange(3 * GIB), SLOTS: UNIT},
                expected_end=float(chance.randrange(3600)),
            )
            for n in range(leases)
        ],
    )


def requests(count: int, seed: int = 2) -> list[Request]:
    """Three in four ask for cpu, memory and a slot; the fourth also for GPU memory or a label."""
    chance = random.Random(seed)
    made: list[Request] = []
    for n in range(count):
        amounts = {CPU: chance.randrange(4 * UNIT), MEMORY: chance.randrange(16 * GIB), SLOTS: UNIT}
        if n % 8 == 3:
            amounts[GPU_MEMORY] = chance.randrange(24 * GIB)
        labels = {"zone": f"z{n % 5}"} if n % 8 == 7 else {}
        made.append(Request(id=f"r{n}", name=f"job-{n % 50}", amounts=amounts, labels=labels))
    return made


def decisions_per_cpu_second(size: int, leases: int, count: int) -> tuple[float, float]:
    """Decisions a CPU second, each followed by its lease in the snapshot, which then ends; and the share placed."""
    snapshot, asked = fleet(size, leases), requests(count)
    placed = 0
    began = time.process_time()
    for request in asked:
        found = place(request, snapshot, 0.0)
        if isinstance(found, Placement):
            placed += 1
            snapshot = snapshot.holding(lease := found.lease(now=0.0)).without(lease)
    return count / (time.process_time() - began), placed / count


def _best(size: int) -> float:
    return max(decisions_per_cpu_second(size, 10 * size, 40_000 // size + 200)[0] for _ in range(3))


def decisions(work: Path) -> list[Row]:
    rate, placed = max(decisions_per_cpu_second(100, 1000, 5_000) for _ in range(3))
    rows = [
        Row(
            f"placement decisions a CPU second, 100 nodes, 1,000 leases ({placed * 100:.0f}% placed)",
            f"{rate:,.0f}",
            "5,000",
            rate >= 5000,
        )
    ]
    costs = {size: 1e6 / _best(size) for size in (10, 100, 1000)}
    growth = costs[1000] / costs[100]
    said = ", ".join(f"{size}: {cost:.0f} µs" for size, cost in costs.items())
    rows.append(
        Row(
            "cost of a decision by number of nodes",
            said,
            "in step with nodes (10 times: at most 13, for caches)",
            growth <= 13,
        )
    )
    return rows
