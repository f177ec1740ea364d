"""The OpenAPI document is valid, whole and true: what it says of each route is what a real control does with anything
that fits it and with much that does not (schemathesis)."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.checks import CHECKS, load_all_checks
from tests.service.console_site import Site, running
from tests.service.postgres_site import postgres

from homelab.control.api import openapi
from homelab.control.api.app import ROUTES

DOCUMENT = openapi.document(ROUTES)
LASTING = ("/api/v1/events", "/api/v1/worker/wake")
"""Answers that stay open have tests of their own."""
load_all_checks()
GATES = [CHECKS.get_one("ignored_auth"), CHECKS.get_one("unsupported_method")]
SHAPES = [
    CHECKS.get_one(name)
    for name in (
        "content_type_conformance", "response_headers_conformance", "response_schema_conformance",
        "status_code_conformance",
    )
]  # fmt: skip
LOOP: list[asyncio.AbstractEventLoop] = []
"""The one that serves."""
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path=list(LASTING))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A real control with a past, served from a loop of its own thread."""
    made: list[Site] = []
    ready, over = threading.Event(), threading.Event()

    async def serve(url: str) -> None:
        async with running(url, tmp_path_factory.mktemp("document")) as site:
            made.append(site)
            LOOP[:] = [asyncio.get_running_loop()]
            ready.set()
            await asyncio.to_thread(over.wait)

    with postgres() as url:
        thread = threading.Thread(target=lambda: asyncio.run(serve(url)))
        thread.start()
        try:
            assert ready.wait(60)
            yield made[0]
        finally:
            over.set()
            thread.join()


def token(site: Site, scope: str) -> str:
    """A fresh one: the token before it may have been revoked by the very calls that are tested."""
    made = asyncio.run_coroutine_threadsafe(site.access.create_token("test", scope), LOOP[0])  # type: ignore[arg-type]
    return made.result(20)["token"]


def bearer(site: Site, scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(site, scope)}"}


def known(site: Site, path: str) -> dict[str, str]:
    """Names of things that are there, for the parts of a path."""
    name = "dump-app" if "/jobs/" in path else "mac3" if "/nodes/" in path else "0" * 64
    failed = site.past.failed["dump-app"]
    if "/worker/logs/" in path:
        name = "dump-app.9"
    return {"name": name, "id": failed, "run": failed, "digest": "0" * 64, "sha256": "0" * 64}


def holds(response: Any) -> None:
    """No fault of ours: 503 is for a Prefect that is not there, 507 for a file larger than the disk."""
    told = {503: "unavailable", 507: "full"}
    assert response.status_code < 500 or (
        response.status_code in told and response.json()["error"]["code"] == told[response.status_code]
    ), (response.status_code, response.text[:500])


@schema.parametrize()
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
def test_every_route_does_what_the_document_says(case: schemathesis.Case, site: Site) -> None:
    scope = case.operation.definition.raw["x-homelab-scope"]
    headers = bearer(site, "admin" if scope == "open" else scope)
    case.query.pop("follow", None)
    calls = [(dict(case.path_parameters or {}), [*GATES, *SHAPES])]
    if case.path_parameters:
        calls.append((known(site, case.path), SHAPES))
    for parts, checks in calls:
        if case.path_parameters:
            case.path_parameters.update({k: v for k, v in parts.items() if k in case.path_parameters})
        response = case.call(base_url=site.url, headers=headers)
        holds(response)
        case.validate_response(response, checks=checks, headers=headers)


def test_the_document_is_valid_openapi_and_every_answer_has_a_shape() -> None:
    validate(DOCUMENT)
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            done = [r for status, r in operation["responses"].items() if status < "300"]
            assert len(done) == 1, (method, path)
            for media, content in done[0]["content"].items():
                assert media != "application/json" or content["schema"], (method, path)
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Failure"}
            if method != "get" and "requestBody" not in operation:
                assert method == "delete", (method, path)
    names = [o["operationId"] for methods in DOCUMENT["paths"].values() for o in methods.values()]
    assert len(names) == len(set(names))


def closed(node: Any) -> Any:
    """A schema in which what it does not name may not be there."""
    if isinstance(node, dict):
        made = {k: closed(v) for k, v in node.items()}
        return {**made, "additionalProperties": False} if "properties" in made else made
    return [closed(v) for v in node] if isinstance(node, list) else node


def test_every_answer_has_the_fields_that_the_document_names_and_no_others(site: Site) -> None:
    run = site.past.failed["dump-app"]
    given = {
        "/api/v1/jobs/{name}/preview": "action=run",
        "/api/v1/nodes/{name}/preview": "action=drain",
        "/api/v1/runs/{id}/preview": "action=cancel",
        "/api/v1/runs/{id}/difference": "job=dump-app",
        "/api/v1/runs/{id}/find": "text=o&job=dump-app",
    }
    with httpx.Client(base_url=site.url, headers=bearer(site, "admin"), timeout=20) as http:
        for route in ROUTES:
            if route.method != "GET" or route.gives is None or route.scope == "node":
                continue
            path = route.path.replace("/nodes/{name}", "/nodes/mac4").replace("{name}", "dump-app")
            path = path.replace("{id}", run)
            got = http.get(f"{path}?{given.get(route.path, '')}")
            assert got.status_code == 200, (path, got.text)
            shape = {**closed(openapi.schema_of(route.gives)), "components": closed(DOCUMENT["components"])}
            jsonschema.validate(got.json(), shape, format_checker=jsonschema.FormatChecker())


def test_what_a_page_changes_has_the_answer_that_the_document_names(site: Site) -> None:
    shapes = closed(DOCUMENT["components"])
    calls = [
        ("/api/v1/jobs/heartbeat/pause", {}, "Switched"),
        ("/api/v1/jobs/heartbeat/resume", {}, "Switched"),
        ("/api/v1/sign-in-links", {"scope": "read"}, "Link"),
        ("/api/v1/tokens", {"name": "x", "ttl_s": 60}, "Made"),
        ("/api/v1/notifications/test", {}, "Test"),
        ("/api/v1/plan", {"files": {"lab.toml": "[lab]\nname = 'x'\n"}, "main": "lab.toml"}, "Plan"),
    ]
    with httpx.Client(base_url=site.url, headers=bearer(site, "admin"), timeout=20) as http:
        for path, body, shape in calls:
            got = http.post(path, json=body)
            assert got.is_success, (path, got.text)
            jsonschema.validate(got.json(), {"$ref": f"#/components/schemas/{shape}", "components": shapes})
