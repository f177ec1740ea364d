"""Between the node of a run and the node that makes one attempt of it: hands the attempt over, and its end back.

The run's node asks (`ask`), the other finds its part in the answer to what is due (`due`) and tells what it did
(`tell`); who has news to hear is woken. What is kept is `control.sent`'s.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from homelab.control import leases, reports, sent
from homelab.control.queueing import Queue
from homelab.control.state import Shared
from homelab.control.store import Row, node_of_run
from homelab.core.errors import InputError
from homelab.core.jobs import RunState
from homelab.core.times import iso
from homelab.core.work import Work
from homelab.db.pool import UNFIT, Connection

log = structlog.get_logger()

Json = dict[str, Any]


class Sending:
    """See the module. `watcher`: hears of ends that come late, as of any report."""

    def __init__(self, shared: Shared, queue: Queue, watcher: reports.Watching) -> None:
        self._shared = shared
        self._queue = queue
        self._watcher = watcher

    async def ask(self, asked: Sequence[Mapping[str, Any]]) -> list[Json]:
        """What became of attempts that were sent: `{work, token, state}` each, where `state` is `unknown` (give the
        `task` with the next question), `waiting`, `started` (with `started` and `pid`), `ended` (with the `outcome`) or
        `lost` (it never began). With a `task` the attempt is handed over; with `stop`, the reason, it is to end."""
        answers: list[Json] = []
        to_wake: set[str] = set()
        async with self._shared.database.connection() as conn:
            rows = await sent.known(conn, [int(one["token"]) for one in asked])
            for one in asked:
                token, work = int(one["token"]), str(one["work"])
                row = rows.get(token)
                answer: Json = {"work": work, "token": token}
                if row is None:
                    state, node = await self._hand_over(conn, work, token, one.get("task"))
                    to_wake |= {node} - {""}
                else:
                    state = _state(row)
                    if state in ("started", "ended"):
                        answer |= {"started": iso(row["started"]), "pid": row["pid"]}
                    if state == "ended":
                        answer["outcome"] = row["outcome"]
                if one.get("stop") and (told := await sent.stop(conn, token, str(one["stop"])[:400])):
                    to_wake.add(told)
                answers.append({**answer, "state": state})
        for node in to_wake:
            self._shared.wake_workers({"kind": "poll"}, node=node)
        return answers

    async def _hand_over(
        self, conn: Connection, work: str, token: int, task: Mapping[str, Any] | None
    ) -> tuple[str, str]:
        """The state, and the node that has to hear of it."""
        if not task:
            return "unknown", ""
        node = await sent.send(conn, work, token, sent.Task.of(task))
        if node is None:  # its lease ended meanwhile
            return "lost", ""
        log.info("sent", run_id=Work.of(work).run, work=work, node=node, token=token)
        return "waiting", node

    async def due(self, node: str) -> list[Json]:
        """What this node is to do for runs of others: `{token, work, task, stop}`, the oldest first."""
        async with self._shared.database.connection() as conn:
            return [dict(row) for row in await sent.of_node(conn, node)]

    async def is_of_others(self, node: str, tokens: Sequence[int]) -> bool:
        """Whether one of them is of something that was sent to another node."""
        async with self._shared.database.connection() as conn:
            return any(row["node"] != node for row in (await sent.known(conn, tokens)).values())

    async def tell(self, node: str, told: Sequence[Mapping[str, Any]]) -> None:
        """What this node did of it: `{token, started, pid}` or `{token, outcome}` each. Told twice, it counts once.
        InputError for what cannot be entered."""
        try:
            await self._tell(node, told)
        except (KeyError, TypeError, ValueError, AttributeError, *UNFIT) as error:
            raise InputError(f"what a node did cannot be entered: {error}".strip()[:300]) from error

    async def _tell(self, node: str, told: Sequence[Mapping[str, Any]]) -> None:
        news: set[str] = set()
        is_room = False
        async with self._shared.database.connection() as conn:
            for one in told:
                token = int(one["token"])
                row = await sent.run_of(conn, token)
                if row is None or row["node"] != node:
                    log.warning("sent.refused", node=node, token=token)
                    continue
                outcome = None if one.get("outcome") is None else sent.outcome_of(one["outcome"])
                if outcome is None:
                    began = datetime.fromisoformat(one["started"])
                    is_news = await sent.begun(conn, node, token, time=began, pid=int(one["pid"]))
                elif is_news := await sent.over(conn, node, token, outcome):
                    is_room |= await leases.end(conn, token, "done")
                else:
                    await self._late(conn, row, outcome)
                if is_news and (at := await node_of_run(conn, row["run"])):
                    news.add(at)
        for at in news:
            self._shared.wake_workers({"kind": "sent"}, node=at)
        if is_room:
            self._queue.changed.set()

    async def _late(self, conn: Connection, row: Row, outcome: Json) -> None:
        """An attempt that was held for crashed, in a run that is over, has a result after all: it is kept, so that the
        run can be taken up again behind it."""
        told = RunState(outcome["state"])
        if told in (RunState.CANCELLED, RunState.CRASHED) or not await sent.crashed_for_good(conn, row):
            return
        report: Json = {
            **{name: value for name, value in outcome.items() if name != "is_evicted"},
            "id": f"late-{row['run']}-{row['job']}-{row['attempt']}",
            "kind": "job.finished",
            "run": row["run"],
            "flow": row["flow"],
            "job": row["job"],
            "due": iso(row["due"]),
            "attempt": row["attempt"],
            "retry_at": None,
            "node": None,
            "worker": None,
        }
        await reports.take(conn, [report], self._watcher)
        log.info("sent.late", run_id=row["run"], job=row["job"], node=row["node"], state=outcome.get("state"))

    async def give_up(self, conn: Connection) -> None:
        """What was sent to nodes that are lost now has ended; the nodes of the runs hear so."""
        for run in await sent.give_up(conn):
            if at := await node_of_run(conn, run):
                self._shared.wake_workers({"kind": "sent"}, node=at)


def _state(row: Row) -> str:
    if row["ended"] is None:
        return "waiting" if row["started"] is None else "started"
    return "lost" if row["outcome"] is None else "ended"
