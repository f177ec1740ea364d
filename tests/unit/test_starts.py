"""What is told of runs gives way to commands that start, for a moment and no longer."""

import asyncio

import looptime  # noqa: F401 - virtual time for the marked tests
import pytest

from homelab.worker.record import Gate
from homelab.worker.starts import MOST_S, QUIET_S, Starts


async def _settled_after(starts: Starts) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await starts.settled()
    return loop.time() - began


@pytest.mark.looptime
async def test_where_nothing_starts_nothing_waits() -> None:
    assert await _settled_after(Starts()) == 0


@pytest.mark.looptime
async def test_it_waits_until_nothing_has_started_for_a_moment() -> None:
    starts = Starts()
    waiting = asyncio.create_task(_settled_after(starts))
    for _ in range(3):
        starts.began()
        await asyncio.sleep(QUIET_S * 0.8)
    assert await waiting == pytest.approx(QUIET_S * 2.6)


@pytest.mark.looptime
async def test_starts_without_end_hold_it_up_no_longer_than_half_a_second_each_time() -> None:
    starts = Starts()

    async def go_on() -> None:
        while True:
            starts.began()
            await asyncio.sleep(QUIET_S / 5)

    going = asyncio.create_task(go_on())
    await asyncio.sleep(0)
    for _ in range(3):
        assert QUIET_S < await _settled_after(starts) <= MOST_S + QUIET_S
        await asyncio.sleep(QUIET_S / 5)
    going.cancel()


@pytest.mark.looptime
async def test_a_gate_gives_way_to_starts() -> None:
    starts, told = Starts(), list[float]()
    loop = asyncio.get_running_loop()
    gate = Gate(1, starts=starts)

    async def tell() -> None:
        told.append(loop.time())

    began = loop.time()
    starts.began()
    await gate.until_taken(tell, what="test")
    await gate.until_taken(tell, what="test")
    assert [at - began for at in told] == pytest.approx([QUIET_S, QUIET_S])
