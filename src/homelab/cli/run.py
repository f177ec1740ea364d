"""`homelab run`: list, show, retry and cancel runs; read and follow their logs. Their files: `cli.runfiles`."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import click

from homelab.cli import output, paging, watching
from homelab.cli.client import Client, NoAnswerError, segment
from homelab.cli.job import as_json, wait_for
from homelab.cli.names import JobType, RunType, find_run
from homelab.cli.runfiles import artefacts, fetch
from homelab.cli.waiting import PATIENCE_S
from homelab.core.errors import TimedOutError
from homelab.core.jobs import RunState

run_id = click.argument("id", type=RunType(), metavar="ID")


@click.group()
def run() -> None:
    """List, show, retry, cancel runs; their logs and files. ID: a run's id, its beginning, a job's name, or `last`."""


run.add_command(artefacts)
run.add_command(fetch)


@run.command(cls=watching.Command)
@click.option("--job", type=JobType(), metavar="NAME", help="Only of this job.")
@click.option("--state", type=click.Choice([s.value for s in RunState]), help="Only in this state.")
@click.option("--since", metavar="TIME", help="Only since then: ISO 8601, or an age such as 15m, 2h, 7d.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
def ls(job: str | None, state: str | None, since: str | None, limit: int, as_json: bool, watch: float | None) -> None:
    """Runs of jobs, newest first."""
    from homelab.cli import runview

    client = Client.of_home()

    def draw() -> None:
        answer = client.get("/api/v1/runs", {"job": job, "state": state, "since": since, "limit": limit})
        if as_json:
            output.json_document(answer)
        else:
            runview.listing(answer["runs"], now=datetime.now(UTC))

    with paging.paged(wanted=not as_json and watch is None):
        watching.shown(watch, draw, client=lambda: client)


@run.command(cls=watching.Command)
@run_id
@as_json
def show(id: str, as_json: bool, watch: float | None) -> None:  # noqa: A002
    """One run: its state, its jobs, its reason. With --watch until it has ended."""
    from homelab.cli import runview

    client = Client.of_home()
    identity = find_run(client, id)

    def draw() -> bool:
        answer = client.get(f"/api/v1/runs/{segment(identity)}")
        found: dict[str, Any] = answer.get("run", answer)
        if as_json:
            output.json_document(answer)
        else:
            runview.card(found, now=datetime.now(UTC))
        return RunState(found["state"]).is_final

    watching.shown(watch, draw, client=lambda: client)


@run.command()
@run_id
@click.option("--failed", is_flag=True, help="Only the jobs that did not succeed; the others keep their result.")
@click.option("--from", "job", metavar="JOB", help="Those, and JOB with all that comes after it.")
@click.option("--wait", is_flag=True, help="Until it has ended; exit 1 when it failed.")
@as_json
def retry(id: str, failed: bool, job: str | None, wait: bool, as_json: bool) -> int:  # noqa: A002
    """Run it again: the same run, with the next attempt."""
    client = Client.of_home()
    identity = find_run(client, id)
    wanted = {"failed": failed} if job is None else {"job": job}
    made = client.post(f"/api/v1/runs/{segment(identity)}/retry", wanted)["run"]
    if wait:
        made = wait_for(client, identity, "run", timeout_s=None)
    _say(made, f"has ended: {made['state']}" if wait else "will run again", as_json)
    return 1 if wait and made["state"] != "succeeded" else 0


@run.command()
@run_id
@as_json
def cancel(id: str, as_json: bool) -> None:  # noqa: A002
    """Stop a run: its processes are asked to end, then killed."""
    client = Client.of_home()
    identity = find_run(client, id)
    undo = client.get(f"/api/v1/runs/{segment(identity)}/preview", {"action": "cancel"})["undo"]
    _say(client.post(f"/api/v1/runs/{segment(identity)}/cancel")["run"], "is being cancelled", as_json)
    if not as_json:
        output.note(f"To take that back: homelab run {undo} {output.short_id(identity)}")


@run.command()
@run_id
@as_json
def restore(id: str, as_json: bool) -> None:  # noqa: A002
    """Take the cancelling of a run back whose instant is still to come."""
    client = Client.of_home()
    identity = find_run(client, id)
    _say(client.post(f"/api/v1/runs/{segment(identity)}/restore")["run"], "starts at its instant", as_json)


def _say(made: dict[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        output.json_document({"run": made})
    else:
        output.note(f"run {made.get('id')} {what}")


# --- logs


@dataclass
class Printer:
    """Shows records to a person: safe text, the job's name only when several speak, other streams set apart."""

    prefix: bool = False
    _open: tuple[str, str] | None = field(default=None, init=False)

    def text(self, record: dict[str, Any]) -> str:
        """What to write for one record; pieces of a long line are joined unless another came between."""
        key = (str(record.get("job")), str(record["stream"]))
        start = ""
        if self._open != key:
            start = "\n" if self._open else ""
            start += output.painted(f"{output.safe(key[0])} | ", "36") if self.prefix else ""
        is_partial = bool(record.get("partial"))
        self._open = key if is_partial else None
        shown = output.safe(str(record["line"]).removesuffix("\r"))
        code = {"err": "31", "lab": "2;3"}.get(key[1], "")
        return start + (output.painted(shown, code) if shown else "") + ("" if is_partial else "\n")

    def end(self) -> str:
        """What is missing when all is written: the line end of output that stopped within a line."""
        return "\n" if self._open else ""


