"""What a worker does with attempts of other nodes' runs: real processes, control played by what it would answer."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from homelab.core.jobs import Flow, Job
from homelab.flows.api import PrefectApi
from homelab.home.endpoints import write
from homelab.home.paths import Home
from homelab.worker.control_link import ControlLink
from homelab.worker.loop import Worker

Json = dict[str, Any]
FLOW = Flow(
    name="f",
    jobs=(
        Job(name="quick", run='echo "$A $HOMELAB_RUN_ID"; echo "B=c" >> $HOMELAB_OUTPUT'),
        Job(name="long", run="echo $$ > pid; exec sleep 60", grace_s=1),
    ),
    schedule=None,
    timezone="UTC",
)


@dataclass
class Control:
    """Has the flow, takes what is told."""

    told: list[Json] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/api/v1/definitions"):
            return httpx.Response(200, content=FLOW.to_json().encode())
        assert request.url.path == "/api/v1/worker/guests"
        self.told += orjson.loads(request.content)["told"]
        return httpx.Response(200, json={"taken": 1})

    async def ended(self, token: int) -> Json:
        async with asyncio.timeout(20):
            while not (found := [t["outcome"] for t in self.told if t["token"] == token and "outcome" in t]):
                await asyncio.sleep(0.02)
        assert len(found) == 1
        return found[0]


@asynccontextmanager
async def working(folder: Path, control: Control) -> AsyncIterator[Worker]:
    """A worker of which only the guests are at work."""
    home = Home(folder).ensure()
    write(home, {"control": "http://control"})
    link = ControlLink(home, transport=httpx.MockTransport(control.answer))
    async with PrefectApi("http://127.0.0.1:9/api", None) as api:
        worker = Worker(home, name="mac4", node="mac4", api=api, link=link, prefect={})
        serving = asyncio.create_task(worker.guests.tells.serve())
        try:
            yield worker
        finally:
            serving.cancel()
            await worker.launcher.aclose()
            await link.aclose()


def guest(job: str, token: int, *, stop: str = "", **task: Any) -> Json:
    told = {"digest": FLOW.digest, "flow": "f", "due": None, "params": {"A": "a"}, "handed": {}, **task}
    return {"token": token, "work": f"run-{token}/{job}/1", "task": told, "stop": stop}


def files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "runs" / "guests").glob("*"))


@pytest.fixture
def control() -> Control:
    return Control()


async def test_an_attempt_is_made_as_if_the_run_were_here_and_told_to_its_end(tmp_path: Path, control: Control) -> None:
    async with working(tmp_path, control) as worker, asyncio.TaskGroup() as group:
        worker.guests.take([guest("quick", 1)], group)
        worker.guests.take([guest("quick", 1)], group)
        assert worker.guests.tokens() == [1]
        outcome = await control.ended(1)
        while files(tmp_path):
            await asyncio.sleep(0.01)
        worker.guests.take([guest("quick", 1)], group)
        assert worker.guests.tokens() == [], "what has ended does not begin again"
    assert (outcome["state"], outcome["exit_code"], outcome["outputs"]) == ("succeeded", 0, {"B": "c"})
    assert outcome["tail"] == ["a run-1"]
    assert [sorted(t) for t in control.told] == [["node", "pid", "started", "token"], ["node", "outcome", "token"]]
    assert b"a run-1" in (worker.home.run_folder("run-1") / "quick.1.log").read_bytes()


@pytest.mark.parametrize(
    ("end", "state", "evicted"),
    [("stop", "cancelled", False), ("evict", "cancelled", True), ("leave", "crashed", False)],
)
async def test_what_is_to_end_ends_with_the_reason(
    tmp_path: Path, control: Control, end: str, state: str, evicted: bool
) -> None:
    async with working(tmp_path, control) as worker, asyncio.TaskGroup() as group:
        worker.guests.take([guest("long", 1)], group)
        await started(control)
        assert [job.session for job in worker.guests.held()] == [control.told[0]["pid"]]
        if end == "stop":
            worker.guests.take([guest("long", 1, stop="enough of it")], group)
        elif end == "evict":
            worker.guests.evict("run-1/long/2", "another attempt")
            worker.guests.evict("run-1/long/1", "enough of it")
        else:
            worker.guests.leave()
        outcome = await control.ended(1)
    assert (outcome["state"], outcome["is_evicted"]) == (state, evicted)
    assert end == "leave" or outcome["reason"].startswith("enough of it")
    assert not is_alive(control.told[0]["pid"])


async def started(control: Control) -> None:
    async with asyncio.timeout(20):
        while not control.told:
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_was_to_end_before_it_began_is_told_and_not_begun(tmp_path: Path, control: Control) -> None:
    async with working(tmp_path, control) as worker, asyncio.TaskGroup() as group:
        worker.guests.take([guest("quick", 1, stop="never mind")], group)
        outcome = await control.ended(1)
    assert (outcome["state"], outcome["reason"], outcome["started"]) == ("cancelled", "never mind", None)
    assert not worker.home.run_folder("run-1").exists()


async def test_of_leases_that_were_given_up_what_is_made_again_ends_and_the_rest_goes_on(
    tmp_path: Path, control: Control
) -> None:
    async with working(tmp_path, control) as worker, asyncio.TaskGroup() as group:
        worker.guests.take([guest("long", 1, is_retried=True), guest("long", 2)], group)
        async with asyncio.timeout(20):
            while len(control.told) < 2:
                await asyncio.sleep(0.02)
        worker.guests.unheard()
        assert (await control.ended(1))["state"] == "crashed"
        worker.guests.lose([2, 3])
        assert worker.guests.tokens() == []
        assert worker.guests.is_running, "its end is told, late"
        worker.guests.leave()
        await control.ended(2)


async def test_a_worker_ends_and_tells_what_its_predecessor_left(tmp_path: Path, control: Control) -> None:
    async with working(tmp_path, control) as worker:
        group = asyncio.create_task(_left_behind(worker))
        await started(control)
        group.cancel()
        for task in asyncio.all_tasks():
            if task.get_name() == "guest run-1/long/1":
                task.cancel()
    pid = control.told[0]["pid"]
    assert files(tmp_path) == ["1.json"]
    after = Control()
    async with working(tmp_path, after) as worker:
        async with asyncio.TaskGroup() as group:
            await worker.guests.recover(group)
        outcome = await after.ended(1)
        assert (outcome["state"], outcome["reason"]) == ("crashed", "the worker ended while it ran")
        assert outcome["started"] is not None
        while files(tmp_path):
            await asyncio.sleep(0.01)
    assert not is_alive(pid)


async def _left_behind(worker: Worker) -> None:
    async with asyncio.TaskGroup() as group:
        worker.guests.take([guest("long", 1)], group)


async def test_a_job_that_is_not_in_the_definition_fails_in_words(tmp_path: Path, control: Control) -> None:
    async with working(tmp_path, control) as worker, asyncio.TaskGroup() as group:
        worker.guests.take([guest("other", 1)], group)
        outcome = await control.ended(1)
    assert (outcome["state"], "what the job is cannot be had" in outcome["reason"]) == ("failed", True)
