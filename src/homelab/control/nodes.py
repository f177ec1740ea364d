"""The nodes of the lab: the statements on table `node`, and a row of it as `core.placement` knows nodes.

What a node is, is declared by the lab file, said when it joined, and measured by the node; whether it is there, its
heartbeat says, by the database's clock. Written by `control` alone. No decisions here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final

from homelab import __version__
from homelab.control.store import Row, all_rows, one_row
from homelab.core import versions
from homelab.core.capacity import Amounts, Capacity, smallest
from homelab.core.errors import NotFoundError
from homelab.core.labfile import Lab
from homelab.core.labfile.fleet import fleet_of
from homelab.core.placement import Model, Node, State
from homelab.db.pool import Connection, json

UNREACHABLE: Final = timedelta(seconds=30)
"""A node whose last heartbeat is older is not there: nothing goes to it, and what it holds is soon given up."""

_ALL: Final = (
    "select *, extract(epoch from now() - heartbeat)::float8 as age_s,"
    " exists (select from token where token.node = node.name and revoked is null) as is_remote from node"
)


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a node tells of itself. `used`: what programs outside the lab use; a resource that cannot be read is
    missing, not zero. `skew_s`: its clock less the database's. `sensed`: `labels`, `power`, `thermal` and the
    names of its GPU `devices`, as told. `worker`: which one tells it; `leaves`: that one was told to stop."""

    name: str
    measured: Capacity
    used: Amounts
    models: Sequence[Model] = ()
    asleep: bool = False
    worker: str = ""
    leaves: bool = False
    skew_s: float | None = None
    version: str = ""
    sensed: Mapping[str, Any] = field(default_factory=dict[str, Any])


async def declare(conn: Connection, lab: Lab) -> None:
    """The nodes of the lab file. Those that it names no more stay while something is known of them, undeclared."""
    named = [node.name for node in lab.nodes]
    await conn.execute(
        "delete from node where name <> all(%s) and heartbeat is null and version = ''"
        " and not exists (select from lease where node = node.name)",
        (named,),
    )
    await conn.execute(
        "update node set declared = '{}', roles = '[]', labels = '{}', address = '', sleeps = false, wake = ''"
        " where name <> all(%s)",
        (named,),
    )
    fleet = fleet_of(lab.nodes, concurrency=lab.worker.concurrency)
    rows = [
        {
            "name": node.name,
            "roles": json(list(node.roles)),
            "labels": json(dict(node.labels)),
            "address": written.address,
            "declared": json(record(node.declared)),
            "sleeps": written.sleeps,
            "wake": written.wake,
        }
        for node, written in zip(fleet, lab.nodes, strict=True)
    ]
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "insert into node (name, roles, labels, address, declared, sleeps, wake) values (%(name)s, %(roles)s,"
            " %(labels)s, %(address)s, %(declared)s, %(sleeps)s, %(wake)s) on conflict (name) do update set"
            " roles = excluded.roles, labels = excluded.labels, address = excluded.address,"
            " declared = excluded.declared, sleeps = excluded.sleeps, wake = excluded.wake",
            rows,
        )


async def beat(conn: Connection, told: Beat) -> int:
    """Take a heartbeat; the node's epoch, under which it holds what it holds. After the farewell of a worker only
    another one opens the node: what that one had sent before may come after it."""
    row = await one_row(
        conn,
        "insert into node (name, measured, used, models, asleep, skew_s, version, sensed, farewell, heartbeat) values"
        " (%(name)s, %(measured)s, %(used)s, %(models)s, %(asleep)s, %(skew_s)s, %(version)s, %(sensed)s, %(farewell)s,"
        " now()) on conflict (name) do update set measured = excluded.measured, used = excluded.used,"
        " models = excluded.models, asleep = excluded.asleep, skew_s = excluded.skew_s, version = excluded.version,"
        " sensed = excluded.sensed, heartbeat = excluded.heartbeat, farewell = case when excluded.farewell = ''"
        " and node.farewell = %(worker)s then node.farewell else excluded.farewell end returning epoch",
        {
            "name": told.name,
            "measured": json(record(told.measured)),
            "used": json(dict(told.used)),
            "models": json([{"name": m.name, "gpu_memory": m.gpu_memory, "device": m.device} for m in told.models]),
            "asleep": told.asleep,
            "skew_s": told.skew_s,
            "version": told.version,
            "sensed": json(dict(told.sensed)),
            "worker": told.worker,
            "farewell": told.worker if told.leaves else "",
        },
    )
    assert row is not None
    return int(row["epoch"])


async def clock(conn: Connection) -> datetime:
    """The database's clock, now: the one that all nodes are compared with."""
    row = await one_row(conn, "select clock_timestamp() as now")
    assert row is not None
    return row["now"]


