"""Leases: what is promised of a node to one piece of work. The statements on `lease` and `lease_group`.

`take` is the only way to a promise. It locks the node, counts again what it has and holds, and enters the lease in the
same transaction: two placers that decided on the same snapshot cannot both have it. A lease lives as long as its node
renews it, by the database's clock. Its `token` fences: of two leases of one work only the newer speaks for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from homelab.control import nodes
from homelab.control.store import Row, all_rows, one_row
from homelab.core.placement import Lease, Placement, Reason, Rejection, Request, Snapshot, place
from homelab.core.placement.reasons import Code
from homelab.db.pool import Connection, json

TTL: Final = timedelta(seconds=40)
"""How long a lease lives after its node was heard last: longer than a node is unreachable, so that no place is given
away while placement still believes in its holder, and short enough that lost work runs elsewhere within a minute."""

_OPEN = "select token, work, node, epoch, terms, extract(epoch from taken)::float8 as taken from lease"


@dataclass(frozen=True, kw_only=True)
class Held:
    """A promise: `token` goes with everything that is reported of the work, `epoch` with each renewal."""

    token: int
    epoch: int
    lease: Lease


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Nothing was promised. What has changed since the snapshot that advised the place, or that there was none."""

    reasons: Sequence[Reason]


class _TakenError(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.code)
        self.reason = reason


async def take(conn: Connection, request: Request, node: str, *, ttl: timedelta = TTL) -> Held | Refused:
    """Promise the node's room to the request, or say what is in its way now. Nothing is left of a refusal."""
    row = await nodes.locked(conn, node)
    if row is None:
        return Refused(reasons=(Reason(code=Code.NOT_READY, node=node, subject="removed"),))
    held = await of_node(conn, node)
    there = Snapshot.of([nodes.node_of(row, holds=bool(held))], held)
    now = await _now_s(conn)
    decided = place(request, there, now)
    if isinstance(decided, Rejection):
        return Refused(reasons=decided.reasons[node])
    try:
        async with conn.transaction():
            return await _enter(conn, decided, row["epoch"], now, ttl)
    except _TakenError as taken:
        return Refused(reasons=(taken.reason,))


async def _enter(conn: Connection, decided: Placement, epoch: int, now: float, ttl: timedelta) -> Held:
    lease = decided.lease(now=now)
    row = await one_row(
        conn,
        "insert into lease (work, node, epoch, terms, expires) values (%s, %s, %s, %s, now() + %s)"
        " on conflict (work) where ended is null do nothing returning token",
        (lease.id, lease.node, epoch, json(_terms(lease)), ttl),
    )
    if row is None:
        raise _TakenError(_taken(lease, f"{lease.owner} has a place already"))
    for name in sorted(lease.exclusive):  # in one order, so that two that want the same groups cannot lock each other
        done = await conn.execute(
            "insert into lease_group (name, lease) values (%s, %s) on conflict do nothing", (name, row["token"])
        )
        if done.rowcount == 0:
            other = await one_row(
                conn,
                "select terms->>'owner' as owner from lease join lease_group as g on g.lease = token where name = %s",
                (name,),
            )
            owner = "other work" if other is None else str(other["owner"])
            raise _TakenError(_taken(lease, f"{owner} holds the group {name}"))
    return Held(token=int(row["token"]), epoch=epoch, lease=lease)


def _taken(lease: Lease, by: str) -> Reason:
    return Reason(code=Code.EXCLUSIVE, node=lease.node, subject=by)


async def of_node(conn: Connection, node: str) -> list[Lease]:
    """What is promised of a node, the oldest first. One that has run out counts until it is given up."""
    return [_lease(row) for row in await all_rows(conn, f"{_OPEN} where ended is null and node = %s", (node,))]


async def everything(conn: Connection) -> list[Lease]:
    """What is promised of all nodes."""
    return [_lease(row) for row in await all_rows(conn, f"{_OPEN} where ended is null order by token")]


