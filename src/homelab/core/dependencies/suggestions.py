"""What is proposed to the person: edges and locks with their evidence, in words. The entry of the package.

Called through `core.dependencies`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from homelab.core.commands import Description, Effect, Lock, Source, is_plain, shown
from homelab.core.crontab import CronJob
from homelab.core.dependencies.edges import Edge, edges
from homelab.core.dependencies.links import Confidence, confidence


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A piece of text that a suggestion rests on. `line`: the job's; `file`, `file_line`: of a script, if in one.

    `text` is exactly as it stands there, in a crontab with its `\\%`.
    """

    line: int
    file: str
    file_line: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """`kind` needs: the downstream job waits for the upstream one. exclusive: `lines` do not run at the same time.

    Lines are those of the jobs in the crontab; upstream and downstream are None for exclusive.
    """

    kind: Literal["needs", "exclusive"]
    lines: tuple[int, ...]
    upstream_line: int | None
    downstream_line: int | None
    confidence: Confidence
    evidence: str
    reason: str
    sources: tuple[Evidence, ...]


def suggest(jobs: Sequence[CronJob], descriptions: Sequence[Description]) -> tuple[Suggestion, ...]:
    """Proposals for the jobs of one crontab, given what each does, in the same order.

    By kind (needs first), then by lines. Never both directions of a pair, never a circle.
    """
    needs = [_needs(jobs, edge) for edge in edges(jobs, descriptions)]
    needs.sort(key=lambda one: (one.upstream_line or 0, one.downstream_line or 0))
    return (*needs, *_exclusive(jobs, descriptions))


def _needs(jobs: Sequence[CronJob], edge: Edge) -> Suggestion:
    up, down = jobs[edge.upstream], jobs[edge.downstream]
    best = edge.links[0]
    sources = tuple(
        dict.fromkeys(
            piece
            for one in edge.links
            for piece in (_evidence(up, one.upstream.source), _evidence(down, one.downstream.source))
        )
    )
    return Suggestion(
        kind="needs",
        lines=tuple(sorted((up.line, down.line))),
        upstream_line=up.line,
        downstream_line=down.line,
        confidence=confidence(edge.level),
        evidence=f"{_named(best.upstream, best.downstream)}: {_quoted(sources[0])}, {_quoted(sources[1])}",
        reason=f"{down.name} {best.why.replace(' it ', f' {up.name} ')}{_timing(edge)}",
        sources=sources,
    )


def _evidence(job: CronJob, source: Source) -> Evidence:
    if source.file:
        return Evidence(line=job.line, file=source.file, file_line=source.line, text=source.text)
    return Evidence(line=job.line, file="", file_line=0, text=source.text.replace("%", "\\%"))


def _quoted(piece: Evidence) -> str:
    where = f"line {piece.line}, {piece.file}:{piece.file_line}" if piece.file else f"line {piece.line}"
    return f"{piece.text} ({where})"


def _named(made: Effect, taken: Effect) -> str:
    """The thing that is handed over, as precisely as either side says it."""
    effect = made if not made.is_tree or taken.is_tree else taken
    return f"{effect.place}:{shown(effect.target)}" if effect.place else shown(effect.target)


def _timing(edge: Edge) -> str:
    if edge.gap_s is None:
        return ""
    minutes = round(edge.gap_s / 60)
    if minutes == 0:
        return "; both start in the same minute"
    if minutes < 120:
        return f"; it starts {minutes} min later"
    hours = round(minutes / 60)
    return f"; it starts {hours} h later" if hours < 48 else f"; it starts {round(hours / 24)} days later"


def _exclusive(jobs: Sequence[CronJob], descriptions: Sequence[Description]) -> list[Suggestion]:
    """One for each lock that two or more jobs hold, unless all of them share it."""
    held: dict[str, list[tuple[int, Lock]]] = defaultdict(list)
    for number, found in enumerate(descriptions):
        for path in dict.fromkeys(lock.path for lock in found.locks):
            lock = min((one for one in found.locks if one.path == path), key=lambda one: one.is_shared)
            held[path].append((number, lock))
    made: list[Suggestion] = []
    for path, holders in held.items():
        if len(holders) < 2 or all(lock.is_shared for _, lock in holders) or not (is_plain(path) or "\ue005" in path):
            continue
        sources = tuple(_evidence(jobs[number], lock.source) for number, lock in holders)
        lines = tuple(sorted(jobs[number].line for number, _ in holders))
        made.append(
            Suggestion(
                kind="exclusive",
                lines=lines,
                upstream_line=None,
                downstream_line=None,
                confidence="high",
                evidence=f"{shown(path)}: " + ", ".join(_quoted(piece) for piece in sources),
                reason="they hold the same lock: one runs at a time, in no order",
                sources=sources,
            )
        )
    return sorted(made, key=lambda one: (one.lines, one.evidence))
