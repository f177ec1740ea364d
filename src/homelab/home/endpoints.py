"""Where the lab's services of this home listen now: `run/endpoints.json`, written by the supervisor, read by all."""

import json
import os
from typing import cast

from homelab.core.errors import NotFoundError
from homelab.home.paths import Home


def write(home: Home, endpoints: dict[str, str]) -> None:
    """Replace the whole map, atomically. Keys: `control` and `prefect` (http URLs, no trailing slash), `postgres` (a
    libpq URL of our own database, without password), others as services are added."""
    path = home.run / "endpoints.json"
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # an external URL may hold a password
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(endpoints, indent=1, sort_keys=True))
    fresh.replace(path)


def read(home: Home) -> dict[str, str]:
    """The current map; empty when the lab of this home has never been up."""
    try:
        return cast("dict[str, str]", json.loads((home.run / "endpoints.json").read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def require(home: Home, name: str) -> str:
    """The URL of one service; NotFoundError with the next command when it is not there."""
    url = read(home).get(name)
    if url is None and (home.root / "node.json").exists():
        raise NotFoundError("this home is a node; its lab runs on another machine", hint="Ask it there.")
    if url is None:
        raise NotFoundError(f"no lab is running in {home.root}", hint="Start it with: homelab up")
    return url
