"""Connections to our own database: few, made again after every outage without a hand. The only user of psycopg.

A caller sees rows as mappings (`connection`) or as tuples (`Database.tuples`). `Away` is what is raised while the
database does not answer; whoever runs a loop waits and tries again.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row, tuple_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
"""What an outage looks like; anything else psycopg raises is a mistake of ours."""

UNFIT = (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError)
"""What a value looks like that no column can hold. Caught only where values come from another program."""

Connection = psycopg.AsyncConnection[Any]


def json(value: Any) -> Jsonb:
    """A value for a jsonb column."""
    return Jsonb(value)


class Database:
    """A pool of at most four connections. `url` is a libpq URL without password. Use as an async context manager."""

    def __init__(self, url: str, *, password: str | None) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            kwargs={
                "autocommit": False,
                "application_name": "homelab",
                "connect_timeout": 3,
                **({"password": password} if password else {}),
            },
            min_size=1,
            max_size=4,
            timeout=10,
            reconnect_timeout=10,
            max_idle=120,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )
        self.tuples = _Tuples(self)

    async def __aenter__(self) -> "Database":
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close(timeout=3)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """One transaction with rows as mappings: committed at the end, rolled back by an exception."""
        async with self._pool.connection() as connection:
            connection.row_factory = dict_row
            yield connection

    @asynccontextmanager
    async def _tuple_connection(self) -> AsyncGenerator[Connection]:
        async with self._pool.connection() as connection:
            connection.row_factory = tuple_row
            yield connection


class _Tuples:
    """The same pool, rows as tuples."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def connection(self) -> Any:
        return self._database._tuple_connection()  # pyright: ignore[reportPrivateUsage]
