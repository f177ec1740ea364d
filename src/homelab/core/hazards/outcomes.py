"""Failures that do not show: behind a pipe, or before a `;`. Called by `core.hazards`."""

import re
from collections.abc import Iterator, Sequence

from homelab.core.commands import SimpleCommand
from homelab.core.hazards.found import Facts, Hazard, Subject
from homelab.core.hazards.programs import FILTERS, PRODUCERS, QUIET

_GREPS = frozenset({"grep", "egrep", "fgrep"})
_INTERPRETER = re.compile(r"^(bash|sh|python[\d.]*|perl|ruby|php[\d.]*|node|Rscript)$")
_PIPEFAIL = re.compile(r"\bpipefail\b")
_ALWAYS_FINE = frozenset({"true", ":", "exit", "echo", "date", "printf", "logger", "touch", "sleep"})
_PING = re.compile(r"https?://[^ \"']*(hc-ping\.com|healthchecks|/ping/|/push/|cronitor|deadmanssnitch|betteruptime)")


def hidden_failures(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """At most one of each line: the pipe is the worse one."""
    _ = facts
    commands = subject.own_commands()
    if _PIPEFAIL.search(subject.job.command):
        return
    if hidden := _piped(commands):
        first, last = hidden
        if last.name in _GREPS:
            message = (
                f"its exit status is that of {last.name}: a run without a matching line counts as failed, and a "
                f"failure of {first.name} does not show"
            )
            hint = (
                f"Write {{ {last.name} ... || :; }}, and set shell = \"/bin/bash\" with 'set -o pipefail;' before it."
            )
            yield Hazard(line=subject.job.line, code="failure-hidden", message=message, hint=hint)
            return
        yield Hazard(
            line=subject.job.line,
            code="failure-hidden",
            message=f"if {first.name} fails, nobody is told: the exit status is that of {last.name} behind the pipe",
            hint="Set shell = \"/bin/bash\" and begin the command with 'set -o pipefail;'.",
        )
    elif hidden := _followed(commands):
        first, last = hidden
        is_ping = _is_ping(last)
        then = (
            f"the health check is told that all is well by {last.name}" if is_ping else f"it ends as {last.name} ends"
        )
        yield Hazard(
            line=subject.job.line,
            code="failure-hidden",
            message=f"if {first.name} fails, {last.name} runs all the same, and {then}",
            hint="Join them with && where the second needs the first; as jobs of their own, each has its own state.",
        )
    else:
        yield from _in_scripts(subject)


def _piped(commands: Sequence[SimpleCommand]) -> tuple[SimpleCommand, SimpleCommand] | None:
    """A producer whose failure the last stage of its pipe hides, if that decides how the line ends."""
    for number, command in enumerate(commands):
        if number + 1 >= len(commands) or commands[number + 1].join != "|" or not _is_work(command):
            continue
        last = command
        for later in commands[number + 1 :]:
            if later.join != "|":
                break
            last = later
        if last.name in FILTERS or last.name in _GREPS:
            return command, last
    return None


def _is_ping(command: SimpleCommand) -> bool:
    return any(_PING.search(word.text[:500]) for word in command.words)


def _is_work(command: SimpleCommand) -> bool:
    """A dump or transfer, a script of one's own, or one that an interpreter is given."""
    path = command.words[0].value
    is_own = "/" in path and not path.startswith(("/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"))
    has_script = _INTERPRETER.match(command.name) is not None and len(command.words) > 1
    return PRODUCERS.match(command.name) is not None or (command.name not in QUIET and (is_own or has_script))


def _followed(commands: Sequence[SimpleCommand]) -> tuple[SimpleCommand, SimpleCommand] | None:
    """Work before a `;` behind which only something comes that is as good as sure to succeed."""
    if len(commands) < 2 or any(c.name == "set" and "-e" in [w.value for w in c.words] for c in commands):
        return None
    for number in range(len(commands) - 1, 0, -1):
        if commands[number].join == ";":
            last, before = commands[number:], commands[:number]
            break
    else:
        return None
    work = before[-1]
    is_ping = _is_ping(last[0])
    if len(last) != 1 or not (last[0].name in _ALWAYS_FINE or is_ping) or work.is_conditional:
        return None
    if last[0].name == "exit" and len(last[0].words) > 1 and last[0].words[1].value != "0":
        return None
    return None if work.name in QUIET or work.join == "|" or last[0].is_conditional else (work, last[0])


def _in_scripts(subject: Subject) -> Iterator[Hazard]:
    """A dump piped into a packer, in a script that does not set pipefail."""
    files = dict.fromkeys(command.source.file for command in subject.description.commands if command.source.file)
    for file in files:
        inside = [command for command in subject.description.commands if command.source.file == file]
        options = [word.value for command in inside if command.name == "set" for word in command.words]
        if "pipefail" in options:
            continue
        if (hidden := _piped(inside)) and hidden[1].name in ("gzip", "pigz", "bzip2", "xz", "zstd", "gpg", "openssl"):
            first, last = hidden
            yield Hazard(
                line=subject.job.line,
                code="failure-hidden",
                message=f"{file}:{first.source.line}: if {first.name} fails, the script goes on: {last.name} behind "
                "the pipe succeeds, and an empty or cut file is left",
                hint="Put 'set -o pipefail' at the top of the script (it needs bash).",
            )
            return
