"""Amounts of what a node has and work needs: cpu, memory, GPU memory, slots, disks, applications, anything countable.

One model for everything that shares a node: jobs, agents, models, renders. An amount is a whole number of the
smallest unit of its resource, so that sums are exact: bytes for memory, GPU memory and disks, thousandths for
everything else. A resource that is not in a table of amounts is *unknown*, which is not nothing. Pure.

Names of resources: `cpu`, `memory`, `gpu_memory`, `slots`, `disk:PATH`, `app:NAME`, and any other name a lab counts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from homelab.core.durations import SIZE_HINT, SizeError, size_bytes
from homelab.core.errors import InputError

Amounts = Mapping[str, int]
"""Resource -> how much, in its smallest unit. Never negative."""

CPU: Final = "cpu"
MEMORY: Final = "memory"
GPU_MEMORY: Final = "gpu_memory"
SLOTS: Final = "slots"
DISK: Final = "disk:"
APP: Final = "app:"
UNIT: Final = 1000
"""One core, one slot, one application, in the thousandths they are counted in."""

_NOUNS: Final = {CPU: "cores", MEMORY: "memory", GPU_MEMORY: "GPU memory", SLOTS: "slots"}
_MOST: Final = 100_000
NUMBER_HINT: Final = "Write a number such as 2 or 0.5."


class AmountError(InputError):
    """The value is not an amount of that resource."""


def is_bytes(resource: str) -> bool:
    return resource == MEMORY or resource.startswith((GPU_MEMORY, DISK))


def gpu(device: int) -> str:
    """The resource of what is used of one device: that of the first is `gpu_memory`, then `gpu_memory:1`, ..."""
    return f"{GPU_MEMORY}:{device}" if device else GPU_MEMORY


def disk(path: str) -> str:
    """The resource of a path: without a slash at its end, so that `/data/` is `/data`."""
    return DISK + (path.rstrip("/") or "/")


def amount(resource: str, value: object) -> int:
    """What a person wrote as an amount: a size for bytes ("12GiB", or a number of bytes), else a number of units.

    AmountError when it is neither, negative, or beyond what any lab has.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise AmountError(f"{_short(resource)} must be {'a size' if is_bytes(resource) else 'a number'}")
    if is_bytes(resource):
        try:
            return size_bytes(value)
        except SizeError as error:
            raise AmountError(error.message, hint=SIZE_HINT) from None
    try:
        number = float(value)
    except ValueError:
        raise AmountError("this is not a number", hint=NUMBER_HINT) from None
    if not math.isfinite(number) or not 0 <= number <= _MOST:
        raise AmountError(f"an amount is a number from 0 to {_MOST}", hint=NUMBER_HINT)
    return math.ceil(round(number * UNIT, 6))


def noun(resource: str) -> str:
    """The resource for people: `GPU memory`, `cores`, `disk /data`, `photoshop`."""
    if resource.startswith(DISK):
        return f"disk {resource.removeprefix(DISK)}"
    return _NOUNS.get(resource, _short(resource))


def _short(resource: str) -> str:
    return resource.removeprefix(APP)


def text(resource: str, value: int, *, up: bool = False) -> str:
    """An amount for people, with at most one decimal: `9.2 GiB`, `2.5`. Rounded down, or with `up` up, so that
    something free is never shown as enough when it is not."""
    if not is_bytes(resource):
        return _decimal(value, UNIT, up=up)
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{_decimal(value, size, up=up)} {unit}"
    return f"{value} B"


def brief(resource: str, value: int) -> str:
    """`12G`, `2.5`: as short as a column needs."""
    return text(resource, value).replace(" ", "").replace("iB", "")


def said(resource: str, value: int) -> str:
    """`2 cores`, `1 slot`, `4 GiB memory`."""
    name = noun(resource)
    return f"{text(resource, value)} {name.removesuffix('s') if value == UNIT and not is_bytes(resource) else name}"


_TELLING: Final = (GPU_MEMORY, MEMORY, CPU, SLOTS)


def telling(amounts: Mapping[str, int], *, most: int = 2) -> str:
    """The amounts that tell most of a piece of work, in words: GPU memory first, then memory, cores."""
    order = sorted(amounts, key=lambda name: (_TELLING.index(name) if name in _TELLING else len(_TELLING), name))
    return ", ".join(said(name, amounts[name]) for name in order[:most])


def cells(amounts: Sequence[float], total: float, wide: int) -> list[int]:
    """How many of the `wide` cells of a bar each amount takes, in their order. What is there at all has one while there
    are any; together they never take more than all."""
    left, found = wide, list[int]()
    for amount_ in amounts:
        share = min(1.0, amount_ / total) if total > 0 else 0.0
        found.append(min(left, max(1, round(share * wide))) if amount_ > 0 and total > 0 else 0)
        left -= found[-1]
    for n in range(len(found) - 1, 0, -1):
        # A small one at the end of a full bar is seen all the same: a larger one before it gives way.
        if amounts[n] > 0 and total > 0 and found[n] == 0 and max(found) > 1:
            found[found.index(max(found))] -= 1
            found[n] = 1
    return found


