"""What an adoption would change: the crontab's bytes and the lab file's text. Nothing is changed here.

Called by `cli.cronadopt`; carried out by `cli.handover`.
"""

import os
import pwd
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from homelab.cli import cronimport
from homelab.cli.cronjobs import new_jobs
from homelab.cli.cronread import Options, Reading, reading_of
from homelab.core import labfile
from homelab.core.crontab import CronJob, ParsedCrontab
from homelab.core.crontab import adoption as rules
from homelab.core.errors import InputError, RefusedError
from homelab.core.jobs import effective_schedules
from homelab.core.labfile import Lab
from homelab.core.schedule import parse
from homelab.home import crontabs, labedit, labfiles, labshadow
from homelab.home.adoptions import AdoptedLine
from homelab.home.livecron import Target, UserCrontab, is_debian
from homelab.home.paths import Home


@dataclass(frozen=True, kw_only=True)
class AdoptionPlan:
    """What an adoption would change: the crontab's bytes and the texts of the lab files, before and after."""

    target: Target
    choice: rules.Choice
    data: bytes
    marked: bytes
    lines: tuple[AdoptedLine, ...]
    lab: Path
    before: Mapping[str, str]
    after: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(job for line in self.lines for job in line.jobs)


def plan_adoption(target: Target, home: Home, *, only: Sequence[str]) -> AdoptionPlan:
    """Read the crontab and the lab file; nothing is changed and the lab is not asked."""
    data = target.read()
    reading = as_cron_reads(target, data)
    zone = crontabs.zone(None)
    parsed = _parsed(reading)
    runs_as = _user_of_lab(home)
    choice = rules.choose(parsed, data, is_debian=is_debian(), zone=zone, runs_as=runs_as, only=only)
    if unknown := set(only) - {job.name for job in parsed.jobs}:
        known = ", ".join(job.name for job in parsed.jobs)
        raise InputError(f"the {target.label} has no job '{sorted(unknown)[0]}'", hint=f"It has: {known or 'none'}")
    numbers = {job.line for job in choice.jobs}
    marked = rules.marked(data, numbers)
    rules.check_rest(parsed, _parsed(as_cron_reads(target, marked)), numbers)

    path = labfiles.find()
    before = cronimport.read_lab(path, timezone=zone)
    after, names = _with_jobs(before, path, target, reading, choice.jobs)
    raw = data.split(b"\n")
    lines = tuple(
        AdoptedLine(line=job.line, text=raw[job.line - 1], jobs=tuple(names[job.line])) for job in choice.jobs
    )
    return AdoptionPlan(
        target=target,
        choice=choice,
        data=data,
        marked=marked,
        lines=lines,
        lab=path,
        before=before,
        after=after,
        notes=tuple(_notes(reading, numbers)),
    )


def as_cron_reads(target: Target, data: bytes) -> Reading:
    """What cron makes of these bytes as this crontab."""
    text = data.decode("utf-8", "surrogateescape")
    if isinstance(target, UserCrontab):
        return reading_of("-", text, Options(user=target.user))
    return reading_of(str(target.path), text, Options(system=True))


def _parsed(reading: Reading) -> ParsedCrontab:
    return ParsedCrontab(jobs=tuple(reading.jobs), problems=tuple(reading.problems))


def _user_of_lab(home: Home) -> str | None:
    """The only user as whom the lab can run jobs: whose its state folder is. None when it is root's."""
    try:
        owner = home.root.stat().st_uid
    except OSError:
        owner = os.geteuid()
    return None if owner == 0 else pwd.getpwuid(owner).pw_name


def _notes(reading: Reading, adopted: set[int]) -> Generator[str]:
    for problem in reading.problems:
        if problem.code == "random-time" and problem.line in adopted:
            yield f"line {problem.line}: cron has picked a random time of its own; today it may run at both, or neither"
        if problem.code in ("random-delay", "carriage-return"):
            yield f"line {problem.line}: {problem.message}"


