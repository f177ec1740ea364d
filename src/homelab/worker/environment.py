"""The environment of a job: exactly what cron gives, what the job says, and four facts about the run. Nothing else.

Pure. Nothing of the worker's own environment gets through, and no value is ever put into a command. Called by the
launcher. Source: crontab(5): SHELL, PATH, HOME, LOGNAME come from the account, and the crontab may change all but
LOGNAME.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from homelab.core.errors import InputError
from homelab.core.jobs import Job
from homelab.core.times import iso

_USUAL = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
DEFAULT_PATH = f"/opt/homebrew/bin:/opt/homebrew/sbin:{_USUAL}" if sys.platform == "darwin" else _USUAL
"""For jobs that do not set PATH. An imported job always sets it: cron's `/usr/bin:/bin`, or its crontab's."""

MAX_VALUE_BYTES = 128 * 1024 - 1
"""Linux takes no longer `NAME=VALUE`, its final NUL included (MAX_ARG_STRLEN)."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEERING = re.compile(
    r"PATH|SHELL|HOME|LOGNAME|USER|IFS|ENV|CDPATH|PS[0-9]|PROMPT_COMMAND|SHELLOPTS|BASHOPTS|FPATH|ZDOTDIR|NODE_OPTIONS|"
    r"JAVA_TOOL_OPTIONS|EDITOR|VISUAL|PAGER|(BASH|LD|DYLD|PYTHON|PERL|RUBY|GIT|SSH|HOMELAB)_?.*|PERL5.*|RUBY.*"
)
"""Variables by which a shell or an interpreter can be made to run something else: who may give parameters for a run
may not thereby choose commands, unless the job itself declares the parameter."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whom a job runs as."""

    name: str
    uid: int
    gid: int
    home: str


def environment_of(
    job: Job,
    *,
    account: Account,
    run_id: str,
    attempt: int,
    due: datetime | None,
    home: str = "",
    output: str = "",
    inputs: str = "",
    passed: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """All variables of one attempt. Later ones win: cron's, the job's, defaults of parameters, what needed jobs
    `passed` on, parameters given for this run, secrets (values), the run's facts.

    `output`: the file in which it may pass on variables itself (`worker.outputs`). `inputs`: the folder of the files
    that needed jobs saved. HOMELAB_DUE is the instant as ISO 8601 UTC, empty for a run started by hand. InputError: a
    parameter, or what was passed, has a name that is no variable's, or that would change what runs, or a value that no
    program can be given.
    """
    environment = {"SHELL": job.shell, "PATH": DEFAULT_PATH, "HOME": account.home, "USER": account.name}
    environment |= dict(job.environment)
    environment["LOGNAME"] = account.name
    for name in {**job.params, **(params or {})}:
        _check_param(job, name)
    for name in passed or {}:
        _check_passed(job, name)
    environment |= {**job.params, **(passed or {}), **(params or {})}
    environment |= dict(secrets or {})
    if home:
        environment["HOMELAB_HOME"] = home
    environment["HOMELAB_RUN_ID"] = run_id
    environment["HOMELAB_JOB"] = job.name
    environment["HOMELAB_DUE"] = "" if due is None else iso(due)
    environment["HOMELAB_ATTEMPT"] = str(attempt)
    if output:
        environment["HOMELAB_OUTPUT"] = output
    if inputs:
        environment["HOMELAB_INPUTS"] = inputs
    for name, value in environment.items():
        _check(job, name, value)
    return environment


def cwd_of(job: Job, environment: Mapping[str, str]) -> str:
    """The working folder: the job's, else HOME as the job has it (as cron does). A leading `~` is HOME."""
    home = environment.get("HOME") or "/"
    if not job.cwd:
        return home
    if job.cwd == "~" or job.cwd.startswith("~/"):
        return home + job.cwd[1:]
    return job.cwd


def is_steering(name: str) -> bool:
    """Whether a variable of that name could change what a shell or an interpreter runs, or is the lab's own."""
    return _STEERING.fullmatch(name) is not None


def _check_param(job: Job, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"parameter {name!r} of job '{job.name}' cannot be a variable",
            hint="Use letters, digits and _, not beginning with a digit.",
        )
    if name.startswith("HOMELAB_") or name in job.secrets:
        raise InputError(f"parameter '{name}' of job '{job.name}' is set by the lab", hint="Choose another name.")
    if name not in job.params and is_steering(name):
        raise InputError(
            f"parameter '{name}' could change what job '{job.name}' runs",
            hint=f"If that is wanted, declare it in the lab file: [jobs.{job.name}] params.{name} = ...",
        )


def _check_passed(job: Job, name: str) -> None:
    """As it was checked where it was written: that may have been another machine."""
    if not _NAME.fullmatch(name) or is_steering(name):
        raise InputError(f"the variable {name!r}, which was passed to job '{job.name}', could change what it runs")


def _check(job: Job, name: str, value: str) -> None:
    if "\0" in value or "\0" in name or "=" in name or not name:
        raise InputError(f"variable {name!r} of job '{job.name}' contains a NUL byte or is not a name")
    if len(name) + 1 + len(value.encode("utf-8", "surrogateescape")) > MAX_VALUE_BYTES:
        raise InputError(
            f"variable '{name}' of job '{job.name}' is longer than a program can be given (128 KiB)",
            hint="Put it in a file and pass the file's name.",
        )
