"""Changes to the lab file that keep everything a person wrote: comments, order, hand-made settings.

`merge` is pure text to text; `locked` and `write` are the only I/O. A job that was imported carries

    imported = { file = "...", line = 7, digest = "..." }

`digest` is that of the crontab's job. As long as it is the same, the job in the lab file is left alone, whatever was
changed by hand; when the crontab's job changes, the settings that come from cron are renewed and all others stay.
Called by `cli.cron`.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError

from homelab.core.errors import InputError, RefusedError

_LOCK_WAIT_S = 20.0


# What cron decides about a job. On a renewal these follow the crontab; every other key is the person's.
_CRON_KEYS = ("schedule", "timezone", "run", "stdin", "shell", "user", "cwd", "environment")


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
        return _digest(self.settings)


@dataclass(kw_only=True)
class Merged:
    """The texts after a merge, and the names of the jobs by what happened to them.

    `renumbered`: only their line in the source is another. `kept`: no longer in the source, but they stay:
    changed by hand since the import, or removing was not asked for.
    """

    texts: dict[str, str]
    added: list[str] = field(default_factory=list[str])
    updated: list[str] = field(default_factory=list[str])
    renumbered: list[str] = field(default_factory=list[str])
    unchanged: list[str] = field(default_factory=list[str])
    removed: list[str] = field(default_factory=list[str])
    kept: list[str] = field(default_factory=list[str])


@dataclass(kw_only=True)
class _Known:
    """A job in the lab files that was imported from the source at hand."""

    name: str
    file: str
    table: Any
    taken: bool = False

    @property
    def digest(self) -> str:
        return str(self.table["imported"].get("digest", ""))

    @property
    def is_adopted(self) -> bool:
        """The lab has it from cron: its line in the crontab is a comment."""
        return "adopted" in self.table["imported"]

    @property
    def is_as_imported(self) -> bool:
        plain = {k: v for k, v in _plain(self.table).items() if k not in ("imported", "needs", "shadow")}
        return _digest(plain) == self.digest


def new_lab(name: str, timezone: str) -> str:
    """The text of a lab file with nothing in it yet."""
    doc = tomlkit.document()
    lab = tomlkit.table()
    lab["name"] = name
    lab["timezone"] = timezone
    doc["lab"] = lab
    return tomlkit.dumps(doc)


def lab_timezone(text: str, where: str) -> str | None:
    """The zone of a job that names none; None when the file does not say it in `[lab]` alone."""
    doc = _plain(_parse(text, where))
    if "timezone" in doc.get("defaults", {}):
        return None
    return doc.get("lab", {}).get("timezone")


def includes(text: str, where: str) -> list[str]:
    """The patterns of `[lab] include`, relative to the folder of the lab file."""
    patterns: Any = _plain(_parse(text, where)).get("lab", {}).get("include", [])
    return [str(pattern) for pattern in cast("list[Any]", patterns)] if isinstance(patterns, list) else []


def joined(merges: Sequence[Merged]) -> Merged:
    """Several merges as one; the texts are those of the last."""
    total = Merged(texts=merges[-1].texts if merges else {})
    for merged in merges:
        for name in ("added", "updated", "renumbered", "unchanged", "removed", "kept"):
            getattr(total, name).extend(getattr(merged, name))
    return total


def chains(texts: Mapping[str, str], *, source: str) -> set[str]:
    """The folders whose scripts an earlier import from `source` made into jobs of their own."""
    docs = {name: _parse(text, name) for name, text in texts.items()}
    return {str(old.table["imported"]["chain"]) for old in _known(docs, source) if "chain" in old.table["imported"]}


def merge(texts: Mapping[str, str], main: str, jobs: Sequence[NewJob], *, source: str, removes: bool = True) -> Merged:
    """Have `jobs` in the lab, as all that comes from `source`.

    `texts` maps the lab file and its includes to their text; new jobs go to the end of `main`. Jobs of the same source
    are matched by what they are, then by name, then by command, and keep the name they have in the lab file; those no
    longer there are removed (if `removes`). A name that another job has is not taken: the new one gets a suffix. The
    same jobs again change no byte. InputError when a text is not TOML. RefusedError when nothing of the source is left:
    an empty input is more often a failed command than a wish to delete everything.
    """
    docs = {name: _parse(text, name) for name, text in texts.items()}
    known = _known(docs, source)
    pairs = _pairs(jobs, known)
    gone = [old for old in known if not old.taken and not old.is_adopted]
    if gone and not jobs:
        raise RefusedError(
            f"no jobs in {source}, but {len(gone)} of the lab came from there",
            hint="If they are to go, delete them from the lab file.",
        )
    result = Merged(texts=dict(texts))
    touched: set[str] = set()
    names = _final_names(pairs, {name for doc in docs.values() for name in _jobs(doc)})
    for job, old in pairs:
        if old is not None:
            what = _renew(old, job, source, names)
            if what != "unchanged":
                touched.add(old.file)
            getattr(result, what).append(old.name)
    for file in touched:
        result.texts[file] = tomlkit.dumps(docs[file])
    result.removed = [old.name for old in gone if removes and old.is_as_imported]
    result.kept = [old.name for old in gone if old.name not in result.removed]
    for file in {old.file for old in gone}:
        names_there = [old.name for old in gone if old.file == file and old.name in result.removed]
        result.texts[file] = _without(result.texts[file], names_there) if names_there else result.texts[file]
    fresh = [job for job, old in pairs if old is None]
    if fresh:
        result.added = [names[job.name] for job in fresh]
        result.texts[main] = _appended(result.texts[main], fresh, source, names)
        _parse(result.texts[main], main)
    return result


def _parse(text: str, where: str) -> Any:
    try:
        return tomlkit.parse(text)
    except ParseError as error:
        raise InputError(f"not valid TOML: {error}", where=f"{where}:{error.line}", hint="Correct it first.") from error
    except TOMLKitError as error:
        raise InputError(f"not valid TOML: {error}", where=where, hint="Correct it first.") from error


def _plain(item: Any) -> dict[str, Any]:
    value = item.unwrap() if hasattr(item, "unwrap") else item
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _digest(settings: Mapping[str, Any]) -> str:
    body = json.dumps(dict(settings), sort_keys=True, default=str)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _jobs(doc: Any) -> Mapping[str, Any]:
    jobs = doc.get("jobs", {})
    return cast("Mapping[str, Any]", jobs) if isinstance(jobs, Mapping) else {}


def _known(docs: Mapping[str, Any], source: str) -> list[_Known]:
    found: list[_Known] = []
    for file, doc in docs.items():
        for name, table in _jobs(doc).items():
            if isinstance(table, Mapping) and _plain(table).get("imported", {}).get("file") == source:
                found.append(_Known(name=name, file=file, table=table))
    return found


def _pairs(jobs: Sequence[NewJob], known: Sequence[_Known]) -> list[tuple[NewJob, _Known | None]]:
    """Each new job with the job of the lab file that it is, if any."""
    chosen: dict[str, _Known] = {}
    tests: tuple[Callable[[NewJob, _Known], bool], ...] = (
        lambda job, old: job.name == old.name and job.digest == old.digest,
        lambda job, old: job.digest == old.digest,
        lambda job, old: job.name == old.name,
        lambda job, old: job.settings.get("run") == old.table.get("run"),
    )
    for is_same in tests:
        for job in jobs:
            if job.name not in chosen:
                match = next((old for old in known if not old.taken and is_same(job, old)), None)
                if match is not None:
                    match.taken = True
                    chosen[job.name] = match
    return [(job, chosen.get(job.name)) for job in jobs]


def _final_names(pairs: Sequence[tuple[NewJob, _Known | None]], taken: set[str]) -> dict[str, str]:
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


def _renew(old: _Known, job: NewJob, source: str, names: Mapping[str, str]) -> str:
    """Bring one job up to date. Returns the name of the list of `Merged` it belongs to."""
    if old.digest == job.digest:
        if old.table["imported"].get("line") == job.line:
            return "unchanged"
        old.table["imported"]["line"] = job.line
        return "renumbered"
    for key in _CRON_KEYS:
        if key not in job.settings and key in old.table:
            old.table.remove(key)
    present = _plain(old.table)
    for key, value in job.settings.items():
        if present.get(key) != value:
            old.table[key] = _item(value)
    if job.needs:
        old.table["needs"] = _needs(job, names)
    adopted = old.table["imported"].get("adopted")
    old.table["imported"] = _imported(job, source)
    if adopted is not None:
        old.table["imported"]["adopted"] = adopted
    return "updated"


def _without(text: str, names: Sequence[str]) -> str:
    """The text without the tables of those jobs. Comments behind one belong to what follows, so they stay."""
    doc: Any = tomlkit.parse(text)
    wanted: dict[str, Any] = doc.unwrap()
    lines = text.splitlines(keepends=True)
    for name in names:
        del wanted["jobs"][name]
        lines = _without_table(lines, name)
    if not wanted["jobs"]:
        del wanted["jobs"]
    shorter = "".join(lines)
    if _means(shorter) == wanted:
        return shorter
    for name in names:  # written in another style: comments inside the tables go too
        del doc["jobs"][name]
    return tomlkit.dumps(doc)


def _without_table(lines: list[str], name: str) -> list[str]:
    header = re.compile(rf"""\s*\[\s*jobs\s*\.\s*(["']?){re.escape(name)}\1\s*\]""")
    start = next((n for n, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        return lines
    end = next((n for n in range(start + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    while lines[end - 1].strip() == "" or lines[end - 1].lstrip().startswith("#"):
        end -= 1
    if end < len(lines) and lines[end].strip() == "":
        end += 1
    return lines[:start] + lines[end:]


def _means(text: str) -> dict[str, Any] | None:
    try:
        return tomlkit.parse(text).unwrap()
    except TOMLKitError:
        return None


def _appended(text: str, jobs: Sequence[NewJob], source: str, names: Mapping[str, str]) -> str:
    tables = tomlkit.table(is_super_table=True)
    for job in jobs:
        table = tomlkit.table()
        for key, value in job.settings.items():
            table[key] = _item(value)
        if job.needs:
            table["needs"] = _needs(job, names)
        table["imported"] = _imported(job, source)
        tables[names[job.name]] = table
    fragment = tomlkit.document()
    fragment["jobs"] = tables
    # As text at the end: a header may stand anywhere, and nothing a person wrote is touched.
    before = text if not text or text.endswith("\n") else text + "\n"
    return (before + "\n" if before else "") + tomlkit.dumps(fragment).lstrip("\n")


def _imported(job: NewJob, source: str) -> Any:
    table = tomlkit.inline_table()
    table["file"] = _item(source)
    table["line"] = job.line
    table["digest"] = job.digest
    if job.chain:
        table["chain"] = _item(job.chain)
    return table


def _needs(job: NewJob, names: Mapping[str, str]) -> Any:
    return _item([{"job": names[name], "when": "always"} for name in job.needs])


def _item(value: Any) -> Any:
    if isinstance(value, Mapping):
        table: Any = tomlkit.inline_table()
        for key, inner in cast("Mapping[str, Any]", value).items():
            table[key] = _item(inner)
        return table
    if isinstance(value, list):
        array: Any = tomlkit.array()
        for inner in cast("list[Any]", value):
            array.append(_item(inner))
        return array
    if isinstance(value, str):
        is_quoted = ('"' in value or "\\" in value) and "'" not in value and value.isprintable()
        return tomlkit.string(value, literal=is_quoted)
    item: Any = cast("Any", tomlkit).item(value)
    return item


# --- the file ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Only one process at a time edits lab files in this folder. RefusedError after waiting for 20 s."""
    # The folder itself is locked, not the file: the file is replaced by each write, and no lock file is left behind.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"cannot use the folder of the lab file: {error.strerror}", where=str(path.parent)) from error
    try:
        _wait_for_lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise RefusedError(
                    "another command is changing the lab file", where=str(path), hint="Wait for it, then try again."
                ) from error
            time.sleep(0.05)
        else:
            return


def write(path: Path, text: str) -> None:
    """Replace the file whole: a reader sees the old text or the new one. Its mode is kept; a link stays a link."""
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = 0o644
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh = Path(name)
        fresh.chmod(mode)
        fresh.replace(target)
    except OSError as error:
        raise InputError(f"cannot write the lab file: {error.strerror}", where=str(target)) from error
