"""The kinds of value a setting can have: what a kind is called, its JSON Schema, and how one is read.

A reader reports everything that is wrong with its value and then raises `UnusableError`; the table that holds the value
goes on with the next setting, so that one run finds all problems.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from homelab.core import durations
from homelab.core.labfile.problems import At, nearest, repr_short, shown

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
"""Names of jobs, queues, nodes: they are file names and parts of URLs."""
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
SECRET: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00]+|keychain:[^\x00]+")
FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\$?", re.ASCII)
URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\x00]*")

_PASSWORD: Final = re.compile(r"[^:]+://[^/@:\s]*:[^/@\s]+@")

SECRET_HINT: Final = "A secret is named, not written: env:NAME, file:PATH or keychain:NAME."  # noqa: S105

Json = Mapping[str, Any]


class UnusableError(Exception):
    """The value cannot be used; why has been reported."""


class TextFloat(float):
    """A float that remembers how it was written: `1.10` in an environment stays `1.10`."""

    text: str

    def __new__(cls, text: str) -> "TextFloat":
        made = super().__new__(cls, text)
        made.text = text
        return made


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`words`: for people, as in "this must be WORDS". `read` returns the value as the lab uses it."""

    words: str
    schema: Json
    read: Callable[[Any, At], Any]


def _wrong(at: At, kind: str, value: object, hint: str = "") -> UnusableError:
    what: dict[type, str] = {str: "text", bool: "true or false", int: "a number", list: "a list", dict: "a table"}
    given = "a number" if isinstance(value, float) else what.get(cast("type", type(value)), "a date or time")
    at.error("type", f"{at.path[-1] if at.path else 'this'} must be {kind}, not {given}".replace("\n", " "), hint)
    return UnusableError()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_text(value: Any, at: At) -> str:
    if not isinstance(value, str):
        raise _wrong(at, "text in quotes", value, "Put it in quotes." if _is_number(value) else "")
    if "\x00" in value:
        at.error("value", "text with a NUL character cannot be passed to a program", "Remove the \\u0000.")
        raise UnusableError
    return value


TEXT: Final = Kind(words="text", schema={"type": "string"}, read=_read_text)


def matching(pattern: re.Pattern[str], words: str, hint: str, *, code: str = "value") -> Kind:
    """Text that `pattern` matches as a whole."""

    def read(value: Any, at: At) -> str:
        text = _read_text(value, at)
        if not pattern.fullmatch(text):
            at.error(code, f"{shown(text)} is not {words}", hint)
            raise UnusableError
        return text

    return Kind(words=words, schema={"type": "string", "pattern": f"^(?:{pattern.pattern})$"}, read=read)


def _read_nonempty(value: Any, at: At) -> str:
    text = _read_text(value, at)
    if not text.strip():
        at.error("value", f"{at.path[-1]} is empty", "Say what it is, or remove the line.")
        raise UnusableError
    return text


NONEMPTY: Final = Kind(words="text", schema={"type": "string", "minLength": 1}, read=_read_nonempty)


def one_of(*choices: str) -> Kind:
    words = (
        " or ".join(f'"{c}"' for c in choices) if len(choices) < 3 else "one of " + ", ".join(f'"{c}"' for c in choices)
    )

    def read(value: Any, at: At) -> str:
        text = _read_text(value, at)
        if text not in choices:
            close = nearest(text, choices)
            at.error(
                "value", f"{shown(text)} is not {words}", f"Did you mean {shown(close)}?" if close else f"Use {words}."
            )
            raise UnusableError
        return text

    return Kind(words=words, schema={"enum": list(choices)}, read=read)


def _read_boolean(value: Any, at: At) -> bool:
    if not isinstance(value, bool):
        raise _wrong(at, "true or false", value, "Write true or false, without quotes.")
    return value


BOOLEAN: Final = Kind(words="true or false", schema={"type": "boolean"}, read=_read_boolean)


def integer(least: int, most: int) -> Kind:
    words = f"a whole number from {least} to {most}"

    def read(value: Any, at: At) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(at, words, value)
        if not least <= value <= most:
            at.error("value", f"{repr_short(value)} is not {words}", f"Use {words}.")
            raise UnusableError
        return value

    return Kind(words=words, schema={"type": "integer", "minimum": least, "maximum": most}, read=read)


