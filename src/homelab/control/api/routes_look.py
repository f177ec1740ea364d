"""What the console shows, as JSON: the lab now, services, days, the lab file; a log by the piece."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from homelab.control.api import ansi, logs, logwindow, shapes, shapes_lab
from homelab.control.api.answers import HttpError, answer, number
from homelab.control.api.routes_runs import run_id_of, truth
from homelab.control.api.routing import Asked, Query, Route, switch, whole
from homelab.worker import runlog


async def now(asked: Asked) -> Response:
    return answer(await asked.site.control.looking.now())


async def names(asked: Asked) -> Response:
    looking = asked.site.control.looking
    return answer({"lab": looking.lab_name, "timezone": looking.timezone, "jobs": looking.jobs()})


async def states(asked: Asked) -> Response:
    return answer({"states": await asked.site.control.looking.states()})


async def services(asked: Asked) -> Response:
    return answer({"services": await asked.site.control.looking.services()})


async def days(asked: Asked) -> Response:
    return answer({"days": await asked.site.control.looking.days(asked.request.query_params.get("job") or None)})


async def lab_file(asked: Asked) -> Response:
    return answer(await asked.site.control.looking.lab_file())


async def attempt_log(asked: Asked) -> runlog.LogFile:
    """The log of the attempt that the query names: `job`, and `attempt` (the newest, when it is 0 or left out)."""
    run_id = run_id_of(await asked.site.control.run(asked.path("id")))
    query = asked.request.query_params
    found = await run_in_threadpool(logs.files, asked.site.home.run_folder(run_id), query.get("job") or None)
    attempt = number(asked.request, "attempt", default=0, most=1_000_000)
    found = [file for file in found if attempt in (0, file.attempt)]
    if not found:
        raise HttpError(404, "not_found", "there is no such log on this machine", "See the run: GET /api/v1/runs/ID")
    return max(found, key=lambda file: file.attempt)


def shown_line(placed: logwindow.Placed) -> dict[str, Any]:
    """A line for a page: `at` and `next` are its bytes in the file, `pieces` its text with the styles it was given."""
    record = placed.record
    raw = record.line.removesuffix(b"\r")
    text = raw[: 4 * logwindow.LONGEST].decode("utf-8", "replace")[: logwindow.LONGEST]
    body: dict[str, Any] = {
        "at": placed.at,
        "next": placed.next,
        "time": record.time,
        "stream": record.stream,
        "pieces": ansi.pieces(text),
    }
    if record.partial:
        body["partial"] = True
    if len(text) < len(raw.decode("utf-8", "replace")):
        body["cut"] = True
    return body


async def lines(asked: Asked) -> Response:
    log = await attempt_log(asked)
    back = truth(asked.request.query_params.get("back"))
    start = number(asked.request, "from", default=(1 << 62) if back else 0, most=1 << 62)
    count = number(asked.request, "lines", default=200, most=logwindow.MOST_LINES)
    found = await run_in_threadpool(logwindow.window, log.path, start, lines=count, back=back)
    shown = [shown_line(line) for line in found.lines]
    body = {"attempt": log.attempt, "lines": shown, "start": found.start, "end": found.end, "size": found.size}
    return answer(body)


async def find(asked: Asked) -> Response:
    query = asked.request.query_params
    text = query.get("text", "")
    if not text or len(text) > 200:
        raise HttpError(400, "input", "'text' must be what to look for, of at most 200 characters")
    log = await attempt_log(asked)
    back = truth(query.get("back"))
    start = number(asked.request, "from", default=(1 << 62) if back else 0, most=1 << 62)
    found = await run_in_threadpool(logwindow.find, log.path, text, start, back=back)
    return answer({"at": found.at, "scanned": found.scanned, "is_over": found.is_over})


_OF_LOG: dict[str, str | Query] = {
    "job": "of this job",
    "attempt": whole("which attempt (the newest)"),
    "from": whole("a byte of the log, as `at`, `next`, `start` and `end` give them"),
    "back": switch("1: before that byte, not after it"),
}

ROUTES = (
    Route(
        method="GET",
        path="/api/v1/now",
        scope="read",
        handler=now,
        summary="What needs a person, what runs, what comes next.",
        gives=shapes_lab.Now,
    ),
    Route(
        method="GET",
        path="/api/v1/names",
        scope="read",
        handler=names,
        summary="The names of the lab and of its jobs, and its zone.",
        gives=shapes.Names,
    ),
    Route(
        method="GET",
        path="/api/v1/states",
        scope="read",
        handler=states,
        summary="The state of each job.",
        gives=shapes.States,
    ),
    Route(
        method="GET",
        path="/api/v1/services",
        scope="read",
        handler=services,
        summary="The services of the lab with their state and restarts.",
        gives=shapes_lab.Services,
    ),
    Route(
        method="GET",
        path="/api/v1/days",
        scope="read",
        handler=days,
        summary="Job runs and failures of each day, in the lab's zone.",
        parameters={"job": "only of this job"},
        gives=shapes_lab.Days,
    ),
    Route(
        method="GET",
        path="/api/v1/lab/file",
        scope="admin",
        handler=lab_file,
        summary="The lab file as applied and as it is on disk, its problems, what applying it would change.",
        gives=shapes_lab.LabFile,
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{id}/lines",
        scope="read",
        handler=lines,
        summary="Some lines of a log, with their colours; any place of it costs the same.",
        parameters={**_OF_LOG, "lines": whole("at most so many (200; no more than 2000)")},
        gives=shapes.Lines,
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{id}/find",
        scope="read",
        handler=find,
        summary="The next line of a log that holds a text; answers within about a second with how far it came.",
        parameters={
            **_OF_LOG,
            "text": Query(
                text="what to look for, case aside",
                schema={"type": "string", "minLength": 1, "maxLength": 200},
                is_required=True,
            ),
        },
        gives=shapes.Found,
    ),
)
