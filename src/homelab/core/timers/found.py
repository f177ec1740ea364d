"""What a reader of another scheduler's files returns: jobs as cron would have them, problems, and orders among them.

Called by the readers of `core.timers` and by `cli`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from homelab.core.crontab import CronJob, CronProblem
from homelab.core.jobs import Missed, Overlap

SHELL = "/bin/sh"
"""What runs the commands made here: they are plain POSIX."""

DISABLED = "disabled"
"""The flag of a job that its scheduler has switched off."""


@dataclass(frozen=True, kw_only=True)
class TimerJob(CronJob):
    """A job of another scheduler, with what that one does and cron does not.

    `line`: of the schedule in its file, 1 where the format has no lines. `missed` and `overlap` as in the lab file.
    """

    missed: Missed = "skip"
    overlap: Overlap = "allow"


@dataclass(frozen=True, kw_only=True)
class Order:
    """One job comes after another, because a file says so: `text` on `line` of `file`."""

    upstream: TimerJob
    upstream_file: str
    downstream: TimerJob
    downstream_file: str
    file: str
    line: int
    text: str
    confidence: Literal["high", "medium", "low"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one file gives. Jobs in the order of the file, problems by line."""

    file: str
    jobs: tuple[TimerJob, ...] = ()
    problems: tuple[CronProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a reader must know of the machine the files are for.

    `accounts`: users and their home folders, empty when not known. `owner`: whose files they are,
    where they do not say.
    """

    timezone: str = "UTC"
    owner: str = ""
    accounts: Mapping[str, str]

    def home_of(self, user: str, *, others: str = "/home", root: str = "/root") -> str:
        """The home folder of a user, guessed when the accounts are not known; empty for nobody."""
        if not user:
            return ""
        return self.accounts.get(user) or (root if user == "root" else f"{others}/{user}")
