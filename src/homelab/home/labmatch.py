"""Which job of the lab file is which job of the crontab, when a crontab is imported again. Pure.

A job that was imported carries `imported = { file, line, digest, ... }`; it stays the same job, with its name and so
with its history, when its line moved, its schedule changed, or its command was edited a little where it stands. Called
by `home.labedit`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, cast

_ALIKE = 0.7
_COMPARED = 400  # characters of a command
_MOST_PAIRS = 40_000  # beyond it, this is another crontab and not an edited one


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to have in the lab file. `settings`: its keys in the order they are written, with plain TOML values.

    `needs` names other new jobs, each to be waited for whatever its outcome. `chain`: the folder whose scripts were
    made into jobs of their own, if this is one of them.
    """

    name: str
    line: int
    settings: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    chain: str = ""

    @property
    def digest(self) -> str:
        return digest_of(self.settings)


@dataclass(kw_only=True, eq=False)
class Known:
    """A job in the lab files that was imported from the source at hand. `table`: what its file says of it, to edit;
    `values`: the same before any edit, as plain values."""

    name: str
    file: str
    table: Any
    values: Mapping[str, Any]
    taken: bool = False

    @property
    def imported(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.values.get("imported", {}))

    @property
    def digest(self) -> str:
        return str(self.imported.get("digest", ""))

    @property
    def line(self) -> int:
        line = self.imported.get("line")
        return line if isinstance(line, int) else 0

    @property
    def replaced(self) -> dict[str, str]:
        """The schedule (and zone) of the crontab, where the job now runs after others instead."""
        return {k: str(v) for k, v in self.imported.items() if k in ("schedule", "timezone")}

    @property
    def is_adopted(self) -> bool:
        """The lab has it from cron: its line in the crontab is a comment."""
        return "adopted" in self.imported

    @property
    def is_as_imported(self) -> bool:
        """Whether nobody changed it by hand. What an accepted suggestion or a switch changed does not count."""
        values = {k: v for k, v in self.values.items() if k not in ("imported", "needs", "exclusive", "shadow")}
        return digest_of({**values, **self.replaced}) == self.digest


@dataclass(frozen=True, kw_only=True)
class Matched:
    """`pairs`: each new job with the one of the lab file that it is. `names`: the name of each in the lab file.

    Of those that no new job is, `removed` go and `kept` stay. `needs`: (up, down) of all needs in the lab files, of any
    source.
    """

    pairs: Sequence[tuple[NewJob, Known | None]]
    names: Mapping[str, str]
    removed: Sequence[Known] = ()
    kept: Sequence[Known] = ()
    needs: Sequence[tuple[str, str]] = ()


def matched(docs: Mapping[str, Any], jobs: Sequence[NewJob], *, source: str, removes: bool = True) -> Matched:
    """`docs`: the parsed lab files by name. A name that another job has is not taken: the new one gets a suffix.

    A job that left the crontab is removed, unless it was changed by hand, a job of another source needs it, or not
    `removes`. One that was adopted has left by being adopted, and is none of these.
    """
    known = known_of(docs, source)
    pairs = _pairs(jobs, known)
    names = _final_names(pairs, {name for doc in docs.values() for name in jobs_of(doc)})
    needs = [(up, n) for doc in docs.values() for n, table in jobs_of(doc).items() for up in needs_of(plain(table))]
    gone = [old for old in known if not old.taken and not old.is_adopted]
    staying = {down for _, down in needs} - {old.name for old in known if old.taken or old.is_as_imported}
    wanted = {up for up, down in needs if down in staying}
    removed = [old for old in gone if removes and old.is_as_imported and old.name not in wanted]
    return Matched(
        pairs=pairs, names=names, removed=removed, kept=[old for old in gone if old not in removed], needs=needs
    )


def plain(item: Any) -> dict[str, Any]:
    value = item.unwrap() if hasattr(item, "unwrap") else item
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def digest_of(settings: Mapping[str, Any]) -> str:
    body = json.dumps(dict(settings), sort_keys=True, default=str)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def jobs_of(doc: Any) -> Mapping[str, Any]:
    jobs = doc.get("jobs", {})
    return cast("Mapping[str, Any]", jobs) if isinstance(jobs, Mapping) else {}


