"""The pages on a real control with a past: what they show, whom they let act, what stays true by itself."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres

from homelab.console import assets, now
from homelab.console.live import Hub, Reader, Topic
from homelab.console.once import Once
from homelab.console.rendering import fragment
from homelab.console.screens import SCREENS
from homelab.control.api.answers import HttpError
from homelab.core.errors import RefusedError

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("console")) as made:
            yield made


def paths(site: Site) -> list[str]:
    """Every page that can be looked at, with a run and a job of this lab in it."""
    run = site.past.failed["dump-app"]
    found = [r.path for s in SCREENS for r in s.routes if r.method == "GET" and "{hash}" not in r.path]
    found.remove("/compare")
    found = [p.replace("/people/{name}", "/people/owner").replace("/nodes/{name}", "/nodes/mac4") for p in found]
    return [p.replace("{name}", "dump-app").replace("/runs/{id}", f"/runs/{run}").replace("{id}", "1") for p in found]


class Session:
    """A signed-in browser without scripts: it follows nothing by itself and sends the forms it was given."""

    def __init__(self, site: Site, cookie: dict[str, str]) -> None:
        self.site = site
        self.headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}

    async def get(self, path: str) -> str:
        got = await self.site.http.get(path, headers=self.headers)
        assert got.status_code == 200, (path, got.status_code, got.text[:2000])
        return got.text

    async def form(self, path: str) -> dict[str, str]:
        """The hidden fields of the form on a page."""
        form = (await self.get(path)).split('<form method="post"')[-1]
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
        return {name: unescape(value) for name, value in fields}

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> tuple[int, str, str]:
        """Status, where it leads, the page."""
        body = {"Origin": self.site.url, "Content-Type": "application/x-www-form-urlencoded", **headers}
        got = await self.site.http.post(path, content=urlencode(fields), headers={**self.headers, **body})
        return got.status_code, got.headers.get("location", ""), got.text


async def session(site: Site, scope: str = "admin") -> Session:
    return Session(site, await site.sign_in(scope))


async def rows(site: Site, query: str, *values: object) -> list[dict[str, object]]:
    async with site.control.database.connection() as conn:
        return list(await (await conn.execute(query.encode(), values)).fetchall())


async def test_every_page_is_whole_and_holds_no_script_or_style_of_its_own(site: Site) -> None:
    browser = await session(site)
    for path in paths(site):
        page = await browser.get(path)
        assert page.rstrip().endswith("</html>"), path
        assert page.count("<h1") == 1, path
        assert re.search(r"<script(?! src=\"/static/)", page) is None, path
        assert re.search(r"<[^>]+\s(style|on[a-z]+)=", page) is None, path
        assert "<style" not in page, path
        assert re.findall(r"(?:src|href|action)=\"(?:https?:)?//", page) == [], path


async def test_a_page_needs_the_scope_of_its_route_and_says_so_as_a_page(site: Site) -> None:
    reader = await site.sign_in("read")
    cookie = {"Cookie": f"{reader['name']}={reader['value']}"}
    for screen in SCREENS:
        for route in screen.routes:
            path = route.path.replace("{name}", "heartbeat").replace("{id}", site.past.failed["dump-app"])
            got = await site.http.request(route.method, path, headers={**cookie, "Origin": site.url})
            if route.scope != "read":
                assert got.status_code == 403, route.path
                assert "<h1>" in got.text
            got = await site.http.request(route.method, path)
            assert got.status_code == 401, route.path
            assert "homelab open" in got.text


async def test_the_first_page_tells_what_fails_with_its_reason_and_what_waits_for_it(site: Site) -> None:
    page = await (await session(site)).get("/")
    assert "3 things need you" in page, re.sub(r"(<[^>]+>|\s)+", " ", page)
    assert 'aria-label="All jobs: 3 failed, ' in page
    assert page.count('<i class="') == 46
    alert = page.split('<ul class="alerts">', 1)[1].split("</li>", 1)[0]
    assert "It ended with exit status 1." in alert
    assert "OSError: [Errno 28] No space left on device" in alert
    assert "compress-dumps, verify-dumps, copy-offsite and 1 more wait for it." in alert
    assert f"/runs/{site.past.failed['dump-app']}?job=dump-app#log" in alert
    assert "take-in-uploads" in page.split("Running", 1)[1]


async def test_a_failed_run_shows_the_last_twenty_lines_of_what_failed_and_how_it_differs(site: Site) -> None:
    page = await (await session(site)).get(f"/runs/{site.past.failed['dump-app']}")
    log = page.split('<ol class="log"', 1)[1].split("</ol>", 1)[0]
    assert log.count("<li ") == 20
    assert "<script" not in log
    assert "&lt;script&gt;document.title=" in log
    assert '<span class="fg-cyan">table_59</span>' in log
    assert '<span class="bold fg-red">failed</span>' in log
    assert "␛[2J" in log
    assert not any(c in page for c in "\x1b\x00\u202e")
    page = await (await session(site)).get(f"/runs/{site.past.failed['check-services']}")
    assert "Against the last good run" in page
    assert "failed, exit 1" in page.split("Against the last good run", 1)[1]


async def test_the_job_in_the_address_is_the_one_that_is_selected(site: Site) -> None:
    page = await (await session(site)).get(f"/runs/{site.past.failed['dump-app']}?job=backup-report")
    assert '<h2 id="h-log">backup-report</h2>' in page
    assert page.count('aria-current="true"') == 2  # in the timeline and in the graph


@pytest.mark.parametrize(
    ("path", "near"),
    [("/jobs/heartbeet", 'href="/jobs/heartbeat"'), ("/runs/{near}", 'href="/runs/{run}"'),
     ("/nothing", "no such page"), ("/runs?job=fetch-feds", 'href="/jobs/fetch-feeds"'),
     ("/jobs/%F0%9F%92%A5%3Cb%3E", "There is no job")],
)  # fmt: skip
async def test_what_is_not_there_gets_a_page_with_the_nearest(site: Site, path: str, near: str) -> None:
    run = site.past.failed["dump-app"]
    got = await site.page(path.format(near=run[:6] + "zzz"))
    assert got.status_code == 404
    assert near.format(run=run) in got.text
    assert "<b>" not in got.text


@pytest.mark.parametrize(
    ("path", "site_of", "address"),
    [
        ("/runs?job=a", "cross-site", "/runs?job=a"),
        ("/", "same-origin", None),
        ("//evil.example/x", "cross-site", None),
    ],
)
async def test_a_link_from_another_site_is_asked_for_once_more_by_our_own_page(
    site: Site, path: str, site_of: str, address: str | None
) -> None:
    got = await site.http.get(site.url + path, headers={"Sec-Fetch-Site": site_of})
    assert got.status_code in (401, 404)
    found = re.search(r'<meta http-equiv="refresh" content="0;url=([^"]*)">', got.text)
    assert (found and found[1]) == address


async def test_pages_of_runs_follow_each_other_without_a_gap_or_a_repetition(site: Site) -> None:
    browser = await session(site)
    seen: list[str] = []
    path = "/runs?job=check-services"
    while path:
        page = await browser.get(path)
        seen += re.findall(r'name="pick" value="(\S+) ', page)
        more = re.search(r'href="([^"]+)" rel="next"', page)
        path = unescape(more[1]) if more else ""
    written = await rows(site, "select run from job_run where job = 'check-services' order by recorded desc")
    assert seen == [row["run"] for row in written]
    assert len(seen) > 300


async def test_runs_are_filtered_by_state_and_by_day_in_the_zone_of_the_lab(site: Site) -> None:
    browser = await session(site)
    page = await browser.get("/runs?state=failed")
    assert set(re.findall(r'<span class="state tone-\w+" title="(\w+)">', page.split("<tbody>", 1)[1])) == {"failed"}
    days = await site.control.looking.days("check-services")
    page = await browser.get(f"/runs?job=check-services&day={days[0]['day']}")
    assert page.count('name="pick"') == min(60, days[0]["runs"])
    got = await site.page("/runs?day=yesterday")
    assert got.status_code == 400


async def test_jobs_that_have_not_begun_and_runs_that_failed_before_any_did_are_listed(site: Site) -> None:
    newest = (await site.control.runs(job="scan-library", limit=1))[0]
    assert (newest["state"], newest["id"]) == ("pending", site.past.running["take-in-uploads"])
    assert newest["id"] in [row["id"] for row in await site.control.runs(state="pending", limit=500)]
    async with site.control.database.connection() as conn:
        await conn.execute(
            b"insert into run (id, flow, due, digest, trigger, jobs, state, reason, created, ended)"
            b" select 'early', flow, now(), digest, 'schedule', jobs, 'failed', 'no definition', now(), now()"
            b" from run where flow = 'heartbeat' limit 1"
        )
    try:
        for wanted in ({"job": "heartbeat"}, {"state": "failed"}):
            row = (await site.control.runs(**wanted, limit=1))[0]
            assert (row["id"], row["job"], row["reason"]) == ("early", "heartbeat", "no definition")
    finally:
        async with site.control.database.connection() as conn:
            await conn.execute(b"delete from run where id = 'early'")


async def test_two_runs_of_a_job_can_be_compared_and_two_of_different_jobs_cannot(site: Site) -> None:
    good, bad = site.past.good["check-services"], site.past.failed["check-services"]
    page = await (await session(site)).get(f"/compare?pick={bad}+check-services&pick={good}+check-services")
    assert "succeeded, exit 0" in page
    assert "failed, exit 1" in page
    got = await site.page(f"/compare?pick={bad}+check-services&pick={good}+heartbeat")
    assert got.status_code == 400


async def test_a_change_is_said_first_done_once_and_noted_with_who_and_from_where(site: Site) -> None:
    browser = await session(site, "operate")
    assert "will not run either" in await browser.get("/jobs/clean-articles/pause")
    fields = await browser.form("/jobs/clean-articles/pause")
    before = await rows(site, "select id from event where kind = 'job.paused'")
    answers = await asyncio.gather(*(browser.post("/jobs/clean-articles/pause", fields) for _ in range(3)))
    assert {(status, to) for status, to, _ in answers} == {(303, "/jobs/clean-articles?did=paused")}
    assert len(await rows(site, "select id from event where kind = 'job.paused'")) == len(before) + 1
    noted = await rows(site, "select * from audit where subject = 'clean-articles'")
    assert [(row["who"], row["action"]) for row in noted] == [("guest", "POST /jobs/{name}/pause")]
    assert str(noted[0]["origin"]).startswith("127.0.0.1 python-httpx")
    page = await browser.get("/jobs/clean-articles")
    assert "Resume" in page
    assert (await browser.post("/jobs/clean-articles/resume", await browser.form("/jobs/clean-articles/resume")))[
        0
    ] == 303
    assert "paused" not in (await browser.get("/jobs/clean-articles")).split("</h1>", 1)[1].split("</p>", 1)[0]


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
     {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, {"Host": "evil.example"}],
)  # fmt: skip
async def test_a_form_of_another_page_changes_nothing(site: Site, headers: dict[str, str]) -> None:
    browser = await session(site)
    fields = await browser.form("/jobs/heartbeat/pause")
    status, _, _ = await browser.post("/jobs/heartbeat/pause", fields, **headers)
    assert status in (403, 421)
    assert await rows(site, "select * from job_switch where job = 'heartbeat'") == []


async def test_a_form_without_its_proof_or_of_another_session_changes_nothing(site: Site) -> None:
    browser, other = await session(site), await session(site)
    fields = await other.form("/jobs/heartbeat/pause")
    for wrong in (fields, {**fields, "form_token": ""}, {"number": "1"}):
        assert (await browser.post("/jobs/heartbeat/pause", wrong))[0] == 403
    plain = {"Content-Type": "text/plain"}
    assert (await browser.post("/jobs/heartbeat/pause", {}, **plain))[0] == 403
    assert await rows(site, "select * from job_switch where job = 'heartbeat'") == []


@pytest.mark.parametrize("value", ["x; touch /tmp/PWN", "$(touch /tmp/PWN)", "a\nb", "-rf", "%d", "<script>x</script>"])
async def test_parameters_are_shown_as_text_and_refused_as_they_are(site: Site, value: str) -> None:
    browser = await session(site)
    fields = await browser.form("/jobs/heartbeat/run")
    status, _, page = await browser.post("/jobs/heartbeat/run", {**fields, "param_name": "A;B", "param_value": value})
    assert status == 400
    assert "cannot be a variable" in page
    assert "<script>x" not in page
    assert not Path("/tmp/PWN").exists()


async def test_a_retry_from_a_job_on_names_what_runs_with_it(site: Site) -> None:
    run, browser = site.past.failed["dump-app"], await session(site)
    page = await browser.get(f"/runs/{run}?job=dump-memory")
    assert f'href="/runs/{run}/retry?from=dump-memory"' in page
    asked = unescape(await browser.get(f"/runs/{run}/retry?from=dump-memory"))
    assert "From dump-memory on, and what did not succeed: with it compress-dumps, verify-dumps, copy-offsite" in asked
    assert 'value="from" checked' in asked
    assert 'value="from"' not in await browser.get(f"/runs/{run}/retry?from=%3Cb%3Enobody")


async def test_what_prefect_does_not_take_is_said_on_the_page_and_can_be_tried_again(site: Site) -> None:
    browser = await session(site)
    fields = await browser.form("/jobs/heartbeat/run")
    for _ in range(2):
        status, _, page = await browser.post("/jobs/heartbeat/run", fields)
        assert status == 400
        assert 'role="alert"' in page


async def test_the_graph_has_every_job_as_a_box_and_in_a_list(site: Site) -> None:
    page = await (await session(site)).get("/graph")
    names = site.control.looking.jobs()
    assert page.count('<g class="node') == len(names) == 46
    listing = page.split("The same as a list", 1)[1]
    assert all(f">{name}</a>" in listing for name in names)
    assert "needs render-brief and tag-articles" in listing


async def test_the_lab_file_shows_what_applying_it_would_change(site: Site) -> None:
    page = await (await session(site)).get("/lab/file")
    assert "The lab is as the file says." in page
    assert page.count('<li id="line-') > 300


async def test_a_token_is_shown_once_and_works_until_it_is_revoked(site: Site) -> None:
    browser = await session(site)
    fields = await browser.form("/lab/tokens")
    _, _, page = await browser.post("/lab/tokens", {**fields, "name": "<b>menu bar", "scope": "read"})
    secret = re.search(r"<code>(hl_[\w-]+)</code>", page)
    assert secret
    assert "<b>menu" not in page
    bearer = {"Authorization": f"Bearer {secret[1]}"}
    assert (await site.http.get("/api/v1/now", headers=bearer)).status_code == 200
    assert secret[1] not in await browser.get("/lab/tokens")
    again, _, twice = await browser.post("/lab/tokens", {**fields, "name": "<b>menu bar", "scope": "read"})
    assert again == 303
    assert "hl_" not in twice
    found = await rows(site, "select id from token where name = '<b>menu bar'")
    assert len(found) == 1
    path = f"/lab/tokens/{found[0]['id']}/revoke"
    assert (await browser.post(path, await browser.form(path)))[0] == 303
    assert (await site.http.get("/api/v1/now", headers=bearer)).status_code == 401


async def test_the_client_code_is_small_kept_for_good_and_has_no_address_in_it() -> None:
    packed = 0
    for name in assets.names():
        packed += len(assets._packed(name))
        if name.endswith(".png"):
            continue
        text = assets.contents(name).decode().replace("http://www.w3.org/2000/svg", "")
        assert re.search(r"(https?:)?//\w+\.\w", text) is None, name
    assert packed <= 120_000


NOT_ON_THE_STYLE_PAGE = {
    "the frame of a page": "connection door fill folding large less link narrow num run-grid split",
    "made by scripts": "dimmed graph-box graph-says graph-tools graph-view hit impact lit log-tools no-wrap tools-slot",
}


async def test_a_run_that_waits_for_room_says_why_in_the_words_of_placement(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, why = site.past.running["take-in-uploads"], "mac4: 3.3 cores free of 6 asked; nightly-eval holds 6"

    async def queue() -> list[dict[str, object]]:
        reasons = [{"node": "mac4", "code": "short", "reason": why}]
        return [{"run": run, "job": "take-in-uploads", "since": "2026-05-01T12:00:00Z", "reasons": reasons}]

    monkeypatch.setattr(site.control.fleet, "queue", queue)
    page = await (await session(site, "read")).get(f"/runs/{run}?job=take-in-uploads")
    assert f"<li>{why}</li>" in page


async def test_the_style_page_shows_every_component_that_there_are_styles_for(site: Site) -> None:
    styles = re.sub(r"/\*.*?\*/", "", assets.contents("console.css").decode(), flags=re.DOTALL)
    selectors = " ".join(re.findall(r"(?:^|[{};])\s*([^{};@]+)\{", styles))
    styled = set(re.findall(r"\.([a-z][\w-]*)", selectors))
    page = await (await session(site)).get("/style")
    shown = {name for names in re.findall(r'class="([^"]*)"', page) for name in names.split()}
    assert styled - shown - {name for names in NOT_ON_THE_STYLE_PAGE.values() for name in names.split()} == set()


async def test_styles_and_scripts_are_served_packed_under_their_hash(site: Site) -> None:
    got = await site.http.get(assets.address("console.css"))
    assert got.status_code == 200
    assert got.headers["content-encoding"] == "gzip"
    assert "immutable" in got.headers["cache-control"]
    assert (await site.http.get("/static/0/..%2Fsite.py")).status_code == 404


async def events(site: Site, query: str, until: str, headers: dict[str, str]) -> list[tuple[str, str]]:
    """(event, data) of the live stream up to the first event of that name."""
    found: list[tuple[str, str]] = []
    kind = ""
    async with asyncio.timeout(15), site.http.stream("GET", f"/live?{query}", headers=headers) as got:
        assert got.status_code == 200
        async for line in got.aiter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                found.append((kind, line[6:]))
                if kind == until:
                    return found
    return found


async def test_an_open_page_gets_its_parts_and_then_only_what_changed(site: Site) -> None:
    headers = (await session(site)).headers
    first = await events(site, "topic=now&after=0", "seen", headers)
    ids = {json.loads(data)["id"] for kind, data in first if kind == "part"}
    assert ids == {"head", "glance", "attention", "running", "next", "recent"}
    version = first[-1][1]

    async def change() -> None:
        await asyncio.sleep(1.5)
        await site.control.pause("check-services", "somebody")

    changing = asyncio.create_task(change())
    kept = asyncio.create_task(events(site, f"topic=now&after={version}", "never", headers))
    try:
        got: list[tuple[str, str]] = []
        for _ in range(3):
            got = await events(site, f"topic=now&after={version}", "seen", headers)
            version = got[-1][1]
            if any("check-services" not in data for kind, data in got if '"attention"' in data and kind == "part"):
                break
        await changing
        last = [json.loads(data) for kind, data in got if kind == "part"]
        assert any(part["id"] == "attention" and "check-services" not in part["html"] for part in last)
    finally:
        kept.cancel()
        await asyncio.gather(kept, return_exceptions=True)
        await site.control.resume("check-services", "somebody")


async def test_a_topic_that_no_screen_has_is_not_followed(site: Site) -> None:
    headers = (await session(site)).headers
    assert (await site.http.get("/live?topic=odd", headers=headers)).status_code == 404
    assert (await site.http.get("/live?topic=now&after=x", headers=headers)).status_code == 400


async def test_a_reader_that_does_not_read_keeps_the_newest_of_each_part_only() -> None:
    topic, reader = Topic(), Reader()
    topic.readers.add(reader)
    for number in range(1000):
        topic.update({"a": f"<p>{number}", "b": "<p>same"}, number)
    assert reader.take() == {"a": (999, "<p>999"), "b": (0, "<p>same")}
    topic.update({"a": "<p>999", "b": "<p>same"}, 1000)
    assert reader.box == {}


async def test_a_part_in_which_only_time_has_passed_is_not_sent_again(site: Site) -> None:
    topic, reader = Topic(), Reader()
    topic.readers.add(reader)
    found = await now.values(SimpleNamespace(control=site.control, role="admin"))  # type: ignore[arg-type]
    moment = found["now"]
    for seconds in (0, 30, 90):
        found["now"] = moment + timedelta(seconds=seconds)
        topic.update({name: str(fragment(f"now/{name}.html", **found)) for name in now.PARTS}, seconds + 1)
    assert {at for at, _ in reader.take().values()} == {1}
    found["answer"]["running"][0]["job"] = "another"
    topic.update({name: str(fragment(f"now/{name}.html", **found)) for name in now.PARTS}, 200)
    assert list(reader.take()) == ["running"]


async def test_nobody_looking_means_nothing_is_made(site: Site) -> None:
    hub = Hub({"x": None})  # type: ignore[dict-item]
    made: list[int] = []

    async def make(_site: object, _rest: str) -> dict[str, str]:
        made.append(1)
        return {"a": str(len(made))}

    hub._makers = {"x": make}  # type: ignore[assignment]
    frames = hub._frames(SimpleNamespace(control=site.control, role="read"), "x:1", 0)  # type: ignore[arg-type]
    async for frame in frames:
        if frame.startswith(b"id: "):
            break
    await frames.aclose()  # type: ignore[attr-defined]
    assert hub.topics == {}
    count = len(made)
    await asyncio.sleep(1.0)
    assert len(made) == count


async def test_what_failed_may_be_tried_again_and_what_worked_is_not_done_twice(site: Site) -> None:
    once, did = Once(), 0

    async def act() -> str:
        nonlocal did
        did += 1
        await asyncio.sleep(0.01)
        if did == 1:
            raise RefusedError("not now")
        return "/done"

    with pytest.raises(RefusedError):
        await once.do(site.access, "1", act)
    assert await asyncio.gather(*(once.do(site.access, "1", act) for _ in range(5))) == ["/done"] * 5
    assert did == 2
    assert await Once().do(site.access, "1", act) == "/done"  # after a restart of control
    assert did == 2


async def test_a_form_that_control_did_not_finish_is_not_begun_again(site: Site) -> None:
    async def die() -> str:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Once().do(site.access, "2", die)
    with pytest.raises(HttpError, match="stopped in the middle"):
        await Once().do(site.access, "2", die)


async def test_the_api_gives_what_pages_show(site: Site) -> None:
    headers = (await session(site)).headers
    run = site.past.failed["dump-app"]

    async def api(path: str) -> dict[str, object]:
        got = await site.http.get(f"/api/v1{path}", headers=headers)
        assert got.status_code == 200, got.text
        return dict(got.json())

    now = await api("/now")
    assert {entry["job"] for entry in now["attention"]} >= {"dump-app", "collect-certificates"}  # type: ignore[attr-defined]
    assert (await api(f"/runs/{run}"))["run"]["why"].startswith("Its schedule (at 02:00 every day)")  # type: ignore[index]
    assert (await api("/days?job=heartbeat"))["days"]
    found = await api(f"/runs/{run}/find?job=dump-app&text=NO%20SPACE")
    lines = await api(f"/runs/{run}/lines?job=dump-app&from={found['at']}&lines=1")
    assert lines["lines"][0]["pieces"][0][0].startswith("OSError")  # type: ignore[index]
    difference = await api(f"/runs/{site.past.failed['check-services']}/difference?job=check-services")
    assert any(row["what"] == "result" and row["is_changed"] for row in difference["differences"])  # type: ignore[attr-defined]
    got = await site.http.get(f"/api/v1/runs/{run}/lines?job=nobody", headers=headers)
    assert got.status_code == 404
    for wrong in (
        f"/api/v1/runs/{run}/find?job=dump-app",
        f"/api/v1/runs/{run}/difference",
        f"/api/v1/runs/{run}/lines?from=-1",
    ):
        assert (await site.http.get(wrong, headers=headers)).status_code == 400, wrong


async def test_after_an_act_its_page_offers_the_way_back_which_is_audited_too(site: Site) -> None:
    browser = await session(site, "operate")
    _, where, _ = await browser.post("/jobs/fetch-feeds/pause", await browser.form("/jobs/fetch-feeds/pause"))
    assert where == "/jobs/fetch-feeds?did=paused"
    page = await browser.get(where)
    offer = page.split('<main id="main"', 1)[1].split('<form method="post"', 1)[1].split("</form>", 1)[0]
    assert 'action="/jobs/fetch-feeds/resume"' in offer
    assert "Undo: resume it" in offer
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', offer))
    assert (await browser.post("/jobs/fetch-feeds/resume", fields))[:2] == (303, "/jobs/fetch-feeds?did=resumed")
    assert await rows(site, "select job from job_switch where job = 'fetch-feeds' and paused") == []
    noted = await rows(site, "select action, result from audit where subject = 'fetch-feeds' order by id")
    assert [tuple(row.values()) for row in noted] == [
        ("POST /jobs/{name}/pause", "done"), ("POST /jobs/{name}/resume", "done"),
    ]  # fmt: skip
    for did in ("paused", "<b>", "applied"):
        page = await (await session(site, "read")).get(f"/jobs/fetch-feeds?did={did}")
        assert "Undo" not in page


async def test_taking_an_apply_back_says_what_it_changes_and_names_the_version_that_was_seen(site: Site) -> None:
    browser = await session(site)
    page = await browser.get("/lab/undo")
    assert "Added: job gone-since" in page
    assert "The file on disk stays as it is" in page
    fields = await browser.form("/lab/undo")
    status, _, page = await browser.post("/lab/undo", {**fields, "version": str(int(fields["version"]) - 1)})
    assert (status, "something else was applied meanwhile" in page) == (409, True)
    headers = {**browser.headers, "Origin": site.url, "X-Homelab": "1"}
    got = await site.http.post("/api/v1/lab/undo", json={"version": 1 << 40}, headers=headers)
    assert got.status_code == 409
    newest = await rows(site, "select result from audit where action = 'POST /lab/undo' order by id desc limit 1")
    assert newest == [{"result": "refused"}]


async def test_an_act_that_failed_is_in_the_audit_with_what_came_of_it(site: Site) -> None:
    browser = await session(site)
    status, _, _ = await browser.post("/jobs/heartbeat/run", await browser.form("/jobs/heartbeat/run"))
    assert status in (400, 503)  # there is no Prefect here
    row = (await rows(site, "select who, via, result from audit order by id desc limit 1"))[0]
    assert tuple(row.values()) == ("owner", "link", "unavailable")
