"""`homelab doctor`: can this machine run a lab, and does this one run well? Each finding with what to do."""

import os
import shutil
import sys
import time
from collections.abc import Callable

import click

from homelab.cli.job import as_json
from homelab.core.errors import HomelabError
from homelab.home.paths import Home

Finding = tuple[str, str, str]
"""status (ok, warn, fail, skip), message, fix"""

LEAST_FREE = 1 * 2**30


@click.command()
@as_json
def doctor(as_json: bool) -> int:
    """Check that this machine can run a lab."""
    from homelab.cli import output
    from homelab.home import membership

    home = Home.default()
    checks: list[dict[str, str]] = []
    for name, check in (NODE_CHECKS if membership.path_of(home).exists() else CHECKS).items():
        try:
            status, message, fix = check(home)
        except HomelabError as error:
            status, message, fix = "fail", error.message, error.hint
        checks.append({"name": name, "status": status, "message": message, "fix": fix})
    if as_json:
        output.json_document({"checks": checks})
    else:
        output.table(
            ["check", "status", "found", "fix"],
            [[c["name"], output.state(c["status"]), c["message"], c["fix"]] for c in checks],
        )
    return 1 if any(c["status"] == "fail" for c in checks) else 0


def _python(_: Home) -> Finding:
    return "ok", sys.version.split()[0], ""


def _state_folder(home: Home) -> Finding:
    home.ensure()
    probe = home.run / f".doctor.{os.getpid()}"
    try:
        probe.write_text("x")
        probe.unlink()
    except OSError as error:
        return "fail", f"{home.root}: {error.strerror}", "Correct its owner and mode, or set HOMELAB_HOME."
    owner = home.root.stat().st_uid
    if owner != os.geteuid():
        return "warn", f"{home.root} belongs to user id {owner}", f"chown -R {os.geteuid()} {home.root}"
    return "ok", str(home.root), ""


def _disk(home: Home) -> Finding:
    folder = home.root if home.root.exists() else home.root.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free for {home.root}"
    return ("ok", text, "") if free >= LEAST_FREE else ("warn", text, "Free some space: logs and database live there.")


def _postgres(home: Home) -> Finding:
    from homelab.stack import postgres, programs

    found = programs.find()
    place = postgres.place_of(home)
    who = f", run as {place.account.pw_name}" if place.account else ""
    return "ok", f"{found.origin}, data in {place.data}{who}", ""


def _secrets(home: Home) -> Finding:
    loose = [p.name for p in home.secrets.glob("*") if p.is_file() and p.stat().st_mode & 0o077]
    if loose:
        return "fail", f"readable by others: {', '.join(loose)}", f"chmod 600 {home.secrets}/*"
    return "ok", "readable by their owner alone", ""


def _clock(_: Home) -> Finding:
    if time.time() < 1_700_000_000:
        return "fail", time.strftime("%Y-%m-%d"), "Set the clock: schedules depend on it."
    return "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"), ""


def _lab(home: Home) -> Finding:
    from homelab.cli.check import load
    from homelab.home import labfiles

    try:
        path = labfiles.find()
    except HomelabError as error:
        return "warn", error.message, error.hint or "homelab init"
    lab, problems, _ = load(str(path))
    errors = sum(p.severity == "error" for p in problems)
    if lab is None:
        return "fail", f"{path}: {errors} errors", "homelab check"
    return "ok", f"{path}: {len(lab.jobs)} jobs", ""


def _running(home: Home) -> Finding:
    from homelab.core.errors import NotFoundError
    from homelab.stack import control_socket

    try:
        services = control_socket.ask(home, {"do": "status"})["services"]
    except NotFoundError:
        return "skip", "not running", "homelab up"
    bad = [f"{s['name']} is {s['state']}: {s['message']}" for s in services if s["state"] not in ("ready", "external")]
    return ("warn", "; ".join(bad), "homelab status") if bad else ("ok", f"{len(services)} services ready", "")


def _joined(home: Home) -> Finding:
    """Whether the lab that this home is a node of answers, and takes it."""
    from homelab.cli import nodeup
    from homelab.home import membership

    member = membership.read(home)
    if member is None:
        return "skip", "no node of a lab", ""
    if why := nodeup.trouble_of(home, member):
        return "fail", why, "See: homelab status"
    return "ok", f"node {member.name} of {member.lab_name or 'the lab'} at {member.url}", ""


def _cron(_: Home) -> Finding:
    found = shutil.which("crontab")
    return ("ok", found, "") if found else ("skip", "there is no crontab program here", "")


def _adopted(home: Home) -> Finding:
    """Whether what was taken over from cron is the lab's alone."""
    from homelab.core.crontab.adoption import turned_back
    from homelab.home import adoptions

    found = adoptions.active(home) if adoptions.folder_of(home).exists() else []
    if not found:
        return "skip", "no job was taken over from cron", ""
    for adoption in found:
        if adoption.state != "adopted":
            verb = "release" if adoption.state == "releasing" else "adopt"
            return "fail", f"{adoption.target.label}: a cron {verb} was interrupted", f"homelab cron {verb}"
        live = turned_back(adoption.target.read(), adoption.texts).live
        if live:
            fix = "Comment them out again, or give all back: homelab cron release"
            return "warn", f"{adoption.target.label}: {len(live)} adopted lines are live, so both run them", fix
    return "ok", f"{sum(len(a.jobs) for a in found)} jobs taken over from cron", ""


CHECKS: dict[str, Callable[[Home], Finding]] = {
    "python": _python,
    "state-folder": _state_folder,
    "disk": _disk,
    "postgres": _postgres,
    "secrets": _secrets,
    "clock": _clock,
    "lab-file": _lab,
    "running": _running,
    "crontab": _cron,
    "adopted": _adopted,
}
NODE_CHECKS: dict[str, Callable[[Home], Finding]] = {
    **{name: CHECKS[name] for name in ("python", "state-folder", "disk", "secrets", "clock")},
    "lab": _joined,
    "running": _running,
}
"""In the home of a node, where no database and no lab file are."""
