"""The digest of a real control: its facts from a real history, told once over restarts, to the targets of the lab."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import pytest_asyncio
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres

from homelab.control.digest import Digest
from homelab.core import labfile
from homelab.core.errors import NotFoundError
from homelab.notify.watcher import Watcher

pytestmark = pytest.mark.asyncio(loop_scope="module")
LAB = '[lab]\nname = "home"\n[jobs.a]\nrun = "true"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("digest")) as made:
            yield made


def digest_of(site: Site, notify: str = '[notify]\nurls = ["log://alerts"]\n') -> Digest:
    """As a control that has just started has it."""
    lab, problems = labfile.parse({"lab.toml": LAB + notify}, main="lab.toml")
    assert lab is not None, problems
    shared = site.control._shared  # pyright: ignore[reportPrivateUsage]
    shared.lab = lab
    watcher = Watcher(control_url=site.url, up_since=datetime.now(UTC))
    watcher.configure(lab)
    return Digest(shared, watcher, link=f"{site.url}/runs")


async def told(site: Site) -> list[dict[str, object]]:
    async with site.control.database.connection() as conn:
        rows = await (await conn.execute(b"select * from notification where kind = 'digest' order by id")).fetchall()
    return [dict(row) for row in rows]


async def tick(site: Site, digest: Digest, now: datetime) -> bool:
    async with site.control.database.connection() as conn:
        return await digest.tick(conn, now)


async def test_its_figures_are_those_of_the_history(site: Site) -> None:
    headers = {"Authorization": f"Bearer {(await site.access.create_token('x', 'operate'))['token']}"}
    found = (await site.http.get("/api/v1/digest", headers=headers)).json()["digest"]
    assert found["jobs"] == 46 and found["runs"] > 3000 and found["failures"] > 3
    assert sum(job["runs"] for job in found["ran"]) == found["runs"]
    assert len(found["slowest"]) == 3 and f"{found['runs']:,} runs" in found["title"]
    assert "dump-app" in found["body"] and "Disk: " in found["body"]
    assert {job["job"] for job in found["ran"] if job["is_failing"]} >= {"dump-app", "check-services"}
    assert datetime.fromisoformat(found["next"]).weekday() == 0
    assert found["targets"] == ["log://work/alerts.jsonl"]
    got = await site.http.post("/api/v1/digest", json={}, headers=headers)
    assert (got.status_code, got.json()["digest"]["targets"]) == (202, ["log://work/alerts.jsonl"])
    async with site.control.database.connection() as conn:
        await conn.execute(b"delete from notification where kind = 'digest'")
    with pytest.raises(NotFoundError, match="no notification target"):
        await digest_of(site, "").send(datetime.now(UTC))


async def test_it_is_told_once_for_each_instant_over_restarts_and_the_latest_after_a_time_down(site: Site) -> None:
    start = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
    assert not await tick(site, digest_of(site), start)  # nothing is told of the time before it was set up
    assert not await tick(site, digest_of(site), start + timedelta(days=4))
    monday = datetime(2026, 3, 9, 8, tzinfo=UTC)
    assert await tick(site, digest_of(site), monday + timedelta(seconds=4))
    for later in (5, 60, 3600, 86400 * 6):
        assert not await tick(site, digest_of(site), monday + timedelta(seconds=later))
    assert await tick(site, digest_of(site), monday + timedelta(days=30))  # three more instants passed: one is told
    assert not await tick(site, digest_of(site), monday + timedelta(days=31))
    rows = await told(site)
    assert [row["dedupe_key"] for row in rows] == [
        f"digest:{(monday + timedelta(days=d)).isoformat()}" for d in (0, 28)
    ]
    assert all(row["state"] == "queued" and row["target"] == "log://alerts" for row in rows)
    assert f"{site.url}/runs" in str(rows[0]["body"])


async def test_what_a_crash_takes_back_is_told_the_next_time(site: Site) -> None:
    await tick(site, digest_of(site, ""), datetime(2026, 5, 1, tzinfo=UTC))  # without targets it begins anew
    before = len(await told(site))
    await tick(site, digest_of(site), datetime(2026, 5, 1, 12, tzinfo=UTC))
    monday = datetime(2026, 5, 4, 8, 0, 1, tzinfo=UTC)
    with pytest.raises(psycopg.errors.AdminShutdown):
        async with site.control.database.connection() as conn:
            assert await digest_of(site).tick(conn, monday)
            await conn.execute(b"select pg_terminate_backend(pg_backend_pid())")
    assert len(await told(site)) == before
    assert await tick(site, digest_of(site), monday + timedelta(seconds=10))
    assert len(await told(site)) == before + 1


async def test_switched_off_it_is_silent_and_switched_on_it_does_not_tell_of_what_was(site: Site) -> None:
    off = '[notify]\nurls = ["log://alerts"]\ndigest = false\n'
    now = datetime(2026, 6, 1, 7, tzinfo=UTC)
    await tick(site, digest_of(site), now)
    before = len(await told(site))
    assert not await tick(site, digest_of(site, off), now + timedelta(days=1))
    assert not await tick(site, digest_of(site), now + timedelta(days=20))
    assert len(await told(site)) == before


async def test_sent_by_hand_it_goes_to_every_target_and_the_disk_is_measured_once_a_day(site: Site) -> None:
    digest = digest_of(site)
    before = len(await told(site))
    now = datetime.now(UTC)
    assert (await digest.send(now))["targets"] == ["log://alerts"]
    assert (await told(site))[-1]["kind"] == "digest"
    assert len(await told(site)) == before + 1
    async with site.control.database.connection() as conn:
        await conn.execute(
            b"insert into disk (day, free_bytes, total_bytes) values (%s, %s, %s) on conflict do nothing",
            (now.date() - timedelta(days=7), 10**15, 10**15),
        )
        rows = await (await conn.execute(b"select count(*) as n from disk where day = %s", (now.date(),))).fetchall()
    assert rows[0]["n"] == 1
    assert "less than 7 days ago" in json.dumps(await digest_of(site).look(now))
