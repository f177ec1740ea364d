"""Names a person types: jobs (with completion), runs (a prefix of an id, `last`, or a job's newest), parameters."""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from homelab.cli.client import Client
from homelab.core.errors import InputError, NotFoundError

_WHOLE = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_PREFIX = re.compile(r"[0-9a-f-]{4,36}")
SHORTEST_PREFIX = 4


class JobType(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only in newer versions
    """A job's name, completed from the running lab; any failure there just completes nothing."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            jobs = Client.of_home(timeout_s=1.5).get("/api/v1/jobs")["jobs"]
            return [CompletionItem(job["name"]) for job in jobs if str(job["name"]).startswith(incomplete)]
        except Exception:  # a traceback in the middle of someone's command line helps nobody
            return []


class RunType(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only in newer versions
    """A run's id or what stands for one, completed with the newest runs and the jobs."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            runs = Client.of_home(timeout_s=1.5).get("/api/v1/runs", {"limit": 50})["runs"]
            known = {str(r["id"]): f"{r['job']} {r['state']}" for r in runs}
            known |= {str(r["job"]): "newest run of this job" for r in runs} | {"last": "the newest run"}
            return [CompletionItem(k, help=v) for k, v in known.items() if k.startswith(incomplete)]
        except Exception:  # as above
            return []


class NodeType(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only in newer versions
    """A machine's name, completed from the running lab."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            nodes = Client.of_home(timeout_s=1.5).get("/api/v1/nodes")["nodes"]
            known = {str(node["name"]): str(node["state"]) for node in nodes}
            return [CompletionItem(k, help=v) for k, v in known.items() if k.startswith(incomplete)]
        except Exception:  # as above
            return []


def newest(runs: Iterable[Mapping[str, Any]]) -> str | None:
    """The id of the newest run that has begun to happen; runs created ahead only count when there is nothing else."""
    listed = list(runs)
    begun = [r for r in listed if r.get("state") != "scheduled"]
    first = next(iter(begun or listed), None)
    return str(first["id"]) if first else None


def find_run(client: Client, text: str) -> str:
    """The id of the run a person means. NotFoundError says what would have been understood."""
    if _WHOLE.fullmatch(text.lower()):
        return text.lower()
    if text == "last":
        found = newest(client.get("/api/v1/runs", {"limit": 200})["runs"])
        if found is None:
            raise NotFoundError("no job has run yet", hint="Run one with: homelab job run NAME")
        return found
    jobs = [str(job["name"]) for job in client.get("/api/v1/jobs")["jobs"]]
    if text not in jobs and _PREFIX.fullmatch(text.lower()):
        with contextlib.suppress(NotFoundError):
            return str(client.get(f"/api/v1/runs/{text.lower()}")["run"]["id"])
    if text in jobs:
        found = newest(client.get("/api/v1/runs", {"job": text, "limit": 50})["runs"])
        if found is None:
            raise NotFoundError(f"job '{text}' has not run yet", hint=f"Run it with: homelab job run {text}")
        return found
    raise NotFoundError(
        f"no run or job '{text[:60]}'",
        hint=nearest(text, jobs)
        or f"Give a run's id or its first {SHORTEST_PREFIX} characters, a job's name, or last.",
    )


def nearest(text: str, known: Sequence[str]) -> str:
    """`Did you mean ...?`, or nothing when nothing is close."""
    import difflib

    close = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
    return "Did you mean " + " or ".join(close) + "?" if close else ""


def parameters(given: Iterable[str]) -> dict[str, str]:
    """`K=V` options as a map; the value is taken as it is, `=` and all."""
    made: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"--param {text[:60]!r} is not NAME=VALUE", hint="Such as --param day=monday")
        if not (name.isascii() and name.isidentifier()):
            raise InputError(
                f"parameter {name[:60]!a} cannot be a variable",
                hint="Use letters, digits and _, not beginning with a digit.",
            )
        made[name] = value
    return made


def with_nearest_job(client: Client, name: str, error: NotFoundError) -> NotFoundError:
    """The error, with the names that are close when the server gave none."""
    if error.hint:
        return error
    jobs = [str(job["name"]) for job in client.get("/api/v1/jobs")["jobs"]]
    return NotFoundError(error.message, hint=nearest(name, jobs) or "List them with: homelab job ls")
