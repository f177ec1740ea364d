"""When `homelab top` asks the lab: news that come at any moment lead to a question after them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from tests.tui import NOW

from homelab.tui.layout import Place
from homelab.tui.loader import SETTLE_S, Loader
from homelab.tui.trail import Visit
from homelab.tui.view import Page, View


@dataclass
class Timer:
    wait_s: float
    call: Callable[[], object]
    is_stopped: bool = False

    def stop(self) -> None:
        self.is_stopped = True


@dataclass
class SmallApp:
    """What a loader needs of the app: its questions run, its timers are only kept."""

    timers: list[Timer] = field(default_factory=list[Timer])
    asking: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def run_worker(self, work: Coroutine[Any, Any, None], *, group: str) -> None:
        self.asking.append(asyncio.ensure_future(work))

    def set_timer(self, wait_s: float, call: Callable[[], object]) -> Timer:
        self.timers.append(Timer(wait_s, call))
        return self.timers[-1]


@pytest.mark.parametrize("news", ["none", "while it is asked", "before and while"])
async def test_news_that_come_while_the_lab_is_asked_lead_to_a_question_after_it(news: str) -> None:
    app, answered, may_answer = SmallApp(), list[dict[str, Any]](), threading.Event()

    def load(_door: Any, _place: Place) -> dict[str, Any]:
        assert may_answer.wait(10)
        return {}

    view = View(name="now", about="", load=load, draw=lambda _answer, _place, _frame: Page())
    loader = Loader(
        app,  # type: ignore[arg-type]
        door=SimpleNamespace,  # type: ignore[arg-type]
        clock=lambda: NOW,
        came=lambda _visit, answer: answered.append(answer),
        failed=lambda error: pytest.fail(str(error)),
    )
    loader.look(Visit(Place(view="now")), view)
    if news == "before and while":
        loader.news()
        app.timers[-1].call()
    if news != "none":
        loader.news()
    may_answer.set()
    await asyncio.gather(*app.asking)
    assert len(answered) == 1
    (left,) = [timer for timer in app.timers if not timer.is_stopped and timer is app.timers[-1]]
    assert left.wait_s == (View.quiet_s if news == "none" else SETTLE_S)
