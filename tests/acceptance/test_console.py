"""The pages of a whole lab in a real browser: from the alert to the fix, running, cancelling, applying."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest
from playwright.async_api import Locator, Page, expect
from tests.browser import chromium, needed, tab
from tests.lab import Lab, until

pytestmark = needed

TEXT = """
[lab]
name = "shown"

[notify]
urls = ["log://work"]

[jobs.read-input]
run = "cat input.txt"

[jobs.use-input]
needs = ["read-input"]
run = "echo used"

[jobs.yearly]
schedule = "0 0 1 1 *"
run = "true"

[jobs.long]
run = "for i in $(seq 60); do echo line $i; sleep 1; done"
"""


class Inbox(ThreadingHTTPServer):
    """Takes what a web hook is sent, and shows it as a chat or web mail does: as text, with its links."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Message)
        self.got: list[dict[str, str]] = []
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Message(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.answer("")

    def do_GET(self) -> None:
        text = "\n".join(f"{escape(got['title'])}\n{escape(got['message'])}" for got in self.server.got)
        linked = re.sub(r"(http://\S+)", r'<a href="\1">\1</a>', text)
        self.answer(f"<!doctype html><link rel=icon href=data:,><pre>{linked}</pre>")

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, inbox: Inbox) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    try:
        folder = made.root
        text = TEXT.replace("log://work", f"json://127.0.0.1:{inbox.server_port}/hook")
        yield made.up(text.replace('run = "cat', f'cwd = "{folder}"\nrun = "cat'))
    finally:
        made.down()


@asynccontextmanager
async def signed_in(lab: Lab, **more: Any) -> AsyncIterator[tuple[Page, str]]:
    """A browser that came in by the link of the command line: its page, and the address of the lab."""
    link = str(lab.json("open")["url"])
    url = link.split("/sign-in", 1)[0]
    async with chromium() as browser, tab(browser, url, **more) as page:
        await page.goto(link)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        yield page, url


def test_from_the_alert_to_the_fix_are_three_clicks(lab: Lab, inbox: Inbox) -> None:
    run = lab.run_job("read-input")
    until(lambda: [m for m in inbox.got if "read-input" in m["title"]], timeout=60, what="the notification")
    clicks: list[str] = []

    async def walk() -> None:
        # Another site than the lab's, as a chat is: its cookies are strict.
        elsewhere = f"http://localhost:{inbox.server_port}"
        async with signed_in(lab, also=[elsewhere], forgiven=["401"]) as (page, url):

            async def click(what: Locator) -> None:
                clicks.append(str(await what.text_content()))
                await what.click()

            await page.goto(elsewhere)
            await click(page.get_by_role("link", name=f"/runs/{run}"))
            await expect(page.locator("#head")).to_contain_text("read-input failed. It ended with exit status 1.")
            await expect(page.locator("#h-log")).to_have_text("read-input")
            await expect(page.locator("ol.log li.err").first).to_contain_text("input.txt")
            (lab.root / "input.txt").write_text("here\n")
            await click(page.get_by_role("link", name="Retry", exact=True))
            await expect(page.get_by_text("read-input and use-input run again")).to_be_visible()
            await click(page.get_by_role("button", name="Retry"))
            head = page.locator("#head")
            await expect(head.get_by_text("succeeded", exact=True)).to_be_visible(timeout=30_000)
            await page.goto(url)
            await expect(page.locator("h1")).to_have_text("All is well")

    asyncio.run(walk())
    assert len(clicks) <= 3, clicks
    assert lab.job_run(run, "read-input")["attempt"] == 2
    assert lab.job_run(run, "use-input")["state"] == "succeeded"


def test_a_page_survives_the_death_of_control_and_is_true_again_without_a_hand(lab: Lab) -> None:
    async def walk() -> None:
        async with signed_in(lab, forgiven=["Failed to load", "ERR_"]) as (page, url):
            await page.goto(url)
            state = page.locator("live-state")
            await expect(state).to_have_attribute("data-state", "live")
            await page.evaluate("window.sameAsBefore = true")
            await page.get_by_label("Find a job").fill("half a wo")
            psutil.Process(lab.pid("control")).kill()
            await expect(state).to_contain_text("Connection lost", timeout=10_000)
            await expect(state).to_be_in_viewport()
            await expect(state).to_have_attribute("data-state", "live", timeout=60_000)
            await asyncio.to_thread(lab.run_job, "use-input")
            await expect(page.locator("#recent").get_by_role("link", name="use-input").first).to_be_visible(
                timeout=20_000
            )
            assert await page.evaluate("window.sameAsBefore") is True
            await expect(page.get_by_label("Find a job")).to_have_value("half a wo")

    asyncio.run(walk())


