"""Small charts as SVG: health of the last runs, a calendar of days, bars of a timeline. Pure; no inline styles."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from homelab.console.words import counted, mark, short, span

_WIDE, _HIGH = 31, 18
_TOOK_WIDE, _TOOK_HIGH = 26, 64
_HEIGHTS = {"good": 14, "bad": 20, "warn": 17, "run": 14, "idle": 8}


def health(states: Sequence[str], *, most: int = 30) -> Markup:
    """One bar a run, the newest at the right; the worse the higher, so that it reads without colour. `states`: the
    newest first."""
    return _health(tuple(states[:most]), most)


@lru_cache(maxsize=4096)
def _health(states: tuple[str, ...], most: int) -> Markup:
    """One path a tone: a list of hundreds of jobs has thousands of bars."""
    bars = {"none": [f"M{n * 5} 18h3v4h-3z" for n in range(most - len(states))]}
    for n, state in enumerate(reversed(states), most - len(states)):
        tone = mark(state).tone
        bars.setdefault(f"tone-{tone}", []).append(f"M{n * 5} 22v-{_HEIGHTS[tone]}h3V22z")
    good = sum(state == "succeeded" for state in states)
    says = f"{good} of the last {counted(len(states), 'run')} succeeded" if states else "no runs yet"
    paths = "".join(f'<path class="{name}" d="{"".join(d)}"/>' for name, d in bars.items() if d)
    return Markup(
        f'<svg class="health" viewBox="0 0 {most * 5} 22" width="{most * 5}" height="22" role="img"'
        f' aria-label="{says}"><title>{says}</title>{paths}</svg>'
    )


def durations(runs: Sequence[Mapping[str, Any]], usual_s: float | None) -> Markup:
    """One bar a run, as high as it took long, the newest at the right; each leads to its run. The line is what is
    usual. `runs` as the API has them, the newest first; empty when none of them has ended."""
    ended = [run for run in runs if run["started"] and run["duration_s"] is not None][::-1]
    if not ended:
        return Markup()
    longest = max([float(run["duration_s"]) for run in ended] + ([usual_s] if usual_s else [])) or 1.0
    bars: list[str] = []
    for n, run in enumerate(ended):
        high = max(2, round(float(run["duration_s"]) / longest * _TOOK_HIGH))
        begun = short(str(run["started"])[:16].replace("T", " "))
        says = f"{span(run['duration_s'])}, {mark(run['state']).word}, {begun} UTC"
        link = f"/runs/{quote(str(run['id']), safe='')}?job={quote(str(run['job']), safe='')}"
        bars.append(
            f'<a href="{escape(link)}" aria-label="{escape(says)}"><title>{escape(says)}</title>'
            f'<rect class="hit" x="{n * _TOOK_WIDE}" y="0" width="{_TOOK_WIDE}" height="{_TOOK_HIGH}"/>'
            f'<rect class="tone-{mark(run["state"]).tone}" x="{n * _TOOK_WIDE + 2}" y="{_TOOK_HIGH - high}"'
            f' width="{_TOOK_WIDE - 4}" height="{high}" rx="2"/></a>'
        )
    wide = len(ended) * _TOOK_WIDE
    usual = ""
    if usual_s:
        y = round(_TOOK_HIGH - usual_s / longest * _TOOK_HIGH, 1)
        usual = f'<path class="usual" d="M0 {y}H{wide}"/>'
    return Markup(
        f'<svg class="took" viewBox="0 0 {wide} {_TOOK_HIGH}" width="{wide}" height="{_TOOK_HIGH}" role="group"'
        f' aria-label="How long the last {counted(len(ended), "run")} took">{"".join(bars)}{usual}</svg>'
    )


def level(runs: int, failures: int, most: int) -> str:
    """The class of a day: how busy it was in four steps, or how bad."""
    if not runs:
        return "heat-0"
    if failures:
        share = failures / runs
        return "heat-bad-3" if share > 0.2 else "heat-bad-2" if share > 0.03 else "heat-bad-1"
    return f"heat-{min(4, 1 + runs * 3 // max(1, most))}"


def calendar(days: Sequence[Mapping[str, Any]], *, today: date, weeks: int = 9, link: str = "") -> Markup:
    """A square a day, a column a week, Monday at the top. Each says its numbers; with `link` (ending in `day=`) each
    leads to its runs. A day with failures has their number in it, not only a colour."""
    by_day = {str(d["day"]): (int(d["runs"]), int(d["failures"])) for d in days}
    busiest = max((runs for runs, _ in by_day.values()), default=1)
    first = today - timedelta(days=today.weekday() + 7 * (weeks - 1))
    mondays = [first + timedelta(days=7 * n) for n in range(weeks)]
    cells: list[str] = []
    months: list[str] = []
    for column, monday in enumerate(mondays):
        is_first = column == 0 and monday.month == mondays[1].month
        if is_first or (column and monday.month != mondays[column - 1].month):
            months.append(f'<text x="{30 + column * _WIDE}" y="10">{monday:%b}</text>')
        for row in range(7):
            day = monday + timedelta(days=row)
            if day > today:
                continue
            runs, failures = by_day.get(day.isoformat(), (0, 0))
            says = f"{day:%a %d %b}: {counted(runs, 'run')}" + (f", {failures} failed" if failures else "")
            x, y = 30 + column * _WIDE, 16 + row * _HIGH
            number = (
                f'<text class="heat-count" x="{x + 14}" y="{y + 11}">{min(failures, 999)}</text>' if failures else ""
            )
            shape = f'<rect class="{level(runs, failures, busiest)}" x="{x}" y="{y}" width="28" height="15" rx="3"/>'
            cell = f"<g><title>{says}</title>{shape}{number}</g>"
            cells.append(f'<a href="{escape(link)}{day.isoformat()}" aria-label="{says}">{cell}</a>' if link else cell)
    names = "".join(
        f'<text x="0" y="{27 + row * _HIGH}">{name}</text>' for row, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))
    )
    wide, high = 30 + weeks * _WIDE, 16 + 7 * _HIGH
    role = 'role="group"' if link else 'role="img"'
    return Markup(
        f'<svg class="calendar" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" {role}'
        f' aria-label="Runs of each day">{"".join(months)}{names}{"".join(cells)}</svg>'
    )  # fmt: skip


def bar(start_s: float, end_s: float, whole_s: float, tone: str, *, says: str) -> Markup:
    """One bar of a timeline of `whole_s` seconds, as wide as its column."""
    whole = max(whole_s, 0.001)
    left = min(99.5, max(0.0, start_s / whole * 100))
    wide = max(0.5, min(100 - left, (end_s - start_s) / whole * 100))
    return Markup(
        f'<svg class="bar" width="100%" height="10" role="img" aria-label="{escape(says)}">'
        f"<title>{escape(says)}</title>"
        f'<rect class="bar-ground" width="100%" height="2" y="4" rx="1"/>'
        f'<rect class="tone-{tone}" x="{left:.2f}%" width="{wide:.2f}%" height="10" rx="3"/></svg>'
    )


def progress(done: float | None, *, says: str, since: str = "", usual_s: float | None = None) -> Markup:
    """How far something is (0 to 1) against what is usual; None when nothing is known of it. With `since` (ISO 8601)
    and `usual_s` a script lets it go on."""
    share = 0.0 if done is None else min(1.0, max(0.0, done))
    over = ' class="over"' if done is not None and done > 1 else ""
    goes = f' data-from="{escape(since)}" data-usual="{usual_s}"' if since and usual_s else ""
    return Markup(
        f'<svg class="progress" width="100%" height="4" role="img" aria-label="{escape(says)}"{goes}>'
        f'<rect class="bar-ground" width="100%" height="4" rx="2"/>'
        f'<rect{over} width="{share * 100:.1f}%" height="4" rx="2"/></svg>'
    )
