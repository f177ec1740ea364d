"""`homelab person`: who may sign in to the lab's pages, and as what."""

from datetime import UTC, datetime

import click

from homelab.cli import output
from homelab.cli.client import Client, segment
from homelab.cli.job import as_json

ROLE = click.Choice(["read", "operate", "admin"])


@click.group()
def person() -> None:
    """People of the lab. Roles: read (look), operate (run, pause, cancel), admin (apply, people, tokens)."""


@person.command()
@as_json
def ls(as_json: bool) -> None:
    """Everybody, with their passkeys and open sessions."""
    answer = Client.of_home().get("/api/v1/people")
    if as_json:
        output.json_document(answer)
        return
    now = datetime.now(UTC)
    rows = [
        [
            output.safe(str(p["name"])),
            str(p["role"]),
            str(p["passkeys"]),
            str(p["sessions"]),
            output.relative(p.get("last_seen"), now=now),
        ]
        for p in answer["people"]
    ]
    output.table(["name", "role", "passkeys", "sessions", "last here"], rows, empty="Nobody.")


@person.command()
@click.argument("name")
@click.option("--role", type=ROLE, default="read", show_default=True)
@as_json
def add(name: str, role: str, as_json: bool) -> None:
    """One more person. They sign in by a link: homelab open --person NAME."""
    answer = Client.of_home().post("/api/v1/people", {"name": name, "role": role})
    if as_json:
        output.json_document(answer)
        return
    output.note(f"{output.safe(name)} may {role}. A link for them: homelab open --person {output.safe(name)}")


@person.command()
@click.argument("name")
@click.argument("role", type=ROLE)
@as_json
def role(name: str, role: str, as_json: bool) -> None:
    """Give a person another role, at once for all their sessions."""
    answer = Client.of_home().post(f"/api/v1/people/{segment(name)}/role", {"role": role})
    if as_json:
        output.json_document(answer)
    else:
        output.note(f"{output.safe(name)} may {role} now.")


@person.command()
@click.argument("name")
@as_json
def rm(name: str, as_json: bool) -> None:
    """Remove a person: their sessions, links and passkeys end at once."""
    answer = Client.of_home().delete(f"/api/v1/people/{segment(name)}")
    if as_json:
        output.json_document(answer)
    else:
        output.note(f"{output.safe(name)} is removed. What they did stays in the audit.")
