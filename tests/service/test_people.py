"""People and what they may: roles on every route and page, sessions, passkeys; and who tries to be somebody else."""

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.service.authenticator import Device
from tests.service.console_site import Site, running

from homelab.console.screens import SCREENS
from homelab.console.site import Console
from homelab.control import passkeys
from homelab.control.access import allows
from homelab.control.api.app import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with running(database, tmp_path_factory.mktemp("people")) as made:
        yield made


class Browser:
    """A signed-in browser at the lab's name `localhost`, as passkeys need one."""

    def __init__(self, site: Site, secret: str = "") -> None:
        self.site = site
        self.host = f"localhost:{site.url.rpartition(':')[2]}"
        self.origin = f"http://{self.host}"
        self.cookie = secret
        self.name = f"homelab_{site.url.rpartition(':')[2]}"

    @property
    def headers(self) -> dict[str, str]:
        kept = {"Cookie": f"{self.name}={self.cookie}"} if self.cookie else {}
        return {"Host": self.host, "Origin": self.origin, "X-Homelab": "1", **kept}

    async def get(self, path: str) -> httpx.Response:
        return await self.site.http.get(path, headers=self.headers)

    async def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        return await self.site.http.post(path, json=body or {}, headers={**self.headers, **headers})

    async def delete(self, path: str) -> httpx.Response:
        return await self.site.http.delete(path, headers=self.headers)


async def signed_in(site: Site, name: str, role: str = "read") -> Browser:
    """A person of that name and role, with a browser."""
    people = site.access.people
    known = {p["name"]: p for p in await people.listing()}
    person = known.get(name) or await people.add(name, role)
    secret = await site.access.create_sign_in("admin", person=person["id"])
    return Browser(site, await site.access.sign_in(secret, origin="test") or "")


async def registered(browser: Browser, name: str = "key") -> Device:
    options = (await browser.post("/api/v1/passkeys/options")).json()["options"]
    device = Device(options["rp"]["id"], browser.origin)
    got = await browser.post("/api/v1/passkeys", {"name": name, "credential": device.create(options)})
    assert got.status_code == 201, got.text
    return device


async def answer_of(stranger: Browser, device: Device) -> dict[str, Any]:
    got = await stranger.post("/api/v1/sign-in/passkey/options")
    assert got.status_code == 200, got.text
    return device.get(got.json()["options"])


# -- roles ------------------------------------------------------------------------------------------------------------


async def test_a_role_opens_its_routes_and_refuses_the_others_by_name(site: Site) -> None:
    for name, role in (("reader", "read"), ("operator", "operate"), ("boss", "admin")):
        browser = await signed_in(site, name, role)
        assert (await browser.get("/api/v1/me")).json() == {"name": name, "role": role, "via": "link", "person": True}
        for route in (*ROUTES, *Console().routes):
            if route.scope in ("open", "node") or allows(role, route.scope):
                continue
            path = re.sub(r"{[^}]*}", "x", route.path)
            got = await site.http.request(route.method, path, headers=browser.headers)
            assert got.status_code == 403, (role, route.path)
            assert f"this needs the role &#39;{route.scope}&#39;" in got.text or (
                f"this needs the role '{route.scope}'; yours is '{role}'" in unescape(got.text).replace("This", "this")
            ), got.text


async def test_a_page_shows_only_what_the_role_allows(site: Site) -> None:
    """Every link and every button of every page, for each role: none leads to a refusal."""
    table = [(r.method, re.compile(re.sub(r"{[^}]*}", "[^/]+", r.path)), r.scope) for r in (*ROUTES, *Console().routes)]
    table.sort(key=lambda row: row[1].pattern.count("[^/]+"))
    for name, role in (("reader", "read"), ("operator", "operate")):
        browser = await signed_in(site, name, role)
        for path in pages(site):
            got = await browser.get(path)
            if got.status_code == 403:
                continue
            assert got.status_code == 200, path
            targets = [("GET", t) for t in re.findall(r'<a [^>]*href="(/[^"#?]*)', got.text)]
            targets += [("POST", t) for t in re.findall(r'method="post" action="(/[^"?]*)"', got.text)]
            assert targets
            for method, target in targets:
                if target.startswith("/prefect"):
                    continue  # Prefect's own pages; its gate is tested with it
                scope = next((s for m, p, s in table if m == method and p.fullmatch(unescape(target))), None)
                assert scope is not None, (path, method, target)
                assert scope == "open" or allows(role, scope), (role, path, target)


