"""Pages in a real browser: Chromium of this machine, driven by Playwright over loopback. The one place that starts it.

Whatever a test does on a page of `tab`, at its end the page may have asked nobody else, thrown nothing, and broken no
policy.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome") if (p := shutil.which(n))),
    None,
)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
needed = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: tests/system-packages.sh installs one"
)

DESK = {"width": 1366, "height": 860}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": DESK},
    "dark": {"color_scheme": "dark", "viewport": DESK},
    "phone": {"color_scheme": "light", **PHONE},
    "plain": {"color_scheme": "dark", "viewport": DESK, "java_script_enabled": False},
}


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A fresh browser, which ends with the block."""
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield made
        await made.close()


@contextlib.asynccontextmanager
async def tab(
    browser: Browser,
    url: str,
    *,
    look: str = "light",
    cookie: Mapping[str, str] | None = None,
    forgiven: Sequence[str] = (),
    also: Sequence[str] = (),
    **more: Any,
) -> AsyncIterator[Page]:
    """A page of a context of its own for the site at `url`. `more`: settings of the context. `forgiven`: words of
    messages that this test provokes, such as a page that is not there.
    `also`: further addresses that it may ask."""
    wrong: list[str] = []

    def heard(text: str) -> None:
        if not any(words in text for words in forgiven):
            wrong.append(text)

    def asked(address: str) -> None:
        if not address.startswith((url, "data:", "blob:", *also)):
            wrong.append(f"asked {address}")

    context = await browser.new_context(**{"reduced_motion": "reduce", **LOOKS[look], **more})
    if cookie is not None:
        await context.add_cookies([{**cookie, "url": url}])  # type: ignore[list-item]
    page = await context.new_page()
    page.on("pageerror", lambda error: heard(f"error: {error}"))
    page.on("console", lambda m: heard(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
    page.on("request", lambda request: asked(request.url))
    yield page
    await context.close()
    assert wrong == []


async def scrolls_sideways_by(page: Page) -> int:
    """Pixels that the page is wider than its window; 0 or less: none."""
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))
