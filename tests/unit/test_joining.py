"""Joining a lab, as far as it is decided by values: tokens, versions, addresses, and what a node may ask of Prefect."""

import asyncio
import stat
import string
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab import __version__
from homelab.control.api.auth import basic_password
from homelab.control.api.node_port import names_of
from homelab.control.gateway import Demand, demand
from homelab.core import labfile
from homelab.core.errors import InputError
from homelab.core.jointoken import JoinToken, parse
from homelab.core.labfile.listening import address
from homelab.core.labfile.model import ServiceSettings
from homelab.core.versions import apart
from homelab.flows import records
from homelab.flows.api import PrefectApi
from homelab.home import authority, endpoints, membership
from homelab.home.membership import Membership
from homelab.home.paths import Home
from homelab.worker import reach, registration
from homelab.worker.control_link import ControlLink
from homelab.worker.loop import Worker

MINE = "0190a000-0000-7000-8000-000000000001"
OTHER = "0190a000-0000-7000-8000-000000000002"
TASK = "0190a000-0000-7000-8000-0000000000aa"
NOW = datetime(2026, 5, 1, tzinfo=UTC)


# -- the token -------------------------------------------------------------------------------------------------------


@given(st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=80), st.integers(1, 65535))
def test_a_token_says_what_it_was_made_of_and_is_one_word(secret: str, port: int) -> None:
    made = JoinToken(url=f"https://mac1:{port}", fingerprint="ab" * 32, secret=secret)
    assert parse(made.text()) == made
    assert len(made.text().split()) == 1


@given(st.text(max_size=60) | st.text(string.ascii_letters, max_size=60).map("hlj1.".__add__))
def test_any_other_text_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(text)
    assert "node token" in str(refused.value)


@pytest.mark.parametrize("url", ["http://mac1:7443", "https://mac1", "https://:7443", "mac1:7443", "https://mac1:x"])
def test_a_token_for_anything_but_a_node_port_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        parse(JoinToken(url=url, fingerprint="ab" * 32, secret="s").text())


# -- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "node", "is_apart"),
    [
        ("0.1.0", "0.1.9", False), ("0.2.0", "0.1.0", False), ("1.4.2", "1.5.0", False), ("1.4.2rc1", "1.4.2", False),
        ("0.3.0", "0.1.0", True), ("2.0.0", "1.9.0", True), ("1.4.0", "1.6.0", True),
        ("", "1.0.0", False), ("1.0.0", "unknown", False),
    ],
)  # fmt: skip
def test_one_minor_release_apart_works_and_more_does_not(control: str, node: str, is_apart: bool) -> None:
    assert bool(apart(control=control, node=node)) == is_apart


def test_it_says_which_of_the_two_to_upgrade() -> None:
    assert "Upgrade this node" in apart(control="0.4.0", node="0.2.0")
    assert "Upgrade the machine of control" in apart(control="0.2.0", node="0.4.0")


async def test_a_worker_begins_nothing_new_for_a_control_of_another_release(tmp_path: Path) -> None:
    home = Home(tmp_path).ensure()
    endpoints.write(home, {"control": "http://control", "prefect": "http://prefect/api"})
    told: dict[str, Any] = {"ok": True, "runs": [], "cancelling": [], "alone": True}
    asked_for: list[str] = []

    def control(request: httpx.Request) -> httpx.Response:
        asked_for.extend([] if request.url.path.endswith("/heartbeat") else [request.url.path])
        return httpx.Response(200, json=told)

    def prefect(request: httpx.Request) -> httpx.Response:
        asked_for.append(request.url.path)
        return httpx.Response(200, json=[])

    link = ControlLink(home, transport=httpx.MockTransport(control))
    async with PrefectApi("http://prefect/api", None, transport=httpx.MockTransport(prefect)) as api:
        worker = Worker(home, name="own", node="own", api=api, link=link, prefect={})
        for version, polls in (("99.0.0", False), (__version__, True)):
            told["version"] = version
            await worker._beat()
            async with asyncio.TaskGroup() as group:
                polling = group.create_task(worker._poll(group))
                await asyncio.sleep(0.05)
                polling.cancel()
            assert bool(asked_for) == polls, version
    await link.aclose()


