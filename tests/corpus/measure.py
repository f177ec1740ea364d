"""Reads the cases and counts right and wrong suggestions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from homelab.core.commands import Script, describe
from homelab.core.crontab import CronJob, parse
from homelab.core.dependencies import Suggestion, suggest

HERE = Path(__file__).parent
Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    crontab: str
    system: bool
    scripts: dict[str, Script]
    names: dict[int, str]
    edges: frozenset[Pair]
    arguable: frozenset[Pair]
    locks: frozenset[frozenset[str]]


@dataclass(kw_only=True)
class Count:
    """Right and wrong suggestions of one confidence; `missed` counts true edges for which there is none at all."""

    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("high", "medium", "low"), 0))
    wrong: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("high", "medium", "low"), 0))
    missed: int = 0
    mistakes: list[str] = field(default_factory=list)

    def add(self, other: "Count") -> None:
        for level in self.right:
            self.right[level] += other.right[level]
            self.wrong[level] += other.wrong[level]
        self.missed += other.missed
        self.mistakes += other.mistakes

    def precision(self, *levels: str) -> float:
        right = sum(self.right[level] for level in levels)
        wrong = sum(self.wrong[level] for level in levels)
        return right / (right + wrong) if right + wrong else 1.0

    def recall(self, *levels: str) -> float:
        right = sum(self.right[level] for level in levels)
        true = sum(self.right.values()) + self.missed
        return right / true if true else 1.0


def cases(*folders: str) -> list[Case]:
    paths = sorted(path for folder in folders for path in (HERE / folder).glob("*.case"))
    return [read(path) for path in paths]


def read(path: Path) -> Case:
    parts = re.split(r"^--- (.+)\n", path.read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    system = "crontab system" in sections
    crontab = sections["crontab system" if system else "crontab"]
    truth = sections["truth"].split("\n")
    scripts = {head: Script(path=head, text=text) for head, text in sections.items() if head.startswith("/")}
    lines = [job.line for job in parse(crontab, system=system, user="me", home="/home/me").jobs]
    if "names" in sections:
        names = dict(zip(lines, sections["names"].split(), strict=True))
    else:
        rows = crontab.split("\n")
        names = {line: re.fullmatch(r"# \[(.+)\]", rows[line - 2])[1] for line in lines}  # type: ignore[index]
    edges = frozenset(_pair(row) for row in truth if " -> " in row and not row.startswith("?"))
    arguable = frozenset(_pair(row[1:]) for row in truth if row.startswith("?"))
    locks = frozenset(frozenset(row.split()[1:]) for row in truth if row.startswith("lock "))
    known = set(names.values())
    for pair in edges | arguable:
        assert set(pair) <= known, (path.name, pair)
    assert len(known) == len(names), (path.name, "names are not unique")
    return Case(
        name=path.stem,
        crontab=crontab,
        system=system,
        scripts=scripts,
        names=names,
        edges=edges,
        arguable=arguable,
        locks=locks,
    )


def _pair(row: str) -> Pair:
    one, other = row.split(" -> ")
    return one.strip(), other.strip()


def jobs_of(case: Case, crontab: str | None = None) -> tuple[CronJob, ...]:
    text = case.crontab if crontab is None else crontab
    return parse(text, system=case.system, user="me", home="/home/me").jobs


def suggestions(case: Case, crontab: str | None = None) -> tuple[Suggestion, ...]:
    jobs = jobs_of(case, crontab)
    found = [
        describe(
            job.command,
            stdin=job.stdin,
            environment=job.environment,
            folder=job.cwd,
            shell=job.shell,
            scripts=case.scripts,
        )
        for job in jobs
    ]
    return suggest(jobs, found)


def count(case: Case) -> Count:
    """Edges and locks of a case together."""
    result = Count()
    seen: set[Pair] = set()
    for one in suggestions(case):
        if one.kind == "exclusive":
            continue
        pair = case.names[one.upstream_line or 0], case.names[one.downstream_line or 0]
        seen.add(pair)
        if pair in case.edges:
            result.right[one.confidence] += 1
            if one.confidence == "low":
                result.mistakes.append(f"{case.name}: only low: {pair[0]} -> {pair[1]} ({one.evidence})")
        elif pair not in case.arguable:
            result.wrong[one.confidence] += 1
            if one.confidence != "low":
                result.mistakes.append(
                    f"{case.name}: {one.confidence} but wrong: {pair[0]} -> {pair[1]} ({one.reason}; {one.evidence})"
                )
    for pair in sorted(case.edges - seen):
        result.missed += 1
        result.mistakes.append(f"{case.name}: missed: {pair[0]} -> {pair[1]}")
    result.add(_locks(case))
    return result


def _locks(case: Case) -> Count:
    result = Count()
    found = {
        frozenset(pair): one.confidence
        for one in suggestions(case)
        if one.kind == "exclusive"
        for pair in combinations([case.names[line] for line in one.lines], 2)
    }
    true = {frozenset(pair) for group in case.locks for pair in combinations(sorted(group), 2)}
    for pair, level in found.items():
        (result.right if pair in true else result.wrong)[level] += 1
        if pair not in true:
            result.mistakes.append(f"{case.name}: no such lock: {sorted(pair)}")
    for pair in sorted(map(sorted, true - set(found))):
        result.missed += 1
        result.mistakes.append(f"{case.name}: missed lock: {pair}")
    return result


def total(found: list[Case]) -> Count:
    result = Count()
    for case in found:
        result.add(count(case))
    return result


def table(title: str, found: list[Case]) -> Iterator[str]:
    result = total(found)
    yield f"{title}: {len(found)} crontabs, {sum(len(case.names) for case in found)} jobs"
    for level in ("high", "medium", "low"):
        right, wrong = result.right[level], result.wrong[level]
        yield f"  {level:7} {right:4} right {wrong:4} wrong   precision {result.precision(level):.3f}"
    precision, recall = result.precision("high", "medium"), result.recall("high", "medium")
    yield f"  medium and above: precision {precision:.3f}, recall {recall:.3f} ({result.missed} missed altogether)"
