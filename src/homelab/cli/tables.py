"""Rows of cells as lines of even columns that fit a terminal. Pure; called by `output.table`."""

import re
import unicodedata
from collections.abc import Collection, Sequence

LEAST = 12
"""No cell is cut below so many columns: less says nothing."""
GAP = 2
_ESCAPE = re.compile("\x1b\\[[0-9;]*m")


def width(text: str) -> int:
    """Columns that text takes on a terminal: escape codes none, wide characters two, combining ones none."""
    return sum(map(_columns, _ESCAPE.sub("", text)))


def _columns(char: str) -> int:
    return 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, columns: int, *, mark: str = "…") -> str:
    """Text that takes at most so many columns, the cut marked; escape codes are kept whole, so that colours end."""
    if width(text) <= columns:
        return text
    kept: list[str] = []
    room, place, is_full = columns - width(mark), 0, False
    while place < len(text):
        if escape := _ESCAPE.match(text, place):
            kept.append(escape[0])
            place = escape.end()
            continue
        room -= _columns(text[place])
        if room < 0 and not is_full:
            kept.append(mark)
            is_full = True
        if not is_full:
            kept.append(text[place])
        place += 1
    return "".join(kept)


def fitted(
    widths: Sequence[int], columns: int, *, optional: Sequence[int] = (), whole: Collection[int] = ()
) -> list[int | None]:
    """How wide each column may be so that the row fits; None for one that is left out.

    First the last column is cut, then the `optional` ones are left out in their order, then the widest are cut, none
    of them below `LEAST` and none that is `whole` (what a person types back). A row that fits nowhere stays too long.
    """
    given: list[int | None] = list(widths)

    def over() -> int:
        shown = [w for w in given if w is not None]
        return sum(shown) + GAP * (len(shown) - 1) - columns

    def shrink(place: int, most: int) -> None:
        now = given[place]
        if now is not None and place not in whole and most > 0:
            given[place] = max(min(now, LEAST), now - most)

    shrink(len(given) - 1, over())
    for place in optional:
        if over() > 0:
            given[place] = None
    while over() > 0:
        cuttable = [i for i, w in enumerate(given) if w is not None and w > LEAST and i not in whole]
        if not cuttable:
            break
        shrink(max(cuttable, key=lambda i: given[i] or 0), 1)
    left = -over()
    last = max((i for i, w in enumerate(given) if w is not None), default=None)
    if left > 0 and last is not None and given[last] is not None and last not in whole:
        # What optional columns left free goes back to the last one that is shown.
        given[last] = min(widths[last], (given[last] or 0) + left)
    return given


def aligned(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    columns: int,
    optional: Sequence[str] = (),
    whole: Collection[str] = (),
    mark: str = "…",
) -> list[str]:
    """The lines of a table, its header first; `optional` and `whole` are names of the header (see `fitted`)."""
    plain = [_ESCAPE.sub("", name).lower() for name in header]
    widths = [max(width(row[i]) for row in (header, *rows)) for i in range(len(header))]
    given = fitted(
        widths,
        columns,
        optional=[plain.index(name) for name in optional],
        whole=[plain.index(name) for name in whole],
    )
    lines: list[str] = []
    for row in (header, *rows):
        cells = [cut(cell, room, mark=mark) for cell, room in zip(row, given, strict=True) if room is not None]
        rooms = [room for room in given if room is not None]
        padded = [cell + " " * (room - width(cell)) for cell, room in zip(cells, rooms, strict=True)]
        lines.append((" " * GAP).join(padded).rstrip())
    return lines