# -- where it listens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.0.0.0:7443", ("0.0.0.0", 7443)), ("mac1", ("mac1", None)), ("[::1]:80", ("::1", 80)),
        ("[::]", ("::", None)),
        ("mac1:0", None), ("mac1:70000", None), ("", None), ("https://mac1:7443", None), ("a b", None),
    ],
)  # fmt: skip
def test_an_address_to_listen_on(text: str, found: tuple[str, int | None] | None) -> None:
    assert address(text) == found


def test_the_port_is_known_by_this_machine_alone_until_the_lab_file_says_more() -> None:
    assert names_of(ServiceSettings(), machine="mac1", addresses=("10.0.0.5",)) == ("127.0.0.1", "localhost", "::1")
    everywhere = names_of(ServiceSettings(nodes="0.0.0.0:7443"), machine="mac1", addresses=("10.0.0.5",))
    assert everywhere[0] == "mac1"
    assert {"mac1.local", "10.0.0.5", "127.0.0.1"} < set(everywhere)
    named = names_of(ServiceSettings(nodes="0.0.0.0", node_names=("mac1.tail1.ts.net",)), machine="mac1", addresses=())
    assert named[0] == "mac1.tail1.ts.net"


@pytest.mark.parametrize(
    ("setting", "is_good"),
    [
        ('nodes = "0.0.0.0:7443"', True), ('nodes = "[::]:7443"', True), ('nodes = "mac1:99999"', False),
        ("nodes = 7443", False), ('node_names = ["mac1.lan", "10.0.0.5", "fd7a::1"]', True),
        ('node_names = "mac1"', True), ('node_names = ["https://mac1"]', False), ('node_names = ["a b"]', False),
    ],
)  # fmt: skip
def test_the_lab_file_says_where_nodes_come_in(setting: str, is_good: bool) -> None:
    lab, problems = labfile.parse({"lab.toml": f'[lab]\nname = "x"\n[control]\n{setting}\n'}, main="lab.toml")
    assert (lab is not None) == is_good, problems


# -- the authority ---------------------------------------------------------------------------------------------------


def test_the_authority_is_made_once_and_its_key_is_its_owners_alone(tmp_path: Path) -> None:
    home = Home(tmp_path).ensure()
    made = authority.authority(home)
    assert authority.authority(home) == made
    for name in ("ca.pem", "ca-key.pem"):
        assert stat.S_IMODE((home.secrets / name).stat().st_mode) == 0o600


def test_a_certificate_is_kept_while_it_is_good_and_made_anew_before_it_ends_or_for_other_names(tmp_path: Path) -> None:
    home = Home(tmp_path).ensure()
    names = ("mac1", "127.0.0.1", "::1")
    first = authority.server_certificate(home, names, NOW)
    assert first.names == names
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert authority.server_certificate(home, names, NOW + timedelta(days=59)) == first
    renewed = authority.server_certificate(home, names, NOW + timedelta(days=61))
    assert renewed.ends == first.ends + timedelta(days=61)
    assert authority.server_certificate(home, (*names, "mac9"), NOW + timedelta(days=61)).names == (*names, "mac9")


def test_a_certificate_of_another_authority_is_not_kept(tmp_path: Path) -> None:
    home = Home(tmp_path).ensure()
    first = authority.server_certificate(home, ("mac1",), NOW)
    before = first.path.read_text()
    for name in ("ca.pem", "ca-key.pem"):
        (home.secrets / name).unlink()
    authority.server_certificate(home, ("mac1",), NOW)
    assert first.path.read_text() != before


# -- what a node's home knows ----------------------------------------------------------------------------------------


