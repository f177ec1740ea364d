"""Every screen in a real Chromium: light, dark, on a phone, without scripts, by keyboard; nothing asked of another
host, no script error, nothing that axe finds wrong. Pictures are kept where HOMELAB_SCREENSHOTS says, if it does."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect
from tests import history
from tests.browser import LOOKS, needed, scrolls_sideways_by, tab
from tests.service import console_site
from tests.service.console_site import Site, screens
from tests.service.postgres_site import postgres

PICTURES = os.environ.get("HOMELAB_SCREENSHOTS")
RULES: dict[str, dict[str, Any]] = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]},
    "phone": {
        "resultTypes": ["violations"],
        "runOnly": ["target-size", "scrollable-region-focusable", "meta-viewport"],
    },
}
"""What axe looks for: everything once, and again what another theme or a small page can spoil."""

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needed]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("console")) as made:
            yield made


@contextlib.asynccontextmanager
async def seen(
    site: Site, browser: Browser, look: str = "light", scope: str = "admin", **more: Any
) -> AsyncIterator[Page]:
    """A page of somebody who is signed in."""
    async with tab(browser, site.url, look=look, cookie=await site.sign_in(scope), **more) as page:
        yield page


async def judged(site: Site, browser: Browser, look: str) -> list[str]:
    """What is wrong with any screen in one look."""
    wrong: list[str] = []
    async with seen(site, browser, look) as page:
        for name, path in screens(site).items():
            await page.goto(site.url + path)
            await expect(page.locator("h1")).to_be_visible()
            if look != "plain":
                wide = await scrolls_sideways_by(page)
                wrong += [f"{name}, {look}: scrolls sideways by {wide} px"] if wide > 0 else []
            if rules := RULES.get(look):
                found = await Axe().run(page, options=rules)
                wrong += [f"{name}, {look}: {found.generate_report()}"] if found.violations_count else []
            if PICTURES:
                Path(PICTURES).mkdir(parents=True, exist_ok=True)
                await page.screenshot(path=Path(PICTURES) / f"{name}-{look}.png")
    return wrong


async def test_every_screen_is_right_in_every_look(site: Site, browser: Browser) -> None:
    found = await asyncio.gather(*(judged(site, browser, look) for look in LOOKS))
    assert [problem for problems in found for problem in problems] == []


async def test_a_page_that_is_not_there_and_the_door_are_right_too(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, look="dark", forgiven=["401"]) as page:
        for path, words in (("/sign-in?token=x", "Sign in"), ("/", "This browser is not signed in")):
            await page.goto(site.url + path)
            await expect(page.locator("h1")).to_have_text(words)
            assert (await Axe().run(page)).violations_count == 0


async def test_a_link_signs_in_and_the_button_signs_out(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, forgiven=["401"]) as page:
        await page.goto(f"{site.url}/sign-in?token={await site.access.create_sign_in('read')}")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("h1")).to_contain_text("need")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.locator("h1")).to_have_text("This browser is not signed in")


async def test_the_way_from_what_fails_to_its_retry_needs_only_keys(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(site.url)
        for _ in range(40):
            await page.keyboard.press("Tab")
            focused = await page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")
            if focused == "See what happened: dump-app":
                break
        else:
            raise AssertionError("the action is not reached by Tab")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        await page.keyboard.press("Enter")
        await expect(page.locator("#h-log")).to_have_text("dump-app")
        await page.get_by_role("link", name="Retry", exact=True).focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("Retry this run of dump-app?")
        await expect(
            page.get_by_text("compress-dumps, verify-dumps, copy-offsite and prune-backups run again")
        ).to_be_visible()


async def test_keys_move_in_a_table_open_a_row_and_find(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(f"{site.url}/runs?job=check-services")
        for key in "jjkj":
            await page.keyboard.press(key)
        rows = page.locator("tbody tr")
        await expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
        await page.keyboard.press("x")
        await expect(rows.nth(1).locator("input")).to_be_checked()
        href = await rows.nth(1).locator("[data-open]").get_attribute("href")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**{href}")
        await page.keyboard.press("/")
        await page.keyboard.type("heartbeat")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("heartbeat")
        await page.keyboard.press("g")
        await page.keyboard.press("n")
        await page.wait_for_url(f"{site.url}/")


async def test_a_change_in_the_lab_is_on_the_page_within_a_second_or_two_and_focus_stays(
    site: Site, browser: Browser
) -> None:
    async with seen(site, browser) as page:
        await page.goto(site.url)
        await expect(page.locator("live-state")).to_have_attribute("data-state", "live")
        button = page.get_by_role("link", name="See what happened: dump-app")
        await button.focus()
        await expect(page.get_by_role("link", name="Retry: check-services")).to_be_visible()
        await site.control.pause("check-services", "somebody")
        try:
            await expect(page.get_by_role("link", name="Retry: check-services")).to_have_count(0, timeout=3000)
            await expect(page.locator("h1")).to_have_text("2 things need you")
            await expect(button).to_be_focused()
        finally:
            await site.control.resume("check-services", "somebody")
        await expect(page.get_by_role("link", name="Retry: check-services")).to_be_visible(timeout=3000)


async def test_a_lost_connection_is_seen_and_heals_itself(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(site.url)
        state = page.locator("live-state")
        await expect(state).to_have_attribute("data-state", "live")
        await page.context.set_offline(True)
        await page.evaluate("document.querySelector('live-state').source.dispatchEvent(new Event('error'))")
        await expect(state).to_have_attribute("data-state", "lost")
        await expect(state).to_contain_text("Connection lost")
        await page.context.set_offline(False)
        await page.evaluate("document.querySelector('live-state').open()")
        await expect(state).to_have_attribute("data-state", "live")


async def test_the_graph_finds_lights_the_impact_and_zooms(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(f"{site.url}/graph")
        await page.get_by_label("Find in graph").fill("verify")
        await expect(page.locator(".node.hit")).to_have_count(1)
        await page.get_by_role("button", name="Show what a failure would stop").click()
        await page.locator(".node[data-name='verify-dumps']").hover()
        await expect(page.locator(".graph-says")).to_have_text("If verify-dumps fails, 4 jobs cannot run.")
        lit = await page.locator(".node.lit").evaluate_all("nodes => nodes.map(n => n.dataset.name).sort()")
        assert lit == ["backup-report", "copy-offsite", "prune-backups", "test-restore", "verify-dumps"]
        before = await page.locator("svg.graph").get_attribute("viewBox")
        await page.get_by_role("button", name="Larger").click()
        assert await page.locator("svg.graph").get_attribute("viewBox") != before


async def test_graph_timeline_and_log_show_one_selection(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(f"{site.url}/runs/{site.past.failed['dump-app']}")
        for where, job in ((".graph a", "backup-report"), ("#members a", "dump-memory")):
            await page.locator(where).filter(has_text=job).click()
            await expect(page.locator("#h-log")).to_have_text(job)
            await expect(page.locator("#members [aria-current=true]")).to_contain_text(job)
            await expect(page.locator(".graph [aria-current=true]")).to_contain_text(job)
            assert page.url.endswith(f"?job={job}") or page.url.endswith(f"?job={job}#log")
        await page.get_by_role("link", name="The job", exact=True).click()
        await expect(page.locator("h1")).to_have_text("dump-memory")


async def test_an_open_graph_changes_colour_and_is_not_drawn_again(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(f"{site.url}/graph")
        await expect(page.locator("live-state")).to_have_attribute("data-state", "live")
        await page.evaluate("document.querySelector('svg.graph').dataset.same = 'yes'")
        box = page.locator(".node[data-name='pull-metrics']")
        await expect(box).to_have_class("node tone-good")
        await site.control.pause("pull-metrics", "somebody")
        try:
            await expect(box).to_have_class("node tone-idle", timeout=3000)
            await expect(page.get_by_role("link", name="pull-metrics, paused").first).to_be_visible()
            assert await page.locator("svg.graph").get_attribute("data-same") == "yes"
        finally:
            await site.control.resume("pull-metrics", "somebody")
        await expect(box).to_have_class("node tone-good", timeout=3000)


async def test_groups_of_the_graph_fold_into_one_box_and_open_again(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(f"{site.url}/graph")
        await page.get_by_role("link", name="Fold groups").click()
        await expect(page.locator(".node.folded")).to_have_count(5)
        await page.get_by_role("link", name="9 jobs around dump-app, the worst failed: open").click()
        await expect(page.locator(".node.folded")).to_have_count(4)
        await expect(page.locator(".node[data-name='verify-dumps']")).to_be_visible()
        await page.get_by_role("link", name="open all").click()
        await expect(page.locator(".node")).to_have_count(46)


async def test_a_log_of_200_megabytes_opens_scrolls_and_finds_without_hurting(site: Site, browser: Browser) -> None:
    run = site.past.failed["collect-certificates"]
    path = history.write_log(site.home, run, "collect-certificates", history.failing_log(console_site.now()))
    with path.open("r+b") as file:
        end = file.read()
        file.seek(0)
        block = b"".join(b"100.%06d o row %d %s\n" % (n, n, b"y" * 470) for n in range(2000))
        for part in range(205):
            file.write(block if part != 100 else block.replace(b"row 7 ", b"a needle "))
        file.write(end)
    try:
        cookie = await site.sign_in()
        headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
        for query in ("from=0&lines=2000", "back=1&lines=2000"):
            taken: list[float] = []
            for _ in range(5):
                begun = time.perf_counter()
                address = f"/api/v1/runs/{run}/lines?job=collect-certificates&{query}"
                got = await site.http.get(address, headers=headers)
                taken.append(time.perf_counter() - begun)
                assert len(got.json()["lines"]) == 2000
            assert min(taken) < 0.3, taken
        async with seen(site, browser) as page:
            await page.goto(f"{site.url}/runs/{run}?job=collect-certificates")
            log = page.locator("ol.log li")
            await expect(log.last).to_contain_text("ended with exit status 1")
            await page.get_by_label("Find in log").fill("a NEEDLE")
            await page.get_by_role("button", name="Start", exact=True).click()
            await expect(log.first).to_contain_text("row 0 ")
            await page.get_by_role("button", name="Find next").click()
            await expect(page.locator("li.found")).to_contain_text("a needle", timeout=10_000)
            for _ in range(12):
                await page.locator("ol.log").evaluate("list => list.scrollTo(0, 0)")
                await page.wait_for_timeout(60)
            assert await log.count() <= 4000
    finally:
        path.unlink()


async def test_a_log_that_grows_is_followed_and_repeats_are_folded(site: Site, browser: Browser) -> None:
    run = site.past.running["take-in-uploads"]
    path = site.home.run_folder(run) / "take-in-uploads.1.log"
    async with seen(site, browser) as page:
        await page.goto(f"{site.url}/runs/{run}")
        log = page.locator("ol.log li")
        await expect(log.last).to_contain_text("item 29 of 48")
        with path.open("ab") as file:
            file.write(b"4000000000.5 o \x1b[32mfresh\x1b[0m <b>line</b>\n")
        await expect(log.last).to_contain_text("fresh <b>line</b>", timeout=3000)
        await expect(log.last.locator(".fg-green")).to_have_text("fresh")
        with path.open("ab") as file:
            file.write(b"4000000001.5 o the same\n" * 5)
        await expect(log.last).to_contain_text("the same", timeout=3000)
        await page.get_by_role("button", name="Fold repeats").click()
        await expect(page.locator(".times")).to_have_text("× 5")


async def test_a_theme_is_chosen_kept_and_there_before_the_first_paint(site: Site, browser: Browser) -> None:
    async with seen(site, browser) as page:
        await page.goto(site.url)
        await page.get_by_role("button", name="Light or dark").click()
        await page.goto(f"{site.url}/jobs")
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(14, 16, 20)"


async def test_what_was_typed_survives_an_expired_session(site: Site, browser: Browser) -> None:
    async with seen(site, browser, forgiven=["401"]) as page:
        await page.goto(f"{site.url}/jobs/heartbeat/run")
        await page.get_by_label("Further parameter").fill("TABLE")
        await page.get_by_label("Its value").fill("users; touch /tmp/PWN")
        kept = await page.context.cookies()
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Run now").click()
        await expect(page.locator("h1")).to_have_text("This browser is not signed in")
        await page.context.add_cookies(kept)  # type: ignore[arg-type]
        await page.goto(f"{site.url}/jobs/heartbeat/run")
        await expect(page.get_by_label("Its value")).to_have_value("users; touch /tmp/PWN")


async def test_a_page_of_another_origin_can_do_nothing(site: Site, browser: Browser) -> None:
    evil = f"http://localhost:{site.url.rpartition(':')[2]}"  # another origin than 127.0.0.1, another host's cookies
    async with seen(site, browser, forgiven=[""], also=[evil]) as page:
        await page.goto(f"{evil}/sign-in")
        body = """async (url) => {
            const tries = [{mode: 'no-cors', body: 'number=1'}, {headers: {'X-Homelab': '1'}}];
            const got = [];
            for (const more of tries) {
                try { got.push((await fetch(url, {method: 'POST', credentials: 'include', ...more})).status) }
                catch (error) { got.push('refused') }
            }
            return got;
        }"""
        got = await page.evaluate(body, f"{site.url}/jobs/heartbeat/pause")
        assert got == ["refused", "refused"]
        script = "url => document.body.append(Object.assign(document.createElement('iframe'), {src: url}))"
        await page.evaluate(script, site.url)
        await page.wait_for_timeout(300)
        assert all(site.url not in (f.url or "") for f in page.frames[1:])
        async with site.control.database.connection() as conn:
            found = await (await conn.execute(b"select 1 from job_switch where job = 'heartbeat'")).fetchall()
        assert found == []


async def test_a_passkey_is_made_used_for_the_next_visit_and_removed(site: Site, browser: Browser) -> None:
    port = site.url.rpartition(":")[2]
    by_name = f"http://localhost:{port}"
    made = await browser.new_context()
    try:
        await made.add_cookies([{**await site.sign_in(), "url": by_name}])  # type: ignore[list-item]
        page = await made.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: wrong.append(m.text) if "Content Security" in m.text else None)
        devtools = await made.new_cdp_session(page)
        await devtools.send("WebAuthn.enable")
        device = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": device})
        await page.goto(f"{by_name}/me")
        await page.get_by_label("Name of the device").fill("<b>laptop</b>")
        await page.get_by_role("button", name="Add a passkey").click()
        row = page.locator("tr", has_text="<b>laptop</b>")
        await expect(row).to_contain_text("never")
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await page.goto(f"{by_name}/runs?state=failed")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.locator("h1")).to_have_text("Runs")
        await page.goto(f"{by_name}/jobs/heartbeat/run")
        await page.get_by_label("Further parameter").fill("TABLE")
        await page.get_by_label("Its value").fill("typed before it ran out")
        await made.clear_cookies()
        await page.get_by_role("button", name="Run now").click()
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_label("Its value")).to_have_value("typed before it ran out")
        await page.goto(f"{by_name}/me")
        await expect(page.get_by_text("Signed in by passkey <b>laptop</b>")).to_be_visible()
        found = await Axe().run(page, options={"resultTypes": ["violations"]})
        assert found.violations_count == 0, found.generate_report()
        await row.get_by_role("link", name="Remove").click()
        await page.get_by_role("button", name="Remove it").click()
        await expect(page.locator("h1")).to_have_text("This browser is not signed in")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("this passkey does not sign in here")).to_be_visible()
        assert wrong == []
    finally:
        await made.close()


async def test_two_tabs_a_double_click_and_the_back_button_do_nothing_twice(site: Site, browser: Browser) -> None:
    async def noted(job: str) -> list[str]:
        return [r["action"] for r in await site.access.audit(limit=200) if r["subject"] == job]

    async with seen(site, browser) as first:
        second = await first.context.new_page()
        for page in (first, second):
            await page.goto(f"{site.url}/jobs/sync-photos/pause")
        await first.get_by_role("button", name="Pause").dblclick()
        await expect(first.locator("h1")).to_have_text("sync-photos")
        assert await noted("sync-photos") == ["POST /jobs/{name}/pause"]
        await first.go_back()
        await first.get_by_role("button", name="Pause").click()
        await expect(first.locator("h1")).to_have_text("sync-photos")
        await second.get_by_role("button", name="Pause").click()  # a page that is stale by now
        await expect(second.locator("h1")).to_have_text("sync-photos")
        async with site.control.database.connection() as conn:
            told = await (
                await conn.execute(b"select 1 from event where kind = 'job.paused' and subject = 'sync-photos'")
            ).fetchall()
        assert len(told) == 1
        await first.get_by_role("button", name="Undo: resume it").click()
        await expect(first.get_by_text("Resumed.")).to_be_visible()
        await second.reload()  # the page that an act led to is looked at again, not done again
        assert await site.control.looking.states(["sync-photos"]) != {"sync-photos": "paused"}


async def test_a_page_from_before_a_sign_in_by_somebody_else_does_nothing(site: Site, browser: Browser) -> None:
    async with seen(site, browser, forgiven=["403"]) as page:
        await page.goto(f"{site.url}/jobs/heartbeat/pause")
        await page.context.clear_cookies()
        await page.context.add_cookies([{**await site.sign_in("operate"), "url": site.url}])  # type: ignore[list-item]
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("h1")).to_contain_text("no proof that a page of this lab made it")
        assert await site.control.looking.states(["heartbeat"]) != {"heartbeat": "paused"}
