"""`cron inspect --from` and `cron import --from`: the files of other schedulers as readings like those of a crontab.

Called by `cli.cron`.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from homelab.cli.cronread import Options, Reading
from homelab.core import timers
from homelab.core.dependencies import suggest
from homelab.core.errors import InputError
from homelab.core.timers import Found, Machine, Order
from homelab.home import crontabs
from homelab.home import timers as files
from homelab.home.scripts import FolderScripts


def read(source: str, options: Options) -> list[Reading]:
    """One reading for each file with something to say. `source`: file, folder, `-`, or empty for the usual
    places."""
    founds, orders = _READERS[options.origin](source, options)
    scripts = FolderScripts(options.root)
    readings = [
        Reading(file=found.file, jobs=found.jobs, problems=list(found.problems), scripts=scripts) for found in founds
    ]
    for reading in readings:
        reading.orders = [_order_json(order) for order in orders if order.downstream_file == reading.file]
    return readings


def add_suggestions(readings: list[Reading]) -> None:
    """What jobs of different files need of each other by what they read and write; an order that a file states stays.

    Each file is a reading of its own, so its own suggestions cannot see the others.
    """
    places = [(reading, job) for reading in readings for job in reading.jobs]
    numbered = [replace(job, line=number) for number, (_, job) in enumerate(places)]
    descriptions = [description for reading in readings for description in reading.described()]
    stated = {
        frozenset((order["upstream"], order["downstream"]))
        for reading in readings
        for order in reading.orders
        if order["confidence"] != "low"
    }
    for found in suggest(numbered, descriptions):
        if found.upstream_line is None or found.downstream_line is None:
            continue
        (above, upstream), (below, downstream) = places[found.upstream_line], places[found.downstream_line]
        if above is below or frozenset((upstream.name, downstream.name)) in stated:
            continue
        below.orders = [order for order in below.orders if order["upstream"] != upstream.name]
        texts = [f"{piece.text} ({places[piece.line][1].name})" for piece in found.sources[:2]]
        below.orders.append(
            {
                "kind": "needs",
                "lines": sorted({upstream.line, downstream.line}),
                "upstream_line": upstream.line,
                "downstream_line": downstream.line,
                "confidence": found.confidence,
                "evidence": ", ".join(texts),
                "reason": found.reason,
                "upstream": upstream.name,
                "downstream": downstream.name,
                "upstream_file": above.file,
                "downstream_file": below.file,
            }
        )


def _machine(options: Options, owner: str) -> Machine:
    return Machine(
        timezone=options.timezone or crontabs.zone(options.root),
        owner=owner,
        accounts=crontabs.accounts(options.root),
    )


def _systemd(source: str, options: Options) -> tuple[Sequence[Found], Sequence[Order]]:
    machine = _machine(options, options.user or crontabs.owner_of("-"))
    if source == "-":
        units = timers.units_of(timers.split_cat(crontabs.read_text(source)))
        if not units:
            hint = "Give it the output of: systemctl cat '*.timer' '*.service'"
            raise InputError("no units on standard input", hint=hint)
    else:
        units = files.units(source, home=machine.home_of(machine.owner), root=options.root)
    return timers.read_units(units, machine)


def _launchd(source: str, options: Options) -> tuple[Sequence[Found], Sequence[Order]]:
    owner = options.user or crontabs.owner_of("-")
    home = _machine(options, owner).home_of(owner, others="/Users", root="/var/root")
    if source == "-":
        lists = [files.Plist(file="-", data=sys.stdin.buffer.read(files.LARGEST_BYTES + 1), is_daemon=options.system)]
    else:
        lists = files.plists(source, home=home, root=options.root)
    founds = [
        timers.read_plist(
            one.data,
            file=one.file,
            machine=_machine(options, options.user or one.owner or owner),
            is_daemon=one.is_daemon or options.system,
        )
        for one in lists
    ]
    return founds, ()


def _anacron(source: str, options: Options) -> tuple[Sequence[Found], Sequence[Order]]:
    source = source or str((options.root or Path("/")) / files.ANACRONTAB.lstrip("/"))
    machine = _machine(options, options.user or "root")
    return [timers.read_anacrontab(crontabs.read_text(source), file=source, machine=machine)], ()


_READERS = {"systemd": _systemd, "launchd": _launchd, "anacron": _anacron}


def _order_json(order: Order) -> dict[str, Any]:
    """An order among two jobs in the shape of a suggestion, with the files its lines are in."""
    return {
        "kind": "needs",
        "lines": sorted({order.upstream.line, order.downstream.line}),
        "upstream_line": order.upstream.line,
        "downstream_line": order.downstream.line,
        "confidence": order.confidence,
        "evidence": f"{order.file}:{order.line}: {order.text}",
        "reason": order.reason,
        "upstream": order.upstream.name,
        "downstream": order.downstream.name,
        "upstream_file": order.upstream_file,
        "downstream_file": order.downstream_file,
    }