def test_a_home_is_a_node_from_when_its_file_is_there_until_it_is_forgotten(tmp_path: Path) -> None:
    home = Home(tmp_path).ensure()
    assert membership.read(home) is None
    lab = authority.authority(Home(tmp_path / "lab").ensure())
    member = Membership(name="mac4", url="https://mac1:7443", lab=lab.fingerprint, capacity={"cpu": "8"})
    token = membership.token(home)
    membership.write(home, member, lab.pem)
    assert membership.read(home) == member
    reached = reach.of_home(home)
    assert reached.control == "https://mac1:7443"
    assert reached.environment()["PREFECT_API_URL"] == "https://mac1:7443/prefect/api"
    assert reached.environment()["PREFECT_API_AUTH_STRING"] == f"mac4:{token}"
    assert Path(reached.environment()["PREFECT_API_SSL_CERT_FILE"]).read_text() == lab.pem
    membership.forget(home)
    assert membership.read(home) is None
    assert membership.token(home) != token


def test_a_file_that_cannot_be_read_is_said_with_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path).ensure()
    membership.path_of(home).write_text("{")
    with pytest.raises(InputError, match="node leave --forget"):
        membership.read(home)


def test_only_the_home_itself_knows_its_last_worker(tmp_path: Path) -> None:
    home = Home(tmp_path / "a").ensure()
    assert registration.last(home, "mac4") is None
    registration.note(home, "mac4", pid=7, started="2026-05-01T00:00:00.000Z")
    assert registration.last(home, "mac4") == {"pid": 7, "started": "2026-05-01T00:00:00.000Z"}
    copy = Home(tmp_path / "b").ensure()
    registration.path_of(copy, "mac4").write_bytes(registration.path_of(home, "mac4").read_bytes())
    assert registration.last(copy, "mac4") is None


# -- what a node may ask of Prefect ----------------------------------------------------------------------------------


def asked(method: str, path: str, body: object = None) -> Demand | None:
    return demand(method, f"/api{path}", body, pool="homelab")


def state(kind: str, name: str = "", *, force: bool = False) -> dict[str, Any]:
    return {"state": {"type": kind, "name": name}, "force": force}


def event(run: str, *, task: str = "") -> dict[str, Any]:
    about = f"prefect.task-run.{task}" if task else f"prefect.flow-run.{run}"
    related = [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}]
    return {"resource": {"prefect.resource.id": about}, "related": related, "payload": {}}


def test_what_is_about_a_run_needs_that_run() -> None:
    for method, path, body in (
        ("GET", f"/flow_runs/{MINE}", None),
        ("PATCH", f"/flow_runs/{MINE}", {"name": "x"}),
        ("POST", f"/flow_runs/{MINE}/set_state", state("RUNNING")),
        ("POST", f"/flow_runs/{MINE}/set_state", state("PENDING", force=True)),
        ("POST", "/logs/", [{"flow_run_id": MINE, "message": "x"}]),
        ("POST", "/events", [event(MINE)]),
    ):
        found = asked(method, path, body)
        assert found is not None, path
        assert found.runs == {MINE}, path


def test_a_proposal_to_begin_is_a_claim() -> None:
    assert asked("POST", f"/flow_runs/{MINE}/set_state", state("PENDING")) == Demand(claims=MINE)
    assert asked("POST", f"/flow_runs/{MINE}/set_state", state("CANCELLED", "Missed")) == Demand(claims=MINE)
    assert asked("POST", f"/flow_runs/{MINE}/set_state", state("CANCELLED", "Cancelled")) == Demand(
        runs=frozenset({MINE})
    )


def test_all_runs_of_a_batch_count_together() -> None:
    both = asked("POST", "/events", [event(MINE), event(OTHER)])
    assert both is not None
    assert both.runs == {MINE, OTHER}
    lines = asked("POST", "/logs/", [{"flow_run_id": MINE}, {"flow_run_id": OTHER}])
    assert lines is not None
    assert lines.runs == {MINE, OTHER}


def test_a_task_is_of_the_run_that_is_named_with_it_and_of_no_two() -> None:
    one = asked("POST", "/events", [event(MINE, task=TASK)])
    assert one is not None
    assert one.tasks == {TASK: MINE}
    assert asked("POST", "/events", [event(MINE, task=TASK), event(OTHER, task=TASK)]) is None
    told = event(MINE, task=TASK)
    told["payload"] = {"task_run": {"flow_run_id": OTHER}}
    found = asked("POST", "/events", [told])
    assert found is not None
    assert OTHER in found.runs


