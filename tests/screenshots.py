"""The pictures of the README, taken anew: `python -m tests.screenshots [NAME...]`. The reference lab with a month
behind it, three of its jobs broken, its machines full of work; in Chromium, light and dark. Not called by any test."""

import asyncio
import base64
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import Browser, Page, expect
from tests import history
from tests.browser import chromium, tab
from tests.service import console_site, fleet_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres

IMAGES = Path(__file__).parents[1] / "docs/images"
SIZE = {"width": 1280, "height": 800}
QUALITY = 82


def pages(site: Site) -> dict[str, str]:
    return {"now": "/", "graph": "/graph", "run": f"/runs/{site.past.failed['dump-app']}"}


MACHINES = {"nodes": "/nodes"}


async def take(page: Page, path: Path) -> None:
    session = await page.context.new_cdp_session(page)
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    path.write_bytes(base64.b64decode(taken["data"]))
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


async def take_all(site: Site, browser: Browser, paths: dict[str, str], wanted: list[str]) -> None:
    paths = {name: path for name, path in paths.items() if not wanted or name in wanted}
    for look in ("light", "dark") if paths else ():
        async with tab(browser, site.url, look=look, cookie=await site.sign_in(), viewport=SIZE) as page:
            for name, path in paths.items():
                await page.goto(site.url + path)
                await expect(page.locator("h1")).to_be_visible()
                await page.evaluate("document.fonts.ready")
                await take(page, IMAGES / f"{name}-{look}.webp")


async def main(wanted: list[str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, postgres() as url:
        async with console_site.running(url, Path(folder), days=30, most=150_000) as site, chromium() as browser:
            lines = [line for line in history.failing_log(datetime.now(UTC)) if b"<script>" not in line[2]]
            history.write_log(site.home, site.past.failed["dump-app"], "dump-app", lines)
            await take_all(site, browser, pages(site), wanted)
            async with site.control.database.connection() as conn:
                await conn.execute("truncate sent, lease_group, lease, node")
            await fleet_site.lasting(site.control)
            await take_all(site, browser, MACHINES, wanted)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
