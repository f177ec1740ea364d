"""Moments as text: ISO 8601 in UTC with `Z`, wherever the lab writes or prints one for programs, and back."""

from datetime import UTC, datetime
from typing import overload


@overload
def iso(time: datetime) -> str: ...
@overload
def iso(time: None) -> None: ...
@overload
def iso(time: datetime | None) -> str | None: ...
def iso(time: datetime | None) -> str | None:
    """The moment (aware), with its microseconds if it has some. None stays None."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(value: object) -> datetime | None:
    """The opposite, also of what is a moment already. None for None and for empty text; ValueError for other text."""
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value)) if value else None
