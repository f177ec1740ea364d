"""How fast the console is, in a real Chromium: first paint on a slow telephone, a change in the lab to its pixel, a
graph of hundreds of jobs under the finger. Times are the best of a few: the machine may be busy with something else.
"""

import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests import history
from tests.browser import needed, tab
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needed]

TRIES = 5
SLOW_4G = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 750e3 / 8}
LONG_TASKS = """
window.tasks = [];
new PerformanceObserver((seen) => window.tasks.push(...seen.getEntries().map((task) => task.duration)))
    .observe({ type: "longtask", buffered: true });
"""
CHANGED = """text => new Promise((done) => {
    const look = () => { if (document.body.innerText.includes(text)) { watch.disconnect(); done(Date.now()); } };
    const watch = new MutationObserver(look);
    watch.observe(document.body, { subtree: true, childList: true, characterData: true });
    look();
})"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("console")) as made:
            yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        text = history.large_lab(500)
        async with console_site.running(url, tmp_path_factory.mktemp("large"), days=0.2, text=text) as made:
            yield made


async def first_paint_ms(site: Site, browser: Browser, path: str) -> float:
    """Of a browser that was never here, on a telephone of a quarter of this machine's speed, in a slow network."""
    async with tab(browser, site.url, look="phone", cookie=await site.sign_in()) as page:
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        await session.send("Network.emulateNetworkConditions", SLOW_4G)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        await page.goto(site.url + path)
        entry = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        await page.wait_for_function(f"{entry} !== undefined")
        return float(await page.evaluate(entry))


@pytest.mark.parametrize("path", ["/", "/jobs", "/graph", "/runs", "/runs/{failed}", "/jobs/dump-app", "/lab"])
async def test_the_first_paint_on_a_slow_telephone_takes_less_than_a_second(
    site: Site, browser: Browser, path: str
) -> None:
    path = path.format(failed=site.past.failed["dump-app"])
    taken: list[float] = []
    while len(taken) < TRIES and min(taken, default=1000.0) >= 1000:
        taken.append(await first_paint_ms(site, browser, path))
    assert min(taken) < 1000, taken


def finished(run: str, job: str, state: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": str(uuid.uuid4()), "kind": "job.finished", "run": run, "flow": job, "job": job, "due": None, "attempt": 1,
        "time": now.isoformat(), "worker": "mac3", "node": "mac3", "started": (now - timedelta(seconds=2)).isoformat(),
        "ended": now.isoformat(), "state": state, "exit_code": 3, "signal": None, "reason": "exit status 3",
        "output_bytes": 0, "output_lines": 0, "tail": [], "retry_at": None,
    }  # fmt: skip


async def test_a_report_of_a_worker_is_on_the_open_pages_within_a_second(site: Site, browser: Browser) -> None:
    run = site.past.running["take-in-uploads"]
    cookie = await site.sign_in()
    async with (
        tab(browser, site.url, cookie=cookie) as now_page,
        tab(browser, site.url, cookie=cookie) as run_page,
    ):
        await now_page.goto(site.url)
        await run_page.goto(f"{site.url}/runs/{run}")
        for page in (now_page, run_page):
            await expect(page.locator("live-state")).to_have_attribute("data-state", "live")
            await page.wait_for_timeout(700)  # the first look at the lab is over
        begun = time.time() * 1000
        await site.control.workers.take_reports([finished(run, "take-in-uploads", "failed")])
        on_now = await now_page.evaluate(CHANGED, "It ended with exit status 3.")
        on_run = await run_page.evaluate(CHANGED, "exit 3")
        assert on_now - begun < 1000
        assert on_run - begun < 1000


async def drawn(page: Page, url: str) -> list[float]:
    """Milliseconds of each long task while the graph is drawn, lit, searched, moved and zoomed."""
    await page.goto(f"{url}/graph?open=all")
    await expect(page.locator("g.node")).to_have_count(500)
    await page.locator("g.node").first.hover()
    await expect(page.locator(".graph-says")).to_contain_text("jobs cannot run")
    await page.get_by_label("Find in graph").fill("step-29")
    await page.get_by_role("button", name="Show all").click()
    box = await page.locator(".graph-box").bounding_box()
    assert box
    await page.mouse.move(box["x"] + 600, box["y"] + 300)
    for turn in (-240, -240, 240):
        await page.mouse.wheel(0, turn)
    await page.mouse.down()
    for step in range(8):
        await page.mouse.move(box["x"] + 600 - step * 30, box["y"] + 300 - step * 10)
    await page.mouse.up()
    await page.wait_for_timeout(300)
    return list(await page.evaluate("window.tasks"))


async def test_a_graph_of_500_jobs_never_holds_the_page_for_a_tenth_of_a_second(large: Site, browser: Browser) -> None:
    longest: list[float] = []
    async with tab(browser, large.url, cookie=await large.sign_in()) as page:
        await page.add_init_script(LONG_TASKS)
        while len(longest) < TRIES and min(longest, default=100.0) >= 100:
            longest.append(max(await drawn(page, large.url), default=0.0))
    assert min(longest) < 100, longest


async def test_the_long_tasks_would_be_seen(large: Site, browser: Browser) -> None:
    async with tab(browser, large.url, cookie=await large.sign_in()) as page:
        await page.add_init_script(LONG_TASKS)
        await page.goto(f"{large.url}/style")
        await page.evaluate("setTimeout(() => { const end = Date.now() + 150; while (Date.now() < end); })")
        await page.wait_for_function("window.tasks.some((ms) => ms > 100)")


async def test_two_fingers_zoom_about_the_point_between_them(large: Site, browser: Browser) -> None:
    async with tab(browser, large.url, look="phone", cookie=await large.sign_in()) as page:
        await page.goto(f"{large.url}/graph")
        box = await page.locator(".graph-box").bounding_box()
        assert box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        session = await page.context.new_cdp_session(page)

        async def touch(kind: str, apart: float) -> None:
            points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}] if apart else []
            await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        async def view() -> tuple[float, float]:
            """(width, middle) of what is seen."""
            numbers = str(await page.locator("svg.graph").get_attribute("viewBox")).split()
            left, wide = float(numbers[0]), float(numbers[2])
            return wide, left + wide / 2

        wide, middle = await view()
        await touch("touchStart", 40)
        for apart in (50, 60, 70, 80):
            await touch("touchMove", apart)
        await touch("touchEnd", 0)
        closer, still = await view()
        assert closer == pytest.approx(wide / 2, rel=0.15)
        assert still == pytest.approx(middle, abs=wide / 20)
        assert await page.evaluate("visualViewport.scale") == 1
        assert page.url.endswith("/graph")


async def test_a_page_of_500_jobs_costs_less_than_150_ms_of_cpu(large: Site) -> None:
    """The wall clock, on a month of history, is what `python -m benchmarks console` measures."""
    cookie = await large.sign_in()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    for path in ("/", "/jobs", "/graph", "/graph?open=all"):
        taken: list[float] = []
        for _ in range(9):
            begun = time.process_time()
            assert (await large.http.get(path, headers=headers)).status_code == 200
            taken.append(time.process_time() - begun)
        assert min(taken) < 0.15, (path, taken)
