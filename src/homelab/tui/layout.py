"""Lines of a screen as plain values: text with names of tones, grouped into items; tables, wrapping, cutting. Pure.

A view makes these; `sheet` shows them. Text is measured in cells of a terminal, and `clean` takes out what a terminal
would act on, whoever wrote it.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size

from homelab.worker.runlog import safe

Span = tuple[str, str]
"""(text, names of tones or styles separated by spaces)"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What one looks at: a view by its name, and the job or the run that it is about."""

    view: str
    job: str = ""
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the keys act on while an item is selected. `again`: whether `r` runs the job anew or retries the run."""

    job: str = ""
    run: str = ""
    node: str = ""
    again: Literal["run", "retry"] = "run"
    opens: Place | None = None
    """Where Enter leads."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line. Consecutive lines of the same `key` are one item, which can be selected; "" is no item."""

    spans: tuple[Span, ...] = ()
    key: str = ""
    target: Target | None = None

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.spans)


def line(*spans: Span | str, key: str = "", target: Target | None = None) -> Line:
    """A line of spans; a bare text is a span without a tone."""
    return Line(spans=tuple((s, "") if isinstance(s, str) else s for s in spans), key=key, target=target)


BLANK = Line()


def heading(text: str, note: str = "") -> Line:
    return line((text, "head"), (f"  {note}" if note else "", "idle"))


# -- text -------------------------------------------------------------------------------------------------------------

_INVISIBLE = frozenset({"Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Cc"})


@lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """`text` on one line, as a terminal can only show it: control characters, overrides and what has no width of its
    own are made visible or replaced."""
    shown = safe(text.replace("\t", "    "))
    if shown.isascii():
        return shown
    return "".join("\ufffd" if unicodedata.category(c) in _INVISIBLE else c for c in shown)


def cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    return cell_len(text)


