"""A real control with a past, and its pages: a Postgres of its own, the reference lab, weeks of runs, a real server.

Prefect is not there: what only reads never asks it. What acts is tested with a whole lab (`tests/acceptance`).
"""

import asyncio
import contextlib
import json as jsonlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from tests import history
from tests.service import fleet_site
from tests.service.serving import listening, served

from homelab.console.screen import Screen
from homelab.console.screens import SCREENS
from homelab.console.site import Console
from homelab.control import store, versions
from homelab.control.access import Access
from homelab.control.api.app import app
from homelab.control.service import Control
from homelab.db.migrate import migrate
from homelab.db.pool import Database
from homelab.flows.api import PrefectApi
from homelab.home.paths import Home


def now() -> datetime:
    return datetime.now(UTC)


BROKEN = ("dump-app", "check-services", "collect-certificates")
RUNNING = ("take-in-uploads",)


@dataclass
class Site:
    """A server that answers. `past`: what was written; `http`: signed in as nobody until `sign_in`."""

    url: str
    home: Home
    control: Control
    access: Access
    past: history.Past
    http: httpx.AsyncClient

    async def sign_in(self, scope: str = "admin") -> dict[str, str]:
        """The cookie of a fresh browser session, as name and value."""
        person = (await self.access.people.owner())["id"] if scope == "admin" else None
        secret = await self.access.create_sign_in(scope, person=person)  # type: ignore[arg-type]
        value = await self.access.sign_in(secret, origin="test")  # past the limit of sign-ins a minute
        assert value is not None
        return {"name": f"homelab_{self.url.rpartition(':')[2]}", "value": value}

    async def page(self, path: str, *, scope: str = "admin") -> httpx.Response:
        """A page as a signed-in browser gets it."""
        cookie = await self.sign_in(scope)
        return await self.http.get(path, headers={"Cookie": f"{cookie['name']}={cookie['value']}"})


def screens(site: Site) -> dict[str, str]:
    """Every screen that there is to look at, by name: its path on this lab."""
    failed, running = site.past.failed["dump-app"], site.past.running["take-in-uploads"]
    return {
        "now": "/", "jobs": "/jobs", "graph": "/graph", "job": "/jobs/check-services", "runs": "/runs",
        "run": f"/runs/{failed}", "running": f"/runs/{running}", "retry": f"/runs/{failed}/retry",
        "start": "/jobs/heartbeat/run", "lab": "/lab",
        "file": "/lab/file", "notifications": "/lab/notifications", "tokens": "/lab/tokens", "audit": "/lab/audit",
        "nodes": "/nodes", "node": "/nodes/mac4", "drain": "/nodes/mac4/drain",
        "style": "/style", "me": "/me", "people": "/lab/people", "remove": "/lab/people/owner/remove",
        "compare": f"/compare?pick={site.past.failed['check-services']}+check-services"
                   f"&pick={site.past.good['check-services']}+check-services",
    }  # fmt: skip


async def applied_twice(control: Control) -> None:
    """The lab file as it is was applied after one with a job more."""
    async with control.database.connection() as conn:
        row = await store.applied_lab(conn)
        assert row is not None
        name, text = next(iter(row["files"].items()))
        before = {**row["files"], name: text + "\n[jobs.gone-since]\nrun = 'true'\n"}
        for files, digest in ((before, "before"), (row["files"], row["digest"])):
            await versions.add(
                conn, by="owner", path=row["path"], folder=row["folder"] or "", files=files, digest=digest,
                is_takeover=False,
            )  # fmt: skip


async def passed_on(control: Control, past: history.Past) -> None:
    """Jobs of the runs that are looked at have passed on variables and files: one is there, one on its way."""
    hostile = "reports/" + "a very long name of a file that somebody gave without a space " * 3 + "<b>.pdf"
    runs = [(past.failed["dump-app"], "dump-app"), (past.good["check-services"], "check-services")]
    async with control.database.connection() as conn:
        for run, job in runs:
            for path, sha256, size, node in (
                ("reports/week.pdf", "a" * 64, 48_211, "mac3"), (hostile, "b" * 64, 7_340_032, None),
            ):  # fmt: skip
                await conn.execute(
                    "insert into artefact (run, job, attempt, path, sha256, bytes, node, saved)"
                    " values (%s, %s, 1, %s, %s, %s, %s, now() - interval '1 hour')",
                    (run, job, path, sha256, size, node),
                )
            outputs = jsonlib.dumps({"DUMP": "/backups/app.sql", "NOTE": "two\nlines <b>"})
            await conn.execute(
                "update job_run set outputs = %s::jsonb where run = %s and job = %s", (outputs, run, job)
            )
        await conn.execute("insert into object (sha256, bytes) values (%s, %s)", ("b" * 64, 7_340_032))


@contextlib.asynccontextmanager
async def running(
    database: str,
    folder: Path,
    *,
    days: float = 2.2,
    most: int = 100_000,
    text: str | None = None,
    screens: Sequence[Screen] = SCREENS,
) -> AsyncIterator[Site]:
    """`database`: URL of an empty one. The reference lab with `BROKEN` jobs, a `RUNNING` flow and three
    machines, or the lab of `text`, where all is well."""
    home = Home(folder / "home").ensure()
    async with Database(database, password=None) as pool:
        await migrate(pool)
    ill = {"broken": BROKEN, "running": RUNNING} if text is None else {}
    past = await asyncio.to_thread(history.write, database, home, days=days, most=most, text=text, **ill)
    with listening() as (where, url):
        async with (
            PrefectApi("http://127.0.0.1:1/api", "homelab:none") as prefect,
            Control.open(home, database, prefect, own_url=url) as control,
        ):
            access = Access(control.database.tuples)
            await applied_twice(control)
            if text is None:
                await fleet_site.lasting(control)
                await passed_on(control, past)
            made = app(
                control, access=access, home=home, prefect_url="http://127.0.0.1:1", prefect_auth="homelab:none",
                own_url=url, pages=Console(screens),
            )  # fmt: skip
            async with served(made, where, url) as http:
                yield Site(url, home, control, access, past, http)
