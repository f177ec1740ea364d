"""How a run of a job differs from one that went well: what a person would compare by eye. Pure.

Called by `control.runview` with the two attempts and the definitions they ran under.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homelab.control.plan import describe_job_change
from homelab.core.durations import size, span
from homelab.core.jobs import Job

NOTABLE = 1.5
"""A duration or an output this many times the other is worth a word."""
_LONGEST = 300


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing, as text: `before` in the good run, `now` in this one. `is_changed`: they differ enough to matter."""

    what: str
    before: str
    now: str
    is_changed: bool
    note: str = ""


def compare(
    good: Mapping[str, Any], this: Mapping[str, Any], *, old: Job | None, new: Job | None
) -> tuple[Difference, ...]:
    """What differs, definition first; what is the same and worth knowing follows. Rows are attempts with `started`,
    `ended`, `state`, `exit_code`, `signal`, `attempt`, `node`, `output_bytes`, `output_lines`, `params`."""
    found: list[Difference] = []
    if old is not None and new is not None:
        found += [
            Difference(what=c.field, before=_cut(c.old) or "not set", now=_cut(c.new) or "not set", is_changed=True,
                       note="the definition changed")
            for c in describe_job_change(old, new)
        ]  # fmt: skip
    found += _parameters(good.get("params") or {}, this.get("params") or {})
    found.append(_plain("result", _result(good), _result(this)))
    found.append(_amount("duration", _took_s(good), _took_s(this), _span))
    found.append(_amount("output", good.get("output_bytes"), this.get("output_bytes"), size))
    found.append(_amount("lines", good.get("output_lines"), this.get("output_lines"), _number))
    found.append(_plain("attempt", str(good.get("attempt")), str(this.get("attempt"))))
    found.append(_plain("node", str(good.get("node") or "-"), str(this.get("node") or "-")))
    return tuple(sorted(found, key=lambda d: not d.is_changed))


def _parameters(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [
        Difference(
            what=f"parameter {name}",
            before=_cut(str(before.get(name, "not set"))),
            now=_cut(str(now.get(name, "not set"))),
            is_changed=True,
        )
        for name in names
    ]


def _result(row: Mapping[str, Any]) -> str:
    text = str(row["state"]).replace("_", " ")
    if row.get("signal") is not None:
        return f"{text}, signal {row['signal']}"
    return f"{text}, exit {row['exit_code']}" if row.get("exit_code") is not None else text


def _took_s(row: Mapping[str, Any]) -> float | None:
    return None if not row.get("started") or not row.get("ended") else (row["ended"] - row["started"]).total_seconds()


def _span(seconds: float) -> str:
    return span(max(0.0, seconds))


def _plain(what: str, before: str, now: str) -> Difference:
    return Difference(what=what, before=before, now=now, is_changed=before != now)


def _amount(what: str, before: float | None, now: float | None, words: Any) -> Difference:
    if before is None or now is None:
        return Difference(
            what=what,
            before="-" if before is None else words(before),
            now="-" if now is None else words(now),
            is_changed=False,
        )
    big, small = max(before, now), min(before, now)
    is_changed = big > small * NOTABLE and not (what == "duration" and big - small < 1)
    note = ""
    if is_changed and small > 0:
        note = f"{big / small:.1f} times as {'much' if what != 'duration' else 'long'}"
        note = note if now > before else f"1/{big / small:.0f} of it"
    elif is_changed:
        note = "nothing" if now == 0 else "nothing before"
    return Difference(what=what, before=words(before), now=words(now), is_changed=is_changed, note=note)


def _number(amount: float) -> str:
    return f"{amount:,.0f}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
