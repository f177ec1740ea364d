"""What `cron inspect` and `cron import` share: reading crontabs with what their machine has around them.

Nothing is run and nothing is written. Called by `cli.cron`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from homelab.core.commands import Description, Scripts, describe
from homelab.core.crontab import CronJob, CronProblem, parse
from homelab.core.dependencies import suggest
from homelab.core.hazards import Hazard
from homelab.home import crontabs
from homelab.home.crontabs import RunParts
from homelab.home.scripts import FolderScripts

_MOST_JOBS = 2000  # whose commands are looked into


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options both commands have. `origin`: whose files they are. `root`: where absolute paths of that machine are
    looked up."""

    origin: str = "cron"
    system: bool = False
    user: str = ""
    root: Path | None = None
    timezone: str = ""


@dataclass(kw_only=True)
class Reading:
    """One crontab file and what was found in it. `chains`: by line, the run-parts folder that a job runs.

    `orders`: suggestions that the scheduler's own files make, as the contract prints them. `scripts`: what the jobs may
    call.
    """

    file: str
    jobs: Sequence[CronJob] = ()
    problems: list[CronProblem] = field(default_factory=list[CronProblem])
    chains: dict[int, RunParts] = field(default_factory=dict[int, RunParts])
    found_hazards: list[Hazard] = field(default_factory=list[Hazard])
    orders: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    scripts: Scripts = field(default_factory=dict[str, Any])
    _described: tuple[Description, ...] | None = None

    def described(self) -> tuple[Description, ...]:
        """What each job does, in the order of `jobs`; found at the first call, which notes what was not analysed."""
        if self._described is None:
            self._described = tuple(self._describe(job) for job in self.jobs[:_MOST_JOBS])
            notes = [
                _not_analysed(job.line, note.file, note.reason)
                for job, found in zip(self.jobs, self._described, strict=False)
                for note in found.not_analysed
            ]
            if len(self.jobs) > _MOST_JOBS:
                self._described += (Description(),) * (len(self.jobs) - _MOST_JOBS)
                notes.append(_not_analysed(self.jobs[_MOST_JOBS].line, "", f"only {_MOST_JOBS} jobs are looked into"))
            self.problems = sorted([*self.problems, *notes], key=lambda problem: (problem.line, problem.column))
        return self._described

    def _describe(self, job: CronJob) -> Description:
        return describe(
            job.command,
            stdin=job.stdin,
            environment=job.environment,
            folder=job.cwd,
            shell=job.shell,
            scripts=self.scripts,
        )

    def suggestions(self) -> list[dict[str, Any]]:
        """As the contract prints them: what the jobs need of each other, then the chains of run-parts."""
        names = {job.line: job.name for job in self.jobs}
        found = [
            {
                **asdict(one),
                "lines": list(one.lines),
                "upstream": names.get(one.upstream_line or 0),
                "downstream": names.get(one.downstream_line or 0),
            }
            for one in suggest(self.jobs, self.described())
        ]
        return [*found, *self._chain_suggestions(), *self.orders]

    def _chain_suggestions(self) -> list[dict[str, Any]]:
        """Each script of a folder waits for the one before, whatever its outcome."""
        return [
            {
                "kind": "needs",
                "lines": [line],
                "upstream_line": line,
                "downstream_line": line,
                "confidence": "high" if chain.is_whole else "medium",
                "evidence": f"run-parts {chain.folder}: {', '.join(chain.scripts)}",
                "reason": "run-parts runs these scripts one after the other, in this order; as jobs of their own "
                "each has its state, its log and its retries",
                "scripts": list(chain.scripts),
            }
            for line, chain in self.chains.items()
            if len(chain.scripts) > 1
        ]

    def hazards(self) -> list[Hazard]:
        """What `cli.hazardread` found, and files in a run-parts folder that look like jobs and never run; by line."""
        ignored = [
            Hazard(
                line=line,
                code="run-parts-ignores",
                message=f"{path} does not run: {reason}",
                hint="Rename it, or make it executable, if it is meant to run.",
            )
            for line, chain in self.chains.items()
            for path, reason in chain.ignored
        ]
        return sorted([*ignored, *self.found_hazards], key=lambda hazard: hazard.line)


