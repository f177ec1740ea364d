"""The lab file: what the lab should be. `parse` reads it, or says everything that is wrong with it."""

from homelab.core.labfile.model import (
    EVENTS,
    AccessSettings,
    ArtefactSettings,
    Lab,
    Node,
    NotifySettings,
    SecretUse,
    ServiceSettings,
    WorkerSettings,
)
from homelab.core.labfile.parse import includes, parse, secret_problems
from homelab.core.labfile.problems import Problem

__all__ = [
    "EVENTS",
    "AccessSettings",
    "ArtefactSettings",
    "Lab",
    "Node",
    "NotifySettings",
    "Problem",
    "SecretUse",
    "ServiceSettings",
    "WorkerSettings",
    "includes",
    "parse",
    "secret_problems",
]
