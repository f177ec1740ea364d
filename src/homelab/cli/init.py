"""`homelab init`: write a first lab.toml from what this machine has. Looks only; starts and changes nothing else.

Jobs come in through `homelab cron import`, which this command calls for the crontabs it found and you agreed to.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click

from homelab.core.errors import HomelabError, InputError, RefusedError

_WAIT_S = 5.0
_OLLAMA = ("127.0.0.1", 11434)
_LINE_OF_JOB = re.compile(r"\s*(?:@\w|[0-9*~])")


@dataclass(frozen=True, kw_only=True)
class Crontab:
    """A crontab of this machine. `source` is what `cron import` is given: a file, or `-` for the user's own `text`."""

    label: str
    source: str
    text: str
    is_system: bool = False

    @property
    def jobs(self) -> int:
        """Lines that look like jobs, for the question; `cron import` says how many they really are."""
        return sum(1 for line in self.text.splitlines() if _LINE_OF_JOB.match(line))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What this machine has. `others` are sentences about services, without a setting of their own yet."""

    name: str
    timezone: str
    crontabs: tuple[Crontab, ...] = ()
    others: tuple[str, ...] = field(default=())


@click.command()
@click.option("--yes", "-y", is_flag=True, help="Do not ask; import the crontabs found too.")
@click.option("--no-import", is_flag=True, help="Write the file without importing crontabs.")
def init(yes: bool, no_import: bool) -> int:
    """Write a first lab.toml from what this machine has.

    Shows what was found and what will be written. A lab.toml that is there is never overwritten.
    """
    path = Path(os.environ.get("HOMELAB_LAB") or "lab.toml").absolute()
    _refuse_existing(path)
    found = look()
    text = first_file(found)
    _show(found, path, text)
    if not yes:
        if not sys.stdin.isatty():
            raise RefusedError("nobody is here to say yes", hint="To write it without being asked: homelab init --yes")
        if not click.confirm("Write it?", default=True, err=True):
            raise RefusedError("nothing was written")
    _write(path, text)
    click.echo(f"wrote {path}", err=True)
    _import_all([] if no_import else found.crontabs, path, ask=not yes)
    click.echo("Next: homelab check, then homelab up", err=True)
    return 0


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise RefusedError(f"{path} is already there", hint="Import jobs into it with: homelab cron import FILE")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _refuse_existing(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", hint="Choose another folder.") from error


def look() -> Found:
    """What this machine has; everything that cannot be read is left out."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname().split(".")[0]).strip("-._")[:100]
    return Found(name=name or "home", timezone=_timezone(), crontabs=tuple(_crontabs()), others=tuple(_others()))


def _timezone() -> str:
    """The zone of the machine by its name; UTC when it has none."""
    named = os.environ.get("TZ", "").removeprefix(":") or _read(Path("/etc/timezone")).strip()
    if not named:
        named = os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    from homelab.core.labfile import parse

    lab, _ = parse({"": f"lab.timezone = {json.dumps(named)}"}, main="")
    return lab.timezone if lab is not None else "UTC"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return ""


def _crontabs() -> list[Crontab]:
    found: list[Crontab] = []
    own = _output("crontab", "-l")
    if own.strip():
        found.append(Crontab(label="your crontab", source="-", text=own))
    names = [Path("/etc/crontab")]
    folder = Path("/etc/cron.d")
    if os.access(folder, os.R_OK | os.X_OK) and folder.is_dir():
        names += sorted(p for p in folder.iterdir() if re.fullmatch(r"[A-Za-z0-9_-]+", p.name))
    texts = {path: _read(path) for path in names}
    found += [Crontab(label=str(p), source=str(p), text=t, is_system=True) for p, t in texts.items()]
    return [c for c in found if c.jobs]


def _others() -> list[str]:
    said: list[str] = []
    try:
        with socket.create_connection(_OLLAMA, timeout=0.5):
            said.append(f"Ollama answers on {_OLLAMA[0]}:{_OLLAMA[1]}")
    except OSError:
        pass
    if shutil.which("tailscale"):
        addresses = _output("tailscale", "ip", "-4").split()
        said.append("Tailscale is installed" + (f"; this machine is {addresses[0]}" if addresses else ""))
    if postgres := shutil.which("postgres") or shutil.which("psql"):
        said.append(f"Postgres programs are installed ({postgres}); the lab starts its own unless [postgres] has a url")
    return said


def _output(*command: str) -> str:
    """What a program prints; empty when it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_WAIT_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def first_file(found: Found) -> str:
    """The text of the first lab file. Pure; what was found but has no setting yet stands in comments."""
    lines = [
        "# What this lab should be. Every setting: docs/reference/lab-file.md; check it with: homelab check",
        "[lab]",
        f'name = "{found.name}"',
        f'timezone = "{found.timezone}"',
        "",
    ]
    if found.others:
        lines += ["# Found on this machine:", *(f"# - {_one_line(said)}" for said in found.others), ""]
    lines += [
        "# Where alerts go (apprise URLs, or references to them: env:NAME, file:PATH, keychain:NAME):",
        "# [notify]",
        '# urls = ["env:ALERT_URL"]',
        "",
    ]
    if not found.crontabs:
        lines += ["[jobs.hello]", 'description = "A first job: change it, or remove it"', 'schedule = "@hourly"']
        lines += ["run = 'echo \"hello from $(hostname)\"'", ""]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _show(found: Found, path: Path, text: str) -> None:
    click.echo("Found:", err=True)
    for crontab in found.crontabs:
        click.echo(f"  {_one_line(crontab.label)}: {crontab.jobs} jobs", err=True)
    for said in found.others:
        click.echo(f"  {_one_line(said)}", err=True)
    if not found.crontabs:
        click.echo("  no crontab that can be read", err=True)
    click.echo(f"\nTo be written to {path}:\n", err=True)
    click.echo("\n".join(f"    {line}".rstrip() for line in text.splitlines()), err=True)


def _import_all(crontabs: list[Crontab] | tuple[Crontab, ...], path: Path, *, ask: bool) -> None:
    """Import each crontab; one that fails does not stop the next, and is named with the command to try again."""
    failed: list[str] = []
    for crontab in crontabs:
        if ask and not click.confirm(f"Import {_one_line(crontab.label)}?", default=not crontab.is_system, err=True):
            continue
        if not ask and crontab.is_system:
            # The system's own upkeep is for cron: it runs as root, and packages change it.
            click.echo(
                f"not imported: {_one_line(crontab.label)} (homelab cron import {crontab.source} --system)", err=True
            )
            continue
        arguments = ["cron", "import", crontab.source, *(["--system"] if crontab.is_system else [])]
        if not ask:
            arguments.append("--yes")
        done = subprocess.run(
            [sys.executable, "-m", "homelab", "--lab", str(path), *arguments],
            input=crontab.text if crontab.source == "-" else "",
            stdout=sys.stderr.fileno() if _has_descriptor() else subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            before = "crontab -l | " if crontab.source == "-" else ""
            failed.append(f"{before}homelab {' '.join(arguments)}")
    if failed:
        raise HomelabError("the lab file is written, but not everything was imported", hint="Try: " + "; ".join(failed))


def _has_descriptor() -> bool:
    try:
        return sys.stderr.fileno() >= 0
    except (OSError, ValueError):
        return False
