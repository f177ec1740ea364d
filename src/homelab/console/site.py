"""All pages as one thing that `control.api.app` can serve. Made once a server, by `cli`."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from homelab.console import assets, rendering, sign_in
from homelab.console.live import Hub
from homelab.console.screen import Screen
from homelab.console.screens import SCREENS
from homelab.control.api.answers import HttpError
from homelab.control.api.routing import Route


class Console:
    """The routes of every screen, and how a refusal looks."""

    def __init__(self, screens: Sequence[Screen] = SCREENS) -> None:
        self.screens = screens
        self.hub = Hub({name: make for screen in screens for name, make in screen.live.items()})
        rendering.NAVIGATION[:] = [(s.name, s.path, s.icon) for s in screens if s.name]

    @property
    def routes(self) -> Sequence[Route]:
        return (
            *(route for screen in self.screens for route in screen.routes),
            *sign_in.ROUTES,
            *assets.ROUTES,
            *self.hub.routes,
        )

    def failure(self, request: Request, error: HttpError) -> Response:
        return sign_in.failure(request, error)
