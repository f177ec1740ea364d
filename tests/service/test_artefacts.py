"""Files that jobs save reach the store from any node, and from it the nodes and people that need them; none is lost in
an outage, damaged unseen, or kept for ever. The folder store, and a real one that speaks S3."""

import asyncio
import contextlib
import hashlib
import os
import pwd
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.service.passing_site import Cable, Site, link_of, running
from tests.service.s3_site import KEY, S3, SECRET, s3

from homelab.control import passed as control_passed
from homelab.control import store as control_store
from homelab.control.artefacts import Artefacts as Store
from homelab.core.jobs import Flow, Job, Need
from homelab.core.labfile import ArtefactSettings, Lab
from homelab.core.passing import Artefact, Passed
from homelab.home import endpoints
from homelab.home.objects import Objects
from homelab.home.paths import Home
from homelab.worker.artefacts import Artefacts
from homelab.worker.facts import RunFacts
from homelab.worker.launch import Launcher
from homelab.worker.process import Outcome

MAKE = Job(
    name="make", run="mkdir -p r; echo one > r/1.txt; echo two > r/2.txt; echo V=1 >> $HOMELAB_OUTPUT", save=("r/*",)
)
USE = Job(name="use", run="cat $HOMELAB_INPUTS/make/r/*.txt; ls $HOMELAB_INPUTS; echo V=$V", needs=(Need(job="make"),))
FLOW = Flow(name="make", schedule=None, timezone="UTC", jobs=(MAKE, USE))


