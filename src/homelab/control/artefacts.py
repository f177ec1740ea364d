"""The lab's store of files that jobs saved: taken from nodes, given to nodes and people, kept as the lab file says.

Contents come once (`object`), however many runs have them (`artefact`, written with the reports). They lie in a folder
of this machine, or in a bucket (`control.bucket`); then the folder in HOMELAB_HOME is only a cache. Which of them go is
decided by `over_limit` and by age. Called by the API and by `control.service`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from homelab.control import store
from homelab.control.bucket import Bucket, StoreAway
from homelab.control.state import Shared
from homelab.core.errors import HomelabError, InputError, NotFoundError
from homelab.core.labfile import ArtefactSettings
from homelab.home.objects import BLOCK, Objects

log = structlog.get_logger()

Json = dict[str, Any]
CACHE_S = 7 * 86400.0
UNCLAIMED = "1 day"
"""How long contents wait for the report that names them: the two travel on different ways."""


class NoRoom(HomelabError):  # noqa: N818 - a state of the disk
    """The disk of control is full."""


class Artefacts:
    """One lab's store."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._cache = Objects(shared.home.artefacts)
        self._bucket: tuple[ArtefactSettings, Bucket] | None = None

    @property
    def _settings(self) -> ArtefactSettings:
        return ArtefactSettings() if self._shared.lab is None else self._shared.lab.artefacts

    def _folder(self) -> Objects:
        """Where objects lie on this machine: the store itself, or what is on its way to the bucket."""
        named = self._settings.store
        return Objects(Path(named).expanduser()) if named and not named.startswith("s3://") else self._cache

    async def _bucket_or_none(self) -> Bucket | None:
        settings = self._settings
        if not settings.store.startswith("s3://"):
            return None
        if self._bucket is None or self._bucket[0] != settings:
            self._bucket = (settings, await asyncio.to_thread(Bucket, settings, self._shared.home))
        return self._bucket[1]

    # -- from nodes -----------------------------------------------------------------------------------------------

    async def missing(self, objects: Mapping[str, int]) -> list[str]:
        """Those that are to be sent here. What a worker of this machine saved is found in its folder."""
        async with self._shared.database.connection() as conn:
            rows = await store.all_rows(
                conn,
                "update object set stored = now() where sha256 = any(%s) returning sha256",
                (list(objects),),
            )
        known = {row["sha256"] for row in rows}
        found: list[str] = []
        for sha256, size in objects.items():
            if sha256 in known and await self._is_there(sha256):
                continue
            if await asyncio.to_thread(self._cache.size, sha256) == size:
                await self._enter(sha256, self._cache.path_of(sha256), size)
            else:
                found.append(sha256)
        return found

    async def _is_there(self, sha256: str) -> bool:
        return self._settings.store.startswith("s3://") or self._folder().size(sha256) is not None

    async def take(self, sha256: str, size: int, blocks: AsyncIterator[bytes]) -> None:
        """Keep what comes. NoRoom; Damaged when it is something else; InputError when it is longer than `size`."""
        if not await self.missing({sha256: size}):
            return
        folder = self._folder()
        try:
            if size > await asyncio.to_thread(folder.room):
                raise OSError("not enough room")
            incoming = await asyncio.to_thread(folder.incoming)
            try:
                async for block in blocks:
                    await asyncio.to_thread(incoming.write, block)
                    if incoming.bytes > size:
                        raise InputError(f"{sha256[:12]} is longer than {size} bytes")
            except BaseException:
                incoming.discard()
                raise
            await asyncio.to_thread(incoming.keep, sha256)
        except OSError as error:
            self._shared.notes["artefacts-full"] = f"files that jobs saved wait on their nodes: {folder.folder} is full"
            raise NoRoom(f"the disk of control is full: {error.strerror or error}") from error
        self._shared.notes.pop("artefacts-full", None)
        await self._enter(sha256, folder.path_of(sha256), incoming.bytes)

    async def _enter(self, sha256: str, path: Path, size: int) -> None:
        """What lies at `path` is brought to where it is kept, and counted."""
        try:
            if bucket := await self._bucket_or_none():
                await bucket.put(sha256, path)
            elif (folder := self._folder()).size(sha256) is None:
                await asyncio.to_thread(_copy, self._cache, folder, sha256)
        except (StoreAway, InputError) as error:
            self._shared.notes["artefact-store"] = f"files that jobs saved wait: {error.message}"
            raise StoreAway(error.message, hint=error.hint) from error
        self._shared.notes.pop("artefact-store", None)
        async with self._shared.database.connection() as conn:
            await conn.execute(
                "insert into object (sha256, bytes) values (%s, %s) on conflict (sha256) do update set stored = now()",
                (sha256, size),
            )
        self._shared.tell()

    # -- to nodes and people --------------------------------------------------------------------------------------

    async def where(self, sha256: str) -> Path | AsyncIterator[bytes]:
        """The file that holds it, or its bytes as they come. NotFoundError, StoreAway."""
        for folder in (self._folder(), self._cache):
            if await asyncio.to_thread(folder.touch, sha256):
                return folder.path_of(sha256)
        bucket = await self._bucket_or_none()
        blocks = None if bucket is None else await bucket.read(sha256)
        if blocks is None:
            raise NotFoundError(f"{sha256[:12]} is not here", hint="It is on its way, or no longer kept.")
        return blocks

    async def of_run(self, run: str) -> list[Json]:
        """The files of a run, those of the newest success of each job."""
        return await self._listed(
            "a.run = %s and not exists (select from artefact b where b.run = a.run and b.job = a.job"
            " and b.attempt > a.attempt)",
            (run,),
            "a.job, a.path",
            limit=10_000,
        )

    async def of_job(self, job: str, *, limit: int = 50) -> list[Json]:
        """The newest files of a job, over its runs."""
        return await self._listed("a.job = %s", (job,), "a.saved desc, a.path", limit=limit)

    async def _listed(self, where: str, params: Sequence[object], order: str, *, limit: int) -> list[Json]:
        async with self._shared.database.connection() as conn:
            return await store.all_rows(
                conn,
                "select a.run, a.job, a.attempt, a.path, a.sha256, a.bytes, a.node, a.saved,"  # noqa: S608 - no value
                f" o.sha256 is not null as is_here from artefact a left join object o using (sha256) where {where}"
                f" order by {order} limit %s",
                (*params, limit),
            )

    # -- for how long ---------------------------------------------------------------------------------------------

    async def prune(self) -> int:
        """Drop what is older than the lab file says, and the oldest while all together is too large; then the contents
        that no run names. What an open run has stays. Returns how many objects went."""
        settings = self._settings
        async with self._shared.database.connection() as conn:
            if settings.keep_s is not None:
                await conn.execute(
                    "delete from artefact a where saved < now() - make_interval(secs => %s) and not exists (select"
                    " from run where id = a.run and state in ('scheduled', 'pending', 'running', 'retrying'))",
                    (settings.keep_s,),
                )
            rows = await store.all_rows(
                conn,
                "select a.run, a.job, a.attempt, a.path, o.sha256, o.bytes, exists (select from run where id = a.run"
                " and state in ('scheduled', 'pending', 'running', 'retrying')) as is_open"
                " from artefact a join object o using (sha256) order by a.saved, a.run",
            )
            for row in over_limit(rows, settings.max_bytes):
                await conn.execute(
                    "delete from artefact where run = %(run)s and job = %(job)s and attempt = %(attempt)s"
                    " and path = %(path)s",
                    row,
                )
            gone = await store.all_rows(
                conn,
                "select sha256 from object o where stored < now() - %s::interval"
                " and not exists (select from artefact where sha256 = o.sha256)",
                (UNCLAIMED,),
            )
        for row in gone:
            await self._remove(row["sha256"])
        await asyncio.to_thread(self._clean)
        return len(gone)

    async def _remove(self, sha256: str) -> None:
        """The row first: contents without one are sent again by whoever has them, a row without contents misleads."""
        async with self._shared.database.connection() as conn:
            done = await conn.execute(
                "delete from object o where sha256 = %s and stored < now() - %s::interval"
                " and not exists (select from artefact where sha256 = o.sha256)",
                (sha256, UNCLAIMED),
            )
        if done.rowcount == 0:
            return
        for folder in (self._folder(), self._cache):
            await asyncio.to_thread(folder.remove, sha256)
        try:
            if bucket := await self._bucket_or_none():
                await bucket.remove(sha256)
        except HomelabError as error:
            log.warning("artefact.left_behind", sha256=sha256, error=str(error))

    def _clean(self) -> None:
        """Half of what somebody began to write, and a cache that nobody asked for."""
        for folder in (self._folder(), self._cache):
            folder.sweep()
        if not self._settings.store:
            return
        for sha256, used, _ in self._cache.all():
            if time.time() - used > CACHE_S:
                self._cache.remove(sha256)


def over_limit(rows: Iterable[Mapping[str, Any]], most_bytes: int) -> list[Mapping[str, Any]]:
    """Which of the artefacts, given from the oldest to the newest, must go so that their contents take `most_bytes` at
    most. Contents count once and stay while any artefact has them; what `is_open` stays."""
    all_rows = list(rows)
    uses: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for row in all_rows:
        uses[row["sha256"]] = uses.get(row["sha256"], 0) + 1
        sizes[row["sha256"]] = row["bytes"]
    total = sum(sizes.values())
    gone: list[Mapping[str, Any]] = []
    for row in all_rows:
        if total <= most_bytes:
            break
        if row["is_open"]:
            continue
        gone.append(row)
        uses[row["sha256"]] -= 1
        if uses[row["sha256"]] == 0:
            total -= row["bytes"]
    return gone


def _copy(source: Objects, target: Objects, sha256: str) -> None:
    incoming = target.incoming()
    try:
        with source.path_of(sha256).open("rb") as file:
            while block := file.read(BLOCK):
                incoming.write(block)
    except BaseException:
        incoming.discard()
        raise
    incoming.keep(sha256)
