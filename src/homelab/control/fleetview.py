"""Nodes, what waits and what was promised, in the JSON of the API. Pure; called by `control.fleet`.

Amounts are numbers of bytes or of units, as `core.capacity.to_json` writes them.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from homelab.control import nodes, nodewords
from homelab.core.capacity import APP, Capacity, to_json
from homelab.core.errors import InputError
from homelab.core.placement import Lease, Room, Usage, holders, usage
from homelab.core.times import iso
from homelab.core.work import Work

Json = dict[str, Any]


def node(row: Mapping[str, Any], room: Room, *, version: str, now: datetime) -> Json:
    """One node for a list. `row`: of table `node`; `room`: the same with all that is on it."""
    bars = usage(room)
    facts = _facts(row, room)
    return {
        "name": row["name"],
        "state": room.node.state,
        "why": nodewords.why(facts, held=len(room.leases)),
        "roles": list(row["roles"]),
        "labels": dict(row["labels"]),
        "address": row["address"],
        "declared_by_lab": bool(row["declared"]),
        "capacity": _sums(bars, lambda u: u.total),
        "used": _sums(bars, lambda u: max(0, u.total - u.free)),
        "leased": _sums(bars, lambda u: u.sum("lease", "model")),
        "others": _sums(bars, lambda u: u.sum("others")),
        "free": _sums(bars, lambda u: max(0, u.free)),
        "resources": [bar.to_json() for bar in bars],
        "holders": holders(bars),
        "holds": len(room.leases),
        "is_away": nodes.is_away(row),
        "wakeable": bool(row["wake"]),
        "version": row["version"],
        "clock_skew_s": row["skew_s"],
        "heartbeat_age_s": None if row["age_s"] is None else round(max(0.0, row["age_s"]), 1),
        "problems": [_told(p) for p in nodewords.trouble(facts, version=version, now=now)],
    }


def _facts(row: Mapping[str, Any], room: Room) -> Json:
    return {
        "name": row["name"],
        "state": room.node.state,
        "heard": row["heartbeat"],
        "wanted": row["wanted"],
        "wanted_by": row["wanted_by"],
        "wanted_since": row["wanted_since"],
        "skew_s": row["skew_s"],
        "version": row["version"],
        "told_sleep": bool(row["asleep"]),
        "wakeable": bool(row["wake"]),
    }


def trouble(row: Mapping[str, Any], room: Room, *, version: str, now: datetime) -> list[Json]:
    """What is wrong with the node, as problems of the lab."""
    return nodewords.trouble(_facts(row, room), version=version, now=now)


def _told(problem: Json) -> Json:
    return {"code": problem["code"], "message": problem["message"], "hint": problem["hint"]}


def whole(row: Mapping[str, Any], room: Room, past: Iterable[Mapping[str, Any]], *, listed: Json) -> Json:
    """One node in full: `listed`, what was declared and measured, what it holds, the newest of what it held."""
    measured = room.node.measured
    sensed: Mapping[str, Any] = row.get("sensed") or {}
    return {
        **listed,
        "declared": capacity(room.node.declared),
        "measured": None if measured is None else capacity(measured),
        "models": [{"name": m.name, "gpu_memory_bytes": m.gpu_memory, "device": m.device} for m in room.node.models],
        "apps": sorted(name.removeprefix(APP) for name, value in room.total.items() if name.startswith(APP) and value),
        "power": sensed.get("power"),
        "thermal": sensed.get("thermal"),
        "devices": list(sensed.get("devices") or ()),
        "drained_by": row["wanted_by"] if row["wanted"] == "drained" else "",
        "drained_since": iso(row["wanted_since"]) if row["wanted"] == "drained" else None,
        "leases": [lease(one) for one in sorted(room.leases.values(), key=lambda one: (one.started, one.id))],
        "recent": [held(one) for one in past],
    }


def capacity(has: Capacity) -> Json:
    """What somebody said a machine has; what is not there is unknown."""
    body: Json = to_json(has.amounts)
    if has.gpus is not None:
        body["gpu_memory_bytes"] = list(has.gpus)
        body["unified_memory"] = has.unified
    if has.models:
        body["models"] = list(has.models)
    return body


def _sums(bars: Iterable[Usage], of: Callable[[Usage], int]) -> Json:
    """Resource -> amount, the devices of a machine together."""
    sums: dict[str, int] = {}
    for bar in bars:
        sums[bar.resource] = sums.get(bar.resource, 0) + of(bar)
    return to_json(sums)


def lease(held_: Lease) -> Json:
    """What one piece of work holds now."""
    run, job = parts(held_.id)
    return {
        "work": held_.id,
        "owner": held_.owner,
        "run": run,
        "job": job,
        "node": held_.node,
        "amounts": to_json(held_.amounts),
        "device": held_.device,
        "exclusive": list(held_.exclusive),
        "priority": held_.priority,
        "restartable": held_.restartable,
        "taken": _seconds(held_.started),
        "expected_end": None if held_.expected_end is None else _seconds(held_.expected_end),
    }


def held(row: Mapping[str, Any]) -> Json:
    """A row of `leases.history`: what was held from when until when. `how` is "" while it is held."""
    run, job = parts(row["work"])
    return {
        "work": row["work"],
        "owner": row["owner"],
        "run": run,
        "job": job,
        "node": row["node"],
        "amounts": to_json({name: int(value) for name, value in row["amounts"].items()}),
        "taken": iso(row["taken"]),
        "ended": iso(row["ended"]),
        "how": row["how"],
    }


def parts(work: str) -> tuple[str | None, str | None]:
    """Run and job of an attempt; None for work of another kind."""
    try:
        run, job, _ = Work.of(work)
    except InputError:
        return None, None
    return run, job


def _seconds(value: float) -> str:
    return iso(datetime.fromtimestamp(value, UTC))
