"""Changes to the lab file that keep everything a person wrote: comments, order, hand-made settings.

`merge` is pure text to text; `locked` and `write` are the only I/O. A job that was imported carries

    imported = { file = "...", line = 7, digest = "..." }

`digest` is that of the crontab's job. As long as it is the same, the job in the lab file is left alone, whatever was
changed by hand; when the crontab's job changes, the settings that come from cron are renewed and all others stay.
Called by `cli.cron`.
"""

import contextlib
import fcntl
import glob
import os
import re
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError

from homelab.core.errors import InputError, RefusedError
from homelab.home.labmatch import Known, Matched, NewJob, known_of, listed, matched, needs_of, plain

_LOCK_WAIT_S = 20.0
_UNFINISHED = ".unfinished"


# What cron decides about a job. On a renewal these follow the crontab; every other key is the person's.
_CRON_KEYS = ("schedule", "timezone", "run", "stdin", "shell", "user", "cwd", "environment")


@dataclass(frozen=True, kw_only=True)
class Tie:
    """What ties a job to others, as it is to be written.

    `needs`: for each job to come first, its conditions (`when`, `within`) as the lab file writes them. `dropped`: needs
    that cannot hold any more. `joins`: it runs after these, in their flow, and has no schedule. `respelled`: schedule
    and zone to write instead of its own. `exclusive`: groups to be in. `answered`: the suggestions about it that were
    decided.
    """

    needs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    dropped: tuple[str, ...] = ()
    joins: bool = False
    respelled: tuple[str, str] | None = None
    exclusive: tuple[str, ...] = ()
    answered: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Merged:
    """The texts after a merge, and the names of the jobs by what happened to them. `names`: from the name each new job
    was given to the one it has in the lab file.

    `renumbered`: only their line in the source is another. `kept`: no longer in the source, but they stay:
    changed by hand since the import, or removing was not asked for. `changes`: of an updated job, each setting that is
    another, before and after (None: not there).
    """

    texts: dict[str, str]
    names: dict[str, str] = field(default_factory=dict[str, str])
    added: list[str] = field(default_factory=list[str])
    updated: list[str] = field(default_factory=list[str])
    renumbered: list[str] = field(default_factory=list[str])
    unchanged: list[str] = field(default_factory=list[str])
    removed: list[str] = field(default_factory=list[str])
    kept: list[str] = field(default_factory=list[str])
    changes: dict[str, list[tuple[str, Any, Any]]] = field(default_factory=dict[str, list[tuple[str, Any, Any]]])


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
    doc = _values(text, where)
    if "timezone" in doc.get("defaults", {}):
        return None
    return doc.get("lab", {}).get("timezone")


def includes(text: str, where: str) -> list[str]:
    """The patterns of `[lab] include`, relative to the folder of the lab file."""
    patterns: Any = _values(text, where).get("lab", {}).get("include", [])
    return [str(pattern) for pattern in cast("list[Any]", patterns)] if isinstance(patterns, list) else []


def joined(merges: Sequence[Merged]) -> Merged:
    """Several merges as one; the texts are those of the last."""
    total = Merged(texts=merges[-1].texts if merges else {})
    for merged in merges:
        for name in ("added", "updated", "renumbered", "unchanged", "removed", "kept"):
            getattr(total, name).extend(getattr(merged, name))
        total.changes |= merged.changes
    return total


def chains(texts: Mapping[str, str], *, source: str) -> set[str]:
    """The folders whose scripts an earlier import from `source` made into jobs of their own."""
    return {str(old.imported["chain"]) for old in _known_in(texts, source) if "chain" in old.imported}


def answered(texts: Mapping[str, str], *, source: str) -> set[str]:
    """The suggestions that were decided at earlier imports from `source`, about any of its jobs."""
    return {str(key) for old in _known_in(texts, source) for key in old.imported.get("answered", ())}


def _known_in(texts: Mapping[str, str], source: str) -> list[Known]:
    return known_of({name: _values(text, name) for name, text in texts.items()}, source)


