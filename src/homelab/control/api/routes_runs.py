"""Runs: list, show, retry, cancel; the log of one run, finished or live."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from homelab.control import logcopies
from homelab.control.api import live, logs, shapes
from homelab.control.api.answers import HttpError, answer, flag, number, read_json, text_field
from homelab.control.api.routes_jobs import wrapped
from homelab.control.api.routing import Asked, Query, Route, one_of, switch, whole
from homelab.core.jobs import RunState


def since_of(text: str, *, now: datetime) -> datetime:
    """A moment: ISO 8601 with zone (UTC without one), or an age such as `90s`, `15m`, `2h`, `7d`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    if text[:-1].isascii() and text[:-1].isdecimal() and len(text) < 10 and text[-1] in units:
        return now - timedelta(seconds=min(int(text[:-1]) * units[text[-1]], 3_000_000_000))
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as error:
        raise HttpError(
            400, "input", f"'{text[:40]}' is not a time", "Give ISO 8601 or an age such as 15m, 2h, 7d."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def runs(asked: Asked) -> Response:
    query = asked.request.query_params
    state = query.get("state") or None
    if state is not None and state not in set(RunState):
        raise HttpError(400, "input", f"no state '{state[:40]}'", "States: " + ", ".join(RunState))
    now = datetime.now(UTC)
    found = await asked.site.control.runs(
        job=query.get("job") or None,
        state=state,
        since=since_of(query["since"], now=now) if query.get("since") else None,
        until=since_of(query["until"], now=now) if query.get("until") else None,
        limit=number(asked.request, "limit", default=50, most=1000),
    )
    return answer(wrapped("runs", found))


async def run(asked: Asked) -> Response:
    return answer(await asked.site.control.looking.run(asked.path("id")))


async def difference(asked: Asked) -> Response:
    query = asked.request.query_params
    if not query.get("job"):
        raise HttpError(400, "input", "'job' must name the job to compare")
    looking = asked.site.control.looking
    return answer(await looking.difference(asked.path("id"), query["job"], query.get("to") or None))


async def retry(asked: Asked) -> Response:
    body = await read_json(asked.request)
    job = text_field(body, "job", default="", limit=200) or None
    made = await asked.site.control.retry(asked.path("id"), failed=flag(body, "failed"), by=asked.by, job=job)
    return answer(wrapped("run", made if made is not None else {"id": asked.path("id")}))


async def cancel(asked: Asked) -> Response:
    await read_json(asked.request)
    made = await asked.site.control.cancel(asked.path("id"), asked.by)
    return answer(wrapped("run", made if made is not None else {"id": asked.path("id")}))


async def restore(asked: Asked) -> Response:
    await read_json(asked.request)
    return answer(await asked.site.control.restore(asked.path("id"), asked.by))


async def preview(asked: Asked) -> Response:
    action = asked.request.query_params.get("action", "")
    return answer(await asked.site.control.looking.preview_run(asked.path("id"), action))


async def log(asked: Asked) -> Response:
    """Text, JSON lines or the bytes as written; with `follow` until the run has ended."""
    query = asked.request.query_params
    found = await asked.site.control.run(asked.path("id"))  # 404 for a run that is not there; also the safe id
    run_id = run_id_of(found)
    folder = asked.site.home.run_folder(run_id)
    task = query.get("task") or None
    tail = number(asked.request, "tail", default=0, most=100_000) if query.get("tail") else None
    if truth(query.get("raw")):
        name = f"{run_id}{'.' + task if task and logs.is_job_name(task) else ''}.log"
        return StreamingResponse(
            live.in_thread(logs.raw(folder, task)),
            media_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    form = query.get("format") or ("ndjson" if "ndjson" in asked.request.headers.get("accept", "") else "text")
    if form not in ("text", "ndjson"):
        raise HttpError(400, "input", "'format' is text or ndjson")
    write = logs.ndjson if form == "ndjson" else logs.PlainText(prefix=task is None and len(logs.jobs(folder)) > 1)
    media = "application/x-ndjson" if form == "ndjson" else "text/plain; charset=utf-8"
    if truth(query.get("follow")):

        async def has_ended() -> bool:
            with contextlib.suppress(Exception):  # a database that is away for a moment must not cut a log short
                found = await asked.site.control.run(run_id)
                on_its_way = await run_in_threadpool(logcopies.may_arrive, folder, jobs_of(found), datetime.now(UTC))
                return state_is_final(found) and not on_its_way
            return False

        return live.stream(asked, media, _chunks(logs.follow(folder, task, tail=tail, has_ended=has_ended), write))
    return StreamingResponse(
        live.in_thread(logs.written(logs.merged(folder, task, tail=tail), write)), media_type=media
    )


async def _chunks(records: AsyncIterator[list[logs.Line]], write: logs.Write) -> AsyncIterator[bytes]:
    async for batch in records:
        yield b"".join(write(line) for line in batch)


def truth(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on")


def run_id_of(found: object) -> str:
    """The full id in what `Control.run` gave."""
    body = wrapped("run", found)["run"]
    run_id = str(body.get("id") or body.get("run") or "")
    if not logs.is_run_id(run_id):
        raise HttpError(404, "not_found", "that run has no log")
    return run_id


def jobs_of(found: object) -> list[dict[str, Any]]:
    return wrapped("run", found)["run"].get("jobs") or []


def state_is_final(found: object) -> bool:
    state = wrapped("run", found)["run"].get("state")
    return state in set(RunState) and RunState(state).is_final


MOMENT = {"type": "string", "pattern": "^([0-9]{1,8}[smhdw]|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8]))$"}
"""An age or a day; ISO 8601 with a time of day is taken too."""

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/runs",
        scope="read",
        handler=runs,
        summary="Runs of jobs, newest first.",
        parameters={
            "job": "only of this job",
            "state": one_of("only in this state", list(RunState)),
            "since": Query(text="ISO 8601 or an age such as 2h", schema=MOMENT),
            "until": Query(text="before this; the `at` of the last row gives what comes after it", schema=MOMENT),
            "limit": whole("at most so many (50; no more than 1000)"),
        },
        gives=shapes.Runs,
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{id}",
        scope="read",
        handler=run,
        summary="One run with its jobs.",
        gives=shapes.OneRun,
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{id}/difference",
        scope="read",
        handler=difference,
        summary="How a job of this run differs from its last good run, or from another run.",
        parameters={
            "job": Query(text="which job of the run", schema={"type": "string", "minLength": 1}, is_required=True),
            "to": "the run to compare with",
        },
        gives=shapes.Differences,
    ),
    Route(
        method="POST",
        path="/api/v1/runs/{id}/retry",
        scope="operate",
        handler=retry,
        summary="Run it again: the same run, jobs that succeeded stay.",
        takes=shapes.Retry,
        gives=shapes.ChangedRun,
        refuses=(409,),
    ),
    Route(
        method="POST",
        path="/api/v1/runs/{id}/cancel",
        scope="operate",
        handler=cancel,
        summary="Cancel a run.",
        takes=shapes.Empty,
        gives=shapes.ChangedRun,
        refuses=(409,),
    ),
    Route(
        method="POST",
        path="/api/v1/runs/{id}/restore",
        scope="operate",
        handler=restore,
        summary="Take the cancelling of a run back whose instant is still to come.",
        takes=shapes.Empty,
        gives=shapes.ChangedRun,
        refuses=(409,),
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{id}/preview",
        scope="read",
        handler=preview,
        summary="What an act would do, and what takes it back.",
        parameters={"action": one_of("which act", ("retry", "cancel", "restore"), is_required=True)},
        gives=shapes.Preview,
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{id}/logs",
        scope="read",
        handler=log,
        summary="The output of a run, each line with its time and stream.",
        parameters={
            "task": "only of this job",
            "tail": whole("only the last N lines"),
            "follow": switch("1: stay and send lines as they are written, until the run has ended"),
            "format": one_of("text (default) or ndjson: {time, stream, line, job, attempt}", ("text", "ndjson")),
            "raw": switch("1: the bytes as the job wrote them"),
        },
        media=("text/plain", "application/x-ndjson", "application/octet-stream"),
    ),
)
