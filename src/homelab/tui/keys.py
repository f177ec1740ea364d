"""The one table of keys: what `?` shows, what the last line of the screen hints at, what the documents say.

`python -m homelab.tui.keys` prints it for `docs/how-to/watch-a-lab-by-keyboard.md`; a test compares.
"""

import sys
from dataclasses import dataclass

GENERAL, ACTING, LOGS = "Looking", "Acting", "In a log"


@dataclass(frozen=True, kw_only=True)
class Key:
    """`keys` as textual names them; `shown` as people do. `action` is a method `action_...` of the app. `hint`: how the
    last line of the screen calls it ("" leaves it out)."""

    keys: tuple[str, ...]
    shown: str
    action: str
    about: str
    group: str = GENERAL
    hint: str = ""


KEYS: tuple[Key, ...] = (
    Key(keys=("enter",), shown="Enter", action="enter", about="go into what is selected", hint="open"),
    Key(keys=("escape", "backspace"), shown="Esc", action="back", about="clear the filter, else go back"),
    Key(keys=("colon",), shown=":", action="command", about="go to a view, a job or a run by name; Tab completes",
        hint="go to"),
    Key(keys=("slash",), shown="/", action="search", about="filter what is listed; in a log, search", hint="filter"),
    Key(keys=("l",), shown="l", action="logs", about="the output of what is selected", hint="log"),
    Key(keys=("d",), shown="d", action="describe",
        about="describe: schedule, origin, why, difference to the last good run", hint="describe"),
    Key(keys=("m",), shown="m", action="machines", about="the machines: how full, who holds what, what waits"),
    Key(keys=("j", "down"), shown="j ↓", action="move(1)", about="down"),
    Key(keys=("k", "up"), shown="k ↑", action="move(-1)", about="up"),
    Key(keys=("g", "home"), shown="g Home", action="top", about="to the beginning"),
    Key(keys=("G", "end"), shown="G End", action="end", about="to the end; in a log, follow it"),
    Key(keys=("ctrl+f", "pagedown", "space"), shown="Ctrl-F Space", action="page(1)", about="a screen down"),
    Key(keys=("ctrl+b", "pageup"), shown="Ctrl-B", action="page(-1)", about="a screen up"),
    Key(keys=("s",), shown="s", action="sort", about="order by the next column"),
    Key(keys=("S",), shown="S", action="reverse", about="order the other way round"),
    Key(keys=("ctrl+r",), shown="Ctrl-R", action="reload", about="ask again now"),
    Key(keys=("question_mark", "f1"), shown="?", action="help", about="this list", hint="help"),
    Key(keys=("q",), shown="q", action="leave(0)", about="quit", hint=""),
    Key(keys=("r",), shown="r", action="act('again')",
        about="run the job, or retry the run; says what will happen and asks", group=ACTING, hint="run"),
    Key(keys=("c",), shown="c", action="act('cancel')", about="cancel the run; asks", group=ACTING, hint="cancel"),
    Key(keys=("p",), shown="p", action="act('pause')",
        about="pause or resume the job; on a machine, drain or undrain it; asks", group=ACTING, hint="pause"),
    Key(keys=("f",), shown="f", action="follow", about="follow new lines, or stop", group=LOGS, hint="follow"),
    Key(keys=("n",), shown="n", action="find(1)", about="the next place that holds it", group=LOGS, hint="next"),
    Key(keys=("N",), shown="N", action="find(-1)", about="the one before", group=LOGS),
    Key(keys=("t",), shown="t", action="times", about="times beside the lines, or not", group=LOGS, hint="times"),
    Key(keys=("left_square_bracket",), shown="[", action="attempt(-1)", about="the attempt before", group=LOGS),
    Key(keys=("right_square_bracket",), shown="]", action="attempt(1)", about="the attempt after", group=LOGS),
    Key(keys=("right",), shown="→", action="shift(20)", about="the rest of long lines", group=LOGS),
    Key(keys=("left",), shown="←", action="shift(-20)", about="back to their beginning", group=LOGS),
)  # fmt: skip
AT_ONCE = frozenset({"back", "command", "search", "machines", "reload", "help", "leave(0)"})
"""Actions that are about no page. Those of all other keys wait for the one that the lab is asked for."""


HINTS = ("?", "Enter", "l", "d", "r", "c", "p", "/", ":")
HINTS_OF_LOG = ("?", "/", "n", "f", "t", "d", "r", ":")


def hints(*, is_log: bool) -> list[str]:
    """`r run`, `c cancel`, ...: for the last line of the screen, the most useful first."""
    by_name = {key.shown: key.hint for key in KEYS} | ({"/": "search"} if is_log else {})
    return [f"{name} {by_name[name]}" for name in (HINTS_OF_LOG if is_log else HINTS)]


def markdown() -> str:
    """The table for the documents."""
    lines: list[str] = []
    for group in (GENERAL, ACTING, LOGS):
        lines += ["", f"| {group.lower()} | |", "|---|---|"]
        lines += [f"| `{key.shown}` | {key.about} |" for key in KEYS if key.group == group]
    return "\n".join(lines[1:]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
