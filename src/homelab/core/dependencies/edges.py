"""From links between jobs to edges: one direction for a pair, no circles, nothing that follows from the rest.

Called through `core.dependencies`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from homelab.core.commands import Description, Effect, Match, below, match
from homelab.core.commands.patterns import is_picked, is_plain, known_part
from homelab.core.crontab import CronJob
from homelab.core.dependencies.links import Link, link
from homelab.core.dependencies.timing import gap_s, period_s
from homelab.core.dependencies.traces import Product, Traces, Use, is_look, traces

_DAY_S = 86400.0
_MOST_LINKS = 4


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`upstream` and `downstream`: positions of the jobs. `links`: the best first. `gap_s`: from start to start."""

    upstream: int
    downstream: int
    level: int
    links: tuple[Link, ...]
    gap_s: float | None


@dataclass(frozen=True, kw_only=True)
class _Party:
    """A job as it is seen here. `identity` does not change with its place in the file."""

    job: CronJob
    traces: Traces
    delay_s: float
    identity: tuple[str, str, str, str]


def edges(jobs: Sequence[CronJob], descriptions: Sequence[Description]) -> list[Edge]:
    """All edges worth proposing, of whatever confidence; by position of the upstream, then of the downstream job."""
    parties = [_party(job, found) for job, found in zip(jobs, descriptions, strict=True)]
    candidates = [_weighed(parties, pair, links) for pair, links in _linked(parties).items()]
    candidates = _nearest_writers(parties, [edge for edge in candidates if edge is not None])
    chosen = _without_circles(parties, candidates)
    return sorted(_without_detours(parties, chosen), key=lambda edge: (edge.upstream, edge.downstream))


def _party(job: CronJob, found: Description) -> _Party:
    delay = 0.0
    for command in found.commands:
        if command.name != "sleep":
            break
        number = command.words[-1].value
        delay += float(number) if number.isdigit() else 60.0
    identity = (job.command, job.schedule, job.user, job.stdin or "")
    return _Party(job=job, traces=traces(found), delay_s=delay, identity=identity)


# --- links ------------------------------------------------------------------------------------------------------------


def _linked(parties: Sequence[_Party]) -> dict[tuple[int, int], list[Link]]:
    """Links by pair (upstream, downstream)."""
    found: dict[tuple[int, int], list[Link]] = defaultdict(list)
    index = _Index(parties)
    for up, party in enumerate(parties):
        for product in party.traces.products:
            for down, use in index.candidates(product):
                if up == down or _is_mutual(product, use, party.traces, parties[down].traces):
                    continue
                one = link(product, use)
                if one is not None:
                    found[up, down].append(one)
    _prefer_exact(found)
    for (up, down), one in _cleared(parties):
        found[up, down].append(one)
    return found


def _prefer_exact(found: dict[tuple[int, int], list[Link]]) -> None:
    """A file that one job writes by name does not come from another that writes somewhere in its folder."""
    exact = {
        (down, one.downstream.place, one.downstream.target)
        for (_, down), links in found.items()
        for one in links
        if one.level >= 2 and not one.upstream.is_tree and not one.downstream.is_tree and one.upstream.kind != "mention"
    }
    for (up, down), links in found.items():
        found[up, down] = [
            replace(one, level=1)
            if (one.upstream.is_tree or one.upstream.kind == "mention")
            and not one.downstream.is_tree
            and (down, one.downstream.place, one.downstream.target) in exact
            else one
            for one in links
        ]


def _is_mutual(product: Product, use: Use, mine: Traces, theirs: Traces) -> bool:
    """Both read it and both write it: common state, not something handed over."""
    made, taken = product.effect, use.effect
    if is_look(taken) and _keeps_in_order(theirs, taken):
        return True
    if made.target != taken.target or made.is_tree != taken.is_tree:
        return False
    return mine.takes(made.target, made.place) and theirs.produces(made.target, made.place)


def _keeps_in_order(found: Traces, look: Effect) -> bool:
    """It lists the folder only to tidy up there: it removes or writes files in it itself."""
    own = [product.effect for product in found.products] + [u.effect for u in found.uses if u.effect.kind == "delete"]
    return any(
        effect.place == look.place and (below(effect.target, look.target) or match(effect.target, look.target))
        for effect in own
    )


def _cleared(parties: Sequence[_Party]) -> Iterable[tuple[tuple[int, int], Link]]:
    """Who takes a file away comes after those who read it."""
    for down, party in enumerate(parties):
        for use in party.traces.uses:
            effect = use.effect
            if effect.kind != "delete" or effect.is_age_based or effect.place:
                continue
            for up, other in enumerate(parties):
                if up == down or not (read := _reads(other.traces, use)):
                    continue
                gap = _gap(other, party)
                period = _period(other, party)
                is_next = gap is not None and period is not None and gap <= period / 2
                level = 2 if is_next and not is_picked(effect.target) else 1
                yield (
                    (up, down),
                    Link(
                        level=level,
                        why="removes the file it reads",
                        upstream=read.effect,
                        downstream=effect,
                        is_own=True,
                    ),
                )


def _reads(found: Traces, removed: Use) -> Use | None:
    for use in found.uses:
        effect = use.effect
        if effect.kind != "read" or effect.place or effect.is_tree or use.changes or is_look(effect):
            continue
        if match(effect.target, removed.effect.target) >= Match.GLOB or (
            removed.effect.is_tree and below(effect.target, removed.effect.target) >= Match.GLOB
        ):
            return use
    return None


