"""Hazards of paths: scripts that are not there, programs outside PATH, relative paths, one file with two writers.

Called by `core.hazards`. What the machine has comes in as `Facts`.
"""

import re
from collections.abc import Iterator, Sequence

from homelab.core.commands import SimpleCommand, is_plain
from homelab.core.hazards.found import Facts, Hazard, Subject
from homelab.core.hazards.programs import SYSTEM_FOLDER_TOOLS

_BUILTINS = frozenset(
    {
        ".",
        ":",
        "[",
        "[[",
        "alias",
        "bg",
        "break",
        "builtin",
        "case",
        "cd",
        "command",
        "continue",
        "declare",
        "dirs",
        "echo",
    }
    | {
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fg",
        "getopts",
        "hash",
        "jobs",
        "kill",
        "let",
        "local",
        "popd",
        "printf",
    }
    | {"pushd", "pwd", "read", "readonly", "return", "set", "shift", "shopt", "source", "test", "time", "times", "trap"}
    | {
        "true",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "wait",
        "if",
        "then",
        "else",
        "fi",
        "for",
        "do",
    }
    | {"done", "while", "until", "esac", "function", "{", "}", "(", ")", "!"}
)
_INTERPRETER = re.compile(r"^(sh|bash|dash|zsh|ksh|python[\d.]*|perl|ruby|php[\d.]*|node|Rscript|source|\.)$")
_SAFE_NAME = re.compile(r"^[A-Za-z0-9][\w.+-]*$", re.ASCII)


