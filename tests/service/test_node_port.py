"""The port for nodes: who gets in, what a node may, and that it may nothing else. Real TLS, Postgres and Prefect."""

import asyncio
import json
import secrets
import socket
import ssl
import subprocess
import sys
import textwrap
import typing
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from tests.service import prefect_site
from tests.service.node_site import FLOW, Site, node_site

from homelab.console.site import Console
from homelab.control import store
from homelab.control.api.app import ROUTES
from homelab.control.api.node_port import NODE_ROUTES
from homelab.core.errors import RefusedError
from homelab.core.jobs import RunState
from homelab.flows import records
from homelab.flows.api import PrefectApi
from homelab.home import membership
from homelab.home.authority import authority
from homelab.home.membership import Membership
from homelab.home.paths import Home
from homelab.home.secrets import read_or_create
from homelab.worker.control_link import ControlLink, ControlUnavailable


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[prefect_site.Site]:
    with prefect_site.site(tmp_path_factory.mktemp("prefect")) as made:
        yield made


@pytest.fixture
async def site(prefect: prefect_site.Site, tmp_path: Path) -> AsyncIterator[Site]:
    async with node_site(prefect, tmp_path) as made:
        yield made


def name() -> str:
    return f"n-{secrets.token_hex(4)}"


def heartbeat(node: str, **more: Any) -> dict[str, Any]:
    started = "2026-05-01T00:00:00.000Z"
    return {"worker": node, "node": node, "pid": 7, "started": started, "slots": 4, "running": [], **more}


# -- getting in ------------------------------------------------------------------------------------------------------


async def test_of_two_machines_that_hold_one_token_one_gets_in_and_may_ask_again(site: Site) -> None:
    secret, own = await site.token(name()), [secrets.token_urlsafe(32) for _ in range(6)]
    got = await asyncio.gather(*(site.join(secret, own=one) for one in own))
    assert sorted(g.status_code for g in got) == [201, *[401] * 5]
    winner = own[[g.status_code for g in got].index(201)]
    assert (await site.join(secret, own=winner)).status_code == 201
    async with site.client(winner) as http:
        assert (await http.get("/api/v1/node")).status_code == 200


async def test_whatever_is_wrong_with_a_token_the_answer_is_the_same_and_the_audit_has_one_line(site: Site) -> None:
    used = await site.token(name())
    assert (await site.join(used)).status_code == 201
    expired = await site.token(name(), ttl_s=0.001)
    withdrawn_name = name()
    withdrawn = await site.token(withdrawn_name)
    await site.revoke(withdrawn_name)
    before = len(await site.audit())
    answers = [await site.join(secret) for secret in (used, expired, withdrawn, "hlj_forged", "")]
    assert {(a.status_code, a.text) for a in answers} == {(401, answers[0].text)}
    lines = (await site.audit())[: len(await site.audit()) - before]
    assert [(e["action"], e["result"]) for e in lines] == [("node.join", "unauthorized")] * 5
    assert {e["body"]["reason"] for e in lines} == {"used", "expired", "unknown"}


async def test_a_name_is_one_node_s_until_it_is_taken_out_and_a_refused_token_stays_good(site: Site) -> None:
    taken, other = name(), name()
    first = await site.node(taken)
    secret = await site.token(other)
    refused = await site.join(secret, name=taken)
    assert refused.status_code == 409
    assert f"there is a node '{taken}' already" in refused.json()["error"]["message"]
    assert await site.revoke(taken)
    async with site.client(first) as http:
        assert (await http.get("/api/v1/node")).status_code == 401
    assert (await site.join(secret, name=taken)).status_code == 201
    async with site.control.database.connection() as conn:
        assert await store.joined_node(conn, taken) == taken


async def test_a_token_that_was_revoked_does_not_come_back_by_its_old_joining(site: Site) -> None:
    mine, own = name(), secrets.token_urlsafe(32)
    secret = await site.token(mine)
    assert (await site.join(secret, own=own)).status_code == 201
    await site.revoke(mine)
    assert (await site.join(secret, own=own)).status_code == 401


async def test_only_tokens_that_name_their_node_open_the_port_and_each_refusal_is_noted_once(site: Site) -> None:
    await site.access.register("worker of this home", "node", read_or_create(site.home, "token-node"))
    made = [(await site.access.create_token("t", scope))["token"] for scope in ("read", "operate", "admin", "node")]
    before = len(await site.audit())
    useless = [*made, read_or_create(site.home, "token-node"), "forged", "x" * 5000]
    for token in useless:
        async with site.client(token) as http:
            for _ in range(3):
                assert (await http.get("/api/v1/node")).status_code == 401
    assert len(await site.audit()) - before == len(useless)


