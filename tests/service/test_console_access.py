"""The console for everybody: by keyboard alone, as a screen reader hears it, at twice the size, without movement.

What a screen reader hears of each screen is kept in `tests/golden/aria`; HOMELAB_GOLDEN=write writes it anew, to be
read in the change.
"""

import os
import re
from collections.abc import AsyncIterator
from difflib import unified_diff
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests.browser import needed, scrolls_sideways_by, tab
from tests.service import console_site
from tests.service.console_site import Site, screens
from tests.service.postgres_site import postgres

from homelab.console.words import mark
from homelab.core.jobs import RunState

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needed]

GOLDEN = Path(__file__).parents[1] / "golden/aria"
SHORTEN = """() => {
    const keep = (selector, count) => document.querySelectorAll(selector).forEach((list) =>
        [...list.children].slice(count).forEach((child) => child.remove()));
    keep("tbody, ol, .rows, .members, select", 1);
    document.querySelectorAll(".calendar > *, .took a, svg.graph a, .rows .faint").forEach((link) => link.remove());
    keep("dl.stack", 1);
    document.querySelectorAll("svg.lanes:not(.axis)").forEach((lanes) => {
        lanes.setAttribute("role", "img");
        lanes.setAttribute("aria-label", lanes.getAttribute("aria-label").split(":")[0]);
    });
    document.querySelectorAll("svg.lanes a").forEach((link) => link.remove());
    document.querySelectorAll("live-state").forEach((state) => state.remove());
}"""
"""One row of each table and list is enough to know what all of them say."""
FOCUSABLE = """() => [...document.querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
    .filter((e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true }))
    .map((e, n) => { e.dataset.walk = n; return e.outerHTML.slice(0, 120); })"""
