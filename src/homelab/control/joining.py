"""How a machine becomes a node: tokens that are good for one joining, and the token that the node has from then on.

Owns the table `join_token` and the rows of `token` that name a node. A node makes its own token and tells its hash, so
that the secret never travels and a joining whose answer was lost can be asked for again. Only hashes are stored.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from homelab.control import nodes
from homelab.control.access import Access, hashed, new_secret
from homelab.control.rows import rows
from homelab.core.capacity import Capacity
from homelab.core.errors import InputError, RefusedError
from homelab.core.labfile.kinds import NAME
from homelab.db.pool import json

TTL_S: Final = 3600.0
"""An hour: long enough to walk to the other machine."""
LONGEST_S: Final = 30 * 86400.0
PREFIX: Final = "hlj_"
_ALIVE_S: Final = 60
"""A worker that was heard within this time has its name, whether or not it ever joined."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A token for one joining; `secret` is shown this once."""

    name: str
    secret: str
    expires: datetime


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(
            f"'{name[:40]}' cannot be the name of a node",
            hint="Use up to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
        )


async def offer(access: Access, name: str, *, ttl_s: float | None, by: str) -> Offer:
    """A new token with which one machine may join, as `name`. RefusedError: there is such a node already."""
    check_name(name)
    if ttl_s is not None and not 0 < ttl_s <= LONGEST_S:
        raise InputError("a joining token lives between a second and thirty days", hint="Such as: --ttl 3600")
    secret = new_secret(PREFIX)
    async with access.pool.connection() as conn:
        if await _is_taken(conn, name):
            raise _taken(name)
        await conn.execute("delete from join_token where expires < now() - interval '30 days'")
        made = await rows(
            conn,
            "insert into join_token (hash, name, by, expires) values (%s, %s, %s, now() + make_interval(secs => %s))"
            " returning expires",
            (hashed(secret), name, by, ttl_s or TTL_S),
        )
    return Offer(name=name, secret=secret, expires=made[0][0])


async def accept(
    access: Access, secret: str, *, node_hash: str, name: str, offered: Capacity, version: str
) -> str | None:
    """Let the machine in whose own token has this hash: its name, the one it wants or else the token's. None: the
    token is good for nothing, for whatever reason. RefusedError: another node has the name; the token stays good.

    One statement uses the token, so that of two machines that hold it one comes in. The same machine may ask again.
    """
    async with access.pool.connection() as conn:
        used = await rows(
            conn,
            "update join_token set used = coalesce(used, now()), node_hash = %s where hash = %s and expires > now()"
            " and (used is null or node_hash = %s) returning name",
            (node_hash, hashed(secret), node_hash),
        )
        if not used:
            return None
        wanted = name or str(used[0][0])
        known = await rows(conn, "select node, revoked is null from token where hash = %s", (node_hash,))
        if known:
            return wanted if known[0] == (wanted, True) else None
        check_name(wanted)
        if await _is_taken(conn, wanted):
            raise _taken(wanted)
        made = await rows(
            conn,
            "insert into token (name, scope, hash, node) values (%s, 'node', %s, %s) on conflict do nothing"
            " returning id",
            (f"node {wanted}", node_hash, wanted),
        )
        if not made:  # another came in under that name in the same moment
            raise _taken(wanted)
        await conn.execute(
            "insert into node (name, offered, version) values (%s, %s, %s)"
            " on conflict (name) do update set offered = excluded.offered, version = excluded.version",
            (wanted, json(nodes.record(offered)), version),
        )
    access.forget()
    return wanted


async def why_useless(access: Access, secret: str) -> str:
    """For the audit alone: what is wrong with a token that was not taken."""
    async with access.pool.connection() as conn:
        found = await rows(
            conn, "select expires < now(), used is not null from join_token where hash = %s", (hashed(secret),)
        )
    if not found:
        return "unknown"
    return "used" if found[0][1] else "expired" if found[0][0] else "revoked"


async def revoke(conn: Any, name: str) -> bool:
    """The node's token is good for nothing from now on, and joining tokens made for it neither; whether it had one.
    `Access.forget` once that is committed."""
    done = await conn.execute("update token set revoked = now() where node = %s and revoked is null", (name,))
    await conn.execute("delete from join_token where name = %s and used is null", (name,))
    return done.rowcount > 0


async def is_wanted(access: Access) -> bool:
    """Whether there is any node that joined, or a token with which one may."""
    async with access.pool.connection() as conn:
        found = await rows(
            conn,
            "select 1 from token where node is not null and revoked is null union all"
            " select 1 from join_token where expires > now() and used is null limit 1",
        )
    return bool(found)


async def _is_taken(conn: Any, name: str) -> bool:
    found = await rows(
        conn,
        "select 1 from token where node = %s and revoked is null union all"
        " select 1 from worker where name = %s and last_seen > now() - make_interval(secs => %s)",
        (name, name, _ALIVE_S),
    )
    return bool(found)


def _taken(name: str) -> RefusedError:
    return RefusedError(
        f"there is a node '{name}' already",
        hint=f"Give this one another name, or take that one out first: homelab node remove {name}",
    )
