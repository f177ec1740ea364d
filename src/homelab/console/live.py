"""Pages that stay true by themselves: the parts of a page that changed are sent to whoever looks at it.

One loop a topic, however many look: it waits for news of the lab, makes the parts once, and puts those that differ in
each reader's box. A box holds the newest of each part and nothing else, so that a slow reader costs no memory. Every
part has a version; a reader that comes back says the last one it saw and gets what is newer: all of it after a
restart, as versions are made from the clock.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import orjson
import structlog
from starlette.responses import Response

from homelab.console.screen import Live
from homelab.control.api import live
from homelab.control.api.answers import HttpError
from homelab.control.api.events import KEEP_ALIVE_S, last_id
from homelab.control.api.routing import Asked, Route, Site

log = structlog.get_logger()

PAUSE_S = 0.6
"""Between two looks at the lab: a change is on its way to the reader within this."""
IDLE_S = 10.0
"""Without news too: being late is told by the clock, not by an event."""


_TICKS = re.compile(
    r"""(<time\b[^>]*>)[^<]*|(<span\ data-since="[^"]*">)[^<]*|(<svg\ class="progress")[^>]*\ data-from=.*?</svg>""",
    re.VERBOSE | re.DOTALL,
)


def steady(html: str) -> str:
    """A part without what an open page keeps fresh by its own clock: "3 min ago", how far a bar is."""
    return _TICKS.sub(r"\1\2\3", html)


def version() -> int:
    """A number that grows, also over restarts: milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(eq=False)
class Reader:
    """One open page. `box`: parts it has not got yet, the newest of each."""

    box: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, parts: Mapping[str, tuple[int, str]]) -> None:
        if parts:
            self.box |= parts
            self.ready.set()

    def take(self) -> dict[str, tuple[int, str]]:
        taken, self.box = self.box, {}
        self.ready.clear()
        return taken


@dataclass(eq=False)
class Topic:
    """`parts`: id to (version, HTML), as last made."""

    parts: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    readers: set[Reader] = field(default_factory=set[Reader])
    task: asyncio.Task[None] | None = None
    _steady: dict[str, str] = field(default_factory=dict[str, str])

    def update(self, made: Mapping[str, str], at: int) -> None:
        """Take the parts as they are now; tell the readers what differs in more than the time that has passed."""
        now = {name: steady(html) for name, html in made.items()}
        fresh = {name: (at, html) for name, html in made.items() if self._steady.get(name) != now[name]}
        self.parts |= fresh
        self._steady |= now
        for reader in self.readers:
            reader.put(fresh)


def _key(site: Site, name: str) -> str:
    """Readers of one role share a topic: what a page offers depends on the role."""
    return f"{site.role} {name}"


class Hub:
    """All topics of one server. `makers`: how the parts of a topic are made, by the first word of its name."""

    def __init__(self, makers: Mapping[str, Live]) -> None:
        self._makers = makers
        self.topics: dict[str, Topic] = {}

    async def answer(self, asked: Asked) -> Response:
        """The stream of one page: server-sent events `part`, each `{id, html}`."""
        name = asked.request.query_params.get("topic", "")
        if name.partition(":")[0] not in self._makers:
            raise HttpError(404, "not_found", "there is no such page to follow")
        after = last_id(asked) or 0
        return live.stream(asked, "text/event-stream", self._frames(asked.view, name, after))

    async def _frames(self, site: Site, name: str, after: int) -> AsyncIterator[bytes]:
        yield b"retry: 1500\n: welcome\n\n"
        reader = Reader()
        topic = self._join(site, name, reader)
        reader.put({part: made for part, made in topic.parts.items() if made[0] > after})
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await reader.ready.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                taken = reader.take()
                newest = max(at for at, _ in taken.values())
                for part, (_, html) in taken.items():
                    data = orjson.dumps({"id": part, "html": html})
                    yield b"event: part\ndata: " + data + b"\n\n"
                yield b"id: %d\nevent: seen\ndata: %d\n\n" % (newest, newest)
        finally:
            self._leave(_key(site, name), topic, reader)

    def _join(self, site: Site, name: str, reader: Reader) -> Topic:
        topic = self.topics.setdefault(_key(site, name), Topic())
        topic.readers.add(reader)
        if topic.task is None or topic.task.done():
            topic.task = asyncio.create_task(self._follow(site, name, topic), name=f"live {name[:40]}")
        return topic

    def _leave(self, key: str, topic: Topic, reader: Reader) -> None:
        topic.readers.discard(reader)
        if not topic.readers:
            self.topics.pop(key, None)
            if topic.task is not None:
                topic.task.cancel()

    async def _follow(self, site: Site, name: str, topic: Topic) -> None:
        kind, _, rest = name.partition(":")
        while True:
            news = site.control.looking.news()
            try:
                topic.update(await self._makers[kind](site, rest), version())
            except Exception as error:  # the database may be away for a moment; readers keep what they see
                log.warning("live.waits", topic=kind, error=str(error).strip()[:200])
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await news.wait()

    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="GET",
                path="/live",
                scope="read",
                handler=self.answer,
                summary="Server-sent events: the parts of a page that changed.",
                parameters={"topic": "which page", "after": "the last version seen"},
                page=True,
            ),
        )
