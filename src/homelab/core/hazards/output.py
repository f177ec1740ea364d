"""Hazards of what a job prints: thrown away, or mailed at every run to where nobody reads. Called by `core.hazards`."""

import re
from collections.abc import Iterator, Sequence

from homelab.core.commands import Redirect, SimpleCommand
from homelab.core.hazards.found import Facts, Hazard, Subject
from homelab.core.hazards.programs import PROBES, QUIET, chatty_stream
from homelab.core.hazards.shell import is_background_redirect
from homelab.core.hazards.times import shortest_gap_s

_NOTHING = "/dev/null"
# The redirection of a whole group, which no simple command has: ( ... ) > /dev/null 2>&1
_GROUP = re.compile(r"[)}]\s*(?:>\s*/dev/null\s+2>\s*&\s*1|&>\s*/dev/null|>&\s*/dev/null)\s*(?:&\s*)?$")
_OFTEN_S = 3600.0
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})


def lost_output(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """Output and errors of the work that go nowhere; mail at every run."""
    job = subject.job
    working = [c for c in _outermost(subject.own_commands()) if c.name not in QUIET and c.name not in PROBES]
    lost = [command for command in working if loses_errors(command)]
    if any(is_background_redirect(command, job.shell) for command in working):
        return
    if _GROUP.search(job.command) or (lost and lost[-1] is working[-1]):
        yield _lost(job.line, "what it prints is thrown away, its errors too")
    elif (
        working
        and facts.is_cron
        and job.mailto == ""
        and not any(command.redirects for command in working)
        and "|" not in job.command
    ):
        yield _lost(job.line, 'MAILTO="" throws away what it prints, its errors too')
    elif facts.is_cron and _is_pile(subject, working):
        where = "in the mailbox of this machine" if not job.mailto else f"in the mailbox of {_shown(job.mailto)} here"
        yield Hazard(
            line=job.line,
            code="mail-pile",
            message=f"it prints something at every run, and cron puts a mail for each {where}",
            hint="The lab keeps the output with the run, and only tells you of failures.",
        )


def _outermost(commands: Sequence[SimpleCommand]) -> list[SimpleCommand]:
    """Without what a `sh -c TEXT` runs: its output goes where that of the shell goes, unless it says otherwise."""
    outer: list[SimpleCommand] = []
    for command in commands:
        is_inside = outer and outer[-1].name in _SHELLS and command.source == outer[-1].source
        if not (is_inside and any(word.value == "-c" for word in outer[-1].words)):
            outer.append(command)
    return outer


def _lost(line: int, message: str) -> Hazard:
    hint = "Take the redirection away: the lab keeps the output with the run, and tells you when it fails."
    if message.startswith("MAILTO"):
        hint = "Nothing to do in the lab: it keeps the output with the run, and tells you when it fails."
    return Hazard(line=line, code="output-lost", message=message, hint=hint)


def loses_errors(command: SimpleCommand) -> bool:
    """Whether both what it prints and its errors go to /dev/null, followed in the order a shell sets them up."""
    targets = streams(command.redirects)
    return targets[1] == _NOTHING and targets[2] == _NOTHING


def streams(redirects: Sequence[Redirect]) -> dict[int, str]:
    """Where output (1) and errors (2) go: a path, or empty for where cron takes them."""
    targets = {1: "", 2: ""}
    for redirect in redirects:
        value = redirect.target.value
        if redirect.operator == ">&":
            targets[redirect.fd] = (
                targets.get(int(value), "") if value.isdigit() else _NOTHING if value == "-" else value
            )
        elif redirect.operator in (">", ">>"):
            for descriptor in (1, 2) if redirect.fd == -1 else (redirect.fd,):
                targets[descriptor] = value
    return targets


def _is_pile(subject: Subject, working: Sequence[SimpleCommand]) -> bool:
    """Often, surely printing, and mailed to an account of the machine, not to an address."""
    job = subject.job
    gap_s = shortest_gap_s(subject.schedule)
    if gap_s is None or gap_s > _OFTEN_S or "@" in (job.mailto or "") or "-n" in job.flags:
        return False
    if len(working) != 1 or "|" in job.command or "$(" in job.command:
        return False
    command = working[0]
    stream = chatty_stream(command.name, [word.value for word in command.words[1:]])
    return stream > 0 and streams(command.redirects)[stream] == ""


def _shown(name: str) -> str:
    return "".join(c for c in name if c.isprintable())[:40]
