"""What the last lines of an output say, by the words of shells and of the C library. Pure; nothing is guessed from it:
it is quoted, or joined to an exit status that says the same."""

import re
from collections.abc import Sequence

from homelab.core.printable import harmless

_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,40}m")
_ERROR = re.compile(
    r"\b(\w*(error|exception)|fatal|denied|not found|no such|cannot|refused|no space|panic)\b", re.IGNORECASE
)
_LONGEST = 300
_NAME = r"[^\s:'\"`‘’]{1,200}"
_MISSING = (
    re.compile(rf"(?:^|: )(?:line )?\d+: (?P<name>{_NAME}): (?:command )?not found\s*$"),  # dash, bash in a script
    re.compile(rf"(?:^|: )(?P<name>{_NAME}): command not found\s*$"),  # bash -c, ksh
    re.compile(rf"command not found: (?P<name>{_NAME})\s*$"),  # zsh
    re.compile(rf"^\S*sh: (?P<name>{_NAME}): not found\s*$"),  # busybox ash
    re.compile(rf"(?:^|/)env: [‘'\"`]?(?P<name>{_NAME})[’'\"`]?: No such file or directory\s*$"),
    re.compile(rf"(?:^|: )(?:line )?\d+: (?P<name>/{_NAME}): No such file or directory\s*$"),
)
_REFUSED = re.compile(rf"(?:^|: )(?:(?:line )?\d+: )?(?P<name>{_NAME}): Permission denied\s*$")
NO_SPACE = re.compile(r"No space left on device|\bENOSPC\b|Disk quota exceeded|\bEDQUOT\b", re.IGNORECASE)
NO_MEMORY = re.compile(
    r"Cannot allocate memory|\bENOMEM\b|\bMemoryError\b|std::bad_alloc|\bout of memory\b|OutOfMemoryError",
    re.IGNORECASE,
)
NETWORK = re.compile(
    r"could not resolve|name resolution|name or service not known|connection (?:refused|timed out|reset)|"
    r"network is unreachable|no route to host|operation timed out|nodename nor servname",
    re.IGNORECASE,
)


def plain(line: object) -> str:
    """A line of foreign text without colours, what could act on a terminal written out; at most 300 characters."""
    return harmless(_COLOUR.sub("", str(line)[: 4 * _LONGEST]).strip(), limit=_LONGEST)


def telling(tail: Sequence[object]) -> str:
    """Of the last lines of an output the one that tells most: the last that speaks of an error, else the last that
    says anything. Colours left out."""
    lines = [text for line in tail if (text := plain(line))]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or [""])[-1]


def missing_command(tail: Sequence[object]) -> str:
    """The command that a shell, in these lines, says it did not find; "" when none does. The last one counts."""
    for line in reversed(tail):
        text = plain(line)
        for pattern in _MISSING:
            if match := pattern.search(text):
                return match["name"]
    return ""


def refused_command(tail: Sequence[object]) -> str:
    """The path that a shell says it may not execute; "" when none does."""
    for line in reversed(tail):
        if match := _REFUSED.search(plain(line)):
            return match["name"]
    return ""


def quoting(tail: Sequence[object], pattern: re.Pattern[str]) -> str:
    """The last line that matches, or ""."""
    return next((text for line in reversed(tail) if pattern.search(text := plain(line))), "")
