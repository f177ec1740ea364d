"""The pane of a log: a window of some thousand lines that moves over a log of any length, follows it, and finds texts.

Asks the API by the piece (`log.window`, `log.find`), one question at a time, in threads. Its app is told what to say.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from textual.timer import Timer

from homelab.console import words
from homelab.core.errors import HomelabError
from homelab.tui import log
from homelab.tui.layout import Line, line
from homelab.tui.log import Which, Window
from homelab.tui.sheet import Sheet
from homelab.tui.threads import in_thread
from homelab.tui.view import Door, Json

FOLLOW_S = 0.5
FOLLOW_SLOW_S = 2.0
"""While nothing comes."""


class LogPane(Sheet):
    """See the module. `door` gives the API now; `say` puts a message on the screen ("" takes it away)."""

    def __init__(self, *, door: Callable[[], Door], say: Callable[..., object]) -> None:
        super().__init__("log")
        self._door = door
        self._say = say
        self.which = Which(run="", job="")
        self.attempt: int = 0
        self.rows: list[dict[str, Any]] = []
        self.start: int = 0
        self.end: int = 0
        self.size_bytes: int = 0
        self.follows: bool = False
        self.is_open: bool = False
        self.has_log: bool = False
        self.times: bool = False
        self.wanted: str = ""
        self._found: int | None = None
        self._search = 0
        self._asking = asyncio.Lock()
        self._pending: set[str] = set()
        self._timer: Timer | None = None

    # -- what is shown

    def begin(self, answer: Json) -> None:
        """The log of the answer of `log.load`, at its end."""
        self.which = Which(run=answer["run"]["id"], job=answer["job"])
        self.is_open = log.is_open(answer["run"], self.which.job)
        self.follows, self.shift, self._found, self.wanted = True, 0, None, ""
        self._search += 1
        self._take(answer["window"])
        self._draw()
        self.top = self.bottom
        self._settle()
        self._listen()

    def leave(self) -> None:
        """Ask nothing more."""
        self._search += 1
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def heard(self, answer: Json) -> None:
        """The run, asked for again: whether it goes on."""
        if answer["run"]["id"] == self.which.run:
            self.is_open = log.is_open(answer["run"], self.which.job)

    def _take(self, window: Window | None) -> None:
        self.has_log = window is not None
        found = window or Window()
        self.rows = list(found.lines)
        self.start, self.end, self.size_bytes, self.attempt = found.start, found.end, found.size, found.attempt

    def _draw(self) -> None:
        if not self.has_log:
            self.lines = [
                line(("There is no output yet." if self.is_open else "There is no output of it here.", "idle"))
            ]
        else:
            self.lines = [self._line(row) for row in self.rows] or [line(("It has printed nothing so far.", "idle"))]
        self._settle()

    def _line(self, row: dict[str, Any]) -> Line:
        shown = log.shown(row, times=self.times, wanted=self.wanted)
        if row["at"] != self._found:
            return shown
        return Line(spans=(("▶", "match"), *shown.spans))

    @property
    def state(self) -> str:
        """Where one is, for the last line of the screen."""
        if not self.has_log:
            return ""
        visible = self.rows[min(self.top + self.height, len(self.rows)) - 1 :][:1]
        seen = visible[0]["next"] if visible else self.end
        share = 100 if self.size_bytes == 0 else round(100 * seen / max(self.size_bytes, 1))
        attempt = f"attempt {self.attempt} · " if self.attempt > 1 or self.which.attempt else ""
        following = " · follows" if self.follows and self.is_open else ""
        return f"{attempt}{min(share, 100)} % of {words.size(self.size_bytes)}{following}"

    # -- asking

    async def _ask(self, call: Callable[[Door], Any]) -> Any:
        """The answer, one question after the other; None when it went wrong, which was said."""
        async with self._asking:
            door = self._door()
            try:
                return await in_thread(lambda: call(door))
            except HomelabError as error:
                self._say(error.message, "bad")
                return None

    def _window(self, **where: Any) -> Callable[[Door], Window | None]:
        which = self.which
        return lambda door: log.window(door, which, **where)

    def _later(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it beside the keys; not again while it is being done."""

        async def once() -> None:
            try:
                await work()
            finally:
                self._pending.discard(name)

        if name not in self._pending:
            self._pending.add(name)
            self.run_worker(once(), group="log")

    async def _earlier(self) -> None:
        if self.start <= 0:
            return
        which = self.which
        found: Window | None = await self._ask(self._window(start=self.start, back=True))
        if found is None or which != self.which or found.end != self.start:
            return
        self.rows = log.joined(found.lines, self.rows, keep_end=False)
        self.start, self.end = found.start, self.rows[-1]["next"] if self.rows else found.end
        self.top += len(found.lines)
        self._draw()

    async def _more(self) -> None:
        which, was_at_end = self.which, self.top >= self.bottom
        found: Window | None = await self._ask(self._window(start=self.end))
        if found is None or which != self.which or (found.start != self.end and self.rows):
            return
        self.has_log = True
        if found.size < self.end:  # it was written anew
            await self._jump(back=True)
            return
        self.size_bytes = found.size
        if not found.lines:
            return
        before = len(self.rows)
        self.rows = log.joined(self.rows, found.lines, keep_end=True)
        let_go = before + len(found.lines) - len(self.rows)
        self.start, self.end = self.rows[0]["at"], found.end
        self.top -= let_go
        self._draw()
        if self.follows and was_at_end:
            self.top = self.bottom
            self._settle()

    async def _jump(self, *, back: bool) -> None:
        found: Window | None = await self._ask(self._window(start=None if back else 0, back=back))
        if found is None:
            return
        self._take(found)
        self._draw()
        self.top = self.bottom if back else 0
        self._settle()

    def _listen(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(FOLLOW_S, self._follow)

    async def _follow(self) -> None:
        """Ask for what was written since, as long as more may come; one last time when it has ended."""
        was_open, before = self.is_open, self.end
        if self.follows and self.which.run:
            await self._more()
        if was_open and self._timer is not None:
            self._timer = self.set_timer(FOLLOW_S if self.end != before else FOLLOW_SLOW_S, self._follow)

    def turn(self, step: int) -> None:
        """To the log of the attempt before or after."""
        goal = self.attempt + step
        if self.attempt and goal:
            self._later("attempt", lambda: self._turn(goal))
        else:
            self._say("There is no attempt before it.", "idle")

    async def _turn(self, attempt: int) -> None:
        which = replace(self.which, attempt=attempt)
        found: Window | None = await self._ask(lambda door: log.window(door, which, back=True))
        if found is None:
            self._say(f"There is no attempt {attempt}.", "idle")
            return
        self.which, self._found = which, None
        self._take(found)
        self._draw()
        self.to_end()

    # -- moving

    def on_resize(self) -> None:
        self.top = self.bottom if self.follows else self.top
        self._settle()

    def move(self, step: int) -> None:
        self._scroll(step)

    def page(self, step: int) -> None:
        self._scroll(step * max(1, self.height - 1))

    def _scroll(self, lines: int) -> None:
        self.top += lines
        self._settle()
        self.follows = self.top >= self.bottom and self.end >= self.size_bytes
        if lines < 0 and self.top < self.height and self.start > 0:
            self._later("earlier", self._earlier)
        elif lines > 0 and self.top > self.bottom - self.height and self.end < self.size_bytes:
            self._later("more", self._more)

    def to_top(self) -> None:
        self.follows = False
        if self.start > 0:
            self._later("top", lambda: self._jump(back=False))
        else:
            self.top = 0
            self._settle()

    def to_end(self) -> None:
        self.follows = True
        if self.end < self.size_bytes:
            self._later("end", lambda: self._jump(back=True))
        else:
            self.top = self.bottom
            self._settle()
            self._later("more", self._more)

    def toggle_times(self) -> None:
        self.times = not self.times
        self._draw()

    def toggle_follow(self) -> bool:
        self.follows = not self.follows
        if self.follows:
            self.to_end()
        return self.follows

    # -- finding

    def search(self, text: str) -> None:
        """Mark every place of a text, and go to the first at or after what is on the screen."""
        self.wanted, self._found = text, None
        self._draw()
        if text and self.rows:
            at = self.rows[min(self.top, len(self.rows) - 1)]["at"]
            self._look(at, back=False, again=True)

    def stop_search(self) -> bool:
        """Leave a search, and the marks it made; False when there is none."""
        was = bool(self.wanted)
        self._search += 1
        self.wanted, self._found = "", None
        self._draw()
        return was

    def find(self, step: int) -> None:
        if not self.wanted:
            self._say("Search first: /", "warn")
            return
        row = next((r for r in self.rows if r["at"] == self._found), None)
        if row is None:
            row = self.rows[min(self.top, len(self.rows) - 1)] if self.rows else None
        if row is not None:
            self._look(row["next"] if step > 0 else row["at"], back=step < 0)

    def _look(self, start: int, *, back: bool, again: bool = False) -> None:
        self._search += 1
        self._later(f"find {self._search}", lambda: self._find(start, back=back, again=again))

    async def _find(self, start: int, *, back: bool, again: bool) -> None:
        """The next place of the text, in pieces of a second each; from the beginning when there is none (`again`).
        A later search takes its place."""
        mine, which, wanted = self._search, self.which, self.wanted
        self.follows = False
        at = start
        while mine == self._search:
            place = at
            answer: Json | None = await self._ask(lambda door, p=place: log.find(door, which, wanted, p, back=back))
            if answer is None or mine != self._search:
                return
            if answer["at"] is not None:
                self._say("")
                await self._go_to(answer["at"])
                return
            if answer["is_over"]:
                if again and start > 0:
                    start = at = 0
                    again = False
                    continue
                where = "before" if back else "after"
                self._say(
                    f"“{wanted}” is not there." if start == 0 and not back else f"“{wanted}” is not {where} this.",
                    "warn",
                )
                return
            at = answer["scanned"]
            done = at if not back else self.size_bytes - at
            self._say(f"searching … {round(100 * done / max(self.size_bytes, 1))} % (Esc stops)", "idle")

    async def _go_to(self, at: int) -> None:
        place = next((n for n, row in enumerate(self.rows) if row["at"] == at), -1)
        if place < 0:
            before: Window | None = await self._ask(self._window(start=at, back=True, lines=log.AROUND))
            after: Window | None = await self._ask(self._window(start=at))
            if after is None:
                return
            first = before or Window(start=after.start)
            self.rows = [*first.lines, *after.lines]
            self.start, self.end, self.size_bytes = first.start, after.end, after.size
            place = next((n for n, row in enumerate(self.rows) if row["at"] == at), 0)
        self._found = at
        self._draw()
        if not self._is_visible(place):
            self.top = place - self.height // 3
        self._settle()
