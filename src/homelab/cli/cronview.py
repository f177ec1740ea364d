"""What was found in crontabs and what an import would do, as lines of text for a terminal of any width.

Pure: values in, lines out. Used by `cron inspect`, `cron import` and the review; `cli.cronpage` makes a page of it.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from homelab.cli import drawing
from homelab.cli.cronimport import Plan, Suggestion
from homelab.cli.cronread import Reading
from homelab.cli.hazardread import paragraphs
from homelab.cli.output import painted, safe, width
from homelab.core.crontab import CronJob
from homelab.core.hazards import CODES, Hazard
from homelab.core.schedule import ScheduleError, describe, parse
from homelab.core.timetable import Row
from homelab.home.labedit import Merged

CONFIDENCES = ("high", "medium", "low")
_TIMES = ("schedule", "timezone", "needs")
_MOST_LINES = 8  # of one suggestion: a screen has 24
_COLOURS = {"high": "32", "medium": "33", "low": "2"}


def heading(title: str, more: str = "", *, columns: int) -> list[str]:
    """A title in a line of its own, with an empty one above it."""
    said = f"{title}  {more}" if more else title
    rule = "─" * max(0, columns - width(said) - 1)
    return ["", f"{painted(title, '1')}{'  ' + more if more else ''} {painted(rule, '2')}"]


def counts(readings: Sequence[Reading], suggestions: Sequence[Suggestion]) -> str:
    """One line: how much of what was found."""
    hazards = sum(len(reading.hazards()) for reading in readings)
    bad = sum(p.severity == "error" for reading in readings for p in reading.problems)
    of_each = [f"{n} {word}" for word in CONFIDENCES if (n := sum(s.confidence == word for s in suggestions))]
    parts = [
        _number(sum(len(reading.jobs) for reading in readings), "job"),
        _number(len(suggestions), "suggestion") + (f" ({', '.join(of_each)})" if of_each else ""),
        _number(hazards, "hazard"),
    ]
    if bad:
        parts.append(_number(bad, "bad line"))
    return ", ".join(parts)


def _number(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def words_of(job: CronJob) -> str:
    """The schedule of a crontab's job in plain words."""
    try:
        return describe(parse(job.schedule, job.timezone, seed=job.name))
    except ScheduleError:
        return job.schedule


# --- parts ------------------------------------------------------------------------------------------------------------


def graph(plan: Plan) -> tuple[drawing.Graph, dict[tuple[str, str], str]]:
    """The jobs that are tied to others or might be, and the words for each edge. What was declined is not in it."""
    times = {row.job: row.before or row.after for row in plan.rows}
    edges: dict[tuple[str, str], str] = {}
    notes: dict[tuple[str, str], str] = {}
    for suggestion in plan.suggestions:
        if suggestion.kind == "needs" and suggestion.state != "declined":
            pair = (suggestion.up, suggestion.down)
            is_open = suggestion.state == "open"
            edges[pair] = "suggested" if is_open else ""
            notes[pair] = f"{suggestion.confidence}?" if is_open else "accepted"
    names = dict.fromkeys(name for pair in edges for name in pair)
    nodes = {name: times.get(name, "") for name in names}
    return drawing.Graph(nodes=nodes, edges=tuple((a, b, kind) for (a, b), kind in edges.items())), notes


def graph_lines(plan: Plan, *, columns: int) -> list[str]:
    made, notes = graph(plan)
    if not made.edges:
        return []
    alone = sum(1 for row in plan.rows if row.after) - len(made.nodes)
    lines = heading("What might need what", columns=columns)
    lines += [cut(line, columns) for line in drawing.text(made, notes=notes).splitlines()]
    if alone > 0:
        lines.append(painted(f"and {_number(alone, 'job')} alone", "2"))
    return lines


