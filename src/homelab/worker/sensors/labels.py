"""What kind of machine this is, as labels that work can ask for: `os` (linux, macos) and `arch` (x86_64, arm64)."""

import platform
import sys
from typing import Final

_ARCHITECTURES: Final = {"amd64": "x86_64", "aarch64": "arm64"}


def labels(system: str, machine: str) -> dict[str, str]:
    """The same machine has the same words on every system. An empty name is left out."""
    name = machine.lower()
    found = {"os": "macos" if system == "darwin" else system, "arch": _ARCHITECTURES.get(name, name)}
    return {key: value for key, value in found.items() if value}


def read() -> dict[str, str]:
    return labels(sys.platform, platform.machine())