def merge(
    texts: Mapping[str, str],
    main: str,
    jobs: Sequence[NewJob],
    *,
    source: str,
    removes: bool = True,
    decide: Callable[[Matched], Mapping[str, Tie]] = lambda _: {},
) -> Merged:
    """Have `jobs` in the lab, as all that comes from `source`.

    `texts` maps the lab file and its includes to their text; new jobs go to the end of `main`. Who is who is decided by
    `labmatch`; jobs no longer in the source are removed (if `removes`). `decide` is asked, once that is known, which
    jobs (by their names in the lab file) are tied to others. The same jobs again change no byte. InputError when a text
    is not TOML. RefusedError when nothing of the source is left: an empty input is more often a failed command than a
    wish to delete everything.
    """
    docs = {name: _parse(text, name) for name, text in texts.items()}
    left = [old for old in known_of(docs, source) if not old.is_adopted]
    if left and not jobs:
        raise RefusedError(
            f"no jobs in {source}, but {len(left)} of the lab came from there",
            hint="If they are to go, delete them from the lab file.",
        )
    match = matched(docs, jobs, source=source, removes=removes)
    ties = decide(match)
    result = Merged(texts=dict(texts), names=dict(match.names))
    removed = {old.name for old in match.removed}
    touched: set[str] = set()
    for job, old in match.pairs:
        if old is not None:
            what = _renew(old, job, source, match.names, ties.get(old.name), removed)
            if what != "unchanged":
                touched.add(old.file)
            if what == "updated":
                result.changes[old.name] = _differences(old.values, plain(old.table))
            getattr(result, what).append(old.name)
    for file in touched:
        result.texts[file] = tomlkit.dumps(docs[file])
    result.removed = [old.name for old in match.removed]
    result.kept = [old.name for old in match.kept]
    for file in {old.file for old in match.removed}:
        result.texts[file] = _without(result.texts[file], [old.name for old in match.removed if old.file == file])
    fresh = [job for job, old in match.pairs if old is None]
    if fresh:
        result.added = [match.names[job.name] for job in fresh]
        result.texts[main] = _appended(result.texts[main], fresh, source, match.names, ties)
        _parse(result.texts[main], main)
    return result


def _parse(text: str, where: str) -> Any:
    try:
        return tomlkit.parse(text)
    except ParseError as error:
        raise InputError(f"not valid TOML: {error}", where=f"{where}:{error.line}", hint="Correct it first.") from error
    except TOMLKitError as error:
        raise InputError(f"not valid TOML: {error}", where=where, hint="Correct it first.") from error


