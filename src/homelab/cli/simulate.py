"""`homelab simulate`: how long work would wait on a fleet, in virtual time. Nothing running is touched."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from homelab.cli.job import as_json
from homelab.core.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from homelab.core.labfile import Lab
    from homelab.core.placement import Node
    from homelab.simulation.engine import Outcome
    from homelab.simulation.workload import Item

_FORMAT = "auto: JSON Lines, CSV, or the Azure LLM trace by its columns."
_ADD = "And what if there were one more: 'mac5: cpu=12,memory=64GiB'."
_DAYS = "Without FILE: so many days of the lab's jobs."
_SEED = "Without FILE: what lengths and needs are drawn from."
_SCALE = "Without FILE: drawn lengths times this."

Source = Callable[[], "Iterable[Item]"]


@click.command()
@click.argument("workload", required=False, metavar="[FILE|-]")
@click.option("--format", "format_", type=click.Choice(["auto", "azure-llm"]), default="auto", help=_FORMAT)
@click.option("--fleet", metavar="FILE", help="A lab file whose nodes are the fleet (default: the lab file).")
@click.option("--add-node", "added", multiple=True, metavar="NAME:K=V,...", help=_ADD)
@click.option("--days", type=click.FloatRange(0.01, 366), default=30.0, show_default=True, help=_DAYS)
@click.option("--seed", type=int, default=1, show_default=True, help=_SEED)
@click.option("--scale", type=click.FloatRange(0.001, 1000), default=1.0, show_default=True, help=_SCALE)
@click.option("--durations", metavar="FILE", help="Without FILE: a JSON object of seconds by job, as measured.")
@click.option("--preempt", is_flag=True, help="Let placement stop restartable work for work of higher priority.")
@click.option("--html", metavar="FILE", help="Write the report with pictures to this page.")
@as_json
def simulate(
    workload: str | None,
    format_: str,
    fleet: str | None,
    added: tuple[str, ...],
    days: float,
    seed: int,
    scale: float,
    durations: str | None,
    preempt: bool,
    html: str | None,
    as_json: bool,
) -> int:
    """Replay a workload on a described fleet, and compare the lab's placement with simpler ways.

    FILE is JSON Lines or CSV (docs/reference/workload.md) or the Azure LLM trace; without one, every run of the lab's
    own jobs in --days. Reports waits, how full nodes are and what is rejected.
    """
    from homelab.cli import output
    from homelab.cli.check import checked
    from homelab.core.labfile.fleet import fleet_of
    from homelab.simulation import report

    described = checked(fleet)[0]
    lab = described if workload or fleet is None else checked(None)[0]
    nodes = fleet_of(described.nodes, concurrency=described.worker.concurrency)
    if not nodes:
        raise NotFoundError("the fleet has no nodes", hint="Describe some: [nodes.NAME] with capacity = { ... }")
    more = [_node(text, described.worker.concurrency) for text in added]
    names = [node.name for node in (*nodes, *more)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the fleet has a node '{twice}' already", hint="Give the added node another name.")
    with tempfile.TemporaryDirectory(prefix="homelab-simulate-") as folder, output.progress("simulating") as progress:
        source = _source(workload, format_, Path(folder)) if workload else _month(lab, days, seed, scale, durations)
        outcomes, body = _compare(source, nodes, preempt, progress)
        if not outcomes[0].items:
            raise InputError("there is nothing in the workload", hint="Give it more days, or another file.")
        changes: list[str] = []
        if more:
            larger = [*nodes, *more]
            _, other = _compare(source, larger, preempt, progress, alone=True)
            body["what_if"], changes = report.compare(body, other, " and ".join(n.name for n in more))
            body["what_if"]["report"] = other
    if html:
        _write_page(html, body, outcomes[0], changes)
    if as_json:
        output.json_document(body)
    else:
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        for line in [*report.text(body, outcomes[0], unicode=unicode), *([""] if changes else []), *changes]:
            output.line(output.safe(line))
    return 0


def _compare(
    source: Source, nodes: Sequence[Node], preempt: bool, progress: Any, *, alone: bool = False
) -> tuple[list[Outcome], dict[str, Any]]:
    """Every policy on the same workload, the lab's own first; with `alone`, that one only."""
    from homelab.simulation import report
    from homelab.simulation.engine import simulate as run
    from homelab.simulation.optimum import Optimum, optimum
    from homelab.simulation.policies import ByPlacement, FirstCome, LeastLoaded, Policy, RoundRobin, Suitable

    suitable = Suitable(nodes)
    policies: list[Policy] = [ByPlacement(nodes, preempt=preempt)]
    if not alone:
        policies += [FirstCome(nodes), LeastLoaded(nodes, suitable), RoundRobin(nodes, suitable)]
    outcomes: list[Outcome] = []
    for policy in policies:

        def tell(items: int, now: float, name: str = policy.name) -> None:
            progress.say(f"{name}: {items} items, {report.seconds(now)} of virtual time")

        outcomes.append(run(source(), nodes, policy, tell=tell))
    progress.say("the least possible wait")
    best = Optimum(kind="none", why="see the fleet without it") if alone else optimum(source(), nodes)
    return outcomes, report.to_json(outcomes, nodes, best)


