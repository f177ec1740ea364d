"""Links that sign a browser in, and the tokens of programs."""

from starlette.responses import Response

from homelab.control.access import SIGN_IN_TTL
from homelab.control.api import shapes_access
from homelab.control.api.answers import HttpError, answer, read_json, text_field
from homelab.control.api.routing import Asked, Route
from homelab.control.people import a_role


async def sign_in_link(asked: Asked) -> Response:
    body = await read_json(asked.request)
    role = a_role(text_field(body, "scope", default="admin"))
    people = asked.site.access.people
    person = await people.find(text_field(body, "person")) if "person" in body else None
    if person is None and role == "admin":
        person = await people.owner()
    secret = await asked.site.access.create_sign_in(role, person=person["id"] if person else None)
    url = f"{asked.site.own_url}/sign-in?token={secret}"
    name = person["name"] if person else "guest"
    return answer({"url": url, "expires_s": int(SIGN_IN_TTL.total_seconds()), "scope": role, "person": name}, 201)


async def tokens(asked: Asked) -> Response:
    return answer({"tokens": await asked.site.access.tokens()})


async def create_token(asked: Asked) -> Response:
    body = await read_json(asked.request)
    ttl: object = body.get("ttl_s")
    if ttl is not None and (not isinstance(ttl, (int, float)) or isinstance(ttl, bool)):
        raise HttpError(400, "input", "'ttl_s' must be a number of seconds")
    name, scope = text_field(body, "name"), text_field(body, "scope", default="read")
    made = await asked.site.access.create_token(name, scope, ttl_s=ttl)  # pyright: ignore[reportArgumentType]
    return answer({"token": made}, 201)


async def revoke_token(asked: Asked) -> Response:
    identity = asked.path("id")
    if not (identity.isascii() and identity.isdecimal() and len(identity) < 19):
        raise HttpError(404, "not_found", f"no token '{identity[:40]}'", "List them with: homelab token ls")
    await asked.site.access.revoke(int(identity))
    return answer({"revoked": int(identity)})


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/sign-in-links",
        scope="admin",
        handler=sign_in_link,
        summary="A link that opens one browser session within ten minutes.",
        takes=shapes_access.NewLink,
        gives=shapes_access.Link,
        status=201,
        refuses=(404,),
    ),
    Route(
        method="GET",
        path="/api/v1/tokens",
        scope="admin",
        handler=tokens,
        summary="Tokens, without their secrets.",
        gives=shapes_access.Tokens,
    ),
    Route(
        method="POST",
        path="/api/v1/tokens",
        scope="admin",
        handler=create_token,
        summary="A new token; its secret is shown once.",
        takes=shapes_access.NewToken,
        gives=shapes_access.Made,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/api/v1/tokens/{id}",
        scope="admin",
        handler=revoke_token,
        summary="Revoke a token.",
        gives=shapes_access.Revoked,
    ),
)
