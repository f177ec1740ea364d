"""Who is who: people with a role, their browser sessions, their passkeys, and signing in with one.

Everybody sees and ends what is their own; admins see and end all.
"""

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from homelab.control import passkeys
from homelab.control.access import SESSION_TTL, allows
from homelab.control.api import shapes, shapes_access
from homelab.control.api.answers import HttpError, answer, read_json, text_field
from homelab.control.api.auth import caller_of, host_name, origin_of, same_origin
from homelab.control.api.routing import Asked, Route
from homelab.control.people import SHORT, named, via_passkey
from homelab.core.errors import RefusedError


async def me(asked: Asked) -> Response:
    who = asked.identity
    return answer({"name": who.name, "role": who.scope, "via": who.via, "person": who.person is not None})


async def people(asked: Asked) -> Response:
    return answer({"people": await asked.site.access.people.listing()})


async def add(asked: Asked) -> Response:
    body = await read_json(asked.request)
    made = await asked.site.access.people.add(text_field(body, "name"), text_field(body, "role", default="read"))
    return answer({"person": made}, 201)


async def set_role(asked: Asked) -> Response:
    body = await read_json(asked.request)
    return answer({"person": await asked.site.access.people.set_role(asked.path("name"), text_field(body, "role"))})


async def remove(asked: Asked) -> Response:
    return answer({"person": await asked.site.access.people.remove(asked.path("name"))})


# -- sessions ---------------------------------------------------------------------------------------------------------


def whose(asked: Asked) -> int | None:
    """Whose things the caller may touch: everybody's (None) for an admin, else their own. 403: they have none."""
    if allows(asked.identity.scope, "admin"):
        return None
    return person_of(asked)


def person_of(asked: Asked) -> int:
    if asked.identity.person is None:
        raise HttpError(
            403,
            "forbidden",
            "this is for the people of the lab, not for tokens and guests",
            "Sign in by name: homelab open --person NAME",
        )
    return asked.identity.person


async def sessions(asked: Asked) -> Response:
    found = await asked.site.access.people.sessions(whose(asked))
    mine = asked.identity.session[:SHORT]
    return answer({"sessions": [{**row, "is_this": row["id"] == mine} for row in found]})


async def end_session(asked: Asked) -> Response:
    await asked.site.access.people.end_session(asked.path("id"), whose(asked))
    return answer({"ended": 1})


async def end_sessions(asked: Asked) -> Response:
    await read_json(asked.request)
    return answer({"ended": await asked.site.access.people.end_sessions(person_of(asked))})


# -- passkeys ---------------------------------------------------------------------------------------------------------


def host_of(request: Request) -> str:
    """The name under which the browser speaks to the lab, which passkeys are for. 409 when it is an address."""
    return passkeys.host_for_passkeys(host_name(request.headers.get("host", "")) or "")


def origin_to_expect(request: Request) -> str:
    """The origin that the browser's answer must name: the page's own, proved to be of this server."""
    origin = request.headers.get("origin", "")
    if not origin or not same_origin(request.headers):
        raise HttpError(403, "forbidden", "this request did not come from a page of this lab")
    return origin


def credential_of(body: dict[str, Any]) -> dict[str, Any]:
    found: object = body.get("credential")
    if not isinstance(found, dict):
        raise HttpError(400, "input", "'credential' must be what the browser answered")
    return cast("dict[str, Any]", found)


async def list_passkeys(asked: Asked) -> Response:
    return answer({"passkeys": await asked.site.access.people.passkeys(whose(asked))})


async def new_passkey_options(asked: Asked) -> Response:
    await read_json(asked.request)
    person, host = person_of(asked), host_of(asked.request)
    have = [key["id"] for key in await asked.site.access.people.passkeys(person) if key["host"] == host]
    challenge = asked.site.gate.challenges.new("register", host=host, owner=asked.identity.session)
    options = passkeys.registration(
        host=host, person=asked.identity.name, person_id=person, challenge=challenge, have=have
    )
    return answer({"options": options})


async def add_passkey(asked: Asked) -> Response:
    body = await read_json(asked.request)
    person, host, origin = person_of(asked), host_of(asked.request), origin_to_expect(asked.request)
    credential, name = credential_of(body), named(text_field(body, "name"), "passkey")
    challenge = passkeys.challenge_of(credential)
    if not asked.site.gate.challenges.take(challenge, "register", host=host, owner=asked.identity.session):
        raise HttpError(403, "forbidden", "that answer is too late or was given before", "Try again.")
    key = passkeys.registered(credential, challenge=challenge, host=host, origin=origin, person=person, name=name)
    await asked.site.access.people.add_passkey(key)
    return answer({"name": name}, 201)


async def remove_passkey(asked: Asked) -> Response:
    await asked.site.access.people.remove_passkey(asked.path("id"), whose(asked))
    return answer({"ended": 1})


async def sign_in_options(asked: Asked) -> Response:
    await read_json(asked.request)
    origin_to_expect(asked.request)
    asked.site.gate.take(asked.site.gate.passkeys, caller_of(asked.request))
    host = host_of(asked.request)
    challenge = asked.site.gate.challenges.new("sign-in", host=host)
    return answer({"options": passkeys.authentication(host=host, challenge=challenge)})