def needs_of(values: Mapping[str, Any]) -> list[str]:
    """The names a job's `needs` has, in any of the ways to write it."""
    items = listed(values.get("needs", []))
    return [str(cast("Mapping[str, Any]", n).get("job", "")) if isinstance(n, Mapping) else str(n) for n in items]


def listed(value: Any) -> list[Any]:
    """A setting that may be one value or a list of them."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def known_of(docs: Mapping[str, Any], source: str) -> list[Known]:
    """The jobs that were imported from `source`."""
    found: list[Known] = []
    for file, doc in docs.items():
        for name, table in jobs_of(doc).items():
            values = plain(table)
            imported = values.get("imported")
            if isinstance(imported, dict) and cast("dict[str, Any]", imported).get("file") == source:
                found.append(Known(name=name, file=file, table=table, values=values))
    return found


def _pairs(jobs: Sequence[NewJob], known: Sequence[Known]) -> list[tuple[NewJob, Known | None]]:
    """Each new job with the job of the lab file that it is, if any."""
    chosen: dict[str, Known] = {}
    tests: tuple[Callable[[NewJob, Known], bool], ...] = (
        lambda job, old: job.name == old.name and job.digest == old.digest,
        lambda job, old: job.digest == old.digest,
        lambda job, old: job.name == old.name,
        lambda job, old: job.settings.get("run") == old.values.get("run"),
    )
    for is_same in tests:
        for job in jobs:
            if job.name not in chosen:
                match = next((old for old in known if not old.taken and is_same(job, old)), None)
                if match is not None:
                    match.taken = True
                    chosen[job.name] = match
    for job, old in _edited(jobs, sorted(known, key=lambda old: old.line), chosen):
        old.taken = True
        chosen[job.name] = old
    return [(job, chosen.get(job.name)) for job in jobs]


def _edited(jobs: Sequence[NewJob], known: Sequence[Known], chosen: Mapping[str, Known]) -> list[tuple[NewJob, Known]]:
    """What is left on both sides, paired where it stands at one spot (below, or above, the same job) and is alike."""
    new_spots = _spots([chosen.get(job.name) for job in jobs])
    old_spots = _spots([old if old.taken else None for old in known])
    if len(new_spots) * len(old_spots) > _MOST_PAIRS:
        return []
    candidates: list[tuple[float, int, int]] = []
    for n, (above, below) in new_spots.items():
        for o, spot in old_spots.items():
            likeness = _likeness(jobs[n], known[o]) if above is spot[0] or below is spot[1] else 0.0
            if likeness >= _ALIKE:
                candidates.append((-likeness, n, o))
    found: list[tuple[NewJob, Known]] = []
    used: set[tuple[str, int]] = set()
    for _, n, o in sorted(candidates):
        if ("new", n) not in used and ("old", o) not in used:
            used |= {("new", n), ("old", o)}
            found.append((jobs[n], known[o]))
    return found


def _spots(matches: Sequence[Known | None]) -> dict[int, tuple[Known | None, Known | None]]:
    """For each place without a match: the match above it and the one below."""
    above: list[Known | None] = []
    last: Known | None = None
    for match in matches:
        above.append(last)
        last = match or last
    spots: dict[int, tuple[Known | None, Known | None]] = {}
    following: Known | None = None
    for n in range(len(matches) - 1, -1, -1):
        if matches[n] is None:
            spots[n] = (above[n], following)
        following = matches[n] or following
    return spots


def _likeness(job: NewJob, old: Known) -> float:
    """How alike two commands are, 0 to 1, folders aside. Two that share neither time nor program are not."""
    one, other = (_gist(str(values.get("run", ""))) for values in (old.values, job.settings))
    schedule = old.values.get("schedule", old.replaced.get("schedule"))
    if schedule != job.settings.get("schedule") and one.split(" ")[0] != other.split(" ")[0]:
        return 0.0
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _gist(command: str) -> str:
    return re.sub(r"[^\s;|&<>]*/", "", command)[:_COMPARED]


def _final_names(pairs: Sequence[tuple[NewJob, Known | None]], taken: set[str]) -> dict[str, str]:
    """From the name a job was given to the name it has in the lab file."""
    names = {job.name: old.name for job, old in pairs if old is not None}
    for job, old in pairs:
        if old is not None:
            continue
        name, number = job.name, 1
        while name in taken:
            number += 1
            name = f"{job.name}-{number}"
        taken.add(name)
        names[job.name] = name
    return names
