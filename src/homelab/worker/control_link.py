"""The worker's line to `control`: heartbeats, wake-ups, flow definitions, and reports that are delivered at least
once.

Reports are written to the run's journal before they come here, so that none is lost when this process or `control`
dies; `control` drops those it has seen. Called by `worker.loop`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import orjson
import structlog

from homelab.core.errors import HomelabError
from homelab.core.jobs import Flow
from homelab.home.paths import Home
from homelab.worker import reach
from homelab.worker.reach import Reach
from homelab.worker.starts import Starts

log = structlog.get_logger()

CONNECT_S = 4.0
_BATCH = 200
_RETRY_MAX_S = 10.0


class ControlUnavailable(Exception):  # noqa: N818 - a state of the world, not a fault
    """No answer, or an answer that says to come back later."""


class ControlRefused(HomelabError):  # noqa: N818
    """`control` understood and said no; `status` is the HTTP status."""

    exit_status = 5

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ControlLink:
    """HTTP calls to `control` with the node's token. Its address is read anew after a failure: it may have moved."""

    def __init__(
        self, home: Home, *, reached: Reach | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._home = home
        self._reach = reached or reach.of_home(home)
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {self._reach.token}", "content-type": "application/json"},
            timeout=httpx.Timeout(15.0, connect=CONNECT_S),
            verify=True if self._reach.trust is None else self._reach.trust,
            transport=transport,
        )
        self._url: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether control is on another machine, which this one joined."""
        return self._reach.member is not None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | AsyncIterable[bytes] | None = None,
        timeout_s: float = 15.0,
    ) -> Any:
        """The decoded JSON answer to `body` (as JSON), or to bytes as they are. ControlUnavailable: try again later;
        ControlRefused: it will not be different."""
        address = self._address(path)
        try:
            answer = await self._client.request(
                method,
                address,
                content=content if content is not None else None if body is None else orjson.dumps(body),
                headers=None if content is None else {"content-type": "application/octet-stream"},
                timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            )
        except httpx.HTTPError as error:
            raise self._lost(error) from error
        _raise_for(answer)
        return orjson.loads(answer.content) if answer.content else None

    @asynccontextmanager
    async def download(self, path: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The answer's bytes as they come. Raises as `call` does, also in the middle of them."""
        address = self._address(path)
        try:
            async with self._client.stream("GET", address) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    _raise_for(answer)
                yield answer.aiter_bytes()
        except httpx.HTTPError as error:
            raise self._lost(error) from error

    def _address(self, path: str) -> str:
        self._url = self._url or self._reach.control
        if self._url is None:
            raise ControlUnavailable("control has no address yet")
        return self._url + path

    def _lost(self, error: httpx.HTTPError) -> ControlUnavailable:
        """What to raise; the address is asked for anew next time."""
        self._url = None
        return ControlUnavailable(reach.trouble(error))

    async def definition(self, digest: str) -> Flow:
        """The flow of that digest: from the cache on disk, else from `control` (and then cached; it never changes)."""
        cached = self._home.definitions / f"{digest}.json"
        try:
            return Flow.from_json(cached.read_bytes())
        except (OSError, ValueError, KeyError):
            pass
        body = await self.call("GET", f"/api/v1/definitions/{digest}")
        text = orjson.dumps(body)
        try:
            fresh = cached.with_suffix(".new")
            fresh.write_bytes(text)
            fresh.replace(cached)
        except OSError as error:  # a full disk costs the cache, not the run
            log.warning("definition.cache_failed", digest=digest, error=str(error))
        return Flow.from_json(text)


def _raise_for(answer: httpx.Response) -> None:
    if answer.status_code >= 500 or answer.status_code == 429:
        raise ControlUnavailable(f"HTTP {answer.status_code}: {_error_of(answer)[0]}")
    if answer.status_code >= 400:
        raise ControlRefused(answer.status_code, *_error_of(answer))


def _error_of(answer: httpx.Response) -> tuple[str, str]:
    try:
        error = cast("Mapping[str, Any]", orjson.loads(answer.content)["error"])
        return str(error.get("message", "")), str(error.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}", ""


class Outbox:
    """An outbox to `control`: order kept, batched, retried until taken. One task (`serve`) owns delivery. What is sent
    to `path` is a list, `field`. It gives way to `starts`."""

    def __init__(
        self,
        link: ControlLink,
        *,
        path: str = "/api/v1/worker/reports",
        field: str = "reports",
        starts: Starts | None = None,
    ) -> None:
        self._link = link
        self._path = path
        self._field = field
        self._starts = starts
        # Bounded by what the journals hold: each entry is already on disk, and a run has a handful of reports.
        self._queue: asyncio.Queue[tuple[dict[str, Any], Callable[[], None]]] = asyncio.Queue()
        self._unsent = 0

    def add(self, report: dict[str, Any], delivered: Callable[[], None]) -> None:
        """Queue one report; `delivered` is called (once) after `control` has taken it."""
        self._unsent += 1
        self._queue.put_nowait((report, delivered))

    @property
    def unsent(self) -> int:
        return self._unsent

    async def serve(self) -> None:
        """Deliver until cancelled."""
        while True:
            batch = [await self._queue.get()]
            if self._starts is not None:
                await self._starts.settled()
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await retried(lambda batch=batch: self._send(batch), what="reports")
            for _, delivered in batch:
                delivered()
            self._unsent -= len(batch)

    async def _send(self, batch: list[tuple[dict[str, Any], Callable[[], None]]]) -> None:
        try:
            await self._link.call("POST", self._path, {self._field: [report for report, _ in batch]})
        except ControlRefused as error:
            if len(batch) == 1:
                # One that control can never take must not hold up the others for ever.
                log.error("report.refused", report=batch[0][0], error=str(error))
                return
            for one in batch:
                await self._send([one])


async def retried(action: Callable[[], Awaitable[Any]], *, what: str) -> Any:
    """Run `action` until it does not raise ControlUnavailable, waiting 0.2 s, then longer, at most 10 s."""
    wait_s = 0.2
    while True:
        try:
            return await action()
        except ControlUnavailable as error:
            if wait_s > 1.0:
                log.warning("control.unavailable", what=what, error=str(error), retry_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _RETRY_MAX_S)
