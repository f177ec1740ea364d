"""How long things wait in simulations, under the lab's placement and under the baselines, on several seeds.

The Azure trace is not part of the project: set HOMELAB_AZURE_TRACE to its file to have it measured too.
"""

import os
import random
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measuring import Row
from homelab.core.capacity import CPU, SLOTS, UNIT, Capacity
from homelab.core.labfile import parse
from homelab.core.labfile.fleet import fleet_of
from homelab.core.placement import Node, Request
from homelab.simulation.engine import simulate
from homelab.simulation.month import generate
from homelab.simulation.optimum import optimum
from homelab.simulation.policies import ByPlacement, FirstCome, LeastLoaded, Policy, RoundRobin, Suitable
from homelab.simulation.traces import read_azure
from homelab.simulation.workload import Item

REFERENCE = Path(__file__).parents[1] / "examples/reference-lab/lab.toml"
DAYS = float(os.environ.get("HOMELAB_BENCH_DAYS", "7"))
SEEDS = (1, 2, 3)
GIB = 1 << 30


def mac(name: str, slots: int, gpu_gib: int) -> Node:
    return Node(name=name, declared=Capacity(amounts={SLOTS: slots * UNIT}, gpus=(gpu_gib * GIB,)))


FLEETS = {
    "4 nodes": [mac("a", 4, 16), mac("b", 4, 16), mac("c", 2, 4), mac("d", 2, 4)],
    "2 small nodes": [mac("a", 3, 3), mac("b", 2, 2)],
}


def _waits(items: Iterable[Item], fleet: list[Node]) -> dict[str, float]:
    kept = list(items)
    suitable = Suitable(fleet)
    policies: list[Policy] = [
        ByPlacement(fleet),
        FirstCome(fleet),
        LeastLoaded(fleet, suitable),
        RoundRobin(fleet, suitable),
    ]
    return {one.name: simulate(kept, fleet, one).waits.summary()["mean_s"] for one in policies}


def _row(what: str, waits: dict[str, float], more: str = "") -> Row:
    others = ", ".join(f"{name} {wait:.3g} s" for name, wait in waits.items() if name != "placement")
    baselines = min(waits["round-robin"], waits["least-loaded"])
    return Row(
        what, f"{waits['placement']:.3g} s ({others}){more}", "below both baselines", waits["placement"] < baselines
    )


def _small(seed: int) -> list[Item]:
    chance, at, items = random.Random(seed), 0.0, list[Item]()
    for n in range(5):
        at += chance.expovariate(0.2)
        amounts = {CPU: chance.randint(1, 4) * UNIT}
        length = float(chance.randint(1, 60))
        items.append(
            Item(request=Request(id=f"{n}", amounts=amounts, submitted=at, expected_s=length), duration_s=length)
        )
    return items


def _against_optimum() -> Row:
    """Small workloads on two nodes of four cores, where all orders can be searched by one who knows the future."""
    fleet = [Node(name=name, declared=Capacity(amounts={CPU: 4 * UNIT})) for name in ("a", "b")]
    sums: dict[str, float] = {}
    searched = 0
    for seed in range(60):
        items = _small(seed)
        best = optimum(items, fleet)
        if best.kind != "exact":
            continue
        searched += 1
        for name, wait in {**_waits(items, fleet), "optimum": best.mean_wait_s}.items():
            sums[name] = sums.get(name, 0.0) + wait
    means = {name: total / max(1, searched) for name, total in sums.items()}
    return _row(f"{searched} small workloads of 5 on 2 nodes: mean wait", means)


def waits(work: Path) -> list[Row]:
    lab, _ = parse({"lab.toml": REFERENCE.read_text()}, main="lab.toml")
    assert lab is not None
    fleet = list(fleet_of(lab.nodes, concurrency=lab.worker.concurrency))
    rows: list[Row] = [_against_optimum()]
    began, count = time.process_time(), 0
    for seed in SEEDS:
        items = list(generate(lab, days=DAYS, seed=seed))
        count += 4 * len(items)
        rows.append(
            _row(
                f"simulated {DAYS:g} days of 46 jobs, seed {seed}, {len(items):,} runs: mean wait", _waits(items, fleet)
            )
        )
    rate = count / (time.process_time() - began)
    rows.append(Row("runs simulated a CPU second, all policies", f"{rate:,.0f}"))
    trace = os.environ.get("HOMELAB_AZURE_TRACE")
    if trace:
        for name, nodes in FLEETS.items():
            with Path(trace).open(encoding="utf-8") as lines:
                items = list(read_azure(lines, source=trace))
            best = optimum(items, nodes)
            more = f"; {best.kind} bound {best.mean_wait_s:.3g} s"
            rows.append(
                _row(f"simulated Azure trace, {len(items):,} requests, {name}: mean wait", _waits(items, nodes), more)
            )
    return rows