def number(least: float, most: float) -> Kind:
    words = f"a number from {least:g} to {most:g}"

    def read(value: Any, at: At) -> float:
        if not _is_number(value):
            raise _wrong(at, words, value)
        if not (least <= value <= most) or math.isnan(value):
            at.error("value", f"{repr_short(value)} is not {words}", f"Use {words}.")
            raise UnusableError
        return float(value)

    return Kind(words=words, schema={"type": "number", "minimum": least, "maximum": most}, read=read)


def duration(*, positive: bool = False, none: bool = False) -> Kind:
    """Seconds as a float. With `none`, the text "none" means no limit and is read as None."""

    def read(value: Any, at: At) -> float | None:
        if none and value == "none":
            return None
        if not isinstance(value, str) and not _is_number(value):
            raise _wrong(at, "a duration", value, durations.DURATION_HINT)
        try:
            seconds = durations.duration_s(value)
        except durations.DurationError as error:
            at.error("duration", f"{shown(value)}: {error.message}", error.hint)
            raise UnusableError from None
        if positive and seconds == 0:
            at.error(
                "duration",
                "a duration of nothing cannot be kept",
                'Use "none" for no limit.' if none else durations.DURATION_HINT,
            )
            raise UnusableError
        return seconds

    return Kind(words="a duration", schema={"$ref": "#/$defs/duration"}, read=read)


def _read_size(value: Any, at: At) -> int:
    if not isinstance(value, str) and not _is_number(value):
        raise _wrong(at, "a size", value, durations.SIZE_HINT)
    try:
        return durations.size_bytes(value)
    except durations.SizeError as error:
        at.error("size", f"{shown(value)}: {error.message}", error.hint)
        raise UnusableError from None


SIZE: Final = Kind(words="a size", schema={"$ref": "#/$defs/size"}, read=_read_size)


def list_of(item: Kind, *, or_one: bool = True) -> Kind:
    """A tuple; with `or_one`, a single item may stand without brackets. Something twice is kept once."""

    def read(value: Any, at: At) -> tuple[Any, ...]:
        if not isinstance(value, list):
            if or_one and not isinstance(value, dict):
                return (item.read(value, at),)
            raise _wrong(at, f"a list, each {item.words}", cast("object", value))
        found: list[Any] = []
        bad = False
        for index, one in enumerate(cast("list[Any]", value)):
            try:
                read = item.read(one, at / index)
            except UnusableError:
                bad = True
                continue
            if read not in found:
                found.append(read)
        if bad:
            raise UnusableError
        return tuple(found)

    many: dict[str, Any] = {"type": "array", "items": item.schema}
    words = f"a list, each {item.words}"
    return Kind(words=words, schema={"anyOf": [item.schema, many]} if or_one else many, read=read)


def map_of(item: Kind, *, keys: re.Pattern[str] | None, what: str) -> Kind:
    """A table with names of the person's choice; `keys` is what a name must look like."""

    def read(value: Any, at: At) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(at, f"a table of {what}", value)
        found: dict[str, Any] = {}
        bad = False
        for key, one in cast("dict[str, Any]", value).items():
            if keys is not None and not keys.fullmatch(key):
                (at / key).error(
                    "name",
                    f"{shown(key)} cannot be the name of a variable",
                    "Use letters, digits and _, not beginning with a digit.",
                    key=True,
                )
                bad = True
                continue
            try:
                found[key] = item.read(one, at / key)
            except UnusableError:
                bad = True
        if bad:
            raise UnusableError
        return found

    schema: dict[str, Any] = {"type": "object", "additionalProperties": item.schema}
    if keys is not None:
        schema["propertyNames"] = {"pattern": f"^(?:{keys.pattern})$"}
    return Kind(words=f"a table of {what}", schema=schema, read=read)


def _read_variable(value: Any, at: At) -> str:
    if isinstance(value, TextFloat):
        return value.text
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool):
        raise _wrong(at, "text", value, f'Put it in quotes: "{"true" if value else "false"}".')
    return _read_text(value, at)


VARIABLE_VALUE: Final = Kind(words="text or a number", schema={"type": ["string", "number"]}, read=_read_variable)


