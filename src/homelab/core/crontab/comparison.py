"""What cron ran against what the lab would have run, minute by minute. Pure. Called by `cli.croncompare`."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from homelab.core.crontab.cronlog import CronStart, as_logged

_MINUTE = timedelta(minutes=1)
_LATE = 2
"""A start counts for its own minute or, when that is taken, for one of so many before: cron wakes late under load."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The lab would have run `job` at `due` (a whole minute, UTC), as `user`, with this command."""

    due: datetime
    job: str
    user: str
    command: str


@dataclass(frozen=True, kw_only=True)
class OnlyCron:
    """A start that the lab would not have made. `job`: the job of the lab with that command, at other times."""

    start: CronStart
    job: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`matched`: pairs in the order of the log. `only_cron` and `only_lab` by time."""

    matched: tuple[tuple[Expected, CronStart], ...]
    only_cron: tuple[OnlyCron, ...]
    only_lab: tuple[Expected, ...]


def compare(
    expected: Iterable[Expected], logged: Iterable[CronStart], *, names: Sequence[tuple[str, str, str]] = ()
) -> Comparison:
    """Each start with at most one expected run of the same user, command and minute. `names`: (job, user, command) of
    all jobs of the lab, to say which one a start belongs to that was not expected then."""
    waiting: dict[tuple[str, str, datetime], deque[Expected]] = {}
    for run in sorted(expected, key=lambda run: (run.due, run.job)):
        waiting.setdefault((run.user, as_logged(run.command), run.due), deque()).append(run)
    commands = {command for _, command, _ in waiting}
    matched: list[tuple[Expected, CronStart]] = []
    late: list[CronStart] = []
    for start in logged:
        command = _whole(start, commands)
        at = start.at.replace(second=0, microsecond=0)
        if queue := waiting.get((start.user, command, at)):
            matched.append((queue.popleft(), start))
        else:
            late.append(start)
    only_cron: list[OnlyCron] = []
    known = {(user, as_logged(command)): job for job, user, command in names}
    for start in late:
        command = _whole(start, commands)
        at = start.at.replace(second=0, microsecond=0)
        queues = (waiting.get((start.user, command, at - n * _MINUTE)) for n in range(1, _LATE + 1))
        if queue := next((queue for queue in queues if queue), None):
            matched.append((queue.popleft(), start))
        else:
            job = known.get((start.user, command)) or known.get((start.user, start.command))
            only_cron.append(OnlyCron(start=start, job=job))
    left = [run for queue in waiting.values() for run in queue]
    return Comparison(
        matched=tuple(sorted(matched, key=lambda pair: pair[1].at)),
        only_cron=tuple(only_cron),
        only_lab=tuple(sorted(left, key=lambda run: (run.due, run.job))),
    )


def _whole(start: CronStart, commands: set[str]) -> str:
    """The command of a start; of one that the log cut off, the only command that begins so."""
    if not start.is_cut or start.command in commands:
        return start.command
    alike = [command for command in commands if command.startswith(start.command)]
    return alike[0] if len(alike) == 1 else start.command
