"""*Now*: failing and late first, each with its reason and the action that helps; what runs; what comes next."""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from homelab.console import words
from homelab.console.live import version
from homelab.console.rendering import fragment, respond, url_part
from homelab.console.screen import Parts, Screen, look
from homelab.control.access import allows
from homelab.control.api.routing import Asked, Site

ACTIONS = {
    "look": ("See what happened", "/runs/{run}?job={job}#log", "read"),
    "retry": ("Retry", "/runs/{run}/retry", "operate"),
    "cancel": ("Cancel", "/runs/{run}/cancel", "operate"),
    "run": ("Run now", "/jobs/{job}/run", "operate"),
    "why": ("Why", "/jobs/{job}", "read"),
    "node": ("See the machine", "/nodes/{node}", "read"),
}
"""Name to (label, address, role that it needs)."""
PARTS = ("head", "glance", "attention", "running", "next", "recent")


def headline(answer: dict[str, Any]) -> str:
    """The lab in a few words: `All is well`, `3 things need you`."""
    count = len(answer["attention"])
    if not answer["jobs"]:
        return "No jobs yet"
    return "All is well" if count == 0 else f"{words.counted(count, 'thing')} need{'s' if count == 1 else ''} you"


def buttons(entry: dict[str, Any], role: str) -> list[tuple[str, str]]:
    """(label, address) of what the role can do about an entry, the most helpful first."""
    found: list[tuple[str, str]] = []
    for name in entry["actions"]:
        label, address, need = ACTIONS[name]
        if not allows(role, need) or ("{run}" in address and not entry["run"]):
            continue
        parts = {name: url_part(entry[name] or "") for name in ("run", "job", "node")}
        found.append((label, address.format(**parts)))
    return found


async def values(site: Site) -> dict[str, Any]:
    answer = await site.control.looking.now()
    services = await site.control.looking.services()
    return {
        "answer": answer,
        "headline": headline(answer),
        "entries": [{**entry, "buttons": buttons(entry, site.role)} for entry in answer["attention"]],
        "services": services,
        "now": datetime.now(UTC),
    }


async def parts(site: Site, _: str) -> Parts:
    found = await values(site)
    return {name: str(fragment(f"now/{name}.html", **found)) for name in PARTS}


async def show(asked: Asked) -> Response:
    at = version()
    found = await values(asked.view)
    return respond(asked, "now/now.html", title=found["headline"], here="Now", live="now", version=at, **found)


SCREEN = Screen(
    name="Now",
    path="/",
    icon="now",
    routes=(look("/", show, "The lab at a glance."),),
    live={"now": parts},
)
