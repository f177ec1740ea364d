"""What Prefect is told of a run: in order, retried until taken, and again when the server may have forgotten."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import looptime  # noqa: F401 - virtual time for the marked tests
import pytest

from homelab.core.jobs import RunState
from homelab.flows.api import PrefectApi, PrefectRefused, PrefectUnavailable, StateProposal, Verdict
from homelab.flows.records import proposal
from homelab.worker.record import Gate, Record


class Server:
    """Takes what it is told, in a list; is away for the first `away` requests."""

    def __init__(self, away: int = 0, *, ended_as: str = "") -> None:
        self.told: list[Any] = []
        self.away = away
        self.ended_as = ended_as

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise PrefectUnavailable("away")

    async def send_events(self, events: Sequence[dict[str, Any]]) -> None:
        self._answer()
        self.told.append([e["n"] for e in events])

    async def propose(self, run_id: str, state: StateProposal) -> Verdict:
        self._answer()
        if self.ended_as:
            return Verdict(accepted=False, state_type=self.ended_as, state_name=self.ended_as.title())
        self.told.append(state.name)
        return Verdict(accepted=True, state_type=state.type, state_name=state.name)

    async def set_state(self, run_id: str, state: StateProposal, *, force: bool = True) -> Verdict:
        self._answer()
        self.told.append(f"{state.name}!")
        return Verdict(accepted=True, state_type=state.type, state_name=state.name)


def _record(server: Server) -> Record:
    return Record(cast("PrefectApi", server), Gate(2), "run")


async def _tell(record: Record) -> None:
    record.state(proposal(RunState.RUNNING, ""))
    record.events([{"n": 1}])
    record.events([{"n": 2}])
    record.state(proposal(RunState.SUCCEEDED, ""), final=True)
    await record.serve()


async def test_states_and_events_arrive_in_order_and_waiting_events_share_a_request() -> None:
    server = Server()
    await _tell(_record(server))
    assert server.told == ["Running", [1, 2], "Completed"]


@pytest.mark.looptime
async def test_after_an_outage_everything_is_told_and_the_events_once_more() -> None:
    server = Server(away=5)
    await _tell(_record(server))
    assert server.told == ["Running", [1, 2], "Completed", [1, 2]]
    assert asyncio.get_running_loop().time() > 3, "it asks ever more rarely"


async def test_what_has_ended_is_set_past_the_servers_rules_unless_it_has_ended_there_too() -> None:
    stuck = Server(ended_as="PENDING")
    record = _record(stuck)
    record.state(proposal(RunState.FAILED, "exit status 1"), final=True)
    await record.serve()
    assert stuck.told == ["Failed!"]
    cancelled = Server(ended_as="CANCELLED")
    record = _record(cancelled)
    record.state(proposal(RunState.FAILED, "exit status 1"), final=True)
    await record.serve()
    assert cancelled.told == []


async def test_a_run_that_was_deleted_in_prefect_is_told_no_more_and_holds_nobody_up() -> None:
    class Deleted(Server):
        def _answer(self) -> None:
            raise PrefectRefused(404, "gone")

    async with asyncio.timeout(2):
        await _tell(_record(Deleted()))
