"""Forms that change something: read, proved to be ours, carried out once, noted with who and from where.

Every change has two steps: a page that says what will happen (GET), and its button (POST to the same path).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse, Response

from homelab.console.once import Once, number
from homelab.console.rendering import respond
from homelab.control.api.answers import HttpError, as_http, read_bytes
from homelab.control.api.auth import origin_of
from homelab.control.api.routing import Asked
from homelab.core.errors import HomelabError

_ONCE = Once()
MOST_BYTES = 512 * 1024


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a page asks before it does something. `will`: sentences that say what will happen; `button`: the verb;
    `back`: where "Leave it" leads; `fields`: a template of further inputs, with `values` for it."""

    title: str
    will: Sequence[str]
    button: str
    back: str
    is_grave: bool = False
    fields: str = ""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


def ask(asked: Asked, question: Question, *, here: str, problem: str = "", status: int = 200) -> Response:
    """The page of a question."""
    return respond(
        asked,
        "templates/question.html",
        title=question.title,
        here=here,
        status=status,
        question=question,
        number=number(),
        path=asked.request.url.path,
        problem=problem,
        **question.values,
    )


async def read(asked: Asked, *, most: int = 200) -> dict[str, list[str]]:
    """The fields of a posted form, proved to come from a page of this session. 403 otherwise."""
    body = await read_bytes(asked.request, MOST_BYTES)
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=most)
    except ValueError as error:
        raise HttpError(400, "input", "that is not a form of this lab") from error
    asked.site.gate.check_intent(asked.request, asked.identity, fields.get("form_token", [""])[0])
    return fields


async def carry_out(
    asked: Asked,
    fields: Mapping[str, list[str]],
    action: Callable[[], Awaitable[str]],
    *,
    subject: str,
    body: Mapping[str, Any] | None = None,
) -> Response:
    """Do it, once for each number of a form, and lead to where `action` says. Noted in the audit when it is done."""

    async def noted() -> str:
        try:
            path = await action()
        except (HttpError, HomelabError) as error:
            await _note(asked, subject, body, result=(error if isinstance(error, HttpError) else as_http(error)).code)
            raise
        await _note(asked, subject, body)
        return path

    key = fields.get("number", [""])[0]
    if not 8 <= len(key) <= 100:
        raise HttpError(400, "input", "that form has no number", "Open its page again.")
    owner = asked.identity.session or asked.identity.name
    return RedirectResponse(await _ONCE.do(asked.site.access, f"{owner} {key}", noted), status_code=303)


async def _note(asked: Asked, subject: str, body: Mapping[str, Any] | None, *, result: str = "done") -> None:
    name = asked.request.scope.get("route")
    await asked.site.access.record(
        who=asked.identity.name,
        via=asked.identity.via,
        origin=origin_of(asked.request, asked.identity),
        action=f"POST {getattr(name, 'path', asked.request.url.path)}",
        subject=subject,
        body=body,
        result=result,
    )
