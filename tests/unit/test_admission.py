"""Slots, exclusive groups and overlap policies of one node."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from homelab.worker.admission import Admission, Slots, Turn


@given(limit=st.integers(1, 4), jobs=st.integers(1, 12), cancelled=st.sets(st.integers(0, 11)))
def test_never_more_than_the_limit_run_and_everyone_not_cancelled_gets_a_turn(
    limit: int, jobs: int, cancelled: set[int]
) -> None:
    async def scene() -> None:
        slots, running, most, done = Slots(limit), 0, 0, set[int]()

        async def job(number: int) -> None:
            nonlocal running, most
            async with slots.slot():
                running += 1
                most = max(most, running)
                try:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                finally:
                    running -= 1
            done.add(number)

        tasks = [asyncio.create_task(job(n)) for n in range(jobs)]
        await asyncio.sleep(0)
        gone = {n for n in cancelled if n < jobs and tasks[n].cancel()}
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= limit
        assert done >= set(range(jobs)) - gone
        assert slots.used == 0

    asyncio.run(scene())


async def test_two_jobs_of_one_exclusive_group_never_run_at_once_and_waiting_holds_no_slot() -> None:
    admission = Admission()
    admission.configure({"default": 2})
    order: list[str] = []
    release = asyncio.Event()

    async def job(name: str, groups: tuple[str, ...]) -> None:
        async with admission.start("default", groups):
            order.append(f"{name} starts")
            if name != "free":
                await release.wait()
            order.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(job("first", ("disk", "net")))
        await asyncio.sleep(0)
        group.create_task(job("second", ("net", "disk")))
        await asyncio.sleep(0)
        group.create_task(job("free", ()))
        for _ in range(5):
            await asyncio.sleep(0)
        release.set()
    assert order == ["first starts", "free starts", "free ends", "first ends", "second starts", "second ends"]


async def test_overlap_policies_let_go_skip_or_queue_one() -> None:
    admission = Admission()
    assert admission.turn("f", "allow", "1") is Turn.GO
    assert admission.turn("f", "allow", "2") is Turn.GO
    assert admission.turn("f", "forbid", "3") is Turn.SKIP
    assert admission.turn("f", "queue", "4") is Turn.WAIT
    assert admission.turn("f", "queue", "5") is Turn.SKIP
    waiting = asyncio.create_task(admission.wait_turn("f", "4"))
    await asyncio.sleep(0)
    admission.leave("f", "1")
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.leave("f", "2")
    await waiting
    assert admission.running("f") == {"4"}


def test_what_runs_already_has_its_slot_and_its_groups_whatever_the_limit() -> None:
    async def scene() -> None:
        admission = Admission()
        admission.configure({"default": 1})
        async with (
            admission.start("default", ("gpu",), is_running=True),
            admission.start("default", ("disk",), is_running=True),
        ):
            assert admission.used == 2
            others = [asyncio.create_task(admission.start("default", group).__aenter__()) for group in (("gpu",), ())]
            await asyncio.sleep(0)
            assert not any(other.done() for other in others)
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        assert admission.used == 1
        for other in others:
            other.cancel()

    asyncio.run(scene())
