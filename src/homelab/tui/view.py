"""What a view is: how its answer is asked for, and what becomes of it on a screen of some width at some moment. Also
the lab as views see it: its door, and how the link to it is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import quote

from homelab.tui.layout import Line, Place, Sort

Json = dict[str, Any]


class Door(Protocol):
    """The API of the running lab. Calls block, and raise the errors of `core.errors` (`cli.client.Client` is one)."""

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any: ...
    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any: ...
    def lines(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        quiet_s: float | None = None,
        on_open: Callable[[Callable[[], None]], object] | None = None,
    ) -> Iterator[bytes]: ...


@dataclass(frozen=True, kw_only=True)
class Link:
    """How things are with the lab. `again_at`: when the next try is made (`time.monotonic`); `door`: once live."""

    state: Literal["connecting", "live", "lost", "refused"] = "connecting"
    why: str = ""
    hint: str = ""
    again_at: float = 0.0
    door: Door | None = None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a view is drawn for: cells of width, the moment, the order that a person chose."""

    width: int
    now: datetime
    sort: Sort | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """A drawn view. `head` stays in place above the lines; `columns` are those that it can be ordered by; `is_moving`:
    it changes every second by itself; `empty` is said when there are no lines; `selects`: the
    key of the item that is selected at first."""

    title: str = ""
    summary: Line | None = None
    head: tuple[Line, ...] = ()
    lines: tuple[Line, ...] = ()
    columns: int = 0
    is_moving: bool = False
    empty: str = ""
    selects: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """A line of the table in `views`. `load` asks the API (in a thread); `draw` is pure. `takes`: what is named behind
    it in the command bar. `is_log`: it is shown by the pane of logs instead."""

    name: str
    about: str
    load: Callable[[Door, Place], Json]
    draw: Callable[[Json, Place, Frame], Page]
    aliases: tuple[str, ...] = ()
    takes: Literal["", "job", "run"] = ""
    needs_argument: bool = False
    is_log: bool = False
    quiet_s: float = 60.0
    """It is asked anew after this even when the lab told nothing: what is late is late by time alone."""


def part(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    return quote(name, safe="")
