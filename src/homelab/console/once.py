"""A form that is sent twice is carried out once: the second gets the first one's answer.

Every form carries a number that is made with the page. A double click is caught in memory; a form that is sent again
later, from another tab, by the back button or after a restart of control, by the table of those that were sent.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from homelab.control.api.answers import HttpError

_KEPT = 1000


def number() -> str:
    return secrets.token_urlsafe(12)


class Forms(Protocol):
    """The forms that were sent (`control.access.Access`)."""

    async def claim_form(self, key: str) -> tuple[bool, str | None]: ...
    async def settle_form(self, key: str, result: str | None) -> None: ...


@dataclass
class Once:
    _done: dict[str, asyncio.Future[str]] = field(default_factory=dict[str, "asyncio.Future[str]"])

    async def do(self, forms: Forms, key: str, action: Callable[[], Awaitable[str]]) -> str:
        """The result of `action`, of the first call with this key; a failed one may be tried again. HttpError 409 when
        control ended in the middle of the first one, and nobody knows."""
        key = hashlib.sha256(key.encode()).hexdigest()
        if (known := self._done.get(key)) is not None:
            return await asyncio.shield(known)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._done[key] = future
        while len(self._done) > _KEPT:
            self._done.pop(next(iter(self._done)))
        try:
            result = await _first(forms, key, action)
        except BaseException as error:
            self._done.pop(key, None)
            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            future.exception()  # seen: nobody else may wait for it
            raise
        future.set_result(result)
        return result


async def _first(forms: Forms, key: str, action: Callable[[], Awaitable[str]]) -> str:
    is_new, result = await forms.claim_form(key)
    if not is_new:
        if result is None:
            raise HttpError(
                409,
                "refused",
                "This was sent before, and the lab stopped in the middle of it.",
                "Look whether it was done.",
            )
        return result
    try:
        result = await action()
    except Exception:
        await forms.settle_form(key, None)
        raise
    await forms.settle_form(key, result)
    return result