async def test_no_secret_of_a_joining_is_stored(site: Site) -> None:
    secret, own = await site.token(name()), secrets.token_urlsafe(32)
    await site.join(secret, own=own)
    async with site.access.pool.connection() as conn:
        stored = ""
        for table in (b"token", b"join_token", b"audit", b"node"):
            stored += str(await (await conn.execute(b"select * from " + table)).fetchall())
    assert secret not in stored
    assert own not in stored


# -- the port itself -------------------------------------------------------------------------------------------------


async def test_whoever_trusts_another_authority_does_not_connect(site: Site, tmp_path: Path) -> None:
    foreign = ssl.create_default_context(cadata=authority(Home(tmp_path / "other").ensure()).pem)
    for trust in (foreign, ssl.create_default_context()):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            async with site.client(verify=trust) as http:
                await http.get("/api/v1/node/authority")


async def test_what_is_not_tls_gets_no_answer(site: Site) -> None:
    with pytest.raises(httpx.TransportError):
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(site.url.replace("https:", "http:") + "/api/v1/node/authority")


async def test_a_certificate_that_is_made_anew_counts_for_new_connections_at_once(site: Site) -> None:
    address = ("127.0.0.1", int(site.url.rpartition(":")[2]))

    def serial() -> str:
        with (
            socket.create_connection(address) as plain,
            site.trust.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            return str((tls.getpeercert() or {})["serialNumber"])

    before = await asyncio.to_thread(serial)
    (site.home.secrets / "node-port.pem").unlink()
    await site.port.open()
    assert await asyncio.to_thread(serial) != before


async def test_the_lab_file_moves_the_port_while_the_lab_runs(site: Site) -> None:
    token = await site.node(name())
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    before = site.url
    text = f'[lab]\nname = "moved"\n[control]\nnodes = "127.0.0.1:{other}"\nnode_names = ["localhost"]\n'
    try:
        plan = await site.control.apply({"lab.toml": text}, "lab.toml", by="test")
        assert list(plan["restarts"]) == []
        site.url, _ = await site.port.open()
        assert site.url == f"https://localhost:{other}"
        async with site.client(token) as http:
            assert (await http.get("/api/v1/node")).json()["lab_name"] == "moved"
        async with site.client(token, base_url=before) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("/api/v1/node")
    finally:  # the database is that of all tests here
        await site.control.apply({"lab.toml": '[lab]\nname = "moved"\n'}, "lab.toml", by="test")


async def test_a_port_that_nodes_know_is_not_left_for_another_and_that_it_is_taken_is_said(
    prefect: prefect_site.Site, tmp_path: Path
) -> None:
    async with node_site(prefect, tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        await first.node(name())
    refused = pytest.raises(RefusedError, match=f"port {port} for nodes is taken by")
    with socket.create_server(("127.0.0.1", port)), refused:
        async with node_site(prefect, tmp_path):
            pass
    async with node_site(prefect, tmp_path) as again:
        assert again.url == first.url


async def test_a_lab_whose_authority_was_made_anew_is_not_the_one_that_a_node_joined(
    site: Site, tmp_path: Path
) -> None:
    home = Home(tmp_path / "node").ensure()
    other = authority(Home(tmp_path / "before").ensure())
    mine = name()
    membership.write(home, Membership(name=mine, url=site.url, lab=other.fingerprint), other.pem)
    link = ControlLink(home)
    with pytest.raises(ControlUnavailable, match=r"not the one that this node joined.*node leave"):
        await link.call("GET", "/api/v1/node")
    await link.aclose()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "mac1:7443"])
async def test_a_host_name_that_is_not_the_port_s_is_misdirected(site: Site, host: str) -> None:
    async with site.client(await site.node(name())) as http:
        got = await http.get("/api/v1/node", headers={"Host": host})
    assert got.status_code in (400, 421)


