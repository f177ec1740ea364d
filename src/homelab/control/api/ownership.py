"""What every route for nodes asks first: does the token speak for what is named? Refusals are noted in the audit.

The token of control's own machine, where all secrets of the lab are, speaks for any worker there.
"""

import time

from homelab.control.api.answers import HttpError
from homelab.control.api.auth import Seldom, origin_of
from homelab.control.api.routing import Asked

_noted = Seldom()
"""A node that comes back asks for runs that are another's now once a second, until it has heard that they are."""


async def note(asked: Asked, why: str, *, result: str) -> None:
    """A line in the audit for what a node may not, the first time and then now and then."""
    identity, request = asked.identity, asked.request
    who = identity.name if identity.node is None else f"node {identity.node}"
    action = f"{request.method} {request.url.path}"
    if _noted.is_new(f"{who} {action} {why}", now=time.monotonic()):
        await asked.site.access.record(
            who=who, origin=origin_of(request), via="node", action=action, subject="", body={"reason": why},
            result=result,
        )  # fmt: skip


async def refuse(asked: Asked, why: str) -> HttpError:
    """What to raise; it is noted."""
    await note(asked, why, result="forbidden")
    return HttpError(403, "forbidden", why, "A node speaks for itself and its own runs, and for nothing else.")


async def check_names(asked: Asked, *named: object) -> None:
    """403 when one of the names of a worker or a node is another's than that of the token."""
    node = asked.identity.node
    if node is not None and any(name != node for name in named):
        raise await refuse(asked, "that is another node's name")
