"""The colours that a program gave its output, as plain values: text pieces, each with names of styles. Pure.

Only colours and emphasis (SGR) are understood. Every other escape, control character and bidi override stays text that
one can see (`worker.runlog.safe`), so that nothing a job prints acts on a page. The sixteen colours have names; the
256 and 16 million others become the nearest of them, which follow the theme.
"""

import re
from collections.abc import Iterator

from homelab.worker import runlog

NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_RGB = (
    (0, 0, 0), (205, 49, 49), (13, 150, 90), (190, 150, 10), (36, 114, 200), (188, 63, 188), (17, 150, 180),
    (200, 200, 200), (102, 102, 102), (241, 76, 76), (35, 209, 139), (245, 245, 67), (59, 142, 234), (214, 112, 214),
    (41, 184, 219), (255, 255, 255),
)  # fmt: skip
_SGR = re.compile(r"\x1b\[([0-9;:]{0,40})m")
_EMPHASIS = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_ENDS = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}

Piece = tuple[str, str]
"""(text, style names separated by spaces)"""


def pieces(text: str) -> list[Piece]:
    """`text` cut where its style changes. Joined, the pieces are the text without its SGR escapes, made safe."""
    found: list[Piece] = []
    style: dict[str, str] = {}
    at = 0
    for match in _SGR.finditer(text):
        _add(found, text[at : match.start()], style)
        _apply(style, match[1])
        at = match.end()
    _add(found, text[at:], style)
    return found


def _add(found: list[Piece], text: str, style: dict[str, str]) -> None:
    if not text:
        return
    names = " ".join(style[k] for k in sorted(style))
    text = runlog.safe(text)
    if found and found[-1][1] == names:
        found[-1] = (found[-1][0] + text, names)
    else:
        found.append((text, names))


def _apply(style: dict[str, str], parameters: str) -> None:
    codes = iter([int(c[:4]) if c else 0 for c in re.split("[;:]", parameters)])
    for code in codes:
        if code == 0:
            style.clear()
        elif code in _EMPHASIS:
            style[_EMPHASIS[code]] = _EMPHASIS[code]
        elif code in _ENDS:
            for name in _ENDS[code]:
                style.pop(name, None)
        elif code in (39, 49):
            style.pop("fg" if code == 39 else "bg", None)
        elif code in (38, 48):
            number = _extended(codes)
            if number is not None:
                _colour(style, "fg" if code == 38 else "bg", number)
        elif 30 <= code <= 37 or 40 <= code <= 47:
            _colour(style, "fg" if code < 40 else "bg", code % 10)
        elif 90 <= code <= 97 or 100 <= code <= 107:
            _colour(style, "fg" if code < 100 else "bg", code % 10 + 8)


def _colour(style: dict[str, str], ground: str, number: int) -> None:
    style[ground] = f"{ground}-{'bright-' if number > 7 else ''}{NAMES[number % 8]}"


def _extended(codes: Iterator[int]) -> int | None:
    """The nearest of the sixteen for `5;N` and `2;R;G;B`; None when the rest is missing or of another kind."""
    kind = next(codes, None)
    if kind == 5:
        number = next(codes, None)
        if number is None or number > 255:
            return None
        return number if number < 16 else _nearest(*_cube(number))
    if kind == 2:
        red, green, blue = next(codes, 0), next(codes, 0), next(codes, 0)
        return _nearest(red, green, blue)
    return None


def _cube(number: int) -> tuple[int, int, int]:
    if number >= 232:
        grey = 8 + (number - 232) * 10
        return grey, grey, grey
    number -= 16
    steps = (0, 95, 135, 175, 215, 255)
    return steps[number // 36], steps[number // 6 % 6], steps[number % 6]


def _nearest(red: int, green: int, blue: int) -> int:
    return min(range(16), key=lambda n: sum((a - b) ** 2 for a, b in zip(_RGB[n], (red, green, blue), strict=True)))
