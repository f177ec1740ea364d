"""`homelab top` on a real control with a past: every view by keyboard, what is done, what becomes of a lost lab."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests import history, tui
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres
from tests.tui import HOSTILE, PaperLab, screen
from textual.pilot import Pilot

from homelab.cli.client import Client
from homelab.tui.app import Top
from homelab.tui.layout import Place
from homelab.tui.views import VIEWS

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_LINES = 200_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with console_site.running(url, tmp_path_factory.mktemp("top")) as made:
            yield made


async def door(site: Site, scope: str = "admin") -> Client:
    return Client(site.url, (await site.access.create_token(f"top {scope}", scope))["token"])  # type: ignore[arg-type]


def top(door: Any, view: str = "now", **place: str) -> Top:
    return Top(lambda: door, Place(view=view, **place))


async def until(pilot: Pilot[int], is_there: Callable[[], bool], *, timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not is_there():
        assert time.monotonic() < deadline, screen(pilot.app)  # type: ignore[arg-type]
        await pilot.pause()
        await asyncio.sleep(0.02)


async def shows(pilot: Pilot[int], *texts: str) -> None:
    await until(pilot, lambda: all(text in screen(pilot.app) for text in texts))  # type: ignore[arg-type]


async def press(pilot: Pilot[int], keys: str | list[str]) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def rows(site: Site, query: str) -> list[dict[str, object]]:
    async with site.control.database.connection() as conn:
        return list(await (await conn.execute(query.encode())).fetchall())


# -- what is shown


async def test_every_view_is_reached_and_left_by_keyboard(site: Site) -> None:
    app = top(await door(site))
    failed = site.past.failed["dump-app"]
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "reference-lab", "● live", "3 things need you", "dump-app", "It ended with exit status 1.")
        await press(pilot, ["/", *"dump-app", "enter", "enter"])  # which fails longest depends on the time of the day
        await shows(pilot, "run dump-app", "compress-dumps", "blocked")
        await press(pilot, ["enter"])
        await shows(pilot, "log dump-app", "OSError: [Errno 28] No space left on device", "» ended with exit status 1")
        await press(pilot, ["d"])
        await shows(pilot, "job dump-app", "at 02:00 every day", "lab.toml:", "This run", "started by")
        await press(pilot, ["escape", "escape", "escape"])
        await shows(pilot, "3 things need you")
        for view, told in {
            "jobs": "46 jobs",
            "runs": "newest 300 runs",
            "lab": "mac3",
            "notifications": "dump-app failed",
        }.items():
            await press(pilot, [":", *view, "enter"])
            await shows(pilot, told)
        await press(pilot, ["m"])
        await shows(pilot, "3 machines", "mac4", "llama3:70b 30 GiB GPU memory")
        await press(pilot, [":", *f"run {failed[:13]}", "enter"])
        await shows(pilot, "run dump-app")
        await press(pilot, [":", *"log heartbeat", "enter"])
        await shows(pilot, "log heartbeat")
        await press(pilot, [":", *"job heartbeat", "enter"])
        await shows(pilot, "job heartbeat", "every minute")
        await press(pilot, ["?"])
        await shows(pilot, "› help", "go into what is selected")
        reached = {visit.place.view for visit in app.trail.visits}
        assert {view.name for view in VIEWS} <= reached | {"run", "log"}
        while len(app.trail.visits) > 1:
            await press(pilot, ["escape"])
        await shows(pilot, "3 things need you")
        await press(pilot, ["q"])
    assert app.return_value == 0


async def test_the_answers_of_the_lab_on_paper_have_the_fields_of_a_real_control(site: Site) -> None:
    real, paper = await door(site), PaperLab()
    failed = site.past.failed["dump-app"]
    pairs = {path: path.replace(tui.FAILED, failed) for path in paper.answers if tui.RUNNING not in path}
    for mine, theirs in pairs.items():
        query = {"job": "dump-app"} if "lines" in theirs or "difference" in theirs else None
        answer = await asyncio.to_thread(real.get, theirs, query)
        assert missing(paper.answers[mine], answer, mine) == []


def missing(mine: Any, theirs: Any, where: str) -> list[str]:
    """Fields that the paper has and the real answer has not. Lists are compared by their first items, if any."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        gone = [f"{where}.{key}" for key in mine if key not in theirs]
        return gone + [m for key in mine if key in theirs for m in missing(mine[key], theirs[key], f"{where}.{key}")]
    if isinstance(mine, list) and isinstance(theirs, list) and mine and theirs:
        return missing(mine[0], theirs[0], f"{where}[0]")
    return []


async def test_a_filter_lists_what_matches_while_one_types_and_esc_takes_it_away(site: Site) -> None:
    app = top(await door(site), "jobs")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "1/46")
        await press(pilot, ["/", *"dump"])
        await shows(pilot, "/dump", "compress-dumps")
        assert "heartbeat" not in screen(app)
        await press(pilot, ["enter"])
        await shows(pilot, "1/4")
        await press(pilot, ["G", "escape"])
        await shows(pilot, "/46")
        assert app.sheet.target is not None
        assert app.sheet.target.job == "verify-dumps" or "dump" in app.sheet.target.job  # what was selected stays so


