"""*You*: your role, passkeys and sessions. *People*: who may do what here, for admins."""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import RedirectResponse, Response

from homelab.console import forms, words
from homelab.console.forms import Question
from homelab.console.lab import in_tab
from homelab.console.rendering import respond
from homelab.console.screen import Screen, change, look
from homelab.control.access import SIGN_IN_TTL
from homelab.control.api.auth import host_name, is_address
from homelab.control.api.routing import Asked
from homelab.control.people import ROLES, SHORT
from homelab.core.errors import HomelabError

MAY = {
    "read": "looks at everything but the lab file and its secrets",
    "operate": "runs, retries, cancels and pauses, too",
    "admin": "changes the lab, and who may do what",
}


async def show_me(asked: Asked) -> Response:
    who, people = asked.identity, asked.site.access.people
    is_person = who.person is not None
    host = host_name(asked.request.headers.get("host", "")) or ""
    return respond(
        asked,
        "people/me.html",
        title="You",
        who=who,
        may_what=MAY.get(who.scope, ""),
        is_person=is_person,
        passkeys=await people.passkeys(who.person) if is_person else [],
        sessions=await people.sessions(who.person) if is_person else [],
        this=who.session[:SHORT],
        by_address=is_address(host),
        number=forms.number(),
        now=datetime.now(UTC),
    )


async def remove_passkey_question(asked: Asked) -> Response:
    return forms.ask(
        asked,
        Question(
            title="Remove this passkey?",
            will=["It does not sign in any more, and the sessions that it opened end now."],
            button="Remove it",
            back="/me",
            is_grave=True,
        ),
        here="",
    )


async def remove_passkey(asked: Asked) -> Response:
    fields = await forms.read(asked)
    credential, person = asked.path("id"), asked.identity.person

    async def action() -> str:
        if person is not None:
            await asked.site.access.people.remove_passkey(credential, person)
        return "/me"

    return await forms.carry_out(asked, fields, action, subject=credential[:40])


async def end_session(asked: Asked) -> Response:
    fields = await forms.read(asked)
    short, person = asked.path("id"), asked.identity.person

    async def action() -> str:
        if person is not None:
            await asked.site.access.people.end_session(short, person)
        return "/me"

    return await forms.carry_out(asked, fields, action, subject=short)


async def sign_out_everywhere(asked: Asked) -> Response:
    fields = await forms.read(asked)
    person = asked.identity.person

    async def action() -> str:
        if person is not None:
            await asked.site.access.people.end_sessions(person)
        return "/sign-in"

    await forms.carry_out(asked, fields, action, subject=asked.identity.name)
    response = RedirectResponse("/sign-in", status_code=303)
    asked.site.gate.set_cookie(asked.request, response, "", 0)
    return response


# -- for admins -------------------------------------------------------------------------------------------------------


async def show_people(asked: Asked, problem: str = "", link: dict[str, Any] | None = None) -> Response:
    people = asked.site.access.people
    return in_tab(
        asked,
        "people/people.html",
        "People",
        people=await people.listing(),
        sessions=await people.sessions(),
        roles=ROLES,
        may_what=MAY,
        problem=problem,
        link=link,
        number=forms.number(),
    )


async def add(asked: Asked) -> Response:
    fields = await forms.read(asked)
    name, role = fields.get("name", [""])[0], fields.get("role", ["read"])[0]

    async def action() -> str:
        await asked.site.access.people.add(name, role)
        return "/lab/people"

    try:
        return await forms.carry_out(asked, fields, action, subject=name[:60], body={"role": role[:40]})
    except HomelabError as error:
        return await show_people(asked, problem=str(error))


async def set_role(asked: Asked) -> Response:
    fields = await forms.read(asked)
    name, role = asked.path("name"), fields.get("role", [""])[0]

    async def action() -> str:
        await asked.site.access.people.set_role(name, role)
        return "/lab/people"

    try:
        return await forms.carry_out(asked, fields, action, subject=name[:60], body={"role": role[:40]})
    except HomelabError as error:
        return await show_people(asked, problem=str(error))


async def remove_question(asked: Asked, problem: str = "") -> Response:
    person = await asked.site.access.people.find(asked.path("name"))
    name = words.short(person["name"])
    ends = [words.counted(person["sessions"], "session"), words.counted(person["passkeys"], "passkey")]
    question = Question(
        title=f"Remove {name}?",
        will=[f"{' and '.join(ends)} of {name} end now. What they did stays in the audit."],
        button="Remove",
        back="/lab/people",
        is_grave=True,
    )
    return forms.ask(asked, question, here="Lab", problem=problem, status=409 if problem else 200)


async def remove(asked: Asked) -> Response:
    fields = await forms.read(asked)
    name = asked.path("name")

    async def action() -> str:
        await asked.site.access.people.remove(name)
        return "/lab/people"

    try:
        return await forms.carry_out(asked, fields, action, subject=name[:60])
    except HomelabError as error:
        return await remove_question(asked, problem=str(error))


async def make_link(asked: Asked) -> Response:
    """The answer to the form is the page that shows the link: it is not stored, so it cannot be led to."""
    fields = await forms.read(asked)
    name = asked.path("name")
    made: dict[str, Any] = {}

    async def action() -> str:
        person = await asked.site.access.people.find(name)
        secret = await asked.site.access.create_sign_in(person["role"], person=person["id"])
        url = f"{asked.site.own_url}/sign-in?token={secret}"
        made.update(name=name, url=url, minutes=int(SIGN_IN_TTL.total_seconds()) // 60)
        return "/lab/people"

    response = await forms.carry_out(asked, fields, action, subject=name[:60])
    return await show_people(asked, link=made) if made else response


async def end_a_session(asked: Asked) -> Response:
    fields = await forms.read(asked)
    short = asked.path("id")

    async def action() -> str:
        await asked.site.access.people.end_session(short)
        return "/lab/people"

    return await forms.carry_out(asked, fields, action, subject=short)


SCREEN = Screen(
    name="",
    path="/me",
    routes=(
        look("/me", show_me, "You: role, passkeys, sessions."),
        look("/me/passkeys/{id}/remove", remove_passkey_question, "What removing a passkey does."),
        change("/me/passkeys/{id}/remove", remove_passkey, "Remove a passkey of yours.", "read"),
        change("/me/sessions/{id}/end", end_session, "End a session of yours.", "read"),
        change("/me/sessions/end", sign_out_everywhere, "Sign out everywhere.", "read"),
        look("/lab/people", show_people, "People and their roles.", "admin"),
        change("/lab/people", add, "Add a person.", "admin"),
        change("/lab/people/{name}/role", set_role, "Change a role.", "admin"),
        change("/lab/people/{name}/link", make_link, "Make a sign-in link for a person.", "admin"),
        look("/lab/people/{name}/remove", remove_question, "What removing a person does.", "admin"),
        change("/lab/people/{name}/remove", remove, "Remove a person.", "admin"),
        change("/lab/sessions/{id}/end", end_a_session, "End anybody's session.", "admin"),
    ),
)