def test_a_run_is_started_watched_and_cancelled_and_each_is_in_the_audit(lab: Lab) -> None:
    async def walk() -> str:
        async with signed_in(lab) as (page, url):
            stale = await page.context.new_page()
            for tab in (page, stale):
                await tab.goto(f"{url}/jobs/long/run")
            await page.get_by_role("button", name="Run now").dblclick()
            await expect(page.locator("ol.log li").nth(2)).to_contain_text("line 3", timeout=30_000)
            await expect(page.locator("#head")).to_contain_text("Started by hand by owner")
            await stale.get_by_role("button", name="Run now").click()
            await expect(stale.get_by_role("alert")).to_contain_text("was started by hand since this page was made")
            await page.get_by_role("link", name="Cancel", exact=True).click()
            await page.get_by_role("button", name="Cancel the run").click()
            await expect(page.locator("#head").get_by_text("cancelled", exact=True)).to_be_visible(timeout=30_000)
            run = page.url.rpartition("/")[2].partition("?")[0]
            await page.goto(f"{url}/lab/audit")
            rows = page.locator("tbody tr")
            started = rows.filter(has_text="POST /jobs/{name}/run")
            await expect(started.filter(has_text="done")).to_have_count(1)
            await expect(started.filter(has_text="refused")).to_have_count(1)  # of the page that was stale
            await expect(rows.filter(has_text="POST /runs/{id}/cancel").filter(has_text=run[:8])).to_have_count(1)
            await page.goto(f"{url}/lab")
            await expect(page.locator("tr", has_text="postgres")).to_contain_text("ready")
            return run

    run = asyncio.run(walk())
    assert lab.until_state(run, "long", "cancelled")["state"] == "cancelled"
    assert len(lab.json("run", "ls", "--job", "long")["runs"]) == 1


def test_the_lab_file_is_applied_from_its_page_and_its_mistakes_are_shown(lab: Lab) -> None:
    good = lab.file.read_text()
    lab.write(good + '\n[jobs.fresh]\nschedule = "@daily"\nrun = "true"\n')

    async def walk() -> None:
        async with signed_in(lab) as (page, url):
            await page.goto(f"{url}/lab/file")
            await page.get_by_role("link", name="See and apply").click()
            await expect(page.get_by_text("Added: job fresh")).to_be_visible()
            await page.get_by_role("button", name="Apply").click()
            await expect(page.get_by_text("The lab is as the file says.")).to_be_visible()
            lab.write(good + '\n[jobs.fresh]\nneeds = ["nobody"]\nrun = "true"\n')
            await page.goto(f"{url}/lab/file")
            await expect(page.get_by_text("cannot be applied")).to_be_visible()
            await expect(page.locator(".source li.bad")).to_have_count(1)

    asyncio.run(walk())
    assert "fresh" in [job["name"] for job in lab.json("job", "ls")["jobs"]]


def test_an_apply_is_taken_back_and_that_too(lab: Lab) -> None:
    names = {job["name"] for job in lab.json("job", "ls")["jobs"]}
    good = lab.file.read_text()
    lab.write('[lab]\nname = "shown"\n\n[jobs.only]\nrun = "true"\n')
    said = lab.homelab("apply", "--yes").stderr
    assert "To take that back: homelab apply --undo" in said
    assert [job["name"] for job in lab.json("job", "ls")["jobs"]] == ["only"]
    assert "removed" not in lab.homelab("apply", "--undo", "--yes").stderr
    assert {job["name"] for job in lab.json("job", "ls")["jobs"]} == names
    lab.homelab("apply", "--undo", "--yes")
    assert [job["name"] for job in lab.json("job", "ls")["jobs"]] == ["only"]
    lab.homelab("apply", "--undo", "--yes")
    lab.write(good)


def test_a_run_that_was_cancelled_ahead_of_its_instant_is_restored(lab: Lab) -> None:
    def scheduled(state: str) -> str | None:
        rows = lab.json("run", "ls", "--job", "yearly", "--state", state)["runs"]
        return str(rows[0]["id"]) if rows else None

    run = until(lambda: scheduled("scheduled"), timeout=30, what="the run created ahead")
    said = lab.homelab("run", "cancel", run).stderr
    assert f"homelab run restore {run[:8]}" in said
    assert until(lambda: scheduled("cancelled"), timeout=30, what="the cancelled run") == run
    lab.homelab("run", "restore", run)
    assert until(lambda: scheduled("scheduled"), timeout=30, what="the restored run") == run
    assert lab.homelab("run", "restore", run, ok=(5,)).stderr.startswith("error: run")
