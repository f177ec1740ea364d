"""The files that pages load: styles, scripts, the manifest. Each address holds a hash of the bytes, so that a browser
keeps it for good and never shows an old one with a new page."""

import gzip
import hashlib
from functools import cache
from importlib.resources import files

from starlette.responses import Response

from homelab.control.api.answers import HttpError
from homelab.control.api.routing import Asked, Route

TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
}


@cache
def contents(name: str) -> bytes:
    """The bytes of one file. KeyError when there is none of that name."""
    if name not in names():
        raise KeyError(name)
    found = files("homelab.console").joinpath("client", name).read_bytes()
    if name.endswith(".webmanifest"):  # it names pictures beside it: they are kept for good, by their addresses
        for other in sorted(names()):
            if other.endswith((".png", ".svg")):
                found = found.replace(f'"{other}"'.encode(), f'"{address(other)}"'.encode())
    return found


@cache
def names() -> frozenset[str]:
    folder = files("homelab.console").joinpath("client")
    return frozenset(file.name for file in folder.iterdir() if file.name.rpartition(".")[2] in TYPES)


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(contents(name), 9, mtime=0)


@cache
def address(name: str) -> str:
    """Where pages load it from."""
    return f"/static/{hashlib.sha256(contents(name)).hexdigest()[:12]}/{name}"


async def asset(asked: Asked) -> Response:
    name = asked.path("name")
    if name not in names():
        raise HttpError(404, "not_found", "no such file")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    body = contents(name)
    if not name.endswith(".png") and "gzip" in asked.request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = _packed(name), "gzip"
    return Response(body, media_type=TYPES[name.rpartition(".")[2]], headers=headers)


ROUTES = (
    Route(
        method="GET",
        path="/static/{hash}/{name}",
        scope="open",
        handler=asset,
        summary="Styles and scripts of the pages.",
        page=True,
    ),
)