@run.command()
@run_id
@click.option("-f", "--follow", is_flag=True, help="Stay, and show lines as they are written, until the run has ended.")
@click.option("--task", type=JobType(), metavar="NAME", help="Only of this job.")
@click.option("--tail", type=click.IntRange(0, 100_000), metavar="N", help="Only the last N lines.")
@click.option("--raw", is_flag=True, help="The bytes as the job wrote them. Not for terminals.")
@click.option("--json", "as_json", is_flag=True, help="One object a line: {time, stream, line, job, attempt}.")
def logs(id: str, follow: bool, task: str | None, tail: int | None, raw: bool, as_json: bool) -> None:  # noqa: A002
    """The output of a run, each line as the job wrote it, made safe to look at. On a terminal through your pager."""
    client = Client.of_home()
    identity = find_run(client, id)
    path = f"/api/v1/runs/{segment(identity)}/logs"
    if raw:
        client.copy(path, {"task": task, "raw": 1}, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    if not (follow or as_json or output.is_terminal()):
        # The server's own safe text: a million lines need not become a million objects on the way to a pipe.
        client.copy(path, {"task": task, "tail": tail, "format": "text"}, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    query = {"task": task, "tail": tail, "format": "ndjson"}
    found = client.get(f"/api/v1/runs/{segment(identity)}")
    jobs: list[Any] = found.get("run", found).get("jobs") or []
    printer = Printer(prefix=task is None and len(jobs) > 1)
    records = _followed(client, identity, path, query) if follow else map(json.loads, client.lines(path, query))
    if as_json:
        for record in records:
            output.json_line(record)
        return
    with paging.paged(wanted=not follow):
        for record in records:
            sys.stdout.write(printer.text(record))
            if follow:
                sys.stdout.flush()
        sys.stdout.write(printer.end())
    if follow:
        found = client.get(f"/api/v1/runs/{segment(identity)}")
    if RunState(found.get("run", found)["state"]).is_failure:
        output.hint(f"again: homelab run retry {output.short_id(identity)} --failed")


def _followed(client: Client, identity: str, path: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Records as they come, over restarts of control: what was shown already is not shown again."""
    seen: dict[tuple[str, int], int] = {}
    heard = time.monotonic()
    latest = ""
    while True:
        skip, resumed = dict(seen), bool(seen)
        try:
            for raw in client.lines(path, {**query, "follow": 1}):
                heard = time.monotonic()
                record = cast("dict[str, Any]", json.loads(raw))
                key = (str(record.get("job")), int(record.get("attempt") or 0))
                if skip.get(key, 0) > 0:
                    skip[key] -= 1
                    continue
                if resumed and query.get("tail") is not None and str(record["time"]) <= latest:
                    continue
                seen[key] = seen.get(key, 0) + 1
                latest = str(record["time"])
                yield record
            answer = client.get(f"/api/v1/runs/{segment(identity)}")
            if RunState(answer.get("run", answer)["state"]).is_final:
                return
        except (NoAnswerError, TimedOutError):
            if time.monotonic() - heard > PATIENCE_S:
                raise
        time.sleep(0.5)
