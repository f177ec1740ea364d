"""What nodes tell of themselves, on a real Postgres: heartbeats, clocks, what the lab file declares, sleep."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.service.postgres_site import postgres

from homelab.control import nodes
from homelab.control.service import Control
from homelab.core.errors import InputError
from homelab.core.placement import Node
from homelab.db.pool import Database
from homelab.home.paths import Home
from homelab.worker.sensors.sensing import Sensors

GIB = 1 << 30


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


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
        return await self.control.heartbeat({**body, **fields})

    async def nodes(self) -> dict[str, Node]:
        async with Database(self.url, password=None) as database, database.connection() as conn:
            return {row["name"]: nodes.node_of(row, holds=False) for row in await nodes.rows(conn)}

    def sql(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as conn:
            done = conn.execute(statement.encode())  # type: ignore[arg-type]
            return done.fetchall() if done.description else []


@pytest.fixture
async def site(database: str, tmp_path: Path) -> AsyncIterator[Site]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("drop schema public cascade; create schema public")
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


async def test_a_node_that_leaves_the_lab_file_keeps_what_it_measured_and_no_more(site: Site) -> None:
    await site.apply(LAB)
    await site.heard("mac4", measured={"amounts": {"memory": 32 * GIB}})
    await site.apply("[jobs.scan]\nrun = 'true'\n")
    mac4 = (await site.nodes())["mac4"]
    assert mac4.declared.amounts == {} and mac4.measured is not None
    await site.heard("mac4", measured={"amounts": {"memory": 32 * GIB}})
    assert (await site.nodes())["mac4"].capacity.amounts == {"memory": 32 * GIB, "slots": 20_000}