def pages(site: Site) -> list[str]:
    names = {"{name}": "dump-app", "{id}": site.past.failed["dump-app"]}
    found = [r.path for screen in SCREENS for r in screen.routes if r.method == "GET" and "passkeys/" not in r.path]
    found = [p.replace("/nodes/{name}", "/nodes/mac4") for p in found]
    return [re.sub(r"{\w+}", lambda m: names[m[0]], p) for p in found if p != "/compare" and "/tokens/" not in p]


async def test_what_keeps_a_page_fresh_shows_only_what_the_role_allows(site: Site) -> None:
    reader = await signed_in(site, "reader")
    async with site.http.stream("GET", "/live?topic=now&after=0", headers=reader.headers) as response:
        async with asyncio.timeout(5):
            async for line in response.aiter_lines():
                if line.startswith("data: ") and '"attention"' in line:
                    assert "Needs a look" in line
                    assert "/retry" not in line
                    break


async def test_a_role_that_is_taken_back_counts_at_once_and_the_last_admin_stays(site: Site) -> None:
    boss = await signed_in(site, "second boss", "admin")
    assert (await boss.get("/api/v1/audit")).status_code == 200
    owner = await signed_in(site, "owner")
    got = await owner.post("/api/v1/people/second%20boss/role", {"role": "read"})
    assert got.status_code == 200
    assert (await boss.get("/api/v1/audit")).status_code == 403
    for person in await site.access.people.listing():
        if person["role"] == "admin" and person["name"] != "owner":
            await site.access.people.set_role(person["name"], "read")
    got = await owner.post("/api/v1/people/owner/role", {"role": "read"})
    assert (got.status_code, got.json()["error"]["message"]) == (409, "the last admin must stay one")
    assert (await owner.delete("/api/v1/people/owner")).status_code == 409


async def test_a_removed_person_is_out_with_all_they_had(site: Site) -> None:
    gone = await signed_in(site, "gone", "operate")
    device = await registered(gone)
    link = await site.access.create_sign_in("operate", person=(await site.access.people.find("gone"))["id"])
    owner = await signed_in(site, "owner")
    assert (await owner.delete("/api/v1/people/gone")).status_code == 200
    assert (await gone.get("/api/v1/me")).status_code == 401
    stranger = Browser(site)
    answer = await answer_of(stranger, device)
    assert (await stranger.post("/api/v1/sign-in/passkey", {"credential": answer})).status_code == 403
    assert await site.access.sign_in(link, origin="") is None
    assert (await owner.get("/api/v1/people/gone/nothing")).status_code == 404
    got = await owner.post("/api/v1/people/gon/role", {"role": "read"})
    assert got.status_code == 404


async def test_a_guest_link_looks_and_does_nothing_and_has_no_name(site: Site) -> None:
    owner = await signed_in(site, "owner")
    made = (await owner.post("/api/v1/sign-in-links", {"scope": "read"})).json()
    assert made["person"] == "guest"
    guest = Browser(site, await site.access.sign_in(made["url"].partition("token=")[2], origin="") or "")
    assert (await guest.get("/api/v1/me")).json()["role"] == "read"
    assert (await guest.post("/api/v1/jobs/heartbeat/pause")).status_code == 403
    assert (await guest.post("/api/v1/passkeys/options")).status_code == 403
    assert (await guest.get("/api/v1/sessions")).status_code == 403
    assert "as a guest" in (await guest.get("/me")).text


# -- sessions ---------------------------------------------------------------------------------------------------------


