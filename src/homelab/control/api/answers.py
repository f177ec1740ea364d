"""JSON in and out: bounded bodies, `{"error": {code, message, hint}}`, and the errors of `core` as HTTP statuses.

Called by every route. Never shows an unexpected error's text to a caller: that goes to the log.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from homelab.core.errors import HomelabError, InputError, NotFoundError, RefusedError, TimedOutError
from homelab.flows.api import PrefectUnavailable

MAX_DEPTH = 32
"""Nesting of a JSON body. Nothing the API takes is deeper than 8; a bomb of brackets is thousands."""

_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (InputError, 400, "input"),
    (NotFoundError, 404, "not_found"),
    (RefusedError, 409, "refused"),
    (TimedOutError, 504, "timed_out"),
)


class HttpError(Exception):
    """An answer other than success that has no counterpart in `core.errors`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        nearest: Sequence[str] = (),
        kind: str = "",
    ):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = dict(headers or {})
        self.nearest = tuple(nearest)
        """Names that an unknown one may have meant, of things of this `kind` (`core.errors.NotFoundError`)."""
        self.kind = kind


def _default(value: object) -> object:
    if isinstance(value, (set, frozenset, tuple)):
        return list(cast("set[object]", value))
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise TypeError(type(value).__name__)


def _utc(value: Any) -> Any:
    """Times in UTC whatever zone the database session was in: orjson's `Z` is only written for UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, dict):
        return {k: _utc(v) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_utc(v) for v in cast("list[Any]", value)]
    return value


def dump(body: object) -> bytes:
    """JSON bytes: times in UTC with `Z`; text that is not Unicode (lone surrogates) is replaced."""
    body = _utc(body)
    try:
        return orjson.dumps(body, _default, orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        text = json.dumps(body, default=str, ensure_ascii=False)
        return text.encode("utf-8", "replace")


def answer(body: object, status: int = 200) -> Response:
    return Response(dump(body), status_code=status, media_type="application/json")


def failure(error: HttpError) -> Response:
    body: dict[str, object] = {"code": error.code, "message": error.message, "hint": error.hint}
    if error.nearest:
        body["nearest"] = error.nearest
    response = answer({"error": body}, error.status)
    for name, value in error.headers.items():
        response.headers[name] = value
    return response


def as_http(error: HomelabError) -> HttpError:
    """The HTTP form of an error with a remedy."""
    message = f"{error.where}: {error.message}" if error.where else error.message
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            if isinstance(error, NotFoundError):
                return HttpError(status, code, message, error.hint, nearest=error.nearest, kind=error.kind)
            return HttpError(status, code, message, error.hint)
    if isinstance(error, PrefectUnavailable):
        return HttpError(503, "unavailable", message, error.hint, {"Retry-After": "5"})
    return HttpError(422, "failed", message, error.hint)


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body, refused with 413 as soon as it is known to be too long; nothing beyond the limit is kept."""
    too_large = HttpError(413, "too_large", f"the body is longer than {limit} bytes")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect as gone:
        raise HttpError(400, "input", "the request ended before its body") from gone
    return bytes(body)


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object no deeper than `MAX_DEPTH`; {} for an empty body."""
    if not body.strip():
        return {}
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, "input", f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise HttpError(400, "input", "the body must be a JSON object")
    level: list[object] = [cast("object", value)]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return cast("dict[str, Any]", value)
    raise HttpError(400, "input", f"the body is nested deeper than {MAX_DEPTH}")


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(cast("dict[str, object]", node).values())
    return cast("list[object]", node) if isinstance(node, list) else []


async def read_json(request: Request, limit: int = 1024 * 1024) -> dict[str, Any]:
    """The body as a JSON object. Another content type is 415: a form of a foreign page cannot send JSON."""
    body = await read_bytes(request, limit)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if body and kind != "application/json":
        raise HttpError(415, "input", "the body must be application/json", "Send Content-Type: application/json.")
    return parse(body)


def without_nul(value: Any) -> Any:
    """The value with every NUL in its texts replaced: Postgres stores none, and what a job printed may hold some."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {without_nul(k): without_nul(v) for k, v in cast("dict[str, Any]", value).items()}
    return [without_nul(v) for v in cast("list[Any]", value)] if isinstance(value, list) else value


def text_field(body: Mapping[str, Any], name: str, *, default: str | None = None, limit: int = 1000) -> str:
    """A string of a body; 400 when it is missing, of another type or too long."""
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > limit:
        raise HttpError(400, "input", f"'{name}' must be a string of at most {limit} characters")
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise HttpError(400, "input", f"'{name}' must be true or false")
    return value


def moment(body: Mapping[str, Any], name: str) -> datetime:
    """A time of a body, aware; 400 when it is missing or no time."""
    try:
        found = datetime.fromisoformat(text_field(body, name, limit=40))
    except ValueError as error:
        raise HttpError(400, "input", f"'{name}' must be a time like 2026-03-08T01:30:00Z") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def texts(body: Mapping[str, Any], name: str) -> dict[str, str]:
    """A map of strings to strings. Numbers and booleans are taken as their JSON text; anything else is refused."""
    value: object = body.get(name) or {}
    if not isinstance(value, dict):
        raise HttpError(400, "input", f"'{name}' must be an object")
    made: dict[str, str] = {}
    for key, item in cast("dict[str, object]", value).items():
        if isinstance(item, str):
            made[key] = item
        elif isinstance(item, (int, float)):
            made[key] = json.dumps(item)
        else:
            raise HttpError(400, "input", f"'{name}.{key}' must be a string")
    return made


def number(request: Request, name: str, *, default: int, most: int) -> int:
    """A whole number of the query string, 0 to `most`; more is cut to `most`."""
    raw = request.query_params.get(name)
    if raw is None or raw == "":
        return default
    if not (raw.isascii() and raw.isdecimal() and len(raw) < 16):
        raise HttpError(400, "input", f"'{name}' must be a whole number")
    return min(int(raw), most)
