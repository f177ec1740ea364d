"""The fleet by its API, on a real Postgres: what is on a node and why, draining, removing, where something would go."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from tests.service import fleet_site
from tests.service.console_site import Site, running
from tests.service.postgres_site import postgres

from homelab.control import leases, nodes, store
from homelab.core.capacity import MEMORY

pytestmark = pytest.mark.asyncio(loop_scope="module")
LAB = """
[lab]
name = "machines"
[jobs.train]
run = "true"
requires = { gpu_memory = "20GiB" }
[jobs.tiny]
run = "true"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        async with running(url, tmp_path_factory.mktemp("fleet"), days=0.1, most=5, text=LAB) as site:
            yield site


@pytest_asyncio.fixture(loop_scope="module")
async def site(lab: Site) -> Site:
    """The lab with three machines, as if nothing had been done to them."""
    async with lab.control.database.connection() as conn:
        await conn.execute("truncate sent, lease_group, lease, node")
        await fleet_site.three_machines(conn)
    return lab


async def token(site: Site, scope: str) -> dict[str, str]:
    made = await site.access.create_token(f"test {scope}", scope)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {made['token']}"}


async def ask(site: Site, method: str, path: str, body: Any = None, *, scope: str = "admin") -> tuple[int, Any]:
    headers = await token(site, scope)
    got = await site.http.request(method, f"/api/v1{path}", json=body, headers=headers)
    return got.status_code, got.json()


async def node_of(site: Site, name: str) -> dict[str, Any]:
    status, answer = await ask(site, "GET", f"/nodes/{name}", scope="read")
    assert status == 200
    return answer["node"]


