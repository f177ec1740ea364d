"""A few small pages, written on the server: what fails, runs and comes next; one run and its last lines.

No scripts. Every value is escaped where it enters; pages refresh themselves by a header.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from importlib.resources import files
from typing import Any, cast
from urllib.parse import quote

from starlette.responses import Response

from homelab.control.api import live, logs
from homelab.control.api.routes_runs import run_id_of
from homelab.control.api.routing import Asked, Route

_SHOWN_LINES = 500
_BAD = frozenset({"error", "failed", "timed_out", "crashed", "missed", "blocked", "late"})
_RUNNING = frozenset({"running", "pending", "retrying"})


def page(title: str, body: str, *, status: int = 200, refresh_s: int = 0) -> Response:
    """A whole page around an already escaped body."""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · homelab</title>"
        '<link rel="stylesheet" href="/static/console.css"></head><body><main>'
        f"{body}</main></body></html>"
    )
    response = Response(html, status_code=status, media_type="text/html; charset=utf-8")
    if refresh_s:
        response.headers["Refresh"] = str(refresh_s)
    return response


def sign_in_form(token: str) -> str:
    return (
        "<h1>homelab</h1><p>This link signs this browser in, once.</p>"
        '<form method="post" action="/sign-in">'
        f'<input type="hidden" name="token" value="{escape(token)}"><button>Sign in</button></form>'
    )


def sign_in_hint() -> str:
    return (
        "<h1>homelab</h1><p>This browser is not signed in.</p>"
        "<p>On a machine of the lab, run <code>homelab open</code> and open the link that it prints.</p>"
    )


def failure(status: int, message: str, hint: str) -> Response:
    """An error as a page; a missing sign-in says how to get one."""
    if status == 401:
        return page("Sign in", sign_in_hint(), status=401)
    more = f"<p>{escape(hint)}</p>" if hint else ""
    return page(
        "Problem",
        f'<h1>homelab</h1><p class="bad">{escape(message)}</p>{more}<p><a href="/">Home</a></p>',
        status=status,
    )


def moment(value: object) -> datetime | None:
    """A time as control gives it (a datetime or ISO text), aware."""
    if isinstance(value, str) and value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def ago(value: object, *, now: datetime) -> str:
    """A time as people say it, within an element that carries it exactly."""
    at = moment(value)
    if at is None:
        return "—"
    seconds = abs((now - at).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            said = f"{int(seconds // size)} {unit}"
            break
    else:
        said = "now"
    if said != "now":
        said = f"in {said}" if at > now else f"{said} ago"
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'<time datetime="{stamp}" title="{stamp}">{said}</time>'


def badge(state: object) -> str:
    name = str(state or "none")
    kind = (
        "bad"
        if name in _BAD
        else "run"
        if name in _RUNNING or name == "warning"
        else "good"
        if name == "succeeded"
        else "calm"
    )
    return f'<span class="state {kind}">{escape(name.replace("_", " "))}</span>'


def _listed(value: object, name: str) -> list[dict[str, Any]]:
    if isinstance(value, Mapping):
        value = cast("Mapping[str, Any]", value).get(name, [])
    return list(cast("Iterable[dict[str, Any]]", value or []))


def _section(title: str, rows: Sequence[str], empty: str) -> str:
    inside = f"<ul>{''.join(rows)}</ul>" if rows else f'<p class="calm">{escape(empty)}</p>'
    return f"<section><h2>{escape(title)}</h2>{inside}</section>"


def _run_link(run: Mapping[str, Any], text: str) -> str:
    run_id = str(run.get("id") or "")
    return f'<a href="/runs/{quote(run_id, safe="")}">{escape(text)}</a>' if run_id else escape(text)


def overview(
    jobs: Sequence[Mapping[str, Any]],
    active: Sequence[Mapping[str, Any]],
    problems: Sequence[Mapping[str, Any]],
    *,
    form_token: str,
    now: datetime,
) -> str:
    """The body of the first page. Order: what is wrong, what runs, what comes next, everything."""
    wrong = [
        f"<li>{badge(p.get('kind') or p.get('severity') or 'problem')}"
        f" <b>{escape(str(p.get('job') or p.get('subject') or ''))}</b>"
        f" {escape(str(p.get('message') or p.get('reason') or ''))}</li>"
        for p in problems[:50]
    ]
    for job in jobs:
        last = cast("dict[str, Any]", job.get("last_run") or {})
        if last.get("state") in _BAD:
            wrong.append(
                f"<li>{badge(last['state'])} {_run_link(last, str(job['name']))} {ago(last.get('ended'), now=now)}"
                f" {escape(str(last.get('reason') or ''))}</li>"
            )
    running = [
        f"<li>{badge(r.get('state'))} {_run_link(r, str(r.get('job') or ''))} {ago(r.get('started'), now=now)}</li>"
        for r in active
    ]
    due = sorted(
        ((at, job) for job in jobs if not job.get("paused") and (at := moment(job.get("next_due")))),
        key=lambda pair: pair[0],
    )
    coming = [f"<li>{ago(at, now=now)} <b>{escape(str(job['name']))}</b></li>" for at, job in due[:10]]
    return (
        f'<header><h1>homelab</h1><nav><a href="/prefect/">Prefect</a>{_sign_out(form_token)}</nav></header>'
        + _section("Needs a look", wrong[:100], "Nothing is failing or late.")
        + _section("Running", running, "Nothing runs at this moment.")
        + _section("Next", coming, "Nothing is due.")
        + _table(jobs, now=now)
    )


def _sign_out(form_token: str) -> str:
    return (
        '<form method="post" action="/sign-out">'
        f'<input type="hidden" name="form_token" value="{escape(form_token)}"><button>Sign out</button></form>'
    )


def _table(jobs: Sequence[Mapping[str, Any]], *, now: datetime) -> str:
    rows: list[str] = []
    for job in jobs:
        last = cast("dict[str, Any]", job.get("last_run") or {})
        state = badge("paused") if job.get("paused") else badge(last.get("state"))
        needs = ", ".join(_need_name(n) for n in cast("list[Any]", job.get("needs") or []))
        rows.append(
            f"<tr><td>{_run_link(last, str(job['name']))}</td><td>{state}</td>"
            f"<td>{ago(last.get('started'), now=now)}</td><td>{ago(job.get('next_due'), now=now)}</td>"
            f"<td><code>{escape(str(job.get('schedule') or ''))}</code></td><td>{escape(needs)}</td></tr>"
        )
    return (
        f"<section><h2>Jobs <small>{len(jobs)}</small></h2><div class='wide'><table>"
        "<thead><tr><th>Job</th><th>Last</th>"
        f"<th>Started</th><th>Next</th><th>Schedule</th><th>Needs</th></tr></thead><tbody>{''.join(rows)}</tbody>"
        "</table></div></section>"
    )


def _need_name(need: object) -> str:
    return str(cast("Mapping[str, Any]", need).get("job", "")) if isinstance(need, Mapping) else str(need)


def run_page(run: Mapping[str, Any], run_id: str, lines: Sequence[logs.Line], *, now: datetime) -> str:
    """The body of one run's page: its jobs and its last lines."""
    members = [
        f"<li>{badge(j.get('state'))} <b>{escape(str(j.get('job') or j.get('name') or ''))}</b>"
        f" {ago(j.get('started'), now=now)}"
        f"{' exit ' + escape(str(j['exit_code'])) if j.get('exit_code') is not None else ''}"
        f" {escape(str(j.get('reason') or ''))}</li>"
        for j in _listed(run.get("jobs"), "jobs")
    ]
    several = len({line.job for line in lines}) > 1
    shown = "".join(
        f'<span class="{line.stream}">{escape(line.job) + ": " if several else ""}{escape(line.text[:4000])}</span>\n'
        for line in lines
    )
    link = quote(run_id, safe="")
    return (
        f'<header><h1>{escape(str(run.get("job") or run.get("flow") or "run"))}</h1><nav><a href="/">Home</a>'
        f'<a href="/prefect/runs/flow-run/{link}">Prefect</a></nav></header>'
        f"<p>{badge(run.get('state'))} {ago(run.get('started'), now=now)} {escape(str(run.get('reason') or ''))}</p>"
        + (_section("Jobs", members, "") if members else "")
        + f'<section><h2>Output</h2><p><a href="/api/v1/runs/{link}/logs">All as text</a> ·'
        f' <a href="/api/v1/runs/{link}/logs?raw=1">Bytes as written</a></p>'
        f"<pre>{shown or '<span class=lab>No output.</span>'}</pre></section>"
    )


