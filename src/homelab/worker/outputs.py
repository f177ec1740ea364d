"""The variables that an attempt passes on: what it wrote to the file `$HOMELAB_OUTPUT`.

A line is `NAME=VALUE`, taken as it is: no quotes, no expansion, no comments. A value of several lines is

    NAME<<END
    first line
    second line
    END

where END is any text that no line of the value equals; the value is the lines between, without the last line end.
Source of both forms: the environment files of GitHub Actions. Of a name written twice the last counts. What cannot be
passed on is left out with a warning, which never holds a value; the job does not fail for it, because its work is done.
`parse` is pure. Called by `worker.handing`.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 64 * 1024
"""Of one attempt's file. A variable is for a name, a count, a date; anything larger is a file (`save`)."""
MAX_WARNINGS = 10
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass
class Outputs:
    """`values` by name; `warnings` are sentences for the log, at most `MAX_WARNINGS` and a last one."""

    values: dict[str, str] = field(default_factory=dict[str, str])
    warnings: list[str] = field(default_factory=list[str])


def parse(raw: bytes, *, steers: Callable[[str], bool], holds_secret: Callable[[str], bool]) -> Outputs:
    """What the file says. `steers`: names that would change what other jobs run; `holds_secret`: values not to tell."""
    found = Outputs()
    if len(raw) > MAX_BYTES:
        found.warnings.append(
            f"$HOMELAB_OUTPUT is longer than {MAX_BYTES // 1024} KiB: nothing of it is passed on. Use `save` for files"
        )
        return found
    told: list[str] = []
    for number, name, value in _assignments(raw):
        if problem := _problem(name, value, steers=steers, holds_secret=holds_secret):
            told.append(f"line {number} of $HOMELAB_OUTPUT is left out: {problem}")
        else:
            found.values[name] = (value or b"").decode()
    found.warnings = told[:MAX_WARNINGS]
    if len(told) > MAX_WARNINGS:
        found.warnings.append(f"{len(told) - MAX_WARNINGS} more lines of $HOMELAB_OUTPUT are left out")
    return found


def _assignments(raw: bytes) -> Iterator[tuple[int, str, bytes | None]]:
    """(line from 1, name, value), where the value is None when the line is none of the two forms."""
    lines = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    at = 0
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if not line.strip():
            continue
        equals, here = line.find(b"="), line.find(b"<<")
        if here >= 0 and (equals < 0 or here < equals):
            end = line[here + 2 :]
            last = next((n for n in range(at, len(lines)) if end and lines[n] == end), None)
            yield number, _text(line[:here]), None if last is None else b"\n".join(lines[at:last])
            if end:
                at = len(lines) if last is None else last + 1
        elif equals >= 0:
            yield number, _text(line[:equals]), line[equals + 1 :]
        else:
            yield number, "", None


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _problem(
    name: str, value: bytes | None, *, steers: Callable[[str], bool], holds_secret: Callable[[str], bool]
) -> str:
    if value is None:
        return f"no later line ends the value of {name}" if NAME.fullmatch(name) else "it is not NAME=VALUE"
    if not NAME.fullmatch(name):
        return "what stands before = is no name of a variable (letters, digits and _, not beginning with a digit)"
    if steers(name):
        return f"{name} would change what other jobs run"
    if b"\0" in value:
        return f"the value of {name} holds a NUL byte, which no variable can"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"the value of {name} is not text in UTF-8"
    if holds_secret(text):
        return f"the value of {name} holds a secret. Give the job that needs it the same secret"
    return ""


def collect(path: Path, *, owner: int, steers: Callable[[str], bool], holds_secret: Callable[[str], bool]) -> Outputs:
    """What the attempt whose account has the number `owner` wrote to `path`. No file: nothing.

    A link, a pipe or a file of somebody else is not read: who put it there may not be able to read it himself.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Outputs()
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        return Outputs(warnings=[f"$HOMELAB_OUTPUT is not read: {why}"])
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != owner:
            return Outputs(warnings=["$HOMELAB_OUTPUT is not read: it is not a file of the job's own"])
        raw = os.read(descriptor, MAX_BYTES + 1)
    except OSError as error:
        return Outputs(warnings=[f"$HOMELAB_OUTPUT is not read: {error.strerror}"])
    finally:
        os.close(descriptor)
    return parse(raw, steers=steers, holds_secret=holds_secret)
