"""Templates to pages: one environment that escapes everything, the words and charts as filters, a strict policy.

Called by every screen. Pages carry no script or style of their own; scripts come from this server only.
"""

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, cast
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from starlette.responses import Response

from homelab.console import assets, charts, undo, words
from homelab.console.once import number
from homelab.control.access import allows
from homelab.control.api.routing import Asked

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types homelab-parts"
)

PACK_ABOVE = 4096
"""Bytes. A list of hundreds of jobs is ten times smaller packed, which is what a telephone waits for."""

NAVIGATION: list[tuple[str, str, str]] = []
"""(name, path, icon) of the screens; `site` fills it from the registry, so that screens need not know each other."""


def time_element(value: object, *, now: datetime, empty: str = "–") -> Markup:
    """A time as people say it, within an element that carries it exactly; a script keeps the words fresh."""
    at = words.moment(value)
    if at is None:
        return Markup('<span class="none">{}</span>').format(empty)
    day, clock = at.isoformat(timespec="seconds").removesuffix("+00:00").split("T")
    return Markup(f'<time datetime="{day}T{clock}Z" title="{day} {clock} UTC">{words.ago(at, now)}</time>')


def state_element(state: object, *, word: bool = True) -> Markup:
    """A state by shape, word and colour; without `word` the word is for screen readers and the tooltip."""
    return _state_element(words.mark(state), word)


@lru_cache(maxsize=256)
def _state_element(look: words.Mark, word: bool) -> Markup:
    text = Markup("<span>{}</span>" if word else '<span class="unseen">{}</span>').format(look.word)
    symbol = Markup('<svg class="i" aria-hidden="true"><use href="#s-{}"/></svg>').format(look.shape)
    return Markup('<span class="state tone-{}" title="{}">{}{}</span>').format(look.tone, look.word, symbol, text)


def clock(seconds: float) -> str:
    """The time of day of a line, UTC."""
    if not 0 <= seconds < 32_503_680_000:  # a log that somebody else wrote into
        return "–"
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")


def busy(node: Mapping[str, Any]) -> int:
    """How many jobs run on a machine now; runs that it holds ready for their instant have none yet."""
    running: list[dict[str, Any]] = node["running"]
    return sum(len(run.get("jobs") or ()) for run in running)


def icon(name: str) -> Markup:
    return Markup('<svg class="i" aria-hidden="true"><use href="#s-{}"/></svg>').format(name)


def url_part(text: object) -> str:
    """Any text as one part of a path."""
    return quote(str(text), safe="")


def visible(value: Any) -> Any:
    """What a template puts on a page: any text has its control characters and overrides made visible, whether or not
    the template thought of it. Markup is ours."""
    if type(value) is not str or value.isprintable():
        return value
    return "\n".join(words.safe(line) for line in value.split("\n"))


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("homelab.console", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "span": words.span,
        "size": words.size,
        "short": words.short,
        "shown": words.shown,
        "stamps": words.stamps,
        "sentence": words.sentence,
        "part": url_part,
        "listed": words.listed,
        "moment": words.moment,
    }
    shared: dict[str, Any] = {
        "state": state_element,
        "icon": icon,
        "busy": busy,
        "clock": clock,
        "mark": words.mark,
        "counted": words.counted,
        "tally": words.tally,
        "health": charts.health,
        "bar": charts.bar,
        "progress": charts.progress,
        "asset": assets.address,
        "navigation": NAVIGATION,
    }
    cast("dict[str, Any]", made.globals).update(shared)
    return made


def fragment(template: str, **values: Any) -> Markup:
    """Part of a page. `now` is the moment it is of."""
    now = values.setdefault("now", datetime.now(UTC))

    def when(value: object, empty: str = "–") -> Markup:
        return time_element(value, now=now, empty=empty)

    # Every template is autoescaped, so what it gives is markup.
    return Markup(environment().get_template(template).render(**values, when=when))


def _nobody_may(_: str) -> bool:
    return False


def page(
    template: str, *, title: str, here: str = "", status: int = 200, packed: bool = False, **values: Any
) -> Response:
    """A whole page without anybody signed in, such as a refusal. `packed`: the browser takes gzip."""
    values = {
        "reader": "",
        "undo": None,
        "live": "",
        "version": 0,
        "form_token": "",
        "lab": "",
        "may": _nobody_may,
        "framed": False,
        **values,
    }
    body = fragment(template, title=words.short(title, 100), here=here, **values).encode("utf-8", "replace")
    headers = {"Content-Security-Policy": POLICY, "Vary": "Accept-Encoding"}
    if packed and len(body) > PACK_ABOVE:
        # The size of an answer tells nothing to another site: the cookie of a session is never sent for one.
        body, headers["Content-Encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
    return Response(body, status_code=status, media_type="text/html; charset=utf-8", headers=headers)


def respond(asked: Asked, template: str, *, title: str, here: str = "", status: int = 200, **values: Any) -> Response:
    """A page for whoever asks. `live`: the topic whose parts keep it fresh; `version`: of which moment it is."""

    def may(scope: str) -> bool:
        return allows(asked.identity.scope, scope)

    return page(
        template,
        title=title,
        here=here,
        status=status,
        packed="gzip" in asked.request.headers.get("accept-encoding", ""),
        form_token=asked.site.gate.form_token(asked.identity) if asked.identity.session else "",
        lab=asked.site.control.looking.lab_name,
        may=may,
        reader=asked.identity.name,
        **{"undo": undo.offered(asked), "undo_number": number(), **values},
    )
