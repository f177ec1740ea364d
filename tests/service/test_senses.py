"""What nodes tell of themselves, on a real Postgres: heartbeats, clocks, what the lab file declares, sleep."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.service.postgres_site import fresh
from tests.service.serving import listening, served

from homelab.control import nodes
from homelab.control.access import Access
from homelab.control.api.app import app
from homelab.control.service import Control
from homelab.core.errors import InputError, NotFoundError, RefusedError
from homelab.core.placement import Node
from homelab.db.pool import Database
from homelab.home.paths import Home
from homelab.worker.sensors.sensing import Sensors

GIB = 1 << 30


class Deployments:
    """Prefect, as far as applying a lab of jobs without a schedule asks it."""

    async def ensure_pool(self, name: str) -> None: ...

    async def put_deployment(self, flow: Any, *, pool: str) -> str:
        return f"d-{flow.name}"

    async def delete_deployment(self, deployment: str) -> None: ...


@dataclass
class Site:
    url: str
    home: Home
    control: Control
    beats: int = field(default=0)

    async def apply(self, text: str) -> None:
        await self.control.apply({"lab.toml": text}, "lab.toml", by="test")

    async def heard(self, node: str, **fields: Any) -> dict[str, Any]:
        body = {"worker": node, "node": node, "pid": 1, "started": "2026-01-01T00:00:00Z", "slots": 20, "running": []}
        return await self.control.workers.heartbeat({**body, **fields})

    async def nodes(self) -> dict[str, Node]:
        async with Database(self.url, password=None) as database, database.connection() as conn:
            return {row["name"]: nodes.node_of(row, holds=False) for row in await nodes.rows(conn)}

    def sql(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as conn:
            done = conn.execute(statement.encode())  # type: ignore[arg-type]
            return done.fetchall() if done.description else []


@pytest.fixture
async def site(database: str, tmp_path: Path) -> AsyncIterator[Site]:
    fresh(database)
    home = Home(tmp_path / "home").ensure()
    async with Control.open(home, database, Deployments()) as control:  # type: ignore[arg-type]
        yield Site(database, home, control)


LAB = """
[nodes.mac4]
capacity = { cpu = 10, memory = "64GiB" }
labels = { os = "mine" }
[jobs.scan]
run = "true"
requires = { memory = "32GiB", disk = { "/data" = "1GiB" }, apps = ["blender"] }
"""


async def test_a_heartbeat_of_this_machine_makes_it_a_node_without_a_lab_file(site: Site) -> None:
    answer = await site.heard("here", **await Sensors(site.home.root).told())
    assert answer["ok"] and answer["epoch"] == 1
    here = (await site.nodes())["here"]
    assert here.state == "ready" and here.measured is not None
    assert {"cpu", "memory", "slots", f"disk:{site.home.root}"} <= here.capacity.amounts.keys()
    assert here.clock_skew_s is not None and abs(here.clock_skew_s) < 1.0
    assert site.sql("select version from node")[0]["version"]


async def test_the_smaller_of_declared_and_measured_counts_and_the_answer_says_what_to_look_for(site: Site) -> None:
    await site.apply(LAB)
    answer = await site.heard(
        "mac4", measured={"amounts": {"memory": 32 * GIB, "cpu": 12_000}}, labels={"os": "macos", "arch": "arm64"}
    )
    assert answer["sense"] == {"disks": ["/data"], "apps": ["blender"]}
    mac4 = (await site.nodes())["mac4"]
    assert mac4.capacity.amounts == {"memory": 32 * GIB, "cpu": 10_000, "slots": 20_000}
    assert mac4.labels == {"os": "mine", "arch": "arm64"}, "a person knows better"


async def test_an_older_workers_heartbeat_counts_and_what_it_does_not_say_is_unknown(site: Site) -> None:
    await site.heard("old")
    old = (await site.nodes())["old"]
    assert old.state == "ready" and dict(old.capacity.amounts) == {"slots": 20_000}
    assert old.clock_skew_s is None and old.foreign == {}


async def test_a_heartbeat_with_nonsense_is_refused_whole(site: Site) -> None:
    with pytest.raises(InputError):
        await site.heard("bad", measured={"amounts": {"cpu": -4}})
    assert await site.nodes() == {} and site.sql("select 1 from worker") == []


async def test_a_clock_that_is_off_is_told_by_the_database(site: Site) -> None:
    for _ in range(3):
        ahead = datetime.now(UTC) + timedelta(seconds=8)
        await site.heard("ahead", clock=ahead.isoformat())
    skew = (await site.nodes())["ahead"].clock_skew_s
    assert skew is not None and 7.0 < skew < 9.0


async def test_silence_is_failure_unless_the_lab_file_says_that_the_node_sleeps(site: Site) -> None:
    await site.apply(
        "[nodes.air]\nsleeps = true\nwake = '02:00:00:00:00:01'\n[nodes.mini]\n[nodes.never]\nsleeps = true\n"
    )
    for name in ("air", "mini"):
        await site.heard(name)
    assert {n: one.state for n, one in (await site.nodes()).items()} == {
        "air": "ready", "mini": "ready", "never": "unreachable",
    }  # fmt: skip
    site.sql("update node set heartbeat = heartbeat - interval '31 seconds'")
    found = await site.nodes()
    assert {n: one.state for n, one in found.items()} == {
        "air": "asleep", "mini": "unreachable", "never": "unreachable",
    }  # fmt: skip
    assert found["air"].wakeable and not found["mini"].wakeable
    await site.heard("air")
    assert (await site.nodes())["air"].state == "ready"
    await site.heard("mini", asleep=True)
    assert (await site.nodes())["mini"].state == "asleep"
    site.sql("update node set wanted = 'drained' where name = 'mini'")
    assert (await site.nodes())["mini"].state == "drained", "nothing wakes it"


async def test_a_node_that_leaves_the_lab_file_keeps_what_it_measured_and_no_more(site: Site) -> None:
    await site.apply(f"[nodes.never_heard]\n{LAB}")
    await site.heard("mac4", measured={"amounts": {"memory": 32 * GIB}})
    await site.apply("[jobs.scan]\nrun = 'true'\n")
    assert list(await site.nodes()) == ["mac4"], "of the other nothing is known"
    mac4 = (await site.nodes())["mac4"]
    assert mac4.declared.amounts == {} and mac4.measured is not None
    await site.heard("mac4", measured={"amounts": {"memory": 32 * GIB}})
    assert (await site.nodes())["mac4"].capacity.amounts == {"memory": 32 * GIB, "slots": 20_000}


BIG = "[jobs.train]\nrun = 'true'\nrequires = { memory = '200GiB' }\n"


async def test_what_no_node_could_ever_run_is_a_problem_until_a_node_joins_that_can(site: Site) -> None:
    await site.apply(BIG)
    await site.heard("mac1", measured={"amounts": {"memory": 16 * GIB}})
    await site.heard("mac4", measured={"amounts": {"memory": 64 * GIB}})
    said = "no node has 200 GiB memory; the largest is mac4 with 64 GiB"
    (problem,) = await site.control.problems()
    assert (problem["code"], problem["subject"], problem["severity"]) == ("impossible", "train", "warning")
    assert problem["message"] == f"train can never run: {said}" and problem["hint"]
    assert (await site.control.lab())["problems"] == [problem], "as status shows it"
    (entry,) = (await site.control.looking.now())["attention"]
    assert (entry["subject"], entry["kind"]) == ("train", "lab") and said in entry["reason"]
    assert (await site.control.why("train"))["reasons"][0] == f"no node of the lab can ever run it: {said}"
    await site.heard("studio", measured={"amounts": {"memory": 256 * GIB}})
    assert await site.control.problems() == []
    assert not any("can ever" in reason for reason in (await site.control.why("train"))["reasons"])


async def test_the_silence_of_a_node_that_sleeps_is_no_problem(site: Site) -> None:
    await site.apply("[nodes.air]\nsleeps = true\n[jobs.a]\nrun = 'true'\n")
    await site.heard("air")
    await site.heard("mini")
    site.sql("update node set heartbeat = heartbeat - interval '60 seconds'")
    site.sql("update worker set last_seen = last_seen - interval '60 seconds'")
    assert [p["subject"] for p in await site.control.problems()] == ["mini"]
    states = {node["name"]: node["state"] for node in (await site.control.lab())["nodes"]}
    assert states == {"air": "asleep", "mini": "unreachable"}
    await site.heard("air", slept_s=3600.0)
    (slept,) = site.sql("select body from event where kind = 'node.slept'")
    assert slept["body"] == {"seconds": 3600.0}


@pytest.fixture
def network() -> Iterator[socket.socket]:
    """Where messages that wake something arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(5)
        yield udp