def job_lines(reading: Reading, *, columns: int, heading: bool) -> list[str]:
    """The jobs of a crontab: line, schedule in words, name, command."""
    rows = [("LINE", "WHEN", "NAME", "COMMAND"), *((str(j.line), words_of(j), j.name, j.command) for j in reading.jobs)]
    rooms = (6, max(16, columns // 3), max(14, columns // 4))
    sizes = [min(room, max(width(safe(row[n])) for row in rows)) for n, room in enumerate(rooms)]
    lines = [f"{safe(reading.file)}:"] if heading else []
    for n, row in enumerate(rows):
        cells = [_padded(safe(cell), size) for cell, size in zip(row, sizes, strict=False)]
        line = cut("  ".join([*cells, safe(row[3])]), columns)
        lines.append(painted(line, "2") if n == 0 else line)
    return lines


def suggestions_lines(plan: Plan, *, columns: int) -> list[str]:
    """All suggestions, the surest first, each with its evidence."""
    if not plan.suggestions:
        return []
    lines = heading("Suggestions", str(len(plan.suggestions)), columns=columns)
    for word in CONFIDENCES:
        for suggestion in plan.suggestions:
            if suggestion.confidence == word:
                lines.append(f"{confidence(_padded(word, 6))}  {cut(safe(suggestion.title), columns - 8)}")
                lines += _wrapped(suggestion.evidence, columns, lead="        ", codes="2")
    return lines


def problem_lines(readings: Sequence[Reading], *, columns: int, with_notes: bool = True) -> list[str]:
    """Lines that cron refuses or reads otherwise than one might think. Without notes these are only counted."""
    found = [(reading, problem) for reading in readings for problem in reading.problems]
    shown = [(r, p) for r, p in found if with_notes or p.severity != "note"]
    rows = [(f"{_where(r, readings)}{p.line}", f"{p.severity}: {p.message}. {p.hint}") for r, p in shown]
    lines = heading("Lines that cron reads otherwise", columns=columns) if rows else []
    lines += _listed(rows, columns)
    if rows and len(found) > len(shown):
        lines.append(painted(f"and {_number(len(found) - len(shown), 'note')}: homelab cron inspect", "2"))
    return lines


@dataclass(frozen=True, kw_only=True)
class HazardGroup:
    """Hazards of one kind, over all files. `rows`: where (equal ones together) and what; `hints`: each remedy once."""

    title: str
    count: int
    rows: tuple[tuple[str, str], ...]
    hints: tuple[str, ...]


def hazard_groups(readings: Sequence[Reading]) -> list[HazardGroup]:
    """By kind, the worst first."""
    found: dict[str, list[tuple[Reading, Hazard]]] = {}
    for reading in readings:
        for title, hazards in paragraphs(reading.hazards()):
            found.setdefault(title, []).extend((reading, hazard) for hazard in hazards)
    order = {title: n for n, title in enumerate(CODES.values())}
    return [_group(title, found[title], readings) for title in sorted(found, key=lambda title: order.get(title, 99))]


def _group(title: str, hazards: Sequence[tuple[Reading, Hazard]], readings: Sequence[Reading]) -> HazardGroup:
    places: dict[tuple[str, str], list[str]] = {}
    for reading, hazard in hazards:
        places.setdefault((_where(reading, readings), hazard.message), []).append(str(hazard.line))
    return HazardGroup(
        title=title[:1].upper() + title[1:],
        count=len(hazards),
        rows=tuple((file + ", ".join(dict.fromkeys(lines)), said) for (file, said), lines in places.items()),
        hints=tuple(dict.fromkeys(hazard.hint for _, hazard in hazards if hazard.hint)),
    )


def hazard_lines(readings: Sequence[Reading], *, columns: int) -> list[str]:
    """By kind: the lines and what is wrong with them, then the remedy."""
    groups = hazard_groups(readings)
    lines = heading("Hazards", str(sum(group.count for group in groups)), columns=columns) if groups else []
    for group in groups:
        lines += _wrapped(group.title, columns, codes="33")
        lines += _listed([(cut(place, columns // 3), said) for place, said in group.rows], columns)
        for hint in group.hints:
            lines += _wrapped(hint, columns, lead="  → ")
    return lines


def suggestion_lines(suggestion: Suggestion, readings: Sequence[Reading], *, columns: int) -> list[str]:
    """The block of one suggestion: what, the lines it is about, why, and what yes would change."""
    lines = _wrapped(suggestion.title, columns, lead="  ", codes="1")
    jobs = [
        (f"{_where(reading, readings)}line {job.line}", job.schedule, job.command)
        for reading in readings
        if reading.file == suggestion.file
        for job in reading.jobs
        if job.line in suggestion.lines
    ]
    sizes = [max((width(safe(job[n])) for job in jobs), default=0) for n in (0, 1)]
    for job in jobs[:_MOST_LINES]:
        text = "  ".join([*(_padded(safe(cell), size) for cell, size in zip(job, sizes, strict=False)), safe(job[2])])
        lines.append("  " + painted(cut(text, columns - 2), "2"))
    if len(jobs) > _MOST_LINES:
        lines.append(f"  and {len(jobs) - _MOST_LINES} more lines")
    for word, said in (("why", suggestion.reason), ("evidence", suggestion.evidence), ("yes means", suggestion.effect)):
        lines += _wrapped(said, columns, lead=f"  {word:<10} ") if said else []
    return lines


def confidence(word: str) -> str:
    return painted(word, _COLOURS.get(word.strip(), ""))


def timetable_lines(rows: Sequence[Row], *, columns: int, premise: str = "", most: int = 1000) -> list[str]:
    """What changes: one job a block, its time before and after, at most `most` of them. The others only counted."""
    changed = [row for row in rows if row.change not in ("none", "added") and row.after]
    removed = [row for row in rows if row.change == "removed"]
    moved = changed[:most]
    lines = heading("Timetable", premise, columns=columns)
    if moved and columns >= 100:
        lines += _columns_of([("JOB", "BEFORE", "AFTER"), *((r.job, r.before, r.after) for r in moved)], columns)
    for row in moved if columns < 100 else ():
        lines.append(safe(row.job))
        lines += _wrapped(row.before, columns, lead="  before  ", codes="2")
        lines += _wrapped(row.after, columns, lead="  after   ")
    for row in removed:
        lines += _wrapped(f"{row.job} is removed ({row.before})", columns)
    if len(changed) > most:
        lines.append(f"and {len(changed) - most} more: --dry-run --json lists all")
    rest = len(rows) - len(changed) - len(removed)
    if rest:
        keeps = "1 job keeps its time" if rest == 1 else f"{rest} jobs keep their times"
        lines.append(painted(keeps, "2"))
    return lines


def refused_lines(plan: Plan, *, columns: int) -> list[str]:
    return [line for what, why in plan.refused for line in _wrapped(f"not taken: {what}: {why}", columns, codes="33")]


# --- layout -----------------------------------------------------------------------------------------------------------


def _where(reading: Reading, readings: Sequence[Reading]) -> str:
    return f"{reading.file}:" if len(readings) > 1 else ""


def cut(text: str, columns: int) -> str:
    """A line that is not longer than the terminal is wide."""
    if width(text) <= columns:
        return text
    return _start(text, columns - 1) + "…"


def _padded(text: str, columns: int) -> str:
    kept = cut(text, columns)
    return kept + " " * (columns - width(kept))


def _wrapped(text: str, columns: int, *, lead: str = "", codes: str = "") -> list[str]:
    """Lines of words, each behind `lead` or as much room. `textwrap` counts characters; a terminal counts columns."""
    room = max(12, columns - width(lead))
    lines = [""]
    for word in safe(text).split():
        rest = word
        while rest:
            fits = lines[-1] + (" " if lines[-1] else "") + rest
            if width(fits) <= room:
                lines[-1], rest = fits, ""
            elif lines[-1]:
                lines.append("")
            else:
                lines[-1] = _start(rest, room)
                rest = rest[len(lines[-1]) :]
    return [(lead if n == 0 else " " * width(lead)) + painted(line, codes) for n, line in enumerate(lines)]


def _start(text: str, columns: int) -> str:
    """As much of the beginning as is not wider; at least one character."""
    end, wide = 0, 0
    while end < len(text) and (end == 0 or wide + width(text[end]) <= columns):
        wide += width(text[end])
        end += 1
    return text[:end]


def _listed(rows: Iterable[tuple[str, str]], columns: int) -> list[str]:
    made = [(safe(place), text) for place, text in rows]
    wide = max((len(place) for place, _ in made), default=0)
    return [line for place, text in made for line in _wrapped(text.strip(), columns, lead=f"  {place:>{wide}}  ")]


def _columns_of(rows: Sequence[tuple[str, str, str]], columns: int) -> Iterator[str]:
    sizes = [min(max(width(safe(row[n])) for row in rows), room) for n, room in ((0, 30), (1, columns // 3))]
    for n, row in enumerate(rows):
        cells = [_padded(safe(cell), size) for cell, size in zip(row, sizes, strict=False)]
        after = _wrapped(row[2], columns - sum(sizes) - 4)
        lines = ["  ".join([*cells, after[0]]), *(" " * (sum(sizes) + 4) + line for line in after[1:])]
        yield from (painted(line, "2") if n == 0 else line for line in lines)


# --- what is written --------------------------------------------------------------------------------------------------


def summary(merged: Merged) -> str:
    """One line: what an import does."""
    parts = [
        f"{len(names)} {word}"
        for word, names in (
            ("added", merged.added),
            ("updated", merged.updated),
            ("removed", merged.removed),
            ("unchanged", [*merged.unchanged, *merged.renumbered]),
        )
        if names
    ]
    return "jobs: " + (", ".join(parts) or "none")


def change_lines(plan: Plan, *, columns: int, most: int = 20) -> list[str]:
    """Which jobs of a lab file that was there come, go and change, and in what. Times are for the timetable."""
    if plan.is_new:
        return []
    made = plan.merged
    lines = [f"+ {name}" for name in made.added] + [f"- {name}" for name in made.removed]
    for name, changes in made.changes.items():
        for key, old, new in changes:
            if key not in _TIMES:
                lines += [f"~ {name}  {key}", f"    was  {_brief(old)}", f"    is   {_brief(new)}"]
    more = [f"and {len(lines) - most} more: see the difference"] if len(lines) > most else []
    shown = [cut(safe(line), columns) for line in (*lines[:most], *more)]
    return [*heading("Jobs", columns=columns), *shown] if shown else []


def _brief(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def difference(plan: Plan) -> list[str]:
    """The change of the lab file and its includes, as `diff -u` shows it."""
    lines: list[str] = []
    for name in plan.changed:
        old = "" if plan.is_new and name == str(plan.path) else plan.before.get(name, "")
        made = difflib.unified_diff(
            old.splitlines(), plan.after[name].splitlines(), name if old else "/dev/null", name, lineterm=""
        )
        lines += [safe(line) for line in made]
    return lines
