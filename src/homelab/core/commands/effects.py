"""What a command is found to do: the values that `describe` returns. See the package for how to use them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["read", "write", "append", "update", "make", "delete", "test", "mention"]
Join = Literal["", "&&", "||", ";", "|", "&"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where something stands. `file`: a script's path, empty for the command itself; `line` is 1-based in that text.

    `text`: the exact text of the command it rests on; the first line of it, at most 300 characters.
    """

    file: str
    line: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word of a command. `text`: as written. `values`: what it can be, as patterns (`core.commands.patterns`)."""

    text: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        return self.values[0] if self.values else ""


@dataclass(frozen=True, kw_only=True)
class Redirect:
    """`fd`: the descriptor (0 in, 1 out, 2 errors; -1 both). `operator`: `>`, `>>`, `<`, `>&`. `target`: where to."""

    fd: int
    operator: str
    target: Word


@dataclass(frozen=True, kw_only=True)
class SimpleCommand:
    """One simple command, in the order a shell would come to it.

    `name`: the program without its folder. Wrappers such as sudo, nice or timeout are taken off and listed in
    `wrappers`. `join`: how it is tied to the command before it. `is_conditional`: it stands behind `&&` or `||`, in a
    branch or in a loop. `folder`: where it runs, a pattern.
    """

    name: str
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]
    wrappers: tuple[str, ...]
    join: Join
    is_conditional: bool
    folder: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Something a command does to a file, a folder, a database or a far place.

    `kind`: read; write (made anew or replaced); append; update (changed in place); make (an empty mark, `touch`);
    delete; test (only asked whether it is there); mention (an argument of a program that is not known).
    `place`: empty for this machine's files, else `HOST`, `remote:NAME`, `container:NAME` or the kind of a database;
    `target`: an absolute path or a name there, a pattern. `is_tree`: all that lies below it as well.
    `by`: the command, or `>` for a redirection. `is_output`: it takes what a program prints, as a log does.
    `is_age_based`: only what is older than some time (`find -mtime`). `is_guess`: the program is not known, its
    arguments look like it.
    """

    kind: Kind
    target: str
    place: str = ""
    is_tree: bool = False
    by: str = ""
    is_output: bool = False
    is_age_based: bool = False
    is_guess: bool = False
    source: Source


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock that is held while (part of) the job runs. `waits`: None when it is not said whether it waits for it."""

    path: str
    is_shared: bool = False
    waits: bool | None = None
    source: Source


@dataclass(frozen=True, kw_only=True)
class Call:
    """A script or program that was started by its path. `status`: what became of its text."""

    path: str
    status: Literal["analysed", "missing", "not-analysed", "program"]
    reason: str = ""
    source: Source


@dataclass(frozen=True, kw_only=True)
class NotAnalysed:
    """Something that was not looked into, and why. `file`: a script's path, empty for the command itself."""

    file: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """All that was found in one command and the scripts it calls, in the order a shell would come to it."""

    commands: tuple[SimpleCommand, ...] = ()
    effects: tuple[Effect, ...] = ()
    locks: tuple[Lock, ...] = ()
    calls: tuple[Call, ...] = ()
    not_analysed: tuple[NotAnalysed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script's text as it was read. `path`: the absolute path it is known by on its machine."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A script that is there and was not read. `is_program`: it is a binary, as programs are."""

    path: str
    reason: str
    is_program: bool = False


Scripts = Mapping[str, Script | Refused]
"""Scripts by absolute path; a path that is not in it is a script that is not there. It may read as it is asked."""