async def test_everything_else_of_the_lab_is_not_there(site: Site) -> None:
    token = await site.node(name())
    async with site.client(token) as http:
        for route in (*ROUTES, *Console().routes):
            if route.scope == "node":
                continue
            path = route.path.replace("{", "").replace("}", "")
            got = await http.request(route.method, path)
            assert got.status_code in (403, 404, 405), (route.method, path, got.status_code)
        for path in ("/prefect/", "/prefect/api/../admin", "/prefect/api/%2e%2e/x", "/prefect/dashboard", "/docs"):
            assert (await http.get(path)).status_code in (400, 403, 404), path
        assert "CONNECT" not in (await http.options("/api/v1/node")).headers.get("allow", "")


async def test_a_body_that_is_too_long_is_refused_before_it_is_read(site: Site) -> None:
    token = await site.node(name())
    async with site.client(token) as http:
        got = await http.post("/api/v1/node/join", content=b" " * 70_000, headers={"Content-Type": "application/json"})
        assert got.status_code == 413
        got = await http.post("/prefect/api/logs/", content=b"[" + b" " * (9 * 2**20))
        assert got.status_code == 413
        got = await http.post("/prefect/api/logs/", content=b"{not json")
        assert got.status_code == 400


# -- its own runs and no others --------------------------------------------------------------------------------------


async def test_a_node_reads_and_reports_its_own_run(site: Site) -> None:
    mine = name()
    token, run = await site.node(mine), await site.run(node=mine)
    async with PrefectApi(f"{site.url}/prefect/api", f"{mine}:{token}", trust=site.trust) as api:
        seen = await api.read_run(run)
        assert seen is not None
        assert (await api.propose(run, records.proposal(RunState.PENDING, "mine"))).accepted
        assert (await api.set_state(run, records.proposal(RunState.RUNNING, ""))).accepted
        made = records.task_run_event(
            run_id=run, flow=FLOW, job=FLOW.jobs[0], state=RunState.RUNNING, time=datetime.now(UTC), attempt=1
        )
        await api.send_events([made, records.heartbeat_event(run, now=datetime.now(UTC))])
        from homelab.flows.api import LogLine

        task = records.task_run_id(run, "far")
        line = LogLine(time=datetime.now(UTC), level=20, message="hello", run_id=run, task_run_id=task)
        await api.send_logs([line])
        await api.worker_heartbeat("homelab", mine)
        assert [r.id for r in await api.read_runs([run])] == [run]
    assert await _within(lambda: site.prefect.logs(run)) == ["hello"]
    async with site.client(token) as http:
        assert (await http.post("/api/v1/worker/heartbeat", json=heartbeat(mine))).status_code == 200
        assert (await http.get(f"/api/v1/definitions/{FLOW.digest}")).json()["name"] == "far"
        told = {"id": str(uuid.uuid4()), "kind": "run.started", "run": run, "flow": "far", "due": None}
        told |= {"time": "2026-05-01T00:00:00Z", "worker": mine, "node": mine}
        assert (await http.post("/api/v1/worker/reports", json={"reports": [told]})).status_code == 200


async def _within(ask: Any) -> Any:
    for _ in range(100):
        if found := await ask():
            return found
        await asyncio.sleep(0.1)
    return []


async def test_of_work_pools_a_node_sees_the_lab_s_own_and_nothing_that_runs_are_started_with(site: Site) -> None:
    """Prefect's client asks for pool and queue of a deployment's run, and tells no event of it without an answer."""
    token = await site.node(name())
    await site.prefect.ensure_pool("homelab")
    secret = {"job_configuration": {"env": {"A": "hidden"}}, "variables": {"properties": {"a": {"type": "string"}}}}
    other = f"other-{uuid.uuid4().hex[:8]}"
    await site.prefect._call("POST", "/work_pools/", {"name": other, "type": "process", "base_job_template": secret})
    await site.prefect._call("PATCH", "/work_pools/homelab", {"base_job_template": secret})
    queues = {p: (await site.prefect._call("GET", f"/work_pools/{p}"))["default_queue_id"] for p in ("homelab", other)}
    async with site.client(token) as http:
        pool = await http.get("/prefect/api/work_pools/homelab")
        assert (pool.status_code, pool.json()["name"], pool.json()["base_job_template"]) == (200, "homelab", {})
        assert "hidden" not in pool.text
        assert (await http.get(f"/prefect/api/work_pools/{other}")).status_code == 403
        assert (await http.get(f"/prefect/api/work_queues/{queues['homelab']}")).json()["work_pool_name"] == "homelab"
        refused = await http.get(f"/prefect/api/work_queues/{queues[other]}")
        assert (refused.status_code, other in refused.text) == (403, False)