async def test_everybody_sees_and_ends_their_own_sessions_only(site: Site) -> None:
    first, second, other = [await signed_in(site, name) for name in ("anna", "anna", "ben")]
    mine = (await first.get("/api/v1/sessions")).json()["sessions"]
    assert {row["person"] for row in mine} == {"anna"}
    assert sum(row["is_this"] for row in mine) == 1
    theirs = (await other.get("/api/v1/sessions")).json()["sessions"][0]["id"]
    assert (await first.delete(f"/api/v1/sessions/{theirs}")).status_code == 404
    assert (await other.get("/api/v1/me")).status_code == 200
    assert (await first.post("/api/v1/sessions/end")).json()["ended"] >= 2
    assert [(await b.get("/api/v1/me")).status_code for b in (first, second, other)] == [401, 401, 200]
    owner = await signed_in(site, "owner")
    assert (await owner.delete(f"/api/v1/sessions/{theirs}")).status_code == 200
    assert (await other.get("/api/v1/me")).status_code == 401


async def test_the_names_of_sessions_open_nothing(site: Site) -> None:
    owner = await signed_in(site, "owner")
    for row in (await owner.get("/api/v1/sessions")).json()["sessions"]:
        assert (await Browser(site, row["id"]).get("/api/v1/me")).status_code == 401


# -- passkeys ---------------------------------------------------------------------------------------------------------


async def test_a_passkey_signs_in_as_its_person_with_their_role(site: Site) -> None:
    carla = await signed_in(site, "carla", "operate")
    device = await registered(carla, "phone")
    stranger = Browser(site)
    got = await stranger.post("/api/v1/sign-in/passkey", {"credential": await answer_of(stranger, device)})
    assert got.json() == {"name": "carla"}
    cookie = got.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    again = Browser(site, cookie.partition("=")[2].partition(";")[0])
    me = (await again.get("/api/v1/me")).json()
    assert me == {"name": "carla", "role": "operate", "via": "passkey phone", "person": True}
    await again.post("/api/v1/jobs/heartbeat/pause")
    newest = (await site.access.audit(limit=1))[0]
    assert (newest["who"], newest["via"], newest["result"]) == ("carla", "passkey phone", "done")
    assert newest["origin"].startswith("127.0.0.1 ")
    listed = (await again.get("/api/v1/passkeys")).json()["passkeys"]
    assert [(key["name"], key["host"]) for key in listed] == [("phone", "localhost")]
    assert (await again.delete(f"/api/v1/passkeys/{listed[0]['id']}")).status_code == 200
    assert (await again.get("/api/v1/me")).status_code == 401  # it ends what the passkey opened
    assert (await carla.get("/api/v1/me")).status_code == 200


async def test_an_answer_is_good_once_and_not_for_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    device = await registered(await signed_in(site, "dora"))
    stranger = Browser(site)
    answer = await answer_of(stranger, device)
    both = await asyncio.gather(*(stranger.post("/api/v1/sign-in/passkey", {"credential": answer}) for _ in range(2)))
    assert sorted(got.status_code for got in both) == [200, 403]
    monkeypatch.setattr(passkeys, "LIVES_S", -1)
    late = await answer_of(stranger, device)
    assert (await stranger.post("/api/v1/sign-in/passkey", {"credential": late})).status_code == 403


