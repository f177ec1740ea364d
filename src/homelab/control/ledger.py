"""The ledger of instants: the statements on table `instant`. One row for each due instant of a flow, entered once.

An instant is *open* while something remains to be done about it, and closed by one of the other decisions:

    wanted      its run is to be handed to Prefect     ->  created, late
    late        nobody started it in time              ->  wanted (made up for), missed
    blocked     what it needs is not fresh             ->  wanted (released), superseded
    recalled    its run is to be taken back            ->  (forgotten: undecided again)
    created | missed | skipped | superseded

What is to be done is always in the row before it is done, so that whoever is killed in between is followed by somebody
who does it. Written by `control.scheduler` and, from workers' reports, `control.reports`. No decisions here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from homelab.control.store import all_rows, one_row
from homelab.db.pool import Connection, json
from homelab.home.marks import Mark

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A decision about one instant. `run`: the run that shows it, where there is one. `jobs`: those that take part;
    None: all of the flow."""

    due: datetime
    decision: str
    trigger: str = "schedule"
    run: str | None = None
    jobs: Sequence[str] | None = None
    reason: str = ""


async def enter(conn: Connection, flow: str, entries: Iterable[Entry]) -> set[datetime]:
    """Enter decisions about instants; the instants that had none before (the others stay as they were)."""
    rows = [(flow, e.due, e.decision, e.run, e.reason, e.trigger, _names(e.jobs)) for e in entries]
    fresh: set[datetime] = set()
    if rows:
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "insert into instant (flow, due, decision, run, reason, trigger, jobs) values"
                " (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing returning due",
                rows,
                returning=True,
            )
            async for result in cursor.results():
                fresh |= {row["due"] async for row in result}
    return fresh


async def change(conn: Connection, flow: str, entry: Entry) -> None:
    """Another decision about an instant that has one. A run that is not named stays."""
    await conn.execute(
        "update instant set decision = %s, run = coalesce(%s, run), reason = %s, trigger = %s, jobs = %s,"
        " decided = now() where flow = %s and due = %s",
        (entry.decision, entry.run, entry.reason, entry.trigger, _names(entry.jobs), flow, entry.due),
    )


async def give_up(conn: Connection, flow: str, due: datetime, reason: str) -> None:
    """The run of this instant was found too late to be started."""
    await conn.execute(
        "update instant set decision = 'late', reason = %s, decided = now() where flow = %s and due = %s"
        " and decision = 'created'",
        (reason, flow, due),
    )


async def open_rows(conn: Connection) -> list[Row]:
    """Every open instant, the earliest first."""
    return await all_rows(
        conn,
        "select flow, due, decision, run, reason, trigger, jobs from instant"
        " where decision in ('wanted', 'late', 'blocked', 'recalled') order by due, flow",
    )


async def blocked(conn: Connection, flow: str) -> list[Row]:
    """Blocked instants, the newest first."""
    return await all_rows(
        conn, "select due, reason from instant where flow = %s and decision = 'blocked' order by due desc", (flow,)
    )


async def last_decided(conn: Connection) -> dict[str, datetime]:
    """For each flow the latest instant that was decided."""
    rows = await all_rows(conn, "select flow, max(due) as due from instant where decision <> 'recalled' group by flow")
    return {row["flow"]: row["due"] for row in rows}


async def overdue(conn: Connection, *, before: datetime, limit: int = 200) -> list[Row]:
    """Runs (id, flow, due) created for instants before then of which no worker has said anything."""
    return await all_rows(
        conn,
        "select id, flow, due from run where state = 'scheduled' and due < %s and started is null"
        " order by due limit %s",
        (before, limit),
    )


async def recall(conn: Connection, flow: str, *, after: datetime, reason: str) -> None:
    """Runs that were created ahead for instants after then, and have not been started, are to be taken back."""
    await conn.execute(
        "update instant set decision = 'recalled', reason = %s, decided = now() from run where run.id = instant.run"
        " and instant.flow = %s and instant.due > %s and instant.decision = 'created' and run.state = 'scheduled'"
        " and run.trigger = 'schedule'",
        (reason, flow, after),
    )


async def forget(conn: Connection, runs: Sequence[str]) -> None:
    """Runs that were taken back: their instants are undecided again."""
    await conn.execute("delete from instant where run = any(%s) and decision = 'recalled'", (list(runs),))
    await conn.execute("delete from run where id = any(%s) and state = 'scheduled'", (list(runs),))


async def reopen(conn: Connection, flow: str, *, after: datetime) -> None:
    """What was decided ahead without a run is undecided again."""
    await conn.execute(
        "delete from instant where flow = %s and due > %s and decision in ('wanted', 'skipped') and run is null",
        (flow, after),
    )


async def take_over(conn: Connection, flow: str, *, after: datetime, reason: str) -> None:
    """Instants after then that were noted as somebody else's (with that reason) are undecided again."""
    await conn.execute(
        "with ours as (delete from instant where flow = %s and due > %s and decision = 'skipped' and reason = %s"
        " returning run) delete from run using ours where run.id = ours.run",
        (flow, after, reason),
    )


async def drop(conn: Connection, flow: str, reason: str) -> None:
    """The flow is no more: nothing remains to be done about its instants."""
    await conn.execute(
        "update instant set decision = 'superseded', reason = %s where flow = %s"
        " and decision in ('wanted', 'late', 'blocked')",
        (reason, flow),
    )


# -- how far the ledger is ------------------------------------------------------------------------------------------


async def mark(conn: Connection, alive: datetime) -> Mark:
    """Count one more, in the transaction that enters something."""
    row = await one_row(
        conn,
        "insert into mark (id, alive, sequence) values (1, %s, 1) on conflict (id) do update set"
        " alive = excluded.alive, sequence = mark.sequence + 1 returning sequence",
        (alive,),
    )
    return Mark(alive=alive, sequence=0 if row is None else int(row["sequence"]))


async def last_mark(conn: Connection) -> Mark | None:
    row = await one_row(conn, "select alive, sequence from mark")
    return None if row is None else Mark(alive=row["alive"], sequence=int(row["sequence"]))


def _names(jobs: Sequence[str] | None) -> object:
    return None if jobs is None else json(list(jobs))
