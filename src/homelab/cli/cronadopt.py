"""`homelab cron adopt` and `homelab cron release`: what would change, doing it, and saying what was done."""

import difflib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from homelab.core.errors import HomelabError, NotFoundError, RefusedError
from homelab.core.times import iso

if TYPE_CHECKING:
    from homelab.cli.adoptionplan import AdoptionPlan
    from homelab.cli.handover import Release
    from homelab.home.adoptions import Adoption
    from homelab.home.livecron import Target
    from homelab.home.paths import Home

_file = click.option(
    "--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="/etc/crontab, or a file in /etc/cron.d."
)
_user = click.option("--user", default="", metavar="NAME", help="Whose crontab (default: yours; another's as root).")
_dry_run = click.option("--dry-run", is_flag=True, help="Print what would change, change nothing.")
_json = click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON document.")


@click.command()
@_file
@_user
@click.option("--only", multiple=True, metavar="JOB", help="Adopt this job alone (again for more; `cron inspect`).")
@click.option("--force", is_flag=True, help="Also when the lab has a job at another time and one run would be lost.")
@_dry_run
@_json
def adopt(file: Path | None, user: str, only: tuple[str, ...], force: bool, dry_run: bool, as_json: bool) -> None:
    """Carry the jobs of the live crontab over into the running lab; no due minute is lost or run twice.

    Their lines become comments. The way back is `homelab cron release`, or restore.sh beside the backup.
    """
    from homelab.cli import adoptionplan, handover, output, switch
    from homelab.home import adoptions
    from homelab.home.paths import Home

    home = Home.default()
    if dry_run:
        plan = adoptionplan.plan_adoption(_target(file, user), home, only=only)
        _show_plan(plan, as_json)
        return
    client = switch.running_lab()
    with adoptions.locked(home), output.progress("reading the crontab") as progress:
        for adoption in adoptions.interrupted(home):
            if adoption.state == "releasing":
                hint = "Finish it with: homelab cron release"
                raise RefusedError(f"a release of the {adoption.target.label} was interrupted", hint=hint)
            settled = handover.settle(adoption, client)
            output.note(f"an interrupted adoption of {_when(adoption.at)} is {settled.state} now")
        plan = adoptionplan.plan_adoption(_target(file, user), home, only=only)
        done = handover.adopt(plan, home, client, progress.say, force=force) if plan.lines else None
    if as_json:
        output.json_document(_adoption_json(plan, done, dry_run=False))
        return
    _say_stays(plan)
    if done is None or done.since is None:
        output.note("nothing to adopt")
        return
    for line in plan.lines:
        output.line(f"{plan.target.label}:{line.line}\t{', '.join(line.jobs)}")
    output.note(
        f"{len(plan.jobs)} job{'s' if len(plan.jobs) > 1 else ''} carried over at {_when(done.since)}:"
        f" the lab runs what is due from {_when(_next_minute(done.since))} on, cron ran what was due before"
    )
    output.note(f"the way back: homelab cron release, or without the lab: sh {done.restore}")


@click.command()
@_file
@_user
@click.option("--force", is_flag=True, help="Also when the lines are gone, or when a run would be doubled.")
@_dry_run
@_json
def release(file: Path | None, user: str, force: bool, dry_run: bool, as_json: bool) -> None:
    """Give adopted jobs back to cron: the crontab has its old bytes again, your edits since are kept.

    Without --file or --user: all crontabs that this lab has adopted. It works when the lab is down, too.
    """
    from homelab.cli import handover, output, switch
    from homelab.home import adoptions
    from homelab.home.paths import Home

    home = Home.default()
    if dry_run:
        plans = [handover.plan_release(found, force=force) for found in _adopted(home, file, user)]
        _show_releases(plans, as_json)
        return
    done: list[Release] = []
    with adoptions.locked(home), output.progress("reading the crontab") as progress:
        for found in _adopted(home, file, user):
            plan = handover.plan_release(found, force=force)
            client = switch.lab_if_running(home)
            done.append(handover.release(plan, home, client, progress.say, force=force))
    if as_json:
        output.json_document({"dry_run": False, "released": [_release_json(plan) for plan in done]})
        return
    for plan in done:
        _say_release(plan)


def _target(file: Path | None, user: str) -> "Target":
    from homelab.home import livecron

    if file is not None and user:
        raise click.UsageError("--file and --user exclude each other: lines of such a file name their users")
    return livecron.user_crontab(user) if file is None else livecron.cron_file(file)


