"""The lab's own PostgreSQL: where its data lies, how a cluster is made, how it is started and asked whether it is
ready.

A Unix socket only, SCRAM with a generated password, no TCP. As root the server runs as an unprivileged user, because
it refuses to be root; its files then lie where that user can reach them. Called by the supervisor's service
definitions.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from homelab.core.errors import HomelabError
from homelab.home.paths import Home
from homelab.home.secrets import read_or_create
from homelab.stack.programs import Programs

USER = "homelab"
_SOCKET_PATH_MAX = 90
"""A socket's whole path must stay below 104 bytes on macOS, 108 on Linux; the server adds `/.s.PGSQL.5432`."""
_ROOT_FOLDER = Path("/var/lib/homelab")

SETTINGS: dict[str, str] = {
    # A home lab: little memory, few connections, and nothing lost when the power goes.
    "listen_addresses": "",
    "shared_buffers": "24MB",
    "max_connections": "40",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "effective_cache_size": "256MB",
    "wal_buffers": "1MB",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "max_worker_processes": "4",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "jit": "off",
    "io_method": "sync",
    "autovacuum_max_workers": "1",
    "autovacuum_naptime": "5min",
    "bgwriter_delay": "2s",
    "wal_writer_delay": "1s",
    "checkpoint_timeout": "15min",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "timezone": "UTC",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one home's cluster is, and who runs it. `account` None: the user of this process."""

    data: Path
    sockets: Path
    account: pwd.struct_passwd | None

    @property
    def owner(self) -> dict[str, int | list[int]]:
        """Arguments for starting a process as the cluster's owner."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}


def place_of(home: Home) -> Place:
    """Inside the home wherever the server's user can reach it; else, as root, in a folder of its own named for it."""
    account = _account(home) if os.geteuid() == 0 else None
    if account is None or _reachable(home.root, account):
        data = home.postgres
        sockets = home.run / "postgres"
    else:
        own = _ROOT_FOLDER / _name_of(home)
        data, sockets = own / "postgres", own / "run"
    if len(str(sockets)) > _SOCKET_PATH_MAX:
        # Not TMPDIR: the next supervisor may have another, and must find the server that survived.
        sockets = Path("/tmp") / f"homelab-{os.geteuid()}-{_name_of(home)}"  # noqa: S108
    return Place(data=data, sockets=sockets, account=account)


def _name_of(home: Home) -> str:
    return hashlib.sha256(str(home.root).encode()).hexdigest()[:16]


def _account(home: Home) -> pwd.struct_passwd | None:
    """Whom root lets the server run as: the owner of the home, else an account made for such things."""
    owner = home.root.stat().st_uid if home.root.exists() else 0
    if owner:
        try:
            return pwd.getpwuid(owner)
        except KeyError:
            pass
    for name in ("postgres", "_postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise HomelabError(
        "PostgreSQL does not run as root, and this machine has no account that it could run as",
        hint="Run the lab as an ordinary user, or make an account named 'postgres'.",
    )


def _reachable(folder: Path, account: pwd.struct_passwd) -> bool:
    for part in (folder, *folder.parents):
        try:
            status = part.stat()
        except FileNotFoundError:
            continue
        mine = status.st_uid == account.pw_uid and status.st_mode & 0o100
        if not (mine or status.st_mode & 0o001):
            return False
    return True


def database_url(place: Place, database: str = "homelab") -> str:
    """A libpq URL, without its password (which is in secrets/postgres)."""
    return f"postgresql://{USER}@/{database}?host={quote(str(place.sockets))}"


def prefect_url(home: Home, place: Place) -> str:
    """The URL that Prefect's server takes. It holds the password: for the environment of that process only."""
    password = quote(read_or_create(home, "postgres"))
    return f"postgresql+asyncpg://{USER}:{password}@/prefect?host={quote(str(place.sockets))}"


def command(programs: Programs, place: Place) -> list[str]:
    """The server in the foreground."""
    settings = [part for name, value in SETTINGS.items() if name != "io_method" or _major(place.data) >= 18
                for part in ("-c", f"{name}={value}")]  # fmt: skip
    return [
        str(programs.bin / "postgres"), "-D", str(place.data), "-k", str(place.sockets),
        "-c", "unix_socket_permissions=0777", *settings,
    ]  # fmt: skip


def _major(data: Path) -> int:
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return 0


def prepare(home: Home, place: Place, programs: Programs) -> None:
    """The cluster exists, belongs to its user, is of this version, and its socket folder is there. Blocks (0.5 s the
    first time). HomelabError names the path and the remedy."""
    try:
        _prepare_folders(place)
        if not (place.data / "PG_VERSION").exists():
            _initialise(home, place, programs)
    except OSError as error:
        raise HomelabError(
            f"cannot prepare the database folder: {error.strerror or error}",
            where=str(error.filename or place.data),
            hint="Correct its owner and mode, or free space on that disk; the lab then goes on by itself.",
        ) from error
    _check(place, programs)


def _prepare_folders(place: Place) -> None:
    for folder, mode in ((place.data.parent, 0o755), (place.sockets, 0o755 if place.account else 0o700)):
        if not folder.exists():
            folder.mkdir(parents=True, mode=mode)
            folder.chmod(mode)
    if place.account is not None:
        os.chown(place.sockets, place.account.pw_uid, place.account.pw_gid)


def _initialise(home: Home, place: Place, programs: Programs) -> None:
    """initdb into a folder beside, then one rename: a cluster is whole or not there."""
    fresh = place.data.with_name(f"{place.data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password = fresh.with_name(f".{fresh.name}.password")
    password.touch(mode=0o600)
    password.write_text(read_or_create(home, "postgres"))
    if place.account is not None:
        for path in (fresh, password):
            os.chown(path, place.account.pw_uid, place.account.pw_gid)
    try:
        done = subprocess.run(
            [
                programs.bin / "initdb", "-D", fresh, "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}",
                "--encoding=UTF8", "--no-locale", "--no-instructions",
            ],
            env=programs.environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **cast("dict[str, Any]", place.owner),
        )  # fmt: skip
    finally:
        password.unlink(missing_ok=True)
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        raise HomelabError(
            f"initdb failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}",
            where=str(place.data),
            hint="See `homelab doctor`.",
        )
    if place.data.exists():
        place.data.rmdir()  # an empty folder; anything else is not ours to replace
    fresh.rename(place.data)


def _check(place: Place, programs: Programs) -> None:
    owner = place.data.stat().st_uid
    wanted = place.account.pw_uid if place.account else os.geteuid()
    if owner != wanted:
        raise HomelabError(
            f"the database folder belongs to user id {owner}, but the server runs as {wanted}",
            where=str(place.data),
            hint=f"Give it back: chown -R {wanted} {place.data}",
        )
    version = subprocess.run(
        [programs.bin / "postgres", "--version"],
        env=programs.environment(),
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    have = (place.data / "PG_VERSION").read_text().strip()
    if f" {have}." not in version and not version.strip().endswith(f" {have}"):
        raise HomelabError(
            f"the database folder is of PostgreSQL {have}, the programs are {version.strip() or 'unreadable'}",
            where=str(place.data),
            hint='Use the old version for a pg_dump, or point at a server that has it: [postgres] url = "..."',
        )


def ask(home: Home, place: Place, programs: Programs, sql: str, *, database: str = "postgres") -> str:
    """The answer to one statement, as psql prints it without decoration. HomelabError when there is none. Blocks."""
    done = subprocess.run(
        [programs.bin / "psql", "-X", "-A", "-t", "-q", "-h", place.sockets, "-U", USER, "-d", database, "-c", sql],
        env={**programs.environment(), "PGPASSWORD": read_or_create(home, "postgres"), "PGCONNECT_TIMEOUT": "5"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        raise HomelabError(f"the database says: {done.stderr.strip()}")
    return done.stdout.strip()


def ensure_databases(home: Home, place: Place, programs: Programs) -> None:
    """The two databases exist, Prefect's with the extension that its migrations need."""
    existing = ask(home, place, programs, "select datname from pg_database").split()
    for name in ("homelab", "prefect"):
        if name not in existing:
            ask(home, place, programs, f'create database "{name}"')
    ask(home, place, programs, "create extension if not exists pg_trgm", database="prefect")