FOCUSED = """() => {
    const e = document.activeElement;
    if (!e || e === document.body) return null;
    const box = e.querySelector('.node > rect, rect') ?? e;
    const style = getComputedStyle(box);
    const isDrawn = e.closest('svg') !== null && (style.stroke !== 'none' || style.fill !== 'rgba(0, 0, 0, 0)');
    const seen = isDrawn || getComputedStyle(e).outlineStyle !== 'none';
    return { n: e.dataset.walk ?? null, seen, html: e.outerHTML.slice(0, 120) };
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("console")) as made:
            yield made


def steady(text: str, jobs: list[str]) -> str:
    """A snapshot without what differs from run to run: numbers, times, ids, which job and which state comes first."""
    names = "|".join(sorted(map(re.escape, jobs), key=len, reverse=True))
    words = "|".join(
        sorted({re.escape(mark(state).word) for state in (*RunState, "paused", "")}, key=len, reverse=True)
    )
    text = re.sub(rf"(?<![\w-])({names})(?![\w-])", "JOB", text)
    text = re.sub(r"(?<![\w-])[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![\w-])[0-9a-f]{8}(?![\w-])", "ID", text)
    text = re.sub(rf"(?<![\w-])({words})(?![\w-])", "STATE", text)
    text = re.sub(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b", "DAY", text)
    text = re.sub(
        r"(?<!level=)(in )?\d[\d,.:-]*( ?(s|m|h|d|min|B|kB|MB))?( \d\d[sm]| \dh)?( ago)?(?![\w%-])", "N", text
    )
    text = re.sub(r"/url: \S+", "/url: …", text)
    return re.sub(r"\bnow\b", "N", re.sub(r"N(-N)+", "N", text))


async def test_each_screen_is_heard_as_it_was(site: Site, browser: Browser) -> None:
    jobs = site.control.looking.jobs()
    wrong: list[str] = []
    async with tab(browser, site.url, cookie=await site.sign_in(), forgiven=["ERR_FAILED"]) as page:
        await page.route("**/live?*", lambda route: route.abort())  # what is heard stays as it is
        for name, path in screens(site).items():
            await page.goto(site.url + path)
            await page.evaluate(SHORTEN)
            heard = steady(await page.locator("body").aria_snapshot(), jobs) + "\n"
            kept = GOLDEN / f"{name}.yaml"
            if os.environ.get("HOMELAB_GOLDEN") == "write":
                GOLDEN.mkdir(parents=True, exist_ok=True)
                kept.write_text(heard)
            else:
                known = kept.read_text().splitlines() if kept.exists() else []
                wrong += unified_diff(known, heard.splitlines(), f"{name}, kept", f"{name}, heard", lineterm="")
    assert wrong == [], "\n".join(wrong)


async def walked(page: Page) -> tuple[list[str], list[str]]:
    """(what Tab does not reach, what does not show that it has the focus) of the page that is open."""
    names: list[str] = await page.evaluate(FOCUSABLE)
    reached: set[int] = set()
    unseen: list[str] = []
    for _ in range(len(names) + 3):
        await page.keyboard.press("Tab")
        at = await page.evaluate(FOCUSED)
        if at is None:
            break
        if at["n"] is not None:
            reached.add(int(at["n"]))
        if not at["seen"]:
            unseen.append(at["html"])
    group = {n for n, html in enumerate(names) if 'type="radio"' in html}  # one stop, whichever is chosen
    missed = set(range(len(names))) - reached - (group if group & reached else set())
    return [names[n] for n in sorted(missed)], unseen


async def test_tab_reaches_everything_on_every_screen_and_one_sees_where_it_is(site: Site, browser: Browser) -> None:
    wrong: dict[str, tuple[list[str], list[str]]] = {}
    async with tab(browser, site.url, cookie=await site.sign_in(), forgiven=["ERR_FAILED"]) as page:
        await page.route("**/live?*", lambda route: route.abort())  # what one walks through stays as it is
        for name, path in screens(site).items():
            path = path.replace("/runs", "/runs?job=weekly-report", 1) if path == "/runs" else path
            await page.goto(site.url + path)
            found = await walked(page)
            if found != ([], []):
                wrong[name] = found
    assert wrong == {}


async def test_the_first_key_leads_past_the_navigation(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, cookie=await site.sign_in()) as page:
        await page.goto(site.url)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#main")).to_be_focused()
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.closest('main') !== null")


async def test_a_job_is_paused_and_resumed_with_keys_alone(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, cookie=await site.sign_in()) as page:
        await page.goto(f"{site.url}/jobs/heartbeat")
        for verb, then in (("Pause", "paused"), ("Resume", "succeeded")):
            await tab_to(page, verb)
            await page.keyboard.press("Enter")
            await expect(page.locator("h1")).to_have_text(f"{verb} heartbeat?")
            await tab_to(page, verb)
            await page.keyboard.press("Enter")
            await page.wait_for_url("**/jobs/heartbeat?did=*")
            await expect(page.locator("#job-state .state").first).to_have_text(then)


async def tab_to(page: Page, text: str) -> None:
    """Press Tab until something with this text has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent.trim()") == text:
            return
    raise AssertionError(f"Tab does not reach '{text}'")


@pytest.mark.parametrize(
    ("width", "height"), [(683, 430), (320, 640)], ids=["at twice the size", "on the smallest telephone"]
)
async def test_nothing_is_cut_off(site: Site, browser: Browser, width: int, height: int) -> None:
    wrong: dict[str, int] = {}
    async with tab(browser, site.url, cookie=await site.sign_in(), viewport={"width": width, "height": height}) as page:
        for name, path in screens(site).items():
            await page.goto(site.url + path)
            if (wide := await scrolls_sideways_by(page)) > 0:
                wrong[name] = wide
    assert wrong == {}


async def test_nothing_moves_for_those_who_asked_for_that(site: Site, browser: Browser) -> None:
    run = site.past.running["take-in-uploads"]
    for motion in ("no-preference", "reduce"):
        async with tab(browser, site.url, cookie=await site.sign_in(), reduced_motion=motion) as page:
            await page.goto(f"{site.url}/runs/{run}")
            name = "getComputedStyle(document.querySelector('#s-turn .spin')).animationName"
            assert await page.evaluate(name) == ("none" if motion == "reduce" else "spin")


async def test_on_paper_there_is_what_was_read_and_no_navigation(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, cookie=await site.sign_in()) as page:
        await page.goto(f"{site.url}/runs/{site.past.failed['dump-app']}")
        await page.emulate_media(media="print")
        await expect(page.locator(".top")).to_be_hidden()
        await expect(page.locator(".main-nav")).to_be_hidden()
        await expect(page.locator("h1")).to_be_visible()
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
