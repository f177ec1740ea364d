"""Nobody gets past the gate: every route of the table, hosts, origins, links, limits."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.service.api_site import RUN, Running, admin_file_token, running
from tests.service.postgres_site import postgres

from homelab.console.site import Console
from homelab.control.api import openapi, prefect_proxy
from homelab.control.api.app import ROUTES, app
from homelab.control.api.routing import Route

ALL = (*ROUTES, *Console().routes, *prefect_proxy.routes(prefect_proxy.Proxy()))
GUARDED = [route for route in ALL if route.scope != "open"]
LOWER = {"read": ["node"], "operate": ["read", "node"], "admin": ["operate", "read", "node"], "node": ["admin"]}


@pytest.fixture
async def site(database: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(database, tmp_path) as made:
        yield made


def concrete(route: Route) -> str:
    return re.sub(r"{[^}]*}", RUN, route.path)


async def test_every_route_but_the_open_ones_answers_401_without_and_403_with_another_scope(site: Running) -> None:
    for route in GUARDED:
        path = concrete(route)
        got = await site.http.request(route.method, path)
        assert got.status_code == 401, (route.method, path)
        got = await site.http.request(route.method, path, headers={"Authorization": "Bearer no"})
        assert got.status_code == 401, (route.method, path)
        for scope in LOWER[route.scope]:
            got = await site.http.request(route.method, path, headers=site.bearer(scope))
            assert got.status_code == 403, (route.method, path, scope)
    assert site.lab.did == []


def test_only_health_sign_in_and_the_style_are_open() -> None:
    assert sorted({route.path for route in ALL if route.scope == "open"}) == [
        "/api/v1/sign-in/passkey",
        "/api/v1/sign-in/passkey/options",
        "/healthz",
        "/readyz",
        "/sign-in",
        "/sign-in/tailscale",
        "/static/{hash}/{name}",
    ]


async def test_the_openapi_document_tells_every_json_route_and_its_scope(site: Running) -> None:
    got = await site.http.get("/api/v1/openapi.json", headers=site.bearer("read"))
    assert got.json() == openapi.document(ROUTES)
    for route in ROUTES:
        if not route.page:
            assert got.json()["paths"][route.path][route.method.lower()]["x-homelab-scope"] == route.scope


async def test_the_token_files_of_the_home_are_valid_from_the_start(site: Running) -> None:
    bearer = {"Authorization": f"Bearer {admin_file_token(site.home)}"}
    assert (await site.http.get("/api/v1/tokens", headers=bearer)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "a b", "[::1"])
async def test_a_foreign_host_name_is_misdirected(site: Running, host: str) -> None:
    got = await site.http.get("/api/v1/jobs", headers={**site.bearer("admin"), "Host": host})
    assert got.status_code in (400, 421)
    assert (await site.http.get("/healthz", headers={"Host": "evil.example"})).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null", "X-Homelab": "1"},
        {"Origin": "https://evil.example", "X-Homelab": "1"},
        {"Origin": "http://127.0.0.1:1", "X-Homelab": "1"},
        {"Sec-Fetch-Site": "cross-site", "X-Homelab": "1"},
        {"Sec-Fetch-Site": "same-site", "X-Homelab": "1"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_cookie_alone_changes_nothing(site: Running, headers: dict[str, str]) -> None:
    cookie = await site.sign_in()
    got = await site.http.post("/api/v1/jobs/fetch/run", json={}, headers={**cookie, **headers})
    assert got.status_code == 403
    assert site.lab.did == []


async def test_a_page_of_ours_may_run_a_job(site: Running) -> None:
    headers = {**await site.sign_in("operate"), "Origin": site.url, "X-Homelab": "1"}
    got = await site.http.post("/api/v1/jobs/fetch/run", json={}, headers=headers)
    assert got.status_code == 201
    got = await site.http.post("/api/v1/apply", json={}, headers=headers)
    assert got.status_code == 403


async def test_text_that_a_foreign_form_can_send_is_no_body(site: Running) -> None:
    headers = {**site.bearer("operate"), "Content-Type": "text/plain"}
    got = await site.http.post("/api/v1/jobs/fetch/run", content=b"{}", headers=headers)
    assert got.status_code == 415
    assert site.lab.did == []


async def test_a_link_is_not_used_by_looking_at_it_and_works_once(site: Running) -> None:
    made = await site.http.post("/api/v1/sign-in-links", json={}, headers=site.bearer("admin"))
    link = made.json()["url"]
    for _ in range(3):
        assert "Sign in</button>" in (await site.http.get(link)).text
    token = link.partition("token=")[2]
    both = await asyncio.gather(
        *(site.http.post("/sign-in", data={"token": token}, headers={"Origin": site.url}) for _ in range(2))
    )
    assert sorted(got.status_code for got in both) == [303, 403]
    cookie = next(got for got in both if got.status_code == 303).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()


async def test_a_link_posted_by_a_foreign_page_is_refused_and_not_used(site: Running) -> None:
    secret = await site.access.create_sign_in("read")
    got = await site.http.post("/sign-in", data={"token": secret}, headers={"Origin": "https://evil.example"})
    assert got.status_code == 403
    assert await site.access.sign_in(secret, origin="") is not None


async def test_guessing_links_is_slowed_down(site: Running) -> None:
    codes = [
        (await site.http.post("/sign-in", data={"token": "x"}, headers={"Origin": site.url})).status_code
        for _ in range(12)
    ]
    assert codes == [403] * 10 + [429] * 2


async def test_signing_out_ends_the_session_and_needs_the_form_of_the_page(site: Running) -> None:
    cookie = await site.sign_in()
    page = (await site.http.get("/", headers=cookie)).text
    form = re.search(r'name="form_token" value="(\w+)"', page)
    assert form
    headers = {**cookie, "Origin": site.url}
    assert (await site.http.post("/sign-out", data={"form_token": "x"}, headers=headers)).status_code == 403
    assert (await site.http.post("/sign-out", data={"form_token": form[1]}, headers=headers)).status_code == 303
    assert (await site.http.get("/", headers=cookie)).status_code == 401


async def test_a_revoked_token_is_useless_at_once_and_an_expired_one_too(site: Running) -> None:
    made = await site.access.create_token("short", "read")
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert (await site.http.get("/api/v1/jobs", headers=bearer)).status_code == 200
    got = await site.http.delete(f"/api/v1/tokens/{made['id']}", headers=site.bearer("admin"))
    assert got.status_code == 200
    assert (await site.http.get("/api/v1/jobs", headers=bearer)).status_code == 401
    gone = await site.access.create_token("gone", "read", ttl_s=0.001)
    await asyncio.sleep(0.01)
    assert await site.access.by_token(gone["token"]) is None


async def test_no_secret_of_a_token_link_or_session_is_stored(site: Running) -> None:
    cookie = await site.sign_in()
    secret = cookie["Cookie"].partition("=")[2]
    async with site.access.pool.connection() as connection:
        stored = ""
        for table in ("token", "sign_in", "session", "audit"):
            stored += str(await (await connection.execute(f"select * from {table}")).fetchall())
    for value in (secret, *site.tokens.values()):
        assert value not in stored


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/jobs", "/nothing", "/sign-in"])
async def test_every_answer_carries_the_careful_headers_and_no_cors(site: Running, path: str) -> None:
    got = await site.http.get(path, headers={**site.bearer("read"), "Origin": "https://evil.example"})
    policy = got.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    is_page = got.headers["content-type"].startswith("text/html")
    assert ("script-src 'self';" in policy) == is_page
    assert ("script" in policy) == is_page
    assert "frame-ancestors 'none'" in got.headers["content-security-policy"]
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["referrer-policy"] == "same-origin"
    assert "access-control-allow-origin" not in got.headers
    assert "server" not in got.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 400),
        (b" " * 2_000_000, 413),
        (b'{"only": 1}', 400),
    ],
)
async def test_a_bad_body_is_refused_with_a_clear_error(site: Running, body: bytes, status: int) -> None:
    headers = {**site.bearer("operate"), "Content-Type": "application/json"}
    got = await site.http.post("/api/v1/jobs/fetch/run", content=body, headers=headers)
    assert got.status_code == status
    assert set(got.json()["error"]) == {"code", "message", "hint"}


async def test_a_web_socket_of_another_origin_is_refused(site: Running) -> None:
    import websockets

    url = "ws" + site.url.removeprefix("http") + "/prefect/api/events/out"
    cookie = await site.sign_in()
    for headers in ({}, {**cookie, "Origin": "https://evil.example"}, {**cookie, "Origin": "null"}, cookie):
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(url, additional_headers=headers, proxy=None)


async def test_what_was_changed_is_in_the_audit_with_who(site: Running) -> None:
    await site.http.post("/api/v1/jobs/fetch/pause", headers=site.bearer("operate"))
    got = await site.http.get("/api/v1/audit", headers=site.bearer("admin"))
    newest = got.json()["audit"][0]
    assert (newest["action"], newest["subject"], newest["who"]) == (
        "POST /api/v1/jobs/{name}/pause",
        "fetch",
        "token test operate",
    )


async def test_a_database_that_is_away_is_said_and_not_a_crash(tmp_path: Path) -> None:
    with postgres() as url:
        async with running(url, tmp_path) as site:
            await site.access.pool.close()  # type: ignore[attr-defined]
            assert (await site.http.get("/readyz")).status_code == 503
            assert (await site.http.get("/readyz", headers=site.bearer("node"))).status_code == 503
            assert (await site.http.get("/healthz")).status_code == 200
            got = await site.http.get("/api/v1/jobs", headers=site.bearer("read"))
            assert got.status_code == 503
            assert isinstance(got, httpx.Response)
            assert got.json()["error"]["code"] == "unavailable"


async def test_readiness_tells_a_foreign_token_from_one_of_this_lab(site: Running) -> None:
    """What listens where the lab should may be another lab."""
    assert (await site.http.get("/readyz")).status_code == 200
    assert (await site.http.get("/readyz", headers=site.bearer("node"))).status_code == 200
    for token in ("not-of-this-lab", "x" * 5000):
        assert (await site.http.get("/readyz", headers={"Authorization": f"Bearer {token}"})).status_code == 401


@pytest.mark.parametrize(
    ("own_url", "origin", "name", "is_secure"),
    [
        ("http://127.0.0.1:4280", "http://127.0.0.1:4280", "homelab_4280", False),
        ("http://127.0.0.1:4280", "https://mac1.tail0000.ts.net", "homelab_4280", True),
        ("https://lab.example", "https://lab.example", "__Host-homelab_https", True),
    ],
)
async def test_a_cookie_is_for_tls_alone_where_there_is_tls_and_never_for_scripts(
    site: Running, own_url: str, origin: str, name: str, is_secure: bool
) -> None:
    made = app(
        site.lab, access=site.access, home=site.home, prefect_url="http://127.0.0.1:1", prefect_auth=None,
        own_url=own_url, hosts=["mac1.tail0000.ts.net"], pages=Console(),
    )  # fmt: skip
    secret = await site.access.create_sign_in("read")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url=origin) as http:
        got = await http.post("/sign-in", data={"token": secret}, headers={"Origin": origin})
    cookie = got.headers["set-cookie"]
    assert cookie.startswith(f"{name}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert ("Secure" in cookie) == is_secure
    assert "Domain" not in cookie