def _month(lab: Lab, days: float, seed: int, scale: float, durations: str | None) -> Source:
    from homelab.simulation.month import generate

    if not lab.jobs:
        raise NotFoundError("the lab file has no jobs, and no workload is given", hint="Name a workload file.")
    lengths = _lengths(durations) if durations else None
    return lambda: generate(lab, days=days, seed=seed, scale=scale, lengths=lengths)


def _lengths(file: str) -> dict[str, float]:
    from homelab.core.durations import duration_s

    try:
        found = json.loads(Path(file).read_text())
        return {str(name): duration_s(value) for name, value in found.items()}
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {file}") from None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"this is not a JSON object of seconds by job: {error}", where=file) from None


def _source(file: str, format_: str, folder: Path) -> Source:
    """The workload, to be read once for each policy; standard input is kept in a file meanwhile."""
    path = Path(file)
    if file == "-":
        path = folder / "stdin"
        path.write_bytes(sys.stdin.buffer.read())
    elif not path.is_file():
        raise NotFoundError(f"there is no file {file}", hint="See docs/reference/workload.md for what it may hold.")
    name = "standard input" if file == "-" else file
    return lambda: _items(path, name, format_)


def _items(path: Path, name: str, format_: str) -> Iterator[Item]:
    from homelab.simulation.traces import read_azure
    from homelab.simulation.workload import read

    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            yield from (read_azure if format_ == "azure-llm" or _is_azure(lines) else read)(lines, source=name)
        except UnicodeDecodeError:
            raise InputError("this is not text in UTF-8", where=name) from None


def _is_azure(lines: TextIO) -> bool:
    first = lines.readline()
    lines.seek(0)
    return first.strip() == "TIMESTAMP,ContextTokens,GeneratedTokens"


def _node(text: str, concurrency: int) -> Node:
    from homelab.core.capacity import table_of
    from homelab.core.labfile import Node as Declared
    from homelab.core.labfile.fleet import fleet_of

    name, colon, pairs = text.partition(":")
    if not colon or not name.strip():
        raise InputError(f"'{text}' is not NAME: K=V,...", hint="Write it like --add-node 'mac5: cpu=12,memory=64GiB'")
    return fleet_of([Declared(name=name.strip(), capacity=table_of(pairs))], concurrency=concurrency)[0]


def _write_page(file: str, body: dict[str, Any], outcome: Outcome, changes: Sequence[str]) -> None:
    from homelab.cli import output
    from homelab.simulation.picture import page

    try:
        Path(file).write_text(page("A simulated fleet", body, outcome, ["\n".join(changes)] if changes else []))
    except OSError as error:
        raise InputError(f"the page cannot be written: {error.strerror}", where=file) from None
    output.note(f"wrote {file}")
