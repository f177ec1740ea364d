"""The review as a page, opened in a real browser."""

import asyncio
import os
import subprocess
from pathlib import Path

from playwright.async_api import expect
from tests.browser import chromium, needed, scrolls_sideways_by, tab
from tests.lab import HOMELAB

CRONTAB = """\
MAILTO=ops@example.org
0 2 * * * pg_dump app > /backups/app.sql
30 2 * * * rclone copy /backups/app.sql remote:db
0 * * * * curl -fsS https://example.org/feed -o /srv/feed.json
30 6 * * 1-5 jq .items /srv/feed.json > /srv/items.txt
7 * * * * echo '<script>window.hacked = 1</script><img src=http://127.0.0.1:9/x onerror=alert(1)>'
9 * * * * printf '\x1b[2J\u202etxt.exe' {long}
11 * * * * curl -u ada:hunter22 https://example.org/dump -o /backups/more.sql
41 * * * * gzip -f /backups/more.sql
61 * * * * never
""".format(long="a" * 900)

pytestmark = needed


def test_the_page_needs_nothing_else_and_fits_a_phone_in_both_themes(tmp_path: Path) -> None:
    (tmp_path / "crontab.txt").write_text(CRONTAB)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMELAB_")} | {"TZ": "UTC"}
    arguments = (
        "cron",
        "import",
        "crontab.txt",
        "--dry-run",
        "--accept",
        "high",
        "--format",
        "html",
        "--out",
        "a.html",
    )
    subprocess.run([HOMELAB, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "lab.toml").exists()
    address = (tmp_path / "a.html").as_uri()
    text = (tmp_path / "a.html").read_text()
    assert "hunter22" not in text
    asyncio.run(_looked_at(address))


async def _looked_at(address: str) -> None:
    async with chromium() as browser, tab(browser, address) as page:
        await page.goto(address)
        assert await page.evaluate("document.scripts.length + document.images.length") == 0
        assert await page.evaluate("'hacked' in window") is False
        assert await page.locator("#jobs tbody tr").count() == 8
        await expect(page.locator("body")).to_contain_text("(not shown here: a secret is in it)")
        grounds: set[str] = set()
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
    async with chromium() as browser, tab(browser, address, look="phone") as page:
        await page.goto(address)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            assert await scrolls_sideways_by(page) <= 0
            assert await page.evaluate("innerWidth") == 390