def _decimal(value: int, unit: int, *, up: bool) -> str:
    tenths = -(-value * 10 // unit) if up else value * 10 // unit
    whole, rest = divmod(tenths, 10)
    return f"{whole}.{rest}" if rest else str(whole)


def number(resource: str, value: int) -> int | float:
    """An amount for JSON: bytes, or units."""
    return value if is_bytes(resource) else value / UNIT


def of_number(resource: str, value: float) -> int:
    """The opposite of `number`."""
    return round(value if is_bytes(resource) else value * UNIT)


def to_json(amounts: Amounts) -> dict[str, int | float]:
    """`memory` -> `memory_bytes`, `cpu` -> `cpu`; sorted by name. Thousandths become numbers of units."""
    return {f"{name}_bytes" if is_bytes(name) else name: number(name, value) for name, value in sorted(amounts.items())}


def of_json(amounts: Mapping[str, float]) -> dict[str, int]:
    """The opposite of `to_json`."""
    named = ((name.removesuffix("_bytes"), value) for name, value in amounts.items())
    return {name: of_number(name, value) for name, value in named}


def add(left: Amounts, right: Amounts) -> dict[str, int]:
    """The sum, resource by resource; one that only one of them has is that of the one."""
    total = dict(left)
    for name, value in right.items():
        total[name] = total.get(name, 0) + value
    return total


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a machine has, as somebody declared or a sensor measured. What is missing is unknown.

    `gpus`: bytes of each device; None when unknown, () when there is none. A request's GPU memory comes from one
    device. `unified`: GPU memory is a share of `memory`, as on Apple's machines; what one uses the other has not.
    """

    amounts: Amounts = field(default_factory=dict[str, int])
    gpus: tuple[int, ...] | None = None
    unified: bool = False
    models: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What work needs of one node. `amounts` may have `gpu_memory`, of one device."""

    amounts: Amounts = field(default_factory=dict[str, int])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    models: tuple[str, ...] = ()


def smallest(left: Capacity, right: Capacity) -> Capacity:
    """What both leave: of a resource that both know the smaller amount, of the others what the one knows."""
    amounts = dict(left.amounts)
    for name, value in right.amounts.items():
        amounts[name] = min(value, amounts.get(name, value))
    gpus = left.gpus if right.gpus is None else right.gpus
    if left.gpus is not None and right.gpus is not None:
        gpus = tuple(min(a, b) for a, b in zip(left.gpus, right.gpus, strict=False))
    return Capacity(
        amounts=amounts,
        gpus=gpus,
        unified=left.unified or right.unified,
        models=tuple(dict.fromkeys((*left.models, *right.models))),
    )


def capacity_of(written: Mapping[str, Any]) -> Capacity:
    """A node's `capacity` table as the lab file has it. AmountError for a value that is none."""
    gpu = written.get(GPU_MEMORY)
    gpus = None if gpu is None else tuple(_named(GPU_MEMORY, one) for one in _listed(gpu))
    amounts = _amounts({k: v for k, v in written.items() if k != GPU_MEMORY})
    return Capacity(
        amounts=amounts,
        gpus=gpus,
        unified=written.get("unified_memory") is True,
        models=tuple(str(m) for m in _listed(written.get("models", ()))),
    )


def requirements_of(written: Mapping[str, Any]) -> Requirements:
    """A job's `requires` table as the lab file has it. AmountError for a value that is none."""
    labels = _table(written, "labels")
    return Requirements(
        amounts=_amounts(written),
        labels={name: str(value) for name, value in sorted(labels.items())},
        models=tuple(str(m) for m in _listed(written.get("models", ()))),
    )


_SPECIAL: Final = ("unified_memory", "models", "labels", "disk", "apps")
"""Keys of both tables that are no amounts by themselves."""


def _amounts(written: Mapping[str, Any]) -> dict[str, int]:
    found = {name: _named(name, value) for name, value in written.items() if name not in _SPECIAL}
    for path, value in _table(written, "disk").items():
        found[disk(path)] = _named(disk(path), value)
    for name, count in apps_of(written.get("apps", ())).items():
        found[APP + name] = _named(APP + name, count)
    return found


def _named(resource: str, value: object) -> int:
    """`amount`, whose error says which one it is."""
    try:
        return amount(resource, value)
    except AmountError as error:
        raise AmountError(f"{resource[:80]} = {str(value)[:40]}: {error.message}", hint=error.hint) from None


def _table(written: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = written.get(name, {})
    if not isinstance(found, Mapping):
        hint = "Write it like disk:/data=10GiB." if name == "disk" else f"Write {name} = {{ name = value }}."
        raise AmountError(f"{name} must be a table", hint=hint)
    return cast("Mapping[str, Any]", found)


def apps_of(value: object) -> Mapping[str, Any]:
    """`["photoshop"]` is one of each, `{ photoshop = 2 }` as many as it says."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {str(name): 1 for name in _listed(value)}


def _listed(value: object) -> Iterable[Any]:
    return cast("Iterable[Any]", value) if isinstance(value, list | tuple) else (value,)


def table_of(pairs: str) -> dict[str, Any]:
    """`cpu=2,memory=1GiB,app=photoshop,disk:/data=10GiB` as the table that the lab file would have.

    `app` (or `app:NAME=COUNT`), `model` and a second `gpu_memory` may stand several times. AmountError for anything
    that is not NAME=VALUE.
    """
    found: dict[str, Any] = {}
    for pair in filter(None, (p.strip() for p in pairs.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not value:
            raise AmountError(f"'{pair}' is not NAME=VALUE", hint="Write it like cpu=2,memory=16GiB.")
        if name in ("app", "apps"):
            found.setdefault("apps", {})[value] = 1
        elif name.startswith(APP):
            found.setdefault("apps", {})[name.removeprefix(APP)] = value
        elif name in ("model", "models"):
            found.setdefault("models", []).append(value)
        elif name.startswith(DISK):
            found.setdefault("disk", {})[name.removeprefix(DISK)] = value
        elif name == "unified_memory":
            found[name] = value.lower() in ("true", "yes", "1")
        elif name == GPU_MEMORY and name in found:
            found[name] = [*_listed(found[name]), value]
        else:
            found[name] = value
    return found
