"""From the lines of a crontab to jobs of a lab file: the settings that are written. Nothing is decided here.

Called by `cli.cronimport`.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from homelab.cli.cronread import Reading
from homelab.core.crontab import CronJob
from homelab.core.timers import DISABLED, TimerJob
from homelab.home.crontabs import RunParts
from homelab.home.labmatch import NewJob


def source_of(reading: Reading, user: str) -> str:
    """What an import is known by next time: the file, or whose crontab came in on standard input."""
    return f"crontab of {user}" if reading.file == "-" else str(Path(reading.file).absolute())


def new_jobs(reading: Reading, *, timezone: str | None, split: Collection[int]) -> list[NewJob]:
    """The jobs to have in the lab file. `timezone`: what a job that names none gets there, None if not known.

    `split`: lines whose run-parts folder becomes a chain, one job a script.
    """
    jobs: list[NewJob] = []
    taken = {job.name for job in reading.jobs}
    for job in reading.jobs:
        if not _is_text(job):
            continue
        if job.line in split:
            jobs += _chain(job, reading.chains[job.line], timezone, taken)
        else:
            jobs.append(NewJob(name=job.name, line=job.line, settings=_settings(job, timezone)))
    return jobs


def undecodable(reading: Reading) -> list[int]:
    """Lines of jobs that hold bytes which are not UTF-8: a lab file cannot hold those."""
    return [job.line for job in reading.jobs if not _is_text(job)]


def _chain(job: CronJob, chain: RunParts, timezone: str | None, taken: set[str]) -> list[NewJob]:
    """The scripts of a folder as jobs, each after the one before, which may have failed: so does run-parts."""
    folder = chain.folder.rstrip("/").rpartition("/")[2]
    made: list[NewJob] = []
    for script in chain.scripts:
        name = re.sub(r"[^A-Za-z0-9_]+", "-", f"{folder}-{script.rpartition('/')[2]}")[:90].strip("-_")
        while name in taken:
            name += "-parts"
        taken.add(name)
        settings = {**_settings(job, timezone), "run": script}
        if re.search(r"\bcd\s+/\s*&&", job.command):
            settings["cwd"] = "/"
        needs = (made[-1].name,) if made else ()
        made.append(NewJob(name=name, line=job.line, settings=settings, needs=needs, chain=chain.folder))
    return made


def _settings(job: CronJob, timezone: str | None) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if words := " ".join(_description(job)):
        settings["description"] = words
    settings["schedule"] = job.schedule
    if job.timezone != timezone:
        settings["timezone"] = job.timezone
    settings["run"] = job.command
    if job.stdin:
        settings["stdin"] = job.stdin
    settings["shell"] = job.shell
    if job.user:
        settings["user"] = job.user
    if job.cwd:
        settings["cwd"] = job.cwd
    environment = dict(job.environment)
    if job.user:
        environment["USER"] = job.user  # cronie sets it, Debian's cron does not mind
    settings["environment"] = environment
    if isinstance(job, TimerJob):
        settings["missed"] = job.missed
        settings["overlap"] = job.overlap
    if DISABLED in job.flags:
        settings["paused"] = True
    return settings


def _description(job: CronJob) -> Iterable[str]:
    if job.mailto == "":
        yield "Cron threw its output away."
    elif job.mailto is not None:
        when = " if it failed" if "-n" in job.flags else ""
        yield f"Cron mailed its output to {job.mailto}{when}."
    elif "-n" in job.flags:
        yield "Cron mailed its output only if it failed."


def _is_text(job: CronJob) -> bool:
    values = [job.command, job.stdin or "", job.user, *job.environment.values(), *job.environment]
    return not any("\ud800" <= char <= "\udfff" for value in values for char in value)
