"""What was on which machine, as lanes of SVG over some hours. Pure; no inline styles.

What follows closely under the same name is drawn as one block, so that a job of every minute is a line and not hundreds
of marks. Blocks that overlap are in lanes below each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from homelab.console.words import counted, mark, moment, short, span

Json = Mapping[str, Any]
LANES = 8
"""Of one machine; what would need more is counted."""
LINKS = 40
HIGH, GAP = 18, 3
CLOSE = 0.004
"""Share of the window below which two blocks of one name are one."""
LESS = ' class="less"'
"""Where there is little room it is left out."""
BAD = frozenset({"expired", "removed", "failed", "crashed", "timed_out"})
_SAID = {"expired": "given up: its node was not heard of", "removed": "given up: its node was removed",
         "evicted": "stopped for other work", "released": "taken back"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Window:
    """From `start` to `end`; `end` is a little after now, on a whole minute."""

    start: datetime
    end: datetime

    def at(self, time: datetime) -> float:
        """0 to 1, cut at the ends."""
        return min(1.0, max(0.0, (time - self.start) / (self.end - self.start)))


@dataclass(frozen=True, kw_only=True)
class Block:
    """One or more stretches of one owner. `left`, `right`: 0 to 1. `is_open`: it goes on."""

    owner: str
    left: float
    right: float
    start: datetime
    end: datetime
    count: int = 1
    how: str = ""
    run: str = ""
    job: str = ""
    is_open: bool = False


@dataclass
class Lanes:
    """Of one machine: the lanes from the top, and how many blocks found none."""

    lanes: list[list[Block]] = field(default_factory=list[list[Block]])
    left_out: int = 0


def window(now: datetime, hours: float) -> Window:
    end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return Window(start=end - timedelta(hours=hours), end=end)


def blocks(leases: Iterable[Json], over: Window) -> list[Block]:
    """In the order of their beginnings."""
    found: list[Block] = []
    last: dict[str, int] = {}
    for one in sorted(leases, key=lambda lease: (str(lease["taken"]), str(lease["work"]))):
        made = _block(one, over)
        if made is None:
            continue
        place = last.get(made.owner)
        if place is not None and _follows(found[place], made):
            found[place] = _joined(found[place], made)
            continue
        last[made.owner] = len(found)
        found.append(made)
    return found


def _block(one: Json, over: Window) -> Block | None:
    taken, ended = moment(one["taken"]), moment(one["ended"])
    if taken is None or (ended is not None and ended <= over.start):
        return None
    end = ended or over.end
    return Block(
        owner=str(one["owner"]), left=over.at(taken), right=over.at(end), start=taken, end=end, how=str(one["how"]),
        run=str(one["run"] or ""), job=str(one["job"] or ""), is_open=ended is None,
    )  # fmt: skip


def _follows(before: Block, after: Block) -> bool:
    is_small = before.right - before.left < CLOSE or after.right - after.left < CLOSE or before.count > 1
    return not before.is_open and is_small and 0 <= after.left - before.right < CLOSE * 2 and before.how not in BAD


def _joined(before: Block, after: Block) -> Block:
    return replace(
        before, right=after.right, end=after.end, count=before.count + 1, how=after.how, run=after.run,
        is_open=after.is_open,
    )  # fmt: skip


def lanes(found: Sequence[Block], *, most: int = LANES) -> Lanes:
    """Each block in the first lane that is free when it begins."""
    made = Lanes()
    for block in found:
        for lane in made.lanes:
            if lane[-1].right + 0.001 <= block.left:
                lane.append(block)
                break
        else:
            if len(made.lanes) >= most:
                made.left_out += 1
            else:
                made.lanes.append([block])
    return made


def ticks(over: Window) -> list[tuple[float, str]]:
    """(place, UTC hour) of whole hours; fewer of them in a long window."""
    step = max(1, round((over.end - over.start).total_seconds() / 3600 / 6))
    at = over.start.replace(minute=0, second=0) + timedelta(hours=1)
    found: list[tuple[float, str]] = []
    while at < over.end:
        if at.hour % step == 0 and 0.02 < over.at(at) < 0.97:
            found.append((over.at(at), f"{at:%H:%M}"))
        at += timedelta(hours=1)
    return found


def axis(over: Window) -> Markup:
    """The hours, above all rows."""
    marks = "".join(
        f'<text{LESS if n % 2 else ""} x="{at * 100:.2f}%" y="11">{text}</text>'
        for n, (at, text) in enumerate(ticks(over))
    )
    return Markup(f'<svg class="lanes axis" width="100%" height="16" aria-hidden="true">{marks}</svg>')


def row(node: str, leases: Iterable[Json], over: Window, colours: Mapping[str, str]) -> Markup:
    """The lanes of one machine. Each block leads to its run, or to its job where it is many runs; of more than
    `LINKS` none does, for each is a stop of the keyboard."""
    found = lanes(blocks(leases, over))
    links = sum(map(len, found.lanes)) <= LINKS
    high = max(1, len(found.lanes)) * (HIGH + GAP) - GAP
    grid = "".join(f'<rect class="tick" x="{at * 100:.2f}%" width="1" height="{high}"/>' for at, _ in ticks(over))
    drawn = "".join(
        _drawn(block, n * (HIGH + GAP), colours, links=links) for n, lane in enumerate(found.lanes) for block in lane
    )
    total = sum(map(len, found.lanes)) + found.left_out
    says = escape(
        f"{short(node, 40)}: {counted(total, 'stretch', 'stretches')} of work"
        + (f", {found.left_out} of them not drawn" if found.left_out else "")
    )
    role = "group" if links and total else "img"
    return Markup(
        f'<svg class="lanes" width="100%" height="{high}" role="{role}" aria-label="{says}">{grid}{drawn}</svg>'
    )


def _drawn(block: Block, y: int, colours: Mapping[str, str], *, links: bool) -> str:
    says = escape(said(block))
    wide = max(0.35, (block.right - block.left) * 100)
    left = min(block.left * 100, 100 - wide)
    many = " many" if block.count > 1 else ""
    look = colours.get(block.owner, "hue-0") + many + (" bad" if block.how in BAD else "")
    label = escape(short(block.owner, 30) + (f" × {block.count}" if many else ""))
    name = f'<text class="label{many}" x="6" y="{HIGH - 5}">{label}</text>' if wide > 5 else ""
    inner = (
        f'<svg x="{left:.2f}%" y="{y}" width="{wide:.2f}%" height="{HIGH}" aria-hidden="true"><title>{says}</title>'
        f'<rect class="{look}" width="100%" height="{HIGH}" rx="3"/>{name}'
        + (f'<rect class="end" x="100%" y="0" width="4" height="{HIGH}" transform="translate(-4 0)"/>'
           if block.how in BAD else "")
        + "</svg>"
    )  # fmt: skip
    if not (links and block.run):
        return inner
    job = quote(block.job, safe="")
    link = f"/runs/{quote(block.run, safe='')}?job={job}" if block.count == 1 else f"/runs?job={job}"
    return f'<a href="{escape(link)}" aria-label="{says}">{inner}</a>'


def said(block: Block) -> str:
    """`nightly-eval, 14:02 to 15:10, 1h 08m, done`."""
    name = short(block.owner, 40) if block.count == 1 else f"{short(block.owner, 40)}, {counted(block.count, 'time')}"
    if block.is_open:
        return f"{name}, since {block.start:%H:%M} UTC, goes on"
    took = span((block.end - block.start).total_seconds())
    how = _SAID.get(block.how) or (mark(block.how).word if block.how else "")
    return f"{name}, {block.start:%H:%M} to {block.end:%H:%M} UTC, {took}{', ' + how if how else ''}"
