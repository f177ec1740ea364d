"""What `access` and `people` use of a database: a pool of connections, and rows as tuples."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast


class Cursor(Protocol):
    """What is used of a psycopg cursor."""

    @property
    def rowcount(self) -> int: ...
    async def fetchall(self) -> Sequence[Any]: ...


class Connection(Protocol):
    """What is used of a psycopg connection."""

    async def execute(self, query: Any, params: Sequence[object] | None = None, /) -> Cursor: ...


class Pool(Protocol):
    """What is used of a psycopg pool; each block is one transaction."""

    def connection(self) -> AbstractAsyncContextManager[Any]: ...


async def rows(connection: Connection, query: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query as tuples, whichever row factory the pool was made with."""
    cursor = await connection.execute(query, params)
    fetched = await cursor.fetchall()
    return [tuple(cast("dict[str, Any]", r).values()) if isinstance(r, dict) else tuple(r) for r in fetched]
