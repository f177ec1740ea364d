"""`homelab top`: the lab on one terminal, live. The screen is `homelab.tui`; this finds the lab and a terminal."""

import os
import sys

import click

from homelab.cli import output
from homelab.cli.client import Client
from homelab.cli.job import as_json
from homelab.core.errors import InputError

INSTEAD = "See: homelab status --watch, or once: homelab status"


@click.command()
@click.option(
    "--view", default="now", show_default=True, metavar="NAME", help="Begin there: what `:` takes, such as jobs."
)
@as_json
def top(view: str, as_json: bool) -> int | None:
    """Watch the lab by keyboard, live: what needs you, jobs, runs, logs. `?` shows the keys.

    It asks the running lab as HOMELAB_URL and HOMELAB_TOKEN say, else the one of this home. With `--json` the view's
    answer is printed once.
    """
    return watch(view, as_json=as_json)


def watch(view: str, *, as_json: bool) -> int | None:
    """Begin at a view, by what `:` takes."""
    if not as_json:
        require_terminal()
    client = Client.of_home(timeout_s=10)
    from homelab.tui import commands, views

    known = commands.learn(client) if commands.needs_names(view) else commands.Known()
    place = commands.meaning(view, known)
    if not isinstance(place, commands.Place):
        told = place.message if isinstance(place, commands.Unknown) else f"'{view}' is no view"
        raise InputError(told, hint="Views: " + ", ".join(v.name for v in views.VIEWS))
    answer = views.of(place).load(client, place)
    if as_json:
        output.json_document(answer)
        return None
    from homelab.tui.app import Top

    app = Top(lambda: Client.of_home(timeout_s=10), place, first=answer, is_watched=lambda: os.isatty(0))
    status = app.run(mouse=False)  # the terminal's own selecting and copying go on working
    return app.return_code or status


def require_terminal() -> None:
    """InputError where no screen can be drawn; colours off where the terminal has none."""
    if not all(stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        raise InputError("homelab top needs a terminal for what it reads and writes", hint=INSTEAD)
    if os.environ.get("TERM", "dumb") in ("dumb", "", "unknown"):
        raise InputError("this terminal cannot place text on a screen (TERM is dumb or not set)", hint=INSTEAD)
    encoding = (sys.__stderr__.encoding if sys.__stderr__ else "") or ""
    if not encoding.lower().startswith("utf"):
        raise InputError(
            f"this terminal's encoding is {encoding or 'not known'}", hint=f"Use a UTF-8 locale. {INSTEAD}"
        )
    if not os.environ.get("NO_COLOR"):
        os.environ.pop("NO_COLOR", None)  # set and empty means colours (https://no-color.org)
        if _colours() < 8:
            os.environ["NO_COLOR"] = "1"


def _colours() -> int:
    """How many the terminal has by its own description; many, when nothing is known of it."""
    try:
        import curses

        curses.setupterm(fd=sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return curses.tigetnum("colors")
    except Exception:  # no terminfo, or no entry of that name: such terminals are new rather than old
        return 256
