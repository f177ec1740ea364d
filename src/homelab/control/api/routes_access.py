"""Signing in and out, and the tokens of programs."""

from urllib.parse import parse_qs

from starlette.responses import RedirectResponse, Response

from homelab.control.access import SESSION_TTL, SIGN_IN_TTL
from homelab.control.api import pages
from homelab.control.api.answers import HttpError, answer, read_bytes, read_json, text_field
from homelab.control.api.auth import caller_of, same_origin
from homelab.control.api.routing import Asked, Route


async def form(asked: Asked) -> dict[str, str]:
    """The fields of a posted form of ours: small, urlencoded, each once."""
    body = await read_bytes(asked.request, 4096)
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=10)
    except ValueError as error:
        raise HttpError(400, "input", "that is not a form of this lab") from error
    return {name: values[0] for name, values in fields.items()}


async def show_sign_in(asked: Asked) -> Response:
    """Shows a button only: what fetches a link to preview it must not use it up."""
    token = asked.request.query_params.get("token", "")
    return pages.page("Sign in", pages.sign_in_form(token[:200]) if token else pages.sign_in_hint())


async def sign_in(asked: Asked) -> Response:
    asked.site.gate.take_sign_in(caller_of(asked.request))
    if not same_origin(asked.request.headers):
        raise HttpError(403, "forbidden", "this request did not come from a page of this lab")
    token = (await form(asked)).get("token", "")
    origin = caller_of(asked.request)
    session = await asked.site.access.sign_in(token, origin=origin) if token else None
    if session is None:
        raise HttpError(403, "forbidden", "this link was used or has expired", "Make a new one with: homelab open")
    await asked.site.access.record(who="browser", origin=origin, action="POST /sign-in", subject="")
    response = RedirectResponse("/", status_code=303)
    asked.site.gate.set_cookie(response, session, int(SESSION_TTL.total_seconds()))
    return response


async def sign_out(asked: Asked) -> Response:
    asked.site.gate.check_intent(asked.request, asked.identity, (await form(asked)).get("form_token"))
    if asked.identity.session:
        await asked.site.access.sign_out(asked.identity.session)
    response = RedirectResponse("/", status_code=303)
    asked.site.gate.set_cookie(response, "", 0)
    return response


async def sign_in_link(asked: Asked) -> Response:
    body = await read_json(asked.request)
    scope = text_field(body, "scope", default="admin")
    secret = await asked.site.access.create_sign_in(scope)  # pyright: ignore[reportArgumentType] - checked there
    url = f"{asked.site.own_url}/sign-in?token={secret}"
    return answer({"url": url, "expires_s": int(SIGN_IN_TTL.total_seconds()), "scope": scope}, 201)


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
        method="GET",
        path="/sign-in",
        scope="open",
        handler=show_sign_in,
        summary="The page behind a one-time link.",
        page=True,
    ),
    Route(
        method="POST",
        path="/sign-in",
        scope="open",
        handler=sign_in,
        summary="Use a one-time link up.",
        page=True,
        audited=False,
    ),
    Route(
        method="POST",
        path="/sign-out",
        scope="read",
        handler=sign_out,
        summary="End this browser's session.",
        page=True,
    ),
    Route(
        method="POST",
        path="/api/v1/sign-in-links",
        scope="admin",
        handler=sign_in_link,
        summary="A link that opens one browser session within ten minutes.",
        fields={"scope": "read, operate or admin (default)"},
    ),
    Route(method="GET", path="/api/v1/tokens", scope="admin", handler=tokens, summary="Tokens, without their secrets."),
    Route(
        method="POST",
        path="/api/v1/tokens",
        scope="admin",
        handler=create_token,
        summary="A new token; its secret is shown once.",
        fields={"name": "for people", "scope": "read (default), operate, admin or node", "ttl_s": "seconds it lives"},
    ),
    Route(method="DELETE", path="/api/v1/tokens/{id}", scope="admin", handler=revoke_token, summary="Revoke a token."),
)
