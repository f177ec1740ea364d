"""What the tests of the API stand on: a Postgres of their own, a small lab in memory, a real server."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from psycopg_pool import AsyncConnectionPool
from tests.service.serving import listening, served

from homelab.console.site import Console
from homelab.control import parameters
from homelab.control.access import Access
from homelab.control.api.app import app
from homelab.core.errors import NotFoundError, RefusedError
from homelab.core.labfile import AccessSettings
from homelab.db.migrate import available
from homelab.home import secrets
from homelab.home.paths import Home

RUN = "0190a000-0000-7000-8000-000000000001"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass
class SmallLooking:
    """What pages ask of the small lab beyond its lists."""

    lab: "SmallLab"
    lab_name: str = "small"
    access: AccessSettings = field(default_factory=AccessSettings)

    async def now(self) -> dict[str, Any]:
        empty: list[Any] = []
        lists = dict.fromkeys(("attention", "running", "next", "nodes", "recent"), empty)
        return {"jobs": 2, "paused": 0, "states": {"fetch": "failed", "<b>x</b>": ""}, **lists}

    async def events_kept(self) -> tuple[int, int]:
        numbers = [event["id"] for event in self.lab.sent]
        return min(numbers, default=1), max(numbers, default=0)

    async def services(self) -> list[Any]:
        return []

    async def run(self, run: str) -> dict[str, Any]:
        return await self.lab.run(run)

    def news(self) -> asyncio.Event:
        return asyncio.Event()


class SmallFleet:
    """No machines."""

    async def nodes(self) -> list[Any]:
        return []

    async def queue(self) -> list[Any]:
        return []

    async def given_up(self) -> int:
        return 0


@dataclass
class SmallWorkers:
    """Takes what workers say, and remembers it."""

    did: list[tuple[Any, ...]]

    async def take_reports(self, reports: list[dict[str, Any]]) -> Any:
        self.did.append(("reports", reports))
        return {"taken": len(reports)}

    async def heartbeat(self, body: dict[str, Any], *, node: str | None = None) -> Any:
        if body.get("worker") == "taken":
            raise RefusedError("another worker 'taken' is alive")
        return {"ok": True}

    async def commands(self, worker: str) -> list[dict[str, Any]]:
        return [{"kind": "poll"}]

    async def definition(self, digest: str) -> str:
        return '{"name": "fetch"}'


@dataclass
class SmallLab:
    """A lab of two jobs and one run, that remembers what it was asked to do."""

    did: list[tuple[Any, ...]] = field(default_factory=list)
    state: str = "running"
    sent: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.looking = SmallLooking(self)
        self.fleet = SmallFleet()
        self.workers = SmallWorkers(self.did)

    def _job(self, name: str) -> dict[str, Any]:
        for job in self._jobs():
            if job["name"] == name:
                return job
        raise NotFoundError(f"no job '{name[:50]}'", hint="Nearest: fetch")

    def _jobs(self) -> list[dict[str, Any]]:
        last = {"id": RUN, "state": "failed", "started": NOW, "ended": NOW}
        base = {"schedule": "0 * * * *", "timezone": "UTC", "node": None, "paused": False, "health": "failing"}
        return [
            {**base, "name": "fetch", "next_due": NOW + timedelta(hours=1), "needs": [], "last_run": last},
            {**base, "name": "<b>x</b>", "next_due": None, "needs": ["fetch"], "last_run": None},
        ]

    async def jobs(self) -> Any:
        return {"jobs": self._jobs()}

    async def job(self, name: str) -> dict[str, Any]:
        return self._job(name)

    async def why(self, job: str) -> dict[str, Any]:
        return {"job": self._job(job)["name"], "reasons": ["paused"]}

    async def graph(self) -> dict[str, Any]:
        return {"nodes": [], "edges": []}

    async def run_job(self, name: str, *, params: Any, only: Any, by: str) -> dict[str, Any]:
        self._job(name)
        parameters.check(params)
        self.did.append(("run", name, dict(params), only, by))
        return {"id": RUN, "state": "scheduled", "job": name}

    async def retry(self, run: str, *, failed: bool, by: str, job: str | None = None) -> Any:
        self.did.append(("retry", run, failed, *filter(None, [job])))

    async def cancel(self, run: str, by: str) -> Any:
        self.did.append(("cancel", run))

    async def pause(self, job: str, by: str) -> Any:
        self.did.append(("pause", self._job(job)["name"]))

    async def resume(self, job: str, by: str) -> Any:
        self.did.append(("resume", self._job(job)["name"]))

    async def plan(self, files: Any, main: str) -> Any:
        return {"changes": []}

    async def apply(self, files: Any, main: str, *, by: str) -> Any:
        self.did.append(("apply", main))
        return {"changes": []}

    async def runs(self, *, state: str | None = None, **_: Any) -> Any:
        return [await self._run()] if state in (None, self.state) else []

    async def _run(self) -> dict[str, Any]:
        return {"id": RUN, "job": "fetch", "state": self.state, "due": NOW, "started": NOW, "ended": None}

    async def run(self, id: str) -> dict[str, Any]:  # noqa: A002
        if len(id) < 4 or not RUN.startswith(id):
            raise NotFoundError(f"no run '{id[:50]}'")
        return {"run": await self._run()}

    async def events(self, after: int | None) -> AsyncGenerator[dict[str, Any]]:
        for event in self.sent:
            if event["id"] > (after or 0):
                yield event
        await asyncio.Event().wait()

    async def problems(self) -> Any:
        return [{"kind": "late", "job": "fetch", "message": "<script>alert(1)</script>"}]

    async def notifications(self, *, limit: int = 100) -> Any:
        return []

    async def test_notification(self, *, by: str) -> Any:
        self.did.append(("notify",))
        return []


@dataclass
class Running:
    """A server that answers, and everything to speak to it."""

    url: str
    home: Home
    lab: SmallLab
    access: Access
    http: httpx.AsyncClient
    tokens: dict[str, str]

    def bearer(self, scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[scope]}"}

    async def sign_in(self, scope: str = "admin") -> dict[str, str]:
        """The cookie header of a fresh browser session."""
        secret = await self.access.create_sign_in(scope)  # type: ignore[arg-type]
        got = await self.http.post("/sign-in", data={"token": secret}, headers={"Origin": self.url})
        assert got.status_code == 303, got.text
        cookie = got.headers["set-cookie"].split(";")[0]
        self.http.cookies.clear()
        return {"Cookie": cookie}


@contextlib.asynccontextmanager
async def running(
    database: str, folder: Path, *, prefect_url: str = "http://127.0.0.1:1/api"
) -> AsyncIterator[Running]:
    home = Home(folder / "home").ensure()
    async with AsyncConnectionPool(database, min_size=1, max_size=4, open=False) as pool:
        async with pool.connection() as connection:
            there = await (await connection.execute("select to_regclass('token')")).fetchone()
            if there == (None,):
                for _, _, sql in available():
                    await connection.execute(sql.encode())
        access = Access(pool)
        tokens = {s: (await access.create_token(f"test {s}", s))["token"] for s in ("read", "operate", "admin", "node")}
        lab = SmallLab()
        with listening() as (where, url):
            made = app(
                lab, access=access, home=home, prefect_url=prefect_url, prefect_auth="homelab:secret", own_url=url,
                pages=Console(),
            )  # fmt: skip
            async with served(made, where, url) as http:
                yield Running(url, home, lab, access, http, tokens)


def admin_file_token(home: Home) -> str:
    return secrets.read_or_create(home, "token-admin")
