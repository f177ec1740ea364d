"""*Now*: failing and late first, each with its reason and the action that helps; what runs; what comes next."""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from homelab.console import words
from homelab.console.live import version
from homelab.console.rendering import fragment, respond, url_part
from homelab.console.screen import Parts, Screen, look
from homelab.control.api.routing import Asked, Site

ACTIONS = {
    "look": ("See what happened", "/runs/{run}?job={job}#log"),
    "retry": ("Retry", "/runs/{run}/retry"),
    "cancel": ("Cancel", "/runs/{run}/cancel"),
    "run": ("Run now", "/jobs/{job}/run"),
    "why": ("Why", "/jobs/{job}"),
}
PARTS = ("head", "glance", "attention", "running", "next", "recent")


def headline(answer: dict[str, Any]) -> str:
    """The lab in a few words: `All is well`, `3 things need you`."""
    count = len(answer["attention"])
    if not answer["jobs"]:
        return "No jobs yet"
    return "All is well" if count == 0 else f"{words.counted(count, 'thing')} need{'s' if count == 1 else ''} you"


def buttons(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """(label, address) of what can be done about an entry, the most helpful first."""
    found: list[tuple[str, str]] = []
    for name in entry["actions"]:
        label, address = ACTIONS[name]
        if "{run}" in address and not entry["run"]:
            continue
        found.append((label, address.format(run=url_part(entry["run"] or ""), job=url_part(entry["job"] or ""))))
    return found


async def values(site: Site) -> dict[str, Any]:
    answer = await site.control.looking.now()
    services = await site.control.looking.services()
    return {
        "answer": answer,
        "headline": headline(answer),
        "entries": [{**entry, "buttons": buttons(entry)} for entry in answer["attention"]],
        "services": services,
        "now": datetime.now(UTC),
    }


async def parts(site: Site, _: str) -> Parts:
    found = await values(site)
    return {name: str(fragment(f"now/{name}.html", **found)) for name in PARTS}


async def show(asked: Asked) -> Response:
    at = version()
    found = await values(asked.site)
    return respond(asked, "now/now.html", title=found["headline"], here="Now", live="now", version=at, **found)


SCREEN = Screen(
    name="Now",
    path="/",
    icon="now",
    routes=(look("/", show, "The lab at a glance."),),
    live={"now": parts},
)
