"""The hazards of what was read: asks the machine, and the lab, what the rules must know.

Called by `cli.cron`.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from homelab.cli.client import Client
from homelab.cli.cronread import Reading
from homelab.core.errors import HomelabError
from homelab.core.hazards import CODES, Hazard, Subject, examine, facts_of
from homelab.core.schedule import parse
from homelab.home import endpoints
from homelab.home.filestates import FileStates
from homelab.home.paths import Home

# Files that only this machine's own schedulers read: what they name should be here.
_LIVE = ("/etc/", "/var/spool/cron/", "/usr/lib/cron/", "/lib/systemd/", "/usr/lib/systemd/", "/Library/")
_PATIENCE_S = 2.0
_FEWEST_RUNS = 3


def add_hazards(readings: list[Reading], *, root: Path | None, is_cron: bool) -> None:
    """Look at each reading's jobs. Files: those below `root`, else this machine's, as far as it is theirs."""
    files = FileStates(root)
    usual_s = durations_s()
    now = datetime.now(UTC)
    for reading in readings:
        subjects = [
            Subject(job=job, schedule=parse(job.schedule, job.timezone, seed=job.name), description=description)
            for job, description in zip(reading.jobs, reading.described(), strict=True)
        ]
        is_theirs = True if root is not None or reading.file.startswith(_LIVE) else None
        facts = facts_of(files, subjects, is_theirs=is_theirs, is_cron=is_cron, durations_s=usual_s)
        reading.found_hazards = examine(subjects, facts, now=now)


def durations_s() -> Mapping[str, float]:
    """How long the jobs of the lab that runs in this home usually take, by name; empty when none runs."""
    if not endpoints.read(Home.default()):
        return {}
    try:
        answer = Client.of_home(timeout_s=_PATIENCE_S).get("/api/v1/runs", {"state": "succeeded", "limit": 1000})
    except HomelabError:
        return {}
    taken: dict[str, list[float]] = {}
    for run in answer["runs"]:
        if run.get("duration_s") is not None:
            taken.setdefault(run["job"], []).append(run["duration_s"])
    return {job: median(times) for job, times in taken.items() if len(times) >= _FEWEST_RUNS}


def paragraphs(hazards: list[Hazard]) -> Iterator[tuple[str, list[Hazard]]]:
    """What to print for people: a heading and the hazards under it, worst first."""
    for code, heading in CODES.items():
        if same := [hazard for hazard in hazards if hazard.code == code]:
            yield heading, same
