"""The sentence on how an attempt ended, facts beside it, and what to do next where that is certain. Pure.

Each part says only what was seen: a status with its meaning on somebody's word, a line of output as a quotation, a
measured number, a change with its time. None of them is said to be the cause.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from homelab.core.durations import size, span
from homelab.core.endings.circumstances import Circumstances, Disk
from homelab.core.endings.exits import SHELL, SIGNALS, SYSEXITS, Meaning, meaning_for, signal_name
from homelab.core.endings.printed import (
    NETWORK,
    NO_MEMORY,
    NO_SPACE,
    missing_command,
    plain,
    quoting,
)
from homelab.core.times import moment

_SIGKILL = 9
_MOST_NAMES = 6


@dataclass(frozen=True, kw_only=True)
class Ending:
    """An attempt that ended (a report, or a row of `job_run`). `run`: its id, for the action; `tail`: the last lines
    of its output."""

    state: str
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    attempt: int = 1
    run: str = ""
    job: str = ""
    node: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    tail: Sequence[object] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Ending":
        """From a report, a row or the API's JSON; what is not there is left out."""
        return cls(
            state=str(row["state"]),
            exit_code=row.get("exit_code"),
            signal=row.get("signal"),
            reason=plain_words(str(row.get("reason") or "")).strip(),
            attempt=int(row.get("attempt") or 1),
            run=str(row.get("run") or row.get("id") or ""),
            job=str(row.get("job") or ""),
            node=str(row.get("node") or ""),
            started=_time(row.get("started")),
            ended=_time(row.get("ended")),
            tail=tuple(row.get("tail") or ()),
        )


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """`sentence`: how it ended. `facts`: sentences of what else was seen, the most telling first. `action`: one command
    or thing to do, "" where none is certain."""

    sentence: str
    facts: tuple[str, ...] = ()
    action: str = ""

    @property
    def text(self) -> str:
        return " ".join((self.sentence, *self.facts))


def sentence(text: str) -> str:
    """Text as one sentence: a capital, a full stop, no line end, nothing that acts on a terminal."""
    text = " ".join(plain_words(text).split())
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?", ".”")) else text + "."


def plain_words(text: str) -> str:
    return " ".join(plain(line) for line in text.splitlines()) if text else ""


def explain(
    ending: Ending, seen: Circumstances | None = None, before: Circumstances | None = None, *, good: str = ""
) -> Explanation:
    """What can be said of it. `before`: the circumstances of the last attempt that succeeded, `good` when that was, in
    words; None: not known, and nothing is said of changes."""
    seen = seen or Circumstances()
    said, meaning = _how(ending, seen)
    after = f", after {ending.attempt} attempts" if ending.attempt > 1 else ""
    facts = [
        *_of_reason(ending),
        *_of_missing(ending, seen),
        *_of_killing(ending, seen),
        *_of_space(ending, seen),
        *_of_memory(ending, seen),
        *_of_network(ending, meaning),
        *(_of_changes(ending, seen, before, good) if before is not None else ()),
    ]
    return Explanation(
        sentence=sentence(said + after),
        facts=tuple(map(sentence, facts)),
        action=plain_words(_action(ending, seen, meaning)),
    )


def _how(ending: Ending, seen: Circumstances) -> tuple[str, Meaning | None]:
    reason = ending.reason.rstrip(".")
    match ending.state:
        case "timed_out":
            return reason or "it ran longer than its timeout", None
        case "crashed":
            return reason or "the worker that ran it went away", None
        case "failed":
            pass
        case _:
            return reason or ending.state.replace("_", " "), None
    if ending.signal is not None:
        name = signal_name(ending.signal)
        known = SIGNALS.get(name, "")
        shown = f"{ending.signal} ({name})" if name else str(ending.signal)
        return f"it was ended by signal {shown}, which the lab did not send{f': {known}' if known else ''}", None
    code = ending.exit_code
    if code is None or code == 0:
        return reason or "it failed", None
    text = f"it ended with exit status {code}"
    meaning = meaning_for(code, seen.programs, single=seen.single)
    if meaning is None:
        if code > 128 and (name := signal_name(code - 128)):
            return f"{text}, which a shell gives when a command was ended by signal {code - 128} ({name})", None
        return text, None
    if code == 127 and meaning.program == SHELL and (name := _missing_name(ending, seen)):
        return f"{text}: the command {name} was not found", meaning
    return f"{text}: {_words(meaning, seen)}", meaning


def _words(meaning: Meaning, seen: Circumstances) -> str:
    if meaning.program == SHELL or (seen.single and seen.programs[:1] == (meaning.program,)):
        return meaning.text
    if meaning.program == SYSEXITS:
        return f"by convention, {meaning.text}"
    return f"{meaning.program}, which it runs, says by it that {meaning.text}"


def _of_reason(ending: Ending) -> list[str]:
    """What the worker says beyond the status or the signal, which are said better here."""
    has_status = ending.state == "failed" and (ending.signal is not None or ending.exit_code)
    is_said = not ending.reason or ending.reason.startswith(("exit status ", "killed by signal "))
    return [] if is_said or not has_status else [ending.reason]


def _missing_name(ending: Ending, seen: Circumstances) -> str:
    return seen.missing.name if seen.missing else missing_command(ending.tail)