async def test_a_node_that_sleeps_is_woken_by_its_address_some_times_and_told_when_it_does_not(
    site: Site, network: socket.socket
) -> None:
    port = network.getsockname()[1]
    await site.apply(f"[nodes.air]\nsleeps = true\nwake = 'aa:bb:cc:dd:ee:0f@127.0.0.1:{port}'\n[nodes.mini]\n")
    await site.heard("air", asleep=True)
    now = datetime.now(UTC)
    site.control._shared.clock = lambda: now
    answer = await site.control.waking.wake("air")
    assert answer["sent"] and answer["tries"] == 1
    assert network.recv(200) == b"\xff" * 6 + bytes.fromhex("aabbccddee0f") * 16
    assert not (await site.control.waking.wake("air"))["sent"], "it was asked just now"
    assert (await site.control.waking.wake("air", by="anna"))["sent"], "a person may always"
    assert network.recv(200)
    for _ in range(10):
        now += timedelta(seconds=30)
        await site.control.waking.wake("air")
    site.sql("update worker set last_seen = now()")
    (problem,) = await site.control.problems()
    assert problem["code"] == "not-awake" and "homelab node wake air" in problem["hint"]
    await site.heard("air")
    assert await site.control.problems() == []
    assert (await site.control.waking.wake("air"))["message"] == "air is awake"
    with pytest.raises(RefusedError, match="cannot be woken"):
        await site.control.waking.wake("mini", by="anna")
    with pytest.raises(NotFoundError):
        await site.control.waking.wake("aire")


