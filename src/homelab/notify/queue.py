"""The durable queue of notifications: table `notification`, one row an alert and target.

Called by `watcher` with a connection of control's database (asyncio, autocommit or inside a transaction, rows as
dicts). It sends nothing itself. Of one target the rows are sent in order: while the first cannot be delivered, the
others wait behind it. A row leaves the queue as `sent`, as `failed` (given up after two days, still listed), or as
`suppressed` (told in the summary that names it in `last_error`); none disappears.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString, Protocol

from homelab.notify import message
from homelab.notify.message import Item, Message
from homelab.notify.rules import Alert

GIVE_UP_AFTER = timedelta(hours=48)
LEASE = timedelta(seconds=90)
"""A claimed row is offered again after this, should the process that claimed it die."""
SINGLES, WINDOW = 5, timedelta(seconds=60)
"""A target gets at most five messages within a minute; the last of them is a digest of all the others."""
QUEUE_MAX = 1000
"""Waiting rows of one target; beyond it the older half is merged into one summary."""
_BACKOFF_S, _BACKOFF_MAX_S = 30.0, 3600.0
_KEEP = timedelta(days=90)
_KEEP_ROWS = 20_000


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    async def fetchall(self) -> list[Any]: ...
    async def fetchone(self) -> Any: ...


class Connection(Protocol):
    """What a psycopg AsyncConnection with dict rows offers, as far as it is used here."""

    async def execute(self, query: LiteralString, params: Sequence[Any] = ..., /) -> Cursor: ...
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...


class Pool(Protocol):
    """What a psycopg AsyncConnectionPool offers, as far as it is used here."""

    def connection(self) -> AbstractAsyncContextManager[Connection]: ...


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Rows of one target that this process may now deliver, in order. `digest` replaces them all when it is set."""

    target: str
    ids: tuple[int, ...]
    messages: tuple[Message, ...]
    attempts: int
    is_digest: bool = False


def backoff_s(attempts: int) -> float:
    """Seconds to wait after `attempts` (>= 1) failed ones: 30, 60, 120 ... at most an hour."""
    return min(_BACKOFF_S * 2 ** min(attempts - 1, 20), _BACKOFF_MAX_S)


async def enqueue(conn: Connection, alert: Alert, targets: Sequence[str], *, now: datetime) -> int:
    """Queue an alert for each target; a dedupe key that a target was already given is not given again. Returns how
    many rows are new. Atomic with the caller's transaction."""
    return await _insert(conn, alert, targets, "queued", "", now)


async def suppress(conn: Connection, alert: Alert, targets: Sequence[str], reason: str, *, now: datetime) -> int:
    """List an alert that is not sent, with the reason. Returns how many rows are new."""
    return await _insert(conn, alert, targets, "suppressed", reason, now)


async def _insert(conn: Connection, alert: Alert, targets: Sequence[str], state: str, error: str, now: datetime) -> int:
    added = 0
    for target in targets:
        cursor = await conn.execute(
            "insert into notification (created, kind, job, run, title, body, target, dedupe_key, next_attempt, state,"
            " last_error) select %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s where not exists"
            " (select 1 from notification where dedupe_key = %s and target = %s)",
            (
                *(now, alert.kind, alert.job or None, alert.run, alert.title, alert.body, target, alert.dedupe_key),
                *(now, state, error, alert.dedupe_key, target),
            ),
        )
        added += cursor.rowcount
    return added


async def was_told(conn: Connection, kind: str, job: str, *, since: datetime) -> bool:
    """Whether an alert of this kind about this job was queued after `since`."""
    cursor = await conn.execute(
        "select 1 from notification where kind = %s and job = %s and created > %s and state <> 'suppressed' limit 1",
        (kind, job, since),
    )
    return await cursor.fetchone() is not None


async def waiting(conn: Connection) -> dict[str, datetime]:
    """Targets with queued rows, and when the first of each may be tried."""
    cursor = await conn.execute(
        "select distinct on (target) target, next_attempt from notification where state = 'queued' order by target, id"
    )
    return {row["target"]: row["next_attempt"] for row in await cursor.fetchall()}


async def claim(conn: Connection, target: str, *, now: datetime) -> Claim | datetime | None:
    """Take what `target` may get now: up to the messages left in the window, or a digest of all that waits
    when that is more. A time: nothing before then. None: nothing waits, or another process has it."""
    async with conn.transaction():
        cursor = await conn.execute(
            "select id, kind, job, title, body, created, attempts, next_attempt from notification"
            " where state = 'queued' and target = %s order by id limit %s for update skip locked",
            (target, QUEUE_MAX),
        )
        rows = await cursor.fetchall()
        if not rows:
            return None
        if rows[0]["next_attempt"] > now:
            return rows[0]["next_attempt"]
        cursor = await conn.execute(
            "select distinct sent from notification where target = %s and sent > %s order by sent",
            (target, now - WINDOW),
        )
        sent = [row["sent"] for row in await cursor.fetchall()]
        left = SINGLES - len(sent)
        if left <= 0:
            return sent[0] + WINDOW
        # When there are more than may go singly, the last message of the window is the digest of the rest.
        singles = len(rows) if len(rows) <= left else left - 1
        is_digest = singles == 0
        chosen = rows if is_digest else rows[:singles]
        ids = tuple(row["id"] for row in chosen)
        await conn.execute(
            "update notification set attempts = attempts + 1, next_attempt = %s where id = any(%s)",
            (now + LEASE, list(ids)),
        )
    if is_digest:
        messages: tuple[Message, ...] = (message.digest([_item(row) for row in chosen]),)
    else:
        messages = tuple(Message(title=r["title"], body=r["body"], level=message.level(r["kind"])) for r in chosen)
    return Claim(target=target, ids=ids, messages=messages, attempts=rows[0]["attempts"] + 1, is_digest=is_digest)