def _of_missing(ending: Ending, seen: Circumstances) -> list[str]:
    if ending.exit_code == 126 and seen.refused:
        return [f"{seen.refused[0]} has mode {seen.refused[1]}"]
    if ending.exit_code != 127 or seen.missing is None:
        return []
    missing = seen.missing
    if not missing.found:
        return [f"no usual folder of programs on {ending.node or 'its node'} has {missing.name}"]
    if missing.found.rpartition("/")[0] in missing.path.split(":"):
        return [f"{missing.found} is there now"]
    return [f"{missing.found} is there, but its folder is not on the job's PATH ({missing.path or 'empty'})"]


def _was_killed(ending: Ending) -> bool:
    return ending.state == "failed" and (ending.signal == _SIGKILL or ending.exit_code == 128 + _SIGKILL)


def _of_killing(ending: Ending, seen: Circumstances) -> list[str]:
    if not _was_killed(ending):
        return []
    found: list[str] = []
    if seen.oom_kills:
        whose = "of the lab" if seen.oom_scope == "lab" else "on this machine"
        count = "a process" if seen.oom_kills == 1 else f"{seen.oom_kills} processes"
        found.append(f"while it ran, the kernel ended {count} {whose} for want of memory")
    elif seen.oom_kills == 0:
        found.append("while it ran, the kernel ended no process for want of memory")
    numbers = [
        f"its largest process had used {size(seen.peak_memory_bytes)}" if seen.peak_memory_bytes else "",
        f"{seen.memory_used_percent:.0f} % of the machine's memory was used when it ended"
        if seen.memory_used_percent is not None
        else "",
    ]
    if told := " and ".join(part for part in numbers if part):
        found.append(told)
    return found


def _of_space(ending: Ending, seen: Circumstances) -> list[str]:
    full = [disk for disk in seen.disks if disk.is_full]
    line = quoting(ending.tail, NO_SPACE)
    if line:
        shown = full or list(seen.disks)
        return [f"its output says: “{line}”", *([_disks(shown)] if shown else [])]
    return [_disks(full)] if full else []


def _disks(disks: Sequence[Disk]) -> str:
    each = [f"{disk.path} had {size(disk.free_bytes)} free of {size(disk.size_bytes)}" for disk in disks[:3]]
    return f"{', '.join(each)} when it ended"


def _of_memory(ending: Ending, seen: Circumstances) -> list[str]:
    line = "" if _was_killed(ending) else quoting(ending.tail, NO_MEMORY)
    if not line:
        return []
    peak = f"its largest process had used {size(seen.peak_memory_bytes)}" if seen.peak_memory_bytes else ""
    return [f"its output says: “{line}”", *([peak] if peak else [])]


def _of_network(ending: Ending, meaning: Meaning | None) -> list[str]:
    """Words of the network count only beside a status that is about it as well."""
    if meaning is None or not meaning.is_network:
        return []
    line = quoting(ending.tail, NETWORK)
    return [f"its output says: “{line}”"] if line else []


def _of_changes(ending: Ending, seen: Circumstances, before: Circumstances, good: str) -> list[str]:
    since = f"since the run that succeeded {good}" if good else "since the last run that succeeded"
    found: list[str] = []
    known = {script.path: script for script in before.scripts}
    for script in seen.scripts:
        old = known.get(script.path)
        if old is None or old.digest == script.digest:
            continue
        if not script.digest:
            found.append(f"{script.path} is not there any more {since}")
        elif script.changed is not None and ending.started is not None and script.changed <= ending.started:
            earlier = span((ending.started - script.changed).total_seconds())
            found.append(f"{script.path} has changed {since}: {_moment(script.changed)}, {earlier} before this run")
        else:
            found.append(f"{script.path} has changed {since}")
    if names := changed_variables(before, seen):
        found.append(f"variables that are not as they were: {', '.join(names[:_MOST_NAMES])}{_more(names)}")
    return found


def changed_variables(before: Circumstances, now: Circumstances) -> list[str]:
    """The names of variables that have another value, or are new, or are gone. None when either side is not known."""
    if not before.variables or not now.variables:
        return []
    names = {**before.variables, **now.variables}
    return sorted(name for name in names if before.variables.get(name) != now.variables.get(name))


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""


def _moment(time: datetime) -> str:
    return f"on {time.astimezone(UTC):%A %Y-%m-%d at %H:%M} UTC"


def _action(ending: Ending, seen: Circumstances, meaning: Meaning | None) -> str:
    if ending.exit_code == 127 and seen.missing is not None:
        missing = seen.missing
        if not missing.found:
            return f"Install {missing.name} on {ending.node or 'its node'}, or write its whole path."
        folder = missing.found.rpartition("/")[0]
        if folder not in missing.path.split(":"):
            path = f"{missing.path}:{folder}".lstrip(":")
            return f'Write {missing.found}, or set the job\'s environment = {{ PATH = "{path}" }}'
    if ending.exit_code == 126 and seen.refused and _is_plain_file_mode(seen.refused[1]):
        return f"chmod +x {shlex.quote(seen.refused[0])}"
    if quoting(ending.tail, NO_SPACE) and (full := [disk for disk in seen.disks if disk.is_full]):
        return f"Free space on {full[0].path}."
    if ending.run and (ending.state == "crashed" or (meaning is not None and meaning.is_passing)):
        return f"homelab run retry {ending.run[:8]}"
    return ""


def _is_plain_file_mode(mode: str) -> bool:
    return mode.isdigit() and not int(mode, 8) & 0o111


def _time(value: Any) -> datetime | None:
    time = moment(value)
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
