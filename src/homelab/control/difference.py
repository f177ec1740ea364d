"""How a run of a job differs from one that went well: what a person would compare by eye. Pure.

Called by `control.runview` with the two attempts and the definitions they ran under.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homelab.control.plan import FieldChange, describe_job_change
from homelab.core.durations import size, span
from homelab.core.endings import Circumstances, ScriptState, changed_variables
from homelab.core.hazards.secrets import is_secret_name
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
    good: Mapping[str, Any],
    this: Mapping[str, Any],
    *,
    old: Job | None,
    new: Job | None,
    seen: tuple[Circumstances | None, Circumstances | None] = (None, None),
) -> tuple[Difference, ...]:
    """What differs, definition first; what is the same and worth knowing follows. Rows are attempts with `started`,
    `ended`, `state`, `exit_code`, `signal`, `attempt`, `node`, `output_bytes`, `output_lines`, `params`. `seen`: what
    the workers saw of the two, in the same order."""
    found: list[Difference] = []
    if old is not None and new is not None:
        found += [_setting(change) for change in describe_job_change(old, new)]
    told = {d.what.removeprefix("environment.") for d in found if d.what.startswith("environment.")}
    found += _scripts(*seen)
    found += _variables(*seen, told=told | {*(good.get("params") or {}), *(this.get("params") or {})})
    found += _parameters(good.get("params") or {}, this.get("params") or {})
    found.append(_plain("result", _result(good), _result(this)))
    found.append(_amount("duration", _took_s(good), _took_s(this), _span))
    found.append(_amount("output", good.get("output_bytes"), this.get("output_bytes"), size))
    found.append(_amount("lines", good.get("output_lines"), this.get("output_lines"), _number))
    found.append(_plain("attempt", str(good.get("attempt")), str(this.get("attempt"))))
    found.append(_plain("node", str(good.get("node") or "-"), str(this.get("node") or "-")))
    return tuple(sorted(found, key=lambda d: not d.is_changed))


def _setting(change: FieldChange) -> Difference:
    name = change.field.removeprefix("environment.")
    is_secret = name != change.field and is_secret_name(name)
    before, now = ("***" if is_secret and text else _cut(text) or "not set" for text in (change.old, change.new))
    return Difference(what=change.field, before=before, now=now, is_changed=True, note="the definition changed")


def _scripts(before: Circumstances | None, now: Circumstances | None) -> list[Difference]:
    """The versions of the scripts that both ran, and those that only one of them did."""
    if before is None or now is None:
        return []
    old, new = ({script.path: script for script in side.scripts} for side in (before, now))
    found: list[Difference] = []
    for path in {**old, **new}:
        one, other = old.get(path), new.get(path)
        is_changed = one is None or other is None or one.digest != other.digest
        note = "another version" if one is not None and other is not None and is_changed else ""
        found.append(
            Difference(
                what=f"script {path}", before=_version(one), now=_version(other), is_changed=is_changed, note=note
            )
        )
    return found


def _version(script: ScriptState | None) -> str:
    if script is None:
        return "not run"
    if not script.digest:
        return "not there"
    return f"{script.digest[:8]}, written {script.changed:%Y-%m-%d %H:%M} UTC" if script.changed else script.digest[:8]


def _variables(before: Circumstances | None, now: Circumstances | None, *, told: set[str]) -> list[Difference]:
    """Variables with another value that the definition does not tell of: secrets, what the account gives. Only their
    names are known."""
    if before is None or now is None:
        return []
    return [
        Difference(
            what=f"variable {name}",
            before="one value" if name in before.variables else "not set",
            now=("another" if name in before.variables else "one value") if name in now.variables else "not set",
            is_changed=True,
            note="values are not kept",
        )
        for name in changed_variables(before, now)
        if name not in told
    ]


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
