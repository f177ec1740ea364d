"""The OpenAPI document, made from the table of routes and the shapes of what they take and give."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from homelab import __version__
from homelab.control.api import shapes, shapes_access, shapes_around, shapes_fleet, shapes_lab, shapes_nodes
from homelab.control.api.routing import Query, Route

_NAMED_PART = re.compile(r"{([a-z_][a-z0-9_]*)(?::path)?}")
_REF = "#/components/schemas/{model}"
_SHAPES = (shapes, shapes_access, shapes_around, shapes_fleet, shapes_lab, shapes_nodes)
_TELLS = {
    400: "what was sent cannot be used; `message` says where",
    401: "no usable token or session",
    403: "the role does not allow it, or a browser sent it from elsewhere; `message` names the role",
    404: "no such thing; `nearest` has what it may have meant",
    405: "another method is for this path",
    409: "in conflict with what is; `message` says with what",
    413: "the body is too long",
    415: "the body is no JSON",
    421: "this server does not answer to that host name",
    422: "it was tried and failed",
    429: "too many; `Retry-After` says when to come back",
    500: "a fault of control, of which its log tells",
    503: "what is needed does not answer now; `Retry-After` says when to come back",
    507: "there is no room for it on the disk of control",
    504: "it did not happen in the time allowed",
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1: every JSON route with its scope, parameters, body, answers and refusals. Pages are left out."""
    kept = [route for route in routes if not route.page]
    paths: dict[str, Any] = {}
    for route in kept:
        path = _NAMED_PART.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "homelab",
            "version": __version__,
            "summary": "Jobs, runs and services of one lab.",
            "description": "Within /api/v1 fields and paths are added, never renamed or dropped. Times are UTC.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _is_named(shape: Any) -> bool:
    return isinstance(shape, type) and shape.__module__ in [module.__name__ for module in _SHAPES]


@cache
def _schemas() -> dict[str, Any]:
    """Every shape by its name, so that operations can refer to them."""
    named = [s for module in _SHAPES for s in vars(module).values() if _is_named(s)]
    _, made = TypeAdapter.json_schemas([(s, "validation", _adapter(s)) for s in named], ref_template=_REF)
    return made["$defs"]


def schema_of(shape: Any) -> dict[str, Any]:
    """The schema of one shape: a reference for those that have a name."""
    if _is_named(shape):
        return {"$ref": _REF.format(model=shape.__name__)}
    return _adapter(shape).json_schema(ref_template=_REF)


def statuses(route: Route) -> set[int]:
    """The refusals a caller of this route may meet. 500 is among none: it is a fault."""
    found = {400, 421, 503, *route.refuses}
    if route.scope != "open":
        found |= {401, 403}
    if route.takes is not None and route.scope == "open":
        found |= {403, 429}
    if "{" in route.path or route.parameters:
        found.add(404)
    if route.takes is not None:
        found |= {413, 415, 422}
    return found


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _NAMED_PART.findall(route.path)
    ]
    for name, given in route.parameters.items():
        query = given if isinstance(given, Query) else Query(text=given, schema={"type": "string"})
        parameters.append(
            {
                "name": name,
                "in": "query",
                "description": query.text,
                "required": query.is_required,
                "schema": dict(query.schema),
            }
        )
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            str(route.status): {"description": "Done", "content": _content(route)},
            **{str(status): _refusal(status) for status in sorted(statuses(route))},
        },
        "security": [] if route.scope == "open" else [{"bearer": []}],
        "x-homelab-scope": route.scope,
    }
    if route.takes is not None:
        schema = schema_of(route.takes)
        operation["requestBody"] = {"required": _needs_body(route), "content": {"application/json": {"schema": schema}}}
    if route.takes_bytes:
        operation["requestBody"] = {"required": False, "content": {"application/octet-stream": {"schema": {}}}}
    return operation


def _needs_body(route: Route) -> bool:
    return bool(route.takes.__required_keys__)


def _operation_id(route: Route) -> str:
    words = [route.method.lower(), *re.findall(r"[a-z0-9]+", route.path.removeprefix("/api/v1"))]
    return "_".join(words)


def _content(route: Route) -> dict[str, Any]:
    if route.gives is None:
        return {media: {"schema": {"type": "string"}} for media in route.media}
    return {media: {"schema": schema_of(route.gives)} for media in route.media}


def _refusal(status: int) -> dict[str, Any]:
    return {
        "description": _TELLS[status],
        "content": {"application/json": {"schema": _REF_FAILURE}},
    }


_REF_FAILURE = {"$ref": _REF.format(model="Failure")}