async def test_the_command_wakes_a_node_and_waits_until_it_is_there(site: Site, network: socket.socket) -> None:
    port = network.getsockname()[1]
    await site.apply(f"[nodes.air]\nsleeps = true\nwake = 'aa:bb:cc:dd:ee:0f@127.0.0.1:{port}'\n[nodes.mini]\n")
    await site.heard("air", asleep=True)
    access = Access(site.control.database)
    token = (await access.create_token("test", "operate"))["token"]
    with listening() as (where, url):
        made = app(site.control, access=access, home=site.home, prefect_url=url, prefect_auth="", own_url=url)
        async with served(made, where, url):

            async def command(*arguments: str) -> tuple[int, str, str]:
                run = await asyncio.create_subprocess_exec(
                    Path(sys.executable).with_name("homelab"), "node", "wake", *arguments,
                    env={**os.environ, "HOMELAB_URL": url, "HOMELAB_TOKEN": token, "NO_COLOR": "1"},
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )  # fmt: skip
                out, err = await run.communicate()
                return run.returncode or 0, out.decode(), err.decode()

            waiting = asyncio.create_task(command("air", "--wait", "--json"))
            assert len(await asyncio.to_thread(network.recv, 200)) == 102
            await site.heard("air")
            status, out, _ = await waiting
            assert status == 0 and json.loads(out)["message"] == "air is awake"
            status, out, err = await command("air")
            assert (status, out) == (0, "") and "air is awake" in err
            status, _, err = await command("mini")
            assert status == 5 and "[nodes.mini]: wake =" in err
            status, _, err = await command("aire")
            assert status == 3 and "air" in err
            await site.heard("air", asleep=True)
            status, _, err = await command("air", "--wait", "--timeout", "0.1")
            assert status == 4 and "not heard" in err
    noted = site.sql("select who, subject from audit where action like '%wake%'")
    assert noted
