"""What a worker says before it falls silent on purpose."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from homelab.core.errors import RefusedError
from homelab.worker import farewell
from homelab.worker.control_link import ControlUnavailable
from homelab.worker.execution import Execution

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

    await farewell.say(beat())


async def test_a_control_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "STOP_TOLD_S", 0.01)
    async with asyncio.timeout(5):
        await farewell.say(asyncio.sleep(60))
