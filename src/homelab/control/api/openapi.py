"""The OpenAPI document, made from the table of routes."""

import re
from collections.abc import Iterable
from typing import Any

from homelab import __version__
from homelab.control.api.routing import Route

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "hint")},
        }
    },
}
_NAMED_PART = re.compile(r"{([a-z_]+)(?::path)?}")


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1: every JSON route with its scope, parameters and body fields. Pages are left out."""
    paths: dict[str, Any] = {}
    for route in routes:
        if not route.page:
            paths.setdefault(_NAMED_PART.sub(r"{\1}", route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "homelab", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _NAMED_PART.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.parameters.items()
    ]
    error = {
        "description": "Error",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": parameters,
        "responses": {"2XX": {"description": "Done"}, "4XX": error, "5XX": error},
        "security": [] if route.scope == "open" else [{"bearer": []}],
        "x-homelab-scope": route.scope,
    }
    if route.fields:
        properties = {name: {"description": text} for name, text in route.fields.items()}
        schema = {"type": "object", "properties": properties}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation
