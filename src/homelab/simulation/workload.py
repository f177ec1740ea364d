"""What arrives, when, for how long: items read from JSON Lines or CSV, one line at a time.

The format is documented in docs/reference/workload.md. A bad line is an InputError with its number; so is an arrival
before the one above it, because a file is never held in memory to be sorted.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite, nan
from typing import Any, Final, cast

from homelab.core import capacity
from homelab.core.durations import DURATION_HINT, duration_s
from homelab.core.errors import InputError
from homelab.core.placement import Request

FIELDS: Final = (
    "arrival", "duration", "expected", "id", "name", "tags", "after", "priority", "restartable", "place", "exclusive",
    "labels", "requires",
)  # fmt: skip
"""What a line may have. In CSV every other column is a requirement: `cpu`, `memory`, `disk:/data`, `app:NAME`."""
_SEVERAL: Final = ("tags", "after", "exclusive")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One piece of work: its request, and how long it really runs. `after`: ids of items that must end before it is
    ready; then it is ready at the later of its arrival and their ends. `request.submitted` is its arrival."""

    request: Request
    duration_s: float
    after: tuple[str, ...] = ()

    @property
    def arrival(self) -> float:
        return self.request.submitted


def read(lines: Iterable[str], *, source: str) -> Iterator[Item]:
    """Items in the order of the lines. Which format it is shows in the first line: `{` begins JSON Lines."""
    numbered = ((n, line) for n, line in enumerate(lines, 1) if line.strip())
    first = next(numbered, None)
    if first is None:
        return
    rows = (
        _json_rows(first, numbered, source) if first[1].lstrip().startswith("{") else _csv_rows(first, numbered, source)
    )
    clock = Clock()
    for number, row in rows:
        try:
            item = item_of(row, number=number, clock=clock)
        except InputError as error:
            raise InputError(error.message, hint=error.hint, where=f"{source}:{number}") from None
        yield item


def _json_rows(
    first: tuple[int, str], rest: Iterator[tuple[int, str]], source: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in _chained(first, rest):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"this is not JSON: {error}", where=f"{source}:{number}") from None
        if not isinstance(row, dict):
            raise InputError("a line is one JSON object", where=f"{source}:{number}")
        yield number, cast("Mapping[str, Any]", row)


def _csv_rows(
    first: tuple[int, str], rest: Iterator[tuple[int, str]], source: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = [name.strip() for name in next(csv.reader([first[1]]))]
    if "arrival" not in header or "duration" not in header:
        raise InputError(
            "the first line has no columns arrival and duration",
            hint="See docs/reference/workload.md; an Azure LLM trace is read with --format azure-llm.",
            where=f"{source}:{first[0]}",
        )
    for number, line in rest:
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise InputError(f"{len(cells)} cells under {len(header)} columns", where=f"{source}:{number}")
        row: dict[str, Any] = {}
        requires: dict[str, str] = {}
        for name, cell in zip(header, cells, strict=True):
            if not cell.strip():
                continue
            if name in _SEVERAL:
                row[name] = cell.split()
            elif name == "labels":
                row[name] = dict(pair.split("=", 1) for pair in cell.split() if "=" in pair)
            elif name in FIELDS:
                row[name] = cell.strip()
            else:
                requires[name] = cell.strip()
        yield number, {**row, "requires": capacity.table_of(",".join(f"{k}={v}" for k, v in requires.items()))}


def _chained(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


class Clock:
    """Times of a file as seconds since its first arrival, and in order."""

    def __init__(self) -> None:
        self._zero: float | None = None
        self._last = 0.0

    def read(self, value: object) -> float:
        absolute = _seconds(value)
        if self._zero is None:
            self._zero = absolute
        at = absolute - self._zero
        if at < self._last:
            raise InputError(
                f"it arrives {self._last - at:g} s before the line above", hint="Sort the lines by their arrival."
            )
        self._last = at
        return at


def _seconds(value: object) -> float:
    """A number of seconds, or an ISO 8601 time; without a zone it is UTC."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = nan
        if isfinite(found):
            return found
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(
                "the arrival is neither a number of seconds nor a time", hint="Write 12.5, or 2026-01-31T02:00:00Z."
            ) from None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    raise InputError("it has no arrival", hint="Write 12.5, or 2026-01-31T02:00:00Z.")


def item_of(row: Mapping[str, Any], *, number: int, clock: Clock) -> Item:
    """One line as an item. InputError for what cannot be read; unknown fields are refused, since they may be slips."""
    if unknown := [name for name in row if name not in FIELDS]:
        raise InputError(f"there is no field '{unknown[0]}'", hint=f"Known: {', '.join(FIELDS)}.")
    arrival = clock.read(row.get("arrival"))
    if "duration" not in row:
        raise InputError("it has no duration", hint='Write a number of seconds, or "5m".')
    duration = _length(row["duration"])
    expected = row.get("expected", row["duration"])
    table: object = row.get("requires") or {}
    if not isinstance(table, dict):
        raise InputError("requires is a table, as in the lab file")
    needs = capacity.requirements_of({"labels": row.get("labels", {}), **cast("dict[str, Any]", table)})
    place = row.get("place", "auto")
    if place not in ("auto", "spread", "pack"):
        raise InputError("place is auto, spread or pack")
    request = Request(
        id=str(row.get("id", f"line-{number}")),
        name=str(row.get("name", "")),
        tags=_names(row, "tags"),
        amounts={capacity.SLOTS: capacity.UNIT, **needs.amounts},
        labels=needs.labels,
        models=needs.models,
        exclusive=tuple(sorted(_names(row, "exclusive"))),
        strategy=place,
        priority=_whole(row.get("priority", 0)),
        submitted=arrival,
        expected_s=None if expected == "unknown" else _length(expected),
        restartable=str(row.get("restartable", False)).lower() in ("true", "yes", "1"),
    )
    return Item(request=request, duration_s=duration, after=_names(row, "after"))


def _names(row: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value: object = row.get(field, ())
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise InputError(f"{field} is a list of names")
    return tuple(str(one) for one in cast("list[object]", value))


def _length(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError("a duration is a number of seconds, or a text", hint=DURATION_HINT)
    return duration_s(value)


def _whole(value: object) -> int:
    try:
        return int(cast("Any", value))
    except (TypeError, ValueError, OverflowError):
        raise InputError("the priority is not a whole number") from None
