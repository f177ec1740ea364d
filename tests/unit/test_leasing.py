"""What a worker asks control before a job starts, and what it does without an answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson

from homelab.core.jobs import Job
from homelab.home.endpoints import write
from homelab.home.membership import Membership
from homelab.home.paths import Home
from homelab.worker import leasing
from homelab.worker.control_link import ControlLink
from homelab.worker.leasing import Ask, Leasing, asks_little
from homelab.worker.reach import Reach

Json = dict[str, Any]


@dataclass
class Control:
    """Answers asks by `says`; None: it does not answer."""

    says: Callable[[Json], Json] | None
    asked: list[Json] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        self.asked.append(body)
        if self.says is None:
            raise httpx.ConnectError("away")
        return httpx.Response(200, json={"leases": [{"work": a["work"], **self.says(a)} for a in body["asks"]]})


@asynccontextmanager
async def asking(folder: Path, control: Control, *, member: Membership | None = None) -> AsyncIterator[Leasing]:
    home = Home(folder).ensure()
    write(home, {"control": "http://control"})
    reached = Reach(home=home, member=member, token="t", trust=None)
    link = ControlLink(home, reached=reached, transport=httpx.MockTransport(control.answer))
    made = Leasing(link, "mac1")
    serving = asyncio.create_task(made.serve())
    yield made
    serving.cancel()
    await link.aclose()


def ask(job: str = "a", **more: Any) -> Ask:
    plain = {"is_plain": True, "is_free": True, **more}
    return Ask(run="r", job=job, attempt=1, digest="d", since=time.monotonic(), **plain)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def test_where_there_is_no_other_node_a_slot_is_not_asked_for(tmp_path: Path) -> None:
    control = Control(lambda _: {"answer": "held", "token": 7})
    async with asking(tmp_path, control) as leases:
        leases.is_alone = True
        place = leases.want(ask())
        assert (place.state, place.settled.is_set()) == ("free", True)
        more = leases.want(ask("b", is_plain=False, is_free=False))
        await more.settled.wait()
        assert (more.state, more.token, leases.tokens()) == ("held", 7, [7])
        assert [a["work"] for body in control.asked for a in body["asks"]] == ["r/b/1"]
        assert leases.done("r/b/1") == 7
        assert leases.tokens() == []


async def test_without_an_answer_a_slot_is_taken_and_nothing_else(tmp_path: Path) -> None:
    control = Control(None)
    async with asking(tmp_path, control) as leases:
        plain, grouped = leases.want(ask()), leases.want(ask("b", is_free=False))
        large = leases.want(ask("c", is_plain=False, is_free=False))
        await asyncio.wait_for(plain.settled.wait(), 3)
        assert [p.state for p in (plain, grouped, large)] == ["free", "waiting", "waiting"]
        control.says = lambda a: {"answer": "held", "token": 1 if a["running"] else 2}
        leases.look()
        await until(lambda: all(p.state == "held" for p in (plain, grouped, large)))
        assert (plain.token, large.token) == (1, 2), "what runs says so when it asks again"


async def test_a_run_may_go_elsewhere_only_when_nothing_of_it_starts_without_an_answer(tmp_path: Path) -> None:
    """Control may take longer than its worker waits, and decide about what has started meanwhile."""
    control = Control(None)
    start_at = datetime(2026, 5, 1, tzinfo=UTC)
    async with asking(tmp_path, control) as leases:
        place = leases.want(ask(start_at=start_at))
        await asyncio.wait_for(place.settled.wait(), 3)
        assert (place.state, [body["asks"][0]["may_move"] for body in control.asked]) == ("free", [False])
    answers = iter([{"answer": "wait", "reasons": []}, {"answer": "elsewhere", "node": "mac4"}])
    control = Control(lambda _: next(answers))
    async with asking(tmp_path, control) as leases:
        place = leases.want(ask(start_at=start_at))
        await asyncio.wait_for(place.settled.wait(), 3)
        assert [body["asks"][0]["may_move"] for body in control.asked] == [False, True]
        assert (place.state, place.node) == ("elsewhere", "mac4")
    control = Control(None)
    member = Membership(name="mac1", url="https://control:7443", lab="0")
    async with asking(tmp_path, control, member=member) as leases:
        leases.want(ask(start_at=start_at))
        await until(lambda: bool(control.asked))
        assert control.asked[0]["asks"][0]["may_move"], "another machine starts nothing without a lease"


async def test_on_another_machine_nothing_starts_without_an_answer(tmp_path: Path, monkeypatch: Any) -> None:
    """It may be cut off, and what it had not begun is then given to others."""
    monkeypatch.setattr(leasing, "RETRY_S", 0.02)
    control = Control(None)
    member = Membership(name="mac1", url="https://control:7443", lab="0")
    async with asking(tmp_path, control, member=member) as leases:
        place = leases.want(ask())
        await until(lambda: len(control.asked) > 3)
        assert place.state == "waiting"
        control.says = lambda _: {"answer": "held", "token": 1}
        await asyncio.wait_for(place.settled.wait(), 5)
        assert (place.state, place.token) == ("held", 1)


async def test_once_control_said_wait_a_slot_waits_though_control_goes_away(tmp_path: Path) -> None:
    control = Control(lambda _: {"answer": "wait", "reasons": [{"node": "mac1", "code": "short", "reason": "full"}]})
    async with asking(tmp_path, control) as leases:
        place = leases.want(ask())
        await until(lambda: place.is_answered)
        assert place.reasons == ("full",)
        control.says = None
        asked = len(control.asked)
        leases.look()
        await until(lambda: len(control.asked) > asked)
        assert place.state == "waiting"


async def test_what_waits_is_asked_again_when_control_calls_and_by_itself(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(leasing, "REPEAT_S", 0.05)
    answers = iter(["wait", "wait", "wait", "held"])
    control = Control(lambda _: {"answer": next(answers), "token": 3})
    async with asking(tmp_path, control) as leases:
        place = leases.want(ask())
        await asyncio.wait_for(place.settled.wait(), 5)
        assert len(control.asked) == 4


async def test_what_does_not_start_is_given_back_even_when_its_answer_comes_later(tmp_path: Path) -> None:
    going = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        answer = await control.answer(request)
        await going.wait()
        return answer

    control = Control(lambda _: {"answer": "held", "token": 3})
    home = Home(tmp_path).ensure()
    write(home, {"control": "http://control"})
    link = ControlLink(home, transport=httpx.MockTransport(slow))
    leases = Leasing(link, "mac1")
    serving = asyncio.create_task(leases.serve())
    leases.want(ask())
    await until(lambda: bool(control.asked))
    leases.over("r")
    going.set()
    await until(lambda: any("r/a/1" in body["gives"] for body in control.asked))
    assert leases.tokens() == []
    serving.cancel()
    await link.aclose()


async def test_a_lease_that_was_lost_is_asked_for_again_by_what_runs(tmp_path: Path) -> None:
    tokens = iter([5, 6])
    control = Control(lambda _: {"answer": "held", "token": next(tokens)})
    async with asking(tmp_path, control) as leases:
        place = leases.want(ask())
        await place.settled.wait()
        leases.lose([5])
        await until(lambda: place.token == 6)
        assert [body["asks"][0]["running"] for body in control.asked] == [False, True]


async def test_another_nodes_run_is_not_started(tmp_path: Path) -> None:
    async with asking(tmp_path, Control(lambda _: {"answer": "elsewhere", "node": "mac4"})) as leases:
        place = leases.want(ask())
        await place.settled.wait()
        assert (place.state, place.node, leases.tokens()) == ("elsewhere", "mac4", [])


def test_a_job_asks_little_when_it_asks_for_a_slot_of_any_node() -> None:
    assert asks_little(Job(name="a", run="-"))
    assert asks_little(Job(name="a", run="-", exclusive=("disk",)))
    for requires in ({"memory": "1GiB"}, {"labels": {"gpu": "yes"}}, {"models": ["llama3"]}, {"apps": ["photoshop"]}):
        assert not asks_little(Job(name="a", run="-", requires=requires))
