"""The text of an alert: title, body, digest. Pure; called by `rules`, `queue` and `watcher`.

Output of a job is other people's text: it is shortened, and characters that could act on a terminal or page, hide
themselves, or be refused by a database are written out as escapes. Secrets were replaced before it came here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from homelab.core.printable import harmless

TAIL_LINES = 20
_DIGEST_LINES = 40
_REASON_CHARS = 1000


@dataclass(frozen=True, kw_only=True)
class Message:
    """What goes to one target. `level` is one of failure, warning, success, info (how a target may colour it)."""

    title: str
    body: str
    level: str = "info"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One alert inside a digest."""

    kind: str
    job: str
    title: str
    time: datetime


LEVELS = {
    "failed": "failure",
    "stuck": "failure",
    "notify_failed": "failure",
    "recovered": "success",
    "test": "info",
    "digest": "info",
}

_VERBS = {
    "failed": ("job failed", "jobs failed"),
    "recovered": ("job recovered", "jobs recovered"),
    "late": ("job late", "jobs late"),
    "missed": ("job missed its run", "jobs missed runs"),
    "stuck": ("job stuck", "jobs stuck"),
    "silent": ("job silent", "jobs silent"),
    "slow": ("job slow", "jobs slow"),
    "blocked": ("job blocked", "jobs blocked"),
}


def level(kind: str) -> str:
    return LEVELS.get(kind, "warning")


def title(subject: str, says: str) -> str:
    """`homelab: backup-db failed`."""
    return harmless(f"homelab: {subject} {says}", limit=200)


def body(
    *,
    reason: str,
    time: datetime,
    due: datetime | None = None,
    attempt: int | None = None,
    dependants: Sequence[str] = (),
    tail: Sequence[str] = (),
    link: str = "",
    action: str = "",
) -> str:
    """The text under the title: the reason, what to do, when, which attempt, what waits for it, a link, the last
    lines."""
    lines = [harmless(reason, limit=_REASON_CHARS), ""]
    if action:
        lines.append(f"Next: {harmless(action)}")
    lines += [f"When: {stamp(time)}"]
    if due is not None:
        lines.append(f"Due: {stamp(due)}")
    if attempt:
        lines.append(f"Attempt: {attempt}")
    if dependants:
        named = ", ".join(dependants[:8]) + (f" and {len(dependants) - 8} more" if len(dependants) > 8 else "")
        lines.append(f"Needed by: {named}")
    if link:
        lines.append(f"Run: {link}")
    if tail:
        shown = tail[-TAIL_LINES:]
        lines += ["", "Last line of output:" if len(shown) == 1 else f"Last {len(shown)} lines of output:"]
        lines += [f"  {harmless(line)}" for line in shown]
    return "\n".join(lines)


def digest(items: Sequence[Item]) -> Message:
    """Many alerts as one message: how many of what, then a line for each (the first 40 are named, all are counted)."""
    counts = Counter(item.kind for item in items)
    parts = [_counted(kind, len({i.job for i in items if i.kind == kind}), many) for kind, many in counts.most_common()]
    named = list(dict.fromkeys(item.job for item in items if item.job))
    some = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    lines = [f"{len(items)} alerts in one message, in the order in which they came:", ""]
    lines += [f"  {stamp(item.time)}  {item.title.removeprefix('homelab: ')}" for item in items[:_DIGEST_LINES]]
    if len(items) > _DIGEST_LINES:
        lines.append(f"  ... and {len(items) - _DIGEST_LINES} more: homelab notify ls")
    worst = next((name for name in ("failure", "warning") if any(level(i.kind) == name for i in items)), "info")
    return Message(
        title=harmless(f"homelab: {', '.join(parts)}" + (f": {some}" if some else ""), limit=200),
        body="\n".join(lines),
        level=worst,
    )


def _counted(kind: str, jobs: int, alerts: int) -> str:
    if kind in _VERBS:
        return f"{jobs} {_VERBS[kind][jobs != 1]}"
    return f"{alerts} x {kind}"


def stamp(time: datetime) -> str:
    """`2026-03-01 02:00:07 UTC`."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
