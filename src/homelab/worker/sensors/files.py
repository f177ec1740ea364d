"""Small files of /proc and /sys, and short programs of macOS: read, or None. No interpretation."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

PROGRAM_S = 3.0
"""`sysctl`, `vm_stat` and `pmset` answer within milliseconds; what takes longer is not waited for."""


def text(path: str | Path) -> str | None:
    """The file's text, or None when there is none or it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - many a heartbeat; twice as fast as a Path
            return file.read(65536).decode("utf-8", "replace")
    except OSError:
        return None


def number(path: str | Path) -> int | None:
    """The whole number that the file holds; None when it holds none (`max`, nothing)."""
    found = text(path)
    try:
        return None if found is None else int(found)
    except ValueError:
        return None


def printed(argv: Sequence[str], *, any_status: bool = False) -> str | None:
    """What a program prints, or None when it is not there, hangs, or fails (unless `any_status`). Blocking."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_S,
            check=False,
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if any_status or done.returncode == 0 else None