def _not_analysed(line: int, file: str, reason: str) -> CronProblem:
    what = f"{file} was not analysed" if file else "the command was not analysed"
    return CronProblem(line=line, severity="note", code="not-analysed", message=f"{what}: {reason}")


def read(source: str, options: Options) -> list[Reading]:
    """Read a crontab, standard input (`-`), or what cron reads of a folder: /etc/cron.d, or the spool."""
    if source != "-" and Path(source).is_dir():
        return _read_folder(Path(source), options)
    reading = reading_of(source, crontabs.read_text(source), options)
    if source != "-" and Path(source).absolute().parent.name == "cron.d":
        reading.problems[:0] = _name_problems(Path(source))
    return [reading]


def _read_folder(folder: Path, options: Options) -> list[Reading]:
    taken, ignored = crontabs.files_of_folder(folder)
    is_spool = crontabs.is_spool(folder)
    readings: list[Reading] = []
    for path in taken:
        reading = reading_of(str(path), crontabs.read_text(str(path)), replace(options, system=not is_spool))
        reading.problems[:0] = [] if is_spool else _name_problems(path)
        readings.append(reading)
    for path, reason in ignored:
        problem = CronProblem(line=1, severity="note", code="ignored-file", message=f"cron ignores this file: {reason}")
        readings.append(Reading(file=str(path), problems=[problem]))
    return sorted(readings, key=lambda reading: reading.file)


def _name_problems(path: Path) -> list[CronProblem]:
    if reason := crontabs.why_ignored(path.name):
        message = f"cron ignores this file: {reason}"
        return [CronProblem(line=1, severity="warning", code="ignored-file", message=message)]
    if crontabs.is_ignored_by_debian(path.name):
        message = f"Debian's cron ignores a file named '{path.name}'"
        hint = "It reads only names of letters, digits, '_' and '-'."
        return [CronProblem(line=1, severity="warning", code="debian-ignored-file", message=message, hint=hint)]
    return []


def reading_of(source: str, text: str, options: Options) -> Reading:
    """What cron makes of the text of a crontab; `source` is its path, or `-`."""
    system = options.system or crontabs.is_system(source)
    user = options.user or crontabs.owner_of(source)
    accounts = crontabs.accounts(options.root)
    parsed = parse(
        text,
        system=system,
        user=None if system else user,
        home=None if system else accounts.get(user),
        timezone=options.timezone or crontabs.zone(options.root),
        accounts=accounts,
        path=crontabs.default_path(options.root),
    )
    scripts = FolderScripts(options.root)
    reading = Reading(file=source, jobs=parsed.jobs, problems=list(parsed.problems), scripts=scripts)
    for job in parsed.jobs:
        chain = crontabs.run_parts(job.command, options.root) if "run-parts" in job.command else None
        if chain is not None:
            reading.chains[job.line] = chain
    return reading


def as_json(readings: list[Reading]) -> dict[str, Any]:
    """The document of `cron inspect --json`. With several files each entry also names its `file`."""
    several = len(readings) > 1
    for reading in readings:
        reading.described()

    def rows(reading: Reading, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**value, "file": reading.file} for value in values] if several else values

    return {
        "jobs": [row for r in readings for row in rows(r, [_job_json(job) for job in r.jobs])],
        "problems": [row for r in readings for row in rows(r, [asdict(problem) for problem in r.problems])],
        "suggestions": [row for r in readings for row in rows(r, r.suggestions())],
        "hazards": [row for r in readings for row in rows(r, [asdict(hazard) for hazard in r.hazards()])],
    }


def _job_json(job: CronJob) -> dict[str, Any]:
    return {**asdict(job), "environment": dict(job.environment), "flags": list(job.flags)}
