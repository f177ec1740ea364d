"""Logs of other nodes arrive at control byte for byte: live, over an outage, after a kill, whatever their size."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.passing_site import Cable, Site, link_of, running

from homelab.home.paths import Home
from homelab.worker import journal, runlog
from homelab.worker.control_link import ControlLink
from homelab.worker.log_copies import LogCopies, waiting


@pytest.fixture
async def site(database: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(database, tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def copying(home: Home, link: ControlLink, *, interval_s: float = 0.05) -> AsyncIterator[LogCopies]:
    copies = LogCopies(home, link, interval_s=interval_s)
    task = asyncio.create_task(copies.serve())
    await asyncio.sleep(0)
    try:
        yield copies
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(probe, what: str, timeout_s: float = 20) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_s
    while not probe():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


def path_of(home: Home, run: str, job: str = "make", attempt: int = 1) -> Path:
    return home.run_folder(run) / f"{job}.{attempt}.log"


async def whole(site: Site, home: Home, run: str, **which) -> None:  # type: ignore[no-untyped-def]
    """Wait until control has the same bytes and knows that they are all."""
    await until(lambda: run not in waiting(home), f"{run} is still on its way")
    there, here = path_of(site.home, run, **which), path_of(home, run, **which)
    assert there.read_bytes() == here.read_bytes()
    assert not there.with_name(there.name + ".copying").exists() and not runlog.spill_of(there).exists()


async def test_a_log_is_seen_at_control_while_it_is_written_and_equal_afterwards(site: Site) -> None:
    home, run = await site.node("far"), await site.run(node="far")
    async with link_of(home) as link, copying(home, link) as copies:
        path = path_of(home, run)
        copies.follow(path)
        writer = runlog.Writer(path)
        seen: list[str] = []

        async def follow() -> None:
            query = {"follow": "1", "format": "text"}
            async with site.http.stream("GET", f"/api/v1/runs/{run}/logs", params=query, headers=site.read) as answer:
                async for line in answer.aiter_lines():
                    seen.append(line)

        following = asyncio.create_task(follow())
        for n in range(5):
            writer.write("out", b"line %d \xff\x00 \x1b[1m\n" % n, time.time())
            await until(lambda n=n: len(seen) == n + 1, f"line {n} is not seen: {seen}")
        writer.write("err", b"no line end", time.time())
        writer.close(time.time())
        await site.end(run)
        copies.end(path)
        await whole(site, home, run)
        await asyncio.wait_for(following, 10)
        assert seen[-1] == "no line end" and len(seen) == 6
        raw = await site.get(f"/api/v1/runs/{run}/logs", params={"raw": "1", "task": "make"})
        assert raw.content.startswith(b"line 0 \xff\x00 \x1b[1m\n")


async def test_what_is_written_in_an_outage_arrives_after_it_in_order_and_once(site: Site) -> None:
    home, run = await site.node("far"), await site.run(node="far")
    cable = Cable()
    async with link_of(home, cable) as link, copying(home, link) as copies:
        path, other = path_of(home, run), path_of(home, run, "use", 2)
        copies.follow(path)
        writer = runlog.Writer(path)
        writer.write("out", b"before\n", time.time())
        await until(lambda: path_of(site.home, run).exists(), "nothing came")
        cable.is_cut = True
        for n in range(3000):
            writer.write("out", b"%d " % n + b"x" * 900 + b"\n", time.time())
        copies.follow(other)
        late = runlog.Writer(other)
        late.write("err", b"late\n", time.time())
        late.close(time.time())
        copies.end(other)
        writer.close(time.time())
        copies.end(path)
        await until(lambda: copies.unsent == 0, "the outage is not noticed")
        cable.is_cut = False
        await whole(site, home, run)
        await whole(site, home, run, job="use", attempt=2)


async def test_after_a_kill_the_next_worker_goes_on_from_where_control_has_it(site: Site) -> None:
    home, run = await site.node("far"), await site.run(node="far")
    path = path_of(home, run)
    (home.runs / "open").mkdir()
    (home.runs / "open" / run).write_text("far")
    writer = runlog.Writer(path)
    async with link_of(home) as link, copying(home, link) as copies:
        copies.follow(path)
        writer.write("out", b"one\ntwo\n", time.time())
        await until(lambda: path_of(site.home, run).exists(), "nothing came")
    with path.open("ab") as file:
        file.write(b"1.0 o torn")  # the writer dies within a record
    assert journal.prune(home, keep_days=0, now=time.time() + 9e6) == 0, "a log on its way must stay"
    (home.runs / "open" / run).unlink()
    async with link_of(home) as link, copying(home, link) as copies:
        runlog.recover(path)
        copies.recovered(run)
        await whole(site, home, run)
    assert [runlog.text(r) for r in runlog.read(path_of(site.home, run))] == ["one", "two"]
    assert journal.prune(home, keep_days=0, now=time.time() + 9e6) == 1


async def test_of_a_log_over_its_limit_the_newest_output_is_seen_while_it_runs(site: Site) -> None:
    home, run = await site.node("far"), await site.run(node="far")
    async with link_of(home) as link, copying(home, link) as copies:
        path = path_of(home, run)
        copies.follow(path)
        writer = runlog.Writer(path, limit_bytes=2000, tail_bytes=1000)
        for n in range(400):
            writer.write("out", b"line %d\n" % n, n * 3.0)
        there = path_of(site.home, run)
        await until(lambda: runlog.spill_of(there).exists(), "no tail came")
        assert runlog.text(runlog.tail(there, 1)[0]).startswith("line 39")
        writer.close(1300.0)
        copies.end(path)
        await whole(site, home, run)


async def test_a_copy_that_differs_is_made_anew(site: Site) -> None:
    home, run = await site.node("far"), await site.run(node="far")
    path, there = path_of(home, run), path_of(site.home, run)
    async with link_of(home) as link, copying(home, link) as copies:
        copies.follow(path)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1.0 o taken back by a full disk\n2.0 o x\n")
        await until(lambda: there.exists() and there.stat().st_size > 20, "nothing came")
        path.write_bytes(b"1.0 o short\n")
        copies.end(path)
        await whole(site, home, run)


async def test_only_the_node_of_a_run_writes_its_logs_and_only_at_their_end(site: Site) -> None:
    await site.node("far")
    near = await site.node("near")
    run, nobodys = await site.run(node="far"), await site.run(node=None)
    (home_token,) = [t for t, n in site.access.nodes.items() if n == "near"]
    (far_token,) = [t for t, n in site.access.nodes.items() if n == "far"]
    assert near.is_node()

    async def put(
        token: str, of: str, name: str = "make.1", query: str = "offset=0", body: bytes = b"1.0 o x\n"
    ) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        got = await site.http.put(f"/api/v1/worker/logs/{of}/{name}?{query}", content=body, headers=headers)
        return got.status_code

    assert await put(home_token, run) == 403
    assert await put(home_token, nobodys) == 409
    assert await put("wrong", run) == 401
    for name in ("..%2f..%2fetc%2fpasswd.1", "%2e%2e.1", "make", "make.0", "make.1%2fx", ".make.1"):
        assert await put(far_token, run, name) == 404, name
    for of in ("..%2f..", "....", "%2e%2e%2fx"):
        assert await put(far_token, of) == 404, of
    assert await put(far_token, run) == 200
    assert await put(far_token, run) == 200
    assert await put(far_token, run, query="offset=3", body=b"y") == 200
    assert path_of(site.home, run).read_bytes() == b"1.0 o x\n"
    assert await put(far_token, run, body=b"x" * (4 * 1024 * 1024 + 1)) == 413
    written = {path.name for path in site.home.runs.rglob("*") if path.is_file()}
    assert written == {"make.1.log", "make.1.log.copying"}


async def test_on_controls_own_machine_nothing_is_copied(site: Site) -> None:
    async with link_of(site.home) as link:
        copies = LogCopies(site.home, link)
        await asyncio.wait_for(copies.serve(), 1)
        copies.follow(path_of(site.home, "r"))
        assert waiting(site.home) == set() and copies.unsent == 0
