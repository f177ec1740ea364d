"""The lab files as they were applied, so that an apply can be taken back: by applying what was applied before it.

Owns the table `lab_version`. Called by `applying` (which adds one) and `service`.
"""

from collections.abc import Mapping
from typing import Any

from homelab.control.store import Row, all_rows
from homelab.core.errors import NotFoundError
from homelab.db.pool import Connection, json

KEPT = 50


async def add(
    conn: Connection, *, by: str, path: str, folder: str, files: Mapping[str, str], digest: str, is_takeover: bool
) -> None:
    """What is applied now. The newest again, word for word, adds nothing."""
    newest = await last_two(conn)
    if newest and newest[0]["digest"] == digest and not is_takeover:
        return
    await conn.execute(
        "insert into lab_version (by, path, folder, files, digest, is_takeover) values (%s, %s, %s, %s, %s, %s)",
        (by, path, folder, json(dict(files)), digest, is_takeover),
    )
    await conn.execute(
        "delete from lab_version where id not in (select id from lab_version order by id desc limit %s)", (KEPT,)
    )


async def listing(conn: Connection) -> list[Row]:
    """The newest first, without their texts."""
    return await all_rows(conn, "select id, applied, by, path, is_takeover from lab_version order by id desc")


async def last_two(conn: Connection) -> list[Row]:
    """What is applied, and what was before it: whole."""
    return await all_rows(
        conn,
        "select id, applied, by, path, folder, files, digest, is_takeover from lab_version order by id desc limit 2",
    )


async def to_go_back(conn: Connection) -> tuple[Row, Row]:
    """(what is applied, what an undo would apply). NotFoundError when nothing was applied before."""
    found = await last_two(conn)
    if len(found) < 2:
        raise NotFoundError("nothing was applied before, so there is nothing to go back to")
    return found[0], found[1]


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A version as the API names it."""
    return {name: row[name] for name in ("id", "applied", "by", "path", "is_takeover")}