def _adopted(home: "Home", file: Path | None, user: str) -> list[list["Adoption"]]:
    """The adoptions in force, those of one crontab together. NotFoundError when there is none."""
    from homelab.home import adoptions

    wanted = _target(file, user).label if file is not None or user else ""
    found: dict[str, list[Adoption]] = {}
    for adoption in adoptions.active(home):
        if wanted in ("", adoption.target.label):
            found.setdefault(adoption.target.label, []).append(adoption)
    if not found:
        raise NotFoundError(
            f"this lab has adopted nothing{f' of the {wanted}' if wanted else ''} ({home.root})",
            hint="If another HOMELAB_HOME has, name it. Backups lie in its folder backups/crontab.",
        )
    return list(found.values())


# --- what is said -----------------------------------------------------------------------------------------------------


def _adoption_json(plan: "AdoptionPlan", done: "Adoption | None", *, dry_run: bool) -> dict[str, Any]:
    since = None if done is None else done.since
    return {
        "target": plan.target.label,
        "dry_run": dry_run,
        "adopted": [{"line": line.line, "jobs": list(line.jobs)} for line in plan.lines],
        "stays": [{"line": stay.line, "reason": stay.reason} for stay in plan.choice.stays],
        "notes": list(plan.notes),
        "lab": str(plan.lab),
        "moment": None if since is None else iso(since),
        "first_due": None if since is None else iso(_next_minute(since)),
        "backup": None if done is None else str(done.folder),
        "restore": None if done is None else str(done.restore),
        "crontab_diff": _crontab_diff(plan.data, plan.marked, plan.target.label),
        "lab_diff": _lab_diff(plan),
    }


def _release_json(plan: "Release") -> dict[str, Any]:
    return {
        "target": plan.target.label,
        "jobs": list(plan.jobs),
        "lines": list(plan.turned.lines),
        "exact": plan.exact,
        "live": [text.decode("utf-8", "replace") for text in plan.turned.live],
        "gone": [text.decode("utf-8", "replace") for text in plan.turned.gone],
        "lab_let_go": plan.lab_let_go,
        "moment": None if plan.at is None else iso(plan.at),
        "first_due": None if plan.at is None else iso(_next_minute(plan.at)),
        "backup": str(plan.adoptions[0].folder),
        "crontab_diff": _crontab_diff(plan.data, plan.turned.data, plan.target.label),
    }


def _show_plan(plan: "AdoptionPlan", as_json: bool) -> None:
    from homelab.cli import output

    if as_json:
        output.json_document(_adoption_json(plan, None, dry_run=True))
        return
    for line in (_crontab_diff(plan.data, plan.marked, plan.target.label) + _lab_diff(plan)).splitlines():
        output.line(output.safe(line))
    _say_stays(plan)
    output.note(f"{len(plan.jobs)} jobs would go to the lab (dry run, nothing was changed)")
    try:
        from homelab.cli import switch

        switch.running_lab()
    except HomelabError as error:
        output.note(f"note: {error}")


def _say_stays(plan: "AdoptionPlan") -> None:
    from homelab.cli import output

    for stay in plan.choice.stays:
        output.note(f"{plan.target.label}:{stay.line}: stays in cron: {stay.reason}")
    for note in plan.notes:
        output.note(f"note: {note}")


def _show_releases(plans: Sequence["Release"], as_json: bool) -> None:
    from homelab.cli import output

    if as_json:
        output.json_document({"dry_run": True, "released": [_release_json(plan) for plan in plans]})
        return
    for plan in plans:
        for line in _crontab_diff(plan.data, plan.turned.data, plan.target.label).splitlines():
            output.line(output.safe(line))
        output.note(f"{len(plan.jobs)} jobs would be cron's again (dry run, nothing was changed)")


def _say_release(plan: "Release") -> None:
    from homelab.cli import output

    for adoption in plan.adoptions:
        for line in adoption.lines:
            output.line(f"{plan.target.label}:{line.line}\t{', '.join(line.jobs)}")
    for text in plan.turned.gone:
        shown = output.safe(text.decode("utf-8", "replace"))
        output.note(f"not put back, it was taken out of the {plan.target.label} meanwhile: {shown}")
    state = "has its old bytes again" if plan.exact else "has its lines again; what was edited meanwhile is kept"
    output.note(f"the {plan.target.label} {state}")
    if plan.at is not None:
        output.note(f"cron runs what is due from {_when(_next_minute(plan.at))} on")
    if not plan.lab_let_go:
        output.note("the lab is down; when it starts, it leaves these jobs to cron")
    output.note("the jobs stay in the lab file in shadow: they run nowhere but in cron")


def _crontab_diff(old: bytes, new: bytes, label: str) -> str:
    return _diff(old.decode("utf-8", "replace"), new.decode("utf-8", "replace"), label)


def _lab_diff(plan: "AdoptionPlan") -> str:
    return "".join(_diff(plan.before[name], plan.after[name], name) for name in plan.before)


def _diff(old: str, new: str, label: str) -> str:
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), label, label)
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _next_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _when(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
