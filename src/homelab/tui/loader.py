"""Asks the lab for what one looks at: when one comes there, when the lab has news, and now and then.

In threads, one answer at a time: what was asked before one went elsewhere is forgotten. How often is bounded by how
long an answer takes, so that a large or slow lab is not asked all the time.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from textual.app import App
from textual.timer import Timer

from homelab.core.errors import HomelabError, NotFoundError
from homelab.tui.threads import in_thread
from homelab.tui.trail import Visit
from homelab.tui.view import Door, Frame, Json, View

SETTLE_S = 0.3
"""News come in swarms; one question answers for all of them."""
REST = 5.0
"""A view that takes a second to ask is asked for every fifth at most."""
FAILED_S = 5.0


class Loader:
    """`came` hears each answer for the visit it was asked for; `failed` why there is none."""

    def __init__(
        self,
        app: App[Any],
        *,
        door: Callable[[], Door],
        clock: Callable[[], datetime],
        came: Callable[[Visit, Json], object],
        failed: Callable[[HomelabError], object],
    ) -> None:
        self._app = app
        self._door = door
        self._clock = clock
        self._came = came
        self._failed = failed
        self._visit: Visit | None = None
        self._view: View | None = None
        self._asked = 0
        self._took_s = 0.0
        self._at = 0.0
        self._has_news = False
        self._timer: Timer | None = None

    def look(self, visit: Visit, view: View) -> None:
        """From now on this is what is asked for; at once."""
        self._visit, self._view, self._took_s = visit, view, 0.0
        self.again()

    def again(self) -> None:
        self._has_news = False
        self._asked += 1
        self._app.run_worker(self._ask(self._asked), group="load")

    def news(self) -> None:
        """The lab said that something happened: ask soon."""
        if not self._has_news:
            self._later(max(SETTLE_S, self._took_s * REST - (time.monotonic() - self._at)))
            self._has_news = True

    def _later(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._has_news = False
        self._timer = self._app.set_timer(wait_s, self.again)

    async def _ask(self, number: int) -> None:
        visit, view, door, begun = self._visit, self._view, self._door(), time.monotonic()
        if visit is None or view is None:
            return
        try:
            answer = await in_thread(lambda: view.load(door, visit.place))
            self._check(visit, view, answer)
        except HomelabError as error:
            if number == self._asked:
                self._failed(error)
                self._later(view.quiet_s if isinstance(error, NotFoundError) else FAILED_S)
            return
        if number == self._asked:
            self._at = time.monotonic()
            self._took_s = self._at - begun
            self._came(visit, answer)
            if not self._has_news:  # what happened while this was asked may not be in it
                self._later(view.quiet_s)

    def _check(self, visit: Visit, view: View, answer: Json) -> None:
        """HomelabError for an answer that cannot be drawn: the lab is of another version."""
        try:
            view.draw(answer, visit.place, Frame(width=80, now=self._clock()))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise HomelabError(
                f"the answer of the lab cannot be shown ({type(error).__name__}: {error})",
                hint="Is the lab of another version? See: homelab --version, homelab status",
            ) from error
