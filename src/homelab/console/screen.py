"""What a screen is: a place in the navigation, its routes, and what of it is kept up to date while one looks."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from homelab.control.api.routing import Handler, Route, RouteScope, Site

Parts = Mapping[str, str]
"""HTML of the parts of a page by the id of their element."""
Live = Callable[[Site, str], Awaitable[Parts]]
"""The parts of a page now. The text is what follows the topic's name, such as a run's id."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """`name` and `path` are its entry in the navigation (`name` "": it has none); `icon` names a symbol of the base
    page. `live` maps a topic to how its parts are made."""

    name: str
    path: str
    icon: str = ""
    routes: Sequence[Route] = ()
    live: Mapping[str, Live] = field(default_factory=dict[str, Live])


def look(path: str, handler: Handler, summary: str, scope: RouteScope = "read") -> Route:
    """The route of a page."""
    return Route(method="GET", path=path, scope=scope, handler=handler, summary=summary, page=True)


def change(path: str, handler: Handler, summary: str, scope: RouteScope = "operate") -> Route:
    """The route of a form's button. `forms.carry_out` notes it in the audit, once."""
    return Route(method="POST", path=path, scope=scope, handler=handler, summary=summary, page=True, audited=False)
