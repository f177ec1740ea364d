"""Prefect's REST API, as much of it as the lab needs, without importing Prefect (see ADR 0004).

It never retries and never decides: callers know what may wait. Called by `worker`, `control` and tests.
"""

import json
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, cast

import httpx
import orjson

from homelab.core.errors import HomelabError
from homelab.core.jobs import Flow
from homelab.core.times import iso
from homelab.flows.records import StateProposal, clean

API_VERSION = "0.8.4"
POOL = "homelab"
"""The work pool of the lab."""
_DEPLOYMENT = "homelab"
_LOG_MESSAGE_LIMIT = 20_000
DUE_RUNS = 200
"""The most that the server gives at once."""


class PrefectUnavailable(HomelabError):  # noqa: N818 - a state of the world, not a fault
    """No answer, or one that says to come back later (5xx, 429). Nothing is known about what was done."""


class PrefectRefused(HomelabError):  # noqa: N818
    """The server understood and said no; asking again will not change it. `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the server made of a proposed state: taken, or the state that holds instead.

    `retry_after_s` is set when the server asks to wait. An abort (`accepted` false, `state_type` "") may also be a
    fault inside the server: read the run before concluding that somebody else was first.
    """

    accepted: bool
    state_type: str
    state_name: str
    reason: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class DueRun:
    """A scheduled flow run of the pool. `due`: its scheduled time. `parameters` without `definition`: not ours."""

    id: str
    name: str
    due: datetime
    deployment_id: str | None
    flow_id: str
    parameters: Mapping[str, Any]
    tags: tuple[str, ...]
    run_count: int
    state_name: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "due": iso(self.due)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "DueRun":
        """The inverse of `to_json`; what is not known here is passed over."""
        known: dict[str, Any] = {name: body[name] for name in cls.__dataclass_fields__}
        known |= {"due": datetime.fromisoformat(body["due"]), "tags": tuple(body["tags"])}
        return cls(**known)


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A flow run as Prefect has it."""

    id: str
    name: str
    state_type: str
    state_name: str
    message: str
    parameters: Mapping[str, Any]
    deployment_id: str | None


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line for Prefect's log. `level` as in `logging`."""

    time: datetime
    level: int
    message: str
    run_id: str
    task_run_id: str | None = None