async def test_what_is_about_another_node_s_run_is_refused_whole_and_noted(site: Site) -> None:
    mine, other = name(), name()
    token = await site.node(mine)
    await site.node(other)
    own, foreign, nobody_s = await site.run(node=mine), await site.run(node=other), await site.run()
    task = records.task_run_id(foreign, "far")
    at = datetime.now(UTC).isoformat()

    def line(run: str, task_run: str | None = None) -> dict[str, Any]:
        told = {"name": "x", "level": 20, "message": "forged", "timestamp": at, "flow_run_id": run}
        return {**told, "task_run_id": task_run}

    def event(run: str, about: str) -> dict[str, Any]:
        related = [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}]
        resource = {"prefect.resource.id": about}
        return {"id": str(uuid.uuid4()), "occurred": at, "event": "x", "resource": resource, "related": related}

    report = {"id": str(uuid.uuid4()), "kind": "run.finished", "run": foreign, "flow": "far", "due": None}
    report |= {"state": "failed", "started": at, "ended": at, "reason": "forged"}
    failed = {"state": {"type": "FAILED", "name": "Failed"}, "force": True}
    attempts: list[tuple[str, str, Any]] = [
        ("GET", f"/prefect/api/flow_runs/{foreign}", None),
        ("GET", f"/prefect/api/flow_runs/{nobody_s}", None),
        ("POST", f"/prefect/api/flow_runs/{foreign}/set_state", failed),
        ("POST", f"/prefect/api/flow_runs/{nobody_s}/set_state", failed),
        ("PATCH", f"/prefect/api/flow_runs/{foreign}", {"name": "forged"}),
        ("POST", "/prefect/api/logs/", [line(own), line(foreign)]),
        ("POST", "/prefect/api/logs/", [line(own, task)]),
        ("POST", "/prefect/api/events", [event(own, f"prefect.flow-run.{own}"), event(foreign, "forged")]),
        ("POST", "/prefect/api/events", [event(own, f"prefect.task-run.{task}")]),
        ("GET", f"/prefect/api/task_runs/{task}", None),
        ("POST", f"/prefect/api/task_runs/{task}/set_state", failed),
        ("POST", "/prefect/api/work_pools/homelab/workers/heartbeat", {"name": other}),
        ("POST", "/prefect/api/deployments/", {"name": "x"}),
        ("POST", "/api/v1/worker/reports", {"reports": [report]}),
        ("POST", "/api/v1/worker/reports", {"reports": [{**report, "run": own, "node": other}]}),
        ("POST", "/api/v1/worker/heartbeat", heartbeat(other)),
        ("GET", f"/api/v1/worker/wake?worker={other}", None),
        ("GET", f"/api/v1/definitions/{'a' * 64}", None),
    ]  # fmt: skip
    before = len(await site.audit())
    async with site.client(token) as http:
        for method, path, body in attempts:
            got = await http.request(method, path, json=body)
            assert got.status_code == 403, (method, path, got.status_code, got.text)
        lists = await http.post("/prefect/api/flow_runs/filter", json={})
        assert [run["id"] for run in lists.json()] == [own]
    lines = (await site.audit())[: len(await site.audit()) - before]
    assert len(lines) == len(attempts)
    assert {(e["who"], e["result"]) for e in lines} == {(f"node {mine}", "forbidden")}
    assert await site.prefect.logs(own) == []
    for run in (own, foreign, nobody_s):
        seen = await site.prefect.read_run(run)
        assert seen is not None
        assert (seen.state_type, seen.name) == ("SCHEDULED", "far")


