"""A real control on a real Postgres, Prefect played by a recorder, and nodes played by what they would ask and tell.

Time is the database's: a node falls silent by having been heard earlier (`Fleet.silent`).
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from tests.service.postgres_site import fresh
from tests.service.prefect_recorder import Recorder

from homelab.control.service import Control
from homelab.core.times import iso
from homelab.home.paths import Home


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Fleet:
    """One lab. `control` is opened anew by `restart`."""

    url: str
    home: Home
    prefect: Recorder = field(default_factory=Recorder)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    control: Control = None  # type: ignore[assignment]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def restart(self) -> None:
        """As after kill -9: what was only in memory is gone."""
        await self.stack.aclose()
        opened = Control.open(self.home, self.url, self.prefect)  # type: ignore[arg-type]
        self.control = await self.stack.enter_async_context(opened)

    async def apply(self, jobs: str, nodes: str = "") -> None:
        text = f'[lab]\nname = "t"\ntimezone = "UTC"\n{nodes}\n{jobs}'
        await self.control.apply({"lab.toml": text}, "lab.toml", by="test")

    async def run(self, job: str, **more: Any) -> str:
        """Start a job by hand; its run."""
        return str((await self.control.run_job(job, params={}, by="test", **more))["run"]["id"])

    async def heard(self, *names: str, slots: int = 20, **more: Any) -> dict[str, Any]:
        """A heartbeat of each; the answer to the last."""
        answer: dict[str, Any] = {}
        for name in names:
            body = {"worker": name, "node": name, "pid": os.getpid(), "started": iso(STARTED), "slots": slots}
            answer = await self.control.workers.heartbeat({**body, "running": [], **more})
        return answer

    async def due(self, name: str) -> list[str]:
        """The runs that the node is to claim."""
        self.forget()
        return [run["id"] for run in (await self.control.dispatch.due(name, name))["runs"]]

    def forget(self) -> None:
        """What was asked of Prefect and the database a moment ago is asked again."""
        self.control.dispatch.forget()

    def silent(self, name: str, seconds: float) -> None:
        """The node was heard so long ago."""
        self.sql("update node set heartbeat = now() - make_interval(secs => %s) where name = %s", seconds, name)
        self.sql("update worker set last_seen = now() - make_interval(secs => %s) where name = %s", seconds, name)
        self.sql(
            "update lease set expires = now() + interval '40 s' - make_interval(secs => %s) where node = %s"
            " and ended is null",
            seconds,
            name,
        )
        self.forget()

    def sql(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as conn:
            cursor = conn.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    async def until(self, statement: str, *, rows: int, timeout_s: float = 10) -> None:
        """The database answers with so many rows."""
        async with asyncio.timeout(timeout_s):
            while len(await asyncio.to_thread(self.sql, statement)) != rows:
                await asyncio.sleep(0.02)

    async def report(self, kind: str, run: str, node: str, **more: Any) -> None:
        """What a worker of that node tells of a run of the flow `job`."""
        time = iso(now())
        body = {
            "id": f"{kind}-{run}-{next(self.numbers)}", "kind": kind, "run": run, "flow": more.get("job", "f"),
            "due": None, "time": time, "worker": node, "node": node, "pid": 1, "started": time, "ended": time,
            "state": "succeeded", "exit_code": 0, "signal": None, "reason": "", "output_bytes": 0, "output_lines": 0,
            "tail": [], "retry_at": None, "attempt": 1,
        }  # fmt: skip
        await self.control.workers.take_reports([{**body, **more}])


STARTED = now()


@contextlib.asynccontextmanager
async def fleet(url: str, folder: Path) -> AsyncIterator[Fleet]:
    """A lab of which nothing is known yet."""
    fresh(url)
    made = Fleet(url, Home(folder / "home").ensure())
    await made.restart()
    try:
        yield made
    finally:
        await made.stack.aclose()
