"""What the API asks of control. `control.service.Control` is one; a test may bring a small one of its own."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, Protocol

from homelab.control.artefacts import Artefacts
from homelab.control.digest import Digest
from homelab.control.dispatch import Dispatch
from homelab.control.fleet import Fleet
from homelab.control.looking import Looking
from homelab.control.noderuns import NodeRuns
from homelab.control.queueing import Queue
from homelab.control.sending import Sending
from homelab.control.waking import Waking
from homelab.control.workers import Workers

Json = dict[str, Any]


class Control(Protocol):
    """The lab, as far as HTTP needs it. Answers are the JSON of the contract; errors are those of `core.errors`."""

    looking: Looking
    digest: Digest
    fleet: Fleet

    @property
    def node_runs(self) -> NodeRuns: ...
    def note(self, code: str, text: str) -> None: ...

    dispatch: Dispatch
    waiting: Queue
    sending: Sending
    workers: Workers
    waking: Waking
    artefacts: Artefacts

    async def lab(self) -> Any: ...
    async def plan(self, files: Mapping[str, str], main: str, folder: str = "") -> Any: ...
    async def apply(
        self,
        files: Mapping[str, str],
        main: str,
        folder: str = "",
        *,
        by: str,
        since: datetime | None = None,
        deadline: datetime | None = None,
    ) -> Any: ...
    async def undo_plan(self) -> Json: ...
    async def undo_apply(self, version: int, *, by: str) -> Json: ...
    async def run_job(self, name: str, *, params: Mapping[str, str], only: bool, by: str) -> Json: ...
    async def retry(self, run: str, *, failed: bool, by: str, job: str | None = None) -> Any: ...
    async def cancel(self, run: str, by: str) -> Any: ...
    async def restore(self, run: str, by: str) -> Any: ...
    async def pause(self, job: str, by: str) -> Any: ...
    async def resume(self, job: str, by: str) -> Any: ...
    async def why(self, job: str) -> Json: ...
    async def jobs(self) -> Any: ...
    async def job(self, name: str) -> Json: ...
    async def graph(self) -> Json: ...
    async def runs(
        self,
        *,
        job: str | None = None,
        state: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
    ) -> Any: ...
    async def run(self, id: str) -> Json: ...  # noqa: A002 - the name is the contract's
    def events(self, after: int | None) -> AsyncGenerator[Json]: ...
    async def problems(self) -> Any: ...
    async def notifications(self, *, limit: int = 100) -> Any: ...
    async def test_notification(self, *, by: str) -> Any: ...
