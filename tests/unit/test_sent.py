"""What the node of a run asks control about attempts on other nodes, and what it makes of the answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.jobs import RunState
from homelab.core.passing import Passed
from homelab.home.endpoints import write
from homelab.home.paths import Home
from homelab.worker import sent
from homelab.worker.control_link import ControlLink
from homelab.worker.process import Outcome
from homelab.worker.sent import Errand, Errands, outcome_from_json, outcome_to_json

Json = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Control:
    """Answers each ask by `says`; an int is an HTTP status that refuses the whole call."""

    says: Callable[[Json], Json | int]
    asked: list[list[Json]] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        asks: list[Json] = orjson.loads(request.content)["sent"]
        self.asked.append(asks)
        answers: list[Json] = []
        for one in asks:
            said = self.says(one)
            if isinstance(said, int):
                return httpx.Response(said, json={"error": {"message": "no"}})
            answers.append({"work": one["work"], "token": one["token"], **said})
        return httpx.Response(200, json={"sent": answers})


@asynccontextmanager
async def asking(folder: Path, control: Control) -> AsyncIterator[Errands]:
    home = Home(folder).ensure()
    write(home, {"control": "http://control"})
    link = ControlLink(home, transport=httpx.MockTransport(control.answer))
    made = Errands(link, "mac1")
    serving = asyncio.create_task(made.serve())
    yield made
    serving.cancel()
    await link.aclose()


def follow(sent: Errands, token: int = 7, began: list[int] | None = None) -> Errand:
    return sent.follow(
        f"r/job-{token}/1",
        token,
        task=lambda: {"digest": "d"},
        on_start=lambda pid, _: None if began is None else began.append(pid),
    )


async def test_the_task_is_given_until_control_has_it_and_the_end_is_heard_with_its_start(tmp_path: Path) -> None:
    has: set[int] = set()
    over = asyncio.Event()

    def says(ask: Json) -> Json:
        if "task" in ask:
            has.add(ask["token"])
            return {"state": "waiting"}
        assert ask["token"] in has
        told = {"started": "2026-01-01T00:00:00Z", "pid": 42}
        ended = {
            "outcome": {"state": "succeeded", "ended": "2026-01-01T00:00:05Z", "tail": ["bye"], "outputs": {"A": "b"}}
        }
        return {"state": "ended", **told, **ended} if over.is_set() else {"state": "started", **told}

    control, began = Control(says), list[int]()
    async with asking(tmp_path, control) as made:
        errand = follow(made, began=began)
        while not has:
            await asyncio.sleep(0.005)
        made.look()
        while not began:
            await asyncio.sleep(0.005)
        over.set()
        made.look()
        await asyncio.wait_for(errand.ended.wait(), 5)
    assert began == [42], "its start is told once"
    assert errand.outcome is not None
    assert (errand.outcome.state, errand.outcome.passed.outputs, errand.tail) == ("succeeded", {"A": "b"}, ("bye",))
    assert [["task" in one for one in asks] for asks in control.asked] == [[True], [False], [False]]


async def test_an_attempt_that_never_began_ends_without_an_outcome(tmp_path: Path) -> None:
    async with asking(tmp_path, Control(lambda _: {"state": "lost"})) as made:
        errand = follow(made)
        await asyncio.wait_for(errand.ended.wait(), 5)
    assert errand.outcome is None


async def test_one_that_control_refuses_or_answers_with_nonsense_does_not_hold_up_the_others(tmp_path: Path) -> None:
    ended = {"state": "succeeded", "ended": "2026-01-01T00:00:05Z"}

    def says(ask: Json) -> Json | int:
        return {1: 403, 2: {"state": "ended", "outcome": {"state": "?"}}, 3: {"state": "ended", "outcome": ended}}[
            ask["token"]
        ]  # type: ignore[return-value]

    async with asking(tmp_path, Control(says)) as made:
        errands = [follow(made, token) for token in (1, 2, 3)]
        for one in errands[1:]:
            await asyncio.wait_for(one.ended.wait(), 5)
    refused, unreadable, fine = errands
    assert not refused.ended.is_set()
    assert unreadable.outcome is not None and unreadable.outcome.state == RunState.CRASHED
    assert fine.outcome is not None and fine.outcome.state == RunState.SUCCEEDED


async def test_to_stop_is_said_with_the_reason_until_it_has_ended_and_asked_again_after_an_outage(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sent, "RETRY_S", 0.02)
    answers = [503, 503]

    def says(ask: Json) -> Json | int:
        if answers:
            return answers.pop()
        return {"state": "lost"} if ask.get("stop") == "cancelled by Ada" else {"state": "waiting"}

    async with asking(tmp_path, Control(says)) as made:
        errand = follow(made)
        made.stop(errand, "cancelled by Ada")
        made.stop(errand, "another reason")
        await asyncio.wait_for(errand.ended.wait(), 5)


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    st.sampled_from([state for state in RunState if state.is_final]),
    texts,
    st.none() | st.integers(0, 255),
    st.integers(0, 1 << 40),
    st.dictionaries(texts, texts, max_size=3),
)
def test_an_outcome_is_the_same_on_the_other_node(
    state: RunState, reason: str, code: int | None, size: int, outputs: dict[str, str]
) -> None:
    made = Outcome(
        state=state,
        reason=reason,
        ended=NOW,
        started=NOW,
        exit_code=code,
        output_bytes=size,
        output_lines=3,
        facts={"a": [1]},
        passed=Passed(outputs=outputs),
    )
    body = orjson.loads(orjson.dumps(outcome_to_json(made, tail=["x"])))
    assert outcome_from_json(body) == made
