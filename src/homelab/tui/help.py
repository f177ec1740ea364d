"""*help*: the keys and the views, from their tables."""

from homelab.tui.keys import ACTING, GENERAL, KEYS, LOGS
from homelab.tui.layout import BLANK, Line, Place, fit, heading, line
from homelab.tui.view import Door, Frame, Json, Page, View
from homelab.tui.views import VIEWS


def load(_: Door, __: Place) -> Json:
    return {}


def draw(_: Json, __: Place, frame: Frame) -> Page:
    lines: list[Line] = []
    for group in (GENERAL, ACTING, LOGS):
        lines += [BLANK, heading(group)] if lines else [heading(group)]
        lines += [
            line(
                (fit(key.shown, 14), "strong"),
                (fit(key.about, max(10, frame.width - 14)), ""),
                key=f"{group} {key.shown}",
            )
            for key in KEYS
            if key.group == group
        ]
    lines += [BLANK, heading("Views", "behind :")]
    lines += [
        line((fit(view.name, 14), "strong"), fit(view.about, max(10, frame.width - 14)), key=view.name)
        for view in VIEWS
    ]
    shapes = "✓ good  ✗ failed  ↯ crashed  ◷ too long  ! problem  ▸ running  ○ waiting  ‖ paused"
    lines += [BLANK, heading("Marks"), line((fit(shapes, frame.width), ""))]
    return Page(lines=tuple(lines))


VIEW = View(name="help", about="keys and views", load=load, draw=draw)
