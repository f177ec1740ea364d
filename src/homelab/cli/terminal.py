"""What the other end of a stream can show: a terminal or not, colours, letters beyond ASCII, how many columns.

The environment decides, by its usual names; nothing is written here. Called by everything that prints.
"""

import io
import os
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO


def is_terminal(stream: TextIO | None = None) -> bool:
    return (stream or sys.stdout).isatty()


def wants_colour(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether escape codes may be written: `NO_COLOR` says no, then `FORCE_COLOR` and `CLICOLOR_FORCE` yes, then
    `CLICOLOR=0` and `TERM=dumb` no; else a terminal gets them. An empty variable says nothing.

    Source: https://no-color.org, https://force-color.org, https://bixense.com/clicolors, in the order of Python's own.
    """
    if environment.get("NO_COLOR"):
        return False
    if any(environment.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return terminal and environment.get("CLICOLOR") != "0" and environment.get("TERM") != "dumb"


def has_colour(stream: TextIO | None = None) -> bool:
    return wants_colour(os.environ, terminal=is_terminal(stream))


def speaks_unicode(environment: Mapping[str, str], encoding: str | None) -> bool:
    """Whether the locale is a UTF-8 one. Python writes UTF-8 under `LC_ALL=C` too, so its own encoding is not enough;
    a locale that is not set at all is taken at Python's word."""
    if not (encoding or "").lower().replace("-", "").startswith("utf8"):
        return False
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "utf8")
    return "utf8" in locale.lower().replace("-", "")


def is_unicode(stream: TextIO | None = None) -> bool:
    return speaks_unicode(os.environ, (stream or sys.stdout).encoding)


def can_move(stream: TextIO | None = None) -> bool:
    """Whether the cursor can be moved there: any terminal that is not a dumb one."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def columns() -> int:
    return shutil.get_terminal_size().columns


def rows() -> int:
    return shutil.get_terminal_size().lines


class Kept(io.StringIO):
    """What is written, kept instead of shown; it says of itself what the real stream says."""

    def __init__(self, real: TextIO) -> None:
        super().__init__()
        self._real = real

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._real.encoding

    def isatty(self) -> bool:
        return self._real.isatty()