async def test_the_command_bar_completes_views_and_jobs(site: Site) -> None:
    app = top(await door(site))
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "● live")
        await press(pilot, [":", *"notif", "tab"])
        await shows(pilot, ":notifications")
        await press(pilot, ["ctrl+u", *"log dump-a"])
        await shows(pilot, "log dump-app")
        await press(pilot, ["tab", "enter"])
        await shows(pilot, "log dump-app", "OSError")
        await press(pilot, [":", *"heartbeet", "enter"])
        await shows(pilot, "did you mean heartbeat")


async def test_an_event_of_the_lab_is_on_the_screen_within_a_second(site: Site) -> None:
    app = top(await door(site), "jobs")
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "● live", "46 jobs")
        begun = time.monotonic()
        await site.control.pause("list-nodes", "test")
        await shows(pilot, "1 paused", "‖ paused")
        assert time.monotonic() - begun < 2.0  # about 0.5 s; the rest is for a busy machine
        await site.control.resume("list-nodes", "test")


# -- acting


async def test_pausing_says_what_will_happen_and_does_it_once(site: Site) -> None:
    app = top(await door(site), "jobs")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "● live", "46 jobs")
        await press(pilot, ["/", *"backup-report", "enter", "p"])
        await shows(pilot, "Pause backup-report?", "No more runs of backup-report start")
        await press(pilot, ["n"])
        await shows(pilot, "Nothing was changed.")
        await press(pilot, ["p"])
        await shows(pilot, "Pause backup-report?")
        await press(pilot, ["y"])
        await shows(pilot, "✓ backup-report is paused", "‖ paused")
        await press(pilot, ["y", "y"])
        done = await rows(site, "select * from audit where action like '%/pause' and subject = 'backup-report'")
        assert len(done) == 1
        await press(pilot, ["p"])
        await shows(pilot, "Resume backup-report?", "as its schedule says: at 02:00")
        await press(pilot, ["y"])
        await shows(pilot, "✓ backup-report is resumed")


async def test_a_token_that_may_only_look_is_refused_in_one_line(site: Site) -> None:
    app = top(await door(site, "read"), "jobs")
    async with app.run_test(size=(120, 24)) as pilot:
        await shows(pilot, "● live", "46 jobs")
        await press(pilot, ["p"])
        await shows(pilot, "Pause ")
        await press(pilot, ["y"])
        await shows(pilot, "operate")
        said = " ".join(screen(app).split())
        assert "this needs" in said
        assert "homelab " in said.partition("this needs")[2]  # the command that helps
        assert "Traceback" not in screen(app)


async def test_what_cannot_be_done_now_is_said_without_a_question(site: Site) -> None:
    app = top(await door(site), "run", run=site.past.failed["dump-app"])
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "run dump-app")
        await press(pilot, ["c"])
        await shows(pilot, "That run has ended (failed): there is nothing to cancel.")


# -- logs


async def test_a_log_of_any_length_is_opened_at_its_end_searched_and_walked_by_windows(site: Site) -> None:
    run = site.past.good["heartbeat"]
    start = datetime.now(UTC)
    lines = [(start, "o", b"line %d of many, with some text to make it longer" % n) for n in range(LONG_LINES)]
    lines[1234] = (start, "e", b"here is the \x1b[31mneedle\x1b[0m")
    history.write_log(site.home, run, "heartbeat", lines)
    app = top(await door(site), "log", run=run, job="heartbeat")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, f"line {LONG_LINES - 1} of many", "100 %")
        assert len(app.log_pane.rows) <= 500
        await press(pilot, ["g"])
        await shows(pilot, "line 0 of many")
        await press(pilot, ["/", *"needle", "enter"])
        await shows(pilot, "here is the needle", "line 1235 of many")
        await press(pilot, ["n"])
        await shows(pilot, "is not after this")
        await press(pilot, ["escape", "G"])
        await shows(pilot, f"line {LONG_LINES - 1} of many")
        for _ in range(400):
            app.log_pane.page(-1)
            await asyncio.sleep(0.005)
        await pilot.pause()
        assert len(app.log_pane.rows) <= 4000
        shown = [int(row.split()[1]) for row in screen(app).splitlines()[2:-1] if row.strip().startswith("line")]
        assert shown == list(range(shown[0], shown[0] + len(shown)))


async def test_a_log_is_followed_while_it_is_written(site: Site) -> None:
    run = site.past.running["take-in-uploads"]
    app = top(await door(site), "log", run=run, job="take-in-uploads")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "item 29 of 48 done", "follows")
        with (site.home.run_folder(run) / "take-in-uploads.1.log").open("ab") as file:
            file.write(b"%.6f o something new \xff\x1b]0;owned\x07\n" % time.time())
        await shows(pilot, "something new \ufffd␛]0;owned␇")


