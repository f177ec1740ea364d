"""Every view of `homelab top` on two sizes of terminal, compared with what it looked like when somebody looked at it.

`UPDATE_SCREENS=1 pytest tests/unit/test_tui_screens.py` writes them anew; look at what differs.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tui import FAILED, PaperLab, screen, top
from textual.pilot import Pilot

from homelab.tui.app import Top
from homelab.tui.layout import Place
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
