"""Brings our database to the schema of this version: numbered files, forward only, one at a time under a lock."""

from importlib.resources import files

from homelab.core.errors import RefusedError
from homelab.db.pool import Database

_LOCK = 7_306_921


def available() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every migration, in order."""
    found: list[tuple[int, str, str]] = []
    for file in files("homelab.db").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            found.append((int(file.name.split("_", 1)[0]), file.name, file.read_text()))
    return sorted(found)


async def migrate(database: Database) -> int:
    """Apply what is missing; the number of migrations applied. RefusedError when the schema is newer than this code."""
    async with database.connection() as connection:
        await connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(
            "create table if not exists migration (number int primary key, name text not null,"
            " applied timestamptz not null default now())"
        )
        rows = await (await connection.execute("select number from migration")).fetchall()
        applied = {int(row["number"]) for row in rows}
        known = available()
        if newer := applied - {number for number, _, _ in known}:
            raise RefusedError(
                f"the database is of a newer homelab (migration {max(newer)})",
                hint="Install that version again, or restore the backup made before the upgrade.",
            )
        missing = [m for m in known if m[0] not in applied]
        for number, name, sql in missing:
            await connection.execute(sql.encode())
            await connection.execute("insert into migration (number, name) values (%s, %s)", (number, name))
        return len(missing)
