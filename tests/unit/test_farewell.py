"""What a worker says before it falls silent on purpose."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from homelab.core.errors import RefusedError
from homelab.core.jobs import Flow, Job, RunState
from homelab.flows.api import PrefectApi
from homelab.home.paths import Home
from homelab.worker import farewell
from homelab.worker.control_link import ControlLink, ControlUnavailable
from homelab.worker.execution import Execution
from homelab.worker.facts import RunFacts
from homelab.worker.journal import open_journals, open_or_create
from homelab.worker.loop import Worker

DUE = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass
class Waiting:
    """As much of an execution as is asked."""

    id: str
    is_unbegun: bool
    stopped: list[str] = field(default_factory=list)

    @property
    def facts(self) -> SimpleNamespace:
        return SimpleNamespace(id=self.id, start_at=DUE)

    def stop(self, reason: str) -> None:
        self.stopped.append(reason)


def leaving(*executions: Waiting, is_alone: bool = False) -> dict[str, Any]:
    return farewell.leaving(cast("tuple[Execution, ...]", executions), is_alone=is_alone)


def test_what_has_not_begun_is_named_and_begins_here_no_more() -> None:
    waits, runs = Waiting("waits", True), Waiting("runs", False)
    assert leaving(waits, runs) == {"leaving": True, "unbegun": {"waits": "2026-05-01T12:00:00Z"}}
    assert waits.stopped and not runs.stopped


def test_where_there_is_no_other_node_what_waits_stays() -> None:
    waits = Waiting("waits", True)
    assert leaving(waits, is_alone=True) == {"leaving": True, "unbegun": {}}
    assert not waits.stopped


def test_no_more_are_named_than_control_takes_and_the_others_are_left_alone() -> None:
    many = [Waiting(f"run-{n}", True) for n in range(farewell.MOST + 5)]
    assert len(leaving(*many)["unbegun"]) == farewell.MOST
    assert [bool(one.stopped) for one in many] == [True] * farewell.MOST + [False] * 5


@pytest.mark.parametrize("error", [ControlUnavailable("away"), RefusedError("another is at work")])
async def test_a_control_that_is_away_or_refuses_holds_up_nothing(error: Exception) -> None:
    async def beat() -> None:
        raise error

    await farewell.say_farewell(beat())


async def test_a_control_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "STOP_TOLD_S", 0.01)
    async with asyncio.timeout(5):
        await farewell.say_farewell(asyncio.sleep(60))


FLOW = Flow(name="a", schedule=None, timezone="UTC", jobs=(Job(name="a", run="true"),))


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """Of a lab with one node: what is claimed needs no lease."""
    home = Home(tmp_path).ensure()
    link = ControlLink(home, transport=httpx.MockTransport(lambda _: httpx.Response(503)))
    async with PrefectApi("http://127.0.0.1:9/api", None) as api:
        made = Worker(home, name="mac4", node="mac4", api=api, link=link, prefect={})
        made.leasing.is_alone = True
        yield made
        await made.launcher.aclose()
        await link.aclose()


def claimed(worker: Worker, *, due: datetime, resumed: bool = False) -> Execution:
    facts = RunFacts(id="ab12", flow=FLOW, digest="d", due=due, start_at=due, resumed=resumed)
    return Execution(worker.shared, facts, open_or_create(worker.home, facts, worker="mac4"))


async def test_a_run_that_waits_for_its_instant_is_left_as_it_was_claimed(worker: Worker) -> None:
    execution = claimed(worker, due=datetime.now(UTC) + timedelta(seconds=30))
    waiting = asyncio.create_task(execution.execute())
    await asyncio.sleep(0)
    assert list(farewell.leaving([execution], is_alone=False)["unbegun"]) == ["ab12"]
    async with asyncio.timeout(5):
        await waiting
    assert worker.shared.reports.unsent == 0, "nothing is told of it: it is another's to tell"
    [journal] = open_journals(worker.home, worker="mac4")
    assert (journal.state.started, journal.state.finished) == (None, False), "the next worker asks whose it is"


async def test_a_run_that_is_about_to_begin_does_not_once_it_was_left(worker: Worker) -> None:
    """Hundreds that are due at once begin one after the other: it waits at the door."""
    execution = claimed(worker, due=datetime.now(UTC))
    async with worker.admission.door("default"):
        waiting = asyncio.create_task(execution.execute())
        async with asyncio.timeout(5):
            while not worker.admission.running("a"):
                await asyncio.sleep(0)
        assert list(farewell.leaving([execution], is_alone=False)["unbegun"]) == ["ab12"]
    async with asyncio.timeout(5):
        await waiting
    assert (worker.shared.reports.unsent, execution.started, execution.running) == (0, None, {})
    assert not worker.admission.running("a")


async def test_what_was_begun_before_or_cancelled_is_not_given_away(worker: Worker) -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    assert not claimed(worker, due=later, resumed=True).is_unbegun
    execution = claimed(worker, due=later)
    assert execution.is_unbegun
    execution.cancel("by hand")
    assert not execution.is_unbegun
    execution.journal.run_started(time=later)
    assert not claimed(worker, due=later).is_unbegun, "an earlier worker began it"
    execution.journal.run_finished(state=RunState.CANCELLED, reason="", time=later)
