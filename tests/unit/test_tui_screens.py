"""Every view of `homelab top` on two sizes of terminal, compared with what it looked like when somebody looked at it.

`UPDATE_SCREENS=1 pytest tests/unit/test_tui_screens.py` writes them anew; look at what differs.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests import machines
from tests.tui import FAILED, NOW, RUNNING, PaperLab, job, screen, top
from textual import events
from textual.pilot import Pilot

from homelab.core.errors import HomelabError
from homelab.tui import nodes as nodes_view
from homelab.tui.app import Top
from homelab.tui.layout import Place
from homelab.tui.view import Frame
from homelab.tui.views import VIEWS

SCREENS = Path(__file__).parent / "screens"
SIZES = ((80, 24), (120, 40))
PLACES = {
    "now": Place(view="now"),
    "jobs": Place(view="jobs"),
    "runs": Place(view="runs"),
    "run": Place(view="run", run=FAILED),
    "job": Place(view="job", job="dump-app"),
    "log": Place(view="log", run=FAILED, job="dump-app"),
    "nodes": Place(view="nodes"),
    "lab": Place(view="lab"),
    "notifications": Place(view="notifications"),
    "help": Place(view="help"),
}


async def until(pilot: Pilot[int], is_there: Callable[[], bool]) -> None:
    for _ in range(500):
        await pilot.pause()
        if is_there():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(screen(pilot.app))  # type: ignore[arg-type]


async def settled(pilot: Pilot[int], app: Top) -> None:
    await until(pilot, lambda: app.visit.answer is not None and app.link.state == "live")
    await pilot.pause()


@pytest.mark.parametrize(("width", "height"), SIZES, ids=lambda n: str(n))
async def test_every_view_looks_as_it_did(width: int, height: int) -> None:
    app = top(PaperLab())
    different: list[str] = []
    async with app.run_test(size=(width, height)) as pilot:
        for name, place in PLACES.items():
            app.go(place)
            await settled(pilot, app)
            shown = screen(app)
            assert "\x1b" not in shown
            assert "\u202e" not in shown
            file = SCREENS / f"{name}.{width}x{height}.txt"
            if os.environ.get("UPDATE_SCREENS"):
                file.parent.mkdir(exist_ok=True)
                file.write_text(shown)
            elif file.read_text() != shown:
                different.append(f"{file.name}\n{shown}")
    assert different == []


def test_every_view_is_among_the_screens() -> None:
    assert [view.name for view in VIEWS if view.name not in PLACES] == []


async def test_a_key_in_a_lab_of_five_hundred_jobs_costs_little() -> None:
    jobs = [job(f"job-{n:03}", "failed" if n % 7 == 0 else "succeeded") for n in range(500)]
    app = top(PaperLab(**{"/api/v1/jobs": {"jobs": jobs}}), "jobs")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "/500" in screen(app))
        spent: list[float] = []
        for _ in range(5):
            begun = time.process_time()
            for _ in range(20):
                app.action_move(1)
                for y in range(app.sheet.height):
                    app.sheet.render_line(y)
            spent.append((time.process_time() - begun) / 20)
        assert min(spent) < 0.01, spent  # about 1 ms: a key to its lines; the least is what it costs


async def test_an_answer_that_goes_wrong_is_said_and_what_was_there_stays() -> None:
    lab = PaperLab()
    app = top(lab, "jobs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        lab.broken = HomelabError("the lab's database does not answer", hint="See: homelab status")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "✗ the lab's database does not answer" in screen(app))
        assert "See: homelab status" in screen(app)
        assert "heartbeat" in screen(app)
        await pilot.press("p")
        await until(pilot, lambda: "\nthe lab's database does not answer. See:" in screen(app))
        lab.broken = None
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "does not answer. See" in screen(app) and "✗ the lab's" not in screen(app))


async def test_an_answer_of_another_version_is_no_traceback() -> None:
    app = top(PaperLab(**{"/api/v1/jobs": {"jobs": [{"name": "x"}]}}), "jobs")
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: "cannot be shown (KeyError" in screen(app))
        assert "homelab --version" in screen(app)


async def test_the_selection_stays_with_its_item_and_goes_to_the_neighbour_of_one_that_is_gone() -> None:
    jobs = [job(name, "succeeded") for name in "abcdef"]
    lab = PaperLab(**{"/api/v1/jobs": {"jobs": jobs}})
    app = top(lab, "jobs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await pilot.press("j", "j")
        lab.answers["/api/v1/jobs"] = {"jobs": [job("new", "failed"), *jobs]}
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "4/7" in screen(app))
        assert app.sheet.selected == "c"
        lab.answers["/api/v1/jobs"] = {"jobs": jobs[:2] + jobs[3:]}
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "3/5" in screen(app))
        assert app.sheet.selected == "d"


async def test_a_description_longer_than_the_screen_is_read_line_by_line_down_to_its_runs() -> None:
    app = top(PaperLab(), "job", job="dump-app")
    async with app.run_test(size=(80, 15)) as pilot:
        await settled(pilot, app)
        seen: set[str] = set()
        for _ in range(60):
            seen |= {item.text for item in app.sheet.lines[app.sheet.top : app.sheet.top + app.sheet.height]}
            app.action_move(1)
        text = "\n".join(seen)
        assert all(heading in text for heading in ("Why", "Last run", "Against its last good run", "Recent runs"))
        assert "dump.py app → dump.py app --all  (the definition changed)" in text
        assert app.sheet.target is not None
        await pilot.press("enter")
        await until(pilot, lambda: "› run " in screen(app))


async def test_enter_and_esc_come_back_to_the_item_and_the_filter_one_left() -> None:
    app = top(PaperLab(), "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await pilot.press("/", *"dump", "enter", "j")
        assert app.sheet.position == (2, 2)
        await pilot.press("enter")
        await until(pilot, lambda: "› run dump-app" in screen(app))
        await pilot.press("escape")
        await until(pilot, lambda: "2/2" in screen(app) and "/dump" in screen(app))


async def test_what_is_typed_in_one_burst_arrives_where_it_was_meant() -> None:
    lab = PaperLab()
    app = top(lab, "jobs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        for key, character in (("slash", "/"), *((c, c) for c in "dump"), ("enter", "\r"), ("p", "p")):
            app.post_message(events.Key(key, character))
        await until(pilot, lambda: "Pause dump-app?" in screen(app))
        await pilot.press("y")
        await until(pilot, lambda: lab.did == [("/api/v1/jobs/dump-app/pause", {})])


class SlowLab(PaperLab):
    """Tells of a run only once it `may`."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.may = threading.Event()

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        if path.startswith("/api/v1/runs/"):
            assert self.may.wait(20)
        return super().get(path, query)


