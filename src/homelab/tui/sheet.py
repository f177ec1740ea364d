"""The widgets that show lines: a bar of a few, and the sheet that scrolls any number and lets one item be selected.

Only what is on the screen is made into strips, so that a thousand lines cost what twenty do. Colours are the sixteen of
the terminal, so that its own theme decides how they look.
"""

from collections.abc import Sequence
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from homelab.tui.layout import Line, Target, clean

TONES = {
    "good": Style(color="green"),
    "bad": Style(color="red", bold=True),
    "warn": Style(color="yellow"),
    "run": Style(color="cyan"),
    "idle": Style(dim=True),
    "head": Style(bold=True),
    "strong": Style(bold=True),
    "quote": Style(italic=True),
    "match": Style(reverse=True, bold=True),
    "inverse": Style(reverse=True),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "italic": Style(italic=True),
    "underline": Style(underline=True),
    "strike": Style(strike=True),
}
_COLOURS = {"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"}
_SELECTED = Style(reverse=True)


@lru_cache(maxsize=1024)
def style_of(names: str) -> Style:
    """The style of tones and of the names that the API gives a log's pieces (`bold fg-bright-red`)."""
    made = Style()
    for name in names.split():
        ground, _, colour = name.partition("-")
        colour = colour.replace("-", "_")
        if ground in ("fg", "bg") and colour.removeprefix("bright_") in _COLOURS:
            made += Style(color=colour) if ground == "fg" else Style(bgcolor=colour)
        else:
            made += TONES.get(name, Style())
    return made


def strip_of(item: Line, width: int, *, shift: int = 0, selected: bool = False) -> Strip:
    """A line in exactly `width` cells, from its cell `shift` on."""
    if selected:
        strip = Strip([Segment(clean(text), _SELECTED) for text, _ in item.spans])
    else:
        strip = Strip([Segment(clean(text), style_of(tones)) for text, tones in item.spans if text])
    if shift:
        strip = strip.crop(shift, max(shift, strip.cell_length))
    return strip.adjust_cell_length(width, _SELECTED if selected else None)


class Bar(Widget):
    """Some lines that stay where they are; as high as they are many."""

    DEFAULT_CSS = "Bar { height: auto; background: ansi_default; color: ansi_default; }"

    def __init__(self, name: str) -> None:
        super().__init__(id=name)
        self._lines: tuple[Line, ...] = ()

    def show(self, *lines: Line) -> None:
        if lines != self._lines:
            has_grown = len(lines) != len(self._lines)
            self._lines = lines
            self.display = bool(lines)
            self.refresh(layout=has_grown)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        return strip_of(self._lines[y], width) if y < len(self._lines) else Strip.blank(width)


