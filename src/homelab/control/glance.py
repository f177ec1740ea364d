"""The lab in a few fields, for menu bars, badges and monitors: how it stands, what fails, what is late, what comes.

Pure. Made of the answer of `control.now`; the fields are small and stable, so that one can build on them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

State = Literal["ok", "warning", "failing"]
FAILING = frozenset({"service", "crashed", "failed", "timed_out", "stuck"})
LATE = frozenset({"late", "missed"})
NAMED = 10
"""Things that need a person are named up to here; all are counted."""

Json = dict[str, Any]


def glance(now: Mapping[str, Any], *, url: str) -> Json:
    """See the module. `url`: where the console is, without a trailing slash. Times are ISO 8601 UTC."""
    entries: Sequence[Mapping[str, Any]] = now["attention"]
    failing = sum(entry["kind"] in FAILING for entry in entries)
    late = sum(entry["kind"] in LATE for entry in entries)
    other = len(entries) - failing - late
    upcoming: Sequence[Mapping[str, Any]] = now["next"]
    state: State = "failing" if failing else "warning" if entries else "ok"
    return {
        "lab": now.get("lab"),
        "state": state,
        "summary": summary(jobs=now["jobs"], failing=failing, late=late, other=other),
        "failing": failing,
        "late": late,
        "warnings": other,
        "running": len(now["running"]),
        "jobs": now["jobs"],
        "next_due": upcoming[0]["due"] if upcoming else None,
        "next": upcoming[0]["flow"] if upcoming else None,
        "url": f"{url}/",
        "attention": [_named(entry, url) for entry in entries[:NAMED]],
    }


def summary(*, jobs: int, failing: int, late: int, other: int) -> str:
    """One line: `2 failing, 1 late`; `46 jobs, all is well`."""
    parts = [f"{count} {word}" for count, word in ((failing, "failing"), (late, "late")) if count]
    if other:
        parts.append(f"{other} warning{'s' if other > 1 else ''}")
    if parts:
        return ", ".join(parts)
    return "no jobs yet" if not jobs else f"{jobs} job{'s' if jobs > 1 else ''}, all is well"


def _named(entry: Mapping[str, Any], url: str) -> Json:
    if entry.get("run"):
        where = f"{url}/runs/{quote(str(entry['run']), safe='')}"
    elif entry.get("job"):
        where = f"{url}/jobs/{quote(str(entry['job']), safe='')}"
    else:
        where = f"{url}/lab"
    return {"kind": entry["kind"], "subject": entry["subject"], "reason": entry["reason"], "url": where}
