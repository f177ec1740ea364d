"""Whether a reference to a secret (`env:NAME`, `file:PATH`, `keychain:NAME`) leads to one on this machine.

Values are never returned or printed. Called by `cli.check` and by `control` before a lab file is applied.
"""

import os
import subprocess
from pathlib import Path

from homelab.home.paths import Home


def exists(reference: str) -> bool:
    """True when the reference leads to a secret that is not empty. A relative path lies below HOMELAB_HOME."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return bool(os.environ.get(name))
    if kind == "file":
        return _has_content(Home.default().root / Path(name).expanduser())
    return kind == "keychain" and _in_keychain(name)


def _has_content(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0 and os.access(path, os.R_OK)
    except (OSError, ValueError):
        return False


def _in_keychain(name: str) -> bool:
    """Asks macOS for the item without its value, so that no permission dialog opens. False on other systems."""
    try:
        done = subprocess.run(
            ["security", "find-generic-password", "-s", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