async def test_a_copied_passkey_is_seen_by_its_counter_and_taken_no_more(site: Site) -> None:
    device = await registered(await signed_in(site, "emil"))
    copy = Device(device.host, device.origin, device.counter, credential=device.credential, key=device.key)
    stranger = Browser(site)
    for _ in range(2):
        got = await stranger.post("/api/v1/sign-in/passkey", {"credential": await answer_of(stranger, device)})
        assert got.status_code == 200
    got = await stranger.post("/api/v1/sign-in/passkey", {"credential": await answer_of(stranger, copy)})
    assert got.status_code == 403
    assert "copied" in got.json()["error"]["message"]
    got = await stranger.post("/api/v1/sign-in/passkey", {"credential": await answer_of(stranger, device)})
    assert got.status_code == 403
    person = (await site.access.people.find("emil"))["id"]
    assert "holds a copy" in (await site.access.people.passkeys(person))[0]["stopped"]


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
        {"is_verified": False},
        {"key": Device("x", "x").key},
        {"credential": b"unknown" * 4},
    ],
)
async def test_a_forged_answer_signs_nobody_in(site: Site, change: dict[str, Any]) -> None:
    device = await registered(await signed_in(site, "fritz"), "f")
    for name, value in change.items():
        setattr(device, name, value)
    stranger = Browser(site)
    got = await stranger.post("/api/v1/sign-in/passkey", {"credential": await answer_of(stranger, device)})
    assert got.status_code == 403
    assert "set-cookie" not in got.headers


async def test_a_question_of_one_session_is_not_answered_by_another_nor_for_another_purpose(site: Site) -> None:
    gina, hugo = await signed_in(site, "gina"), await signed_in(site, "hugo")
    options = (await gina.post("/api/v1/passkeys/options")).json()["options"]
    device = Device("localhost", gina.origin)
    body = {"name": "stolen", "credential": device.create(options)}
    assert (await hugo.post("/api/v1/passkeys", body)).status_code == 403
    assert (await gina.post("/api/v1/passkeys", body)).status_code == 403  # used up by the attempt
    stranger = Browser(site)
    sign_in = (await stranger.post("/api/v1/sign-in/passkey/options")).json()["options"]
    got = await gina.post("/api/v1/passkeys", {"name": "x", "credential": device.create(sign_in)})
    assert got.status_code == 403
    assert (await gina.get("/api/v1/passkeys")).json()["passkeys"] == []


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Content-Type": "text/plain"}],
)
async def test_another_site_can_ask_for_nothing(site: Site, headers: dict[str, str]) -> None:
    ida = await signed_in(site, "ida")
    for path in ("/api/v1/passkeys/options", "/api/v1/sign-in/passkey/options", "/api/v1/sign-in/passkey"):
        got = await ida.post(path, {"credential": {}}, **headers)
        assert got.status_code in (403, 415, 421), (path, headers)


async def test_a_lab_that_is_opened_by_its_address_says_why_it_has_no_passkeys(site: Site) -> None:
    jan = await signed_in(site, "jan")
    got = await jan.post("/api/v1/passkeys/options", Host=site.url.removeprefix("http://"), Origin=site.url)
    assert got.status_code == 409
    assert "belong to a name" in got.json()["error"]["message"]
    page = await site.http.get("/me", headers={"Cookie": jan.headers["Cookie"]})
    assert "homelab open --host localhost" in page.text


@pytest.mark.parametrize("credential", [{}, {"response": 1}, {"response": {"clientDataJSON": "%"}}, {"id": "x" * 9000}])
async def test_an_answer_that_is_none_is_refused(site: Site, credential: dict[str, Any]) -> None:
    got = await Browser(site).post("/api/v1/sign-in/passkey", {"credential": credential})
    assert got.status_code in (400, 429)


# -- being locked out -------------------------------------------------------------------------------------------------


async def test_guessing_is_slowed_down_and_the_owner_still_gets_in(site: Site) -> None:
    async def guess(address: str) -> int:
        transport = httpx.AsyncHTTPTransport(local_address=address)
        async with httpx.AsyncClient(transport=transport, base_url=site.url, trust_env=False) as http:
            got = await http.post("/sign-in", data={"token": "x"}, headers={"Origin": site.url})
            return got.status_code

    codes = [await guess(f"127.0.0.{2 + n // 11}") for n in range(120)]
    assert codes[:11] == [403] * 10 + [429]
    assert codes.count(403) <= 100
    owner = await site.access.people.owner()
    secret = await site.access.create_sign_in("admin", person=owner["id"])
    got = await site.http.post("/sign-in", data={"token": secret}, headers={"Origin": site.url})
    site.http.cookies.clear()
    assert got.status_code == 303
