"""The door to Prefect against a real server on a real Postgres."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import pytest_asyncio
from tests.service.prefect_site import Site, site

from homelab.core.jobs import Flow, Job, Need, RunState
from homelab.flows import records
from homelab.flows.api import LogLine, PrefectApi, PrefectRefused, PrefectUnavailable
from homelab.flows.pyrunner import PythonRunner, PythonSpec

T = TypeVar("T")
POOL = "homelab"
FLOW = Flow(
    name="fetch",
    schedule="0 2 * * *",
    timezone="UTC",
    jobs=(Job(name="fetch", run="true", tags=("data",)), Job(name="report", run="true", needs=(Need(job="fetch"),))),
)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("prefect")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api(server: Site) -> AsyncIterator[PrefectApi]:
    async with PrefectApi(server.url, server.auth) as made:
        await made.ensure_pool(POOL)
        yield made


async def new_run(api: PrefectApi, *, due: datetime | None = None, params: dict[str, Any] | None = None) -> str:
    deployment = await api.put_deployment(FLOW, pool=POOL)
    return await api.create_run(
        deployment, name="fetch now", due=due, idempotency_key=str(uuid.uuid4()),
        parameters={"definition": FLOW.digest, "params": params or {}},
    )  # fmt: skip


async def eventually(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool], within_s: float = 15) -> T:
    deadline = time.monotonic() + within_s
    while not good(found := await ask()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert good(found), found
    return found


async def test_the_same_deployment_and_the_same_key_are_made_once(api: PrefectApi) -> None:
    first, second = await api.put_deployment(FLOW, pool=POOL), await api.put_deployment(FLOW, pool=POOL)
    assert first == second
    key = str(uuid.uuid4())
    ids = {
        await api.create_run(first, name="x", due=None, idempotency_key=key, parameters={"definition": "d"})
        for _ in range(2)
    }
    assert len(ids) == 1


async def test_a_due_run_is_offered_with_its_instant_and_what_looks_like_a_template_untouched(api: PrefectApi) -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=20)
    params = {"a": "{{ 7 * 7 }}", "b": "$(id)", "__prefect_kind": "jinja", "template": "{{ 1 }}"}
    run = await new_run(api, due=due, params=params)
    assert run not in {r.id for r in await api.due_runs(POOL, before=due - timedelta(seconds=5))}
    [found] = [r for r in await api.due_runs(POOL, before=due + timedelta(seconds=1)) if r.id == run]
    assert (found.due, found.parameters["params"], found.parameters["definition"]) == (due, params, FLOW.digest)
    await api.delete_runs([run, str(uuid.uuid4())])
    assert await api.read_run(run) is None


async def test_of_two_that_claim_a_run_at_once_one_gets_it(api: PrefectApi, server: Site) -> None:
    async with PrefectApi(server.url, server.auth) as other:
        for _ in range(5):
            run = await new_run(api)
            claim = records.proposal(RunState.PENDING, "")
            verdicts = await asyncio.gather(api.propose(run, claim), other.propose(run, claim))
            assert sorted(v.accepted for v in verdicts) == [False, True]


async def test_jobs_told_by_events_are_task_runs_with_times_edges_and_a_graph(api: PrefectApi, server: Site) -> None:
    run = await new_run(api)
    await api.propose(run, records.proposal(RunState.PENDING, ""))
    await api.propose(run, records.proposal(RunState.RUNNING, ""))
    began = datetime.now(UTC)
    events = [
        records.task_run_event(
            run_id=run, flow=FLOW, job=job, state=state, attempt=1, started=began + timedelta(seconds=n),
            time=began + timedelta(seconds=n + 0.5 * step),
        )
        for n, job in enumerate(FLOW.jobs)
        for step, state in enumerate((RunState.PENDING, RunState.RUNNING, RunState.SUCCEEDED))
    ]  # fmt: skip
    await api.send_events(events)
    await api.send_events(events)  # told twice after a crash: still one task run
    found = await eventually(lambda: api.task_runs(run), lambda ts: [t["state_type"] for t in ts] == ["COMPLETED"] * 2)
    by_name = {t["name"]: t for t in found}
    assert {t["id"] for t in found} == {records.task_run_id(run, j.name) for j in FLOW.jobs}
    report = by_name["report"]
    assert [i["id"] for inputs in report["task_inputs"].values() for i in inputs] == [by_name["fetch"]["id"]]
    assert report["total_run_time"] == pytest.approx(1.0)
    assert datetime.fromisoformat(report["start_time"]) == began + timedelta(seconds=1)
    assert report["run_count"] == 1
    user, _, password = server.auth.partition(":")
    async with httpx.AsyncClient(auth=(user, password)) as client:
        graph = (await client.get(f"{server.url}/flow_runs/{run}/graph-v2")).json()
    nodes = {node["label"]: node for _, node in graph["nodes"]}
    assert [p["id"] for p in nodes["report"]["parents"]] == [by_name["fetch"]["id"]]


async def test_logs_that_postgres_would_refuse_arrive(api: PrefectApi) -> None:
    run = await new_run(api)
    task = records.task_run_id(run, "fetch")
    texts = ["plain", "nul \0 here", "lone \ud800 surrogate", "\x1b[31mred", "x" * 1_000_000]
    now = datetime.now(UTC)
    await api.send_logs(
        [
            LogLine(time=now + timedelta(milliseconds=n), level=logging.INFO, message=t, run_id=run, task_run_id=task)
            for n, t in enumerate(texts)
        ]
    )
    found = await eventually(lambda: api.logs(run), lambda lines: len(lines) == len(texts))
    assert found[0] == "plain"
    assert "\0" not in found[1]
    assert found[2].startswith("lone ")
    assert len(found[4]) <= 20_000


async def test_a_run_that_ended_goes_again_through_awaiting_retry(api: PrefectApi) -> None:
    run = await new_run(api)
    for state in (RunState.PENDING, RunState.RUNNING, RunState.FAILED):
        assert (await api.propose(run, records.proposal(state, ""))).accepted
    assert (await api.set_state(run, records.proposal(RunState.RETRYING, "asked for"))).accepted
    soon = datetime.now(UTC) + timedelta(seconds=5)
    assert run in {r.id for r in await api.due_runs(POOL, before=soon)}
    for state in (RunState.PENDING, RunState.RUNNING, RunState.SUCCEEDED):
        assert (await api.propose(run, records.proposal(state, ""))).accepted
    view = await api.read_run(run)
    assert view is not None
    assert records.run_state(view.state_type, view.state_name) is RunState.SUCCEEDED


@pytest.mark.parametrize("state", [s for s in RunState if s.is_final])
async def test_every_final_state_comes_back_as_it_was_given(api: PrefectApi, state: RunState) -> None:
    run = await new_run(api)
    await api.set_state(run, records.proposal(state, "why"))
    view = await api.read_run(run)
    assert view is not None
    assert (records.run_state(view.state_type, view.state_name), view.message) == (state, "why")


async def test_a_cancelled_run_is_seen_and_cannot_be_claimed(api: PrefectApi, server: Site) -> None:
    run = await new_run(api)
    await api.propose(run, records.proposal(RunState.PENDING, ""))
    await api.propose(run, records.proposal(RunState.RUNNING, ""))
    await api.propose(run, records.StateProposal(type="CANCELLING", name="Cancelling"))
    assert run in await api.cancelling_runs(POOL)
    await api.set_state(run, records.proposal(RunState.CANCELLED, "by hand"))
    assert run not in await api.cancelling_runs(POOL)
    assert not (await api.propose(run, records.proposal(RunState.PENDING, ""))).accepted


async def test_a_heartbeat_makes_the_worker_known(api: PrefectApi) -> None:
    await api.worker_heartbeat(POOL, "tester")
    await api.send_events([records.heartbeat_event(str(uuid.uuid4()), now=datetime.now(UTC))])


async def test_a_wrong_password_is_refused_and_no_server_is_unavailable(server: Site) -> None:
    async with PrefectApi(server.url, "homelab:wrong") as api:
        with pytest.raises(PrefectRefused) as refused:
            await api.due_runs(POOL, before=datetime.now(UTC))
        assert refused.value.status == 401
    async with PrefectApi("http://127.0.0.1:9/api", None) as api:
        assert not await api.healthy()
        with pytest.raises(PrefectUnavailable):
            await api.read_run(str(uuid.uuid4()))


FLOW_FILE = """
from prefect import flow, task

