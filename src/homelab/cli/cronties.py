"""From needs that were accepted to what the lab file says of each job. Pure.

Called by `cli.cronimport`, once it is known which job of the crontab is which of the lab file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from homelab.core.durations import duration_text
from homelab.core.edges import Edge, Placement, Timing, relation, settle
from homelab.core.jobs import When
from homelab.home.labedit import Tie
from homelab.home.labmatch import Known, Matched, NewJob, listed, needs_of, plain


def ties(
    match: Matched, timings: Mapping[str, Timing], fresh: Sequence[Edge], *, at: datetime
) -> tuple[dict[str, Tie], list[tuple[Edge, str]]]:
    """By job, what ties it to others; and the edges that could not be taken, with the reason.

    `fresh`: needs accepted now. Those accepted earlier are decided again where a job of theirs changed. Needs that a
    person wrote into the lab file stay as they are; they only count when something new is tied to the same job. A job
    that needs one of another source keeps its time: that one may have any.
    """
    ours, by_hand = _held(match)
    with_new = {edge.down for edge in fresh}
    counted = [*fresh, *ours, *(edge for edge in by_hand if edge.down in with_new)]
    fixed = {down for up, down in match.needs if up not in timings and down in timings}
    fixed |= {e.down for e in by_hand if relation(timings[e.up], timings[e.down], at=at).kind == "apart"}
    settled = settle(timings, counted, at=at, others=match.needs, fixed=fixed)
    dirty = _below(with_new | _changed(match), [*fresh, *ours])
    mine: dict[str, set[str]] = {}
    for edge in (*fresh, *ours):
        mine.setdefault(edge.down, set()).add(edge.up)
    found = {
        name: _tie(placement, mine.get(name, set()))
        for name, placement in settled.placements.items()
        if name in dirty and (name in mine or placement.respelled)
    }
    refused = [(edge, why) for edge, why in settled.refused if edge not in by_hand]
    for edge, _ in refused:
        if edge in ours:  # it held until a time changed
            tie = found.get(edge.down, Tie())
            found[edge.down] = replace(tie, dropped=(*tie.dropped, edge.up))
    return found, refused


def named(match: Matched) -> Iterable[tuple[str, NewJob, Known | None]]:
    """Each job of the crontab with its name in the lab file."""
    for job, old in match.pairs:
        yield match.names[job.name], job, old


def answered(old: Known | None) -> list[str]:
    """The suggestions about this job that were decided at an earlier import."""
    return [str(key) for key in old.imported.get("answered", ())] if old is not None else []


def _held(match: Matched) -> tuple[list[Edge], list[Edge]]:
    """Needs between jobs of this crontab that hold already: those that imports made, and those a person wrote."""
    ours: list[Edge] = []
    by_hand: list[Edge] = []
    names = set(match.names.values())
    for name, job, old in named(match):
        chained = [match.names[up] for up in job.needs]
        ours += [Edge(up=up, down=name, when="always") for up in chained]
        for up, when in _needs_with_when(old):
            if up in names and up not in chained:
                (ours if up in answered(old) else by_hand).append(Edge(up=up, down=name, when=when))
    return ours, by_hand


def _needs_with_when(old: Known | None) -> list[tuple[str, When]]:
    if old is None:
        return []
    values = old.values
    items = listed(values.get("needs", []))
    said = [plain(item).get("when") for item in items]
    whens: list[When] = [when if when in ("always", "failure") else "success" for when in said]
    return list(zip(needs_of(values), whens, strict=True))


def _changed(match: Matched) -> set[str]:
    """Jobs that are new, or another than at the last import, or that lose something they need."""
    removed = {old.name for old in match.removed}
    return {
        name
        for name, job, old in named(match)
        if old is None or old.digest != job.digest or removed.intersection(needs_of(old.values))
    }


def _below(start: set[str], edges: Sequence[Edge]) -> set[str]:
    """`start` and all that needs it, directly or not."""
    downs: dict[str, list[str]] = {}
    for edge in edges:
        downs.setdefault(edge.up, []).append(edge.down)
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += downs.get(name, [])
    return found


def _tie(placement: Placement, mine: set[str]) -> Tie:
    needs: dict[str, dict[str, Any]] = {}
    for edge in placement.joins:
        needs[edge.up] = {} if edge.when == "success" else {"when": edge.when}
    for edge, within_s in placement.fresh:
        needs[edge.up] = {"within": duration_text(within_s)}
    spelling = placement.respelled
    return Tie(
        needs={up: conditions for up, conditions in needs.items() if up in mine},
        joins=bool(placement.joins),
        respelled=(spelling.schedule, spelling.timezone) if spelling else None,
    )