class PrefectApi:
    """One server. `url` ends in `/api`; `auth` is `user:password` or None; `trust` whom to believe over TLS, None for
    those that the machine does. Use as an async context manager."""

    def __init__(
        self,
        url: str,
        auth: str | None,
        *,
        trust: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        user, _, password = (auth or "").partition(":")
        self._client = httpx.AsyncClient(
            base_url=self.url,
            auth=httpx.BasicAuth(user, password) if auth else None,
            headers={"x-prefect-api-version": API_VERSION, "content-type": "application/json"},
            timeout=httpx.Timeout(15.0, connect=2.0),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=4.0),
            verify=True if trust is None else trust,
            transport=transport,
        )
        self._deployed: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def healthy(self) -> bool:
        """Whether the server answers and its database does."""
        try:
            await self._call("GET", "/ready")
        except (PrefectUnavailable, PrefectRefused):
            return False
        return True

    # -- what there is to run -------------------------------------------------------------------------------------

    async def ensure_pool(self, name: str, *, type: str = "homelab") -> None:  # noqa: A002 - Prefect's word
        """The work pool exists. One that exists is left as it is."""
        try:
            await self._call("POST", "/work_pools/", {"name": name, "type": type, "base_job_template": {}})
        except PrefectRefused as error:
            if error.status != 409:
                raise

    async def put_deployment(self, flow: Flow, *, pool: str) -> str:
        """The deployment of this flow, made or updated; its id. Prefect's flow has the name of ours."""
        found = await self._call("POST", "/flows/", {"name": flow.name})
        jobs = ", ".join(job.name for job in flow.jobs)
        body: dict[str, Any] = {
            "name": _DEPLOYMENT,
            "flow_id": found["id"],
            "work_pool_name": pool,
            "enforce_parameter_schema": False,
            "parameter_openapi_schema": {"type": "object", "properties": {}},
            "tags": sorted({"homelab", *(tag for job in flow.jobs for tag in job.tags)}),
            "description": clean(f"Jobs: {jobs}. Schedule: {flow.schedule or 'by hand'} ({flow.timezone})."),
            "parameters": {"definition": flow.digest},
        }
        return str((await self._call("POST", "/deployments/", body))["id"])

    async def delete_deployment(self, deployment_id: str) -> None:
        """Gone afterwards, whether or not it was there."""
        try:
            await self._call("DELETE", f"/deployments/{deployment_id}")
        except PrefectRefused as error:
            if error.status != 404:
                raise

    async def create_run(
        self,
        deployment_id: str,
        *,
        name: str,
        due: datetime | None,
        idempotency_key: str | None,
        parameters: Mapping[str, Any],
        tags: Sequence[str] = (),
    ) -> str:
        """A scheduled run, for `due` or for now; its id. The same key again gives the same run."""
        details = {} if due is None else {"scheduled_time": iso(due)}
        body = {
            "name": clean(name, limit=200),
            "parameters": _sealed(parameters),
            "enforce_parameter_schema": False,
            "tags": ["homelab", *tags],
            "state": {"type": "SCHEDULED", "state_details": details},
            "idempotency_key": idempotency_key,
        }
        return str((await self._call("POST", f"/deployments/{deployment_id}/create_flow_run", body))["id"])

    async def delete_runs(self, run_ids: Iterable[str]) -> None:
        """Gone afterwards; those that are not there are passed over."""
        for run_id in run_ids:
            try:
                await self._call("DELETE", f"/flow_runs/{run_id}")
            except PrefectRefused as error:
                if error.status != 404:
                    raise

    # -- runs -----------------------------------------------------------------------------------------------------

    async def due_runs(self, pool: str, *, before: datetime, after: datetime | None = None) -> list[DueRun]:
        """Scheduled runs of the pool due before then (and not before `after`), the earliest first; at most
        `DUE_RUNS`."""
        body: dict[str, Any] = {"scheduled_before": iso(before), "limit": DUE_RUNS}
        if after is not None:
            body["scheduled_after"] = iso(after)
        found = await self._call("POST", f"/work_pools/{pool}/get_scheduled_flow_runs", body)
        return [_due_run(item["flow_run"]) for item in found]

    async def propose(self, run_id: str, state: StateProposal) -> Verdict:
        """Ask for a state; the server's rules decide."""
        return await self._set_state(run_id, state, force=False)

    async def set_state(self, run_id: str, state: StateProposal, *, force: bool = True) -> Verdict:
        """Set a state past the server's rules: what has happened has happened."""
        return await self._set_state(run_id, state, force=force)

    async def _set_state(self, run_id: str, state: StateProposal, *, force: bool) -> Verdict:
        answer = await self._call("POST", f"/flow_runs/{run_id}/set_state", {"state": state.body(), "force": force})
        now: dict[str, Any] = answer.get("state") or {}
        details: dict[str, Any] = answer.get("details") or {}
        return Verdict(
            accepted=answer["status"] == "ACCEPT",
            state_type=str(now.get("type") or ""),
            state_name=str(now.get("name") or ""),
            reason=str(details.get("reason") or ""),
            retry_after_s=float(details["delay_seconds"]) if answer["status"] == "WAIT" else None,
        )

    async def read_run(self, run_id: str) -> RunView | None:
        """The run, or None when Prefect does not have it, or it is another node's."""
        try:
            return _view(await self._call("GET", f"/flow_runs/{run_id}"))
        except PrefectRefused as error:
            if error.status in (403, 404, 422):
                return None
            raise

    async def read_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """Those of the runs that exist, in no order; at most 200."""
        body = {"flow_runs": {"id": {"any_": list(run_ids)}}, "limit": 200}
        return [_view(run) for run in await self._call("POST", "/flow_runs/filter", body)]

    async def find_run(self, idempotency_key: str) -> str | None:
        """The id of the run that was created with this key, or None."""
        body = {"flow_runs": {"idempotency_key": {"any_": [idempotency_key]}}, "limit": 1}
        found = await self._call("POST", "/flow_runs/filter", body)
        return str(found[0]["id"]) if found else None

    async def cancelling_runs(self, pool: str) -> list[str]:
        """Ids of the pool's runs that somebody asked Prefect to cancel."""
        body = {
            "flow_runs": {"state": {"type": {"any_": ["CANCELLING"]}}},
            "work_pools": {"name": {"any_": [pool]}},
            "limit": 200,
        }
        return [str(run["id"]) for run in await self._call("POST", "/flow_runs/filter", body)]

    async def task_runs(self, run_id: str) -> list[dict[str, Any]]:
        """The task runs of a run, as Prefect gives them."""
        body = {"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200}
        return cast("list[dict[str, Any]]", await self._call("POST", "/task_runs/filter", body))

    # -- what is told ---------------------------------------------------------------------------------------------

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        await self._call("POST", "/events", list(events))

    async def send_logs(self, lines: Sequence[LogLine]) -> None:
        """Lines in the order given; NUL and lone surrogates are replaced, long messages cut."""
        body = [
            {
                "name": "homelab",
                "level": line.level,
                "message": clean(line.message, limit=_LOG_MESSAGE_LIMIT),
                "timestamp": iso(line.time),
                "flow_run_id": line.run_id,
                "task_run_id": line.task_run_id,
            }
            for line in lines
        ]
        await self._call("POST", "/logs/", body)

    async def logs(self, run_id: str, *, limit: int = 200) -> list[str]:
        """The first messages Prefect has of a run, by time."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": limit}
        return [str(line["message"]) for line in await self._call("POST", "/logs/filter", body)]

    async def worker_heartbeat(self, pool: str, worker: str) -> None:
        body = {"name": worker, "heartbeat_interval_seconds": 30}
        await self._call("POST", f"/work_pools/{pool}/workers/heartbeat", body)

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else orjson.dumps(body)
        try:
            try:
                answer = await self._client.request(method, path, content=content)
            except httpx.RemoteProtocolError:
                # A kept connection that the server closed in the same moment: nothing was read of the request.
                answer = await self._client.request(method, path, content=content)
        except httpx.HTTPError as error:
            raise PrefectUnavailable(f"Prefect does not answer at {self.url}: {type(error).__name__}") from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise PrefectUnavailable(f"Prefect answered {answer.status_code} to {method} {path}")
        if answer.status_code >= 400:
            raise PrefectRefused(
                answer.status_code, f"Prefect refused {method} {path} ({answer.status_code}): {answer.text[:300]}"
            )
        return orjson.loads(answer.content) if answer.content else None


def _sealed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A person's parameters go as text: the server would render a mapping that looks like one of its templates."""
    sealed = dict(parameters)
    if "params" in sealed:
        sealed["params"] = json.dumps(sealed["params"])
    return sealed


def _unsealed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    opened = dict(parameters)
    if isinstance(opened.get("params"), str) and "definition" in opened:
        opened["params"] = json.loads(opened["params"])
    return opened


def _due_run(raw: Mapping[str, Any]) -> DueRun:
    state: dict[str, Any] = raw.get("state") or {}
    due = raw.get("next_scheduled_start_time") or cast("dict[str, Any]", state.get("state_details") or {}).get(
        "scheduled_time"
    )
    return DueRun(
        id=str(raw["id"]),
        name=str(raw["name"]),
        due=datetime.fromisoformat(str(due or raw["created"])),
        deployment_id=raw.get("deployment_id"),
        flow_id=str(raw["flow_id"]),
        parameters=_unsealed(raw.get("parameters") or {}),
        tags=tuple(raw.get("tags") or ()),
        run_count=int(raw.get("run_count") or 0),
        state_name=str(raw.get("state_name") or state.get("name") or ""),
    )


def _view(raw: Mapping[str, Any]) -> RunView:
    state: dict[str, Any] = raw.get("state") or {}
    return RunView(
        id=str(raw["id"]),
        name=str(raw["name"]),
        state_type=str(raw.get("state_type") or ""),
        state_name=str(raw.get("state_name") or ""),
        message=str(state.get("message") or ""),
        parameters=_unsealed(raw.get("parameters") or {}),
        deployment_id=raw.get("deployment_id"),
    )