class _Index:
    """Uses by the folders they are in, so that not everything is compared with everything.

    Two names can be the same only if the known folders of one begin with those of the other.
    """

    def __init__(self, parties: Sequence[_Party]) -> None:
        self._in: dict[tuple[str, str], list[tuple[int, Use]]] = defaultdict(list)
        self._below: dict[tuple[str, str], list[tuple[int, Use]]] = defaultdict(list)
        for number, party in enumerate(parties):
            for use in party.traces.uses:
                place = use.effect.place
                folder, *above = _folders(use.effect.target)
                self._in[place, folder].append((number, use))
                for ancestor in above:
                    self._below[place, ancestor].append((number, use))

    def candidates(self, product: Product) -> Iterable[tuple[int, Use]]:
        effect = product.effect
        folders = _folders(effect.target)
        for folder in folders:
            yield from self._in.get((effect.place, folder), ())
        if effect.is_tree or not is_plain(effect.target):
            yield from self._below.get((effect.place, folders[0]), ())


def _folders(target: str) -> list[str]:
    """The folder a name is in, as far as it is known, and all folders above that one; the last is empty."""
    parts = known_part(target).split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)] if parts else [""]


# --- time -------------------------------------------------------------------------------------------------------------


def _gap(up: _Party, down: _Party) -> float | None:
    gap = gap_s(up.job.schedule, down.job.schedule, up.job.timezone, down.job.timezone)
    if gap is None:
        return None
    gap += down.delay_s - up.delay_s
    if gap < 0:  # in the same minute, but the other way round
        period = period_s(up.job.schedule, up.job.timezone)
        gap += period or 0.0
    return gap


def _period(up: _Party, down: _Party) -> float | None:
    """The time in which both have run."""
    periods = [period_s(party.job.schedule, party.job.timezone) for party in (up, down)]
    known = [period for period in periods if period is not None]
    return max(known) if len(known) == 2 else None


def _weighed(parties: Sequence[_Party], pair: tuple[int, int], links: Sequence[Link]) -> Edge | None:
    up, down = pair
    best = sorted(links, key=lambda one: (one.strength, one.upstream.target, one.downstream.target), reverse=True)
    level = best[0].level
    gap = _gap(parties[up], parties[down])
    period = _period(parties[up], parties[down])
    if gap is None:
        level = 1
    elif period is not None and period >= _DAY_S and gap > period / 2 and not best[0].is_own:
        level -= 1  # it usually runs before, not after
    if level < 1:
        return None
    return Edge(upstream=up, downstream=down, level=level, links=tuple(best[:_MOST_LINKS]), gap_s=gap)


def _nearest_writers(parties: Sequence[_Party], found: Sequence[Edge]) -> list[Edge]:
    """Of several jobs that write the same file anew, the reader needs the one that ran last before it."""
    by_file: dict[tuple[int, str, str], list[Edge]] = defaultdict(list)
    for edge in found:
        best = edge.links[0]
        if best.upstream.kind in ("write", "make") and is_plain(best.upstream.target):
            by_file[edge.downstream, best.upstream.place, best.upstream.target].append(edge)
    demoted: set[tuple[int, int]] = set()
    for rivals in by_file.values():
        if len(rivals) > 1:
            nearest = min(rivals, key=lambda e: (e.gap_s or 0.0, parties[e.upstream].identity))
            demoted |= {(e.upstream, e.downstream) for e in rivals if e is not nearest}
    return [replace(e, level=1) if (e.upstream, e.downstream) in demoted else e for e in found]


# --- choice -----------------------------------------------------------------------------------------------------------


def _without_circles(parties: Sequence[_Party], found: Sequence[Edge]) -> list[Edge]:
    """The surest first; an edge that would close a circle (the other direction of a pair is one) is left out."""
    order = sorted(
        found,
        key=lambda edge: (
            -edge.level,
            tuple(-n for n in edge.links[0].strength),
            edge.gap_s if edge.gap_s is not None else float("inf"),
            parties[edge.upstream].identity,
            parties[edge.downstream].identity,
        ),
    )
    after: dict[int, set[int]] = defaultdict(set)
    chosen: list[Edge] = []
    for edge in order:
        if not _reaches(after, edge.downstream, edge.upstream):
            after[edge.upstream].add(edge.downstream)
            chosen.append(edge)
    return chosen


def _reaches(after: Mapping[int, set[int]], start: int, goal: int) -> bool:
    seen = {start}
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node == goal:
            return True
        fresh = after.get(node, set()) - seen
        seen |= fresh
        waiting += fresh
    return False


def _without_detours(parties: Sequence[_Party], found: Sequence[Edge]) -> list[Edge]:
    """Leave out an edge that others, no less sure, already make: unless a file of its own goes along it."""
    removals = [
        (number, use.effect)
        for number, party in enumerate(parties)
        for use in party.traces.uses
        if use.effect.kind == "delete" and not use.effect.is_age_based
    ]
    kept: list[Edge] = []
    for edge in found:
        if any(
            one.is_own and one.level == edge.level and not _is_taken_on_the_way(removals, edge, one)
            for one in edge.links
        ):
            kept.append(edge)
            continue
        after: dict[int, set[int]] = defaultdict(set)
        for other in found:
            if other is not edge and other.level >= edge.level:
                after[other.upstream].add(other.downstream)
        if not _reaches(after, edge.upstream, edge.downstream):
            kept.append(edge)
    return kept


def _is_taken_on_the_way(removals: Sequence[tuple[int, Effect]], edge: Edge, one: Link) -> bool:
    """Whether a third job takes the file away (compresses it, moves it), so that it does not come here as it was."""
    if not one.downstream.is_tree and one.downstream.target == one.upstream.target:
        return False
    return any(
        number not in (edge.upstream, edge.downstream) and match(one.upstream.target, removed.target)
        for number, removed in removals
    )
