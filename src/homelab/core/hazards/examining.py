"""All hazards of a crontab, by line. Called through `core.hazards`."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from homelab.core.hazards.deleting import deletions
from homelab.core.hazards.files import lost_files, shared_files
from homelab.core.hazards.found import Facts, Hazard, Subject
from homelab.core.hazards.outcomes import hidden_failures
from homelab.core.hazards.output import lost_output
from homelab.core.hazards.overlaps import overlapping_runs
from homelab.core.hazards.secrets import assigned_secrets, visible_secrets
from homelab.core.hazards.shell import misread_lines, unexpanded
from homelab.core.hazards.times import crowds_and_clocks, odd_times

_OF_ONE: tuple[Callable[[Subject, Facts], Iterable[Hazard]], ...] = (
    deletions,
    visible_secrets,
    misread_lines,
    lost_files,
    odd_times,
    overlapping_runs,
    hidden_failures,
    lost_output,
)
CODES = {
    "unset-delete": "deletes what a variable names that nobody sets",
    "unchecked-cd": "deletes in whatever folder it is in when `cd` failed",
    "cut-at-percent": "cron ends the command at the first %",
    "emptied-input": "a file that is emptied before it is read",
    "unset-variable": "the program is named by a variable that nobody sets",
    "unexpanded": "a variable in an assignment, which cron leaves as it is",
    "secret": "a password or key that everybody on the machine can see",
    "missing-script": "the script is not there",
    "not-executable": "the script cannot be started",
    "not-in-path": "the program is not in the job's PATH",
    "run-parts-ignores": "a script that run-parts passes over",
    "relative-path": "a path that depends on where the job starts",
    "two-writers": "two jobs overwrite one file",
    "either-day": "day of month and weekday: either one is enough",
    "every-minute": "each minute of an hour, where once is more likely meant",
    "clock-change": "a local time that does not exist, or comes twice, on some days",
    "overlap": "a run lasts longer than until the next one",
    "no-lock": "nothing keeps two runs apart that may well meet",
    "failure-hidden": "a failure does not show in the exit status",
    "redirect-order": "errors do not go to the log file",
    "bash-only": "bash's own syntax, run by another shell",
    "output-lost": "output and errors are thrown away",
    "mail-pile": "mail at every run that nobody reads",
    "crowded-minute": "many jobs start in the same minute",
}
"""Codes and what they are about, worst first."""


def examine(subjects: Sequence[Subject], facts: Facts, *, now: datetime) -> list[Hazard]:
    """The hazards of jobs of one crontab, by line, then worst first; each code once a line.

    `now` (aware): the clock changes that are looked at are those of the year after it.
    """
    found = [hazard for subject in subjects for hazard in _of_one(subject, facts)]
    found += unexpanded(subjects) if facts.is_cron else []
    found += assigned_secrets(subjects)
    found += shared_files(subjects)
    found += crowds_and_clocks(subjects, now=now)
    order = {code: number for number, code in enumerate(CODES)}
    unique = {(hazard.line, hazard.code): hazard for hazard in reversed(found)}
    return sorted(unique.values(), key=lambda hazard: (hazard.line, order[hazard.code]))


def _of_one(subject: Subject, facts: Facts) -> list[Hazard]:
    found = [hazard for rule in _OF_ONE for hazard in rule(subject, facts)]
    # Of a line that cron cuts in two the rest says nothing.
    return [hazard for hazard in found if hazard.code == "cut-at-percent"] or found
