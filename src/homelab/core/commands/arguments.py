"""Options and operands of a command, and what a row of the table (`core.commands.knowledge`) makes of them.

Called by `core.commands.programs` and by the grammars of single commands.
"""

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from homelab.core.commands.effects import Effect, Kind, Lock, Source, Word
from homelab.core.commands.findings import Findings
from homelab.core.commands.knowledge import Spec
from homelab.core.commands.patterns import DEEP, absolute, is_plain
from homelab.core.commands.words import UNKNOWN, Scope, Values

_FAR = re.compile(r"^(?:[\w.+-]+@)?((?:[\w.-]|\ue005[^\ue006]*\ue006)+):(?!//)(.*)$", re.DOTALL)
_URL = re.compile(r"^(s3|gs|b2|az|sftp|ssh|rsync|ftp|ftps|webdavs?|gdrive|file|azure|swift)://([^/]*)(.*)$", re.DOTALL)
_SIMPLE: dict[str, Kind] = {
    "r": "read",
    "w": "write",
    "a": "append",
    "u": "update",
    "d": "delete",
    "t": "test",
    "c": "make",
    "p": "mention",
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """`options`: those given, in order, with their value where they have one. `operands`: all else, in order."""

    options: tuple[tuple[str, Word | None], ...]
    operands: tuple[Word, ...]

    def has(self, *names: str) -> bool:
        return any(name in names for name, _ in self.options)

    def value(self, *names: str) -> Word | None:
        """The last value given for one of the names."""
        return next((value for name, value in reversed(self.options) if name in names and value), None)

    def all(self, *names: str) -> list[Word]:
        return [value for name, value in self.options if name in names and value is not None]


def split(words: Sequence[Word], valued: Collection[str]) -> Arguments:
    """Tell options from operands. `valued`: the options that take a value; the others stand alone.

    Understands `-x`, `-xyz`, `-xVALUE`, `--long`, `--long=VALUE`, `--long VALUE`, `-word VALUE` and `--`.
    """
    options: list[tuple[str, Word | None]] = []
    operands: list[Word] = []
    waiting: str | None = None
    for number, word in enumerate(words):
        text = word.value
        if waiting is not None:
            options.append((waiting, word))
            waiting = None
        elif text == "--":
            operands += words[number + 1 :]
            break
        elif not text.startswith("-") or text == "-":
            operands.append(word)
        elif text in valued:
            waiting = text
        elif "=" in text and (name := text.partition("=")[0]) in valued:
            values = tuple(value.partition("=")[2] for value in word.values)
            options.append((name, Word(text=word.text, values=values)))
        elif text.startswith("--"):
            options.append((text.partition("=")[0], None))
        else:
            waiting = _cluster(word, valued, options)
    if waiting is not None:
        options.append((waiting, None))
    return Arguments(options=tuple(options), operands=tuple(operands))


def _cluster(word: Word, valued: Collection[str], options: list[tuple[str, Word | None]]) -> str | None:
    """The letters of `-xyz`; the name of the last one when its value is the next word."""
    text = word.value
    options.append((text, None))
    for at in range(1, len(text)):
        name = "-" + text[at]
        if name in valued:
            if at + 1 == len(text):
                return name
            values = tuple(value[at + 1 :].removeprefix("=") for value in word.values)
            options.append((name, Word(text=word.text, values=values)))
            return None
        options.append((name, None))
    return None


@dataclass(kw_only=True)
class Act:
    """One command at work: turns its words into effects. `folder`: where it works, which options may change."""

    name: str
    scope: Scope
    source: Source
    findings: Findings
    place: str = ""
    folder: str = ""
    may_be_far: bool = False
    repository: str = ""
    incoming: Values = UNKNOWN
    run_text: list[str] = field(default_factory=list[str])
    run_scripts: list[Word] = field(default_factory=list[Word])

    def __post_init__(self) -> None:
        self.folder = self.folder or self.scope.folder

    def located(self, value: str) -> tuple[str, str]:
        """Place and absolute path or name of a file's word."""
        if found := _URL.match(value):
            if found[1] == "file":
                return "", absolute(found[3] or "/", "/")
            return f"{found[1]}:{found[2].rpartition('@')[2]}", absolute(found[3] or "/", "/")
        if self.may_be_far and (found := _FAR.match(value)) and "/" not in value.split(":")[0]:
            far = found[2]
            return found[1], absolute(far, "~") if far else "~"
        return self.scope.place, absolute(value, self.folder)

    def effect(
        self,
        kind: Kind,
        value: str,
        *,
        is_tree: bool = False,
        is_age_based: bool = False,
        is_guess: bool = False,
        is_output: bool = False,
        place: str | None = None,
    ) -> None:
        """Note one effect. `place` names what is no file: then the value is a name there."""
        if value in ("", "-"):
            return
        if place is None:
            place, target = self.located(value)
            is_tree = is_tree or (value.endswith("/") and kind in ("read", "write", "test"))
        else:
            target = value
        if DEEP in target[:1]:
            return  # nothing is known of it
        effect = Effect(
            kind=kind,
            target=target,
            place=place,
            is_tree=is_tree,
            by=self.name,
            is_age_based=is_age_based,
            is_guess=is_guess,
            is_output=is_output,
            source=self.source,
        )
        self.findings.add(effect)

    def table(self, kind: Literal["read", "write"], database: str, table: str) -> None:
        """A table of a database that is a file: who writes it changes the file, who reads it reads that table."""
        name = absolute(database, self.folder)
        if kind == "write":
            self.effect("update", database)
        if table:
            self.effect(kind, f"{name}.{table}", place="sqlite")
        elif kind == "read":
            self.effect("read", database)

    def lock(self, value: str, *, is_shared: bool = False, waits: bool | None = None) -> None:
        path = absolute(value, self.folder)
        self.findings.mark_lock(Lock(path=path, is_shared=is_shared, waits=waits, source=self.source))

    # --- roles --------------------------------------------------------------------------------------------------------

    def play(self, role: str, word: Word, sources: Sequence[Word] = ()) -> None:
        """What a role means for a word. `sources`: the operands before it, for where copies go."""
        if not role or role == "-":
            return
        letter, _, extension = role.partition(".")
        for value in word.values:
            if value in ("", "-"):
                continue
            self._play_value(letter, extension, value, word, sources)

    def _play_value(self, letter: str, extension: str, value: str, word: Word, sources: Sequence[Word]) -> None:
        if letter == "v":
            self.effect("read", value, is_tree=is_plain(value) and "." not in posixpath.basename(value.rstrip("/"))[1:])
        elif letter in _SIMPLE:
            self.effect(_SIMPLE[letter], value)
        elif letter in ("R", "W", "U", "D"):
            self.effect(_SIMPLE[letter.lower()], value, is_tree=True)
        elif letter == "m":
            self.effect("read", value)
            self.effect("delete", value)
        elif letter in ("g", "G"):
            self.copied_to(value, sources, is_tree=letter == "G")
        elif letter in ("z", "k"):
            self.effect("read", value)
            self.effect("write", f"{value}.{extension}")
            if letter == "z":
                self.effect("delete", value)
        elif letter == "x":
            self.effect("read", value)
            bare = value.removesuffix(f".{extension}")
            self.effect("write", bare.removesuffix(".tgz") + ".tar" if value.endswith(".tgz") else bare)
            self.effect("delete", value)
        elif letter == "o":
            self.effect("append", value, is_output=True)
        elif letter == "i":
            self.effect("update", value, place=self.place)
        elif letter == "B":
            self.effect("update", value, is_tree=True, is_guess=True)
        elif letter in ("q", "Q"):
            self.effect("read" if letter == "q" else "write", value, place=self.place or "database")
        elif letter in ("repository", "repositoryread"):
            self._play_repository(letter, value)
        elif letter == "L":
            self.lock(value, waits=True)
        elif letter == "C":
            self.folder = absolute(value, self.folder)
        elif letter == "e":
            self.run_text.append(value)
        elif letter == "s":
            self.run_scripts.append(word)

    def _play_repository(self, letter: str, value: str) -> None:
        """A backup repository: an archive in it (`REPO::NAME`) does not matter."""
        self.repository = value.partition("::")[0]
        if letter == "repositoryread":
            self.effect("read", self.repository, place="repository")
        elif self.name == "borg":
            self.effect("write", self.repository, place="repository")

    def copied_to(self, value: str, sources: Sequence[Word], *, is_tree: bool) -> None:
        """Where copies end: the file itself, or a file of the source's name in the folder."""
        names = [posixpath.basename(source.rstrip("/")) for word in sources for source in word.values]
        if is_tree:
            self.effect("write", value, is_tree=True)
            return
        bare = value.rstrip("/")
        extension = posixpath.splitext(posixpath.basename(bare))[1]
        many = len(names) > 1 or any(not is_plain(name) and not name.endswith(extension or "\0") for name in names)
        if not value.endswith("/") and not (many and not extension):
            self.effect("write", value)
        looks_like_file = not value.endswith("/") and bool(extension) and len(extension) <= 6
        if not looks_like_file or posixpath.splitext(names[0] if names else "")[1] == "":
            for name in names:
                if name and name not in (".", ".."):
                    self.effect("write", f"{bare}/{name}")

    # --- rows ---------------------------------------------------------------------------------------------------------

    def apply(self, spec: Spec, words: Sequence[Word]) -> None:
        """Play the roles of a row on the words behind the command and its subcommand."""
        self.may_be_far = spec.may_be_far
        self.place = spec.place
        found = split(words, spec.options)
        roles = next((roles for name, roles in spec.flags.items() if found.has(name)), spec.operands)
        options = spec.options
        for name, value in found.options:
            if options.get(name) == "C" and value is not None:
                self.play("C", value)
        if any(options.get(name) in ("g", "G") and value for name, value in found.options):
            roles = tuple(role for role in roles if role not in ("g", "G"))
        self._play_options(found, options, writes=False)
        operands = found.operands
        if self.name == "restic" and not self.repository:
            self.repository = self.scope.value("RESTIC_REPOSITORY")[0]
        for number, (role, word) in enumerate(zip(assigned(roles, len(operands)), operands, strict=False)):
            self.play(role, word, operands[:number])
        self._play_options(found, options, writes=True)
        self._always(spec)

    def _play_options(self, found: Arguments, options: Mapping[str, str], *, writes: bool) -> None:
        """What a command reads comes before what it writes: `sort -o FILE FILE`."""
        for name, value in found.options:
            role = options.get(name, "")
            if value is None or role == "C" or (role in ("w", "W", "g", "G")) != writes:
                continue
            if role in ("g", "G"):
                self.copied_to(value.value + "/", found.operands, is_tree=role == "G")
            else:
                self.play(role, value)

    def _always(self, spec: Spec) -> None:
        for role, target in spec.always:
            value = target
            if target == "repository":
                if self.repository:
                    kind: Kind = "write" if role == "Q" else "read"
                    self.effect(kind, self.repository, place="repository")
                continue
            if value.startswith("~"):
                value = self.scope.value("HOME")[0] + value[1:]
            self.play(role, Word(text=target, values=(value,)))


def assigned(roles: Sequence[str], count: int) -> list[str]:
    """One role for each of `count` operands: a role with `*` takes all that the roles behind it leave."""
    starred = next((n for n, role in enumerate(roles) if role.endswith("*")), None)
    if starred is None:
        return [*roles[:count], *[""] * (count - len(roles))]
    behind = [role for role in roles[starred + 1 :] if not role.endswith("*")]
    before = list(roles[:starred])
    middle = max(0, count - len(before) - len(behind))
    return [*before, *[roles[starred][:-1]] * middle, *behind][:count]
