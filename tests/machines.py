"""Three machines as the API tells of them, on paper: for tests of what draws them. That a real control has the same
fields is checked in `tests/service/test_tui.py`."""

from datetime import timedelta
from typing import Any

from homelab.control import fleetview
from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, SLOTS, UNIT, Capacity
from homelab.core.placement import Lease, Model, Node, Room

GIB = 1 << 30


def machine(name: str, room: Room, *, at: Any, **row: Any) -> dict[str, Any]:
    """The answer of the API for one of the list."""
    base: dict[str, Any] = {
        "name": name, "roles": ["compute"], "labels": {}, "address": f"{name}.lan", "declared": {"x": 1},
        "heartbeat": at, "age_s": 4.0, "wanted": "ready", "wanted_by": "", "wanted_since": None, "skew_s": 0.1,
        "asleep": False, "sleeps": False, "wake": "", "farewell": "",
        "version": "0.1.0",
    }  # fmt: skip
    return fleetview.node({**base, **row}, room, version="0.1.0", now=at)


def held(owner: str, **amounts: int) -> Lease:
    gpu = amounts.pop("gpu", 0)
    asks = {SLOTS: UNIT, CPU: amounts.get("cpu", 1) * UNIT, MEMORY: amounts.get("memory", 1) * GIB}
    run = f"0190a000-0000-7000-8000-0000000000{len(owner):02}"
    return Lease(
        id=f"{run}/{owner}/1",
        node="",
        owner=owner,
        device=0 if gpu else None,
        amounts={**asks, **({GPU_MEMORY: gpu * GIB} if gpu else {})},
    )


def room(name: str, *leases: Lease, cpu: int, memory: int, gpu: int, state: Any = "ready", **more: Any) -> Room:
    amounts = {CPU: cpu * UNIT, MEMORY: memory * GIB, SLOTS: cpu // 2 * UNIT}
    has = Capacity(amounts=amounts, gpus=(gpu * GIB,), unified=True)
    made = Room(Node(name=name, state=state, declared=has, **more))
    for lease in leases:
        made = made.holding(lease)
    return made


def three(at: Any, hostile: str) -> list[dict[str, Any]]:
    """One that works, one that is full, one that is gone. `hostile`: an owner that a screen must not obey."""
    foreign = {CPU: 900, MEMORY: 4 * GIB}
    model = (Model(name="llama3:70b", gpu_memory=30 * GIB),)
    mac1 = room("mac1", held("take-in-uploads", cpu=2, memory=2), cpu=8, memory=16, gpu=10, foreign=foreign)
    mac3 = room("mac3", held(hostile, cpu=2, memory=3), cpu=12, memory=36, gpu=24, state="unreachable")
    busy = (held("nightly-eval", cpu=9, memory=12), held("embed", cpu=5, memory=6, gpu=4))
    mac4 = room("mac4", *busy, cpu=16, memory=64, gpu=48, state="draining", foreign=foreign, models=model)
    return [
        machine("mac1", mac1, at=at),
        machine("mac3", mac3, at=at, heartbeat=at - timedelta(minutes=7), age_s=420.0),
        machine("mac4", mac4, at=at, wanted="drained", wanted_by="dana", wanted_since=at - timedelta(minutes=5)),
    ]


def waiting(since: str, hostile: str) -> list[dict[str, Any]]:
    run = "0190a000-7000-7000-8000-00000000f00{}"
    words = "mac4: 8 GiB GPU memory free of 40 GiB asked; llama3:70b holds 30 GiB; embed holds 4 GiB; free again in 40m"
    return [
        {
            "work": f"{run.format(n)}/{job}/1", "run": run.format(n), "job": job, "priority": priority, "since": since,
            "node": None,
            "reasons": [
                {"node": "mac4", "code": "short", "reason": words},
                {"node": "mac1", "code": "too-small", "reason": "mac1: it has 10 GiB GPU memory; 40 GiB is asked"},
                {"node": "mac3", "code": "not-ready", "reason": "mac3: it is unreachable"},
                {"node": "mac9", "code": "label", "reason": "mac9: it has no label zone=shelf"},
            ],
        }
        for n, (job, priority) in enumerate((("llama-batch", 5), (hostile, 0)), 1)
    ]  # fmt: skip
