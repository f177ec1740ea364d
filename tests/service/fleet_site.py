"""Three machines as a lab may have them, with what is on them and what was, on a real database."""

from datetime import UTC, datetime, timedelta
from typing import Any

from homelab.control import leases, nodes
from homelab.control.leases import Held
from homelab.control.service import Control
from homelab.control.state import utc_now
from homelab.core.capacity import APP, CPU, DISK, GPU_MEMORY, MEMORY, SLOTS, UNIT, Capacity
from homelab.core.placement import Model, Node, QueuePlan, Request, Snapshot, plan_queue
from homelab.core.placement.reasons import together
from homelab.core.times import iso
from homelab.db.pool import Connection

GIB = 1 << 30
RUN = "0190a000-0000-7000-8000-0000000000{:02d}"


def amounts(*, cpu: float = 0, memory: float = 0, gpu: float = 0, slots: float = 1) -> dict[str, int]:
    """Cores, GiB, GiB of GPU memory, slots."""
    named = {CPU: round(cpu * UNIT), MEMORY: round(memory * GIB), GPU_MEMORY: round(gpu * GIB)}
    return {SLOTS: round(slots * UNIT), **{name: value for name, value in named.items() if value}}


def work(number: int, name: str, *, priority: int = 0, submitted: float = 0.0, expected_s: float | None = None,
         app: str = "", **asks: float) -> Request:  # fmt: skip
    return Request(
        id=f"{RUN.format(number)}/{name}/1", name=name,
        amounts=amounts(**asks) | ({APP + app: UNIT} if app else {}), priority=priority,
        submitted=submitted, expected_s=expected_s,
    )  # fmt: skip


MACHINES = {
    "mac1": nodes.Beat(
        name="mac1",
        measured=Capacity(
            amounts={**amounts(cpu=8, memory=16, slots=4), DISK + "/": 460 * GIB}, gpus=(10 * GIB,), unified=True
        ),
        used={CPU: 900, MEMORY: 4 * GIB, DISK + "/": 310 * GIB},
        skew_s=0.02,
        version="0.1.0",
    ),
    "mac3": nodes.Beat(
        name="mac3",
        measured=Capacity(
            amounts={**amounts(cpu=12, memory=36, slots=6), APP + "photoshop": UNIT, DISK + "/": 920 * GIB},
            gpus=(24 * GIB,),
            unified=True,
        ),
        used={CPU: 2600, MEMORY: 9 * GIB, DISK + "/": 402 * GIB},
        skew_s=-0.3,
        version="0.1.0",
    ),
    "mac4": nodes.Beat(
        name="mac4",
        measured=Capacity(
            amounts={
                **amounts(cpu=16, memory=64, slots=8), DISK + "/": 1840 * GIB, DISK + "/Volumes/models": 3680 * GIB
            },
            gpus=(48 * GIB,),
            unified=True,
            models=("llama3:70b", "qwen2.5:32b", "nomic-embed"),
        ),
        used={CPU: 700, MEMORY: 5 * GIB, DISK + "/": 610 * GIB, DISK + "/Volumes/models": 2900 * GIB},
        models=(Model(name="llama3:70b", gpu_memory=30 * GIB),),
        skew_s=0.1,
        version="0.1.0",
    ),
}  # fmt: skip
DECLARED = (
    Node(name="mac1", roles=("control", "compute"), labels={"zone": "desk"}, declared=Capacity(amounts={CPU: 8000})),
    Node(name="mac3", roles=("compute", "creative"), labels={"zone": "loft"}, declared=Capacity(amounts={CPU: 12000})),
    Node(name="mac4", roles=("compute", "models"), labels={"zone": "shelf"}, declared=Capacity(amounts={CPU: 16000})),
)  # fmt: skip
HELD = {
    "mac1": (work(1, "take-in-uploads", cpu=2, memory=2), work(2, "check-services", cpu=0.5, memory=0.5)),
    "mac3": (
        work(3, "render-posters", cpu=4, memory=12, gpu=8, expected_s=2400, app="photoshop"),
        work(4, "sync-media", cpu=1, memory=1),
    ),
    "mac4": (
        work(5, "summarise-papers", cpu=4, memory=6, expected_s=900),
        work(6, "nightly-eval", cpu=6, memory=8, slots=2, expected_s=5400),
        work(7, "embed-archive", cpu=2, memory=3, gpu=4),
    ),
}
PAST = (
    ("mac1", "backup-databases", 300, 262, "done"), ("mac1", "collect-certificates", 250, 247, "done"),
    ("mac1", "backup-photos", 214, 121, "done"), ("mac1", "heartbeat", 96, 95, "done"),
    ("mac1", "rotate-logs", 61, 52, "done"),
    ("mac3", "render-banners", 340, 255, "done"), ("mac3", "transcode", 231, 118, "done"),
    ("mac3", "render-posters", 102, 74, "expired"), ("mac3", "thumbnails", 70, 44, "done"),
    ("mac4", "train-adapter", 355, 190, "done"), ("mac4", "nightly-eval", 300, 221, "evicted"),
    ("mac4", "summarise-papers", 182, 150, "done"), ("mac4", "embed-archive", 140, 58, "done"),
    ("mac4", "index-mail", 48, 33, "done"),
)  # fmt: skip
"""(node, job, minutes ago it began, minutes ago it ended, how)"""


