"""Tables of amounts: what a node has (`capacity`), what a job needs (`requires`), and what it wants to be near to.

Each value is checked as `core.capacity` will read it, and kept as it was written.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from homelab.core import capacity
from homelab.core.jobs import Affinity
from homelab.core.labfile.kinds import (
    BOOLEAN,
    NAME,
    NONEMPTY,
    SIZE,
    VARIABLE_VALUE,
    Kind,
    Setting,
    Table,
    UnusableError,
    integer,
    list_of,
    map_of,
    matching,
    number,
)
from homelab.core.labfile.problems import At, nearest, shown

_COUNT: Final = number(0, 100_000)
_NOTHING: Final = "none"


def _as_written(kind: Kind) -> Kind:
    """The same, but the value stays as it stands in the file: "64GiB", not a number of bytes."""

    def read(value: Any, at: At) -> Any:
        found = kind.read(value, at)
        if isinstance(value, dict):
            return dict(cast("dict[str, Any]", value))
        if isinstance(value, list):
            return list(cast("list[Any]", value))
        return float(value) if isinstance(value, float) else value if isinstance(value, str | int) else found

    return Kind(words=kind.words, schema=kind.schema, read=read)


def _any_of(words: str, first: Kind, second: Kind, is_first: Callable[[Any], bool]) -> Kind:
    def read(value: Any, at: At) -> Any:
        return (first if is_first(value) else second).read(value, at)

    return Kind(words=words, schema={"anyOf": [first.schema, second.schema]}, read=read)


def _setting(name: str, kind: Kind, reason: str, unit: str = "", default: str = _NOTHING) -> Setting:
    return Setting(name=name, kind=_as_written(kind), default=default, unit=unit, reason=reason)


_DISKS: Final = map_of(SIZE, keys=None, what="sizes by path")
_APPS: Final = _any_of(
    "a list of names, or a table of counts",
    map_of(integer(0, 1000), keys=None, what="counts by name"),
    list_of(NONEMPTY),
    lambda value: isinstance(value, dict),
)
_LABELS: Final = map_of(VARIABLE_VALUE, keys=None, what="labels")

REQUIRES: Final = Table(
    name="requires",
    about="What one node must have free before the job starts there. Any other name with a number is counted too, "
    "against the same name in a node's `capacity`.",
    settings=(
        _setting("cpu", _COUNT, "Cores, or parts of one.", "cores"),
        _setting("memory", SIZE, "Main memory.", "bytes"),
        _setting("gpu_memory", SIZE, "GPU memory, of one device.", "bytes"),
        _setting("slots", _COUNT, "How many of the node's slots it takes.", "slots", "1"),
        _setting(
            "disk", _DISKS, 'Room on disks, by path as the node\'s capacity names it: { "/data" = "10GiB" }.', "bytes"
        ),
        _setting("apps", _APPS, "Applications it needs for itself, such as photoshop."),
        _setting("models", list_of(NONEMPTY), "Models the node must have; one where they are loaded is better."),
        _setting("labels", _LABELS, "Labels the node must have, each with this value."),
    ),
)

CAPACITY: Final = Table(
    name="capacity",
    about="What a node has for the lab. What is not said is unknown until the node measures it, and nothing that needs "
    "it is placed there. Where both are known, the smaller counts. Any other name with a number is counted too.",
    settings=(
        _setting("cpu", _COUNT, "Cores.", "cores"),
        _setting("memory", SIZE, "Main memory.", "bytes"),
        _setting(
            "gpu_memory",
            list_of(SIZE),
            "GPU memory; of several devices a list. Work gets it from one of them.",
            "bytes",
        ),
        _setting(
            "unified_memory",
            BOOLEAN,
            "GPU memory is a share of `memory`, as on Apple's machines: what one uses the other has not.",
            default="false",
        ),
        _setting("slots", _COUNT, "How many pieces of work run at once.", "slots", "concurrency of [worker]"),
        _setting("disk", _DISKS, "Room on disks, by path.", "bytes"),
        _setting("apps", _APPS, "Applications, of which each piece of work has one for itself."),
        _setting("models", list_of(NONEMPTY), "Models it has, loaded or not."),
    ),
)


def _read_open(table: Table) -> Callable[[Any, At], dict[str, Any]]:
    """As the table, and names of the lab's own with a number."""
    known = set(table.names())

    def read(value: Any, at: At) -> dict[str, Any]:
        if not isinstance(value, dict):
            return table.read(value, at)
        body = cast("dict[str, Any]", value)
        found = table.read({k: v for k, v in body.items() if k in known}, at)
        for name, one in body.items():
            if name in known:
                continue
            _read_own(name, one, found, at / name, known)
        if len(found) < len(body):
            raise UnusableError
        return {name: found[name] for name in body}

    return read


def _read_own(name: str, value: Any, found: dict[str, Any], at: At, known: set[str]) -> None:
    close = nearest(name, known)
    hint = f"Did you mean {shown(close)}?" if close else ""
    try:
        found[name] = capacity.number(name, capacity.amount(name, value))
    except capacity.AmountError:
        at.error(
            "unknown-key",
            f"{shown(name)} is not a number, as what a lab counts by itself must be",
            hint or f"Known: {', '.join(sorted(known))}.",
            key=True,
        )
    else:
        if close:
            at.warning("unknown-key", f"{shown(name)} is counted by itself", hint, key=True)


def _open(table: Table) -> Kind:
    schema = {**table.schema(), "additionalProperties": {"type": "number", "minimum": 0}}
    return Kind(words="a table", schema=schema, read=_read_open(table))


REQUIRES_KIND: Final = _open(REQUIRES)
CAPACITY_KIND: Final = _open(CAPACITY)

_NODE_NAME: Final = matching(NAME, "the name of a node", "Use the name of a node of the lab.", code="name")
AFFINITY: Final = Table(
    name="affinity",
    about="An item of `affinity` or `anti_affinity`: the name of a node, or a table with `node` or `work`.",
    settings=(
        Setting(name="node", kind=_NODE_NAME, default=_NOTHING, unit="", reason="The node to be on, or not on."),
        Setting(
            name="work",
            kind=NONEMPTY,
            default=_NOTHING,
            unit="",
            reason="The name or tag of a job whose node to share, or not to share.",
        ),
        Setting(
            name="required",
            kind=BOOLEAN,
            default="false",
            unit="",
            reason="It waits until that is so. By default it is a preference: it costs nothing when it cannot be had.",
        ),
    ),
)


def _read_affinity(value: Any, at: At) -> Affinity:
    if isinstance(value, str):
        return Affinity(node=_NODE_NAME.read(value, at))
    found = AFFINITY.read(value, at)
    if isinstance(value, dict) and ("node" in value) == ("work" in value):
        at.error(
            "missing", "this says neither or both of node and work", 'Write { node = "NAME" } or { work = "NAME" }.'
        )
        raise UnusableError
    return Affinity(**found)


AFFINITY_KIND: Final = Kind(
    words="a node's name or a table", schema={"anyOf": [_NODE_NAME.schema, AFFINITY.schema()]}, read=_read_affinity
)