def _with_jobs(
    before: Mapping[str, str], path: Path, target: Target, reading: Reading, chosen: Sequence[CronJob]
) -> tuple[dict[str, str], dict[int, list[str]]]:
    """The lab files with these jobs as the lab's own, and the jobs' names there by line of the crontab."""
    names = _known_otherwise(before, path, target, chosen)
    zone = labedit.lab_timezone(before[str(path)], str(path))
    chains = labedit.chains(before, source=target.label)
    fresh = tuple(job for job in chosen if job.line not in names)
    some = Reading(file=reading.file, jobs=fresh, problems=reading.problems, chains=reading.chains)
    split = {line for line, chain in some.chains.items() if chain.folder in chains and chain.scripts}
    jobs = new_jobs(some, timezone=zone, split=split)
    texts = dict(before)
    if jobs:
        texts = labedit.merge(before, str(path), jobs, source=target.label, removes=False).texts
    known = labshadow.located(texts, target.label)
    for job in jobs:
        names.setdefault(job.line, []).extend(n for n in known[job.line, job.digest] if n not in names[job.line])
    wanted = {name for found in names.values() for name in found}
    texts = labshadow.adopted(texts, wanted, at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    lab, problems = labfile.parse(texts, main=str(path))
    if lab is None:
        first = next(p for p in problems if p.severity == "error")
        raise InputError(first.message, where=f"{first.file}:{first.line}", hint="See: homelab check")
    for name in wanted:
        _check_runs(lab, name, str(path))
    return texts, names


def _check_runs(lab: Lab, name: str, path: str) -> None:
    """RefusedError when the lab would have the job and not run it."""
    if lab.job(name).paused:
        raise RefusedError(f"job '{name}' is paused in the lab file: it would run nowhere", where=path)
    for need in lab.job(name).needs:
        if lab.job(need.job).shadow:
            raise RefusedError(
                f"job '{name}' needs '{need.job}', which cron would still run: it would wait for ever",
                where=path,
                hint="Adopt both, or take the need out of the lab file.",
            )


def lost(
    texts: Mapping[str, str], lab_file: str, jobs: Iterable[tuple[CronJob, Sequence[str]]], now: datetime
) -> dict[str, datetime]:
    """Jobs that the lab has at another time than their line of the crontab, of which a change at `now` would lose or
    double the run that cron has next, with its time. `jobs`: lines with their jobs of the lab."""
    lab, _ = labfile.parse(dict(texts), main=lab_file)
    found: dict[str, datetime] = {}
    when = {} if lab is None else effective_schedules({job.name: job for job in lab.jobs})
    for line, names in jobs:
        cron = parse(line.schedule, line.timezone, seed=line.name)
        for name in names:
            schedule, zone = when.get(name, (None, "UTC"))
            if (schedule, zone) == (line.schedule, line.timezone):
                continue
            own = None if schedule is None else parse(schedule, zone, seed=name)
            if (at := rules.next_lost(cron, own, now)) is not None:
                found[name] = at
    return found


def _known_otherwise(
    before: Mapping[str, str], path: Path, target: Target, chosen: Sequence[CronJob]
) -> dict[int, list[str]]:
    """By line, the job of the lab that is the same but did not come from this crontab: no second one is made."""
    lab, _ = labfile.parse(dict(before), main=str(path))
    own = {name for names in labshadow.located(before, target.label).values() for name in names}
    same: dict[tuple[str | None, str, str, str | None], list[str]] = {}
    for job in () if lab is None else lab.jobs:
        if job.name not in own and job.schedule is not None:
            same.setdefault((job.schedule, job.timezone, job.run, job.stdin), []).append(job.name)
    found: dict[int, list[str]] = {}
    for job in chosen:
        if names := same.get((job.schedule, job.timezone, job.command, job.stdin)):
            found[job.line] = [names.pop(0)]
            if not names:
                del same[job.schedule, job.timezone, job.command, job.stdin]
    return found
