"""What cron and the shell make of a line, and its author did not mean. Called by `core.hazards`."""

import re
from collections.abc import Iterator, Sequence

from homelab.core.commands import SimpleCommand, is_plain
from homelab.core.hazards.found import Facts, Hazard, Subject

_CUT = re.compile(r"""\bdate\s+(?:-\w+\s+)*["']?\+["']?[\w-]*$|["'`(]\+$""")
_ATOMS = re.compile("\ue005([^\ue006]*)\ue006")
_FROM_LOGIN = frozenset(
    {"HOME", "LOGNAME", "USER", "SHELL", "PATH", "LANG", "TMPDIR", "HOSTNAME", "PWD", "UID", "RANDOM"}
)
_SETS = frozenset({".", "source", "eval", "read", "export", "set"})
_NOT_FILTERS = frozenset(
    {"tee", "cp", "mv", "rm", "touch", "ln", "tar", "zip", "rsync", "truncate", "install", "chmod"}
)


def misread_lines(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """Cut at `%`, variables that cron does not set or expand, redirections that do not do what they look like."""
    yield from _cut_at_percent(subject)
    yield from _unset_program(subject)
    yield from _emptied_input(subject)
    yield from _redirect_order(subject)
    yield from _background(subject, facts)


def _cut_at_percent(subject: Subject) -> Iterator[Hazard]:
    """The rest of `date +%F`: cron ends the command there, whatever the quotes."""
    command = subject.job.command.rstrip()
    if subject.job.stdin is None:
        return
    quotes = [command.count(quote) % 2 for quote in "\"'`"]
    if _CUT.search(command) or any(quotes) or command.count("$(") > command.count(")"):
        yield Hazard(
            line=subject.job.line,
            code="cut-at-percent",
            message="cron ends the command at the first %, so it runs without all that follows",
            hint="Write \\% in the crontab. In the lab file a % is just a %.",
        )


def _unset_program(subject: Subject) -> Iterator[Hazard]:
    """A program named by a variable that neither the crontab nor the line sets."""
    environment = subject.job.environment
    if "BASH_ENV" in environment or "ENV" in environment:
        return
    for command in subject.own_commands():
        if command.name in _SETS:
            return
        found = _ATOMS.search(command.words[0].value)
        if found is None or found[1] in environment or found[1] in _FROM_LOGIN or not found[1].isidentifier():
            continue
        if found.start() == 0:
            yield Hazard(
                line=subject.job.line,
                code="unset-variable",
                message=f"nothing in the crontab sets ${found[1]}, and cron reads no profile: the program is not found",
                hint=f"Assign {found[1]} above the line; in the lab, in the environment of the job.",
            )
            return


def unexpanded(subjects: Sequence[Subject]) -> Iterator[Hazard]:
    """Assignments whose `$NAME` cron leaves as it is; each told at the first job below it that it breaks."""
    said: set[tuple[str, str]] = set()
    for subject in subjects:
        for name, value in subject.job.environment.items():
            if (name, value) in said or not (found := re.search(r"\$\{?([A-Za-z_]\w*)", value)):
                continue
            used = name == "PATH" or re.search(rf"\$\{{?{re.escape(name)}\b", subject.job.command)
            if not used:
                continue
            said.add((name, value))
            what = "so the usual folders are not in it" if name == "PATH" else "so the job gets the dollar sign itself"
            yield Hazard(
                line=subject.job.line,
                code="unexpanded",
                message=f"cron does not expand ${found[1]} in the value of {name} above this line, {what}",
                hint="Write the value out.",
            )


def _emptied_input(subject: Subject) -> Iterator[Hazard]:
    """`tail FILE > FILE`: the shell empties the file before the program reads it."""
    for command in subject.own_commands():
        if command.name in _NOT_FILTERS or command.name in ("echo", "printf"):
            continue
        words = {word.value for word in command.words[1:] if "/" in word.value or "." in word.value}
        words |= {r.target.value for r in command.redirects if r.operator == "<"}
        for redirect in command.redirects:
            target = redirect.target.value
            if redirect.operator == ">" and target in words and target and not target.startswith("/dev/"):
                yield Hazard(
                    line=subject.job.line,
                    code="emptied-input",
                    message=f"{command.name} reads a file that > has emptied before it starts: its content is lost",
                    hint="Write to another file and move it over with mv.",
                )
                return


def _redirect_order(subject: Subject) -> Iterator[Hazard]:
    """`2>&1 >> FILE`: errors still go to cron's mail, not to the file."""
    for command in subject.own_commands():
        errors_at = next((n for n, r in enumerate(command.redirects) if _is_errors_to_output(r.fd, r.operator)), None)
        if errors_at is None:
            continue
        for redirect in command.redirects[errors_at + 1 :]:
            target = redirect.target.value
            if redirect.fd == 1 and redirect.operator in (">", ">>") and not target.startswith("/dev/"):
                where = target if is_plain(target) else "the file"
                yield Hazard(
                    line=subject.job.line,
                    code="redirect-order",
                    message=f"errors do not go to {_shown(where)}: 2>&1 stands before {redirect.operator}, and means "
                    "what the output was at that moment",
                    hint=f"Write {redirect.operator} FILE 2>&1. The lab keeps both anyway.",
                )
                return


def _is_errors_to_output(descriptor: int, operator: str) -> bool:
    return descriptor == 2 and operator == ">&"


def is_background_redirect(command: SimpleCommand, shell: str) -> bool:
    """`&>` in a shell that takes the `&` for itself: the command goes to the background, its output stays."""
    return shell.rpartition("/")[2] in ("sh", "dash", "ash") and any(
        redirect.fd == -1 and redirect.operator in (">", ">>") for redirect in command.redirects
    )


def _background(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """Only where /bin/sh is known to be dash; bash as /bin/sh understands it."""
    if facts.state("/bin/dash") != "executable" or "&>" not in subject.job.command:
        return
    if any(is_background_redirect(command, subject.job.shell) for command in subject.own_commands()):
        yield Hazard(
            line=subject.job.line,
            code="bash-only",
            message="&> is bash's: this machine's /bin/sh runs the command in the background and its output stays",
            hint='Write > FILE 2>&1, or set shell = "/bin/bash".',
        )


def _shown(path: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in path)
    return clean if len(clean) <= 60 else clean[:57] + "..."