async def want(conn: Connection, name: str, wanted: str, *, by: str = "") -> bool:
    """`ready` or `drained`, and who wants it since when; whether there is such a node."""
    done = await conn.execute(
        "update node set wanted_since = case when wanted = %(wanted)s then wanted_since else now() end,"
        " wanted_by = case when wanted = %(wanted)s then wanted_by else %(by)s end, wanted = %(wanted)s"
        " where name = %(name)s",
        {"name": name, "wanted": wanted, "by": by},
    )
    return done.rowcount > 0


async def forget(conn: Connection, name: str) -> bool:
    """Remove a node that holds nothing; whether it was there and did not."""
    await conn.execute("delete from lease where node = %s and ended is not null", (name,))
    done = await conn.execute(
        "delete from node where name = %s and not exists (select from lease where node = %s)", (name, name)
    )
    return done.rowcount > 0


async def rows(conn: Connection) -> list[Row]:
    """Every node, by name."""
    return await all_rows(conn, f"{_ALL} order by name")


def named(rows: Mapping[str, Row], name: str) -> Row:
    """The row of that name. NotFoundError when there is no such node."""
    if name not in rows:
        near = get_close_matches(name[:100], rows, n=3, cutoff=0.5)
        hint = "" if near else "List them with: homelab node ls"
        raise NotFoundError(f"there is no node '{name[:80]}'", nearest=near, kind="node", hint=hint)
    return rows[name]


async def locked(conn: Connection, name: str) -> Row | None:
    """One node, held until the transaction ends: whoever promises something of it waits for the others."""
    return await one_row(conn, f"{_ALL} where name = %s for update", (name,))


def node_of(row: Row, *, holds: bool) -> Node:
    """A row as placement knows it. `holds`: whether leases are on it, so that it is still draining."""
    return Node(
        name=row["name"],
        state=_state(row, holds=holds),
        declared=smallest(capacity(row["declared"]), capacity(row["offered"])),
        measured=None if row["measured"] is None else capacity(row["measured"]),
        roles=tuple(row["roles"]),
        labels={**row["sensed"].get("labels", {}), **row["labels"]},
        models=tuple(Model(**model) for model in row["models"]),
        foreign={name: int(value) for name, value in row["used"].items()},
        wakeable=bool(row["wake"]),
        closed=_closed(str(row["version"])),
        clock_skew_s=row["skew_s"],
    )


def _state(row: Row, *, holds: bool) -> State:
    if _is_stopped(row):  # also drained: there is nobody to begin anything
        return "stopped"
    is_asleep = _sleeps(row)
    if not is_asleep and _is_silent(row):
        return "unreachable"
    if row["wanted"] == "drained":  # also asleep: it is not woken for anything
        return "draining" if holds else "drained"
    return "asleep" if is_asleep else "ready"


def _closed(version: str) -> str:
    """A worker of another release begins nothing (`core.versions`): what went to it would wait for ever."""
    if not versions.apart(control=__version__, node=version):
        return ""
    return f"of another release (homelab {version[:40]}; control is {__version__})"


def _sleeps(row: Mapping[str, Any]) -> bool:
    """It said so, or it is silent and the lab file says that this is sleep."""
    return bool(row["asleep"] or (row["sleeps"] and row["age_s"] is not None and _is_silent(row)))


def _is_stopped(row: Mapping[str, Any]) -> bool:
    """Its worker was stopped on purpose. Where the lab file says that its silence is sleep it sleeps once it is silent:
    a machine that was shut down may be one that is woken."""
    return bool(row["farewell"]) and not (row["sleeps"] and _is_silent(row))


def is_away(row: Mapping[str, Any]) -> bool:
    """Whether it sleeps, was stopped, or is not heard."""
    return _is_stopped(row) or _sleeps(row) or _is_silent(row)


def _is_silent(row: Mapping[str, Any]) -> bool:
    return row["age_s"] is None or row["age_s"] > UNREACHABLE.total_seconds()


def record(capacity: Capacity) -> dict[str, Any]:
    """A capacity for a jsonb column."""
    return {
        "amounts": dict(capacity.amounts),
        "gpus": None if capacity.gpus is None else list(capacity.gpus),
        "unified": capacity.unified,
        "models": list(capacity.models),
    }


def capacity(kept: Mapping[str, Any]) -> Capacity:
    """The opposite of `record`; of an empty one, nothing is known."""
    gpus = kept.get("gpus")
    return Capacity(
        amounts={name: int(value) for name, value in kept.get("amounts", {}).items()},
        gpus=None if gpus is None else tuple(int(one) for one in gpus),
        unified=bool(kept.get("unified", False)),
        models=tuple(kept.get("models", ())),
    )