async def sign_in(asked: Asked) -> Response:
    body = await read_json(asked.request)
    origin = origin_to_expect(asked.request)
    asked.site.gate.take(asked.site.gate.passkeys, caller_of(asked.request))
    key = await _proved(asked, credential_of(body), host_of(asked.request), origin)
    access, via = asked.site.access, via_passkey(key.name)
    session = await access.open_session("admin", person=key.person, via=via, origin=origin_of(asked.request))
    who = await access.by_session(session)
    name = who.name if who else ""
    await access.record(who=name, via=via, origin=origin_of(asked.request), action="POST /sign-in", subject="")
    response = answer({"name": name})
    asked.site.gate.set_cookie(asked.request, response, session, int(SESSION_TTL.total_seconds()))
    return response


async def _proved(asked: Asked, credential: dict[str, Any], host: str, origin: str) -> passkeys.Passkey:
    """The passkey that the answer is of, its use noted. 403 for anything else, always in the same words."""
    access = asked.site.access
    refused = HttpError(403, "forbidden", "this passkey does not sign in here", "Sign in with: homelab open")
    challenge = passkeys.challenge_of(credential)
    if not asked.site.gate.challenges.take(challenge, "sign-in", host=host):
        raise HttpError(403, "forbidden", "that answer is too late or was given before", "Try again.")
    key = await access.people.passkey(str(credential.get("id"))[:1000])
    if key is None or key.stopped or key.host != host:
        raise refused
    try:
        counter = passkeys.proved(credential, key, challenge=challenge, host=host, origin=origin)
    except passkeys.CopiedError as error:
        await access.people.stop_passkey(key.id, "its counter went back: another device holds a copy of it")
        raise HttpError(403, "forbidden", error.message, error.hint) from error
    except RefusedError as error:
        raise refused from error
    if not await access.people.used(key, counter):
        raise refused
    return key


ROUTES = (
    Route(
        method="GET", path="/api/v1/me", scope="read", handler=me, summary="Who you are here.", gives=shapes_access.Me
    ),
    Route(
        method="GET",
        path="/api/v1/people",
        scope="admin",
        handler=people,
        summary="The people of the lab, with their roles.",
        gives=shapes_access.Everybody,
    ),
    Route(
        method="POST",
        path="/api/v1/people",
        scope="admin",
        handler=add,
        summary="One more person.",
        takes=shapes_access.NewPerson,
        gives=shapes_access.OnePerson,
        status=201,
        refuses=(409,),
    ),
    Route(
        method="POST",
        path="/api/v1/people/{name}/role",
        scope="admin",
        handler=set_role,
        summary="Another role, at once for all their sessions.",
        takes=shapes_access.NewRole,
        gives=shapes_access.OnePerson,
        refuses=(409,),
    ),
    Route(
        method="DELETE",
        path="/api/v1/people/{name}",
        scope="admin",
        handler=remove,
        summary="Nothing of theirs is valid any more.",
        gives=shapes_access.OnePerson,
        refuses=(409,),
    ),
    Route(
        method="GET",
        path="/api/v1/sessions",
        scope="read",
        handler=sessions,
        summary="Your browser sessions; everybody's for an admin.",
        gives=shapes_access.Sessions,
    ),
    Route(
        method="DELETE",
        path="/api/v1/sessions/{id}",
        scope="read",
        handler=end_session,
        summary="End a session.",
        gives=shapes_access.Ended,
    ),
    Route(
        method="POST",
        path="/api/v1/sessions/end",
        scope="read",
        handler=end_sessions,
        summary="Sign yourself out everywhere.",
        takes=shapes.Empty,
        gives=shapes_access.Ended,
    ),
    Route(
        method="GET",
        path="/api/v1/passkeys",
        scope="read",
        handler=list_passkeys,
        summary="Your passkeys; everybody's for an admin.",
        gives=shapes_access.Passkeys,
    ),
    Route(
        method="POST",
        path="/api/v1/passkeys/options",
        scope="read",
        handler=new_passkey_options,
        summary="What a browser needs to make you a passkey.",
        takes=shapes.Empty,
        gives=shapes_access.Options,
        refuses=(409,),
        audited=False,
    ),
    Route(
        method="POST",
        path="/api/v1/passkeys",
        scope="read",
        handler=add_passkey,
        summary="Register the passkey that a browser made.",
        takes=shapes_access.NewPasskey,
        gives=shapes_access.Named,
        status=201,
        refuses=(409,),
    ),
    Route(
        method="DELETE",
        path="/api/v1/passkeys/{id}",
        scope="read",
        handler=remove_passkey,
        summary="Forget a passkey and end what it opened.",
        gives=shapes_access.Ended,
    ),
    Route(
        method="POST",
        path="/api/v1/sign-in/passkey/options",
        scope="open",
        handler=sign_in_options,
        summary="What a browser needs to sign in with a passkey.",
        takes=shapes.Empty,
        gives=shapes_access.Options,
        refuses=(409,),
        audited=False,
    ),
    Route(
        method="POST",
        path="/api/v1/sign-in/passkey",
        scope="open",
        handler=sign_in,
        summary="Open a browser session by a passkey.",
        takes=shapes_access.Answered,
        gives=shapes_access.SignedIn,
        refuses=(409,),
        audited=False,
    ),
)
