"""`homelab cron compare`: cron's own log against what the lab would have run, minute by minute. Changes nothing."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from homelab.core.errors import HomelabError, InputError, NotFoundError
from homelab.core.times import iso

if TYPE_CHECKING:
    from homelab.core.crontab.comparison import Comparison, Expected
    from homelab.core.crontab.cronlog import CronStart

_SHOWN = 20
_STARTING = timedelta(seconds=5)
"""A cron that has just begun its log misses a minute that comes while it still reads its tables."""
_MOST = 2_000_000
"""So many runs are computed at most: a year of four jobs a minute."""


@dataclass(frozen=True, kw_only=True)
class _Watched:
    """A job as the comparison needs it. `until`: when the lab took it over from cron; later runs are not cron's."""

    name: str
    user: str
    command: str
    schedule: str
    timezone: str
    until: datetime | None = None


@click.command()
@click.option("--since", default="3d", show_default=True, metavar="TIME", help="ISO 8601, or an age: 12h, 3d.")
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A log of cron, also .gz; again for more. Default: this machine's.",
)
@click.option(
    "--crontab",
    type=click.Path(readable=False),
    metavar="FILE|-",
    help="Compare with a crontab instead of the lab file.",
)
@click.option("--user", default="", metavar="NAME", help="Only what runs as this user.")
@click.option("--timezone", default="", metavar="TZ", help="The zone of the log's machine (default: this machine's).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def compare(since: str, logs: tuple[Path, ...], crontab: str | None, user: str, timezone: str, as_json: bool) -> None:
    """What cron ran, by its own log, against what the lab would have run, minute by minute.

    Runs of jobs that the lab has taken over are left out from that moment on: they are no longer cron's.
    """
    from homelab.cli import output
    from homelab.core.crontab import comparison, cronlog
    from homelab.core.schedule import check_zone
    from homelab.home import cronlogs, crontabs

    zone = timezone or crontabs.zone(None)
    check_zone(zone)
    now = datetime.now(UTC)
    start = _time(since, now=now, zone=zone)
    source = cronlogs.named(logs) if logs else cronlogs.of_machine(start)
    with output.progress(f"reading {source.name}"):
        stamps = cronlog.Stamps(zone=zone, since=start, now=now)
        first, last, found = _read(source.lines(), stamps)
        if first is None or last is None:
            raise InputError("no line of the log begins with a time that is understood", where=source.name)
        jobs = _jobs(crontab, user)
        found = _without_starts_at_boot(found, jobs)
        # The first minute counts when the log begins with a start, else it may be there in part only.
        is_whole = bool(found) and found[0].at == first and first.second < 10
        begins = _floor(first) if is_whole else _ceiling(first + _STARTING)
        begin = max(_ceiling(start), begins)
        end = _floor(now - timedelta(seconds=20)) if source.is_live else _floor(last)
        expected = list(_expected(jobs, begin, end))
        logged = [s for s in found if begin <= s.at < end + timedelta(minutes=1) and user in ("", s.user)]
        names = [(job.name, job.user, job.command) for job in jobs]
        result = comparison.compare(expected, logged, names=names)
    noted = _shadow_notes(begin) if crontab is None else dict[str, set[datetime]]()
    missing = _not_noted(result, noted)
    if as_json:
        output.json_document(_json(result, source.name, begin, end, noted, missing))
        return
    _show(result, jobs, source.name, begin, end, zone, len(noted), missing)


def _without_starts_at_boot(logged: Sequence["CronStart"], jobs: Sequence[_Watched]) -> list["CronStart"]:
    """Without `@reboot` jobs: when the machine started, the schedule does not tell."""
    from homelab.core.crontab.cronlog import as_logged

    at_boot = {(job.user, as_logged(job.command)) for job in jobs if job.schedule == "@reboot"}
    at_boot -= {(job.user, as_logged(job.command)) for job in jobs if job.schedule != "@reboot"}
    return [start for start in logged if (start.user, start.command) not in at_boot]


def _time(text: str, *, now: datetime, zone: str) -> datetime:
    from homelab.core.durations import DurationError, duration_s

    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return now - timedelta(seconds=duration_s(text))
        except DurationError as error:
            hint = "Write it like 2026-03-08T01:30:00Z, or 3d for three days."
            raise InputError(f"'{text}' is neither a time nor an age", hint=hint) from error
    return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def _read(lines: Iterator[str], stamps: Any) -> tuple[datetime | None, datetime | None, list["CronStart"]]:
    """The time of the first and the last line, and the starts of commands."""
    from homelab.core.crontab import cronlog

    first: datetime | None = None
    newest = ""

    def watched() -> Iterator[str]:
        nonlocal first, newest
        for line in lines:
            if first is None:
                first = stamps.of(line)
            newest = line or newest
            yield line

    found = list(cronlog.starts(watched(), stamps))
    last = stamps.of(newest) if newest else None
    if found and (last is None or last < found[-1].at):
        last = found[-1].at
    return first, last, found


def _jobs(crontab: str | None, user: str) -> list[_Watched]:
    found = _of_lab() if crontab is None else _of_crontab(crontab, user)
    return [job for job in found if user in ("", job.user)]


def _of_crontab(crontab: str, user: str) -> Iterator[_Watched]:
    from homelab.cli.cronread import Options, read

    for reading in read(crontab, Options(user=user)):
        for job in reading.jobs:
            yield _Watched(
                name=job.name, user=job.user, command=job.command, schedule=job.schedule, timezone=job.timezone
            )


def _of_lab() -> Iterator[_Watched]:
    from homelab.core import labfile
    from homelab.home import crontabs, labfiles, labshadow

    try:
        path = labfiles.find()
    except NotFoundError as error:
        hint = "Make one with: crontab -l | homelab cron import --shadow -\nOr compare with a crontab: --crontab FILE"
        raise NotFoundError(error.message, hint=hint) from error
    texts = labfiles.read(path)
    lab, problems = labfile.parse(texts, main=next(iter(texts)))
    if lab is None:
        first = next(p for p in problems if p.severity == "error")
        raise InputError(first.message, where=f"{first.file}:{first.line}", hint="See: homelab check")
    taken = labshadow.taken_over(texts)
    me = crontabs.owner_of("-")
    for job in lab.jobs:
        if job.run and job.schedule is not None:
            until = None if (at := taken.get(job.name)) is None else datetime.fromisoformat(at)
            yield _Watched(
                name=job.name,
                user=job.user or me,
                command=job.run,
                schedule=job.schedule,
                timezone=job.timezone,
                until=until,
            )


def _expected(jobs: Sequence[_Watched], begin: datetime, end: datetime) -> Iterator["Expected"]:
    """What the lab would run from `begin` to `end`, both included."""
    from homelab.core import schedule as schedules
    from homelab.core.crontab.comparison import Expected

    count = 0
    for job in jobs:
        schedule = schedules.parse(job.schedule, job.timezone, seed=job.name)
        if schedule.is_reboot:
            continue
        for due in schedule.fires(begin - timedelta(seconds=1)):
            if due > end or (job.until is not None and due > job.until):
                break
            count += 1
            if count > _MOST:
                raise InputError(f"more than {_MOST} runs to compare", hint="Ask for less time: --since")
            yield Expected(due=due, job=job.name, user=job.user, command=job.command)


def _shadow_notes(since: datetime) -> Mapping[str, set[datetime]]:
    """The instants that the running lab noted for its jobs in shadow, by job; empty when it does not run."""
    from homelab.cli.client import Client

    try:
        query = {"state": "skipped", "since": since.isoformat(), "limit": 1000}
        rows = Client.of_home(timeout_s=10).get("/api/v1/runs", query)["runs"]
    except HomelabError:
        return {}
    noted: dict[str, set[datetime]] = {}
    for row in rows:
        if str(row["reason"]).startswith("shadow") and row["due"]:
            noted.setdefault(str(row["job"]), set()).add(datetime.fromisoformat(row["due"]))
    return noted


def _not_noted(result: "Comparison", noted: Mapping[str, set[datetime]]) -> list["Expected"]:
    """Runs that the lab computes now and did not note then, between its first and last note of the job."""
    runs = [run for run, _ in result.matched] + list(result.only_lab)
    return [
        run
        for run in sorted(runs, key=lambda run: (run.due, run.job))
        if (own := noted.get(run.job)) and min(own) < run.due < max(own) and run.due not in own
    ]


def _floor(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _ceiling(at: datetime) -> datetime:
    return _floor(at) if at == _floor(at) else _floor(at) + timedelta(minutes=1)


# --- what is said -----------------------------------------------------------------------------------------------------


def _json(
    result: "Comparison",
    log: str,
    begin: datetime,
    end: datetime,
    noted: Mapping[str, set[datetime]],
    missing: Sequence["Expected"],
) -> dict[str, Any]:
    return {
        "matched": len(result.matched),
        "only_cron": [
            {"time": iso(c.start.at), "user": c.start.user, "command": c.start.command, "job": c.job}
            for c in result.only_cron
        ],
        "only_lab": [
            {"due": iso(run.due), "job": run.job, "user": run.user, "command": run.command} for run in result.only_lab
        ],
        "jobs": dict(sorted(Counter(run.job for run, _ in result.matched).items())),
        "log": log,
        "since": iso(begin),
        "until": iso(end),
        "shadow": {
            "noted": sum(map(len, noted.values())),
            "not_noted": [{"due": iso(run.due), "job": run.job} for run in missing],
        },
    }


def _show(
    result: "Comparison",
    jobs: Sequence[_Watched],
    log: str,
    begin: datetime,
    end: datetime,
    zone: str,
    noted: int,
    missing: Sequence["Expected"],
) -> None:
    from homelab.cli import output

    def shown(at: datetime) -> str:
        return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")

    both = Counter(run.job for run, _ in result.matched)
    cron = Counter(c.job for c in result.only_cron if c.job is not None)
    lab = Counter(run.job for run in result.only_lab)
    rows = [
        [output.safe(job.name), str(both[job.name]), str(cron[job.name]), str(lab[job.name]), job.schedule]
        for job in jobs
        if job.schedule != "@reboot"
    ]
    output.note(f"{log}, {shown(begin)} to {shown(end)} ({zone})")
    output.table(["job", "both", "only cron", "only lab", "schedule"], rows, empty="No job to compare with.")
    known = [c for c in result.only_cron if c.job is not None]
    foreign = Counter((c.start.user, c.start.command) for c in result.only_cron if c.job is None)
    _list("only cron ran", [f"{shown(c.start.at)}  {c.job}" for c in known], output.note)
    _list("only the lab would have run", [f"{shown(run.due)}  {run.job}" for run in result.only_lab], output.note)
    lines = [f"{count} x ({output.safe(user)}) {output.safe(command)}" for (user, command), count in foreign.items()]
    _list("cron ran, and the lab has no such job", lines, output.note)
    _list("not noted in shadow", [f"{shown(run.due)}  {run.job}" for run in missing], output.note)
    if noted:
        output.note(f"{noted} runs were noted in shadow by the lab")
    agree = not (known or result.only_lab)
    verdict = "the lab would have run exactly what cron ran" if agree else "they differ"
    output.note(
        f"{verdict}: {len(result.matched)} runs in both, {len(known)} only cron, {len(result.only_lab)} only lab"
    )


def _list(title: str, lines: Sequence[str], note: Callable[[str], None]) -> None:
    if lines:
        note(f"{title}:")
        for line in lines[:_SHOWN]:
            note(f"  {line}")
        if len(lines) > _SHOWN:
            note(f"  and {len(lines) - _SHOWN} more (--json has all)")
