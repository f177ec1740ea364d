"""A badge as SVG: a label and a word in a colour, for a page, a README, a dashboard. Pure.

Looks like the badges that everybody knows; has no style element, so that a strict policy lets it be.
"""

import unicodedata
from html import escape

TONES = {"good": "#2f7d4f", "bad": "#c4372b", "warn": "#9a6700", "run": "#2f5fd0", "idle": "#5d6673"}
"""White text on each has a contrast of at least 4.5 to 1."""
LONGEST = 60


def badge(label: str, word: str, tone: str) -> str:
    """The picture; text of any content is cut and escaped. `tone` is one of `TONES`, else idle."""
    label, word = shown(label), shown(word)
    left, right = width(label) + 12, width(word) + 12
    title = f"{label}: {word}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img"'
        f' aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="4"/></clipPath><g clip-path="url(#r)">'
        f'<rect width="{left}" height="20" fill="#3a4048"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{TONES.get(tone, TONES["idle"])}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">'
        f"{_text(label, 6)}{_text(word, left + 6)}</g></svg>"
    )


def _text(text: str, x: int) -> str:
    """Stretched to the width it was given room for: fonts differ."""
    return f'<text x="{x}" y="14" textLength="{width(text)}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'


def shown(text: str) -> str:
    """One line of visible characters."""
    plain = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in text).strip() or "-"
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def width(text: str) -> int:
    """About how many pixels the text takes in Verdana at 11."""
    narrow, wide = sum(c in "ijlft.,:;'|!()[] I" for c in text), sum(c in "mwMW@%" for c in text)
    double = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return round(4.0 * narrow + 9.6 * wide + 12 * double + 6.6 * (len(text) - narrow - wide - double))
