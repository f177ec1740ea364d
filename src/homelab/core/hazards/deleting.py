"""Commands that delete, where a word may come out empty or the folder may be another one. Called by `core.hazards`."""

import re
from collections.abc import Iterator, Sequence

from homelab.core.commands import SimpleCommand, is_plain, shown
from homelab.core.hazards.found import Facts, Hazard, Subject

_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*|[1-9])")
_GUARDED = re.compile(r"\$\{\w+:?[?=-]")
_HOLLOW = re.compile(r"^(\ue005[^\ue006]*\ue006)+(/|$)")
_ROOT = re.compile(r"^/+[*\ue000\ue002]?/*$")


def deletions(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """The first such command of the job, in its line or in a script it calls."""
    _ = facts
    commands = subject.description.commands
    for number, command in enumerate(commands):
        if not _deletes_trees(command):
            continue
        before = [c for c in commands[:number] if c.source.file == command.source.file]
        if not _stops_on_unset(before) and (variable := _unset(command, subject)):
            yield Hazard(
                line=subject.job.line,
                code="unset-delete",
                message=f"{_place(command)}nothing sets ${variable}: where it is empty, `{_text(command)}` deletes "
                "from the root of the disk",
                hint=f"Write ${{{variable}:?}} instead, which stops when it is empty, or set it.",
            )
            return
        if _is_relative(command) and (step := _unchecked_cd(before, command)):
            yield Hazard(
                line=subject.job.line,
                code="unchecked-cd",
                message=f"{_place(command)}if `{_text(step)}` fails, `{_text(command)}` deletes where the job started",
                hint="Join the two with &&, or give the job a cwd: a missing folder then fails the run.",
            )
            return


def _deletes_trees(command: SimpleCommand) -> bool:
    options = [word.value for word in command.words[1:] if word.value.startswith("-")]
    if command.name == "rm":
        return True
    if command.name == "find":
        return "-delete" in options or any(word.value == "rm" for word in command.words)
    return command.name == "rsync" and any(option.startswith("--del") for option in options)


def _is_recursive(command: SimpleCommand) -> bool:
    if command.name != "rm":
        return True
    return any(re.match(r"^-[a-zA-Z]*[rR]|^--recursive$", word.value) for word in command.words[1:])


def _paths(command: SimpleCommand) -> list[tuple[str, str]]:
    """Text and value of the words that name what is deleted."""
    words = [(word.text, word.value) for word in command.words[1:]]
    if command.name == "find":
        folders: list[tuple[str, str]] = []
        for text, value in words:
            if value.startswith(("-", "(", "!", "\\")):
                break
            folders.append((text, value))
        return folders
    plain = [(text, value) for text, value in words if not value.startswith("-")]
    return plain[-1:] if command.name == "rsync" else plain


def _unset(command: SimpleCommand, subject: Subject) -> str:
    """The variable that nobody sets and whose emptiness would make the path one at the root of the disk."""
    if not _is_recursive(command):
        return ""
    for text, value in _paths(command):
        found = _VARIABLE.search(text)
        if found is None or _GUARDED.search(text) or found[1] in ("HOME", "USER", "TMPDIR", "LOGNAME"):
            continue
        is_hollow = _HOLLOW.match(value) is not None and "/" in re.sub("\ue005[^\ue006]*\ue006", "", value)
        is_missing_argument = found[1].isdigit() and _ROOT.match(value) is not None
        if (is_hollow or is_missing_argument) and found[1] not in subject.job.environment:
            return found[1]
    return ""


def _stops_on_unset(before: Sequence[SimpleCommand]) -> bool:
    """`set -u`, or a file that is read in and may set anything."""
    for command in before:
        options = "".join(word.value for word in command.words[1:] if word.value.startswith("-"))
        if command.name == "set" and ("u" in options or any(w.value == "nounset" for w in command.words)):
            return True
        if command.name in (".", "source", "eval", "read", "export"):
            return True
    return False


def _is_relative(command: SimpleCommand) -> bool:
    """Deletes a pattern, or a folder with all in it, of the folder it is in."""
    values = [value for _, value in _paths(command)]
    return bool(values) and any(
        not value.startswith(("/", "~", "\ue005", "\ue002"))
        and (
            value[:1] in ("*", "\ue000", "\ue001")
            or value in (".", "./")
            or (_is_recursive(command) and is_plain(value))
        )
        for value in values
    )


def _unchecked_cd(before: Sequence[SimpleCommand], command: SimpleCommand) -> SimpleCommand | None:
    """The `cd` that decides where the command works, if its failure stops nothing."""
    if any(c.name == "set" and any(re.match(r"^-[a-z]*e", w.value) for w in c.words[1:]) for c in before):
        return None
    for number in range(len(before) - 1, -1, -1):
        step = before[number]
        if step.name not in ("cd", "pushd"):
            continue
        behind = before[number + 1] if number + 1 < len(before) else command
        is_far = step.words[-1].value.startswith(("/", "~", "\ue005"))
        return step if behind.join == ";" and is_far and not command.is_conditional else None
    return None


def _place(command: SimpleCommand) -> str:
    return f"{command.source.file}:{command.source.line}: " if command.source.file else ""


def _text(command: SimpleCommand) -> str:
    text = " ".join(word.text for word in command.words)
    text = "".join(c if c.isprintable() else "?" for c in shown(text))
    return text if len(text) <= 60 else text[:57] + "..."
