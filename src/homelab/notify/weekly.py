"""How the lab did since the last digest, as one message: what ran, what failed, what is slow or silent, the disk.

Pure: `control.digest` gathers the facts and says when; the queue delivers it as it delivers alerts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from homelab.core.durations import span
from homelab.notify.message import Message, harmless

NAMED = 5
"""Jobs of one kind that are named; all are counted."""
SLOWEST = 3
_FULL_WITHIN = timedelta(days=365)
_MOVED_BYTES = 50_000_000
"""A change of the disk below this is none that a person would call one."""


@dataclass(frozen=True, kw_only=True)
class JobWeek:
    """One job in the time that is told. `usual_s`: the median of what succeeded; `longest_s`: of all. `is_failing`: its
    last result is a failure."""

    job: str
    runs: int
    failures: int
    usual_s: float | None = None
    longest_s: float | None = None
    is_failing: bool = False


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Where the lab keeps its state. `free_before`: what was free `days` ago; None when nobody measured."""

    free_bytes: int
    total_bytes: int
    free_before: int | None = None
    days: float = 7.0


@dataclass(frozen=True, kw_only=True)
class Week:
    """What happened from `begin` to `end` (aware). `before`: runs and failures of as long a time before, None when
    nothing is known of it. `silent`: jobs that print much less than they did; `idle`: jobs with a schedule that did not
    run although they were due; `missed` counts runs that did not happen."""

    lab: str
    begin: datetime
    end: datetime
    timezone: str
    jobs: int
    ran: tuple[JobWeek, ...] = ()
    before: tuple[int, int] | None = None
    silent: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    missed: int = 0
    disk: Disk | None = None
    link: str = ""

    @property
    def runs(self) -> int:
        return sum(job.runs for job in self.ran)

    @property
    def failures(self) -> int:
        return sum(job.failures for job in self.ran)


def compose(week: Week) -> Message:
    """The digest. Names are made harmless; a line that has nothing to say is left out."""
    failing = [job.job for job in week.ran if job.is_failing]
    title = f"homelab: {week.lab}: {_counts(week.jobs, week.runs, week.failures)}"
    lines = [f"{_days(week)}: {_counts(week.jobs, week.runs, week.failures)}{_trend(week)}.", ""]
    lines += _block("Failed", [_failed(job) for job in _worst(week.ran)])
    lines += _block("Slowest", [_slow(job) for job in slowest(week.ran)])
    lines += _named("Still failing", failing)
    lines += _named("Silent", week.silent, "printed much less than they always do")
    lines += _named("Did not run", week.idle, "though they were due")
    if week.missed:
        lines.append(f"Missed: {week.missed:,} run{'s' if week.missed > 1 else ''} did not happen.")
    lines += _named("Paused", week.paused)
    if week.disk is not None:
        lines.append(f"Disk: {disk(week.disk)}.")
    if week.link:
        lines += ["", f"All of it: {week.link}"]
    return Message(
        title=harmless(title, limit=200),
        body="\n".join(lines).strip(),
        level="warning" if failing else "info" if week.failures else "success",
    )


def slowest(ran: Sequence[JobWeek]) -> list[JobWeek]:
    """The jobs that take longest as a rule, those of a moment left out."""
    known = [job for job in ran if job.usual_s is not None and job.usual_s >= 1]
    return sorted(known, key=lambda job: (-(job.usual_s or 0), job.job))[:SLOWEST]


def disk(found: Disk) -> str:
    """`41.2 GB of 100.0 GB free, 3.1 GB less than 7 days ago: full in about 13 weeks`."""
    text = f"{_size(found.free_bytes)} of {_size(found.total_bytes)} free"
    if found.free_before is None:
        return text
    lost = found.free_before - found.free_bytes
    ago = f"{round(found.days)} day{'s' if round(found.days) != 1 else ''} ago"
    if abs(lost) < _MOVED_BYTES:
        return f"{text}, as {ago}"
    text += f", {_size(abs(lost))} {'less' if lost > 0 else 'more'} than {ago}"
    if lost > 0 and found.days > 0:
        left = found.free_bytes / (lost / found.days)
        if left < _FULL_WITHIN.days:
            text += f": full in about {_weeks(left)}"
    return text


def _weeks(days: float) -> str:
    if days < 21:
        return f"{max(1, round(days))} day{'s' if round(days) > 1 else ''}"
    return f"{round(days / 7)} weeks"


def _size(amount: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount / 1e3:.0f} kB"


def _counts(jobs: int, runs: int, failures: int) -> str:
    said = [(jobs, "job"), (runs, "run"), (failures, "failure")]
    return ", ".join(
        f"1 {word}" if count == 1 else f"{f'{count:,}' if count else 'no'} {word}s" for count, word in said
    )


def _days(week: Week) -> str:
    zone = ZoneInfo(week.timezone)
    begin, end = week.begin.astimezone(zone), week.end.astimezone(zone)
    first, last = (f"{day:%a} {day.day} {day:%b}" for day in (begin, end))
    return first if first == last else f"{first} to {last}"


def _trend(week: Week) -> str:
    if week.before is None or week.before[0] == 0:
        return ""
    failures = week.before[1]
    return f" ({failures:,} failure{'s' if failures != 1 else ''} in the time before)"


def _worst(ran: Sequence[JobWeek]) -> list[JobWeek]:
    return sorted((job for job in ran if job.failures), key=lambda job: (-job.failures, job.job))


def _failed(job: JobWeek) -> str:
    return f"{harmless(job.job)}: {job.failures:,} of {job.runs:,} run{'s' if job.runs > 1 else ''}"


def _slow(job: JobWeek) -> str:
    longest = job.longest_s or 0
    more = f", {span(longest)} at most" if longest > 1.2 * (job.usual_s or 0) else ""
    return f"{harmless(job.job)}: {span(job.usual_s or 0)}{more}"


def _block(name: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    shown = [f"  {line}" for line in lines[:NAMED]]
    more = [f"  and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return [f"{name}:", *shown, *more]


def _named(what: str, names: Sequence[str], means: str = "") -> list[str]:
    if not names:
        return []
    shown = ", ".join(harmless(name) for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{what}: {shown}{more}{f' ({means})' if means else ''}."]
