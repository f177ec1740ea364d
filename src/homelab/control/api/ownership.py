"""What every route for nodes asks first: does the token speak for what is named? Refusals are noted in the audit.

The token of control's own machine, where all secrets of the lab are, speaks for any worker there.
"""

from homelab.control.api.answers import HttpError
from homelab.control.api.auth import origin_of
from homelab.control.api.routing import Asked


async def refuse(asked: Asked, why: str) -> HttpError:
    """What to raise; it is noted."""
    await asked.site.access.record(
        who=f"node {asked.identity.node}", origin=origin_of(asked.request), via="node",
        action=f"{asked.request.method} {asked.request.url.path}", subject="", body={"reason": why}, result="forbidden",
    )  # fmt: skip
    return HttpError(403, "forbidden", why, "A node speaks for itself and its own runs, and for nothing else.")


async def check_names(asked: Asked, *named: object) -> None:
    """403 when one of the names of a worker or a node is another's than that of the token."""
    node = asked.identity.node
    if node is not None and any(name != node for name in named):
        raise await refuse(asked, "that is another node's name")
