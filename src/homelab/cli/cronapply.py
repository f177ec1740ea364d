"""Carry out an import: compute it, show it or ask about it, and write the lab file under its lock.

Called by `cli.cron`. Asking is `cli.cronreview`, what is computed `cli.cronimport`, how it looks `cli.cronview`.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from homelab.cli import cronreview, cronview, output
from homelab.cli.cronimport import Accept, Plan, lab_path, plan, write
from homelab.cli.cronjobs import source_of, undecodable
from homelab.cli.cronread import Options, Reading
from homelab.cli.hazardread import durations_s
from homelab.cli.output import safe
from homelab.core.errors import InputError, RefusedError
from homelab.home import crontabs, labedit, labfiles
from homelab.home.paths import Home

_MOST_ROWS = 20


@dataclass(kw_only=True)
class Importing:
    """One `cron import`, with its options."""

    readings: Sequence[Reading]
    source: str
    options: Options
    accept: Accept
    again: bool
    shadow: bool = False

    def __post_init__(self) -> None:
        self.path = lab_path()
        self.zone = self.options.timezone or crontabs.zone(self.options.root)
        is_running = labfiles.last(Home.default()) == self.path
        self.durations: Mapping[str, float] = durations_s() if is_running else {}

    def plan(self, answers: dict[str, bool]) -> Plan:
        known = [(r, source_of(r, self.options.user or crontabs.owner_of(r.file))) for r in self.readings]
        return plan(
            known,
            self.path,
            timezone=self.zone,
            accept=self.accept,
            answers=answers,
            again=self.again,
            shadow=self.shadow,
            usual_s=self.durations.get,
            now=datetime.now(UTC),
        )

    def review(self) -> Plan:
        """Ask, then write. RefusedError when the last answer is no."""
        talk = cronreview.Review(readings=self.readings, planner=self.plan)
        shown = talk.run()
        while shown is not None:
            if not shown.changed:
                return shown
            with labedit.locked(self.path):
                fresh = self.plan(talk.answers)
                if fresh.after == shown.after:
                    write(fresh)
                    return fresh
            click.echo("\nThe lab file was changed meanwhile. With your answers it now becomes:", err=True)
            shown = fresh if talk.confirm(fresh) == "yes" else None
        raise RefusedError("nothing was written", hint="Your crontab and the lab file are as they were.")

    def write(self, *, quiet: bool) -> Plan:
        """Write without asking. The timetable is told first, where it changes."""
        with labedit.locked(self.path):
            made = self.plan({})
            if not quiet:
                self.tell(made)
            write(made)
        return made

    def tell(self, made: Plan) -> None:
        """Which jobs change, and how the timetable does, on standard error."""
        columns = shutil.get_terminal_size().columns
        if lines := cronview.change_lines(made, columns=columns, most=_MOST_ROWS):
            click.echo("\n".join(lines), err=True)
        if any(row.change not in ("none", "added") for row in made.rows):
            lines = cronview.timetable_lines(made.rows, columns=columns, most=_MOST_ROWS)
            click.echo("\n".join([*lines, ""]), err=True)

    def conclude(self, made: Plan, *, dry_run: bool, is_reviewed: bool = False) -> None:
        """What a person should know at the end, on standard error: all that the review did not show.

        Exit status 1 when a job could not be taken.
        """
        for reading in self.readings:
            if not is_reviewed:
                print_problems(reading)
            for line in undecodable(reading):
                click.echo(f"{reading.file}:{line}: not imported: it holds bytes that are not UTF-8", err=True)
        for name in made.merged.kept:
            why = "it was changed by hand, or needed, or the crontab has bad lines"
            click.echo(f"job '{name}' is no longer in the crontab; it stays: {why}", err=True)
        for what, why in made.refused:
            click.echo(f"not taken: {safe(what)}: {safe(why)}", err=True)
        click.echo(f"{cronview.summary(made.merged)} ({made.path}{', dry run' if dry_run else ''})", err=True)
        if (waiting := len(made.open())) and not is_reviewed:
            said = "1 suggestion waits" if waiting == 1 else f"{waiting} suggestions wait"
            click.echo(f"{said} for an answer: homelab cron import {self.source}, at a terminal", err=True)
        if made.changed and not dry_run:
            output.hint("next: homelab check, then homelab up (or, where it runs, homelab apply)")
        if any(undecodable(reading) for reading in self.readings):
            sys.exit(1)


def is_reviewed(source: str) -> bool:
    """Whether a person is there to be asked."""
    return cronreview.is_possible(source)


def what_if(readings: Sequence[Reading], options: Options) -> Plan:
    """What an import into an empty lab file would give, with the timetable as it is once all that is of high
    confidence is taken over. For `inspect`, which looks at no lab file."""
    known = [(reading, reading.file) for reading in readings]
    path, now = Path("lab.toml"), datetime.now(UTC)
    zone = options.timezone or crontabs.zone(options.root)
    empty = {str(path): labedit.new_lab("home", zone)}
    bare = plan(known, path, timezone=zone, before=empty, now=now)
    sure = plan(known, path, timezone=zone, before=empty, accept="high", now=now)
    return replace(bare, rows=sure.rows, premise="with every suggestion of high confidence")


def show(readings: Sequence[Reading], made: Plan) -> None:
    """What `inspect` prints at a terminal."""
    columns = shutil.get_terminal_size().columns
    for reading in readings:
        if reading.jobs:
            click.echo("\n".join(cronview.job_lines(reading, columns=columns, heading=len(readings) > 1)))
    blocks = [
        cronview.problem_lines(readings, columns=columns),
        cronview.graph_lines(made, columns=columns),
        cronview.suggestions_lines(made, columns=columns),
        cronview.hazard_lines(readings, columns=columns),
    ]
    if any(row.change not in ("none", "added") for row in made.rows):
        blocks.append(cronview.timetable_lines(made.rows, columns=columns, premise=made.premise))
    if lines := [line for block in blocks for line in block]:
        click.echo("\n".join(lines))
    click.echo(f"\n{cronview.counts(readings, made.suggestions)}")


def give(text: str, out: Path | None) -> None:
    """A page, to standard output or to a file that it replaces."""
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the page: {error.strerror}", where=str(out)) from error
    click.echo(f"wrote {out}", err=True)


def print_difference(made: Plan) -> None:
    for line in cronview.difference(made):
        click.echo(safe(line) if sys.stdout.isatty() else line)


def print_problems(reading: Reading) -> None:
    for problem in reading.problems:
        place = f"{reading.file}:{problem.line}:{problem.column}"
        hint = f" {problem.hint}" if problem.hint else ""
        click.echo(f"{place}: {problem.severity}: {safe(problem.message)}.{safe(hint)}", err=True)


def document(made: Plan, *, dry_run: bool) -> dict[str, Any]:
    """The JSON of an import. `unchanged` includes jobs of which only the line is another."""
    lists = {name: getattr(made.merged, name) for name in ("added", "updated", "removed", "kept")}
    return {
        "lab": str(made.path),
        "dry_run": dry_run,
        "changed": made.changed,
        **lists,
        "unchanged": [*made.merged.unchanged, *made.merged.renumbered],
        "changes": [
            {"job": name, "setting": key, "before": old, "after": new}
            for name, changes in made.merged.changes.items()
            for key, old, new in changes
        ],
        "timetable": [
            {"job": row.job, "before": row.before or None, "after": row.after or None, "change": row.change}
            for row in made.rows
        ],
        "suggestions": [
            {
                "kind": "needs" if s.kind == "chain" else s.kind,
                "file": s.file,
                "lines": list(s.lines),
                "jobs": [s.up, s.down] if s.kind == "needs" else list(s.members) or [s.down],
                "confidence": s.confidence,
                "evidence": s.evidence,
                "reason": s.reason,
                "effect": s.effect,
                "state": s.state,
            }
            for s in made.suggestions
        ],
        "refused": [{"suggestion": what, "reason": why} for what, why in made.refused],
    }