async def test_a_node_tells_who_holds_what_of_it(site: Site) -> None:
    mac4 = await node_of(site, "mac4")
    assert (mac4["state"], mac4["why"], mac4["holds"]) == ("ready", [], 3)
    assert mac4["capacity"]["memory_bytes"] == 64 * fleet_site.GIB
    (memory,) = [r for r in mac4["resources"] if r["resource"] == MEMORY]
    gib = fleet_site.GIB
    assert [(h["owner"], h["kind"], h["amount"] // gib) for h in memory["held"]] == [
        ("nightly-eval", "lease", 8), ("embed-archive", "lease", 7), ("summarise-papers", "lease", 6),
        ("llama3:70b", "model", 30), ("other programs", "others", 5),
    ]  # fmt: skip
    assert memory["free"] == (64 - 8 - 7 - 6 - 30 - 5) * gib
    assert mac4["others"]["memory_bytes"] == 5 * gib
    assert [one["owner"] for one in mac4["leases"]] == ["embed-archive", "nightly-eval", "summarise-papers"]
    assert mac4["recent"][0]["owner"] == "index-mail"
    assert mac4["measured"]["gpu_memory_bytes"] == [48 * gib]
    assert mac4["address"] == "mac4.lan"


async def test_all_nodes_are_listed_by_name_with_the_fields_of_the_contract(site: Site) -> None:
    status, answer = await ask(site, "GET", "/nodes", scope="read")
    assert status == 200
    assert [node["name"] for node in answer["nodes"]] == ["mac1", "mac3", "mac4"]
    wanted = {"name", "state", "roles", "labels", "address", "capacity", "used", "free", "heartbeat_age_s"}
    assert wanted <= answer["nodes"][0].keys()
    assert 0 <= answer["nodes"][0]["heartbeat_age_s"] < 30


async def test_what_runs_without_a_lease_is_on_its_node_all_the_same(site: Site) -> None:
    async with site.control.database.connection() as conn:
        await conn.execute(
            "insert into run (id, flow, due, digest, trigger, params, jobs, by, state) values"
            " ('bare', 'tiny', null, '', 'manual', '{}', '[\"tiny\"]', 'me', 'running') on conflict do nothing"
        )
        await conn.execute(
            "insert into job_run (run, job, attempt, flow, state, started, node) values"
            " ('bare', 'tiny', 1, 'tiny', 'running', now(), 'mac1') on conflict do nothing"
        )
    try:
        mac1 = await node_of(site, "mac1")
        assert "tiny" in [one["owner"] for one in mac1["leases"]]
        assert mac1["leased"]["slots"] == 3
        status, answer = await ask(site, "GET", "/leases")
        assert status == 200
        newest = answer["leases"][0]
        assert (newest["owner"], newest["run"], newest["ended"]) == ("tiny", "bare", None)
    finally:
        async with site.control.database.connection() as conn:
            await conn.execute("delete from job_run where run = 'bare'")
            await conn.execute("delete from run where id = 'bare'")


async def test_draining_says_who_did_it_and_comes_to_an_end_when_the_work_has(site: Site) -> None:
    status, answer = await ask(site, "POST", "/nodes/mac1/drain", {}, scope="operate")
    assert (status, answer["node"]["state"]) == (200, "draining")
    assert "drained by token test operate" in answer["node"]["why"][0]
    assert answer["node"]["why"][1] == "2 pieces of work still are on it and may finish."
    async with site.control.database.connection() as conn:
        for row in await leases.give_up_node(conn, "mac1"):
            assert row["node"] == "mac1"
    assert (await node_of(site, "mac1"))["state"] == "drained"
    status, answer = await ask(site, "POST", "/nodes/mac1/undrain", {}, scope="operate")
    assert (status, answer["node"]["state"], answer["node"]["drained_since"]) == (200, "ready", None)
    status, answer = await ask(site, "GET", "/audit?limit=5")
    done = [(e["action"], e["subject"], e["result"]) for e in answer["audit"]]
    assert ("POST /api/v1/nodes/{name}/drain", "mac1", "done") in done


async def test_a_node_that_holds_work_is_only_removed_by_force(site: Site) -> None:
    status, answer = await ask(site, "POST", "/nodes/mac3/remove", {})
    assert (status, answer["error"]["code"]) == (409, "refused")
    assert "render-posters" in answer["error"]["message"]
    status, answer = await ask(site, "POST", "/nodes/mac3/remove", {"force": True}, scope="operate")
    assert status == 403
    status, answer = await ask(site, "POST", "/nodes/mac3/remove", {"force": True})
    assert status == 200
    assert sorted(work.split("/")[1] for work in answer["given_up"]) == ["render-posters", "sync-media"]
    async with site.control.database.connection() as conn:
        assert await store.joined_node(conn, "mac3") is None
    status, answer = await ask(site, "GET", "/nodes/mac3")
    assert status == 404
    assert sorted(answer["error"]["nearest"]) == ["mac1", "mac4"]


async def test_the_control_plane_s_own_machine_is_not_removed_while_it_works(site: Site) -> None:
    status, answer = await ask(site, "POST", "/nodes/mac1/remove", {"force": True})
    assert (status, answer["error"]["code"]) == (409, "refused")
    assert "it would be back at once" in answer["error"]["message"]
    assert (await node_of(site, "mac1"))["holds"] == 2


@pytest.mark.parametrize(
    ("action", "says", "grave", "undo"),
    [
        ("drain", "Nothing new starts on mac4, until somebody undrains it.", False, "undrain"),
        ("undrain", "mac4 is not drained: nothing would change.", False, "drain"),
        ("wake", "mac4 is awake: nothing would be sent.", False, ""),
        ("remove", "The lab forgets mac4: what it is, what it held. It must join anew to come back.", True, ""),
    ],
)
async def test_each_act_is_told_before_it_is_done(site: Site, action: str, says: str, grave: bool, undo: str) -> None:
    status, answer = await ask(site, "GET", f"/nodes/mac4/preview?action={action}", scope="read")
    assert status == 200
    assert (answer["will"][0], answer["is_grave"], answer["undo"]) == (says, grave, undo)


async def test_waking_is_told_by_what_the_lab_file_gives(site: Site) -> None:
    async with site.control.database.connection() as conn:
        await conn.execute("update node set asleep = true where name in ('mac3', 'mac4')")
        await conn.execute("update node set wake = 'aa:bb:cc:dd:ee:ff' where name = 'mac4'")
    mac3, mac4 = await node_of(site, "mac3"), await node_of(site, "mac4")
    assert [(one["state"], one["is_away"], one["wakeable"]) for one in (mac3, mac4)] == [
        ("asleep", True, False), ("asleep", True, True),
    ]  # fmt: skip
    _, answer = await ask(site, "GET", "/nodes/mac3/preview?action=wake", scope="read")
    assert answer["will"] == ["mac3 cannot be woken: the lab file gives no address for it. Nothing would be sent."]
    _, answer = await ask(site, "GET", "/nodes/mac4/preview?action=wake", scope="read")
    assert answer["will"][0] == "The message that wakes mac4 is sent to the address that the lab file gives."


async def test_what_waits_has_a_reason_on_each_node(site: Site) -> None:
    nothing = site.control.fleet.waiting
    await fleet_site.with_queue(site.control)
    try:
        status, answer = await ask(site, "GET", "/queue", scope="read")
    finally:
        site.control.fleet.waiting = nothing
    assert status == 200
    first = answer["queue"][0]
    assert (first["job"], first["priority"]) == ("fine-tune", 5)
    assert [r["node"] for r in first["reasons"]] == ["mac3", "mac4", "mac1"]  # the nearest first
    assert first["reasons"][2]["reason"].startswith("mac1: it has 10 GiB GPU memory; 14 GiB is asked")
    status, answer = await ask(site, "GET", "/queue", scope="read")
    assert (status, answer) == (200, {"queue": []})


async def test_where_something_would_go_is_asked_of_what_is_there_now(site: Site) -> None:
    asked = {"job": "train", "requires": {"cpu": 2}}
    status, answer = await ask(site, "POST", "/place", asked, scope="read")
    assert status == 200
    assert {r["node"]: r["code"] for r in answer["rejections"]} == {
        "mac1": "too-small", "mac3": "short", "mac4": "short",
    }  # fmt: skip
    assert answer["rejections"][2]["reason"].startswith(
        "mac4: 8 GiB GPU memory free of 20 GiB asked; llama3:70b holds 30 GiB; embed-archive holds 4 GiB; also, "
    )
    status, answer = await ask(site, "POST", "/place", {"requires": {"cpu": 2}}, scope="read")
    assert answer["placement"]["node"] in ("mac1", "mac3", "mac4")
    status, answer = await ask(site, "POST", "/place", {"job": "trian"}, scope="read")
    assert (status, answer["error"]["nearest"]) == (404, ["train", "tiny"])
    status, answer = await ask(site, "POST", "/place", {"requires": {"memory": "lots"}}, scope="read")
    assert (status, answer["error"]["code"]) == (400, "input")


async def test_a_job_says_where_it_would_go_and_why_not_elsewhere(site: Site) -> None:
    status, answer = await ask(site, "GET", "/jobs/train/why", scope="read")
    assert status == 200
    reasons = answer["reasons"]
    assert "no node can take it now" in reasons
    assert any(text.startswith("mac3: 6 GiB GPU memory free of 20 GiB asked") for text in reasons)
    status, answer = await ask(site, "GET", "/jobs/tiny/why", scope="read")
    assert any(text.startswith("it would go to mac4 now: 4 slots free of 1 asked") for text in answer["reasons"])
    async with site.control.database.connection() as conn:
        await nodes.want(conn, "mac4", "drained", by="dana")
    status, answer = await ask(site, "GET", "/jobs/tiny/why", scope="read")
    assert "not to mac4: it is draining" in answer["reasons"]


async def test_a_node_that_is_ill_is_a_problem_of_the_lab(site: Site) -> None:
    async with site.control.database.connection() as conn:
        await conn.execute("update node set heartbeat = now() - interval '5 minutes' where name = 'mac3'")
        await conn.execute("update node set skew_s = -8, version = '7.1.0' where name = 'mac1'")
        await nodes.want(conn, "mac4", "drained", by="dana")
        await conn.execute("update node set wanted_since = now() - interval '3 days' where name = 'mac4'")
    status, answer = await ask(site, "GET", "/problems", scope="read")
    assert status == 200
    told = {p["code"]: p for p in answer["problems"]}
    assert {"node-unreachable", "node-clock", "node-version", "node-drained"} <= told.keys()
    assert told["node-clock"]["message"].startswith("the clock of node mac1 is 8.0 s behind")
    status, answer = await ask(site, "GET", "/now", scope="read")
    about = {entry["node"]: entry for entry in answer["attention"] if entry["node"]}
    assert about["mac3"]["kind"] == "service"
    assert about["mac3"]["actions"] == ["node"]


async def test_a_machine_that_is_gone_is_told_once_not_as_its_worker_too(site: Site) -> None:
    async with site.control.database.connection() as conn:
        await conn.execute("update node set heartbeat = now() - interval '5 minutes' where name = 'mac3'")
        await conn.execute(
            "insert into worker (name, node, pid, started, last_seen, slots) values"
            " ('mac3', 'mac3', 1, now(), now() - interval '5 minutes', 6)"
        )
    try:
        told = [(p["code"], p["subject"]) for p in (await ask(site, "GET", "/problems"))[1]["problems"]]
        nodes_now = {n["name"]: n["state"] for n in (await ask(site, "GET", "/lab"))[1]["nodes"]}
    finally:
        async with site.control.database.connection() as conn:
            await conn.execute("delete from worker where name = 'mac3'")
    assert [code for code, subject in told if subject == "mac3"] == ["node-unreachable"]
    assert nodes_now["mac3"] == "unreachable", "in every list it is in the same state"


async def test_metrics_have_each_machine_and_the_queue(site: Site) -> None:
    nothing = site.control.fleet.waiting
    await fleet_site.with_queue(site.control)
    try:
        text = (await site.http.get("/metrics", headers=await token(site, "read"))).text
    finally:
        site.control.fleet.waiting = nothing
    lines = text.splitlines()
    assert f'homelab_node_capacity{{node="mac4",resource="memory_bytes"}} {64 << 30}' in lines
    assert f'homelab_node_leased{{node="mac4",resource="memory_bytes"}} {51 << 30}' in lines
    assert f'homelab_node_used_by_others{{node="mac4",resource="memory_bytes"}} {5 << 30}' in lines
    assert f'homelab_node_free{{node="mac4",resource="memory_bytes"}} {8 << 30}' in lines
    assert 'homelab_node_state{node="mac1",state="ready"} 1' in lines
    assert "homelab_queue_length 3" in lines
    assert "homelab_leases_given_up_last_day 1" in lines
    longest = next(float(line.split()[1]) for line in lines if line.startswith("homelab_queue_longest_wait_seconds "))
    assert 1255 < longest < 1300


async def test_the_pages_of_a_hundred_machines_cost_little(site: Site) -> None:
    async with site.control.database.connection() as conn:
        await conn.execute("truncate sent, lease_group, lease, node")
        for number in range(100):
            told = replace(fleet_site.MACHINES["mac4"], name=f"node{number:03}")
            await nodes.beat(conn, told)
        for number in range(300):
            held = fleet_site.work(number, f"job-{number % 40}", cpu=1, memory=1)
            assert isinstance(await leases.take(conn, held, f"node{number % 100:03}"), leases.Held)
    cookie = await site.sign_in()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    for path, most in (("/nodes", 0.4), ("/nodes/node007", 0.2)):
        taken: list[float] = []
        for _ in range(5):
            begun = time.process_time()
            got = await site.http.get(path, headers=headers)
            taken.append(time.process_time() - begun)
            assert got.status_code == 200
        assert min(taken) < most, (path, taken)
    assert got.text.count("<h1>node007</h1>") == 1
