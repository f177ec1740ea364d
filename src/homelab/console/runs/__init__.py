"""*Runs*: what happened, newest first; every filter is in the address; a calendar; any two side by side."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from homelab.console import words
from homelab.console.charts import calendar
from homelab.console.live import version
from homelab.console.rendering import fragment, respond
from homelab.console.screen import Parts, Screen, look
from homelab.control.api.answers import HttpError
from homelab.control.api.routes_runs import since_of
from homelab.control.api.routing import Asked, Site
from homelab.core.jobs import RunState

HERE = "Runs"
SHOWN = 60
NAMES = ("job", "state", "since", "day", "until")


def day_bounds(day: str, zone: str) -> tuple[datetime, datetime]:
    """The first moment of a day in a zone, and of the day after. InputError-like 400 for what is no day."""
    try:
        first = datetime.combine(date.fromisoformat(day), datetime.min.time(), ZoneInfo(zone))
    except ValueError as error:
        raise HttpError(400, "input", f"'{words.short(day, 40)}' is no day", "A day is like 2026-05-01.") from error
    return first, first + timedelta(days=1)


def query_of(filters: dict[str, str], **changed: str) -> str:
    """The address of the list with other filters; empty ones are left out."""
    kept = {name: value for name, value in {**filters, **changed}.items() if value}
    return "/runs" + (f"?{urlencode(kept)}" if kept else "")


def day_link(filters: dict[str, str]) -> str:
    """The address of one day's runs, but for the day at its end."""
    address = query_of({"job": filters["job"], "state": filters["state"]})
    return f"{address}{'&' if '?' in address else '?'}day="


def filters_of(query: Any) -> dict[str, str]:
    return {name: str(query.get(name) or "")[:200] for name in NAMES}


async def listed(site: Site, filters: dict[str, str]) -> dict[str, Any]:
    now = datetime.now(UTC)
    if filters["state"] and filters["state"] not in set(RunState):
        raise HttpError(400, "input", f"there is no state “{words.short(filters['state'], 40)}”", "")
    since = since_of(filters["since"], now=now) if filters["since"] else None
    until = None
    if filters["day"]:
        since, until = day_bounds(filters["day"], site.control.looking.timezone)
    if filters["until"]:
        until = since_of(filters["until"], now=now)
    found: Any = await site.control.runs(
        job=filters["job"] or None, state=filters["state"] or None, since=since, until=until, limit=SHOWN + 1
    )
    rows: list[dict[str, Any]] = list(found)
    more = query_of(filters, until=rows[SHOWN - 1]["at"]) if len(rows) > SHOWN else ""
    return {"runs": rows[:SHOWN], "more": more, "now": now, "pick": True, "filtered": any(filters.values())}


async def list_parts(site: Site, text: str) -> Parts:
    job, _, state = text.partition("\n")
    filters = {**dict.fromkeys(NAMES, ""), "job": job, "state": state}
    return {"run-rows": str(fragment("runs/rows.html", **await listed(site, filters)))}


async def show_list(asked: Asked) -> Response:
    at, filters = version(), filters_of(asked.request.query_params)
    looking = asked.site.control.looking
    if filters["job"] and filters["job"] not in looking.jobs():
        await asked.site.control.job(filters["job"])  # says that there is none, and the nearest
    found = await listed(asked.site, filters)
    is_live = not (filters["until"] or filters["day"] or filters["since"])
    today = datetime.now(ZoneInfo(looking.timezone)).date()
    days = await looking.days(filters["job"] or None)
    return respond(
        asked,
        "runs/list.html",
        title="Runs",
        here=HERE,
        live=f"runs:{filters['job']}\n{filters['state']}" if is_live else "",
        version=at,
        filters=filters,
        states=[str(s) for s in RunState],
        names=looking.jobs(),
        calendar=calendar(days, today=today, link=day_link(filters)),
        newest=query_of(filters, until="") if filters["until"] else "",
        **found,
    )  # fmt: skip


async def compare(asked: Asked) -> Response:
    """Two runs of one job: the rows picked in the list, each `RUN JOB`."""
    picked = [tuple(value.split(" ", 1)) for value in asked.request.query_params.getlist("pick") if " " in value]
    if len(picked) != 2 or picked[0][1] != picked[1][1]:
        raise HttpError(
            400, "input", "Pick two runs of the same job to compare.", "Go back and tick two rows of one job."
        )
    (later, job), (earlier, _) = picked
    job = unquote(job)
    found = await asked.site.control.looking.difference(later, job, earlier)
    return respond(
        asked, "runs/compare.html", title="Two runs", here=HERE, found=found, now=datetime.now(UTC)
    )  # fmt: skip


SCREEN = Screen(
    name=HERE,
    path="/runs",
    icon="runs",
    routes=(
        look("/runs", show_list, "What happened."),
        look("/compare", compare, "Two runs side by side."),
    ),
    live={"runs": list_parts},
)
