"""Names and texts that nobody should meet: control bytes, HTML, bidi overrides, a megabyte; on every page and in the
API they are text, and pages stay small. Forms that are sent twice: nothing is done twice."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres

from homelab.console.screens import SCREENS

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[2J\x07\x9b\r\n\u202eabc\u2066{{7*7}}${x}%s"
NODE = HOSTILE.replace("/", "")  # a slash cannot be in a part of a path
LONG = HOSTILE + "n" * 1_000_000
RUN = "bad00000-0000-7000-8000-000000000001"
ACTS_ON_A_READER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("bad"), days=1.1) as made:
            await fill(made)
            yield made


async def fill(site: Site) -> None:
    """Hostile texts wherever a worker, a person or a job can put any."""
    async with site.control.database.connection() as conn:

        async def put(query: str, *values: object) -> None:
            await conn.execute(query.encode(), values)

        await put(
            "insert into run (id, flow, due, digest, trigger, jobs, by, state, created, started, ended, node, worker,"
            " reason, params) select %s, %s, now(), digest, 'manual', %s::jsonb, %s, 'failed', now(), now(), now(), %s,"
            " %s, %s, %s::jsonb from flow limit 1",
            RUN, HOSTILE, json.dumps([HOSTILE, "heartbeat"]), HOSTILE, HOSTILE, HOSTILE, LONG,
            json.dumps({HOSTILE: LONG}),
        )  # fmt: skip
        for job in (HOSTILE, "heartbeat"):
            await put(
                "insert into job_run (run, job, attempt, flow, due, state, started, ended, exit_code, reason, tail,"
                " node, worker) values (%s, %s, 1, %s, now(), 'failed', now(), now(), 1, %s, %s::jsonb, %s, %s)",
                RUN, job, HOSTILE, LONG, json.dumps([LONG] * 3), HOSTILE, HOSTILE,
            )  # fmt: skip
        await put(
            "insert into notification (kind, job, run, title, body, target, dedupe_key, state, last_error)"
            " values ('failed', %s, %s, %s, %s, %s, 'x', 'failed', %s)",
            HOSTILE, RUN, LONG, LONG, HOSTILE, LONG,
        )  # fmt: skip
        await put(
            "insert into worker (name, node, pid, started, slots, running) values (%s, %s, 1, now(), 1, %s::jsonb)",
            LONG[:100_000], LONG[:100_000], json.dumps([{"run": RUN, "flow": HOSTILE, "jobs": [HOSTILE]}]),
        )  # fmt: skip
        await put(
            "insert into audit (who, via, origin, action, subject, result) values (%s, %s, %s, %s, %s, %s)",
            HOSTILE, HOSTILE, HOSTILE, HOSTILE, LONG, HOSTILE,
        )  # fmt: skip
        await put(
            "insert into node (name, roles, labels, address, models, version, sensed, heartbeat) values (%s, %s::jsonb,"
            " %s::jsonb, %s, %s::jsonb, %s, %s::jsonb, now())",
            NODE, json.dumps([HOSTILE]), json.dumps({HOSTILE: HOSTILE}), LONG,
            json.dumps([{"name": HOSTILE, "gpu_memory": 1, "device": 0}]), HOSTILE,
            json.dumps({"labels": {HOSTILE: HOSTILE}}),
        )  # fmt: skip
        await put("insert into token (name, scope, hash) values (%s, 'read', 'x')", LONG)
        await put("insert into watch (job, kind, run, body) values ('heartbeat', 'slow', %s, '{}')", RUN)
        await put("insert into event (kind, subject, body) values (%s, %s, '{}')", HOSTILE, LONG)
    folder = site.home.run_folder(RUN)
    folder.mkdir(parents=True)
    (folder / "heartbeat.1.log").write_bytes(b"100.0 o " + HOSTILE.encode().replace(b"\n", b"") + b"\xff\xfe\x00\n")


async def browser(site: Site) -> dict[str, str]:
    cookie = await site.sign_in()
    return {"Cookie": f"{cookie['name']}={cookie['value']}", "Origin": site.url}


def paths(site: Site) -> list[str]:
    found = [r.path for s in SCREENS for r in s.routes if r.method == "GET" and r.path != "/compare"]
    made = [
        p.replace("/people/{name}", "/people/owner")
        .replace("/nodes/{name}", f"/nodes/{quote(NODE)}")
        .replace("{name}", "heartbeat")
        for p in found
    ]
    return [p.replace("/runs/{id}", f"/runs/{RUN}").replace("{id}", "1") for p in made] + [
        f"/runs/{RUN}?job={quote(HOSTILE)}", f"/runs/{RUN}?job=heartbeat", "/runs?state=failed",
    ]  # fmt: skip


def is_harmless(page: str) -> None:
    """No byte that acts on a reader, no element or attribute that the text brought, not a megabyte."""
    acts = ACTS_ON_A_READER.search(page)
    assert acts is None, page[max(0, acts.start() - 200) : acts.start() + 20]
    assert "<script>" not in page
    assert "<img" not in page
    assert "onerror=alert(1)>" not in page
    assert "49" not in re.findall(r"\{\{(\S+)\}\}", page)
    assert len(page) < 700_000, len(page)


async def test_hostile_names_and_megabytes_are_text_on_every_page(site: Site) -> None:
    headers = await browser(site)
    seen = 0
    for path in paths(site):
        got = await site.http.get(path, headers=headers)
        assert got.status_code == 200, (path, got.text[-2000:])
        is_harmless(got.text)
        seen += "&lt;script&gt;" in got.text
    assert seen >= 8  # it is there, and it is text


async def test_what_keeps_pages_fresh_is_as_harmless(site: Site) -> None:
    headers = await browser(site)
    for topic in ("now", "runs:\n", f"run:{RUN} heartbeat", "lab"):
        async with site.http.stream("GET", f"/live?topic={quote(topic)}&after=0", headers=headers) as got:
            async for line in got.aiter_lines():
                if line.startswith("data: {"):
                    is_harmless(json.loads(line[6:])["html"])
                elif line.startswith("event: seen"):
                    break


async def test_the_api_gives_them_as_json_that_any_parser_reads(site: Site) -> None:
    headers = await browser(site)
    for path in ("/now", "/jobs", "/runs?limit=20", f"/runs/{RUN}", "/lab", "/notifications", "/audit", "/tokens"):
        got = await site.http.get(f"/api/v1{path}", headers=headers)
        assert got.status_code == 200, path
        assert re.search(rb"[\x00-\x1f]", got.content) is None, path
        assert got.headers["content-type"] == "application/json"
        assert got.headers["x-content-type-options"] == "nosniff"
        json.loads(got.content)
    assert (await site.http.get("/api/v1/audit", headers=headers)).json()["audit"][-1]["who"]


@pytest.mark.parametrize(
    "name", [HOSTILE, "x" * 20_000, "\u202egpj.exe", "%2e%2e", "%00", "a/b", "\x7f", "💥" * 100, "' or 1=1 --"]
)
async def test_an_unknown_name_gets_an_answer_that_says_so(site: Site, name: str) -> None:
    headers = await browser(site)
    part = quote(name, safe="")
    for path in (f"/jobs/{part}", f"/runs/{part}", f"/lab/people/{part}/remove", f"/lab/tokens/{part}/revoke"):
        got = await site.http.get(path, headers=headers)
        assert got.status_code in (400, 404), (path, got.status_code)
        is_harmless(got.text)
        assert "<h1>" in got.text
    for path in (f"/api/v1/jobs/{part}", f"/api/v1/runs/{part}", f"/api/v1/runs/{part}/logs"):
        got = await site.http.get(path, headers=headers)
        assert got.status_code in (400, 404), (path, got.status_code)
        error = got.json()["error"]
        assert error["message"]
        assert len(got.content) < 3000


async def test_a_name_of_a_megabyte_in_an_address_is_refused_and_the_server_lives(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    cookie = (await browser(site))["Cookie"]
    for path in ("/jobs/" + "x" * 1_000_000, "/runs?job=" + "x" * 1_000_000, "/api/v1/jobs/" + "%FF" * 300_000):
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\n\r\n".encode())
            await writer.drain()
            assert b" 400 " in (await reader.read(4096)).partition(b"\r\n")[0]
        writer.close()
    assert (await site.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("path", "hint"),
    [("/api/v1/jobs/heartbeet", "heartbeat"), ("/api/v1/jobs/fetch-fed", "fetch-feeds"),
     ("/api/v1/runs/bad0zzzz", RUN)],
)  # fmt: skip
async def test_an_unknown_id_is_answered_with_the_nearest(site: Site, path: str, hint: str) -> None:
    got = await site.http.get(path, headers=await browser(site))
    error = got.json()["error"]
    assert got.status_code == 404
    assert hint in error["nearest"]
    assert hint in error["hint"]


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b'{"name": "\\ud800"}', b'{"name": "a\\u0000b"}', b"[1,2", b"x" * 5_000_000]
)
async def test_a_body_that_is_none_changes_nothing(site: Site, body: bytes) -> None:
    headers = {**await browser(site), "X-Homelab": "1", "Content-Type": "application/json"}
    before = len(await site.access.tokens())
    for path in ("/api/v1/tokens", "/api/v1/people", "/api/v1/sign-in-links", "/api/v1/jobs/heartbeat/run"):
        got = await site.http.post(path, content=body, headers=headers)
        assert got.status_code in (400, 413, 201 if path.endswith("links") else 400, 503), (path, got.text)
    assert len(await site.access.tokens()) == before


# -- nothing twice ----------------------------------------------------------------------------------------------------


async def form(site: Site, path: str, headers: dict[str, str]) -> dict[str, str]:
    page = (await site.http.get(path, headers=headers)).text.split('<form method="post"')[-1]
    return {n: unescape(v) for n, v in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)}


async def audited(site: Site, action: str) -> int:
    return sum(row["action"] == action for row in await site.access.audit(limit=500))


async def test_a_form_that_is_replayed_after_a_restart_of_control_does_nothing(site: Site) -> None:
    headers = await browser(site)
    path = "/jobs/rotate-logs/pause" if "rotate-logs" in site.control.looking.jobs() else "/jobs/heartbeat/pause"
    fields = await form(site, path, headers)
    first = await site.http.post(path, data=fields, headers=headers)
    assert first.status_code == 303
    await site.access.record(who="x", origin="", action="restart", subject="")
    from homelab.console import forms

    forms._ONCE._done.clear()  # what a new process knows: nothing
    job = path.split("/")[2]
    await site.control.resume(job, "somebody else")
    again = await site.http.post(path, data=fields, headers=headers)
    assert (again.status_code, again.headers["location"]) == (303, first.headers["location"])
    assert "paused" not in (await site.control.looking.states([job])).values()
    assert await audited(site, "POST /jobs/{name}/pause") == 1


@pytest.mark.parametrize("number", ["", "short", "x" * 200])
async def test_a_form_without_a_number_of_ours_does_nothing(site: Site, number: str) -> None:
    headers = await browser(site)
    fields: dict[str, Any] = {**await form(site, "/jobs/heartbeat/pause", headers), "number": number}
    before = await audited(site, "POST /jobs/{name}/pause")
    got = await site.http.post("/jobs/heartbeat/pause", data=fields, headers=headers)
    assert got.status_code == 400
    assert await audited(site, "POST /jobs/{name}/pause") == before


async def test_the_number_of_one_person_is_not_that_of_another(site: Site) -> None:
    """Or who saw a number could keep somebody else's form from being carried out."""
    first, second = await browser(site), await browser(site)
    mine, theirs = await form(site, "/jobs/heartbeat/pause", first), await form(site, "/jobs/heartbeat/pause", second)
    await site.http.post("/jobs/heartbeat/pause", data={**theirs, "number": mine["number"]}, headers=second)
    await site.control.resume("heartbeat", "test")
    got = await site.http.post("/jobs/heartbeat/pause", data=mine, headers=first)
    assert got.status_code == 303
    assert "paused" in (await site.control.looking.states(["heartbeat"])).values()
    await site.control.resume("heartbeat", "test")