async def test_of_a_run_of_which_an_attempt_was_sent_to_it_a_node_tells_that_and_no_more(site: Site) -> None:
    mine, other, third = name(), name(), name()
    token, stranger = await site.node(mine), await site.node(third)
    await site.node(other)
    run = await site.run(node=other)
    task_run = records.task_run_id(run, "far")
    sent = {"work": f"{run}/far/1", "task": {"digest": FLOW.digest, "flow": "far", "due": None}}
    async with site.control.database.connection() as conn:
        row = await store.one_row(
            conn, "insert into lease (work, node, epoch, terms, expires) values (%s, %s, 0, '{}', now() + '1 h')"
            " returning token", (sent["work"], mine),
        )  # fmt: skip
        assert row is not None
        lease = int(row["token"])
    [answer] = await site.control.sending.ask([{**sent, "token": lease}])
    assert answer["state"] == "waiting"
    at = datetime.now(UTC).isoformat()
    line = {"name": "x", "level": 20, "message": "from afar", "timestamp": at, "flow_run_id": run}
    told = {"node": mine, "token": lease, "started": at, "pid": 7}
    log_path = f"/api/v1/worker/logs/{run}/far.1?offset=0"
    may: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/api/v1/definitions/{FLOW.digest}", {}),
        ("POST", "/prefect/api/logs/", {"json": [{**line, "task_run_id": task_run}]}),
        ("PUT", log_path, {"content": b"1.0 o 0\n\n"}),
        ("POST", "/api/v1/worker/guests", {"json": {"told": [told]}}),
    ]
    may_not: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/prefect/api/flow_runs/{run}", {}),
        ("POST", f"/prefect/api/flow_runs/{run}/set_state", {"json": {"state": {"type": "FAILED"}, "force": True}}),
        ("POST", "/prefect/api/events", {"json": [{"resource": {"prefect.resource.id": f"prefect.flow-run.{run}"}}]}),
        ("POST", f"/prefect/api/task_runs/{task_run}/set_state", {"json": {"state": {"type": "FAILED"}}}),
        ("GET", f"/api/v1/worker/runs/{run}/progress", {}),
        ("POST", "/api/v1/worker/sent", {"json": {"node": mine, "sent": [{**sent, "token": lease}]}}),
        ("POST", "/api/v1/worker/guests", {"json": {"told": [{**told, "node": other}]}}),
    ]
    async with site.client(token) as http, site.client(stranger) as foreign:
        for method, path, more in may:
            got = await foreign.request(method, path, **more)
            assert got.status_code == 403, (method, path, got.status_code, got.text)
            got = await http.request(method, path, **more)
            assert got.status_code == 200 or path.startswith("/prefect"), (method, path, got.status_code, got.text)
            assert got.status_code < 300
        for method, path, more in may_not:
            got = await http.request(method, path, **more)
            assert got.status_code == 403, (method, path, got.status_code, got.text)
        forged = {"told": [{**told, "node": third, "outcome": {"state": "succeeded", "ended": at}}]}
        assert (await foreign.post("/api/v1/worker/guests", json=forged)).status_code == 403
    [answer] = await site.control.sending.ask([{**sent, "token": lease}])
    assert (answer["state"], answer["pid"]) == ("started", 7), "what another node told of it does not count"
    assert await _within(lambda: site.prefect.logs(run)) == ["from afar"]


async def test_what_a_node_asks_again_and_again_of_a_run_that_is_not_its_own_is_noted_once(site: Site) -> None:
    mine, other = name(), name()
    token = await site.node(mine)
    await site.node(other)
    foreign, nobody_s = await site.run(node=other), await site.run()
    before = len(await site.audit())
    async with site.client(token) as http:
        for _ in range(3):
            for run, status in ((foreign, 403), (nobody_s, 409)):
                got = await http.put(f"/api/v1/worker/logs/{run}/far.1?offset=0", content=b"forged")
                assert got.status_code == status, got.text
        assert (await http.post("/api/v1/worker/heartbeat", json=heartbeat(mine))).status_code == 200
        for _ in range(3):
            copy = {**heartbeat(mine), "pid": 77, "started": "2026-01-01T00:00:00Z"}
            assert (await http.post("/api/v1/worker/heartbeat", json=copy)).status_code == 409
    lines = (await site.audit())[: len(await site.audit()) - before]
    assert [(e["who"], e["action"].split("/")[4], e["result"]) for e in reversed(lines)] == [
        (f"node {mine}", "logs", "forbidden"), (f"node {mine}", "logs", "refused"),
        (f"node {mine}", "heartbeat", "refused"),
    ]  # fmt: skip


async def test_whoever_tries_a_thousand_tokens_does_not_fill_the_audit(site: Site) -> None:
    before = len(await site.audit())
    async with site.client() as http:
        for n in range(100):
            headers = {"Authorization": f"Bearer forged-{n}"}
            assert (await http.get("/api/v1/node", headers=headers)).status_code == 401
    assert 0 < len(await site.audit()) - before <= 60