def test_the_lab_s_own_records_pass() -> None:
    from homelab.core.jobs import Flow, Job, RunState

    flow = Flow(name="f", jobs=(Job(name="a"),), schedule=None, timezone="UTC")
    made = records.task_run_event(run_id=MINE, flow=flow, job=flow.jobs[0], state=RunState.RUNNING, time=NOW, attempt=1)
    found = asked("POST", "/events", [made, records.heartbeat_event(MINE, now=NOW)])
    assert found == Demand(runs=frozenset({MINE}), tasks={records.task_run_id(MINE, "a"): MINE})


def test_what_would_start_or_change_something_elsewhere_is_nobody_s() -> None:
    for method, path, body in (
        ("POST", "/deployments/", {"name": "x"}),
        ("POST", f"/deployments/{MINE}/create_flow_run", {}),
        ("DELETE", f"/flow_runs/{MINE}", None),
        ("POST", "/flow_runs/", {"flow_id": MINE, "deployment_id": MINE}),
        ("PATCH", f"/flow_runs/{MINE}", {"job_variables": {"command": "x"}}),
        ("POST", "/work_pools/", {"name": "other", "type": "homelab", "base_job_template": {}}),
        ("POST", "/work_pools/homelab/get_scheduled_flow_runs", {}),
        ("GET", "/work_pools/other", None),
        ("PATCH", "/work_pools/homelab", {"is_paused": True}),
        ("DELETE", f"/work_queues/{MINE}", None),
        ("POST", "/work_pools/other/workers/heartbeat", {"name": "far"}),
        ("POST", "/block_documents/filter", {}),
        ("GET", "/block_documents/", None),
        ("POST", "/variables/", {"name": "x", "value": "y"}),
        ("POST", "/automations/", {}),
        ("GET", "/admin/settings", None),
        ("POST", "/admin/database/clear", {"confirm": True}),
        ("POST", "/events", [{"resource": {"prefect.resource.id": f"prefect.deployment.{MINE}"}, "related": []}]),
        ("POST", "/events", [{"resource": {"prefect.resource.id": "mine"}, "related": []}]),
        ("POST", "/events", {"resource": {}}),
        ("POST", "/logs/", [{"message": "of no run"}]),
        ("POST", "/logs/", ["x"]),
        ("POST", "/flow_runs/", {"parent_task_run_id": "../admin"}),
        ("GET", "/../admin", None),
    ):
        assert asked(method, path, body) is None, (method, path)


@given(st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE"]), st.text(max_size=40), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8,
))  # fmt: skip
def test_nothing_that_is_sent_breaks_the_reading(method: str, path: str, body: object) -> None:
    for tail in (
        path,
        f"events{path}",
        "events",
        "logs",
        "flow_runs",
        "flow_runs/filter",
        f"task_runs/{uuid.UUID(int=1)}",
    ):
        found = asked(method, f"/{tail}", body)
        assert found is None or isinstance(found, Demand)


def test_a_list_is_cut_down_to_the_node_s_own() -> None:
    assert asked("POST", "/flow_runs/filter", {}) == Demand(gives="id")
    assert asked("POST", "/task_runs/filter", {}) == Demand(gives="flow_run_id")
    assert asked("GET", "/work_pools/homelab", None) == Demand(gives="pool")
    assert asked("GET", f"/work_queues/{MINE}", None) == Demand(gives="queue")


def test_a_heartbeat_is_of_the_node_that_it_names() -> None:
    assert asked("POST", "/work_pools/homelab/workers/heartbeat", {"name": "mac4"}) == Demand(worker="mac4")
    assert asked("POST", "/work_pools/homelab/workers/heartbeat", {}) == Demand(worker="?")


@pytest.mark.parametrize(
    ("header", "found"),
    [("Basic bWFjNDp0b2tlbg==", "token"), ("Basic bWFjNA==", None), ("Basic !", None), ("Bearer x", None), ("", None)],
)
def test_the_password_of_basic_authentication(header: str, found: str | None) -> None:
    assert basic_password({"authorization": header}) == found
