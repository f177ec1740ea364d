"""A screen that nobody foresaw: a folder with a template and a `SCREEN`, and its line in the list. It gets its place in
the navigation, the gate, the frame, the search and what changes by itself, and nothing else is touched."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import jinja2
import pytest
import pytest_asyncio
from starlette.responses import Response
from tests.service import console_site
from tests.service.console_site import Site
from tests.service.postgres_site import postgres

from homelab.console.live import version
from homelab.console.rendering import environment, fragment, respond
from homelab.console.screen import Parts, Screen, look
from homelab.console.screens import SCREENS
from homelab.console.site import Console
from homelab.control.api.routing import Asked
from homelab.control.api.routing import Site as Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOLDER = {
    "plants/plants.html": """{% extends "templates/base.html" %}
{% block main %}<h1>Plants</h1>{% include "plants/water.html" %}{% endblock %}""",
    "plants/water.html": """<p id="water">{{ state(lamp) }} {{ counted(jobs, "job") }} of <b>{{ name }}</b></p>""",
}


async def values(served: Served) -> dict[str, object]:
    states = await served.control.looking.states()
    return {"lamp": states["heartbeat"], "jobs": len(states), "name": "<ferns>"}


async def show(asked: Asked) -> Response:
    at = version()
    found = await values(asked.site)
    return respond(asked, "plants/plants.html", title="Plants", here="Plants", live="plants", version=at, **found)


async def parts(served: Served, _: str) -> Parts:
    return {"water": str(fragment("plants/water.html", **await values(served)))}


SCREEN = Screen(
    name="Plants",
    path="/plants",
    icon="lab",
    routes=(look("/plants", show, "How the plants are."),),
    live={"plants": parts},
)


@pytest.fixture(scope="module")
def folder() -> Iterator[None]:
    """The templates of the new folder, where those of the package are."""
    templates = environment()
    own = templates.loader
    assert own is not None
    templates.loader = jinja2.ChoiceLoader([own, jinja2.DictLoader(FOLDER)])
    yield
    templates.loader = own
    Console()  # the navigation as it is


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(folder: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with postgres() as url:
        made = console_site.running(
            url, tmp_path_factory.mktemp("console"), screens=(*SCREENS[:2], SCREEN, *SCREENS[2:])
        )
        async with made as running:
            yield running


async def test_it_is_in_the_navigation_of_every_page_at_its_place(site: Site) -> None:
    for path in ("/", "/plants", "/lab"):
        page = (await site.page(path)).text
        assert page.index('href="/jobs"') < page.index('href="/plants"') < page.index('href="/runs"')
    assert '<a href="/plants" aria-current="page">' in (await site.page("/plants")).text


async def test_it_stands_behind_the_same_gate_in_the_same_frame(site: Site) -> None:
    assert (await site.http.get("/plants")).status_code == 401
    got = await site.page("/plants", scope="read")
    assert got.status_code == 200
    assert "46 jobs of <b>&lt;ferns&gt;</b>" in got.text
    assert "script-src 'self'" in got.headers["content-security-policy"]
    assert "<title>Plants · reference-lab</title>" in got.text


async def test_its_part_is_sent_when_the_lab_has_news(site: Site, tmp_path: Path) -> None:
    cookie = await site.sign_in()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    await site.control.pause("heartbeat", "somebody")
    async with site.http.stream("GET", "/live?topic=plants&after=0", headers=headers) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: {"):
                part = json.loads(line[6:])
                break
    assert part["id"] == "water"
    assert "paused" in part["html"]
