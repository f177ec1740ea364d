"""`homelab run artefacts` and `homelab run fetch`: the files that the jobs of a run saved."""

import hashlib
import os
from pathlib import Path
from typing import Any

import click

from homelab.cli import output
from homelab.cli.client import Client, segment
from homelab.cli.job import as_json
from homelab.cli.names import JobType, RunType, find_run
from homelab.core.durations import size
from homelab.core.errors import HomelabError, InputError, NotFoundError
from homelab.core.passing import parts_of

run_id = click.argument("id", type=RunType(), metavar="ID")
_SAYS_BYTES = 64 * 1024 * 1024
"""A file of this size takes a while: it is named before it comes, not only after."""


@click.command()
@run_id
@as_json
def artefacts(id: str, as_json: bool) -> None:  # noqa: A002
    """The files that the jobs of a run saved (`save` in the lab file)."""
    client = Client.of_home()
    identity = find_run(client, id)
    answer = client.get(f"/api/v1/runs/{segment(identity)}/artefacts")
    if as_json:
        output.json_document(answer)
        return
    files: list[dict[str, Any]] = answer["artefacts"]
    rows = [
        [
            output.safe(str(f["job"])),
            output.safe(str(f["path"])),
            size(f["bytes"]),
            str(f["sha256"])[:12],
            "" if f["is_here"] else f"on its way from {output.safe(str(f['node']))}",
        ]
        for f in files
    ]
    output.table(["job", "file", "size", "sha256", ""], rows, empty="This run saved no files.", whole=["file"])
    if files:
        output.hint(f"get them: homelab run fetch {output.short_id(identity)} --to DIR")


@click.command()
@run_id
@click.option("--job", type=JobType(), metavar="NAME", help="Only of this job.")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where to put them (.).",
)
@as_json
def fetch(id: str, job: str | None, to: Path, as_json: bool) -> None:  # noqa: A002
    """Get the files that a run saved, as DIR/JOB/PATH. What is there already and equal is left alone."""
    client = Client.of_home(timeout_s=120)
    identity = find_run(client, id)
    path = f"/api/v1/runs/{segment(identity)}/artefacts"
    found: list[dict[str, Any]] = client.get(path)["artefacts"]
    files = [f for f in found if job in (None, f["job"])]
    if not files:
        whose = f"of job '{job}' " if job else ""
        raise NotFoundError(
            f"run {identity[:8]} has no files {whose}that were saved", hint="See: homelab run artefacts"
        )
    got: list[dict[str, Any]] = []
    for one in files:
        target = _target(to, one)
        if _digest(target) != one["sha256"]:
            if one["bytes"] >= _SAYS_BYTES and not as_json:
                output.note(f"{target} ({size(one['bytes'])}) ...")
            _fetch(client, f"{path}/{one['sha256']}", one, target)
        got.append({**one, "file": str(target)})
        if not as_json:
            output.note(f"{output.safe(str(target))} ({size(one['bytes'])})")
    if as_json:
        output.json_document({"artefacts": got})


def _target(to: Path, one: dict[str, Any]) -> Path:
    try:
        return to.joinpath(*parts_of(str(one["job"])), *parts_of(str(one["path"])))
    except ValueError:
        raise InputError(f"{one['path']!r} of job {one['job']!r} cannot be a file here") from None


def _fetch(client: Client, path: str, one: dict[str, Any], target: Path) -> None:
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:

            def take(block: bytes) -> None:
                digest.update(block)
                file.write(block)

            client.copy(path, {"path": one["path"]}, take)
        if digest.hexdigest() != one["sha256"]:
            raise HomelabError(f"{one['path']} came damaged", hint="Try again; else see logs/control.log of the lab.")
        fresh.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}", hint="Choose another folder with --to.") from error
    finally:
        fresh.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