async def home(asked: Asked) -> Response:
    control = asked.site.control
    body = overview(
        _listed(await control.jobs(), "jobs"),
        [
            run
            for state in ("running", "retrying", "pending")
            for run in _listed(await control.runs(state=state, limit=50), "runs")
        ],
        _listed(await control.problems(), "problems"),
        form_token=asked.site.gate.form_token(asked.identity),
        now=datetime.now(UTC),
    )
    return page("Lab", body, refresh_s=15)


async def show_run(asked: Asked) -> Response:
    found = await asked.site.control.run(asked.path("id"))
    run_id = run_id_of(found)
    body = found["run"] if isinstance(found.get("run"), dict) else found
    folder = asked.site.home.run_folder(run_id)
    lines = await live.gathered(logs.merged(folder, tail=_SHOWN_LINES))
    ended = moment(body.get("ended"))
    now = datetime.now(UTC)
    is_fresh = ended is None or now - ended < timedelta(minutes=1)
    return page(str(body.get("job") or "Run"), run_page(body, run_id, lines, now=now), refresh_s=5 if is_fresh else 0)


async def style(_: Asked) -> Response:
    css = files("homelab.control.api").joinpath("console.css").read_bytes()
    return Response(css, media_type="text/css; charset=utf-8", headers={"Cache-Control": "max-age=300"})


ROUTES = (
    Route(method="GET", path="/", scope="read", handler=home, summary="The lab at a glance.", page=True),
    Route(
        method="GET",
        path="/runs/{id}",
        scope="read",
        handler=show_run,
        summary="One run and its last lines.",
        page=True,
    ),
    Route(method="GET", path="/static/console.css", scope="open", handler=style, summary="How pages look.", page=True),
)
