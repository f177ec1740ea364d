"""The machines in a real Chromium: drained and given back with keys alone, removed after a page that says what is lost,
true by themselves, nothing to press for who may only look."""

import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests.browser import needed, tab
from tests.service import fleet_site
from tests.service.console_site import Site, running
from tests.service.postgres_site import postgres

from homelab.control import leases, nodes
from homelab.control.leases import Held

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needed]
LAB = '[lab]\nname = "machines"\n[jobs.tiny]\nrun = "true"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with running(url, tmp_path_factory.mktemp("nodes"), days=0.1, most=5, text=LAB) as site:
            yield site


@pytest_asyncio.fixture(loop_scope="module")
async def site(lab: Site) -> Site:
    async with lab.control.database.connection() as conn:
        await conn.execute("truncate sent, lease_group, lease, node")
    await fleet_site.lasting(lab.control)
    return lab


async def tab_to(page: Page, text: str) -> None:
    for _ in range(80):
        await page.keyboard.press("Tab")
        if (await page.evaluate("document.activeElement.textContent")).strip() == text:
            return
    raise AssertionError(f"Tab does not reach {text!r}")


async def test_a_machine_is_drained_and_given_back_with_keys_alone(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, cookie=await site.sign_in("operate")) as page:
        await page.goto(f"{site.url}/nodes")
        await tab_to(page, "mac1")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("mac1")
        await tab_to(page, "Drain")
        await page.keyboard.press("Enter")
        await expect(page.locator(".will")).to_contain_text("check-services and take-in-uploads are on it")
        await tab_to(page, "Drain it")
        await page.keyboard.press("Enter")
        await expect(page.locator("#node-state .state")).to_have_text("draining")
        await expect(page.locator("#node-notes")).to_contain_text("nothing new starts on it")
        await tab_to(page, "Undo: undrain it")
        await page.keyboard.press("Enter")
        await expect(page.locator("#node-state .state")).to_have_text("ready")


async def test_a_machine_that_holds_work_is_removed_after_it_was_said_what_is_lost(
    site: Site, browser: Browser
) -> None:
    async with tab(browser, site.url, cookie=await site.sign_in(), forgiven=["404"]) as page:
        await page.goto(f"{site.url}/nodes/mac3")
        await page.get_by_role("link", name="Remove").click()
        await expect(page.locator(".will")).to_contain_text("render-posters")
        await page.get_by_role("button", name="Give up its work, remove it").click()
        await expect(page.locator("h1")).to_have_text("Nodes")
        await expect(page.locator(".machine")).to_have_count(2)
        async with site.control.database.connection() as conn:
            assert {lease.node for lease in await leases.everything(conn)} == {"mac1", "mac4"}


async def test_work_that_came_since_the_page_was_made_is_not_given_up_unasked(site: Site, browser: Browser) -> None:
    async with site.control.database.connection() as conn:
        await leases.give_up_node(conn, "mac3")
    async with tab(browser, site.url, cookie=await site.sign_in(), forgiven=["409"]) as page:
        await page.goto(f"{site.url}/nodes/mac3/remove")
        async with site.control.database.connection() as conn:
            assert isinstance(await leases.take(conn, fleet_site.work(40, "late", cpu=1), "mac3"), Held)
        await page.get_by_role("button", name="Remove it").click()
        await expect(page.get_by_role("alert")).to_contain_text("node mac3 holds work: late")
        await expect(page.get_by_role("button", name="Give up its work, remove it")).to_be_visible()


async def test_a_machine_that_sleeps_is_woken_by_whoever_may(site: Site, browser: Browser) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.bind(("127.0.0.1", 0))
        card.settimeout(5)
        address = f"aa:bb:cc:dd:ee:0f@127.0.0.1:{card.getsockname()[1]}"
        async with tab(browser, site.url, cookie=await site.sign_in("operate")) as page:
            await page.goto(f"{site.url}/nodes/mac4")
            wake = page.get_by_role("link", name="Wake")
            await expect(wake).to_have_count(0)
            async with site.control.database.connection() as conn:
                await conn.execute("update node set asleep = true, wake = %s where name = 'mac4'", (address,))
            await expect(wake).to_be_visible(timeout=20_000)  # the page keeps itself true
            await wake.click()
            await expect(page.locator(".will")).to_contain_text("The message that wakes mac4 is sent")
            await page.get_by_role("button", name="Wake it").click()
            await expect(page.locator(".notice.good")).to_contain_text("It was asked to wake")
            assert card.recv(200) == b"\xff" * 6 + bytes.fromhex("aabbccddee0f") * 16
    noted = [e for e in await site.access.audit(limit=5) if e["action"] == "POST /nodes/{name}/wake"]
    assert [(e["subject"], e["result"]) for e in noted] == [("mac4", "done")]
    async with tab(browser, site.url, cookie=await site.sign_in("read")) as page:
        await page.goto(f"{site.url}/nodes/mac4")
        await expect(page.get_by_role("link", name="Wake")).to_have_count(0)


async def test_bars_and_states_stay_true_while_one_looks(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, cookie=await site.sign_in("read")) as page:
        await page.goto(f"{site.url}/nodes")
        await expect(page.locator("live-state")).to_have_text("Live")
        mac1 = page.locator(".machine").first
        await expect(mac1).not_to_contain_text("late-comer")
        async with site.control.database.connection() as conn:
            assert isinstance(await leases.take(conn, fleet_site.work(41, "late-comer", cpu=1), "mac1"), Held)
            await nodes.want(conn, "mac4", "drained", by="dana")
        await expect(mac1).to_contain_text("late-comer", timeout=20_000)
        await expect(page.locator(".machine").last).to_contain_text("draining")
        await page.goto(f"{site.url}/nodes/mac4")
        await expect(page.locator("h1")).to_have_text("mac4")
        await expect(page.get_by_role("link", name="Undrain")).to_have_count(
            0
        )  # who may only look has nothing to press


async def test_a_bar_tells_its_owners_to_the_pointer_and_to_a_reader(site: Site, browser: Browser) -> None:
    async with tab(browser, site.url, cookie=await site.sign_in("read")) as page:
        await page.goto(f"{site.url}/nodes/mac4")
        memory = page.get_by_role("img", name="memory: 8 GiB free of 64 GiB; nightly-eval: 8 GiB").first
        await expect(memory).to_be_visible()
        titles = await memory.locator("rect title").all_text_contents()
        assert "llama3:70b: 30 GiB" in titles
        assert "other programs: 5 GiB" in titles