async def beat(conn: Connection, *names: str) -> None:
    for name in names or tuple(MACHINES):
        await nodes.beat(conn, MACHINES[name])


async def three_machines(conn: Connection) -> None:
    """The machines, what is on them, and six hours of what was."""
    await nodes.declare(conn, DECLARED, {name: f"{name}.lan" for name in MACHINES})
    await beat(conn)
    for node, job, began, ended, how in PAST:
        held = await leases.take(conn, work(50 + began % 40, job, cpu=1, memory=1), node)
        assert isinstance(held, Held), held
        await leases.end(conn, held.token, how)
        await conn.execute(
            "update lease set taken = now() - %s, ended = now() - %s where token = %s",
            (timedelta(minutes=began), timedelta(minutes=ended), held.token),
        )
    for node, requests in HELD.items():
        for number, request in enumerate(requests):
            held = await leases.take(conn, request, node)
            assert isinstance(held, Held), held
            since = timedelta(minutes=7 + 11 * number, seconds=13 * number)
            await conn.execute("update lease set taken = now() - %s where token = %s", (since, held.token))


def waiting(snapshot: Snapshot, now: float) -> QueuePlan:
    """Three pieces of work that find no room, each for another reason."""
    return plan_queue(
        [
            work(31, "fine-tune", priority=5, submitted=now - 1260, expected_s=7200, cpu=6, memory=6, gpu=14),
            work(32, "render-catalogue", submitted=now - 610, expected_s=1800, cpu=4, app="photoshop"),
            work(33, "llama-batch", submitted=now - 95, cpu=2, memory=4, gpu=40),
        ],
        snapshot,
        now,
    )


async def with_queue(control: Control) -> None:
    """Control tells that those three wait."""
    async with control.database.connection() as conn:
        rows = await nodes.rows(conn)
        snapshot = Snapshot.of([nodes.node_of(row, holds=True) for row in rows], await leases.everything(conn))
    plan = waiting(snapshot, utc_now().timestamp())

    async def queue() -> list[dict[str, Any]]:
        return [
            {
                "work": one.id,
                "run": one.id.split("/")[0],
                "job": one.name,
                "priority": one.priority,
                "since": iso(datetime.fromtimestamp(one.submitted, UTC)),
                "node": None,
                "reasons": [
                    {"node": node, "code": reasons[0].code.value, "reason": together(reasons)}
                    for node, reasons in plan.reasons(one).items()
                ],
            }
            for one in plan.waiting
        ]

    control.fleet.waiting = queue


async def lasting(control: Control) -> None:
    """The machines and the queue for as long as a test takes: their heartbeats are of the next hour."""
    async with control.database.connection() as conn:
        await three_machines(conn)
        await conn.execute("update node set heartbeat = now() + interval '1 hour'")
        await conn.execute("update lease set expires = now() + interval '1 hour' where ended is null")
    await with_queue(control)
