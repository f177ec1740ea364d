"""Collects what is found in one job's command while it is read, and knows when it has been enough."""

from dataclasses import dataclass, field, replace

from homelab.core.commands.effects import (
    Call,
    Description,
    Effect,
    Lock,
    NotAnalysed,
    Scripts,
    SimpleCommand,
)

MAX_COMMANDS = 4000
MAX_SCRIPTS = 60
MAX_NESTED_SCRIPTS = 8
MAX_LEVELS = 80


class Enough(Exception):  # noqa: N818 - a limit, not an error
    """The job does more than is looked at; what was found so far stands."""


@dataclass(kw_only=True)
class Findings:
    """`scripts`: what may be called. `levels`: how deeply the reading is nested at the moment."""

    scripts: Scripts
    commands: list[SimpleCommand] = field(default_factory=list[SimpleCommand])
    effects: list[Effect] = field(default_factory=list[Effect])
    locks: list[Lock] = field(default_factory=list[Lock])
    calls: list[Call] = field(default_factory=list[Call])
    not_analysed: list[NotAnalysed] = field(default_factory=list[NotAnalysed])
    open_scripts: list[str] = field(default_factory=list[str])
    read_scripts: int = 0
    count: int = 0
    levels: int = 0

    def step(self) -> None:
        self.count += 1
        if self.count > MAX_COMMANDS:
            raise Enough(f"it does more than {MAX_COMMANDS} things; the rest was not looked at")

    def deeper(self) -> None:
        self.levels += 1
        if self.levels > MAX_LEVELS:
            raise Enough("its commands and scripts are nested too deeply; the rest was not looked at")

    def note(self, file: str, reason: str) -> None:
        note = NotAnalysed(file=file, reason=reason)
        if note not in self.not_analysed:
            self.not_analysed.append(note)

    def description(self) -> Description:
        """All of it; the same effect of the same text is told once."""
        return Description(
            commands=tuple(self.commands),
            effects=tuple(dict.fromkeys(self.effects)),
            locks=tuple(dict.fromkeys(self.locks)),
            calls=tuple(dict.fromkeys(self.calls)),
            not_analysed=tuple(self.not_analysed),
        )

    def add(self, effect: Effect) -> None:
        if not _is_nothing(effect):
            self.effects.append(effect)

    def mark_lock(self, lock: Lock) -> None:
        self.locks.append(lock)
        # The file of a lock is no data.
        self.effects = [e for e in self.effects if e.place or e.target != lock.path]

    def conditional(self, start: int) -> None:
        """The commands from `start` on stand in a branch."""
        self.commands[start:] = [replace(command, is_conditional=True) for command in self.commands[start:]]


def _is_nothing(effect: Effect) -> bool:
    if effect.place:
        return not effect.target
    return effect.target.startswith(("/dev/", "/proc/", "/sys/")) or effect.target in ("", "/dev", "-", "/-")
