"""Promises of nodes on a real Postgres: many placers at once, a database's clock, a node back from the dead."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.service.postgres_site import postgres

from homelab.control import leases, nodes
from homelab.control.leases import Held, Refused
from homelab.core.capacity import GPU_MEMORY, MEMORY, SLOTS, UNIT, Capacity
from homelab.core.labfile import Lab, parse
from homelab.core.placement import Request, render
from homelab.db.migrate import migrate
from homelab.db.pool import Connection, Database

GIB = 1 << 30
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
async def url(cluster: str) -> str:
    async with Database(cluster, password=None) as database:
        await migrate(database)
        async with database.connection() as conn:
            await conn.execute("truncate sent, lease_group, lease, node")
    return cluster


@asynccontextmanager
async def transaction(url: str) -> AsyncGenerator[Connection]:
    """A connection of its own and one transaction, as another process would have it."""
    async with await connect(url) as conn:
        yield conn


async def connect(url: str) -> Connection:
    conn: Connection = await psycopg.AsyncConnection.connect(url)
    conn.row_factory = dict_row
    return conn


async def heard(url: str, name: str, **amounts: int) -> int:
    """A node that is there, with these amounts (`gpus` is bytes of its one device)."""
    gpu = amounts.pop("gpu", None)
    has = Capacity(amounts={SLOTS: 1000 * UNIT, **amounts}, gpus=None if gpu is None else (gpu,))
    async with transaction(url) as conn:
        return await nodes.beat(conn, nodes.Beat(name=name, measured=has, used={}))


async def take(url: str, request: Request, node: str, ttl: timedelta = leases.TTL) -> Held | Refused:
    async with transaction(url) as conn:
        return await leases.take(conn, request, node, ttl=ttl)


def wants(name: str, **amounts: int) -> Request:
    return Request(id=name, name=name, amounts={SLOTS: UNIT, **amounts})


async def test_fifty_racing_placers_never_promise_more_than_there_is(url: str) -> None:
    has = {"mac3": 10 * GIB, "mac4": 7 * GIB, "mac5": 3 * GIB}
    for name, memory in has.items():
        await heard(url, name, memory=memory)

    async def placer(number: int) -> str | None:
        """All believe the first node has room, then the next."""
        for name in has:
            got = await take(url, wants(f"job-{number}", memory=GIB), name)
            if isinstance(got, Held):
                return name
        return None

    placed = Counter(await asyncio.gather(*(placer(n) for n in range(50))))
    assert placed == {"mac3": 10, "mac4": 7, "mac5": 3, None: 30}
    async with transaction(url) as conn:
        held = await leases.everything(conn)
    for name, memory in has.items():
        assert sum(one.amounts[MEMORY] for one in held if one.node == name) == memory


async def test_work_of_different_sizes_that_comes_and_goes_never_exceeds_a_node(url: str) -> None:
    await heard(url, "mac4", memory=8 * GIB, gpu=24 * GIB)
    most: dict[str, int] = {MEMORY: 0, GPU_MEMORY: 0}

    async def placer(number: int) -> int:
        done = 0
        for turn in range(4):
            asked = {MEMORY: (1 + number % 3) * GIB, GPU_MEMORY: (4 + number % 5) * GIB}
            request = Request(id=f"{number}/{turn}", name=f"job-{number}", amounts={SLOTS: UNIT, **asked})
            got = await take(url, request, "mac4")
            async with transaction(url) as conn:
                there = await leases.of_node(conn, "mac4")
                for name in most:
                    most[name] = max(most[name], sum(one.amounts.get(name, 0) for one in there))
                if isinstance(got, Held):
                    done += await leases.end(conn, got.token, "done")
        return done

    done = sum(await asyncio.gather(*(placer(n) for n in range(25))))
    assert done > 25
    assert 0 < most[MEMORY] <= 8 * GIB
    assert 0 < most[GPU_MEMORY] <= 24 * GIB


async def test_an_exclusive_group_has_one_holder_in_the_whole_lab(url: str) -> None:
    for name in ("mac3", "mac4"):
        await heard(url, name)
    requests = [
        Request(id=f"r{n}", name=f"r{n}", amounts={SLOTS: UNIT}, exclusive=("backup", "disk")[:: 1 if n % 2 else -1])
        for n in range(20)
    ]
    got = await asyncio.gather(*(take(url, r, ("mac3", "mac4")[n % 2]) for n, r in enumerate(requests)))
    (winner,) = [one for one in got if isinstance(one, Held)]
    losers = [one for one in got if isinstance(one, Refused)]
    assert len(losers) == 19
    assert all(winner.lease.owner in render(one.reasons[0]) for one in losers)
    async with transaction(url) as conn:
        assert await leases.end(conn, winner.token, "done")
    assert isinstance(await take(url, requests[0], "mac4"), Held)


async def test_one_piece_of_work_is_in_one_place(url: str) -> None:
    for name in ("mac3", "mac4"):
        await heard(url, name)
    got = await asyncio.gather(*(take(url, wants("backup"), ("mac3", "mac4")[n % 2]) for n in range(12)))
    assert sum(isinstance(one, Held) for one in got) == 1


async def test_a_refusal_says_what_is_in_the_way_now(url: str) -> None:
    await heard(url, "mac4", memory=4 * GIB)
    assert isinstance(await take(url, wants("llama", memory=3 * GIB), "mac4"), Held)
    got = await take(url, wants("render", memory=2 * GIB), "mac4")
    assert isinstance(got, Refused)
    assert [render(reason) for reason in got.reasons] == ["mac4: 1 GiB memory free of 2 GiB asked; llama holds 3 GiB"]
    gone = await take(url, wants("render"), "mac9")
    assert isinstance(gone, Refused)
    assert "mac9" in render(gone.reasons[0])


async def test_a_placer_that_dies_halfway_leaves_nothing(url: str) -> None:
    await heard(url, "mac4", memory=GIB)
    dying = await connect(url)
    assert isinstance(await leases.take(dying, wants("first", memory=GIB), "mac4"), Held)
    waiting = asyncio.create_task(take(url, wants("second", memory=GIB), "mac4"))
    async with transaction(url) as conn:  # the second waits for the first
        await conn.execute("select pg_terminate_backend(%s)", (dying.info.backend_pid,))
    assert isinstance(await waiting, Held)
    await dying.close()


async def test_what_is_not_renewed_is_given_up_and_the_node_is_fenced(url: str) -> None:
    epoch = await heard(url, "mac4", memory=GIB)
    await heard(url, "mac3", memory=GIB)
    old = await take(url, wants("backup", memory=GIB), "mac4", timedelta())
    kept = await take(url, wants("other"), "mac3")
    assert isinstance(old, Held)
    assert isinstance(kept, Held)
    async with transaction(url) as conn:
        await conn.execute("update node set heartbeat = now() - interval '41 s' where name = 'mac4'")
        assert [(r["work"], r["node"], r["token"]) for r in await leases.give_up(conn)] == [
            ("backup", "mac4", old.token)
        ]
        assert await leases.speaks_for(conn, "backup", old.token)  # nobody else runs it yet: its result counts
    async with transaction(url) as conn:
        assert await leases.renew(conn, "mac4", epoch, [old.token]) == set()
        assert await leases.renew(conn, "mac3", kept.epoch, [kept.token, old.token]) == {kept.token}
        assert not await leases.end(conn, old.token, "done")
    new = await take(url, wants("backup", memory=GIB), "mac3")
    assert isinstance(new, Held)
    async with transaction(url) as conn:
        assert not await leases.speaks_for(conn, "backup", old.token)
        assert await leases.speaks_for(conn, "backup", new.token)
    assert await heard(url, "mac4", memory=GIB) == epoch + 1
    again = await take(url, wants("third", memory=GIB), "mac4")
    assert isinstance(again, Held)
    assert again.epoch == epoch + 1


async def test_a_lease_that_its_node_does_not_name_runs_out_and_harms_no_other(url: str) -> None:
    epoch = await heard(url, "mac4")
    forgotten = await take(url, wants("forgotten"), "mac4", timedelta())
    kept = await take(url, wants("kept"), "mac4")
    assert isinstance(forgotten, Held)
    assert isinstance(kept, Held)
    async with transaction(url) as conn:
        assert [r["work"] for r in await leases.give_up(conn)] == ["forgotten"]
    assert await heard(url, "mac4") == epoch
    async with transaction(url) as conn:
        assert await leases.renew(conn, "mac4", epoch, [kept.token]) == {kept.token}


async def test_renewing_and_giving_up_at_once_agree(url: str) -> None:
    epoch = await heard(url, "mac4")
    held = [await take(url, wants(f"job-{n}"), "mac4", timedelta()) for n in range(20)]
    tokens = [one.token for one in held if isinstance(one, Held)]

    async def renew() -> set[int]:
        async with transaction(url) as conn:
            return await leases.renew(conn, "mac4", epoch, tokens)

    async def give_up() -> set[int]:
        async with transaction(url) as conn:
            return {row["token"] for row in await leases.give_up(conn)}

    renewed, *lost = await asyncio.gather(renew(), *(give_up() for _ in range(5)))
    assert len(tokens) == 20
    assert sorted([*renewed, *(token for one in lost for token in one)]) == tokens  # each of them once


async def test_a_node_that_is_silent_or_drained_gets_nothing(url: str) -> None:
    await heard(url, "mac4")
    async with transaction(url) as conn:
        await nodes.want(conn, "mac4", "drained")
    got = await take(url, wants("backup"), "mac4")
    assert isinstance(got, Refused)
    assert "drained" in render(got.reasons[0])
    async with transaction(url) as conn:
        await nodes.want(conn, "mac4", "ready")
        await conn.execute("update node set heartbeat = now() - interval '31 seconds'")
    got = await take(url, wants("backup"), "mac4")
    assert isinstance(got, Refused)
    assert "unreachable" in render(got.reasons[0])


async def test_declared_and_measured_both_count_and_come_back_as_they_were(url: str) -> None:
    has = Capacity(
        amounts={SLOTS: 20 * UNIT, MEMORY: 4 * GIB, "cpu": 8 * UNIT}, gpus=(GIB, 2 * GIB), unified=True, models=("m",)
    )
    lab, _ = parse(
        {
            "lab.toml": '[nodes.mac4]\naddress = "mac4.lan"\nroles = ["compute"]\nlabels = { zone = "shelf" }\n'
            'capacity = { memory = "4GiB", cpu = 8, gpu_memory = ["1GiB", "2GiB"], unified_memory = true,'
            ' models = ["m"] }\n'
        },
        main="lab.toml",
    )
    assert lab is not None
    async with transaction(url) as conn:
        await nodes.declare(conn, lab)
    await heard(url, "mac4", memory=2 * GIB)
    async with transaction(url) as conn:
        (row,) = await nodes.rows(conn)
        found = nodes.node_of(row, holds=False)
        assert found.declared == has
        assert (found.labels, found.roles, row["address"]) == ({"zone": "shelf"}, ("compute",), "mac4.lan")
        assert found.capacity.amounts[MEMORY] == 2 * GIB
        await nodes.declare(conn, Lab(name="empty"))
        (row,) = await nodes.rows(conn)
        assert nodes.node_of(row, holds=False).declared == Capacity()


async def test_a_node_that_holds_something_is_not_removed(url: str) -> None:
    await heard(url, "mac4")
    held = await take(url, wants("backup"), "mac4")
    assert isinstance(held, Held)
    async with transaction(url) as conn:
        assert not await nodes.forget(conn, "mac4")
        await leases.end(conn, held.token, "done")
        assert await nodes.forget(conn, "mac4")
        assert await nodes.rows(conn) == []
