"""The lab where people are: status for menu bars, badges, a calendar; and the feed tokens that open them.

Each of these answers to a bearer token or session as any route does, or to `?feed=`, a token for this feed alone.
Answers carry an ETag and may be kept for a short time.
"""

import asyncio
from datetime import UTC, datetime
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from homelab.control import badge, feeds
from homelab.control.api import shapes_access, shapes_around
from homelab.control.api.answers import HttpError, answer, dump, read_json, text_field
from homelab.control.api.routing import Asked, Route
from homelab.control.glance import glance

SHORT_S, HOUR_S = 20, 3600
_TONES = {"ok": "good", "warning": "warn", "failing": "bad"}
_JOB_TONES = {
    "succeeded": "good", "failed": "bad", "crashed": "bad", "timed_out": "bad", "late": "warn", "missed": "warn",
    "blocked": "warn", "running": "run", "retrying": "run", "pending": "run",
}  # fmt: skip


def tagged(request: Request, body: bytes, media_type: str, *, age_s: int, embedded: bool = False) -> Response:
    """The answer with an ETag; 304 for a reader that has it. `embedded`: other sites may show it."""
    tag = f'"{sha256(body).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={age_s}"}
    if embedded:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


async def status(asked: Asked) -> Response:
    found = glance(await asked.site.control.looking.now(), url=asked.site.own_url)
    return tagged(asked.request, dump(found), "application/json", age_s=SHORT_S)


async def lab_badge(asked: Asked) -> Response:
    found = glance(await asked.site.control.looking.now(), url=asked.site.own_url)
    word = "all is well" if found["state"] == "ok" and found["jobs"] else found["summary"]
    return _picture(asked, found["lab"] or "homelab", word, _TONES[found["state"]])


async def job_badge(asked: Asked) -> Response:
    job = asked.path("job")
    state = (await asked.site.control.looking.states({job})).get(job)
    if state is None:
        raise HttpError(404, "not_found", f"there is no job '{job[:60]}'")
    return _picture(asked, job, state.replace("_", " ") or "no runs", _JOB_TONES.get(state, "idle"))


def _picture(asked: Asked, label: str, word: str, tone: str) -> Response:
    made = badge.badge(label, word, tone).encode("utf-8", "replace")
    return tagged(asked.request, made, "image/svg+xml", age_s=SHORT_S, embedded=True)


async def due(asked: Asked) -> Response:
    from homelab.control import calendar

    looking, now = asked.site.control.looking, datetime.now(UTC)
    entries = await looking.due(now, url=asked.site.own_url)
    body = await asyncio.to_thread(calendar.ics, entries, name=f"{looking.lab_name or 'homelab'}: due", now=now)
    return tagged(asked.request, body, "text/calendar; charset=utf-8", age_s=HOUR_S // 4)


async def listing(asked: Asked) -> Response:
    return answer({"feeds": await feeds.listing(asked.site.access.pool)})


async def create(asked: Asked) -> Response:
    body = await read_json(asked.request)
    feed, name = text_field(body, "feed", limit=200), text_field(body, "name", default="")
    if job := feeds.job_of(feed):
        await asked.site.control.job(job)  # 404, with the nearest, when there is none
    made = await feeds.create(asked.site.access.pool, feed, name)
    return answer({"feed": {**made, "url": asked.site.own_url + made.pop("path")}}, 201)


async def revoke(asked: Asked) -> Response:
    identity = asked.path("id")
    if not (identity.isascii() and identity.isdecimal() and len(identity) < 19):
        raise HttpError(404, "not_found", f"no feed '{identity[:40]}'", "List them with: homelab feed ls")
    await feeds.revoke(asked.site.access.pool, int(identity))
    return answer({"revoked": int(identity)})


_TOKEN = {"feed": "a token for this feed, in place of a bearer token"}

ROUTES = (
    Route(
        method="GET",
        path="/status.json",
        scope="read",
        feed="status",
        handler=status,
        summary="The lab in a few stable fields.",
        parameters=_TOKEN,
        gives=shapes_around.Glance,
    ),
    Route(
        method="GET",
        path="/badge.svg",
        scope="read",
        feed="badge",
        handler=lab_badge,
        summary="How the lab stands, as a picture.",
        parameters=_TOKEN,
        media=("image/svg+xml",),
    ),
    Route(
        method="GET",
        path="/badge/{job}.svg",
        scope="read",
        feed="badge/{job}",
        handler=job_badge,
        summary="How a job stands, as a picture.",
        parameters=_TOKEN,
        media=("image/svg+xml",),
    ),
    Route(
        method="GET",
        path="/due.ics",
        scope="read",
        feed="due",
        handler=due,
        summary="What is due in the next 14 days and what failed in the last 7, as an iCalendar.",
        parameters=_TOKEN,
        media=("text/calendar",),
    ),
    Route(
        method="GET",
        path="/api/v1/feeds",
        scope="admin",
        handler=listing,
        summary="Feed tokens, without their secrets.",
        gives=shapes_around.Feeds,
    ),
    Route(
        method="POST",
        path="/api/v1/feeds",
        scope="admin",
        handler=create,
        summary="A token for one feed; its address is shown once.",
        takes=shapes_around.NewFeed,
        gives=shapes_around.FeedMade,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/api/v1/feeds/{id}",
        scope="admin",
        handler=revoke,
        summary="Revoke a feed token.",
        gives=shapes_access.Revoked,
    ),
)