async def test_no_route_takes_the_name_of_another_node(site: Site) -> None:
    mine, other = name(), name()
    token = await site.node(mine)
    await site.node(other)
    named = [route for route in NODE_ROUTES if route.scope == "node" and route.method == "POST" and route.takes]
    assert len(named) >= 2
    async with site.client(token) as http:
        for route in named:
            body: dict[str, Any] = {field: [] for field in typing.get_type_hints(route.takes)}
            for field in {"worker", "node"} & set(body):
                told = {**body, **heartbeat(mine), field: other}
                got = await http.post(route.path, json=told)
                assert got.status_code == 403, (route.path, field, got.text)


async def test_of_nodes_that_want_one_run_the_one_it_was_given_to_gets_it(site: Site) -> None:
    names = [name() for _ in range(4)]
    tokens = [await site.node(one) for one in names]
    run = await site.run()
    nobodys = await site.run()
    async with site.control.database.connection() as conn:
        await store.assign(conn, {run: names[2]})

    async def claim(run: str, node: str, token: str) -> bool:
        async with PrefectApi(f"{site.url}/prefect/api", f"{node}:{token}", trust=site.trust) as api:
            return (await api.propose(run, records.proposal(RunState.PENDING, f"claimed by {node}"))).accepted

    pairs = list(zip(names, tokens, strict=True))
    assert await asyncio.gather(*(claim(run, *pair) for pair in pairs)) == [False, False, True, False]
    assert not any(await asyncio.gather(*(claim(nobodys, *pair) for pair in pairs)))


# -- two of one name -------------------------------------------------------------------------------------------------


async def test_a_second_daemon_of_a_node_is_refused_and_a_successor_that_says_so_is_not(site: Site) -> None:
    mine = name()
    async with site.client(await site.node(mine)) as http:
        assert (await http.post("/api/v1/worker/heartbeat", json=heartbeat(mine))).status_code == 200
        second = heartbeat(mine, pid=8, started="2026-05-01T00:01:00.000Z")
        refused = await http.post("/api/v1/worker/heartbeat", json=second)
        assert refused.status_code == 409
        assert f"'{mine}' is already at work (pid 7" in refused.json()["error"]["message"]
        wrong = {**second, "replaces": {"pid": 9, "started": "2026-05-01T00:00:00.000Z"}}
        assert (await http.post("/api/v1/worker/heartbeat", json=wrong)).status_code == 409
        right = {**second, "replaces": {"pid": 7, "started": "2026-05-01T00:00:00.000Z"}}
        assert (await http.post("/api/v1/worker/heartbeat", json=right)).status_code == 200
        assert (await http.post("/api/v1/worker/heartbeat", json=heartbeat(mine))).status_code == 409


async def test_a_worker_of_control_s_machine_cannot_have_the_name_of_a_node(site: Site) -> None:
    mine = name()
    await site.node(mine)
    with pytest.raises(RefusedError, match="on another machine"):
        await site.control.workers.heartbeat(heartbeat(mine))


# -- Prefect's own client --------------------------------------------------------------------------------------------

PROGRAM = """
    from prefect import flow, task, get_run_logger
    from prefect.client.orchestration import get_client
    from prefect.artifacts import create_markdown_artifact
    from prefect.events import emit_event
    import sys

    @task
    def double(x):
        get_run_logger().info("doubling %s", x)
        return 2 * x

    @flow(log_prints=True)
    def inner(x):
        return double(x)

    @flow(log_prints=True, name="outer-of-a-node")
    def outer():
        print("it speaks")
        create_markdown_artifact("# told", key="told")
        emit_event("homelab.test", resource={"prefect.resource.id": "custom.thing"})
        return [double(1), double.submit(2).result(), inner(3)]

    print(outer())
    with get_client(sync_client=True) as client:
        try:
            client.read_flow_run(sys.argv[1])
        except Exception as error:
            print("refused", type(error).__name__, getattr(getattr(error, "response", None), "status_code", ""))
"""