def lost_files(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """What of a job's programs and paths cannot be found."""
    yield from _scripts(subject, facts)
    yield from _outside_path(subject, facts)
    yield from _relative(subject, facts)


# --- scripts ----------------------------------------------------------------------------------------------------------


def _scripts(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """Programs and scripts that the line starts by their path, and that are not there or cannot be started."""
    line = subject.job.line
    for command in subject.own_commands():
        if command.is_conditional and command.join != "&&":
            continue
        direct = command.words[0].value
        script = _script_of(command)
        for path, is_direct in ((direct, True), (script, False)):
            if not path.startswith("/") or not is_plain(path):
                continue
            if _is_tested(subject, path):
                continue
            state = facts.state(path)
            if state == "missing":
                yield Hazard(
                    line=line,
                    code="missing-script",
                    message=f"{_shown(path)} is not there",
                    hint="Correct the path, or take the line out: it fails at every run.",
                )
                return
            if state == "plain" and is_direct:
                yield Hazard(
                    line=line,
                    code="not-executable",
                    message=f"{_shown(path)} is not executable",
                    hint=f"chmod +x {_shown(path)}, or start it with its interpreter.",
                )
                return


def _script_of(command: SimpleCommand) -> str:
    """The script an interpreter is given; empty for a text, a module, or none."""
    if not _INTERPRETER.match(command.name):
        return ""
    for word in command.words[1:]:
        if word.value.startswith("-"):
            if word.value in ("-c", "-m", "-e", "-r", "-f", "-d") or len(word.value) > 3:
                return ""
            continue
        return word.value
    return ""


def _is_tested(subject: Subject, path: str) -> bool:
    """Whether the line asks for the file before it starts it: then its absence is foreseen."""
    return re.search(rf"-[a-zA-Z]\s+[\"']?{re.escape(path)}(?![\w./-])", subject.job.command) is not None


# --- PATH -------------------------------------------------------------------------------------------------------------


def _outside_path(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    job = subject.job
    folders = [folder for folder in job.environment.get("PATH", "").split(":") if folder.startswith("/")]
    if not folders or "$" in job.environment.get("PATH", "") or "BASH_ENV" in job.environment:
        return
    has_system_folders = any(folder.rstrip("/").endswith("/sbin") for folder in folders)
    can_look = facts.is_whole and any(facts.state(folder) == "folder" for folder in folders)
    for number, command in enumerate(subject.own_commands()):
        name = command.words[0].value
        if not _SAFE_NAME.match(name) or name in _BUILTINS or _changes_path(subject, number):
            continue
        if (command.is_conditional and command.join == "||") or "sudo" in command.wrappers:
            continue  # sudo has a PATH of its own
        if can_look:
            if not any(facts.state(f"{folder.rstrip('/')}/{name}") in ("executable", "plain") for folder in folders):
                if f"{name}()" in job.command or f"alias {name}" in job.command:
                    continue
                yield _not_in_path(subject, name, f"{name} is in none of the folders of its PATH")
                return
        elif name in SYSTEM_FOLDER_TOOLS and not has_system_folders:
            yield _not_in_path(
                subject, name, f"{name} lies in /usr/sbin on Debian and its kin, which its PATH leaves out"
            )
            return


def _not_in_path(subject: Subject, name: str, what: str) -> Hazard:
    return Hazard(
        line=subject.job.line,
        code="not-in-path",
        message=f"{what}: the shell will not find it",
        hint=f"Write the whole path of {name}, or set PATH in the environment of the job.",
    )


def _changes_path(subject: Subject, number: int) -> bool:
    """Whether something before the command may have changed PATH: an assignment, a profile that is read in."""
    before = subject.own_commands()[:number]
    return "PATH=" in subject.job.command or any(command.name in (".", "source", "eval") for command in before)


# --- relative paths ---------------------------------------------------------------------------------------------------


def _relative(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """A script or an output file named from where the job happens to start; not behind a `cd`."""
    job = subject.job
    if not job.cwd:
        return
    for command in subject.own_commands():
        if command.name in ("cd", "pushd"):
            return
        name = command.words[0].value
        script = name if "/" in name else _script_of(command)
        if script and is_plain(script) and script[0] not in "/~-" and facts.state(f"{job.cwd}/{script}") not in (
            "plain",
            "executable",
        ):  # fmt: skip
            yield _depends(subject, f"{_shown(script)} is looked for in {job.cwd}, where the job starts")
            return
        for redirect in command.redirects:
            target = redirect.target.value
            if redirect.operator in (">", ">>") and target and target[0] not in "/~&-" and _is_file(target):
                yield _depends(subject, f"{_shown(target)} is written in {job.cwd}, where the job starts")
                return


def _is_file(target: str) -> bool:
    return is_plain(target) and not target.isdigit() and target[0].isprintable()


def _depends(subject: Subject, what: str) -> Hazard:
    hint = "Write the whole path, or set cwd for the job."
    return Hazard(line=subject.job.line, code="relative-path", message=what, hint=hint)


# --- one file, two writers --------------------------------------------------------------------------------------------


def shared_files(subjects: Sequence[Subject]) -> Iterator[Hazard]:
    """Files that two different jobs empty and write again, each losing what the other wrote."""
    writers: dict[str, list[Subject]] = {}
    for subject in subjects:
        effects = [effect for effect in subject.description.effects if not effect.place and is_plain(effect.target)]
        # What the job reads again itself is scratch: nobody else waits for it.
        scratch = {effect.target for effect in effects if effect.kind in ("read", "delete")}
        for target in {effect.target for effect in effects if effect.kind == "write" and ">" in effect.by} - scratch:
            writers.setdefault(target, []).append(subject)
    for target, found in sorted(writers.items()):
        commands = {subject.job.command for subject in found}
        if len(commands) < 2:
            continue
        lines = sorted({subject.job.line for subject in found})
        for line in lines:
            others = ", ".join(str(other) for other in lines if other != line)[:60]
            yield Hazard(
                line=line,
                code="two-writers",
                message=f"it empties {_shown(target)} before it writes, and so does line {others}: each loses what the "
                "other wrote",
                hint="Give each its own file, or write with >>. The lab keeps each job's output by itself.",
            )


def _shown(path: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in path)
    return clean if len(clean) <= 80 else clean[:77] + "..."
