"""`homelab cron diff-env`: what a job finds under cron beside what it will find in the lab.

Cron's side is what the crontab says, or, when the person allows it with `--probe`, what a line that cron runs once has
found. Its answer is kept in HOMELAB_HOME/probes, for its owner alone.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homelab.core.errors import InputError, NotFoundError, RefusedError, TimedOutError

if TYPE_CHECKING:
    from homelab.core.crontab import CronJob
    from homelab.core.crontab.probe import Surroundings
    from homelab.core.jobs import Job
    from homelab.home.livecron import Target
    from homelab.home.paths import Home

_WAIT_S = 90.0
"""Cron runs the probe at the next full minute, under load a little later."""


@click.command("diff-env")
@click.argument("job")
@click.option("--probe", is_flag=True, help="Let cron run one line that this adds to the crontab and takes out again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def diff_env(job: str, probe: bool, as_json: bool) -> None:
    """Environment, folder, user and umask of JOB under cron beside those in the lab.

    Without --probe: what an earlier probe found, else what the crontab itself says.
    """
    from homelab.cli import output
    from homelab.core.crontab import probe as rules
    from homelab.home.paths import Home

    home = Home.default()
    definition, source = _job(job)
    target = _target(source)
    entry = _entry(target, definition)
    if probe:
        with output.progress("waiting until cron has run the probe (up to a minute)"):
            _probe(home, target, entry, job)
    captured = _captured(home, job)
    at, cron = captured if captured is not None else (None, _of_crontab(entry))
    lab = _of_lab(definition, home)
    secrets = frozenset(definition.secrets)
    found = rules.differences(cron, lab, secrets=secrets)
    if as_json:
        output.json_document(
            {
                "job": job,
                "probed": at,
                "cron": _shown(cron, secrets),
                "lab": _shown(lab, secrets),
                "differences": [asdict(difference) for difference in found],
            }
        )
        return
    rows = [[d.what, output.text_of(d.cron or "(not set)"), output.text_of(d.lab or "(not set)")] for d in found]
    output.table(["what", "cron", "lab"], rows, empty="No difference.")
    same = len(cron.environment.keys() | lab.environment.keys()) + 3 - len(found)
    output.note(f"{len(found)} differ, {same} are the same")
    if at is None:
        output.note("cron's side is what the crontab says; cron itself is asked with: --probe")
    else:
        output.note(f"cron's side was found by a probe at {at}")
    output.note("the lab adds HOMELAB_HOME, HOMELAB_RUN_ID, HOMELAB_JOB, HOMELAB_DUE and HOMELAB_ATTEMPT")


def _job(name: str) -> "tuple[Job, str]":
    """The job of the lab file and the crontab that it was imported from."""
    from homelab.core import labfile
    from homelab.home import labfiles, labshadow

    texts = labfiles.read(labfiles.find())
    lab, problems = labfile.parse(texts, main=next(iter(texts)))
    if lab is None:
        first = next(p for p in problems if p.severity == "error")
        raise InputError(first.message, where=f"{first.file}:{first.line}", hint="See: homelab check")
    try:
        job = lab.job(name)
    except KeyError as error:
        known = ", ".join(j.name for j in lab.jobs[:20])
        raise NotFoundError(f"the lab file has no job '{name}'", hint=f"It has: {known or 'none'}") from error
    source = labshadow.sources(texts).get(name)
    if source is None:
        raise InputError(f"job '{name}' was not imported from a crontab", hint="So cron gives it nothing to compare.")
    return job, source


def _target(source: str) -> "Target":
    from homelab.home import livecron

    prefix = "crontab of "
    if source.startswith(prefix):
        return livecron.user_crontab(source.removeprefix(prefix))
    return livecron.cron_file(Path(source))


def _entry(target: "Target", job: "Job") -> "CronJob":
    """The line of the live crontab that is this job, also while it is adopted and a comment."""
    from homelab.cli.adoptionplan import as_cron_reads
    from homelab.core.crontab.adoption import MARK

    lines = target.read().split(b"\n")
    found = as_cron_reads(target, b"\n".join(line.removeprefix(MARK) for line in lines)).jobs
    for entry in found:
        if (entry.command, entry.schedule, entry.stdin) == (job.run, job.schedule, job.stdin):
            return entry
    raise NotFoundError(f"the {target.label} has no line that is job '{job.name}'", hint="Import it again, or edit it.")


def _of_crontab(entry: "CronJob") -> "Surroundings":
    from homelab.core.crontab.probe import Surroundings

    return Surroundings(environment=entry.environment, cwd=entry.cwd or None, user=entry.user or None)


def _of_lab(job: "Job", home: "Home") -> "Surroundings":
    from homelab.core.crontab.probe import Surroundings
    from homelab.worker import environment, process

    account = process.account_of(job.user)
    variables = environment.environment_of(
        job, account=account, run_id="", attempt=1, due=None, secrets=dict.fromkeys(job.secrets, "***")
    )
    cwd = environment.cwd_of(job, variables)
    plain = {name: value for name, value in variables.items() if not name.startswith("HOMELAB_")}
    return Surroundings(environment=plain, cwd=cwd, user=account.name, umask=f"{process.UMASK:04o}")


def _shown(found: "Surroundings", secrets: frozenset[str]) -> dict[str, Any]:
    from homelab.core.crontab.probe import masked

    environment = {name: masked(name, value, secrets) for name, value in sorted(found.environment.items())}
    return {"user": found.user, "cwd": found.cwd, "umask": found.umask, "environment": environment}


# --- the probe --------------------------------------------------------------------------------------------------------


def _file(home: "Home", job: str) -> Path:
    return home.root / "probes" / f"{job}.json"


def _captured(home: "Home", job: str) -> "tuple[str, Surroundings] | None":
    from homelab.core.crontab.probe import Surroundings

    try:
        body = json.loads(_file(home, job).read_bytes())
    except (OSError, ValueError):
        return None
    return body["at"], Surroundings(**body["found"])


def _probe(home: "Home", target: "Target", entry: "CronJob", job: str) -> None:
    """Have cron run the probe once, keep its answer, and leave the crontab as it was."""
    from homelab.cli.switch import uninterrupted
    from homelab.core.crontab import probe as rules
    from homelab.home import adoptions
    from homelab.home.labedit import write
    from homelab.worker.process import account_of

    owner = account_of(entry.user)
    with adoptions.locked(home), _folder(owner.uid, owner.gid) as folder:
        before = target.read()
        clean = rules.without_probe(before)
        data = rules.with_probe(
            clean, after=entry.line, folder=str(folder), user=entry.user if target.is_system else None
        )
        _install(target, data, before, home)
        try:
            found = _wait(folder)
        finally:
            with uninterrupted(lambda _: None):
                now = target.read()
                _install(target, rules.without_probe(now), now, home)
    path = _file(home, job)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    body = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "found": asdict(found)}
    write(path, json.dumps(body, indent=1))


@contextmanager
def _folder(uid: int, gid: int) -> Generator[Path]:
    """A folder that cron can reach as the job's user, with the script in it; nobody else can read it."""
    from homelab.core.crontab.probe import script

    folder = Path(tempfile.mkdtemp(prefix="homelab-probe-", dir="/tmp"))
    try:
        (folder / "probe.sh").write_text(script(str(folder)))
        (folder / "probe.sh").chmod(0o644)
        if os.geteuid() == 0:
            os.chown(folder, uid, gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _install(target: "Target", data: bytes, expected: bytes, home: "Home") -> None:
    folder = home.root / "probes"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = folder / "crontab"
    source.touch(mode=0o600)
    source.write_bytes(data)
    if editors := target.editors():
        raise RefusedError(f"the {target.label} is open in an editor (pid {editors[0]})", hint="Close it first.")
    if target.read() != expected:
        raise RefusedError(f"the {target.label} was changed by somebody else just now", hint="Try again.")
    target.install(source, timeout_s=20)
    source.unlink()


def _wait(folder: Path) -> "Surroundings":
    from homelab.core.crontab.probe import answer

    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        path = folder / "answer"
        if path.exists() and (found := answer(path.read_text(errors="surrogateescape"))) is not None:
            return found
        time.sleep(0.2)
    raise TimedOutError(
        "cron has not run the probe; the crontab is as it was",
        hint="Does cron run? See its log, and: systemctl status cron",
    )
