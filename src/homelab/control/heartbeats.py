"""What a heartbeat tells of a node, read from its body. Pure. Called by `control.workers`.

A worker of an older version tells less: what it leaves out is unknown. What it tells in another shape is refused, so
that nobody believes in a node that cannot be counted.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, cast

from homelab.control import nodes
from homelab.control.state import Scheduled
from homelab.core import capacity
from homelab.core.capacity import APP, SLOTS, UNIT, Capacity
from homelab.core.errors import InputError
from homelab.core.jobs import Job
from homelab.core.placement import Model

MOST: Final = 500
"""Resources, models, devices of one node; a name of one has up to 200 characters."""
LARGEST: Final = 1 << 62
SAMPLES: Final = 3
"""Of so many heartbeats in a row the clock must be off: one that was held up on its way looks like a clock behind."""
LONGEST_TRIP_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Told:
    """`clock`: what the node's own said when it sent this; `trip_s`: how long such a message is on its way. `slept_s`:
    how long the machine slept since the last one; 0 when it did not. `unbegun`: of a worker that leaves, the runs that
    it claimed and begins no more, each with the instant that it is for."""

    beat: nodes.Beat
    clock: datetime | None
    trip_s: float
    slept_s: float = 0.0
    unbegun: Mapping[str, datetime] = field(default_factory=dict[str, datetime])


def read(body: Mapping[str, Any], declared: Capacity | None) -> Told:
    """InputError for a field that is there and cannot be what it says it is.

    `declared`: the node in the lab file; None when that does not name it. Then its slots are those of the worker. An
    application that is declared is not denied by a sensor that did not find it under the names it knows.
    """
    measured = _capacity(_table(body, "measured"))
    amounts = {**measured.amounts, **{APP + n: v * UNIT for n, v in _amounts(_table(body, "apps")).items()}}
    if declared is None:
        amounts.setdefault(SLOTS, _whole(body.get("slots", 0), "slots") * UNIT)
    else:
        known = {name for name in declared.amounts if name.startswith(APP)}
        amounts = {name: value for name, value in amounts.items() if value or name not in known}
    beat = nodes.Beat(
        name=str(body["node"]),
        measured=replace(measured, amounts=amounts),
        used=_amounts(_table(body, "used")),
        models=tuple(_model(one) for one in _listed(body, "models")),
        asleep=body.get("asleep") is True,
        worker=f"{body.get('pid')} {body.get('started')}"[:100],
        leaves=body.get("leaving") is True,
        version=str(body.get("version", ""))[:40],
        sensed=_sensed(body),
    )
    trip_s = min(_seconds(body, "rtt_s"), LONGEST_TRIP_S) / 2
    clock = _time(body, "clock") if "clock" in body else None
    named = _table(body, "unbegun")
    unbegun = {_name(run): _time(named, run) for run in named} if beat.leaves else {}
    return Told(beat=beat, clock=clock, trip_s=trip_s, slept_s=_seconds(body, "slept_s"), unbegun=unbegun)


def _sensed(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: dict(table) for name in ("power", "thermal") if (table := _table(body, name))}
    if devices := [_name(one) for one in _listed(body, "devices")]:
        found["devices"] = devices
    if labels := _table(body, "labels"):
        found["labels"] = {_name(name): str(value)[:200] for name, value in _few(labels).items()}
    return found


def _time(body: Mapping[str, Any], name: str) -> datetime:
    try:
        time = datetime.fromisoformat(str(body[name]))
    except ValueError:
        raise InputError(f"the heartbeat's '{name[:60]}' is not a time") from None
    if time.tzinfo is None:
        raise InputError(f"the heartbeat's '{name[:60]}' has no zone")
    return time


def _seconds(body: Mapping[str, Any], name: str) -> float:
    value: object = body.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise InputError(f"the heartbeat's '{name}' is not a number of seconds")
    return float(value)


def _capacity(kept: Mapping[str, Any]) -> Capacity:
    gpus = kept.get("gpus")
    return Capacity(
        amounts=_amounts(_table(kept, "amounts")),
        gpus=None if gpus is None else tuple(_whole(one, "gpus") for one in _listed(kept, "gpus")),
        unified=kept.get("unified") is True,
        models=tuple(_name(one) for one in _listed(kept, "models")),
    )


def _model(one: object) -> Model:
    if not isinstance(one, dict):
        raise InputError("each of the heartbeat's 'models' is an object with a name")
    body = cast("dict[str, Any]", one)
    return Model(
        name=_name(body.get("name")),
        gpu_memory=_whole(body.get("gpu_memory", 0), "gpu_memory"),
        device=_whole(body.get("device", 0), "device"),
    )


def _amounts(table: Mapping[str, Any]) -> dict[str, int]:
    return {_name(name): _whole(value, name) for name, value in _few(table).items()}


def _whole(value: object, of: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise InputError(f"the heartbeat's {of[:60]!r} is not a whole number, or out of bounds")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise InputError("the heartbeat has a name that is none, or one of more than 200 characters")
    return value


def _table(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"the heartbeat's '{name}' is not an object")
    return _few(cast("dict[str, Any]", found))


def _few(table: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(table) > MOST:
        raise InputError(f"the heartbeat names more than {MOST} things of one kind")
    return table


def _listed(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = body.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or len(cast("list[Any]", found)) > MOST:
        raise InputError(f"the heartbeat's '{name}' is not a list of at most {MOST}")
    return cast("list[Any]", found)


class Clocks:
    """How far the clocks of the nodes are off, each by its last heartbeats."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = {}

    def heard(self, node: str, skew_s: float) -> float:
        """The seconds that are told: of the last samples the one nearest to none."""
        samples = self._samples.setdefault(node, deque(maxlen=SAMPLES))
        samples.append(skew_s)
        return min(samples, key=abs)


def skew_s(told: Told, *, database: datetime, since_s: float) -> float | None:
    """The node's clock less the database's. `since_s`: what passed here since the message came, up to `database`."""
    if told.clock is None:
        return None
    return (told.clock - database).total_seconds() + told.trip_s + since_s


class Wanted:
    """What jobs may ask for, counted once for each lab as applied: a hundred nodes ask every ten seconds."""

    def __init__(self) -> None:
        self._flows: Mapping[str, Scheduled] | None = None
        self._asked: frozenset[str] = frozenset()

    def to_sense(self, flows: Mapping[str, Scheduled], declared: Capacity | None) -> dict[str, list[str]]:
        """As the function. `flows`: another object when another lab was applied."""
        if flows is not self._flows:
            self._flows, self._asked = flows, asked(job for one in flows.values() for job in one.flow.jobs)
        return to_sense(self._asked, declared)


def asked(jobs: Iterable[Job]) -> frozenset[str]:
    """The resources that some job requires."""
    return frozenset(name for job in jobs if job.requires for name in capacity.requirements_of(job.requires).amounts)


def to_sense(asked: Iterable[str], declared: Capacity | None) -> dict[str, list[str]]:
    """Disks and applications to look for on a node: a job asks for them, or the lab file says that it has them."""
    names = sorted({*asked, *(() if declared is None else declared.amounts)})
    return {
        "disks": [name.removeprefix(capacity.DISK) for name in names if name.startswith(capacity.DISK)],
        "apps": [name.removeprefix(APP) for name in names if name.startswith(APP)],
    }
