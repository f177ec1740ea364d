"""The unit that starts the lab at boot: systemd's on Linux, a launchd property list on macOS. Pure text.

Only the supervisor is the unit's process: its services live in sessions of their own, survive a restart of the unit,
and are adopted by the next supervisor. On macOS: not yet proven.
"""

import plistlib
import shlex
from collections.abc import Sequence

LABEL = "org.homelab.supervisor"


def systemd(command: Sequence[str], *, home: str, lab_file: str | None, user: str | None) -> str:
    """A unit; `user` None for one of `systemctl --user`."""
    lab = f"Environment={_quoted('HOMELAB_LAB=' + lab_file)}\n" if lab_file else ""
    run_as = f"User={user}\n" if user else ""
    return (
        "[Unit]\n"
        "Description=homelab: the supervisor of this machine's lab\n"
        "After=network.target local-fs.target\n"
        "\n"
        "[Service]\n"
        f"ExecStart={' '.join(_quoted(part) for part in command)}\n"
        f"Environment={_quoted('HOMELAB_HOME=' + home)}\n"
        f"{lab}{run_as}"
        "Restart=always\n"
        "RestartSec=2\n"
        "KillMode=process\n"
        "TimeoutStopSec=90\n"
        "\n"
        "[Install]\n"
        f"WantedBy={'multi-user' if user else 'default'}.target\n"
    )


def _quoted(text: str) -> str:
    """systemd's own quoting: `%` and `$` mean something to it."""
    safe = text.replace("%", "%%").replace("$", "$$")
    return safe if shlex.quote(text) == text else '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'


def launchd(command: Sequence[str], *, home: str, lab_file: str | None, user: str | None) -> str:
    """A property list; `user` None for an agent of the one who is signed in."""
    environment = {"HOMELAB_HOME": home, **({"HOMELAB_LAB": lab_file} if lab_file else {})}
    body = {
        "Label": LABEL,
        "ProgramArguments": list(command),
        "EnvironmentVariables": environment,
        "RunAtLoad": True,
        "KeepAlive": True,
        "AbandonProcessGroup": True,
        "ProcessType": "Background",
        "StandardErrorPath": f"{home}/logs/supervisor.log",
        "StandardOutPath": f"{home}/logs/supervisor.log",
        **({"UserName": user} if user else {}),
    }
    return plistlib.dumps(body).decode()
