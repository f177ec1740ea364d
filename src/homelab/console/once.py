"""A form that is sent twice is carried out once: the second gets the first one's answer.

Every form carries a number that is made with the page. Kept in memory, the newest thousand: control is one process,
and after its restart the lab itself refuses what makes no sense any more.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_KEPT = 1000


def number() -> str:
    return secrets.token_urlsafe(12)


@dataclass
class Once:
    _done: dict[str, asyncio.Future[str]] = field(default_factory=dict[str, "asyncio.Future[str]"])

    async def do(self, key: str, action: Callable[[], Awaitable[str]]) -> str:
        """The result of `action`, of the first call with this key; a failed one may be tried again."""
        if (known := self._done.get(key)) is not None:
            return await asyncio.shield(known)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._done[key] = future
        while len(self._done) > _KEPT:
            self._done.pop(next(iter(self._done)))
        try:
            result = await action()
        except BaseException as error:
            self._done.pop(key, None)
            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            future.exception()  # seen: nobody else may wait for it
            raise
        future.set_result(result)
        return result
