"""*Lab*: services and machines; the lab file with its problems, what applying it would change, and applying it; what
was told to whom; who may sign in and with what; who changed what."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from homelab.console import forms, words
from homelab.console.forms import Question
from homelab.console.live import version
from homelab.console.rendering import fragment, respond
from homelab.console.screen import Parts, Screen, change, look
from homelab.control.access import SCOPES, allows
from homelab.control.api.answers import HttpError
from homelab.control.api.routing import Asked, Site
from homelab.core.errors import HomelabError

HERE = "Lab"
TABS = (("Services", "/lab", "read"), ("Lab file", "/lab/file", "admin"),
        ("Notifications", "/lab/notifications", "read"), ("People", "/lab/people", "admin"),
        ("Tokens", "/lab/tokens", "admin"), ("Audit", "/lab/audit", "admin"))  # fmt: skip
"""(name, path, role that it needs)"""


def in_tab(asked: Asked, template: str, tab: str, **values: Any) -> Response:
    """One of the pages of the lab; the tabs lead to those that the role allows."""
    values.setdefault("now", datetime.now(UTC))
    tabs = [(name, path) for name, path, role in TABS if allows(asked.identity.scope, role)]
    return respond(asked, template, title=f"Lab: {tab}", here=HERE, tabs=tabs, tab=tab, **values)


async def services_of(site: Site) -> dict[str, Any]:
    lab: Any = await site.control.lab()
    return {"services": await site.control.looking.services(), "nodes": lab["nodes"], "now": datetime.now(UTC)}


async def parts(site: Site, _: str) -> Parts:
    return {"services": str(fragment("lab/services.html", **await services_of(site)))}


async def show(asked: Asked) -> Response:
    at = version()
    return in_tab(asked, "lab/lab.html", "Services", live="lab", version=at, **await services_of(asked.site))


# -- the lab file -----------------------------------------------------------------------------------------------------


def problem_lines(problems: list[dict[str, Any]], file: str) -> dict[int, str]:
    """The tone of each line of a file that has a problem; an error outdoes a warning."""
    found: dict[int, str] = {}
    for problem in problems:
        if problem["file"] == file and found.get(problem["line"]) != "bad":
            found[problem["line"]] = "bad" if problem["severity"] == "error" else "warn"
    return found


async def show_file(asked: Asked, applied: str = "") -> Response:
    found = await asked.site.control.looking.lab_file()
    files: dict[str, str] = found["disk"] or found["files"]
    wanted = asked.request.query_params.get("file") or ""
    name = wanted if wanted in files else next(iter(files), "")
    return in_tab(
        asked,
        "lab/file.html",
        "Lab file",
        found=found,
        files=list(files),
        file=name,
        lines=files.get(name, "").splitlines(),
        marked=problem_lines(found["problems"], name),
        plan=found["plan"],
        applied=applied,
    )


def _changed(field: dict[str, Any]) -> str:
    old, new = (words.short(field[side] or "not set") for side in ("old", "new"))
    return f"{field['field']}: {old} → {new}"


def sentences(plan: dict[str, Any]) -> list[str]:
    """A plan as sentences, a change each, its settings on lines below it."""
    will: list[str] = []
    for job in plan["jobs"]:
        was = f" (was {job['old_name']})" if job["old_name"] else ""
        below = "".join(f"\n  {_changed(field)}" for field in job["fields"])
        will.append(f"{job['kind'].capitalize()}: job {job['name']}{was}{below}")
    will += [f"Setting {_changed(field)}" for field in plan["settings"]]
    if plan["replaced_flows"]:
        flows = words.listed(plan["replaced_flows"], 6)
        will.append(f"Waiting runs are made anew for {flows}. Runs under way end as they began.")
    if plan["restarts"]:
        services = words.listed(plan["restarts"], 6)
        will.append(f"Needs a restart to count: {services} (homelab down, homelab up).")
    return will


async def apply_question(asked: Asked, problem: str = "") -> Response:
    found = await asked.site.control.looking.lab_file()
    plan = found["plan"]
    if plan is None:
        raise HttpError(
            409, "refused", "The lab file has errors: nothing can be applied.", "See them on the page of the file."
        )
    question = Question(
        title="Apply the lab file?" if not plan["is_empty"] else "Nothing would change",
        will=sentences(plan) or ["The lab is as the file says already."],
        button="Apply",
        back="/lab/file",
        fields="lab/digest_field.html",
        values={"digest": digest(found)},
    )
    return forms.ask(asked, question, here=HERE, problem=problem, status=409 if problem else 200)


def digest(found: dict[str, Any]) -> str:
    """What the file on disk was when it was shown: applying is of that text, not of one that came later."""
    files: dict[str, str] = found["disk"] or {}
    text = repr(sorted(files.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


async def apply(asked: Asked) -> Response:
    fields = await forms.read(asked)
    found = await asked.site.control.looking.lab_file()
    if fields.get("digest", [""])[0] != digest(found):
        return await apply_question(asked, problem="The file has changed since this page was made. Look again.")

    async def action() -> str:
        await asked.site.control.apply(found["disk"], found["main"], found["folder"], by=asked.by)
        return "/lab/file?did=applied"

    try:
        return await forms.carry_out(asked, fields, action, subject=found["path"])
    except HomelabError as error:
        return await apply_question(asked, problem=str(error))


async def undo_question(asked: Asked, problem: str = "") -> Response:
    found = await asked.site.control.undo_plan()
    if found["refused"]:
        raise HttpError(409, "refused", found["refused"], "Give the jobs back to cron with: homelab cron release")
    will = sentences(found["plan"]) or ["Both say the same: nothing would change."]
    will.append("The file on disk stays as it is; the next apply of it makes the change again.")
    question = Question(
        title=f"Take back what {words.short(found['of']['by'])} applied?",
        will=will,
        button="Take it back",
        back="/lab/file",
        fields="lab/version_field.html",
        values={"version": found["version"]["id"]},
    )
    return forms.ask(asked, question, here=HERE, problem=problem, status=409 if problem else 200)


async def undo(asked: Asked) -> Response:
    fields = await forms.read(asked)
    version = fields.get("version", [""])[0]

    async def action() -> str:
        if not (version.isascii() and version.isdecimal() and len(version) < 19):
            raise HttpError(400, "input", "that form names no version", "Open its page again.")
        await asked.site.control.undo_apply(int(version), by=asked.by)
        return "/lab/file?did=undone"

    try:
        return await forms.carry_out(asked, fields, action, subject=version[:20])
    except HomelabError as error:
        return await undo_question(asked, problem=str(error))


# -- notifications, tokens, audit -------------------------------------------------------------------------------------


async def show_notifications(asked: Asked) -> Response:
    rows: Any = await asked.site.control.notifications(limit=100)
    return in_tab(asked, "lab/notifications.html", "Notifications", rows=rows)


async def test_question(asked: Asked) -> Response:
    question = Question(
        title="Send a test notification?",
        will=["One message goes to every target of the lab file now. Whether it arrived is listed afterwards."],
        button="Send it",
        back="/lab/notifications",
    )
    return forms.ask(asked, question, here=HERE)


async def test(asked: Asked) -> Response:
    fields = await forms.read(asked)

    async def action() -> str:
        await asked.site.control.test_notification(by=asked.by)
        return "/lab/notifications"

    return await forms.carry_out(asked, fields, action, subject="")


async def show_tokens(asked: Asked, made: dict[str, Any] | None = None, problem: str = "") -> Response:
    return in_tab(
        asked,
        "lab/tokens.html",
        "Tokens",
        rows=await asked.site.access.tokens(),
        made=made,
        problem=problem,
        scopes=SCOPES,
        number=forms.number(),
    )


async def create_token(asked: Asked) -> Response:
    """The answer to the form is the page that shows the secret: it is not stored, so it cannot be led to."""
    fields = await forms.read(asked)
    name, scope = fields.get("name", [""])[0].strip(), fields.get("scope", ["read"])[0]
    made: dict[str, Any] = {}

    async def action() -> str:
        made.update(await asked.site.access.create_token(name, scope))  # pyright: ignore[reportArgumentType] - checked there
        return "/lab/tokens"

    try:
        response = await forms.carry_out(asked, fields, action, subject=name, body={"scope": scope})
    except HomelabError as error:
        return await show_tokens(asked, problem=error.message)
    return await show_tokens(asked, made) if made else response


async def revoke_question(asked: Asked) -> Response:
    found = [row for row in await asked.site.access.tokens() if str(row["id"]) == asked.path("id")]
    if not found:
        raise HttpError(404, "not_found", "There is no such token any more.")
    name = words.short(found[0]["name"])
    question = Question(
        title=f"Revoke the token “{name}”?",
        will=[f"Whatever uses “{name}” is refused from now on. This cannot be taken back; make a new token instead."],
        button="Revoke",
        back="/lab/tokens",
        is_grave=True,
    )
    return forms.ask(asked, question, here=HERE)


async def revoke(asked: Asked) -> Response:
    fields = await forms.read(asked)
    identity = asked.path("id")
    if not (identity.isascii() and identity.isdecimal() and len(identity) < 19):
        raise HttpError(404, "not_found", "There is no such token.")

    async def action() -> str:
        await asked.site.access.revoke(int(identity))
        return "/lab/tokens"

    return await forms.carry_out(asked, fields, action, subject=identity)


async def show_audit(asked: Asked) -> Response:
    return in_tab(asked, "lab/audit.html", "Audit", rows=await asked.site.access.audit(limit=200))


SCREEN = Screen(
    name=HERE,
    path="/lab",
    icon="lab",
    routes=(
        look("/lab", show, "Services and machines."),
        look("/lab/file", show_file, "The lab file and what applying it would change.", "admin"),
        look("/lab/apply", apply_question, "What applying would do.", "admin"),
        change("/lab/apply", apply, "Apply the lab file on disk.", "admin"),
        look("/lab/undo", undo_question, "What taking the last apply back would do.", "admin"),
        change("/lab/undo", undo, "Take the last apply back.", "admin"),
        look("/lab/notifications", show_notifications, "What was told to whom."),
        look("/lab/notifications/test", test_question, "What a test would do.", "operate"),
        change("/lab/notifications/test", test, "Send a test notification.", "operate"),
        look("/lab/tokens", show_tokens, "Tokens of programs.", "admin"),
        change("/lab/tokens", create_token, "Make a token.", "admin"),
        look("/lab/tokens/{id}/revoke", revoke_question, "What revoking would do.", "admin"),
        change("/lab/tokens/{id}/revoke", revoke, "Revoke a token.", "admin"),
        look("/lab/audit", show_audit, "Who changed what.", "admin"),
    ),
    live={"lab": parts},
)
