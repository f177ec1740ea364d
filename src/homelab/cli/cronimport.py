"""From the jobs of a crontab to the jobs of a lab file: what is written, and the files it is written to.

Called by `cli.cron`; the text of the lab file is changed by `home.labedit`.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from homelab.cli.cronread import Reading
from homelab.core.crontab import CronJob
from homelab.core.errors import InputError
from homelab.core.timers import DISABLED, TimerJob
from homelab.home.crontabs import RunParts
from homelab.home.labedit import Merged, NewJob

Accept = str


def lab_path() -> Path:
    """The lab file to change: HOMELAB_LAB (which `--lab` sets), else lab.toml in this folder."""
    return Path(os.environ.get("HOMELAB_LAB") or "lab.toml").expanduser().absolute()


def read_lab(path: Path, *, timezone: str) -> dict[str, str]:
    """The text of the lab file and of what it includes, by path. A file that is not there yet is a new lab's text."""
    from homelab.home import labedit

    try:
        main = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.parent.name).strip("-._") or "home"
        return {str(path): labedit.new_lab(name, timezone)}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the lab file: {error}", where=str(path)) from error
    texts = {str(path): main}
    for pattern in labedit.includes(main, str(path)):
        for included in sorted(path.parent.glob(pattern)):
            if included.is_file():
                texts[str(included)] = included.read_text(encoding="utf-8")
    return texts


def source_of(reading: Reading, user: str) -> str:
    """What an import is known by next time: the file, or whose crontab came in on standard input."""
    return f"crontab of {user}" if reading.file == "-" else str(Path(reading.file).absolute())


def new_jobs(reading: Reading, *, accept: str, timezone: str | None, chains: set[str]) -> list[NewJob]:
    """The jobs to have in the lab file. `timezone`: what a job that names none gets there, None if not known.

    `chains`: folders that an earlier import made into single jobs; they stay so.
    """
    jobs: list[NewJob] = []
    taken = {job.name for job in reading.jobs}
    for job in reading.jobs:
        if not _is_text(job):
            continue
        chain = reading.chains.get(job.line)
        if chain is not None and _is_accepted(chain, accept, chains):
            jobs += _chain(job, chain, timezone, taken)
        else:
            jobs.append(NewJob(name=job.name, line=job.line, settings=_settings(job, timezone)))
    return jobs


def undecodable(reading: Reading) -> list[int]:
    """Lines of jobs that hold bytes which are not UTF-8: a lab file cannot hold those."""
    return [job.line for job in reading.jobs if not _is_text(job)]


def summary(merged: Merged) -> str:
    """One line: what an import did."""
    parts = [
        f"{len(names)} {word}"
        for word, names in (
            ("added", merged.added),
            ("updated", merged.updated),
            ("removed", merged.removed),
            ("unchanged", [*merged.unchanged, *merged.renumbered]),
        )
        if names
    ]
    return "jobs: " + (", ".join(parts) or "none")


def _is_accepted(chain: RunParts, accept: str, chains: set[str]) -> bool:
    return chain.is_whole and len(chain.scripts) > 1 and (accept in ("high", "all") or chain.folder in chains)


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