def cut(text: str, most: int) -> str:
    """`text`, cleaned, in at most `most` cells; an ellipsis tells that there was more."""
    text = clean(text if len(text) <= most else text[: 4 * max(most, 0) + 8])
    if cell_len(text) <= most:
        return text
    return "" if most < 1 else set_cell_size(text, most - 1).rstrip() + "…"


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text`, cleaned, in exactly `width` cells."""
    text = cut(text, width)
    room = " " * (width - cell_len(text))
    return room + text if right else text + room


def wrap(text: str, width: int, *, most: int = 100) -> list[str]:
    """`text` in lines of at most `width` cells, broken between words where it can be; no more than `most` lines."""
    width = max(width, 8)
    lines: list[str] = []
    current = ""
    for word in clean(text[: width * (most + 1)]).split(" "):
        while cell_len(word) > width:
            room = width - (cell_len(current) + 1 if current else 0)
            if room < 8 and current:
                lines.append(current)
                current = ""
                continue
            head = set_cell_size(word, room).rstrip(" ")
            lines.append(f"{current} {head}" if current else head)
            current, word = "", word[len(head) :]
        joined = f"{current} {word}" if current else word
        if cell_len(joined) > width:
            lines.append(current)
            current = word
        else:
            current = joined
    if current:
        lines.append(current)
    if len(lines) > most:
        return [*lines[: most - 1], cut(lines[most - 1] + " …", width)]
    return lines


# -- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`spans` as shown; `sort` is what the row is ordered by (None: after all others)."""

    spans: tuple[Span, ...]
    sort: Any = None


def cell(text: str, tone: str = "", *, sort: Any = None) -> Cell:
    return Cell(spans=((text, tone),), sort=text.casefold() if sort is None else sort)


@dataclass(frozen=True, kw_only=True)
class Column:
    """`least` cells are kept as long as there is room for any; the column that `grows` takes what is left; `drop`:
    left out when the screen is narrower than this."""

    name: str
    least: int = 4
    most: int = 40
    right: bool = False
    grows: bool = False
    drop: int = 0


@dataclass(frozen=True, kw_only=True)
class Row:
    cells: tuple[Cell, ...]
    key: str
    target: Target | None = None


@dataclass(frozen=True, kw_only=True)
class Sort:
    """Order by a column, counted from 0."""

    column: int
    backwards: bool = False


def ordered(rows: Sequence[Row], sort: Sort | None) -> list[Row]:
    """The rows by one column, those without a value last either way; as given without a sort."""
    if sort is None:
        return list(rows)
    with_value = [row for row in rows if row.cells[sort.column].sort not in (None, "")]
    without = [row for row in rows if row.cells[sort.column].sort in (None, "")]
    key: Callable[[Row], Any] = lambda row: row.cells[sort.column].sort  # noqa: E731
    return sorted(with_value, key=key, reverse=sort.backwards) + without


def table(
    columns: Sequence[Column], rows: Sequence[Row], width: int, sort: Sort | None = None
) -> tuple[Line, list[Line]]:
    """The line of column names, and a line for each row, all within `width` cells."""
    shown = [n for n, column in enumerate(columns) if width >= column.drop]
    widths = _widths(
        [columns[n] for n in shown], [max((_width(r.cells[n]) for r in rows), default=0) for n in shown], width
    )
    names = [_name(columns[n], n, sort) for n in shown]
    head = line((_row_text([((name, ""),) for name in names], [columns[n] for n in shown], widths), "head"))
    made: list[Line] = []
    for row in ordered(rows, sort):
        spans: list[Span] = []
        for place, n in enumerate(shown):
            spans += _padded(row.cells[n].spans, widths[place], right=columns[n].right)
            spans.append(("  ", ""))
        made.append(Line(spans=tuple(spans[:-1]), key=row.key, target=row.target))
    return head, made


def _name(column: Column, number: int, sort: Sort | None) -> str:
    mark = "" if sort is None or sort.column != number else "▾" if sort.backwards else "▴"
    return column.name.upper() + mark


def _width(item: Cell) -> int:
    return sum([cell_len(clean(text)) for text, _ in item.spans])


def _widths(columns: Sequence[Column], widest: Sequence[int], width: int) -> list[int]:
    wanted = [max(c.least, len(c.name) + 1, min(had, c.most)) for c, had in zip(columns, widest, strict=True)]
    room = width - 2 * (len(columns) - 1)
    while sum(wanted) > room:
        # The giving that may still shrink gives way, so that narrow columns stay readable.
        giving = max(range(len(columns)), key=lambda n: wanted[n] - columns[n].least)
        if wanted[giving] <= columns[giving].least:
            break
        wanted[giving] -= 1
    for n, column in enumerate(columns):
        if column.grows:
            wanted[n] += max(0, room - sum(wanted))
    return wanted


def _padded(spans: Sequence[Span], cells: int, *, right: bool) -> list[Span]:
    made: list[Span] = []
    left = cells
    for text, tone in spans:
        text = cut(text, left)
        left -= cell_len(text)
        made.append((text, tone))
    pad: Span = (" " * left, "")
    return [pad, *made] if right else [*made, pad]


def _row_text(cells: Sequence[Sequence[Span]], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = [
        "".join(text for text, _ in _padded(spans, width, right=column.right))
        for spans, column, width in zip(cells, columns, widths, strict=True)
    ]
    return "  ".join(parts)


# -- items ------------------------------------------------------------------------------------------------------------


def matching(lines: Sequence[Line], wanted: str) -> list[Line]:
    """The items that hold all the words of `wanted`, case aside, each under its heading; all lines without words."""
    words = clean(wanted).casefold().split()
    if not words:
        return list(lines)
    texts: dict[str, str] = {}
    for item in lines:
        if item.key:
            texts[item.key] = texts.get(item.key, "") + " " + item.text.casefold()
    good = {key for key, text in texts.items() if all(word in text for word in words)}
    kept: list[Line] = []
    needs_heading = False
    for item in reversed(lines):
        if item.key:
            if item.key in good:
                kept.append(item)
                needs_heading = True
        elif needs_heading and item.spans:
            kept.append(item)
            needs_heading = False
    return kept[::-1]