async def test_a_flow_of_prefect_s_own_client_runs_through_the_port_and_sees_no_other_run(
    site: Site, tmp_path: Path
) -> None:
    mine = name()
    token, foreign = await site.node(mine), await site.run()
    ca = tmp_path / "ca.pem"
    ca.write_text(authority(site.home).pem)
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"{site.url}/prefect/api", "PREFECT_API_AUTH_STRING": f"{mine}:{token}",
        "PREFECT_API_SSL_CERT_FILE": str(ca),
    }  # fmt: skip
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    before = len(await site.audit())
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, program, foreign], env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert "[2, 4, 6]" in done.stdout, done.stdout + done.stderr
    assert "refused" in done.stdout
    assert "403" in done.stdout, done.stdout
    lines = (await site.audit())[: len(await site.audit()) - before]
    assert [e["subject"] for e in lines] == [f"GET /api/flow_runs/{foreign}"], lines
    async with site.client(token) as http:
        runs = [str(run["id"]) for run in (await http.post("/prefect/api/flow_runs/filter", json={})).json()]
    assert len(runs) == 2
    states = {(await site.prefect.read_run(run)).state_type for run in runs}  # type: ignore[union-attr]
    assert states == {"COMPLETED"}

    async def tasks() -> list[Any] | None:
        found = [t for run in runs for t in await site.prefect.task_runs(run)]
        return found if len([t for t in found if t["state_type"] == "COMPLETED"]) >= 3 else None

    assert await _within(tasks), "the task runs that Prefect's client told by events"
    said = [m for run in runs for m in await site.prefect.logs(run)]
    assert any("it speaks" in m for m in said)
    assert sum("doubling" in m for m in said) == 3


async def test_a_run_that_is_there_already_is_not_had_by_asking_for_it_anew(site: Site) -> None:
    mine = name()
    token, key = await site.node(mine), secrets.token_hex(8)
    await site.prefect.ensure_pool("homelab")
    deployment = await site.prefect.put_deployment(FLOW, pool="homelab")
    foreign = await site.prefect.create_run(
        deployment, name="far", due=datetime.now(UTC), idempotency_key=key, parameters={}
    )
    async with site.client(token) as http:
        flow = (await http.get("/prefect/api/flows/name/far")).json()["id"]
        body = {"flow_id": flow, "state": {"type": "PENDING"}}
        got = await http.post("/prefect/api/flow_runs/", json={**body, "idempotency_key": key})
        assert got.status_code in (201, 403)
        assert foreign not in got.text
        assert (await http.get(f"/prefect/api/flow_runs/{foreign}")).status_code == 403
        made = await http.post("/prefect/api/flow_runs/", json={**body, "idempotency_key": f"{key}-new"})
        again = await http.post("/prefect/api/flow_runs/", json={**body, "idempotency_key": f"{key}-new"})
        assert (made.status_code, again.status_code) == (201, 200)
        assert made.json()["id"] == again.json()["id"]


async def test_an_event_about_another_s_run_ends_the_socket_of_a_node(site: Site) -> None:
    mine = name()
    token, own, foreign = await site.node(mine), await site.run(node=mine), await site.run()
    url = "wss" + site.url.removeprefix("https") + "/prefect/api/events/in"
    bearer = {"Authorization": f"Bearer {token}"}

    def event(run: str) -> str:
        resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
        at = datetime.now(UTC).isoformat()
        return json.dumps({"id": str(uuid.uuid4()), "occurred": at, "event": "x", "resource": resource, "related": []})

    options: dict[str, Any] = {"ssl": site.trust, "subprotocols": ["prefect"], "proxy": None}
    async with websockets.connect(url, additional_headers=bearer, **options) as ws:
        await ws.send(json.dumps({"type": "auth", "token": "anything"}))
        assert json.loads(await ws.recv())["type"] == "auth_success"
        await ws.send(event(own))
        await ws.send(event(foreign))
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 10)
    for headers, path in (({}, url), (bearer, url.replace("/in", "/out")), ({"Authorization": "Bearer x"}, url)):
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(path, additional_headers=headers, **options)


async def test_a_socket_ends_with_the_token_that_opened_it(site: Site) -> None:
    mine = name()
    token = await site.node(mine)
    own = await site.run(node=mine)
    url = "wss" + site.url.removeprefix("https") + "/prefect/api/events/in"
    resource = {"prefect.resource.id": f"prefect.flow-run.{own}"}
    event = {"id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": "x", "resource": resource}
    options: dict[str, Any] = {"ssl": site.trust, "subprotocols": ["prefect"], "proxy": None}
    async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {token}"}, **options) as ws:
        await ws.send(json.dumps({"type": "auth", "token": "anything"}))
        assert json.loads(await ws.recv())["type"] == "auth_success"
        await ws.send(json.dumps({**event, "related": []}))
        await site.revoke(mine)
        await ws.send(json.dumps({**event, "related": []}))
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 10)
