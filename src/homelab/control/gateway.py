"""What a node may ask of Prefect through control: its own runs, and what Prefect's own client asks beside them. Pure.

`demand` reads one request and says on what it depends; `control.api.gateway` finds out whether that holds, and passes
the request on or refuses it. Whatever is not listed here is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

_ID: Final = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_UUID: Final = re.compile(_ID)
_OPEN: Final = re.compile(r"/api/(?:health|ready|version|admin/version|admin/storage|csrf-token|hello)/?")
_RUN: Final = re.compile(rf"/api/flow_runs/{_ID}/?")
_RUN_STATE: Final = re.compile(rf"/api/flow_runs/{_ID}/set_state/?")
_RUN_INPUT: Final = re.compile(rf"/api/flow_runs/{_ID}/(?:graph|graph-v2|labels)/?")
_TASK: Final = re.compile(rf"/api/task_runs/{_ID}/?")
_TASK_STATE: Final = re.compile(rf"/api/task_runs/{_ID}/set_state/?")
_FLOW: Final = re.compile(rf"/api/flows/(?:{_ID}|name/[^/]+)/?")
_DEPLOYMENT: Final = re.compile(rf"/api/deployments/{_ID}/?")
_POOL: Final = re.compile(r"/api/work_pools/([^/]+)/?")
_QUEUE: Final = re.compile(rf"/api/work_queues/{_ID}/?")
_HEARTBEAT: Final = re.compile(r"/api/work_pools/([^/]+)/workers/heartbeat/?")
_STEERING: Final = ("deployment_id", "work_queue_name", "work_pool_name", "job_variables", "infrastructure_document_id")
"""What would make Prefect start something elsewhere."""

_OWN_KINDS: Final = ("prefect.flow-run.", "prefect.task-run.", "prefect.artifact.")
"""What of Prefect's a run may tell of; anything else that it names is not Prefect's."""

Answer = Literal["all", "id", "flow_run_id", "pool", "queue"]


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What must hold for a request to be passed on.

    `runs`: flow runs that must all be the node's. `tasks`: task runs, each with the flow run that it is said to be of
    ("": not said). `claims`: a scheduled run that the node wants to have. `creates`: the answer is a new flow run of
    the node's. `deployment`: must be that of a run the node has read. `worker`: must be the node's name. `gives`: of an
    answer that is a list, only the entries whose field of this name is a run of the node's are given back; `pool`: the
    lab's work pool, without what its runs are started with; `queue`: one of that pool. Prefect's client asks for both
    with each run of a deployment, and tells no event of it when it gets no answer. `is_log`: it tells lines of logs,
    which the node may also of a run that is another's and of which it makes an attempt.
    """

    runs: frozenset[str] = frozenset()
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])
    claims: str = ""
    creates: bool = False
    deployment: str = ""
    worker: str = ""
    gives: Answer = "all"
    is_log: bool = False


def demand(method: str, path: str, body: object, *, pool: str) -> Demand | None:
    """None: no node may ask this. `path` begins with /api; `body` is the decoded JSON, None when there is none."""
    if _OPEN.fullmatch(path):
        return Demand() if method == "GET" else None
    if path.rstrip("/") in ("/api/events", "/api/logs"):
        return _told(path, cast("list[object]", body)) if method == "POST" and isinstance(body, list) else None
    fields = _table(body)
    return _of_run(method, path, fields) or _of_task(method, path, fields) or _of_lab(method, path, fields, pool)


def _of_run(method: str, path: str, body: Mapping[str, Any]) -> Demand | None:
    if found := _RUN.fullmatch(path):
        if method == "GET" or (method == "PATCH" and not _steers(body)):
            return Demand(runs=frozenset({found[1]}))
        return None
    if (found := _RUN_STATE.fullmatch(path)) and method == "POST":
        return Demand(claims=found[1]) if _is_claim(body) else Demand(runs=frozenset({found[1]}))
    if (found := _RUN_INPUT.fullmatch(path)) and method in ("GET", "PATCH"):
        return Demand(runs=frozenset({found[1]}))
    if path.rstrip("/") == "/api/flow_runs/filter" and method == "POST":
        return Demand(gives="id")
    if path.rstrip("/") == "/api/flow_runs" and method == "POST" and not _steers(body):
        parent = body.get("parent_task_run_id")
        if parent is None or _is_id(parent):
            return Demand(creates=True, tasks={} if parent is None else {str(parent): ""})
    return None


