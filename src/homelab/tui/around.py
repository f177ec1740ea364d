"""The lines around a view: where one is and how the link is, what is wrong, hints and messages. Pure."""

from collections.abc import Sequence

from homelab.core.errors import HomelabError, RefusedError
from homelab.tui.keys import hints
from homelab.tui.layout import Line, Span, cells, clean, cut, line, wrap
from homelab.tui.view import Link

LINKS: dict[str, Span] = {
    "live": ("● live", "good"),
    "connecting": ("○ connecting", "idle"),
    "refused": ("✗ refused", "bad"),
    "lost": ("✗ lost", "bad"),
}


def title(lab: str, crumbs: Sequence[str], link: Link, width: int) -> Line:
    """The lab, the way to here, how the link is."""
    state, tone = LINKS[link.state]
    where = [*(["…"] if len(crumbs) > 3 else []), *(clean(crumb) for crumb in crumbs[-3:])]
    left = cut(f"{clean(lab or 'homelab')}  {' › '.join(where)}", width - cells(state) - 2)
    return between(((left, "strong"),), (state, tone), width)


def troubles(link: Link, problem: HomelabError | None, width: int, *, wait_s: float) -> list[Line]:
    """What is wrong with the link, else with the last answer, and what to do. `wait_s`: until the next try."""
    if link.state in ("lost", "refused"):
        again = "trying again" if wait_s < 0.5 else f"trying again in {round(wait_s)} s"
        hint = link.hint
        if link.state == "refused":
            hint = "Was the token revoked, or has it expired? Make one: homelab token create"
        return [*_paragraph(f"✗ {link.why}; {again}.", "bad", width), *_paragraph(hint, "", width)]
    if problem is None:
        return []
    return [*_paragraph(f"✗ {problem.message}", "bad", width), *_paragraph(problem.hint, "", width)]


def _paragraph(text: str, tone: str, width: int) -> list[Line]:
    return [line((part, tone)) for part in wrap(text, width, most=2)]


def message(text: str, tone: str, width: int) -> list[Line]:
    """What is said for a while in place of the keys."""
    return [line((part, tone)) for part in wrap(text, width, most=3)]


def foot(where: str, width: int, *, is_log: bool = False) -> Line:
    """The most useful keys; at the right where one is in the list."""
    shown = ""
    for hint in hints(is_log=is_log):
        longer = f"{shown}  {hint}" if shown else hint
        if cells(longer) > width - cells(where) - 2:
            break
        shown = longer
    return between(((shown, "idle"),), (where, "idle"), width)


def told(error: HomelabError) -> str:
    """An error in one line, with what to do. Who may not act is told what would let them."""
    hint = error.hint
    if isinstance(error, RefusedError) and not hint:
        hint = "Another token may: homelab token create --scope operate"
    return ". ".join(text.rstrip(". ") for text in (error.message, hint) if text) + "."


def within(spans: Sequence[Span], width: int) -> Line:
    """The spans in at most `width` cells."""
    made: list[Span] = []
    left = width
    for text, tone in spans:
        text = cut(text, left)
        left -= cells(text)
        made.append((text, tone))
    return Line(spans=tuple(made))


def between(left: Sequence[Span], right: Span, width: int) -> Line:
    """Some spans at the left, one at the right, in `width` cells."""
    begin = within(left, width - cells(right[0]) - 1)
    gap = width - sum(cells(text) for text, _ in begin.spans) - cells(right[0])
    return Line(spans=(*begin.spans, (" " * max(1, gap), ""), right))
