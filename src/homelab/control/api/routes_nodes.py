"""How machines become nodes of the lab, and leave it. `ROUTES` are the lab's; `NODE_ROUTES` are on the node port only.

A token that is not taken gets one answer, whatever is wrong with it; the audit alone has the reason.
"""

import re
import time
from typing import Any, cast

from starlette.responses import Response

from homelab import __version__
from homelab.control import joining, nodes, store
from homelab.control.api import shapes_nodes
from homelab.control.api.answers import HttpError, answer, read_json, text_field
from homelab.control.api.auth import RateLimit, caller_of, origin_of
from homelab.control.api.routing import Asked, Route
from homelab.core.capacity import Capacity, capacity_of
from homelab.core.errors import RefusedError
from homelab.core.jointoken import JoinToken
from homelab.home.authority import authority

MAX_JOINING_BYTES = 64 * 1024
_HASH = re.compile(r"[0-9a-f]{64}")
_failures = RateLimit(most=60)
"""Joinings that fail. A secret of 256 bits needs no such limit; the audit does."""


async def token(asked: Asked) -> Response:
    body = await read_json(asked.request)
    ttl: object = body.get("ttl_s")
    if ttl is not None and (not isinstance(ttl, (int, float)) or isinstance(ttl, bool)):
        raise HttpError(400, "input", "'ttl_s' must be a number of seconds")
    name = text_field(body, "name")
    joining.check_name(name)
    asked.request.state.subject = name  # for the audit: the path does not say it
    if asked.site.node_port is None:
        raise RefusedError("this control has no port for nodes")
    url, fingerprint = await asked.site.node_port.open()
    made = await joining.offer(asked.site.access, name, ttl_s=ttl, by=asked.by)
    text = JoinToken(url=url, fingerprint=fingerprint, secret=made.secret).text()
    join = f"homelab node join {url} --token {text}"
    told = {"name": name, "token": text, "join": join, "url": url, "fingerprint": fingerprint}
    return answer({**told, "expires": made.expires}, 201)


async def show_authority(asked: Asked) -> Response:
    return answer({"authority": authority(asked.site.home).pem})


async def join(asked: Asked) -> Response:
    body = await read_json(asked.request, MAX_JOINING_BYTES)
    secret, node_hash = text_field(body, "token", limit=200), text_field(body, "node_hash", limit=64)
    if not _HASH.fullmatch(node_hash):
        raise HttpError(400, "input", "'node_hash' must be the SHA-256 of the node's token, in hexadecimal digits")
    wanted = text_field(body, "name", default="", limit=100)
    if wanted:
        joining.check_name(wanted)
    access, origin = asked.site.access, origin_of(asked.request)
    version = text_field(body, "version", default="", limit=100)
    try:
        name = await joining.accept(
            access, secret, node_hash=node_hash, name=wanted, offered=_offered(body), version=version
        )
    except RefusedError as error:
        await access.record(
            who="a machine", origin=origin, via="node", action="node.join", subject=wanted,
            body={"reason": error.message}, result="refused",
        )  # fmt: skip
        raise
    if name is None:
        if not _failures.take(caller_of(asked.request), now=time.monotonic()):
            raise HttpError(429, "rate_limited", "too many joinings", "Wait a minute.", {"Retry-After": "60"})
        reason = await joining.why_useless(access, secret)
        await access.record(
            who="a machine", origin=origin, via="node", action="node.join", subject=wanted,
            body={"reason": reason}, result="unauthorized",
        )  # fmt: skip
        raise HttpError(
            401, "unauthorized", "that token lets nobody in",
            "Make a new one on the machine of the lab: homelab node token NAME",
        )  # fmt: skip
    await access.record(who=f"node {name}", origin=origin, via="node", action="node.join", subject=name)
    return answer({"name": name, **_lab(asked)}, 201)


def _offered(body: dict[str, Any]) -> Capacity:
    said: object = body.get("capacity") or {}
    if not isinstance(said, dict):
        raise HttpError(400, "input", "'capacity' must be an object, as in a lab file")
    return capacity_of(cast("dict[str, Any]", said))


def _lab(asked: Asked) -> dict[str, Any]:
    lab = authority(asked.site.home).fingerprint
    return {"lab": lab, "lab_name": asked.site.control.looking.lab_name, "version": __version__}


async def this_node(asked: Asked) -> Response:
    name = str(asked.identity.node)
    there = await asked.site.control.fleet.standing()
    age_s = there.rows[name]["age_s"] if name in there.rows else None
    return answer({"name": name, **_lab(asked), "state": there.state(name), "heartbeat_age_s": age_s})


async def leave(asked: Asked) -> Response:
    name = str(asked.identity.node)
    async with asked.site.access.pool.connection() as conn:
        await joining.revoke(conn, name)
        await store.forget_workers_on(conn, name)
        await nodes.forget(conn, name)
    asked.site.access.forget()
    return answer({"left": name})


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/node-tokens",
        scope="admin",
        handler=token,
        summary="A token with which one machine may join the lab.",
        takes=shapes_nodes.NewNodeToken,
        gives=shapes_nodes.NodeToken,
        status=201,
        refuses=(409,),
    ),
)

NODE_ROUTES = (
    Route(
        method="GET",
        path="/api/v1/node/authority",
        scope="open",
        handler=show_authority,
        summary="The lab's authority, to be compared with what a token names.",
        gives=shapes_nodes.Authority,
    ),
    Route(
        method="POST",
        path="/api/v1/node/join",
        scope="open",
        handler=join,
        summary="Become a node, with a joining token.",
        takes=shapes_nodes.Joining,
        gives=shapes_nodes.Joined,
        status=201,
        refuses=(401, 409, 429),
        audited=False,
    ),
    Route(
        method="GET",
        path="/api/v1/node",
        scope="node",
        handler=this_node,
        summary="What control knows of the node that asks.",
        gives=shapes_nodes.ThisNode,
    ),
    Route(
        method="POST",
        path="/api/v1/node/leave",
        scope="node",
        handler=leave,
        summary="Be a node no more: its token is good for nothing from then on.",
        gives=shapes_nodes.Left,
    ),
)