def _item(row: Any) -> Item:
    return Item(kind=row["kind"], job=row["job"] or "", title=row["title"], time=row["created"])


async def succeeded(conn: Connection, ids: Sequence[int], *, now: datetime) -> None:
    """These were delivered in one message."""
    await conn.execute(
        "update notification set state = 'sent', sent = %s, last_error = '' where id = any(%s)", (now, list(ids))
    )


async def failed(conn: Connection, claim: Claim, ids: Sequence[int], error: str, *, now: datetime) -> list[int]:
    """These were not delivered. They wait (`backoff_s`); those older than two days are given up. Returns the latter."""
    await conn.execute(
        "update notification set last_error = %s, next_attempt = %s where id = any(%s)",
        (message.harmless(error), now + timedelta(seconds=backoff_s(claim.attempts)), list(ids)),
    )
    cursor = await conn.execute(
        "update notification set state = 'failed' where id = any(%s) and created < %s returning id",
        (list(ids), now - GIVE_UP_AFTER),
    )
    return [row["id"] for row in await cursor.fetchall()]


async def give_back(conn: Connection, ids: Sequence[int], *, now: datetime) -> None:
    """These were claimed but not tried: the one before them failed. They wait behind it as before."""
    await conn.execute(
        "update notification set attempts = attempts - 1, next_attempt = %s where id = any(%s) and state = 'queued'",
        (now, list(ids)),
    )


async def drop_target(conn: Connection, target: str, reason: str) -> int:
    """Fail what waits for a target that cannot be delivered to any more. Returns how many rows."""
    cursor = await conn.execute(
        "update notification set state = 'failed', last_error = %s where target = %s and state = 'queued'",
        (reason, target),
    )
    return cursor.rowcount


async def merge(conn: Connection, target: str) -> int:
    """Keep the queue of a target bounded: above `QUEUE_MAX` rows the older half becomes one summary, which takes the
    place of the oldest row. Returns how many rows it stands for (0: nothing to do)."""
    async with conn.transaction():
        cursor = await conn.execute(
            "select id, kind from notification where state = 'queued' and target = %s order by id",
            (target,),
        )
        rows = await cursor.fetchall()
        if len(rows) <= QUEUE_MAX:
            return 0
        first, others = rows[0]["id"], [row["id"] for row in rows[1 : len(rows) // 2]]
        note = f"told in the summary {first}"
        if rows[0]["kind"] != "summary":
            # The oldest row becomes the summary; what it said stays listed in a copy.
            await conn.execute(
                "insert into notification (created, kind, job, run, title, body, target, dedupe_key, state, last_error)"
                " select created, kind, job, run, title, body, target, dedupe_key, 'suppressed', %s"
                " from notification where id = %s",
                (note, first),
            )
        await conn.execute(
            "update notification set state = 'suppressed', last_error = %s where id = any(%s)", (note, others)
        )
        cursor = await conn.execute(
            "select kind, job, title, created from notification where target = %s and last_error = %s"
            " order by created, id",
            (target, note),
        )
        told = await cursor.fetchall()
        text = message.digest([_item(row) for row in told])
        await conn.execute(
            "update notification set kind = 'summary', job = null, run = null, title = %s, body = %s, dedupe_key = %s"
            " where id = %s",
            (text.title, text.body, f"summary:{first}", first),
        )
    return len(told)


async def prune(conn: Connection, *, now: datetime) -> None:
    """Forget what left the queue 90 days ago, and all but the newest 20 000 rows of it."""
    await conn.execute("delete from notification where state <> 'queued' and created < %s", (now - _KEEP,))
    await conn.execute(
        "delete from notification where state <> 'queued' and id <= (select max(id) - %s from notification)",
        (_KEEP_ROWS,),
    )


async def listing(conn: Connection, *, limit: int = 100) -> list[dict[str, Any]]:
    """The newest notifications first, as `homelab notify ls --json` prints them (times are datetimes)."""
    cursor = await conn.execute(
        "select id, created, kind, job, run, title, body, target, state, attempts, last_error as error, sent,"
        " case when state = 'queued' then next_attempt end as next_attempt"
        " from notification order by id desc limit %s",
        (limit,),
    )
    return [dict(row) for row in await cursor.fetchall()]


async def troubles(conn: Connection, *, now: datetime) -> list[dict[str, Any]]:
    """Targets that do not take notifications now: `{target, waiting, given_up, attempts, since, error}`."""
    cursor = await conn.execute(
        "select target, count(*) filter (where state = 'queued') as waiting,"
        " count(*) filter (where state = 'failed') as given_up, max(attempts) as attempts, min(created) as since,"
        " (array_agg(last_error order by (last_error <> '') desc, id))[1] as error"
        " from notification n where ((state = 'queued' and last_error <> '') or (state = 'failed' and created > %s))"
        " and not exists (select 1 from notification s"
        "   where n.state = 'failed' and s.target = n.target and s.sent > n.created)"
        " group by target order by target",
        (now - timedelta(days=7),),
    )
    return [dict(row) for row in await cursor.fetchall()]
