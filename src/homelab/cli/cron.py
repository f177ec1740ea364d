"""`homelab cron`: read crontabs exactly, import them into the lab file, show when an expression is due.

`inspect` and `next` never change anything; `import` changes the lab file only, never a crontab.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from homelab.cli.cronadopt import adopt, release
from homelab.cli.croncompare import compare
from homelab.cli.cronenv import diff_env
from homelab.cli.cronread import Options, Reading, as_json, read
from homelab.core.errors import InputError


@click.group()
def cron() -> None:
    """Read crontabs exactly as cron does, import them, and show next times."""


def _source_options(command: Any) -> Any:
    options = (
        click.argument("source", metavar="FILE|-"),
        click.option("--system", is_flag=True, help="Lines have a user column (/etc/crontab, /etc/cron.d)."),
        click.option("--user", default="", metavar="NAME", help="Whose crontab it is (default: yours)."),
        click.option(
            "--root",
            type=click.Path(path_type=Path, file_okay=False),
            help="Look up users, zone and scripts below this folder: for the crontab of another machine.",
        ),
        click.option("--timezone", default="", metavar="TZ", help="The zone of the machine (default: what it says)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cron.command("inspect")
@_source_options
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON document.")
def inspect(source: str, system: bool, user: str, root: Path | None, timezone: str, as_json_: bool) -> None:
    """Show what cron would make of a crontab, a folder of crontabs, or standard input (-). Changes nothing."""
    readings = read(source, Options(system=system, user=user, root=root, timezone=timezone))
    if as_json_:
        _print_json(as_json(readings))
        return
    for reading in readings:
        _print_reading(reading, heading=len(readings) > 1)


@cron.command("import")
@_source_options
@click.option(
    "--accept",
    type=click.Choice(["none", "high", "all"]),
    default="none",
    help="Which suggestions to take over: a run-parts folder as a chain of jobs.",
)
@click.option("--shadow", is_flag=True, help="New jobs stay cron's: the lab only notes when it would run them.")
@click.option("--dry-run", is_flag=True, help="Print the change of the lab file, write nothing.")
@click.option("--json", "as_json_", is_flag=True, help="Print what was done as one JSON document.")
def import_(
    source: str,
    system: bool,
    user: str,
    root: Path | None,
    timezone: str,
    accept: str,
    shadow: bool,
    dry_run: bool,
    as_json_: bool,
) -> None:
    """Add the jobs of a crontab to the lab file. Importing again updates them; comments and your settings stay."""
    from homelab.cli import cronimport
    from homelab.home import crontabs, labedit, labshadow

    readings = read(source, Options(system=system, user=user, root=root, timezone=timezone))
    path = cronimport.lab_path()
    with contextlib.nullcontext() if dry_run else labedit.locked(path):
        before = cronimport.read_lab(path, timezone=timezone or crontabs.zone(root))
        zone = labedit.lab_timezone(before[str(path)], str(path))
        texts = dict(before)
        done: list[labedit.Merged] = []
        for reading in readings:
            known_as = cronimport.source_of(reading, user or crontabs.owner_of(reading.file))
            chains = labedit.chains(texts, source=known_as)
            jobs = cronimport.new_jobs(reading, accept=accept, timezone=zone, chains=chains)
            # A line with a mistake in it is not a job that was taken out.
            is_sound = not any(problem.severity == "error" for problem in reading.problems)
            merged = labedit.merge(texts, str(path), jobs, source=known_as, removes=is_sound)
            texts = labshadow.shadowed(merged.texts, merged.added) if shadow else merged.texts
            done.append(merged)
        is_new = not path.exists()
        changed = [name for name in texts if texts[name] != before[name] or (is_new and name == str(path))]
        if not dry_run:
            for name in changed:
                labedit.write(Path(name), texts[name])
    total = labedit.joined(done)
    for reading in readings:
        _print_problems(reading)
        for line in cronimport.undecodable(reading):
            click.echo(f"{reading.file}:{line}: not imported: it holds bytes that are not UTF-8", err=True)
    for name in total.kept:
        why = "it was changed by hand, or the crontab has bad lines"
        click.echo(f"job '{name}' is no longer in the crontab; it stays: {why}", err=True)
    if as_json_:
        names = ("added", "updated", "removed", "kept", "unchanged")
        lists = {name: getattr(total, name) for name in names}
        lists["unchanged"] = [*total.unchanged, *total.renumbered]
        _print_json({"lab": str(path), "dry_run": dry_run, "changed": changed, **lists})
    elif dry_run:
        _print_diff({} if is_new else before, texts, changed)
    click.echo(f"{cronimport.summary(total)} ({path}{', dry run' if dry_run else ''})", err=True)
    if any(cronimport.undecodable(reading) for reading in readings):
        sys.exit(1)


@cron.command("next")
@click.argument("expression", metavar="EXPR")
@click.option("--timezone", default="", metavar="TZ", help="The zone of the expression (default: this machine's).")
@click.option("--after", default="", metavar="TIME", help="ISO 8601; without a zone it is in --timezone. Default: now.")
@click.option("--count", default=5, type=click.IntRange(0, 1_000_000), show_default=True, help="How many at most.")
@click.option("--seed", default="", metavar="JOB", help="The job's name: it decides what ~ picks.")
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON document.")
def next_(expression: str, timezone: str, after: str, count: int, seed: str, as_json_: bool) -> None:
    """Show when a cron expression is due next, strictly after TIME."""
    from datetime import UTC, datetime
    from itertools import islice

    from homelab.core.schedule import ScheduleError, check_zone, describe, parse
    from homelab.home import crontabs

    timezone = timezone or crontabs.zone(None)
    zone = check_zone(timezone)
    try:
        schedule = parse(expression, timezone, seed=seed)
    except ScheduleError as error:
        pointer = f"  {_clean(expression)}\n  {'^':>{error.column}}"
        raise InputError(error.message + (f". {error.hint}" if error.hint else ""), hint=pointer) from error
    try:
        start = datetime.fromisoformat(after) if after else datetime.now(UTC)
    except ValueError as error:
        raise InputError(f"'{after}' is no time", hint="Write it like 2026-03-08T01:30:00Z.") from error
    start = start if start.tzinfo else start.replace(tzinfo=zone)
    fires = islice(schedule.fires(start), count)
    for warning in schedule.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json_:
        _print_json({"fires": [_utc(fire) for fire in fires]})
        return
    click.echo(f"{describe(schedule)} ({timezone})", err=True)
    for fire in fires:
        click.echo(f"{fire.astimezone(zone).isoformat(sep=' ')}  {_utc(fire)}")


cron.add_command(adopt)
cron.add_command(release)
cron.add_command(compare)
cron.add_command(diff_env)


def _utc(time: Any) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _print_json(document: Any) -> None:
    import json

    click.echo(json.dumps(document, indent=1))


def _print_diff(before: dict[str, str], after: dict[str, str], changed: list[str]) -> None:
    import difflib

    for name in changed:
        old, new = before.get(name, ""), after[name]
        lines = difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), name if old else "/dev/null", name
        )
        click.echo("".join(line if line.endswith("\n") else line + "\n" for line in lines), nl=False)


def _print_reading(reading: Reading, *, heading: bool) -> None:
    if heading:
        click.echo(f"{reading.file}:")
    rows = [("LINE", "SCHEDULE", "USER", "NAME", "COMMAND")]
    rows += [(str(j.line), j.schedule, j.user, j.name, j.command) for j in reading.jobs]
    if not sys.stdout.isatty():
        for row in rows[1:]:
            click.echo("\t".join(_clean(cell) for cell in row))
    elif reading.jobs:
        import shutil

        width = shutil.get_terminal_size().columns
        sizes = [max(len(_clean(row[n])) for row in rows) for n in range(4)]
        for row in rows:
            text = "  ".join(_clean(cell).ljust(size) for cell, size in zip(row, [*sizes, 0], strict=True))
            click.echo(text if len(text) <= width else text[: width - 1] + "…")
    _print_problems(reading)
    for suggestion in reading.suggestions():
        click.echo(f"{reading.file}:{suggestion['lines'][0]}: suggestion: {_clean(suggestion['evidence'])}", err=True)
    for hazard in reading.hazards():
        click.echo(f"{reading.file}:{hazard['line']}: hazard: {_clean(hazard['message'])}", err=True)


def _print_problems(reading: Reading) -> None:
    for problem in reading.problems:
        place = f"{reading.file}:{problem.line}:{problem.column}"
        hint = f" {problem.hint}" if problem.hint else ""
        click.echo(f"{place}: {problem.severity}: {_clean(problem.message)}.{hint}", err=True)


def _clean(text: str) -> str:
    """Safe for a terminal: what is in a file must not move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
