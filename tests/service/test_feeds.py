"""Feeds of a lab with a past: what they say, who may read them, and what their tokens do not open."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from icalendar import Calendar
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres

from homelab.console.site import Console
from homelab.control.api.app import ROUTES
from homelab.core import labfile
from homelab.notify.watcher import Watcher

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[2]
FEEDS = {"status": "/status.json", "badge": "/badge.svg", "badge/dump-app": "/badge/dump-app.svg", "due": "/due.ics"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("feeds")) as made:
            yield made


async def bearer(site: Site, scope: str = "admin") -> dict[str, str]:
    made = await site.access.create_token("test", scope)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {made['token']}"}


async def feed(site: Site, name: str) -> dict[str, str]:
    got = await site.http.post("/api/v1/feeds", json={"feed": name, "name": "wall"}, headers=await bearer(site))
    assert got.status_code == 201, got.text
    return dict(got.json()["feed"])


async def test_the_status_says_what_fails_and_where_to_look(site: Site) -> None:
    got = await site.http.get("/status.json", headers=await bearer(site, "read"))
    found = got.json()
    assert found["state"] == "failing" and found["failing"] >= 3 and found["jobs"] == 46
    assert f"{found['failing']} failing" in found["summary"]
    assert datetime.fromisoformat(found["next_due"]) > datetime.now(UTC)
    (dump,) = [one for one in found["attention"] if one["subject"] == "dump-app"]
    assert dump["url"] == f"{site.url}/runs/{site.past.failed['dump-app']}"
    page = await site.page(dump["url"].removeprefix(site.url))
    assert page.status_code == 200 and site.past.failed["dump-app"][:8] in page.text


async def test_a_badge_tells_of_the_lab_or_of_a_job_and_other_sites_may_show_it(site: Site) -> None:
    for path, word in (
        ("/badge.svg", "failing"),
        ("/badge/dump-app.svg", "failed"),
        ("/badge/heartbeat.svg", "succeeded"),
    ):
        got = await site.http.get(path, headers=await bearer(site, "read"))
        assert got.headers["content-type"].startswith("image/svg+xml")
        assert got.headers["cross-origin-resource-policy"] == "cross-origin"
        assert word in ET.fromstring(got.text).attrib["aria-label"]
    assert (await site.http.get("/badge/nobody.svg", headers=await bearer(site))).status_code == 404


async def test_the_calendar_is_read_back_by_its_library_and_leads_to_the_console(site: Site) -> None:
    got = await site.http.get("/due.ics", headers=await bearer(site, "read"))
    assert got.headers["content-type"].startswith("text/calendar")
    events = list(Calendar.from_ical(got.content).walk("VEVENT"))
    titles = [str(event["summary"]) for event in events]
    assert any(title.endswith("frequent jobs") for title in titles)
    assert sum(title.startswith("dump-app") for title in titles) == 14
    assert "✗ dump-app failed" in titles
    assert 20 < len(events) < 500 and len({str(e["uid"]) for e in events}) == len(events)
    failed = next(e for e in events if str(e["summary"]).startswith("✗ dump-app"))
    assert str(failed["url"]) == f"{site.url}/runs/{site.past.failed['dump-app']}"


async def test_what_a_reader_has_already_is_not_sent_again(site: Site) -> None:
    for path in ("/badge.svg", "/due.ics"):
        headers = await bearer(site, "read")
        got = await site.http.get(path, headers=headers)
        assert "max-age=" in got.headers["cache-control"] and "public" not in got.headers["cache-control"]
        again = await site.http.get(path, headers={**headers, "If-None-Match": got.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await site.http.get(path, headers={**headers, "If-None-Match": '"other"'})).status_code == 200


async def test_a_feed_token_opens_its_feed_and_no_other_route_at_all(site: Site) -> None:
    made = {name: await feed(site, name) for name in FEEDS}
    secrets = {name: str(one["url"]).partition("feed=")[2] for name, one in made.items()}
    for name, path in FEEDS.items():
        assert made[name]["url"] == f"{site.url}{path}?feed={secrets[name]}"
        assert (await site.http.get(str(made[name]["url"]).removeprefix(site.url))).status_code == 200
        for other in FEEDS:
            if other != name:
                got = await site.http.get(path, params={"feed": secrets[other]})
                assert got.status_code == 401, (path, other)
        # As a bearer token, as a cookie, on the feed itself: it is none of these.
        assert (await site.http.get(path, headers={"Authorization": f"Bearer {secrets[name]}"})).status_code == 401
    assert (await site.http.get("/badge/heartbeat.svg", params={"feed": secrets["badge/dump-app"]})).status_code == 401
    for route in (*ROUTES, *Console().routes):
        if route.scope == "open" or route.feed:
            continue
        path = re.sub(r"{[^}]*}", "dump-app", route.path)
        got = await site.http.request(route.method, path, params={"feed": secrets["status"]})
        assert got.status_code == 401, (route.method, path)
        bearer_ = {"Authorization": f"Bearer {secrets['status']}"}
        assert (await site.http.request(route.method, path, headers=bearer_)).status_code == 401, (route.method, path)
    for bad in ("", "x" * 5000, "hf_" + "0" * 43, "%00"):
        assert (await site.http.get("/status.json", params={"feed": bad})).status_code in (400, 401)


async def test_a_bad_feed_token_is_refused_even_beside_a_good_session(site: Site) -> None:
    cookie = await site.sign_in()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    assert (await site.http.get("/status.json", headers=headers)).status_code == 200
    assert (await site.http.get("/status.json?feed=hf_x", headers=headers)).status_code == 401


async def test_a_revoked_feed_is_401_at_once_and_no_longer_listed(site: Site) -> None:
    made = await feed(site, "due")
    path = str(made["url"]).removeprefix(site.url)
    assert (await site.http.get(path)).status_code == 200
    headers = await bearer(site)
    listed = (await site.http.get("/api/v1/feeds", headers=headers)).json()["feeds"]
    assert {"feed": "due", "name": "wall"}.items() <= next(f for f in listed if f["id"] == made["id"]).items()
    assert next(f for f in listed if f["id"] == made["id"])["last_used"]
    assert str(made["url"]).partition("feed=")[2] not in json.dumps(listed)
    assert (await site.http.delete(f"/api/v1/feeds/{made['id']}", headers=headers)).status_code == 200
    assert (await site.http.get(path)).status_code == 401
    assert (await site.http.delete(f"/api/v1/feeds/{made['id']}", headers=headers)).status_code == 404
    listed = (await site.http.get("/api/v1/feeds", headers=headers)).json()["feeds"]
    assert made["id"] not in {f["id"] for f in listed}


async def test_only_an_admin_gives_feeds_out_and_only_of_what_is_there(site: Site) -> None:
    for scope in ("read", "operate"):
        got = await site.http.post("/api/v1/feeds", json={"feed": "due"}, headers=await bearer(site, scope))
        assert got.status_code == 403
    for wrong, status in (("jobs", 400), ("badge/nobody", 404), ("badge/../x", 400), ("", 400)):
        got = await site.http.post("/api/v1/feeds", json={"feed": wrong}, headers=await bearer(site))
        assert got.status_code == status, (wrong, got.text)


async def test_the_console_can_be_put_on_a_home_screen(site: Site) -> None:
    page = (await site.page("/")).text
    manifest = re.search(r'<link rel="manifest" href="([^"]+)"', page)
    touch = re.search(r'<link rel="apple-touch-icon" href="([^"]+)"', page)
    assert manifest and touch and 'name="theme-color"' in page
    got = await site.http.get(manifest[1])  # browsers fetch it without credentials
    assert got.headers["content-type"] == "application/manifest+json"
    for address in (touch[1], *(icon["src"] for icon in got.json()["icons"])):
        picture = await site.http.get(address)
        assert picture.status_code == 200 and picture.headers["content-type"].startswith("image/"), address


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
async def test_the_menu_bar_script_of_the_documents_shows_what_fails(site: Site) -> None:
    text = (ROOT / "docs/how-to/feeds.md").read_text()
    script = text.partition("```sh\n#!/bin/sh\n")[2].partition("```")[0]
    url = str((await feed(site, "status"))["url"])
    script = re.sub(r"FEED='[^']*'", f"FEED='{url}'", script).replace("/usr/bin/python3", sys.executable)
    done = await asyncio.to_thread(subprocess.run, ["sh", "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"✗ \d+ \| color=red", lines[0]) and lines[1] == "---"
    assert any(line.startswith("dump-app: ") and f"/runs/{site.past.failed['dump-app']}" in line for line in lines)
    gone = re.sub(r"FEED='[^']*'", "FEED='http://127.0.0.1:1/'", script)
    done = await asyncio.to_thread(subprocess.run, ["sh", "-c", gone], capture_output=True, text=True)
    assert done.stdout.startswith("lab ?")


async def test_the_link_in_an_alert_opens_the_page_of_that_very_run(site: Site) -> None:
    run = site.past.failed["dump-app"]
    lab, _ = labfile.parse({"l": '[jobs.dump-app]\nrun = "x"\n[notify]\nurls = ["log://x"]'}, main="l")
    assert lab is not None
    watcher = Watcher(control_url=site.url, up_since=datetime.now(UTC))
    watcher.configure(lab)
    ended = datetime.now(UTC).isoformat()
    report = {
        "kind": "job.finished", "run": run, "flow": "dump-app", "job": "dump-app", "due": None, "attempt": 2,
        "state": "failed", "exit_code": 1, "started": ended, "ended": ended, "reason": "", "tail": [],
    }  # fmt: skip
    async with site.control.database.connection() as conn:
        await conn.execute(b"delete from notification")
        await conn.execute(b"delete from watch where job = 'dump-app'")
        await watcher.on_report(conn, report)
        row = await (await conn.execute(b"select body from notification where kind = 'failed'")).fetchone()
    assert row is not None
    link = re.search(r"http://\S+", row["body"])
    assert link and link[0] == f"{site.url}/runs/{run}"
    page = await site.page(link[0].removeprefix(site.url))
    assert page.status_code == 200 and run[:8] in page.text and "No space left on device" in page.text