def _is_claim(body: Mapping[str, Any]) -> bool:
    """A proposal that Prefect's rules decide about: to begin with a scheduled run, or that it was missed."""
    state = _table(body.get("state"))
    is_missed = state.get("type") == "CANCELLED" and state.get("name") == "Missed"
    return not body.get("force") and (state.get("type") == "PENDING" or is_missed)


def _steers(body: Mapping[str, Any]) -> bool:
    return any(body.get(name) for name in _STEERING)


def _of_task(method: str, path: str, body: Mapping[str, Any]) -> Demand | None:
    if (found := _TASK.fullmatch(path)) and method in ("GET", "PATCH"):
        return Demand(tasks={found[1]: ""})
    if (found := _TASK_STATE.fullmatch(path)) and method == "POST":
        return Demand(tasks={found[1]: ""})
    if path.rstrip("/") == "/api/task_runs/filter" and method == "POST":
        return Demand(gives="flow_run_id")
    if path.rstrip("/") == "/api/task_runs" and method == "POST" and _is_id(run := body.get("flow_run_id")):
        task = body.get("id")
        return Demand(runs=frozenset({str(run)}), tasks={str(task): str(run)} if _is_id(task) else {})
    return None


def _of_lab(method: str, path: str, body: Mapping[str, Any], pool: str) -> Demand | None:
    if (method == "POST" and path.rstrip("/") == "/api/flows") or (method == "GET" and _FLOW.fullmatch(path)):
        return Demand()
    if method == "POST" and path.rstrip("/") == "/api/artifacts":
        return _subjects(body)
    if method == "GET" and (found := _DEPLOYMENT.fullmatch(path)):
        return Demand(deployment=found[1])
    if method == "GET" and (found := _POOL.fullmatch(path)) and found[1] == pool:
        return Demand(gives="pool")
    if method == "GET" and _QUEUE.fullmatch(path):
        return Demand(gives="queue")
    if method == "POST" and (found := _HEARTBEAT.fullmatch(path)) and found[1] == pool:
        return Demand(worker=str(body.get("name", "")) or "?")
    if method == "POST" and path.rstrip("/") == "/api/work_pools":
        return Demand() if body == {"name": pool, "type": "homelab", "base_job_template": {}} else None
    return None


def _told(path: str, body: list[object]) -> Demand | None:
    """Events or logs, many in one call: each must name a run, and all of them count together."""
    is_log = path.rstrip("/") == "/api/logs"
    read = _subjects if is_log else event_subjects
    runs: set[str] = set()
    tasks: dict[str, str] = {}
    for item in body:
        found = read(cast("Mapping[str, Any]", item)) if isinstance(item, Mapping) else None
        if found is None or any(tasks.get(task, run) != run for task, run in found.tasks.items()):
            return None
        runs |= found.runs
        tasks.update(found.tasks)
    return Demand(runs=frozenset(runs), tasks=tasks, is_log=is_log)


def _subjects(line: Mapping[str, Any]) -> Demand | None:
    """The run, and the task run if one is named, of a line of a log or an artifact."""
    run, task = line.get("flow_run_id"), line.get("task_run_id")
    if not _is_id(run) or not (task is None or _is_id(task)):
        return None
    return Demand(runs=frozenset({str(run)}), tasks={} if task is None else {str(task): str(run)})


def event_subjects(event: Mapping[str, Any]) -> Demand | None:
    """The runs and task runs that an event is about; None when it names no run, or is of another thing of Prefect's."""
    main = str(_table(event.get("resource")).get("prefect.resource.id", ""))
    if not main or (main.startswith("prefect.") and not main.startswith(_OWN_KINDS)):
        return None
    resources = [event.get("resource"), *_listed(event.get("related"))]
    runs: list[str] = []
    tasks: list[str] = []
    for resource in resources:
        name = str(_table(resource).get("prefect.resource.id", ""))
        for prefix, into in (("prefect.flow-run.", runs), ("prefect.task-run.", tasks)):
            if name.startswith(prefix):
                if not _is_id(name.removeprefix(prefix)):
                    return None
                into.append(name.removeprefix(prefix))
    inner = _table(_table(event.get("payload")).get("task_run"))
    for given, into in ((inner.get("flow_run_id"), runs), (inner.get("id"), tasks)):
        if given is not None:
            if not _is_id(given):
                return None
            into.append(str(given))
    return Demand(runs=frozenset(runs), tasks=dict.fromkeys(tasks, runs[0])) if runs else None


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _table(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None
