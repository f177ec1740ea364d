"""One control for a hundred nodes: a real one on Postgres, and workers that ask and tell over HTTP as workers do.

Prefect is played by the recorder of the tests, in control's process: what its server takes is in other benchmarks.
"""

import asyncio
import multiprocessing
import os
import random
import socket
import time
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.service.postgres_site import postgres
from tests.service.prefect_recorder import Recorder
from tests.service.serving import listening, served

from benchmarks.measuring import Row, percentile
from homelab.console.site import Console
from homelab.control.access import Access
from homelab.control.api.app import app
from homelab.control.service import Control
from homelab.core import labfile
from homelab.core.times import iso
from homelab.home.paths import Home
from homelab.home.secrets import read_or_create

NODES = 100
BEAT_S = 10.0
JOB_EVERY_S = 30.0
SETTLING_S = 15.0
MEASURED_S = 60.0
DIGESTS: dict[str, str] = {}
"""Of the flow of each job."""
LAB = '[lab]\nname = "bench"\ntimezone = "UTC"\n' + "\n".join(
    f'[jobs.j{n}]\nrun = "true"\nrequires = {{ memory = "1GiB" }}' for n in range(50)
)


def hundred_nodes(work: Path) -> list[Row]:
    """CPU of control with a hundred nodes that send heartbeats, ask for work, and run a job every half minute."""
    home = Home(work / "home").ensure()
    lab, _ = labfile.parse({"lab.toml": LAB}, main="lab.toml")
    assert lab is not None
    DIGESTS.update({flow.name: flow.digest for flow in lab.flows})
    context = multiprocessing.get_context("fork")
    with postgres() as url, listening() as (where, address):
        ready = context.Event()
        child = context.Process(target=_control, args=(url, home, where, address, ready))
        child.start()
        try:
            assert ready.wait(60), "control did not start"
            share, waits = asyncio.run(_measured(address, psutil.Process(child.pid), home))
        finally:
            child.terminate()
            child.join(20)
    p99 = percentile(waits, 0.99)
    return [
        Row(f"control with {NODES} nodes, share of one core", f"{share:.1%}", "50 %", share <= 0.5),
        Row(f"{NODES} nodes: an ask for a lease to its answer, p99 of {len(waits)}", f"{p99 * 1000:.0f} ms"),
    ]


def _control(url: str, home: Home, where: socket.socket, address: str, ready: Event) -> None:
    asyncio.run(_serve(url, home, where, address, ready))


async def _serve(url: str, home: Home, where: socket.socket, address: str, ready: Event) -> None:
    prefect: Any = Recorder()
    async with Control.open(home, url, prefect, own_url=address) as control:
        await control.apply({"lab.toml": LAB}, "lab.toml", by="bench")
        made = app(
            control, access=Access(control.database.tuples), home=home, prefect_url="http://127.0.0.1:1/api",
            prefect_auth=None, own_url=address, pages=Console(),
        )  # fmt: skip
        async with served(made, where, address):
            ready.set()
            await control.serve_loops()


async def _measured(address: str, control: psutil.Process, home: Home) -> tuple[float, list[float]]:
    """The share of a core that control takes, and how long each ask for a lease waited for its answer."""
    waits: list[float] = []
    headers = {"Authorization": f"Bearer {read_or_create(home, 'token-node')}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=40, limits=limits) as http:
        nodes = [asyncio.create_task(_node(http, f"n{n:03}", waits)) for n in range(NODES)]
        await asyncio.sleep(SETTLING_S)
        waits.clear()
        before, began = _cpu_s(control), time.monotonic()
        await asyncio.sleep(MEASURED_S)
        share = (_cpu_s(control) - before) / (time.monotonic() - began)
        for node in nodes:
            node.cancel()
        for ended in await asyncio.gather(*nodes, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise AssertionError(f"a node ended: {ended!r}")
    return share, waits


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


async def _node(http: httpx.AsyncClient, name: str, waits: list[float]) -> None:
    await asyncio.sleep(random.random() * BEAT_S)
    held: list[int] = []
    await _beat(http, name, held)
    async with asyncio.TaskGroup() as group:
        group.create_task(_beats(http, name, held))
        group.create_task(_listens(http, name))
        group.create_task(_works(http, name, held, waits))


async def _post(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    answer = await http.post(f"/api/v1/worker/{path}", json=body)
    answer.raise_for_status()
    return answer.json()


async def _beat(http: httpx.AsyncClient, name: str, held: list[int]) -> None:
    body = {
        "worker": name, "node": name, "pid": os.getpid(), "started": iso(STARTED), "slots": 20, "running": [],
        "leases": held, "measured": {"amounts": {"cpu": 8000, "memory": 16 << 30}}, "used": {"memory": 2 << 30},
        "clock": iso(datetime.now(UTC)),
    }  # fmt: skip
    await _post(http, "heartbeat", body)


STARTED = datetime.now(UTC)


async def _beats(http: httpx.AsyncClient, name: str, held: list[int]) -> None:
    while True:
        await _post(http, "due", {"worker": name, "node": name})
        await asyncio.sleep(BEAT_S / 2)
        await _beat(http, name, held)
        await asyncio.sleep(BEAT_S / 2)


async def _listens(http: httpx.AsyncClient, name: str) -> None:
    while True:
        await http.get("/api/v1/worker/wake", params={"worker": name})


async def _works(http: httpx.AsyncClient, name: str, held: list[int], waits: list[float]) -> None:
    number = 0
    while True:
        number += 1
        job = f"j{number % 50}"
        work = f"{name}-{number}/{job}/1"
        at = time.monotonic()
        answer = await _post(http, "leases", {"node": name, "asks": [{"work": work, "digest": DIGESTS[job]}]})
        waits.append(time.monotonic() - at)
        [lease] = answer["leases"]
        assert lease["answer"] == "held", lease
        held[:] = [lease["token"]]
        await asyncio.sleep(JOB_EVERY_S / 2)
        now = iso(datetime.now(UTC))
        report = {
            "id": work, "kind": "job.finished", "run": work.split("/")[0], "flow": "j", "due": None,
            "job": work.split("/")[1], "attempt": 1, "started": now, "ended": now, "state": "succeeded",
            "exit_code": 0, "signal": None, "reason": "", "output_bytes": 0, "output_lines": 0, "tail": [],
            "retry_at": None, "node": name, "worker": name, "token": lease["token"],
        }  # fmt: skip
        await _post(http, "reports", {"reports": [report]})
        held.clear()
        await asyncio.sleep(JOB_EVERY_S / 2)
