"""What a lab file says, as values: the jobs, their flows, and the settings of the lab's own services."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from homelab.core.jobs import Flow, Job

Port = int | Literal["auto"]

EVENTS: Final = (
    "failed",
    "recovered",
    "late",
    "missed",
    "stuck",
    "silent",
    "shrunken",
    "slow",
    "blocked",
    "notify_failed",
)
"""What an alert can be about; `notify` decides when each of them holds."""


@dataclass(frozen=True, kw_only=True)
class SecretUse:
    """A place in the lab file that names a secret: `setting` as written there, `reference` like `env:NAME`."""

    setting: str
    reference: str
    file: str
    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """`concurrency`: jobs running at once on one node, over all queues. An empty name means that of the machine."""

    concurrency: int = 20
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    """`urls` are apprise URLs or references (`env:`, `file:`, `keychain:`) to one; `on` is a part of `EVENTS`.

    The same alert about the same job is not sent twice within `throttle_s`. `digest` is the schedule on which the lab
    tells how it went, in its zone; "" for never.
    """

    urls: tuple[str, ...] = ()
    on: tuple[str, ...] = EVENTS
    throttle_s: float = 900.0
    digest: str = "0 8 * * 1"


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """A service of the lab: ours (started here on `host`:`port`), or, with `url` (or a reference), another's, which
    wants `auth` (a reference to `user:password`; Prefect only). `nodes`, `node_names` (control only): where nodes come
    in, "" for this machine alone, and the names by which they do."""

    url: str | None = None
    host: str = "127.0.0.1"
    port: Port | None = "auto"
    auth: str | None = None
    nodes: str = ""
    node_names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AccessSettings:
    """`hosts`: names that the lab may be opened by. `tailscale`: the role of each login that the mesh may vouch for."""

    hosts: tuple[str, ...] = ()
    tailscale: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class ArtefactSettings:
    """`store`: a folder, `s3://BUCKET/PREFIX`, or "" for the folder in HOMELAB_HOME. `access_key`, `secret_key`:
    references. Files are kept for `keep_s` seconds (None: for ever), and no more than `max_bytes` in all."""

    store: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = None
    keep_s: float | None = 30 * 86400.0
    max_bytes: int = 20 * 1024**3


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the lab. `capacity` and `labels` as written. `sleeps`: its silence is sleep. `wake`: the MAC address
    that wakes it, with where to send it, as written."""

    name: str
    address: str = ""
    roles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    capacity: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sleeps: bool = False
    wake: str = ""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """One lab as its file describes it. `jobs` and `flows` are in file order, included files after the main one.

    `queues` maps each queue to how many of its jobs run at once; the queue `default`, unless set, has all of the
    worker's concurrency. `services` has exactly the keys `postgres`, `prefect` and `control`.
    """

    name: str
    timezone: str = "UTC"
    jobs: tuple[Job, ...] = ()
    flows: tuple[Flow, ...] = ()
    nodes: tuple[Node, ...] = ()
    agents: tuple[str, ...] = ()
    queues: Mapping[str, int] = field(default_factory=dict[str, int])
    worker: WorkerSettings = WorkerSettings()
    notify: NotifySettings = NotifySettings()
    access: AccessSettings = AccessSettings()
    artefacts: ArtefactSettings = ArtefactSettings()
    services: Mapping[str, ServiceSettings] = field(default_factory=dict[str, ServiceSettings])
    secrets: tuple[SecretUse, ...] = field(default=(), compare=False)

    def job(self, name: str) -> Job:
        """The job of that name; KeyError when the lab has none."""
        for job in self.jobs:
            if job.name == name:
                return job
        raise KeyError(name)
