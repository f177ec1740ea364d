"""Signing in by a one-time link and signing out again; and pages that say no."""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from homelab.console import words
from homelab.console.forms import read
from homelab.console.rendering import page, url_part
from homelab.control.access import MESH_SESSION_TTL, SESSION_TTL
from homelab.control.api.answers import HttpError, read_bytes
from homelab.control.api.auth import caller_of, host_name, is_address, origin_of, same_origin
from homelab.control.api.routing import Asked, Route
from homelab.control.people import a_role


async def show_sign_in(asked: Asked) -> Response:
    """Shows a button only: what fetches a link to preview it must not use it up."""
    token = asked.request.query_params.get("token", "")[:200]
    who = None if token else await asked.site.gate.vouched(asked.request)
    return _door(asked.request, token=token, login=who.name if who else "")


async def sign_in(asked: Asked) -> Response:
    if not same_origin(asked.request.headers):
        raise HttpError(403, "forbidden", "this request did not come from a page of this lab")
    body = await read_bytes(asked.request, 4096)
    try:
        token = parse_qs(body.decode("ascii"), max_num_fields=10).get("token", [""])[0]
    except ValueError as error:
        raise HttpError(400, "input", "that is not a form of this lab") from error
    origin = origin_of(asked.request)
    session = await asked.site.access.sign_in(token, origin=origin) if token else None
    if session is None:
        asked.site.gate.take(asked.site.gate.sign_ins, caller_of(asked.request))
        raise HttpError(403, "forbidden", "this link was used or has expired", "Make a new one with: homelab open")
    who = await asked.site.access.by_session(session)
    name = who.name if who else ""
    await asked.site.access.record(who=name, via="link", origin=origin, action="POST /sign-in", subject="")
    response = RedirectResponse("/", status_code=303)
    asked.site.gate.set_cookie(asked.request, response, session, int(SESSION_TTL.total_seconds()))
    return response


async def sign_out(asked: Asked) -> Response:
    await read(asked)
    if asked.identity.session:
        await asked.site.access.sign_out(asked.identity.session)
    response = RedirectResponse("/", status_code=303)
    asked.site.gate.set_cookie(asked.request, response, "", 0)
    return response


def _once_more(request: Request) -> str:
    """The address to ask for again by itself, if the cookie may only be missing because a page of another site (a chat,
    web mail) led here: browsers keep it back then. Asked for by our own page it comes along, or nobody is signed in."""
    path = request.url.path
    came_from_elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
    if request.method != "GET" or not came_from_elsewhere or path.startswith(("//", "/\\")):
        return ""
    return f"{path}?{request.url.query}" if request.url.query else path


async def sign_in_by_mesh(asked: Asked) -> Response:
    """Open a session for whom the mesh vouches. It is a session like others, so that a page of another origin gains
    nothing from being in the same mesh."""
    if not same_origin(asked.request.headers):
        raise HttpError(403, "forbidden", "this request did not come from a page of this lab")
    asked.site.gate.take(asked.site.gate.passkeys, caller_of(asked.request))
    who = await asked.site.gate.vouched(asked.request)
    if who is None:
        raise HttpError(403, "forbidden", "nobody vouches for you here", "Sign in with: homelab open")
    access, origin = asked.site.access, origin_of(asked.request, who)
    person = await access.people.of_login(who.name, a_role(who.scope))
    session = await access.open_session(who.scope, person=person, via=who.via, origin=origin, ttl=MESH_SESSION_TTL)
    await access.record(who=who.name, via=who.via, origin=origin, action="POST /sign-in", subject="")
    response = RedirectResponse("/", status_code=303)
    asked.site.gate.set_cookie(asked.request, response, session, int(MESH_SESSION_TTL.total_seconds()))
    return response


def _door(request: Request, *, token: str = "", again: str = "", login: str = "", status: int = 200) -> Response:
    """The page of who is not signed in. `back`: where they were, to go on there; `again`: see `_once_more`;
    `login`: for whom the mesh vouches."""
    host = host_name(request.headers.get("host", "")) or ""
    return page(
        "templates/sign_in.html",
        title="Sign in",
        token=token,
        again=again,
        login=login,
        by_mesh="tailscale-user-login" in request.headers and not login,
        status=status,
        by_address=is_address(host),
        back="" if request.url.path.startswith("/sign-in") else request.url.path,
    )


def failure(request: Request, error: HttpError) -> Response:
    """An error as a page; a missing sign-in says how to get one."""
    if error.status == 401:
        return _door(request, again=_once_more(request), status=401)
    response = page(
        "templates/failure.html",
        title="Not found" if error.status == 404 else "Not done",
        status=error.status,
        message=error.message[:1].upper() + error.message[1:],
        hint="" if error.nearest else error.hint,
        code=error.status,
        framed=True,
        nearest=[(words.short(name), f"/{error.kind}s/{url_part(name)}") for name in error.nearest],
    )
    for name, value in error.headers.items():
        response.headers[name] = value
    return response


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
        path="/sign-in/tailscale",
        scope="open",
        handler=sign_in_by_mesh,
        summary="Sign in as whom the mesh vouches for.",
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
)
