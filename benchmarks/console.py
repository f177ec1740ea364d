"""The console on a month of history: time at the server for each page, and fifty open pages on a lab that is busy."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
from tests import history
from tests.service import console_site
from tests.service.postgres_site import postgres

from benchmarks.measuring import Row

RUNS = 145_000
"""Job runs of the reference lab in thirty days."""
TIMES = 40
JOBS = 500
PAGE_MS = 150
OPEN = 50
CORE_PERCENT = 10


def pages(work: Path) -> list[Row]:
    """Every page forty times: the 95th percentile of the slowest; again on a lab of hundreds of jobs. And fifty
    readers of the first page for ten seconds, while a job's state changes every second: CPU of the server in percent
    of a core."""
    month = asyncio.run(_with_history(work / "month", _measure, days=30))
    return month + asyncio.run(_with_history(work / "many", _measure_many, days=3, text=history.large_lab(JOBS)))


async def _with_history(
    work: Path, then: Callable[[console_site.Site], Awaitable[list[Row]]], *, days: float, text: str | None = None
) -> list[Row]:
    work.mkdir()
    with postgres() as url:
        async with console_site.running(url, work, days=days, most=RUNS, text=text) as site:
            return await then(site)


async def _measure(site: console_site.Site) -> list[Row]:
    cookie = await site.sign_in()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    run = site.past.failed["dump-app"]
    paths = ["/", "/jobs", "/graph", "/jobs/heartbeat", "/runs", "/runs?state=failed", "/runs?job=test-restore",
             f"/runs/{run}", "/lab", "/lab/file", "/lab/notifications", "/lab/tokens", "/lab/audit"]  # fmt: skip
    slowest, where = await _slowest(site, headers, paths)
    return [
        Row(
            f"slowest page on {site.past.jobs:,} job runs, at the server, p95 of {TIMES}",
            f"{slowest:.0f} ms ({where.replace(run, 'ID')})",
            f"under {PAGE_MS} ms",
            slowest < PAGE_MS,
        ),
        await _open_pages(site, headers),
    ]


async def _measure_many(site: console_site.Site) -> list[Row]:
    cookie = await site.sign_in()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    slowest, where = await _slowest(site, headers, ["/", "/jobs", "/graph", "/graph?open=all", "/runs"])
    return [
        Row(
            f"slowest page of a lab of {JOBS} jobs, at the server, p95 of {TIMES}",
            f"{slowest:.0f} ms ({where})",
            f"under {PAGE_MS} ms",
            slowest < PAGE_MS,
        )
    ]


async def _slowest(site: console_site.Site, headers: dict[str, str], paths: list[str]) -> tuple[float, str]:
    """(milliseconds at the 95th percentile, path) of the slowest."""
    late: list[tuple[float, str]] = []
    for path in paths:
        taken: list[float] = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            got = await site.http.get(path, headers=headers)
            assert got.status_code == 200, path
            taken.append((time.perf_counter() - begun) * 1000)
        late.append((sorted(taken)[int(TIMES * 0.95) - 1], path))
    return max(late)


async def _open_pages(site: console_site.Site, headers: dict[str, str]) -> Row:
    got = [0]

    async def read() -> None:
        async with site.http.stream("GET", "/live?topic=now&after=0", headers=headers, timeout=60) as stream:
            async for line in stream.aiter_lines():
                got[0] += line.startswith("event: part")

    readers = [asyncio.create_task(read()) for _ in range(OPEN)]
    await asyncio.sleep(3)
    process, got[0] = psutil.Process(), 0
    before, begun = process.cpu_times(), time.perf_counter()
    for n in range(10):
        await (site.control.resume if n % 2 else site.control.pause)("check-services", "bench")
        await asyncio.sleep(1)
    after, wall = process.cpu_times(), time.perf_counter() - begun
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    share = (after.user + after.system - before.user - before.system) / wall * 100
    return Row(
        f"{OPEN} open pages, a change a second: CPU of the server and of the {OPEN} readers together",
        f"{share:.1f} % of a core, {got[0]} parts sent",
        f"under {CORE_PERCENT} %",
        share < CORE_PERCENT,
    )
