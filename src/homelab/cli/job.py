"""`homelab job`: list, show, draw, run, pause and resume jobs; why one did or did not run."""

import sys
from datetime import UTC, datetime
from typing import Any

import click

from homelab.cli import output, paging, waiting, watching
from homelab.cli.client import Client, NoAnswerError, segment
from homelab.cli.names import JobType, parameters, with_nearest_job
from homelab.core.errors import NotFoundError, TimedOutError
from homelab.core.jobs import RunState

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
job_name = click.argument("name", type=JobType())


@click.group()
def job() -> None:
    """List, show, run, pause jobs; why one did not run."""


def _asked(client: Client, method: str, name: str, path: str = "", body: dict[str, Any] | None = None) -> Any:
    """One call about one job; a job that is not there is answered with the nearest names."""
    where = f"/api/v1/jobs/{segment(name)}{path}"
    if "/" in name or not name:
        raise with_nearest_job(client, name, NotFoundError(f"no job '{output.safe(name[:60])}'"))
    try:
        return client.get(where) if method == "GET" else client.post(where, body)
    except NoAnswerError:
        raise
    except NotFoundError as error:
        raise with_nearest_job(client, name, error) from error


@job.command(cls=watching.Command)
@as_json
def ls(as_json: bool, watch: float | None) -> None:
    """All jobs with their last run and the next. On a terminal also their last runs, a bar for each: as high as it
    took against the usual, a cross for one that failed."""
    client = Client.of_home()
    with paging.paged(wanted=not as_json and watch is None):
        watching.shown(watch, lambda: _list(client, as_json), client=lambda: client)


def _list(client: Client, as_json: bool) -> None:
    from homelab.cli import jobview

    answer = client.get("/api/v1/jobs")
    if as_json:
        output.json_document(answer)
    else:
        jobview.listing(answer["jobs"], now=datetime.now(UTC))


@job.command()
@job_name
@as_json
def show(name: str, as_json: bool) -> None:
    """One job in full: where it stands, its schedule, what it needs, what it does, where it is defined, its last
    runs."""
    from homelab.cli import jobview

    client = Client.of_home()
    answer = _asked(client, "GET", name)
    if as_json:
        output.json_document(answer)
        return
    graph = client.get("/api/v1/graph")
    jobview.card(answer["job"], graph, now=datetime.now(UTC))


@job.command()
@click.option("--format", "form", type=click.Choice(["json", "mermaid", "dot", "svg", "text"]), help="Default: text.")
@as_json
def graph(form: str | None, as_json: bool) -> None:
    """All jobs and what needs what, as text, JSON, Mermaid, Graphviz or SVG."""
    from homelab.cli import drawing

    answer = Client.of_home().get("/api/v1/graph")
    form = "json" if as_json else form or ("text" if output.is_terminal() else "json")
    if form == "json":
        output.json_document(answer)
        return
    made = drawing.graph_of(answer)
    drawn = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg, "text": drawing.text}[form](made)
    if form == "text" and not output.is_unicode():
        drawn = drawing.plain(drawn)
    with paging.paged(wanted=form == "text"):
        output.line(drawn)


@job.command()
@job_name
@click.option("--wait", is_flag=True, help="Until it has ended; exit 1 when it failed.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="With --wait: exit 4 then.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="An environment variable of this run.")
@click.option("--only", is_flag=True, help="Just this job, without what it needs and what needs it.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@as_json
def run(
    name: str, wait: bool, timeout: float | None, params: tuple[str, ...], only: bool, dry_run: bool, as_json: bool
) -> int:
    """Run a job now, with what it needs and what needs it."""
    client = Client.of_home()
    if dry_run:
        found = _asked(client, "GET", name, "/preview?action=run")
        if as_json:
            output.json_document(found)
        else:
            output.line("\n".join(output.safe(str(sentence)) for sentence in found["will"]))
        return 0
    answer = _asked(client, "POST", name, "/run", {"params": parameters(params), "only": only})
    made = answer["run"]
    if wait or timeout is not None:
        try:
            made = wait_for(client, str(made["id"]), name, timeout_s=timeout)
        except KeyboardInterrupt:
            output.note(
                f"\nrun {made['id']} goes on; follow it with: homelab run logs {output.short_id(str(made['id']))} -f"
            )
            raise
    if as_json:
        output.json_document({"run": made})
    elif output.is_terminal():
        reason = output.safe(str(made.get("reason") or ""))
        output.line(f"{made['id']}  {output.state(str(made['state']))}{'  ' + reason if reason else ''}")
    else:
        output.line(f"{made['id']}\t{made['state']}")
    failed = RunState(made["state"]).is_final and made["state"] != "succeeded"
    if failed and not as_json:
        output.hint(f"see why: homelab run logs {output.short_id(str(made['id']))}")
    return 1 if failed else 0


def wait_for(client: Client, run_id: str, name: str, *, timeout_s: float | None) -> dict[str, Any]:
    """The run once it has ended. Control may restart meanwhile; TimedOutError after `timeout_s`."""

    def look() -> tuple[dict[str, Any] | None, str]:
        answer = client.get(f"/api/v1/runs/{segment(run_id)}")
        found: dict[str, Any] = answer.get("run", answer)
        return (found if RunState(found["state"]).is_final else None), str(found["state"])

    def late(after_s: float) -> TimedOutError:
        return TimedOutError(
            f"run {run_id} of '{name}' has not ended after {output.duration(after_s)}; it goes on",
            hint=f"Follow it with: homelab run logs {output.short_id(run_id)} -f",
        )

    return waiting.until(name, look, late=late, timeout_s=timeout_s)


@job.command()
@job_name
@as_json
def pause(name: str, as_json: bool) -> None:
    """Start no more scheduled runs of a job; one that runs goes on."""
    _switch(name, "pause", as_json)


@job.command()
@job_name
@as_json
def resume(name: str, as_json: bool) -> None:
    """Let a paused job run on its schedule again."""
    _switch(name, "resume", as_json)


def _switch(name: str, verb: str, as_json: bool) -> None:
    answer = _asked(Client.of_home(), "POST", name, f"/{verb}", {})
    if as_json:
        output.json_document(answer)
    else:
        sys.stderr.write(f"{output.safe(name)}: {verb}d\n")
        back = "resume" if verb == "pause" else "pause"
        output.note(f"To take that back: homelab job {back} {output.safe(name)}")


@job.command()
@job_name
@as_json
def why(name: str, as_json: bool) -> None:
    """Why it ran or did not: schedule, pause, dependencies, missed runs, placement."""
    from homelab.cli import jobview

    answer = _asked(Client.of_home(), "GET", name, "/why")
    if as_json:
        output.json_document(answer)
    else:
        jobview.reasons(answer, now=datetime.now(UTC))
