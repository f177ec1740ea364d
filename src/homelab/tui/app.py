"""The screen and its keys: shows one place at a time, asks the lab in threads, redraws when the lab has news.

What a place shows is the business of its view; this file only knows how to get there and back, and how to act. Called
by `cli.top`.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from textual.actions import ActionParseResult
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.dom import DOMNode
from textual.message import Message
from textual.timer import Timer

from homelab.core.errors import HomelabError
from homelab.tui import acting, around, commands, jobs, views
from homelab.tui.asking import Choice, Question
from homelab.tui.commands import Known
from homelab.tui.feed import Feed
from homelab.tui.help import VIEW as HELP
from homelab.tui.keys import AT_ONCE, KEYS
from homelab.tui.layout import BLANK, Line, Place, Sort, Span, Target, clean, cut, line, matching, wrap
from homelab.tui.loader import Loader
from homelab.tui.logpane import LogPane
from homelab.tui.panels import Ask, Prompt
from homelab.tui.sheet import Bar, Sheet
from homelab.tui.threads import in_thread
from homelab.tui.trail import Trail, Visit
from homelab.tui.view import Door, Frame, Json, Link, Page, View

MOVING_S, STILL_S = 1.0, 15.0
"""How often times on the screen are made anew."""
SAID_S = 8.0
"""How long a message stays."""
INTERRUPTED = 130
ACTIONS = {key.action.partition("(")[0] for key in KEYS}
OF_PAGE = {key.action for key in KEYS} - AT_ONCE


class Top(App[int]):
    """`connect` finds the lab (again) and gives its API; `first` is the answer of the first place, when it is known."""

    class Linked(Message):
        """The link to the lab is another."""

        def __init__(self, link: Link) -> None:
            super().__init__()
            self.link = link

    class News(Message):
        """Something happened in the lab."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: ansi_default; color: ansi_default; layers: base; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        # At once, in the order in which they were typed: otherwise what is typed fast goes to where the focus was.
        *(Binding(",".join(key.keys), key.action, key.about, show=False, priority=True) for key in KEYS),
        Binding("ctrl+c", f"leave({INTERRUPTED})", "quit", show=False, priority=True),
    ]

    def __init__(
        self,
        connect: Callable[[], Door],
        place: Place,
        *,
        first: Json | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lab: str = "",
        is_watched: Callable[[], bool] = lambda: True,
    ) -> None:
        """`is_watched`: whether its terminal is still there; one that was closed reads as an endless end."""
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.door = connect()
        self._clock = clock
        self._lab = lab
        self._is_watched = is_watched
        self.bars = [Bar("title"), Bar("summary"), Bar("head"), Bar("foot")]
        self.sheet = Sheet()
        self.log_pane = LogPane(door=lambda: self.door, say=self.say)
        self.ask = Ask(answered=self.answered)
        self.prompt = Prompt(typed=self.typed, entered=self.entered, late=self.post_message)
        self.trail = Trail(Visit(place, answer=first))
        self._loader = Loader(self, door=lambda: self.door, clock=clock, came=self._came, failed=self._failed)
        self.page = Page()
        self.link = Link()
        self._feed = Feed(
            connect,
            told=lambda link: self.post_message(self.Linked(link)),
            happened=lambda _: self.post_message(self.News()),
        )
        self._problem: HomelabError | None = None
        self._message: tuple[str, str] | None = None
        self._known = Known()
        self._early: list[str] = []
        """What was typed for the page that is not here yet."""
        self._is_ready = False
        self._tick_timer: Timer | None = None
        self._said_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield from self.bars[:3]
        yield self.sheet
        yield self.log_pane
        yield self.ask
        yield self.bars[3]
        yield self.prompt

    def on_mount(self) -> None:
        self._is_ready = True
        self._arrive()
        self._feed.start()

    def on_unmount(self) -> None:
        self._feed.stop()

    # -- where one is

    @property
    def visit(self) -> Visit:
        return self.trail.here

    @property
    def view(self) -> View:
        return view_of(self.visit.place)

    @property
    def pane(self) -> Sheet:
        """What the keys move."""
        return self.log_pane if self.view.is_log else self.sheet

    def go(self, place: Place) -> None:
        """To another place, with a way back."""
        if not self.view.is_log:
            self.visit.selected, self.visit.top = self.sheet.selected, self.sheet.top
        self.trail.go(place)
        self._arrive()

    def _arrive(self) -> None:
        self.page, self._problem, self._message = Page(), None, None
        is_log = self.view.is_log
        self.log_pane.leave()
        self.sheet.display, self.log_pane.display = not is_log, is_log
        self.log_pane.restart([])
        self.screen.set_focus(self.pane)
        visit = self.visit
        self.sheet.restart([])
        if visit.answer is not None:
            self._begin(visit.answer)
        self._draw()
        self._loader.look(visit, self.view)

    def _begin(self, answer: Json) -> None:
        """The first answer for a place: shown from where one was, or where one most likely looks."""
        if self.view.is_log:
            self.log_pane.begin(answer)
        else:
            self._draw()
            self.sheet.restart(self._lines(), selected=self.visit.selected or self.page.selects, top=self.visit.top)

    # -- what the lab says

    def _came(self, visit: Visit, answer: Json) -> None:
        is_first = visit.answer is None
        visit.answer, self._problem = answer, None
        if is_first:
            self._begin(answer)
            self.call_later(self._catch_up)
        elif self.view.is_log:
            self.log_pane.heard(answer)
        self._draw()

    def _failed(self, error: HomelabError) -> None:
        self._problem = error
        self._early.clear()
        self._draw()

    def on_top_news(self, _: News) -> None:
        self._loader.news()

    def on_top_linked(self, message: Linked) -> None:
        was, self.link = self.link, message.link
        if self.link.door is not None:
            self.door = self.link.door
            self.run_worker(self._learn_lab(self.link.door), group="lab", exclusive=True)
        if self.link.state == "live" and was.state != "connecting":
            self._loader.again()
        self._draw()

    async def _learn_lab(self, door: Door) -> None:
        with contextlib.suppress(HomelabError):  # only a name: the view says what is wrong
            self._lab = str((await in_thread(lambda: door.get("/api/v1/lab")))["lab"] or "")
            self._draw()

    # -- drawing

    def _lines(self) -> list[Line]:
        return matching(self.page.lines, self.visit.filter)

    def _draw(self) -> None:
        """All of the screen from what is known now."""
        if not self._is_ready:
            return
        visit = self.visit
        if visit.answer is not None:
            frame = Frame(width=max(20, self.size.width), now=self._clock(), sort=visit.sort)
            self.page = self.view.draw(visit.answer, visit.place, frame)
        self._show()
        self._tick()

    def _show(self) -> None:
        """The page as it was drawn, with what is around it."""
        lines = self._lines()
        title, summary, head, _ = self.bars
        crumbs = self.trail.crumbs(self.page.title)
        title.show(around.title(self._lab, crumbs, self.link, self.size.width))
        summary.show(*self._above())
        head.show(*(self.page.head if lines else ()))
        if not self.view.is_log:
            self.sheet.show(lines or self._empty())
        self._draw_foot()

    def _tick(self) -> None:
        """Draw again when the times on the screen have moved on."""
        if not self._is_watched():
            self.exit()
            return
        is_waiting = self.link.state in ("lost", "refused")
        wait_s = MOVING_S if self.page.is_moving or self.view.is_log or is_waiting else STILL_S
        if self._tick_timer is not None:
            self._tick_timer.stop()
        self._tick_timer = self.set_timer(wait_s, self._draw)

    def _above(self) -> list[Line]:
        """What is wrong, then the view's own line with the filter before it."""
        width, spans = self.size.width, list[Span]()
        wanted = self.log_pane.wanted if self.view.is_log else self.visit.filter
        if wanted:
            spans += [(f"/{clean(wanted)}", "match"), ("  ", "")]
        if self.page.summary is not None:
            spans += self.page.summary.spans
        wait_s = self.link.again_at - time.monotonic()
        wrong = around.troubles(self.link, self._problem, width, wait_s=wait_s)
        return [*wrong, around.within(spans, width)] if spans else wrong

    def _empty(self) -> list[Line]:
        if self.visit.answer is None:
            told = "" if self._problem is not None else "asking the lab …"
        elif self.visit.filter:
            told = "Nothing matches. Esc clears the filter."
        else:
            told = self.page.empty
        return [BLANK, *(line((text, "idle")) for text in wrap(told, self.size.width))] if told else []

    def _draw_foot(self) -> None:
        foot, width = self.bars[3], self.size.width
        if self.prompt.display:
            foot.show(line((cut(self.prompt.hint, width), "idle")))
            return
        if self.ask.display:
            foot.show(line(("Nothing is done until you answer.", "idle")))
            return
        if self._message is not None:
            foot.show(*around.message(*self._message, width))
            return
        place, count = self.sheet.position
        where = self.log_pane.state if self.view.is_log else f"{place}/{count}" if count else ""
        foot.show(around.foot(where, width, is_log=self.view.is_log))

    def say(self, text: str, tone: str = "") -> None:
        """A message in the last line, for a while; "" takes it away."""
        self._message = (text, tone) if text else None
        if self._said_timer is not None:
            self._said_timer.stop()
        self._said_timer = self.set_timer(SAID_S, lambda: self.say("")) if text else None
        self._draw_foot()

    def on_resize(self) -> None:
        self._draw()

    @property
    def _is_taken(self) -> bool:
        """One types or is asked: the keys are for that."""
        return self.prompt.display or self.ask.display

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No key of the table while the keys are for something else."""
        return not self._is_taken or action not in ACTIONS or parameters == (INTERRUPTED,)

    # -- keys: before there is a page

    async def run_action(
        self,
        action: "str | ActionParseResult",
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """What is typed for a page that the lab is still asked for waits for it; a key that leads elsewhere ends that.
        Carried out at once it would be lost, or meant for what was here before."""
        if not self._is_taken and action in OF_PAGE and (self._early or self.visit.answer is None):
            self._early.append(str(action))
            return True
        if action in AT_ONCE:
            self._early.clear()
        return await super().run_action(action, default_namespace, namespaces)

    async def _catch_up(self) -> None:
        """Do what was typed for this page, in order, until it leads to one that is not here yet."""
        while self._early and self.visit.answer is not None:
            await super().run_action(self._early.pop(0))

    # -- keys: looking

    def action_leave(self, status: int) -> None:
        self.exit(status)

    def action_move(self, step: int) -> None:
        self.pane.move(step)
        self._draw_foot()

    def action_page(self, step: int) -> None:
        self.pane.page(step)
        self._draw_foot()

    def action_top(self) -> None:
        self.pane.to_top()
        self._draw_foot()

    def action_end(self) -> None:
        self.pane.to_end()
        self._draw_foot()

    def action_enter(self) -> None:
        target = self.pane.target
        if target is not None and target.opens is not None:
            self.go(target.opens)

    async def action_back(self) -> None:
        if self.view.is_log and self.log_pane.stop_search():
            self._draw()
        elif self.visit.filter:
            self.visit.filter = ""
            self._draw()
        elif self.trail.back():
            self._arrive()
        else:
            self.say("This is the first view. q quits.", "idle")

    def action_reload(self) -> None:
        self._feed.try_now()
        self._loader.again()

    def action_help(self) -> None:
        self.go(Place(view=HELP.name))

    def action_sort(self) -> None:
        if not self.page.columns:
            self.say("This view has one order.", "idle")
            return
        now = self.visit.sort
        following = 0 if now is None else now.column + 1
        self.visit.sort = Sort(column=following) if following < self.page.columns else None
        self._draw()

    def action_reverse(self) -> None:
        if self.visit.sort is not None:
            self.visit.sort = replace(self.visit.sort, backwards=not self.visit.sort.backwards)
            self._draw()

    def action_logs(self) -> None:
        target = self._target()
        if target is not None and target.run:
            self.go(Place(view="log", run=target.run, job=target.job))
        elif target is not None and target.job:
            self.say("It has not run yet: there is no log.", "warn")

    def action_machines(self) -> None:
        self.go(Place(view="nodes"))

    def action_describe(self) -> None:
        target = self._target()
        if target is not None and target.job:
            run = target.run if target.again == "retry" else ""
            self.go(Place(view="job", job=target.job, run=run))

    def _target(self) -> Target | None:
        """What is selected; in a log and in a description, what it is about."""
        if self.pane.target is not None:
            return self.pane.target
        place, answer = self.visit.place, self.visit.answer or {}
        if place.view == "log" and self.log_pane.which.run:
            return Target(job=self.log_pane.which.job, run=self.log_pane.which.run, again="retry")
        if place.view == "job" and answer:
            return Target(job=place.job, run=place.run or jobs.last_run(answer["job"])[0])
        self.say("Nothing is selected here.", "idle")
        return None

    # -- keys: in a log

    def action_follow(self) -> None:
        if self.view.is_log:
            self.say("follows" if self.log_pane.toggle_follow() else "stays here", "idle")

    def action_times(self) -> None:
        if self.view.is_log:
            self.log_pane.toggle_times()

    def action_find(self, step: int) -> None:
        if self.view.is_log:
            self.log_pane.find(step)

    def action_attempt(self, step: int) -> None:
        if self.view.is_log:
            self.log_pane.turn(step)

    def action_shift(self, cells: int) -> None:
        if self.view.is_log:
            self.log_pane.shift_by(cells)

    # -- keys: typing

    def action_search(self) -> None:
        text = self.log_pane.wanted if self.view.is_log else self.visit.filter
        hint = (
            "Enter searches, Esc leaves"
            if self.view.is_log
            else "lists what has all these words; Enter keeps it, Esc clears it"
        )
        self.prompt.open("/", text, hint=hint)
        self._draw_foot()

    def action_command(self) -> None:
        self.prompt.open(":", "", complete=lambda text: commands.completions(text, self._known))
        self._draw_foot()
        self.run_worker(self._learn_names(), group="names", exclusive=True)

    async def _learn_names(self) -> None:
        door = self.door

        try:
            self._known = await in_thread(lambda: commands.learn(door))
        except HomelabError as error:
            self.say(around.told(error), "bad")
        self.prompt.offer()
        self._draw_foot()

    def typed(self, text: str) -> None:
        """The text in the prompt has changed."""
        if self.prompt.sign == "/" and not self.view.is_log:
            self.visit.filter = text
            self.sheet.restart(self._lines(), selected=self.sheet.selected)
            self._show()
        self._draw_foot()

    def entered(self, text: str | None) -> None:
        """The prompt was closed: with a text, or (None) left."""
        sign = self.prompt.sign
        self.screen.set_focus(self.pane)
        self._message = None
        if sign == "/" and self.view.is_log:
            if text is not None:
                self.log_pane.search(text)
        elif sign == "/":
            self.visit.filter = "" if text is None else text
        elif text:
            self._command(text)
        self._draw()

    def _command(self, text: str) -> None:
        match commands.meaning(text, self._known):
            case "quit":
                self.exit(0)
            case str():
                self.action_help()
            case Place() as place:
                self.go(place)
            case unknown:
                self.say(unknown.message, "warn")

    # -- keys: acting

    def action_act(self, name: str) -> None:
        target, door = self._target(), self.door
        if target is not None:
            self.run_worker(self._question(lambda: acting.QUESTIONS[name](door, target)), group="ask", exclusive=True)

    async def _question(self, make: Callable[[], acting.Asked]) -> None:
        try:
            question = await in_thread(make)
        except HomelabError as error:
            self.say(around.told(error), "bad")
            return
        if isinstance(question, str):
            self.say(question, "warn")
        elif question is not None and not self.prompt.display:
            self.ask.open(question)
            self._draw_foot()

    def answered(self, question: Question, choice: Choice | None) -> None:
        """A question was answered, once; None: left."""
        self.screen.set_focus(self.pane)
        if choice is None:
            self.say("Nothing was changed.", "idle")
            return
        self.say(f"{choice.label} …", "idle")
        self.run_worker(self._carry_out(question, choice), group="act")

    async def _carry_out(self, question: Question, choice: Choice) -> None:
        door, where = self.door, self.visit
        try:
            made = await in_thread(lambda: door.post(choice.path, choice.body))
        except HomelabError as error:
            self.say(around.told(error), "bad")
            return
        if question.after is not None and self.visit is where:
            self.go(replace(question.after, run=str(made["run"]["id"])))
        else:
            self._loader.again()
        self.say(f"✓ {choice.done}", "good")


def view_of(place: Place) -> View:
    return HELP if place.view == HELP.name else views.of(place)