@task
def double(n):
    return 2 * n

@flow(log_prints=True)
def ordinary(n: int = 1):
    print("said by the flow", double(n))
"""


async def ordinary_deployment(server: Site, folder: Path, pool: str, **variables: object) -> str:
    """An ordinary Prefect deployment of a file in `folder`, made without our code; its id."""
    (folder / "ordinary_flow.py").write_text(FLOW_FILE)
    user, _, password = server.auth.partition(":")
    async with httpx.AsyncClient(base_url=server.url, auth=(user, password)) as client:
        flow = (await client.post("/flows/", json={"name": "ordinary"})).json()["id"]
        answer = await client.post(
            "/deployments/",
            json={
                "name": f"d-{pool}-{len(variables)}", "flow_id": flow, "work_pool_name": pool, "path": str(folder),
                "entrypoint": "ordinary_flow.py:ordinary", "job_variables": variables,
                "parameter_openapi_schema": {"type": "object", "properties": {}}, "enforce_parameter_schema": False,
            },
        )  # fmt: skip
        answer.raise_for_status()
        return str(answer.json()["id"])


async def test_an_ordinary_prefect_run_is_carried_out_in_a_fork(api: PrefectApi, server: Site, tmp_path: Path) -> None:
    deployment = await ordinary_deployment(server, tmp_path, POOL)
    run = await api.create_run(deployment, name="o", due=None, idempotency_key=None, parameters={"n": 21})
    await api.propose(run, records.proposal(RunState.PENDING, ""))
    spec = PythonSpec(cwd=str(tmp_path), environment=server.environment, flow_run_id=run)
    async with PythonRunner() as runner:
        with (tmp_path / "out").open("wb") as out:
            child = await runner.spawn(spec, stdout=out.fileno(), stderr=out.fileno())
        async with asyncio.timeout(60):
            assert await child.wait() == 0, (tmp_path / "out").read_text()
    view = await api.read_run(run)
    assert view is not None
    assert view.state_name == "Completed", (tmp_path / "out").read_text()
    await eventually(lambda: api.logs(run), lambda lines: "said by the flow 42" in lines)
    tasks = await eventually(lambda: api.task_runs(run), lambda found: len(found) == 1)
    assert tasks[0]["name"].startswith("double")


async def test_prefects_own_command_starts_our_worker_type(api: PrefectApi, server: Site, tmp_path: Path) -> None:
    prefect = Path(sys.executable).with_name("prefect")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [prefect, *arguments], env=server.environment, cwd=tmp_path, text=True, capture_output=True, timeout=90
        )

    made = await asyncio.to_thread(command, "work-pool", "create", "--type", "homelab", "ours")
    assert made.returncode == 0, made.stdout + made.stderr
    python = await ordinary_deployment(server, tmp_path, "ours")
    good = await ordinary_deployment(server, tmp_path, "ours", shell_command="echo $$ > ran", working_dir=str(tmp_path))
    runs = [await api.create_run(d, name="w", due=None, idempotency_key=None, parameters={}) for d in (python, good)]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [prefect, "worker", "start", "--type", "homelab", "--pool", "ours"],
            env={**server.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            cwd=tmp_path, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        await eventually(
            lambda: api.read_runs(runs), lambda found: [r.state_name for r in found] == ["Completed"] * 2, 60
        )
        assert (tmp_path / "ran").read_text().strip().isdigit()
    finally:
        # How Prefect's command stops is Prefect's affair, and it does not always.
        os.killpg(worker.pid, signal.SIGKILL)
        await asyncio.to_thread(worker.wait, 30)
        print((tmp_path / "worker.log").read_text())


async def test_the_server_stops_within_five_seconds_of_being_asked(tmp_path: Path, server: Site) -> None:
    """Runs last: it ends the server of this module."""
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(server.process.wait, 10)
    assert time.monotonic() - began < 5
    assert json.dumps(server.process.returncode) in ("0", "-15")