def _read_secret(value: Any, at: At) -> str:
    if not isinstance(value, str):
        raise _wrong(at, "a reference to a secret", value, SECRET_HINT)
    if not SECRET.fullmatch(value):
        # The text may be the secret itself: it is not repeated.
        at.error("secret", f"{at.path[-1]} is not a reference to a secret".replace("\n", " "), SECRET_HINT)
        raise UnusableError
    at.names_secret(value)
    return value


SECRET_REFERENCE: Final = Kind(
    words="a reference to a secret", schema={"type": "string", "pattern": f"^(?:{SECRET.pattern})$"}, read=_read_secret
)


def _read_url(value: Any, at: At) -> str:
    text = _read_text(value, at)
    if SECRET.fullmatch(text):
        at.names_secret(text)
        return text
    if not URL.fullmatch(text):
        # A URL may hold a password: it is not repeated.
        at.error(
            "url",
            "this is neither a URL nor a reference to one",
            "Write scheme://..., or env:NAME, file:PATH, keychain:NAME.",
        )
        raise UnusableError
    if _PASSWORD.match(text):
        at.note("password", "this URL holds a password in plain sight", f"Keep the URL elsewhere. {SECRET_HINT}")
    return text


URL_OR_REFERENCE: Final = Kind(words="a URL, or a reference to one", schema={"type": "string"}, read=_read_url)


def _read_timezone(value: Any, at: At) -> str:
    import zoneinfo

    text = _read_text(value, at)
    try:
        zoneinfo.ZoneInfo(text)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        at.unknown(
            "timezone",
            f"there is no time zone {shown(text)}",
            text,
            sorted(zoneinfo.available_timezones()),
            "Use a name such as Europe/Berlin, America/New_York or UTC.",
        )
        raise UnusableError from None
    return text


TIMEZONE: Final = Kind(words="a time zone", schema={"type": "string"}, read=_read_timezone)


def _read_port(value: Any, at: At) -> int | str:
    if value == "auto":
        return "auto"
    words = 'a port from 1 to 65535, or "auto"'
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(at, words, value)
    if not 1 <= value <= 65535:
        at.error("value", f"{repr_short(value)} is not {words}", f"Use {words}.")
        raise UnusableError
    return value


PORT: Final = Kind(
    words='a port, or "auto"',
    schema={"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 65535}]},
    read=_read_port,
)


def _read_anything(value: Any, at: At) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(at, "a table", value)
    return _as_json(cast("dict[str, Any]", value))


def _as_json(value: Any) -> Any:
    """Values that JSON has too: dates and times become text."""
    if isinstance(value, dict):
        return {k: _as_json(v) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_as_json(v) for v in cast("list[Any]", value)]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    return value if isinstance(value, str | int) else str(value)


FREE_TABLE: Final = Kind(words="a table", schema={"type": "object"}, read=_read_anything)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: everything that its page, its schema and its reader say about it.

    `default` is text for people, as it would be written in the file; `reason` says what it does and why so.
    """

    name: str
    kind: Kind
    default: str
    unit: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """The settings that one table of the file may have."""

    name: str
    about: str
    settings: Sequence[Setting]

    def names(self) -> list[str]:
        return [s.name for s in self.settings]

    def read(self, value: Any, at: At) -> dict[str, Any]:
        """The usable settings of `value` that are known; everything else is reported."""
        if not isinstance(value, dict):
            raise _wrong(at, "a table", value)
        known = {s.name: s for s in self.settings}
        found: dict[str, Any] = {}
        for key, one in cast("dict[str, Any]", value).items():
            here = at / key
            if key not in known:
                close = "" if at.collector.is_full else nearest(key, known)
                here.error(
                    "unknown-key",
                    f"{self.name} has no setting {shown(key)}",
                    f"Did you mean {shown(close)}?" if close else "Known: " + ", ".join(known) + ".",
                    key=True,
                )
                continue
            try:
                found[key] = known[key].kind.read(one, here)
            except UnusableError:
                continue
        return found

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {s.name: {**s.kind.schema, "description": describe(s)} for s in self.settings},
        }

    def kind(self) -> Kind:
        return Kind(words="a table", schema=self.schema(), read=self.read)


def describe(setting: Setting) -> str:
    """The description of a setting in the schema: its reason and its default."""
    return f"{setting.reason} Default: {setting.default}."
