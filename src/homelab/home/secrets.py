"""Generated credentials of one lab: made once, kept in 0600 files, never printed by accident."""

import os
import secrets as _random

from homelab.home.paths import Home


def database_password(home: Home, url: str) -> str | None:
    """What the database of this libpq URL asks for besides what the URL says: our own server's password, which its URL
    leaves out. None when the URL has one."""
    user = url.partition("://")[2].rpartition("@")[0]
    return None if ":" in user else read_or_create(home, "postgres")


def prefect_auth(home: Home) -> str:
    """`user:password` for the lab's Prefect server: our own server's, or what was `kept` for somebody else's."""
    try:
        return (home.secrets / "prefect-auth").read_text().strip()
    except FileNotFoundError:
        return f"admin:{read_or_create(home, 'prefect')}"


def keep_prefect_auth(home: Home, auth: str) -> None:
    """From now on `auth` is what the lab's Prefect server wants; empty: it is our own again."""
    path = home.secrets / "prefect-auth"
    if not auth:
        path.unlink(missing_ok=True)
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(auth)


def read_or_create(home: Home, name: str, *, length: int = 32) -> str:
    """The secret `name` of this home, generated on first use. Safe when two processes ask at once: one value wins."""
    path = home.secrets / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    home.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_random.token_urlsafe(length))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # fails when another process was first: then its value is the one
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
    return path.read_text().strip()
