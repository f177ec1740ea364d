"""`homelab cron`: read crontabs exactly, import them into the lab file, show when an expression is due.

`inspect` and `next` never change anything; `import` changes the lab file only, never a crontab. What does change one
is in files of its own: `cronadopt`, `cronenv`; `croncompare` reads cron's log.
"""

import sys
from pathlib import Path
from typing import Any, Literal

import click

from homelab.cli.cronadopt import adopt, release
from homelab.cli.croncompare import compare
from homelab.cli.cronenv import diff_env
from homelab.cli.cronread import Options, Reading, as_json, read
from homelab.core.errors import InputError
from homelab.core.times import iso


@click.group()
def cron() -> None:
    """Read crontabs exactly as cron does, import and compare them, carry their jobs over to the lab and back."""


def _source_options(command: Any) -> Any:
    options = (
        click.argument("source", metavar="FILE|-", required=False, default="", type=click.Path(readable=False)),
        click.option(
            "--from",
            "origin",
            type=click.Choice(["cron", "launchd", "systemd", "anacron"]),
            default="cron",
            help="Whose files to read. All but cron have usual places: then FILE can be left out.",
        ),
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


def _format_options(command: Any) -> Any:
    options = (
        click.option(
            "--format",
            "form",
            type=click.Choice(["text", "html"]),
            default="text",
            help="html: one page to read or to send.",
        ),
        click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the page there."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _read(source: str, options: Options) -> list[Reading]:
    """What there is to read. A crontab must be named; other schedulers have usual places."""
    if options.origin != "cron":
        from homelab.cli import timerread

        readings = timerread.read(source, options)
        timerread.add_suggestions(readings)
        return readings
    if not source:
        raise click.UsageError("Missing argument 'FILE|-'.")
    return read(source, options)


def _add_hazards(readings: list[Reading], options: Options) -> None:
    from homelab.cli.hazardread import add_hazards

    add_hazards(readings, root=options.root, is_cron=options.origin in ("cron", "anacron"))


@cron.command("inspect")
@_source_options
@_format_options
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON document.")
def inspect(source: str, form: str, out: Path | None, as_json_: bool, **given: Any) -> None:
    """Show what cron would make of a crontab, a folder of crontabs, or standard input (-). Changes nothing."""
    options = Options(**given)
    readings = _read(source, options)
    _add_hazards(readings, options)
    if as_json_:
        _print_json(as_json(readings))
    elif form == "html" or out is not None:
        from homelab.cli import cronapply, cronpage

        cronapply.give(cronpage.page(readings, cronapply.what_if(readings, options)), out)
    elif sys.stdout.isatty():
        from homelab.cli import cronapply, output, paging

        made = cronapply.what_if(readings, options)
        with paging.paged():
            cronapply.show(readings, made)
            output.hint("make them jobs of the lab: homelab cron import, with the same arguments")
    else:
        for reading in readings:
            _print_reading(reading, heading=len(readings) > 1)


@cron.command("import")
@_source_options
@click.option(
    "--accept",
    type=click.Choice(["none", "high", "all"]),
    help="Which suggestions to take over, without being asked. Default: ask at a terminal, else none.",
)
@click.option("--shadow", is_flag=True, help="New jobs stay cron's: the lab only notes when it would run them.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; write what --accept says.")
@click.option("--again", is_flag=True, help="Suggest once more what was declined before.")
@click.option("--dry-run", is_flag=True, help="Print the change of the lab file, write nothing.")
@_format_options
@click.option("--json", "as_json_", is_flag=True, help="Print what was done as one JSON document.")
def import_(
    source: str,
    accept: Literal["none", "high", "all"] | None,
    shadow: bool,
    yes: bool,
    again: bool,
    dry_run: bool,
    form: str,
    out: Path | None,
    as_json_: bool,
    **given: Any,
) -> None:
    """Add the jobs of a crontab to the lab file. Importing again updates them; comments and your settings stay.

    At a terminal every suggestion is shown with its evidence, and the old and the new timetable before anything is
    written.
    """
    from homelab.cli import cronapply

    is_page = form == "html" or out is not None
    if is_page and not dry_run:
        raise click.UsageError("a page shows what would be done: add --dry-run")
    is_reviewed = not (accept or yes or dry_run or as_json_) and cronapply.is_reviewed(source)
    options = Options(**given)
    readings = _read(source, options)
    if is_reviewed or is_page:
        _add_hazards(readings, options)
    importing = cronapply.Importing(
        readings=readings, source=source, options=options, accept=accept or "none", again=again, shadow=shadow
    )
    if is_reviewed:
        plan = importing.review()
    elif dry_run:
        plan = importing.plan({})
        if is_page:
            from homelab.cli import cronpage

            cronapply.give(cronpage.page(readings, plan), out)
        elif not as_json_:
            importing.tell(plan)
            cronapply.print_difference(plan)
    else:
        plan = importing.write(quiet=as_json_)
    if as_json_:
        _print_json(cronapply.document(plan, dry_run=dry_run))
    importing.conclude(plan, dry_run=dry_run, is_reviewed=is_reviewed)


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
        _print_json({"fires": [iso(fire) for fire in fires]})
        return
    click.echo(f"{describe(schedule)} ({timezone})", err=True)
    for fire in fires:
        click.echo(f"{fire.astimezone(zone).isoformat(sep=' ')}  {iso(fire)}")


cron.add_command(adopt)
cron.add_command(release)
cron.add_command(compare)
cron.add_command(diff_env)


def _print_json(document: Any) -> None:
    import json

    click.echo(json.dumps(document, indent=1))


def _print_reading(reading: Reading, *, heading: bool) -> None:
    """For programs: a job a line with tabs, everything else on standard error."""
    if heading:
        click.echo(f"{reading.file}:")
    for job in reading.jobs:
        cells = (str(job.line), job.schedule, job.user, job.name, job.command)
        click.echo("\t".join(_clean(cell) for cell in cells))
    from homelab.cli.cronapply import print_problems

    reading.described()
    print_problems(reading)
    for suggestion in reading.suggestions():
        _print_suggestion(reading, suggestion)
    _print_hazards(reading)


def _print_hazards(reading: Reading) -> None:
    """Grouped by what they are; the lines of equal ones together, a remedy once."""
    from homelab.cli.hazardread import paragraphs

    for heading, hazards in paragraphs(reading.hazards()):
        click.echo(f"hazard: {heading}", err=True)
        lines: dict[tuple[str, str], list[int]] = {}
        for hazard in hazards:
            lines.setdefault((hazard.message, hazard.hint), []).append(hazard.line)
        hints: list[str] = []
        for (message, hint), where in lines.items():
            click.echo(f"  {reading.file}:{','.join(map(str, where))}: {_clean(message)}.", err=True)
            hints += [hint] if hint not in hints else []
        for hint in hints:
            click.echo(f"    {_clean(hint)}", err=True)


def _print_suggestion(reading: Reading, suggestion: dict[str, Any]) -> None:
    """Who needs whom, how sure it is and why; beneath it the text it rests on."""
    place = f"{reading.file}:{suggestion['downstream_line'] or suggestion['lines'][0]}"
    lines = ", ".join(str(line) for line in suggestion["lines"])
    head = f"lines {lines} exclude each other" if suggestion["kind"] == "exclusive" else f"lines {lines}"
    if suggestion.get("downstream"):
        head = f"{suggestion['downstream']} needs {suggestion['upstream']} (line {suggestion['upstream_line']})"
    text = f"{place}: suggestion ({suggestion['confidence']}): {head}: {suggestion['reason']}"
    click.echo(_clean(text), err=True)
    click.echo(f"    {_clean(suggestion['evidence'])}", err=True)


def _clean(text: str) -> str:
    """Safe for a terminal: what is in a file must not move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