async def test_the_log_of_every_attempt_is_there(site: Site) -> None:
    run, now = site.past.good["disk-usage"], datetime.now(UTC)
    for attempt in (1, 2):
        history.write_log(site.home, run, "disk-usage", [(now, "o", b"attempt number %d" % attempt)], attempt=attempt)
    app = top(await door(site), "log", run=run, job="disk-usage")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "attempt number 2", "attempt 2 · 100 %")
        await press(pilot, ["left_square_bracket"])
        await shows(pilot, "attempt number 1", "attempt 1 · 100 %")
        await press(pilot, ["left_square_bracket"])
        await shows(pilot, "no attempt before it")
        await press(pilot, ["right_square_bracket", "right_square_bracket"])
        await shows(pilot, "attempt number 2", "There is no attempt 3.")


# -- hostile text


async def test_nothing_that_a_job_says_acts_on_the_screen() -> None:
    """Job names, reasons, output, messages of services and notifications, all at once, in every view."""
    hostile = {"run": HOSTILE, "job": HOSTILE, "said": HOSTILE}
    assert hostile
    app = tui.top(PaperLab())
    async with app.run_test(size=(100, 30)) as pilot:
        for place in (Place(view="now"), Place(view="jobs"), Place(view="runs"), Place(view="run", run=tui.FAILED),
                      Place(view="lab"), Place(view="notifications")):  # fmt: skip
            app.go(place)
            await shows(pilot, "[red]x[/red] ␛[2J")
            strips = app.screen._compositor.render_strips()
            text = "".join(segment.text for strip in strips for segment in strip)
            assert not any(c in text for c in "\x1b\x00\r\n\u202e\u200b"), place
            assert all(sum(segment.cell_length for segment in strip) == 100 for strip in strips), place
            styles = {
                str(segment.style.color)
                for strip in strips
                for segment in strip
                if "x[/red]" in segment.text and segment.style
            }
            assert not any("red" in style for style in styles - {"Color('red', ColorType.STANDARD, number=1)"}), styles
        app.action_command()
        await press(pilot, list("[red]"))
        await press(pilot, ["enter"])
        await shows(pilot, "no view, job or run '[red]'")


# -- a lab that goes away


async def test_a_lost_lab_is_seen_what_was_there_stays_and_it_heals_where_one_was(site: Site) -> None:
    with Passage(site.url) as passage:
        client = Client(passage.url, (await site.access.create_token("passage", "admin"))["token"])
        app = top(client, "jobs")
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, "● live", "1/46")
            await press(pilot, ["/", *"dump", "enter", "j"])
            await shows(pilot, "2/4")
            passage.close()
            await shows(pilot, "✗ lost", "trying again", "/dump", "2/4", "compress-dumps")
            await site.control.pause("dump-memory", "test")
            passage.open()
            await shows(pilot, "● live", "‖ paused", "2/4")
            assert "trying again" not in screen(app)
            await site.control.resume("dump-memory", "test")


async def test_a_lab_that_comes_back_at_another_address_is_found_there(site: Site) -> None:
    token = (await site.access.create_token("mover", "admin"))["token"]
    with Passage(site.url) as before, Passage(site.url) as after:
        where = [before.url]
        app = Top(lambda: Client(where[0], token), Place(view="jobs"))
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, "● live", "46 jobs")
            before.close()
            await shows(pilot, "✗ lost")
            where[0] = after.url
            await shows(pilot, "● live")
            await site.control.pause("list-nodes", "test")
            await shows(pilot, "1 paused")
            await site.control.resume("list-nodes", "test")


async def test_a_revoked_token_is_named_with_what_to_do(site: Site) -> None:
    made = await site.access.create_token("short-lived", "read")
    with Passage(site.url) as passage:
        app = top(Client(passage.url, made["token"]), "jobs")
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, "● live", "1/46")
            await site.access.revoke(made["id"])
            passage.close()
            passage.open()
            await press(pilot, ["ctrl+r"])
            await shows(pilot, "✗ refused", "homelab token create", "1/46")


class Passage:
    """A way to a server that can be closed and opened again, as a network or a restart does."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._there = (host, int(port))
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._is_closed = False
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Passage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._door.close()

    def close(self) -> None:
        self._is_closed = True
        for end in list(self._open):
            _cut(end)

    def open(self) -> None:
        self._is_closed = False

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            if self._is_closed:
                near.close()
                continue
            threading.Thread(target=self._pass, args=(near, socket.create_connection(self._there)), daemon=True).start()

    def _pass(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            self._open |= {near, far}
            back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
            back.start()
            self._carry(near, far)
            back.join()
            self._open -= {near, far}

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        _cut(source)
        _cut(sink)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
