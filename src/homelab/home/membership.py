"""What a home knows of the lab that it joined as a node: `node.json`, the lab's authority `ca.pem`, its own token.

A home with `node.json` is a node: `homelab up` starts its worker there and nothing else, and all it says goes to the
one URL. Written by `homelab node join`, removed by `homelab node leave`.
"""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from homelab.core.errors import InputError
from homelab.home.paths import Home
from homelab.home.secrets import read_or_create


@dataclass(frozen=True, kw_only=True)
class Membership:
    """`url`: the node port of the lab's control plane, without a slash at its end. `lab`: the fingerprint of the lab's
    authority, which is the lab's identity. `capacity`: what was said of the machine at joining, as written."""

    name: str
    url: str
    lab: str
    lab_name: str = ""
    capacity: Mapping[str, Any] = field(default_factory=dict[str, Any])


def path_of(home: Home) -> Path:
    return home.root / "node.json"


def authority_of(home: Home) -> Path:
    """The certificate of the lab's authority."""
    return home.root / "ca.pem"


def read(home: Home) -> Membership | None:
    """None when this home is no node. InputError when its file cannot be read."""
    path = path_of(home)
    try:
        body: dict[str, Any] = json.loads(path.read_text())
        known = {k: body[k] for k in ("name", "url", "lab", "lab_name", "capacity") if k in body}
        return Membership(**known)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"what this home knows of its lab cannot be read: {error}",
            where=str(path),
            hint="Join again: homelab node leave --forget, then homelab node join",
        ) from error


def write(home: Home, membership: Membership, authority: str) -> None:
    """From now on this home is a node. The file that says so comes last."""
    authority_of(home).write_text(authority)
    path = path_of(home)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(asdict(membership), indent=1, sort_keys=True))
    fresh.replace(path)


def forget(home: Home) -> None:
    """This home is no node any more. What its runs left stays."""
    for path in (path_of(home), authority_of(home), home.secrets / "token-node"):
        path.unlink(missing_ok=True)


def token(home: Home) -> str:
    """The token by which this home speaks to control, made on first use: control is told its hash at joining."""
    return read_or_create(home, "token-node")


def trust(home: Home) -> ssl.SSLContext:
    """TLS that trusts the lab's authority and nobody else."""
    return ssl.create_default_context(cafile=str(authority_of(home)))
