"""Runs that meet the next run of the same job. Called by `core.hazards`."""

import re
from collections.abc import Iterator

from homelab.core.hazards.found import Facts, Hazard, Subject
from homelab.core.hazards.programs import HEAVY
from homelab.core.hazards.times import shortest_gap_s

_SPAN = re.compile(r"^(\d+(?:\.\d+)?)([smhd]?)$")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_OFTEN_S = 300.0
_SINGLE = ("run-one", "run-this-one", "lockrun", "with-lock-ex", "solo", "sem", "setlock", "lckdo", "flock", "lockf")
_LOCK_WORD = re.compile(r"lock|\bpid|pgrep|pidof|/proc/", re.IGNORECASE)
_REMEDY = 'overlap = "forbid" skips a run while the last one goes on, overlap = "queue" lets it wait.'


def overlapping_runs(subject: Subject, facts: Facts) -> Iterator[Hazard]:
    """From how long it took, from what its own text says of its length, or from what it does."""
    gap_s = shortest_gap_s(subject.schedule)
    if gap_s is None or _has_lock(subject):
        return
    usual_s = facts.durations_s.get(subject.job.name)
    if usual_s is not None and usual_s > gap_s:
        yield _overlap(subject, f"it usually takes {_words(usual_s)} and is due every {_words(gap_s)}")
    elif (slept_s := _slept_s(subject)) >= gap_s:
        yield _overlap(subject, f"it sleeps {_words(slept_s)} and is due every {_words(gap_s)}")
    elif (limit_s := _limit_s(subject)) > gap_s:
        yield _overlap(subject, f"it may take up to {_words(limit_s)} and is due every {_words(gap_s)}")
    elif gap_s <= _OFTEN_S and (name := _heavy(subject)) and usual_s is None:
        yield Hazard(
            line=subject.job.line,
            code="no-lock",
            message=f"{name} starts every {_words(gap_s)} without a lock: when there is much to do, two run at a time",
            hint=_REMEDY,
        )


def _overlap(subject: Subject, what: str) -> Hazard:
    return Hazard(
        line=subject.job.line, code="overlap", message=f"{what}, without a lock: two run at a time", hint=_REMEDY
    )


def _has_lock(subject: Subject) -> bool:
    """Whether anything keeps runs apart, or looks as if it did."""
    found = subject.description
    return (
        bool(found.locks)
        or any(wrapper in _SINGLE for command in found.commands for wrapper in command.wrappers)
        or any(command.name in _SINGLE for command in found.commands)
        or _LOCK_WORD.search(subject.job.command) is not None
    )


def _slept_s(subject: Subject) -> float:
    """Seconds the line itself sleeps, outside of branches and loops."""
    total = 0.0
    for command in subject.own_commands():
        if command.name == "sleep" and not (command.is_conditional and command.join != "&&"):
            spans = [_SPAN.match(word.value) for word in command.words[1:]]
            total += sum(float(span[1]) * _UNITS[span[2]] for span in spans if span)
    return total


def _limit_s(subject: Subject) -> float:
    """The limit that `timeout` sets to the job: its author thought it may take so long."""
    found = re.search(
        r"(?:^|[;&|]\s*|\s)timeout\s+(?:-\S+\s+(?:\d\S*\s+)?)*(\d+(?:\.\d+)?[smhd]?)\s", subject.job.command
    )
    span = _SPAN.match(found[1]) if found else None
    return float(span[1]) * _UNITS[span[2]] if span else 0.0


def _heavy(subject: Subject) -> str:
    return next((command.name for command in subject.description.commands if HEAVY.match(command.name)), "")


def _words(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