async def of_work(conn: Connection, works: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Work -> (token, node) of its lease, where it has one that has not ended."""
    rows = await all_rows(
        conn, "select work, token, node from lease where ended is null and work = any(%s)", (list(works),)
    )
    return {row["work"]: (int(row["token"]), row["node"]) for row in rows}


async def node_of(conn: Connection, token: int) -> str | None:
    """The node of that lease, ended or not."""
    row = await one_row(conn, "select node from lease where token = %s", (token,))
    return None if row is None else str(row["node"])


async def give_back(conn: Connection, node: str, works: Sequence[str]) -> int:
    """End what this node holds for that work, which does not start or did not need it; how many leases."""
    rows = await all_rows(
        conn,
        "select token from lease where ended is null and node = %s and work = any(%s) order by token for update",
        (node, list(works)),
    )
    return sum([await end(conn, int(row["token"]), "released") for row in rows])


async def give_back_runs(conn: Connection, node: str, runs: Sequence[str]) -> int:
    """End what this node holds for these runs, of which it begins nothing; how many leases."""
    rows = await all_rows(
        conn,
        "select token from lease where ended is null and node = %s and split_part(work, '/', 1) = any(%s)"
        " order by token for update",
        (node, list(runs)),
    )
    return sum([await end(conn, int(row["token"]), "released") for row in rows])


async def renew(conn: Connection, node: str, epoch: int, tokens: Iterable[int], *, ttl: timedelta = TTL) -> set[int]:
    """The node was heard: its leases live on. Those of `tokens` that are still its own; what it runs under another has
    been given up, and may run elsewhere."""
    rows = await all_rows(
        conn,
        "update lease set expires = now() + %s from node where node.name = lease.node and node.name = %s"
        " and node.epoch = %s and lease.epoch = node.epoch and ended is null and token = any(%s) returning token",
        (ttl, node, epoch, list(tokens)),
    )
    return {int(row["token"]) for row in rows}


async def end(conn: Connection, token: int, how: str) -> bool:
    """The work is over, or the promise is taken back; whether it still held."""
    await conn.execute("delete from lease_group where lease = %s", (token,))
    done = await conn.execute(
        "update lease set ended = now(), how = %s where token = %s and ended is null", (how, token)
    )
    return done.rowcount > 0


async def give_up(conn: Connection) -> list[Row]:
    """End the leases that nobody renewed in time: (work, node, token) each. The epochs of nodes that were not heard for
    as long move on, so that such a node cannot renew what it still believes to hold. A node that is heard, and does not
    name a lease, does not believe in it."""
    ended = await all_rows(
        conn,
        "update lease set ended = now(), how = 'expired' where token in (select token from lease where ended is null"
        " and expires < now() order by token for update skip locked) returning work, node, token",
    )
    if ended:
        await conn.execute("delete from lease_group where lease = any(%s)", ([row["token"] for row in ended],))
        await conn.execute(
            "update node set epoch = epoch + 1 where name = any(%s) and (heartbeat is null or heartbeat < now() - %s)",
            (sorted({row["node"] for row in ended}), TTL),
        )
    return sorted(ended, key=lambda row: int(row["token"]))


async def speaks_for(conn: Connection, work: str, token: int) -> bool:
    """Whether what comes with this token is the work's own story: no later lease of it was given. One that has run out
    and has no successor still speaks, so that a result that comes late is not lost."""
    row = await one_row(conn, "select max(token) as newest from lease where work = %s", (work,))
    return row is not None and row["newest"] == token


async def history(conn: Connection, *, since: timedelta, limit: int = 2000) -> list[Row]:
    """Leases for a timeline: (work, node, owner, amounts, taken, ended, how), the newest first."""
    return await all_rows(
        conn,
        "select work, node, terms->>'owner' as owner, terms->'amounts' as amounts, taken, ended, how from lease"
        " where ended is null or ended > now() - %s order by token desc limit %s",
        (since, limit),
    )


async def of_node_lately(conn: Connection, node: str, *, limit: int) -> list[Row]:
    """What one node held that has ended, as in `history`, the newest first."""
    return await all_rows(
        conn,
        "select work, node, terms->>'owner' as owner, terms->'amounts' as amounts, taken, ended, how from lease"
        " where node = %s and ended is not null order by token desc limit %s",
        (node, limit),
    )


async def given_up(conn: Connection, *, since: timedelta) -> int:
    """How many leases ended in that time because nobody renewed them."""
    row = await one_row(
        conn,
        "select count(*)::int as count from lease where ended > now() - %s and how = 'expired'",
        (since,),
    )
    return 0 if row is None else int(row["count"])


async def prune(conn: Connection) -> None:
    """Forget what ended long ago, as runs are forgotten."""
    await conn.execute("delete from lease where ended < now() - interval '60 days'")


async def give_up_node(conn: Connection, node: str) -> list[Row]:
    """End everything that a node holds, for it is removed: (work, node, token) each."""
    ended = await all_rows(
        conn,
        "update lease set ended = now(), how = 'removed' where node = %s and ended is null returning work, node, token",
        (node,),
    )
    await conn.execute("delete from lease_group where lease = any(%s)", ([row["token"] for row in ended],))
    return sorted(ended, key=lambda row: int(row["token"]))


async def _now_s(conn: Connection) -> float:
    row = await one_row(conn, "select extract(epoch from now())::float8 as now_s")
    assert row is not None
    return float(row["now_s"])


def _terms(lease: Lease) -> dict[str, Any]:
    return {
        "owner": lease.owner,
        "amounts": dict(lease.amounts),
        "device": lease.device,
        "names": sorted(lease.names),
        "averse": list(lease.averse),
        "exclusive": list(lease.exclusive),
        "priority": lease.priority,
        "turn": list(lease.turn),
        "expected_end": lease.expected_end,
        "restartable": lease.restartable,
        "evictions": lease.evictions,
    }


def _lease(row: Row) -> Lease:
    terms: Mapping[str, Any] = row["terms"]
    turn = terms["turn"]
    return Lease(
        id=row["work"],
        node=row["node"],
        owner=terms["owner"],
        amounts={name: int(value) for name, value in terms["amounts"].items()},
        device=terms["device"],
        names=frozenset(terms["names"]),
        averse=tuple(terms["averse"]),
        exclusive=tuple(terms["exclusive"]),
        priority=terms["priority"],
        turn=(float(turn[0]), str(turn[1])),
        started=row["taken"],
        expected_end=terms["expected_end"],
        restartable=terms["restartable"],
        evictions=terms["evictions"],
    )