@pytest.fixture
async def site(database: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(database, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3")) as made:
        yield made


@contextlib.asynccontextmanager
async def worker(home: Home, cable: Cable | None = None) -> AsyncIterator[tuple[Launcher, Artefacts]]:
    """What runs attempts on a node, with the task that hands in."""
    async with link_of(home, cable) as link:
        artefacts = Artefacts(home, link)
        task = asyncio.create_task(artefacts.serve())
        try:
            yield Launcher(home, artefacts), artefacts
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def attempt(
    launcher: Launcher,
    home: Home,
    run: str,
    job: Job,
    *,
    folder: Path,
    handed: dict[str, Passed] | None = None,
    cancel: asyncio.Event | None = None,
) -> tuple[Outcome, str]:
    """(how it ended, its log)."""
    job = Job(**{**vars(job), "cwd": str(folder)})
    facts = RunFacts(id=run, flow=FLOW, digest="d", due=None, start_at=datetime.now(UTC))
    path = home.run_folder(run) / f"{job.name}.1.log"
    path.parent.mkdir(parents=True, exist_ok=True)  # the journal makes it
    outcome = await launcher.run(
        job, facts, number=1, handed=handed or {}, log_path=path, cancel=cancel or asyncio.Event(),
        cancel_reason=lambda: "cancelled", on_start=lambda pid, at: None,
    )  # fmt: skip
    left = [p.name for p in path.parent.iterdir() if not p.name.endswith(".log")]
    assert left == [], "what was made for the attempt is gone with it"
    return outcome, path.read_text() if path.exists() else ""


async def report(site: Site, run: str, job: str, passed: Passed, *, attempt: int = 1, node: str = "far") -> None:
    """What the worker tells of a success."""
    await site.control.workers.take_reports(
        [
            {
                "id": f"{run}{job}{attempt}", "kind": "job.finished", "run": run, "flow": "make", "job": job,
                "due": None, "attempt": attempt, "started": None, "ended": datetime.now(UTC).isoformat(),
                "state": "succeeded", "exit_code": 0, "signal": None, "reason": "", "output_bytes": 0,
                "output_lines": 0, "tail": [], "retry_at": None, "worker": node, "node": node, **passed.to_json(),
            }
        ]
    )  # fmt: skip


async def until_here(site: Site, run: str, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while True:
        files = (await site.get(f"/api/v1/runs/{run}/artefacts")).json()["artefacts"]
        if len(files) == count and all(file["is_here"] for file in files):
            return files
        assert time.monotonic() < deadline, files
        await asyncio.sleep(0.05)


async def forget(site: Site) -> None:
    """Nothing was ever saved: tests of one file share a database."""
    async with site.control.database.connection() as conn:
        await conn.execute("delete from artefact")
        await conn.execute("delete from object")


def keep(site: Site, **settings: Any) -> None:
    site.control._shared.lab = Lab(name="lab", artefacts=ArtefactSettings(**settings))  # type: ignore[attr-defined]


async def passed_over(site: Site) -> tuple[str, list[dict[str, Any]]]:
    """One job on one node, the job that needs it on another."""
    far, near = await site.node("far"), await site.node("near")
    run = await site.run(node="far")
    work = site.folder / "work"
    work.mkdir()
    async with worker(far) as (launcher, _), worker(near) as (other, _):
        outcome, said = await attempt(launcher, far, run, MAKE, folder=work)
        assert outcome.state == "succeeded", said
        assert [a.path for a in outcome.passed.artefacts] == ["r/1.txt", "r/2.txt"]
        await report(site, run, "make", outcome.passed)
        files = await until_here(site, run, 2)
        async with site.control.database.connection() as conn:
            handed = await control_passed.passed_of(conn, run)
        assert handed == {"make": outcome.passed}
        used, said = await attempt(other, near, run, USE, folder=work, handed=handed)
        assert used.state == "succeeded", said
        assert [line.split(" ", 2)[2] for line in said.splitlines()] == ["one", "two", "make", "V=1"]
    return run, files


async def test_a_file_of_one_node_is_there_for_the_job_that_needs_it_on_another_and_for_people(site: Site) -> None:
    run, files = await passed_over(site)
    one = next(file for file in files if file["path"] == "r/1.txt")
    assert (one["node"], one["bytes"], one["sha256"]) == ("far", 4, hashlib.sha256(b"one\n").hexdigest())
    assert site.home.artefacts.joinpath(one["sha256"][:2], one["sha256"]).read_bytes() == b"one\n"
    got = await site.get(f"/api/v1/runs/{run}/artefacts/{one['sha256']}")
    assert (got.status_code, got.content) == (200, b"one\n")
    assert got.headers["content-disposition"] == 'attachment; filename="1.txt"'
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-type"] == "application/octet-stream"
    listed = await site.control.artefacts.of_job("make")
    assert {"r/1.txt", "r/2.txt"} <= {file["path"] for file in listed}
    assert (await site.get(f"/api/v1/runs/{run}/artefacts/{'0' * 64}")).status_code == 404
    assert (await site.http.get(f"/api/v1/runs/{run}/artefacts")).status_code == 401


async def test_a_store_that_speaks_s3_holds_the_files(site: Site, bucket: S3) -> None:
    await forget(site)
    (site.home.secrets / "key").write_text(KEY)
    (site.home.secrets / "secret").write_text(SECRET)
    keep(site, store="s3://lab/files", endpoint=bucket.url, access_key="file:key", secret_key="file:secret")
    run, files = await passed_over(site)
    for file in files:  # not in the cache any more: only the bucket has it
        Objects(site.home.artefacts).remove(file["sha256"])
    got = [await site.get(f"/api/v1/runs/{run}/artefacts/{file['sha256']}") for file in files]
    assert [answer.content for answer in got] == [b"one\n", b"two\n"]
    assert "attachment" in got[0].headers["content-disposition"]
    (site.home.secrets / "secret").write_text("no longer the secret")
    keep(site, store="s3://lab/files", endpoint=bucket.url, access_key="file:key", secret_key="file:secret", keep_s=1.0)
    refused = await site.get(f"/api/v1/runs/{run}/artefacts/{files[0]['sha256']}")
    assert refused.status_code == 503 and "let us in" in refused.json()["error"]["message"]
    assert SECRET not in refused.text


async def test_while_the_store_is_away_files_wait_on_their_node_and_the_lab_says_so(site: Site, bucket: S3) -> None:
    await forget(site)
    (site.home.secrets / "key").write_text(KEY)
    (site.home.secrets / "secret").write_text(SECRET)
    keys = {"access_key": "file:key", "secret_key": "file:secret"}
    keep(site, store="s3://lab/away", endpoint="http://127.0.0.1:1", **keys)
    far, run = await site.node("far"), await site.run(node="far")
    work = site.folder / "work"
    work.mkdir()
    async with worker(far) as (launcher, _):
        outcome, said = await attempt(launcher, far, run, MAKE, folder=work)
        assert outcome.state == "succeeded" and "not saved" not in said
        await report(site, run, "make", outcome.passed)
        deadline = time.monotonic() + 20
        while not any(p["code"] == "artefact-store" for p in await site.control.problems()):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        (waiting, _) = (await site.get(f"/api/v1/runs/{run}/artefacts")).json()["artefacts"]
        assert waiting["is_here"] is False
        keep(site, store="s3://lab/away", endpoint=bucket.url, **keys)
        await until_here(site, run, 2)
        assert not any(p["code"] == "artefact-store" for p in await site.control.problems())


async def test_what_was_saved_in_an_outage_of_control_is_handed_in_by_the_next_worker(site: Site) -> None:
    await forget(site)
    far, run = await site.node("far"), await site.run(node="far")
    cable = Cable()
    cable.is_cut = True
    work = site.folder / "work"
    work.mkdir()
    async with worker(far, cable) as (launcher, _):
        outcome, _ = await attempt(launcher, far, run, MAKE, folder=work)
    await report(site, run, "make", outcome.passed)
    assert [f["is_here"] for f in await site.control.artefacts.of_run(run)] == [False, False]
    async with worker(far):
        await until_here(site, run, 2)
    assert list((far.artefacts / "pending").iterdir()) == []


async def test_a_worker_beside_control_sends_nothing_and_its_files_are_in_the_store(site: Site) -> None:
    await forget(site)
    run = await site.run(node="own")
    endpoints.write(site.home, {"control": site.url})
    work = site.folder / "work"
    work.mkdir()
    async with worker(site.home) as (launcher, artefacts):
        artefacts._blocks = None  # type: ignore[assignment, method-assign]  # nothing may be sent
        outcome, _ = await attempt(launcher, site.home, run, MAKE, folder=work)
        await report(site, run, "make", outcome.passed, node="own")
        await until_here(site, run, 2)
        used, said = await attempt(launcher, site.home, run, USE, folder=work, handed={"make": outcome.passed})
        assert used.state == "succeeded" and "two" in said


async def test_a_job_waits_for_a_file_that_is_still_on_its_way_and_can_be_cancelled(site: Site) -> None:
    await forget(site)
    near, run = await site.node("near"), await site.run(node="near")
    work = site.folder / "work"
    work.mkdir()
    late = b"late\n"
    handed = {"make": Passed(artefacts=(Artefact(path="r/x.txt", sha256=hashlib.sha256(late).hexdigest(), bytes=5),))}
    async with worker(near) as (launcher, _):
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, cancel.set)
        outcome, said = await attempt(launcher, near, run, USE, folder=work, handed=handed, cancel=cancel)
        assert (outcome.state, outcome.started) == ("cancelled", None)
        assert "waiting for r/x.txt of job make" in said

        async def come() -> None:
            await asyncio.sleep(0.3)

            async def blocks() -> AsyncIterator[bytes]:
                yield late

            await site.control.artefacts.take(hashlib.sha256(late).hexdigest(), 5, blocks())

        coming = asyncio.create_task(come())
        outcome, said = await attempt(launcher, near, run, USE, folder=work, handed=handed)
        await coming
        assert outcome.state == "succeeded" and "late" in said


async def test_a_damaged_copy_is_fetched_anew(site: Site) -> None:
    await forget(site)
    run, files = await passed_over(site)
    near = Objects(site.folder / "near" / "artefacts")
    path = near.path_of(files[0]["sha256"])
    path.chmod(0o600)
    path.write_bytes(b"rot\n")
    async with site.control.database.connection() as conn:
        handed = await control_passed.passed_of(conn, run)
    async with worker(Home(site.folder / "near")) as (launcher, _):
        used, said = await attempt(launcher, Home(site.folder / "near"), run, USE, folder=site.folder, handed=handed)
    assert used.state == "succeeded" and "rot" not in said.replace("damaged", "")
    assert path.read_bytes() == b"one\n"


async def test_what_is_required_fails_the_job_and_what_is_not_only_says_so(site: Site) -> None:
    far, run = await site.node("far"), await site.run(node="far")
    work = site.folder / "work"
    work.mkdir()
    async with worker(far) as (launcher, _):
        lax = Job(name="make", run="true", save=("gone/*",))
        outcome, said = await attempt(launcher, far, run, lax, folder=work)
        assert outcome.state == "succeeded" and "nothing to save" in said
        outcome, said = await attempt(launcher, far, run, Job(**{**vars(lax), "save_required": True}), folder=work)
        assert outcome.state == "failed" and outcome.reason.startswith("not saved: nothing to save")
        assert not outcome.passed


async def test_what_comes_is_what_its_name_says_or_is_not_taken(site: Site) -> None:
    home = await site.node("far")
    token = (home.secrets / "token-node").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    sha256 = hashlib.sha256(b"good").hexdigest()

    async def put(name: str, body: bytes, size: int) -> int:
        path = f"/api/v1/worker/artefacts/{name}?bytes={size}"
        return (await site.http.put(path, content=body, headers=headers)).status_code

    assert await put(sha256, b"evil", 4) == 422
    assert await put(sha256, b"good and more", 4) == 400
    assert await put("..%2f..%2fx", b"good", 4) == 404
    assert await put(sha256, b"good", 1 << 43) == 507
    assert await put(sha256, b"good", 4) == 200
    assert await put(sha256, b"anything: it is there", 4) == 200
    assert (await site.http.get(f"/api/v1/worker/artefacts/{sha256}", headers=headers)).content == b"good"
    assert (await site.http.get(f"/api/v1/worker/artefacts/{sha256}", headers=site.read)).status_code == 403
    assert not any(p.name == sha256 for p in (site.home.artefacts / "new").iterdir())


async def aged(site: Site, run: str, days: float) -> None:
    async with site.control.database.connection() as conn:
        for sql in ("update artefact set saved = now() - make_interval(secs => %s) where run = %s",):
            await conn.execute(sql.encode(), (days * 86400, run))
        await conn.execute(b"update object set stored = now() - make_interval(secs => %s)", (days * 86400,))


async def test_files_go_by_age_and_size_but_not_while_a_run_is_open_or_another_has_the_same(site: Site) -> None:
    await forget(site)
    store: Store = site.control.artefacts
    kept: dict[str, str] = {}

    async def add(run: str, path: str, body: bytes) -> str:
        sha256 = hashlib.sha256(body).hexdigest()

        async def blocks() -> AsyncIterator[bytes]:
            yield body

        await store.take(sha256, len(body), blocks())
        passed = Passed(artefacts=(Artefact(path=path, sha256=sha256, bytes=len(body)),))
        await report(site, run, path, passed)
        kept[path] = sha256
        return sha256

    old, open_, new = [await site.run(node="far", state=s) for s in ("succeeded", "running", "succeeded")]
    await add(old, "shared", b"shared")
    await add(old, "old", b"old")
    await add(open_, "open", b"open")
    await add(new, "shared-too", b"shared")
    await add(new, "new", b"n" * 100)
    await aged(site, old, 40)
    await aged(site, open_, 40)
    assert await store.prune() == 1
    assert {p for p, sha in kept.items() if Objects(site.home.artefacts).size(sha) is not None} == set(kept) - {"old"}
    keep(site, max_bytes=50)
    await aged(site, new, 2)
    assert await store.prune() == 2
    left = {path for path, sha in kept.items() if Objects(site.home.artefacts).size(sha) is not None}
    assert left == {"open"}
    async with site.control.database.connection() as conn:
        await control_store.end_run(conn, open_, "succeeded", "")
    await aged(site, open_, 40)
    assert await store.prune() == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run jobs as somebody else")
async def test_a_job_of_another_account_passes_on_and_gets_files_and_cannot_make_the_worker_read_for_it(
    site: Site,
) -> None:
    nobody = pwd.getpwnam("nobody")
    far, run = await site.node("far"), await site.run(node="far")
    work = Path("/tmp") / f"homelab-test-{os.getpid()}"
    work.mkdir()
    os.chown(work, nobody.pw_uid, nobody.pw_gid)
    closed = site.folder / "closed"
    closed.write_text("A=secret of root\n")
    closed.chmod(0o600)
    try:
        async with worker(far) as (launcher, _):
            make = Job(**{**vars(MAKE), "user": "nobody", "shell": "/bin/sh"})
            outcome, said = await attempt(launcher, far, run, make, folder=work)
            assert outcome.state == "succeeded", said
            assert (outcome.passed.outputs, len(outcome.passed.artefacts)) == ({"V": "1"}, 2)
            use = Job(**{**vars(USE), "user": "nobody", "run": f"{USE.run}; rm -r $HOMELAB_INPUTS/make"})
            used, said = await attempt(launcher, far, run, use, folder=work, handed={"make": outcome.passed})
            assert used.state == "succeeded" and "two" in said, said
            trick = f"ln -s {closed} $HOMELAB_OUTPUT; ln -s {closed} r/3.txt"
            outcome, said = await attempt(launcher, far, run, Job(**{**vars(make), "run": trick}), folder=work)
            assert outcome.state == "succeeded" and not outcome.passed.outputs
            assert [a.path for a in outcome.passed.artefacts] == ["r/1.txt", "r/2.txt"]
            assert "it is a link" in said and "leads out" in said and "secret of root" not in said
    finally:
        for path in sorted(work.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        work.rmdir()
