"""`homelab plan` and `homelab apply`: what the lab file would change in the running lab, and changing it.

The lab file is checked here first; `control` computes and carries out the plan.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, cast

import click

from homelab.cli import output
from homelab.cli.output import has_colour
from homelab.core.errors import RefusedError

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "renamed": ("~", "yellow"), "changed": ("~", "yellow")}
_LONGEST = 70


@click.command()
@click.argument("file", required=False, type=click.Path(readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(file: str | None, as_json: bool) -> int:
    """Show what apply would change in the running lab."""
    answer = _ask("plan", _body(file))
    click.echo(json.dumps(answer, indent=2) if as_json else render(_plan_of(answer)), color=has_colour(sys.stdout))
    if not as_json and not _plan_of(answer).get("is_empty"):
        output.hint("do it: homelab apply")
    return 0


@click.command()
@click.argument("file", required=False, type=click.Path(readable=False))
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--undo", is_flag=True, help="Take the last apply back: apply what was applied before it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was changed as JSON.")
def apply(file: str | None, yes: bool, undo: bool, as_json: bool) -> int:
    """Change the running lab to match the lab file.

    Runs that are under way end with the definition they began with.
    """
    what, body, found = _undo() if undo else ("apply", body := _body(file), _plan_of(_ask("plan", body)))
    click.echo(render(found), err=True, color=has_colour(sys.stderr))
    if not found.get("is_empty") and not yes:
        if not sys.stdin.isatty():
            raise RefusedError("nobody is here to say yes", hint="To apply without being asked: homelab apply --yes")
        if not click.confirm("Apply this?", err=True):
            raise RefusedError("nothing was changed")
    answer = _ask(what, body)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif not found.get("is_empty"):
        click.echo("taken back" if undo else "applied", err=True)
        click.echo("To take that back: homelab apply --undo", err=True)
    return 0


def _undo() -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(path, body, plan) of taking the last apply back. RefusedError when it cannot be done."""
    from homelab.cli.client import Client

    found = Client.of_home().get("/api/v1/lab/undo")
    if found["refused"]:
        raise RefusedError(found["refused"], hint="Give the jobs back to cron with: homelab cron release")
    return "lab/undo", {"version": found["version"]["id"]}, found["plan"]


def _body(file: str | None) -> dict[str, Any]:
    from homelab.cli.check import checked
    from homelab.home import labfiles

    _, texts = checked(file)
    return {"files": dict(texts), "main": next(iter(texts)), "folder": str(labfiles.find(file).parent)}


def _ask(what: str, body: Mapping[str, Any]) -> Any:
    from homelab.cli.client import Client

    return Client.of_home(timeout_s=120.0).post(f"/api/v1/{what}", body)


def _plan_of(answer: Any) -> dict[str, Any]:
    """The plan in an answer of control: the answer itself, or its field `plan`."""
    found = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    return found["plan"] if isinstance(found.get("plan"), dict) else found


def render(found: Mapping[str, Any]) -> str:
    """A plan (`control.plan.Plan.to_json`) as text: one line a change, settings old -> new below."""
    lines: list[str] = []
    for change in found.get("jobs", ()):
        sign, color = _SIGNS.get(change["kind"], ("?", "white"))
        before = f" (was {_safe(change['old_name'])})" if change.get("old_name") else ""
        lines.append(click.style(f"{sign} job {_safe(change['name'])}{before}", fg=color))
        lines += [f"    {_field(f)}" for f in change.get("fields", ())]
    lines += [click.style("~ ", fg="yellow") + _field(f) for f in found.get("settings", ())]
    replaced = [_safe(name) for name in found.get("replaced_flows", ())]
    if replaced:
        names = ", ".join(replaced[:8]) + (f" and {len(replaced) - 8} more" if len(replaced) > 8 else "")
        lines.append(f"Waiting runs are made anew for: {names}. Runs under way end as they began.")
    lines += [
        f"Needs a restart to count: {_safe(name)} (homelab down, homelab up)" for name in found.get("restarts", ())
    ]
    lines.append(str(found.get("summary", "")))
    return "\n".join(lines)


def _field(change: Mapping[str, Any]) -> str:
    old, new = (_safe(str(change[k])) or "(not set)" for k in ("old", "new"))
    return f"{_safe(str(change['field']))}: {old} -> {new}"


def _safe(text: str) -> str:
    """Text for one line of a terminal: line ends and control characters shown, not obeyed."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: _LONGEST + 1])
    return shown[:_LONGEST] + "..." if len(shown) > _LONGEST else shown
