"""`homelab service`: start the lab at boot, by the machine's own service manager."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import click

from homelab.core.errors import HomelabError, NotFoundError
from homelab.home.paths import Home

SYSTEMD = Path("/etc/systemd/system/homelab.service")
DAEMON = Path("/Library/LaunchDaemons/org.homelab.supervisor.plist")


@click.group()
def service() -> None:
    """Start the lab at boot (systemd, launchd)."""


@service.command("print")
@click.option("--user", is_flag=True, help="For this account only, without root (starts at sign-in).")
def print_(user: bool) -> None:
    """Print the unit that `install` would write."""
    click.echo(_unit(user=user), nl=False)


@service.command()
@click.option("--user", is_flag=True, help="For this account only, without root (starts at sign-in).")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def install(user: bool, dry_run: bool) -> None:
    """Write the unit and enable it. It supervises the supervisor only; running jobs survive its restart."""
    path, text = _path(user=user), _unit(user=user)
    if dry_run:
        click.echo(f"would write {path}:\n{text}\nand run: {' '.join(_enable(user=user, path=path))}")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise HomelabError(
            f"cannot write {path}: {error.strerror}", hint="Use sudo, or: homelab service install --user"
        ) from error
    _run(_enable(user=user, path=path))
    click.echo(f"installed {path}", err=True)


@service.command()
@click.option("--user", is_flag=True, help="The one of this account.")
def uninstall(user: bool) -> None:
    """Disable and remove the unit. The lab that runs goes on until `homelab down`."""
    path = _path(user=user)
    if not path.exists():
        raise NotFoundError(f"there is no {path}", hint="See: homelab service install --dry-run")
    _run(_disable(user=user, path=path))
    path.unlink()
    click.echo(f"removed {path}", err=True)


def _unit(*, user: bool) -> str:
    from homelab.home import labfiles, membership
    from homelab.stack import units

    home = Home.default().ensure()
    try:
        lab_file = None if membership.path_of(home).exists() else str(labfiles.find())
    except NotFoundError:
        lab_file = None
    command = [sys.executable, "-m", "homelab", "up"]
    make = units.launchd if sys.platform == "darwin" else units.systemd
    return make(command, home=str(home.root), lab_file=lab_file, user=None if user else getpass.getuser())


def _path(*, user: bool) -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library/LaunchAgents" / DAEMON.name if user else DAEMON
    return Path.home() / ".config/systemd/user" / SYSTEMD.name if user else SYSTEMD


def _enable(*, user: bool, path: Path) -> list[str]:
    if sys.platform == "darwin":
        return ["launchctl", "bootstrap", f"gui/{os.getuid()}" if user else "system", str(path)]
    return ["systemctl", *(["--user"] if user else []), "enable", "--now", path.name]


def _disable(*, user: bool, path: Path) -> list[str]:
    if sys.platform == "darwin":
        return ["launchctl", "bootout", f"gui/{os.getuid()}" if user else "system", str(path)]
    return ["systemctl", *(["--user"] if user else []), "disable", path.name]


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HomelabError(
            f"{' '.join(command)} failed: {error}", hint="The unit is written; enable it by hand."
        ) from error
