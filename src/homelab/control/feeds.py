"""Feed tokens: secrets in the address of one feed, for calendars, badges and menu bars that can send no header.

Owns the table `feed`. A feed token opens the one feed it was made for and is no bearer token; it is stored as SHA-256
only and shown once. Called by `control.api`.
"""

import hmac
import re
from typing import Any

from homelab.control.access import Identity, Pool, hashed, new_secret, rows
from homelab.core.errors import InputError, NotFoundError

PREFIX = "hf_"
PLAIN = {"status": "/status.json", "due": "/due.ics", "badge": "/badge.svg"}
"""Feeds of the lab, and where they are. Those of a job are `badge/JOB`."""
_OF_JOB = re.compile(r"badge/([A-Za-z0-9][A-Za-z0-9._-]{0,99})")


def path_of(feed: str) -> str:
    """Where a feed is. InputError for one that is not."""
    if feed in PLAIN:
        return PLAIN[feed]
    if found := _OF_JOB.fullmatch(feed):
        return f"/badge/{found[1]}.svg"
    raise InputError(f"no feed '{feed[:60]}'", hint="Feeds: " + ", ".join([*PLAIN, "badge/JOB"]))


def job_of(feed: str) -> str | None:
    """The job that a feed is about; None for one of the lab."""
    found = _OF_JOB.fullmatch(feed)
    return found[1] if found else None


async def create(pool: Pool, feed: str, name: str) -> dict[str, Any]:
    """A new token; the answer's `path` is the only place that ever shows its secret."""
    where = path_of(feed)
    if len(name) > 100 or not name.isprintable():
        raise InputError("a feed's name has at most 100 printable characters")
    secret = new_secret(PREFIX)
    async with pool.connection() as connection:
        made = await rows(
            connection,
            "insert into feed (name, feed, hash) values (%s, %s, %s) returning id, created",
            (name, feed, hashed(secret)),
        )
    identity, created = made[0]
    return {"id": identity, "name": name, "feed": feed, "created": created, "path": f"{where}?feed={secret}"}


async def listing(pool: Pool) -> list[dict[str, Any]]:
    """Every feed token that is not revoked, oldest first, without anything to use it by."""
    names = ("id", "name", "feed", "created", "last_used")
    async with pool.connection() as connection:
        found = await rows(
            connection, "select id, name, feed, created, last_used from feed where revoked is null order by id"
        )
    return [dict(zip(names, row, strict=True)) for row in found]


async def revoke(pool: Pool, identity: int) -> None:
    """Make a feed token useless, at once."""
    async with pool.connection() as connection:
        done = await connection.execute(
            "update feed set revoked = now() where id = %s and revoked is null", (identity,)
        )
        if done.rowcount == 0:
            raise NotFoundError(f"no feed {identity}", hint="List them with: homelab feed ls")


async def holder(pool: Pool, secret: str, feed: str) -> Identity | None:
    """Who holds this token, when it is one for this very feed; None otherwise."""
    digest = hashed(secret)
    async with pool.connection() as connection:
        found = await rows(
            connection,
            # As with other tokens: `last_used` is for people, once a minute is enough.
            "with touched as (update feed set last_used = now() where hash = %s and feed = %s and revoked is null"
            " and (last_used is null or last_used < now() - interval '1 minute'))"
            " select name, hash from feed where hash = %s and feed = %s and revoked is null",
            (digest, feed, digest, feed),
        )
    if not found or not hmac.compare_digest(found[0][1], digest):
        return None
    return Identity(name=f"feed {found[0][0] or feed}", scope="read")