class Sheet(Widget, can_focus=True):
    """Lines, of which some belong to items. The selection is an item's key and stays with it when lines come and go."""

    DEFAULT_CSS = "Sheet { height: 1fr; background: ansi_default; color: ansi_default; }"

    def __init__(self, name: str = "sheet") -> None:
        super().__init__(id=name)
        self.lines: Sequence[Line] = ()
        self.top: int = 0
        self.selected: str = ""
        self.shift: int = 0

    # -- what is shown

    def show(self, lines: Sequence[Line]) -> None:
        """Other lines. The selected item stays where it is on the screen; when it is gone, its neighbour does. At the
        top the top stays, as long as the selected item is in sight: what comes in first is the worst."""
        if lines == self.lines:
            return
        was, top, selected = self.lines, self.top, self.selected
        before = self._first(self.selected)
        was_at, order = before - self.top, self._keys()
        self.lines = lines
        place = self._first(self.selected)
        if self.selected and place < 0:
            self.selected = self._neighbour(order)
            place = self._first(self.selected)
        if place >= 0 and before >= 0:
            self.top = 0 if top == 0 and self._last(self.selected) < self.height else place - was_at
        elif not self.selected:
            self._select_visible()
        self.top = max(0, min(self.top, self.bottom))
        if (self.top, self.selected, len(lines)) != (top, selected, len(was)):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(was[top : top + self.height], lines[top : top + self.height], strict=True)):
            if old != new:  # a line that tells a time; a slow connection is spared the rest
                self.refresh(Region(0, y, self.size.width, 1))

    def restart(self, lines: Sequence[Line], *, selected: str = "", top: int = 0) -> None:
        """Lines of something else, from the top or where one was."""
        self.lines, self.top, self.shift = lines, top, 0
        self.selected = selected if self._first(selected) >= 0 else ""
        if not self.selected:
            self._select_visible()
        elif not self._is_visible(self._first(self.selected)):
            self._reveal()
        self._settle()

    def _keys(self) -> list[str]:
        return list(dict.fromkeys(item.key for item in self.lines if item.key))

    def _neighbour(self, order: Sequence[str]) -> str:
        """Of the items there were, the one nearest to the selected that is still there."""
        there = set(self._keys())
        at = order.index(self.selected) if self.selected in order else 0
        for key in [*order[at + 1 :], *reversed(order[:at])]:
            if key in there:
                return key
        return next(iter(self._keys()), "")

    def _first(self, key: str) -> int:
        if not key:
            return -1
        return next((n for n, item in enumerate(self.lines) if item.key == key), -1)

    def _last(self, key: str) -> int:
        first = self._first(key)
        while first + 1 < len(self.lines) and self.lines[first + 1].key == key:
            first += 1
        return first

    def _select_visible(self) -> None:
        height = max(1, self.size.height)
        keys = [item.key for item in self.lines[self.top : self.top + height] if item.key]
        self.selected = keys[0] if keys else ""

    @property
    def target(self) -> Target | None:
        """What is selected, if it is on the screen."""
        place = self._first(self.selected)
        return self.lines[place].target if place >= 0 and self._is_visible(place) else None

    @property
    def position(self) -> tuple[int, int]:
        """(which item is selected, from 1; how many there are)."""
        keys = self._keys()
        return (keys.index(self.selected) + 1 if self.selected in keys else 0), len(keys)

    # -- moving

    @property
    def height(self) -> int:
        return max(1, self.size.height)

    @property
    def bottom(self) -> int:
        """The largest `top`."""
        return max(0, len(self.lines) - self.height)

    def _is_visible(self, place: int) -> bool:
        return self.top <= place < self.top + self.height

    def _settle(self) -> None:
        self.top = max(0, min(self.top, self.bottom))
        self.refresh()

    def _reveal(self) -> None:
        """Scroll as little as shows the whole selected item, and what is above the first."""
        first, last = self._first(self.selected), self._last(self.selected)
        if first < 0:
            return
        if last >= self.top + self.height:
            self.top = last - self.height + 1
        if first < self.top:
            self.top = first
        if not any(item.key for item in self.lines[:first]):
            self.top = 0 if last < self.height else self.top

    def move(self, step: int) -> None:
        """To the next or the last item; where none is in sight, the screen moves by a line."""
        keys = self._keys()
        at = self._first(self.selected)
        if at >= 0 and self._is_visible(at):
            place = keys.index(self.selected) + step
            goal = keys[place] if 0 <= place < len(keys) else ""
        else:
            seen = [item.key for item in self.lines[self.top : self.top + self.height] if item.key]
            goal = (seen[0] if step > 0 else seen[-1]) if seen else ""
        first = self._first(goal)
        if goal and self.top - 1 <= first <= self.top + self.height:
            self.selected = goal
            self._reveal()
        else:
            self.top += step
        self._settle()

    def page(self, step: int) -> None:
        at = self._first(self.selected)
        offset = at - self.top if at >= 0 and self._is_visible(at) else 0
        self.top += step * max(1, self.height - 1)
        before = self.top
        self._settle()
        if before != self.top:
            (self.to_end if step > 0 else self.to_top)()
            return
        keyed = [
            (abs(n - self.top - offset), item.key)
            for n, item in enumerate(self.lines)
            if item.key and self._is_visible(n)
        ]
        self.selected = min(keyed)[1] if keyed else self.selected
        self.refresh()

    def to_top(self) -> None:
        self.top = 0
        self._select_visible()
        self._settle()

    def to_end(self) -> None:
        self.top = self.bottom
        keys = [item.key for item in self.lines[self.top :] if item.key]
        self.selected = keys[-1] if keys else self.selected
        self._settle()

    def shift_by(self, cells: int) -> None:
        self.shift = max(0, min(self.shift + cells, 20_000))
        self.refresh()

    def on_resize(self) -> None:
        self._settle()

    def render_line(self, y: int) -> Strip:
        place, width = self.top + y, self.size.width
        if place >= len(self.lines):
            return Strip.blank(width)
        item = self.lines[place]
        is_first = place == 0 or self.lines[place - 1].key != item.key
        return strip_of(
            item, width, shift=self.shift, selected=bool(item.key) and item.key == self.selected and is_first
        )
