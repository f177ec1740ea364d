"""What takes the keys for a while: the prompt behind `:` and `/`, and the question before something is changed."""

from collections.abc import Callable, Sequence

from textual import events
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from homelab.tui.asking import Choice, Question
from homelab.tui.layout import Line, cells, clean, cut, line, wrap
from homelab.tui.sheet import strip_of

LONGEST = 200


def _beginning(texts: Sequence[str]) -> str:
    """What all the texts begin with."""
    low, high = min(texts), max(texts)
    return next((low[:n] for n in range(len(low), 0, -1) if high.startswith(low[:n])), "")


Complete = Callable[[str], Sequence[str]]


class Prompt(Widget, can_focus=True):
    """One line to type in. `typed` hears every change; `entered` the text at the end, or None when it was left; `late`
    the keys that were typed behind that."""

    DEFAULT_CSS = "Prompt { height: 1; display: none; background: ansi_default; color: ansi_default; }"

    def __init__(
        self,
        *,
        typed: Callable[[str], object],
        entered: Callable[[str | None], object],
        late: Callable[[events.Key], object],
    ) -> None:
        super().__init__(id="prompt")
        self._late = late
        self._typed = typed
        self._entered = entered
        self._complete: Complete | None = None
        self._told = ""
        self._offered: Sequence[str] = ()
        self._turn = 0
        self.sign = ":"
        self.text = ""

    def open(self, sign: str, text: str, *, hint: str = "", complete: Complete | None = None) -> None:
        self.sign, self.text, self._told, self._complete = sign, text, hint, complete
        self.display = True
        self.screen.set_focus(self)
        self.offer()

    def offer(self) -> None:
        """Find anew what the text may become."""
        self._offered = self._complete(self.text) if self._complete is not None else ()
        self._turn = 0
        self.refresh()

    @property
    def hint(self) -> str:
        """For the line above: what may be typed."""
        return "  ".join(self._offered) or self._told

    def _set(self, text: str) -> None:
        self.text = text[:LONGEST]
        self.offer()
        self._typed(self.text)

    def _tab(self) -> None:
        """To what all offers have in common, then from one offer to the next."""
        if not self._offered:
            return
        common = _beginning(self._offered)
        if len(common) > len(self.text) and common.startswith(self.text):
            self._set(common)
            return
        self.text = self._offered[self._turn % len(self._offered)]
        self._turn += 1
        self.refresh()
        self._typed(self.text)

    def _close(self, text: str | None) -> None:
        self.display = False
        self._entered(text)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._set(self.text + " ".join(event.text.split()))

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if not self.display:  # typed behind the Enter that closed it
            self._late(events.Key(event.key, event.character))
            return
        match event.key:
            case "enter":
                self._close(self.text)
            case "escape":
                self._close(None)
            case "backspace" | "ctrl+h" if not self.text:
                self._close(None)
            case "backspace" | "ctrl+h":
                self._set(self.text[:-1])
            case "ctrl+u":
                self._set("")
            case "ctrl+w":
                self._set(self.text.rstrip().rpartition(" ")[0])
            case "tab" | "right":
                self._tab()
            case _ if event.is_printable and event.character:
                self._set(self.text + event.character)
            case _:
                pass

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        shown = clean(self.text)
        while cells(shown) > width - 3:
            shown = shown[1:]
        rest = self._offered[0][len(self.text) :] if self._offered and self._offered[0].startswith(self.text) else ""
        tail = cut(rest, width - cells(shown) - 1) or " "
        return strip_of(line((self.sign, "strong"), shown, (tail[0], "inverse"), (tail[1:], "idle")), width)


class Ask(Widget, can_focus=True):
    """A question at the bottom of the screen: what will happen, and a key for each answer. Answered once."""

    DEFAULT_CSS = "Ask { height: auto; display: none; background: ansi_default; color: ansi_default; }"

    def __init__(self, *, answered: Callable[[Question, Choice | None], object]) -> None:
        super().__init__(id="ask")
        self._answered = answered
        self._question: Question | None = None

    def open(self, question: Question) -> None:
        self._question = question
        self.display = True
        self.refresh(layout=True)
        self.screen.set_focus(self)

    def _lines(self, width: int) -> list[Line]:
        question = self._question
        if question is None:
            return []
        keys = [(f" {choice.key} ", choice.label) for choice in question.choices] + [(" n ", "leave it")]
        answers = line(*(span for key, label in keys for span in ((key, "match"), (f" {label}   ", ""))))
        will = [line("  ", text) for sentence in question.will for text in wrap(sentence, width - 2, most=4)]
        return [line(("─" * width, "idle")), line((cut(question.title, width), "strong")), *will, answers]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def render_line(self, y: int) -> Strip:
        lines = self._lines(self.size.width)
        return strip_of(lines[y], self.size.width) if y < len(lines) else Strip.blank(self.size.width)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        question = self._question
        if question is None:
            return
        choice = next((choice for choice in question.choices if choice.key == event.key), None)
        if choice is not None or event.key in ("n", "escape", "q"):
            self._question = None
            self.display = False
            self._answered(question, choice)