async def test_a_key_that_comes_before_the_page_is_for_that_page() -> None:
    lab = SlowLab()
    app = top(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await pilot.press("l")
        await until(pilot, lambda: "› log dump-app" in screen(app))
        await pilot.press("t", "r")
        assert "Nothing is selected" not in screen(app)
        lab.may.set()
        await until(pilot, lambda: "Retry this run of dump-app?" in screen(app) and "11:59:05 " in screen(app))


async def test_a_key_that_comes_before_the_page_is_not_for_one_that_was_here_before() -> None:
    other = {path.replace(FAILED, RUNNING): answer for path, answer in PaperLab().answers.items() if "lines" in path}
    lab = SlowLab(**other)
    lab.may.set()
    app = top(lab, "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await pilot.press("/", *"dump", "enter", "l")
        await until(pilot, lambda: "Errno 28" in screen(app))
        await pilot.press("escape", "escape", "/", *"take-in", "enter")
        await until(pilot, lambda: "1/1" in screen(app))
        lab.may.clear()
        await pilot.press("l", "c")
        lab.may.set()
        await until(pilot, lambda: "Cancel this run of" in screen(app))
        await pilot.press("y")
        await until(pilot, lambda: lab.did == [(f"/api/v1/runs/{RUNNING}/cancel", {})])


async def test_who_goes_elsewhere_before_the_page_comes_takes_back_what_was_typed_for_it() -> None:
    lab = SlowLab()
    app = top(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await pilot.press("l", "r", "escape")
        lab.may.set()
        await until(pilot, lambda: "3 things need you" in screen(app))
        await pilot.press("j")
        await until(pilot, lambda: app.sheet.position[0] == 2)
        assert not app.ask.display


async def test_a_machine_is_drained_by_its_key_after_it_was_said_what_that_does() -> None:
    node = {**machines.three(NOW, "x")[0], "drained_since": None}
    will = ["Nothing new starts on mac1, until somebody undrains it.", "backup is on it and may finish."]
    lab = PaperLab(
        **{
            "/api/v1/nodes/mac1": {"node": node},
            "/api/v1/nodes/mac1/preview": {"action": "drain", "will": will, "is_grave": False, "undo": "undrain"},
        }
    )
    app = top(lab)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot, app)
        await pilot.press("m")
        await until(pilot, lambda: "take-in-uploads 2 GiB memory" in screen(app))
        await pilot.press("p")
        await until(pilot, lambda: "Drain mac1?" in screen(app) and will[1] in screen(app))
        await pilot.press("y")
        await until(pilot, lambda: lab.did == [("/api/v1/nodes/mac1/drain", {})] and "mac1 is drained" in screen(app))


async def test_a_hundred_machines_are_drawn_in_a_moment() -> None:
    rooms = [machines.room(f"n{n:03}", machines.held("x"), cpu=8, memory=16, gpu=10) for n in range(100)]
    nodes = [machines.machine(one.node.name, one, at=NOW) for one in rooms]
    answer = {"nodes": nodes, "queue": machines.waiting(NOW.isoformat(), "x") * 20}
    spent: list[float] = []
    for _ in range(5):
        begun = time.process_time()
        page = nodes_view.VIEW.draw(answer, Place(view="nodes"), Frame(width=120, now=NOW))
        spent.append(time.process_time() - begun)
        assert len(page.lines) > 200
    assert min(spent) < 0.1, spent


async def test_who_is_at_the_top_sees_what_comes_in_above() -> None:
    jobs = [job(f"job-{n:02}", "succeeded") for n in range(60)]
    lab = PaperLab(**{"/api/v1/jobs": {"jobs": jobs}})
    app = top(lab, "jobs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        lab.answers["/api/v1/jobs"] = {"jobs": [job("worst", "failed"), *jobs]}
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "worst" in screen(app) and "2/61" in screen(app))
        await pilot.press("space", "space")
        where = next(n for n, row in enumerate(screen(app).splitlines()) if app.sheet.selected in row)
        lab.answers["/api/v1/jobs"] = {"jobs": [job("newer", "failed"), job("worst", "failed"), *jobs]}
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "/62" in screen(app))
        assert app.sheet.selected in screen(app).splitlines()[where]