def _values(text: str, where: str) -> dict[str, Any]:
    """What the text says, to read and not to edit: many times faster than `_parse`, which then says what is wrong."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return plain(_parse(text, where))


def _renew(
    old: Known, job: NewJob, source: str, names: Mapping[str, str], tie: Tie | None, removed: Collection[str]
) -> str:
    """Bring one job up to date. Returns the name of the list of `Merged` it belongs to."""
    is_changed = old.digest != job.digest
    has_lost = any(up in removed for up in needs_of(old.values))
    if not is_changed and tie is None and not has_lost:
        if old.line == job.line:
            return "unchanged"
        old.table["imported"]["line"] = job.line
        return "renumbered"
    if is_changed:
        _follow(old, job)
    if tie is None:
        tie = _chained(job, names) if is_changed and job.needs else Tie()
    _tie(old.table, job, tie, removed)
    is_replaced = bool(old.replaced) or tie.joins or tie.respelled is not None
    answered = [*old.imported.get("answered", ()), *tie.answered]
    imported = _imported(job, source, plain(old.table) if is_replaced else job.settings, answered=answered)
    if old.is_adopted:
        imported["adopted"] = old.imported["adopted"]
    if plain(imported) != old.imported:
        old.table["imported"] = imported
    return "unchanged" if plain(old.table) == old.values else "updated"


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    keys = [*before, *(key for key in after if key not in before)]
    return [(k, before.get(k), after.get(k)) for k in keys if k != "imported" and before.get(k) != after.get(k)]


def _follow(old: Known, job: NewJob) -> None:
    """The settings that cron decides, renewed. A job that runs after others, without a time, stays so."""
    is_timeless = "schedule" not in old.table and bool(needs_of(old.values))
    untouched = ("schedule", "timezone") if is_timeless else ()
    for key in _CRON_KEYS:
        if key not in job.settings and key in old.table:
            old.table.remove(key)
    for key, value in job.settings.items():
        if key not in untouched and old.values.get(key) != value:
            old.table[key] = _item(value)


def _tie(table: Any, job: NewJob, tie: Tie, removed: Collection[str]) -> None:
    """Write what `tie` says into the table of a job."""
    before = plain(table)
    ups = needs_of(before)
    lost = {up for up in ups if up in removed or up in tie.dropped}
    items = {up: n for up, n in zip(ups, listed(before.get("needs", [])), strict=True) if up not in lost}
    for up, conditions in tie.needs.items():
        said = {**conditions, **{k: v for k, v in plain(items.get(up)).items() if k not in ("job", "within")}}
        items[up] = {"job": up, **said} if said else up
    _set(table, "needs", list(items.values()))
    groups = listed(before.get("exclusive", []))
    _set(table, "exclusive", [*groups, *(g for g in tie.exclusive if g not in groups)])
    if tie.joins:
        for key in ("schedule", "timezone"):
            _set(table, key, None)
    elif tie.respelled:
        for key, value in zip(("schedule", "timezone"), tie.respelled, strict=True):
            _set(table, key, value)
    elif "schedule" not in table and (tie.needs or (lost and not items)):
        for key in ("schedule", "timezone"):
            _set(table, key, job.settings.get(key))


def _set(table: Any, key: str, value: Any) -> None:
    """A setting, written only when it changes; nothing and an empty list remove it."""
    if value is None or value == []:
        if key in table:
            table.remove(key)
    elif plain(table).get(key) != value:
        table[key] = _item(value)


def _chained(job: NewJob, names: Mapping[str, str]) -> Tie:
    """A script of a folder runs after the one before it, in the flow of the first, which has the time."""
    return Tie(needs={names[name]: {"when": "always"} for name in job.needs}, joins=True)


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


def _appended(text: str, jobs: Sequence[NewJob], source: str, names: Mapping[str, str], ties: Mapping[str, Tie]) -> str:
    tables = tomlkit.table(is_super_table=True)
    for job in jobs:
        table = tomlkit.table()
        tie = ties.get(names[job.name]) or (_chained(job, names) if job.needs else Tie())
        for key, value in job.settings.items():
            if key == "schedule" and tie.needs:
                table["needs"] = _item([])
            table[key] = _item(value)
        _tie(table, job, tie, ())
        table["imported"] = _imported(job, source, plain(table), answered=tie.answered)
        tables[names[job.name]] = table
    fragment = tomlkit.document()
    fragment["jobs"] = tables
    # As text at the end: a header may stand anywhere, and nothing a person wrote is touched.
    before = text if not text or text.endswith("\n") else text + "\n"
    return (before + "\n" if before else "") + tomlkit.dumps(fragment).lstrip("\n")


def _imported(job: NewJob, source: str, written: Mapping[str, Any], *, answered: Sequence[str]) -> Any:
    """`schedule` and `timezone`: what cron had, where that is not what is `written`: the job runs after others now.
    `answered`: suggestions about this job that a person decided on; they are not made again."""
    table = tomlkit.inline_table()
    table["file"] = _item(source)
    table["line"] = job.line
    table["digest"] = job.digest
    if job.chain:
        table["chain"] = _item(job.chain)
    for key in ("schedule", "timezone"):
        if key in job.settings and job.settings[key] != written.get(key):
            table[key] = _item(job.settings[key])
    if answered:
        table["answered"] = _item(sorted(set(answered)))
    return table


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
    """Replace the file whole: a reader sees the old text or the new one. Its mode is kept; a link stays a link.

    What a writer that was killed left behind is removed; the lock says that none is at work.
    """
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = 0o644
    try:
        for left in target.parent.glob(f".{glob.escape(target.name)}.*{_UNFINISHED}"):
            left.unlink(missing_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=_UNFINISHED, dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh = Path(name)
        fresh.chmod(mode)
        fresh.replace(target)
    except OSError as error:
        raise InputError(f"cannot write the lab file: {error.strerror}", where=str(target)) from error
