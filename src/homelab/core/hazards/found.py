"""The values of `core.hazards`: what is looked at, what is known of the machine, what is found."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from homelab.core.commands import Description, SimpleCommand, is_plain
from homelab.core.crontab import CronJob
from homelab.core.schedule import Schedule

_USUAL = re.compile(r"^/(usr/(local/)?)?s?bin/[^/]+$")

FileState = Literal["missing", "folder", "plain", "executable"]


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """Something about one line that cron hides. `line`: of the job, or of the first of several.

    `message`: what can happen and why; `hint`: the remedy, with the setting of the lab that is one. No secret is in it.
    """

    line: int
    code: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One job with what its command does."""

    job: CronJob
    schedule: Schedule
    description: Description

    def own_commands(self) -> list[SimpleCommand]:
        """The commands of the line itself, without those of the scripts it calls."""
        return [command for command in self.description.commands if not command.source.file]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the machine the jobs are for; without `files` nothing is.

    `files`: the state of an absolute path; it may look as it is asked. `is_whole`: the folders of programs are there
    too, so what is not found is not on the machine; else only a file missing from a folder that is there is known to
    be missing. `is_cron`: the jobs are of cron or its kin, which send mail. `durations_s`: how long a job usually
    takes, by its name, from runs of it.
    """

    files: Mapping[str, FileState] | None = None
    is_whole: bool = False
    is_cron: bool = True
    durations_s: Mapping[str, float] = field(default_factory=dict[str, float])

    def state(self, path: str) -> FileState | None:
        """The state of a file; None when nobody can say."""
        if self.files is None or not path.startswith("/"):
            return None
        state = self.files.get(path)
        if state == "missing" and not self.is_whole and self.files.get(path.rpartition("/")[0] or "/") != "folder":
            return None
        return state


def facts_of(
    files: Mapping[str, FileState],
    subjects: Sequence[Subject],
    *,
    is_theirs: bool | None,
    is_cron: bool = True,
    durations_s: Mapping[str, float] | None = None,
) -> Facts:
    """What may be said of the machine of these jobs when `files` shows some machine.

    `is_theirs`: whether it is the one they run on. None: nobody said so; then it counts as theirs when at least half
    of the programs and scripts that the jobs name by a path of their own are there.
    """
    durations = durations_s or {}
    if is_theirs is None:
        named = {
            word.value
            for subject in subjects
            for command in subject.own_commands()
            for word in command.words[:1]
            if word.value.startswith("/") and is_plain(word.value) and not _USUAL.match(word.value)
        }
        here = [path for path in named if files.get(path) in ("plain", "executable")]
        is_theirs = bool(here) and 2 * len(here) >= len(named)
    if not is_theirs:
        return Facts(is_cron=is_cron, durations_s=durations)
    is_whole = any(files.get(shell) == "executable" for shell in ("/bin/sh", "/usr/bin/sh"))
    return Facts(files=files, is_whole=is_whole, is_cron=is_cron, durations_s=durations)
