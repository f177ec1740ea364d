"""Manual pages, made from the table of commands that `--help` and docs/reference/commands.md are made from.

Pure but for loading the commands: a command in, roff (the `man` macros) out. Called by `homelab man`.
"""

import re
from collections.abc import Iterator

import click

from homelab import __version__
from homelab.cli.main import COMMANDS, cli
from homelab.cli.reference import EXAMPLES, EXIT_STATUS

_FILES = (
    ("lab.toml", "the lab file: jobs, schedules, notifications"),
    ("HOMELAB_HOME", "the folder of all state, by default the user data folder of the platform"),
)
_VARIABLES = (
    ("HOMELAB_HOME", "the folder of all state of one lab"),
    ("HOMELAB_LAB", "the lab file"),
    ("HOMELAB_URL, HOMELAB_TOKEN", "another lab's address, and a token for it"),
    ("HOMELAB_PAGER, PAGER", "what shows long output on a terminal; cat for none"),
    ("HOMELAB_HINTS", "0: no hints at the next command"),
    ("NO_COLOR, FORCE_COLOR", "no colours; colours in a pipe, too"),
)


def pages() -> Iterator[tuple[str, str]]:
    """(name, roff) of every page: `homelab`, and one for each command and each of its own commands."""
    root = click.Context(cli, info_name="homelab")
    yield "homelab", page(cli, "homelab", root)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if command is not None:
            yield from _below(command, f"homelab {name}", root)


def _below(command: click.Command, path: str, parent: click.Context) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=path.rsplit(" ", 1)[1], parent=parent)
    yield path.replace(" ", "-"), page(command, path, context)
    if isinstance(command, click.Group):
        for name, below in _commands(command, context):
            yield from _below(below, f"{path} {name}", context)


def _commands(group: click.Group, context: click.Context) -> list[tuple[str, click.Command]]:
    found = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [(name, command) for name, command in found if command is not None and not command.hidden]


def find(words: tuple[str, ...]) -> str | None:
    """The name of the page about `homelab WORDS`; None when there is no such command."""
    context = click.Context(cli, info_name="homelab")
    command: click.Command | None = cli
    for word in words:
        command = command.get_command(context, word) if isinstance(command, click.Group) else None
        if command is None or command.hidden or (context.parent is None and word not in COMMANDS):
            return None
        context = click.Context(command, info_name=word, parent=context)
    return "-".join(("homelab", *words))


def page(command: click.Command, path: str, context: click.Context) -> str:
    """One page. The day is left out of its head, so that the same program makes the same page."""
    title = path.replace(" ", "-")
    paragraphs = [" ".join(p.split()) for p in (command.help or "").replace("\b", "").strip().split("\n\n")]
    brief = COMMANDS[path.split()[1]][1] if path.count(" ") == 1 else command.get_short_help_str(120)
    lines = [
        f'.TH "{escaped(title.upper())}" "1" "" "homelab {escaped(__version__)}" "homelab"',
        ".SH NAME",
        f"{escaped(title)} \\- {escaped(brief.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {escaped(path)}",
        _text(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_joined(paragraphs),
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        listed = (
            [(name, text) for name, (_, text) in COMMANDS.items()]
            if command is cli
            else [(name, below.get_short_help_str(200)) for name, below in _commands(command, context)]
        )
        for name, text in listed:
            lines += [".TP", f"\\fB{escaped(name)}\\fR", _text(text)]
    lines += _options(command, context)
    if path in EXAMPLES:
        lines += [".SH EXAMPLES", ".nf", ".RS", _text(EXAMPLES[path]), ".RE", ".fi"]
    if command is cli:
        lines += _table("ENVIRONMENT", _VARIABLES) + _table("FILES", _FILES)
    lines += _table("EXIT STATUS", re.findall(r"^\| (\d+) \| (.+) \|$", EXIT_STATUS, re.MULTILINE))
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{escaped(name)}\\fR(1)" for name in _related(command, path, context))]
    return "\n".join(line for line in lines if line) + "\n"


def _related(command: click.Command, path: str, context: click.Context) -> list[str]:
    base = path.replace(" ", "-")
    above = ["homelab"] if path.count(" ") == 1 else ["-".join(path.split()[:-1])] if " " in path else []
    if command is cli:
        return [f"homelab-{name}" for name in COMMANDS]
    if isinstance(command, click.Group):
        return [*above, *(f"{base}-{name}" for name, _ in _commands(command, context))]
    return above


def _options(command: click.Command, context: click.Context) -> list[str]:
    records = [p.get_help_record(context) for p in command.params if isinstance(p, click.Option) and not p.hidden]
    shown = [record for record in records if record is not None]
    return _table("OPTIONS", shown)


def _table(name: str, rows: "tuple[tuple[str, str], ...] | list[tuple[str, str]]") -> list[str]:
    lines = [f".SH {name}"] if rows else []
    for term, text in rows:
        lines += [".TP", f"\\fB{escaped(' '.join(term.split()))}\\fR", _text(" ".join(text.split()))]
    return lines


def _joined(paragraphs: list[str]) -> Iterator[str]:
    for place, paragraph in enumerate(paragraphs):
        if place:
            yield ".PP"
        yield _text(paragraph)


def _text(text: str) -> str:
    """A line of text: one that begins like a request is kept from being one."""
    made = escaped(text)
    return f"\\&{made}" if made.startswith((".", "'")) else made


def escaped(text: str) -> str:
    """Text that roff sets as it is: backslashes, hyphens that are typed, letters beyond ASCII."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace('"', "\\(dq")
    return "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in plain)
