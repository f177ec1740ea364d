"""What an import would do: the suggestions, the lab file it leads to, and the timetable before and after.

`plan` only computes; the lab file is written by `write`, under its lock. Called by `cli.cron`, again and again while a
person answers; who is asked, and how, is the matter of `cli.cronreview`.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from homelab.cli.cronjobs import new_jobs
from homelab.cli.cronread import Reading
from homelab.cli.cronties import answered, named, ties
from homelab.core.durations import duration_s
from homelab.core.edges import Edge, Timing
from homelab.core.errors import InputError
from homelab.core.jobs import Job, Need, When
from homelab.core.schedule import ScheduleError, parse
from homelab.core.timetable import Row, effect, timetable
from homelab.home import labedit, labshadow
from homelab.home.labedit import Merged, Tie
from homelab.home.labmatch import Known, Matched, NewJob, listed, needs_of

Accept = Literal["none", "high", "all"]
Kind = Literal["needs", "exclusive", "chain"]
State = Literal["open", "accepted", "declined"]
_RANKS = {"high": 1, "medium": 2, "low": 3}


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One suggestion, about jobs of the lab. `up` and `down` for `needs`; `members` for `exclusive`; `scripts` for a
    run-parts folder. `id` tells it apart within this import. `standing`: as the lab file has it; `state`: with the
    answers.

    `effect`: what yes would change. `is_possible`: false when it cannot be taken over, only told.
    """

    id: str
    kind: Kind
    file: str
    lines: tuple[int, ...]
    up: str = ""
    down: str = ""
    members: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    group: str = ""
    confidence: str
    evidence: str
    reason: str
    effect: str = ""
    state: State = "open"
    standing: State = "open"
    is_possible: bool = True

    @property
    def key(self) -> str:
        """What the jobs it is about remember it by, once it is decided."""
        return {"needs": self.up, "exclusive": f"exclusive {self.group}", "chain": f"run-parts {self.group}"}[self.kind]

    @property
    def title(self) -> str:
        if self.kind == "needs":
            return f"{self.down} needs {self.up}"
        if self.kind == "exclusive":
            return f"only one at a time: {', '.join(self.members)}"
        return f"{self.down} as a chain of {len(self.scripts)} jobs"


@dataclass(kw_only=True)
class Plan:
    """An import, computed. `before` and `after`: the lab file and its includes, by path. `rows`: the timetable.

    `refused`: suggestions that were accepted and could not be taken, with the reason. `premise`: what `rows` takes for
    granted, if anything.
    """

    path: Path
    before: dict[str, str]
    after: dict[str, str]
    is_new: bool
    merged: Merged
    suggestions: list[Suggestion] = field(default_factory=list[Suggestion])
    refused: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    rows: tuple[Row, ...] = ()
    premise: str = ""

    @property
    def changed(self) -> list[str]:
        """The files whose text changes."""
        return [n for n in self.after if self.after[n] != self.before[n] or (self.is_new and n == str(self.path))]

    def open(self) -> list[Suggestion]:
        """What a person may be asked, the surest first."""
        waiting = [s for s in self.suggestions if s.state == "open" and s.is_possible]
        return sorted(waiting, key=lambda s: _RANKS.get(s.confidence, 3))


def lab_path() -> Path:
    """The lab file to change: HOMELAB_LAB (which `--lab` sets), else lab.toml in this folder."""
    return Path(os.environ.get("HOMELAB_LAB") or "lab.toml").expanduser().absolute()


def read_lab(path: Path, *, timezone: str) -> dict[str, str]:
    """The text of the lab file and of what it includes, by path. A file that is not there yet is a new lab's text."""
    try:
        main = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.parent.name).strip("-._") or "home"
        return {str(path): labedit.new_lab(name, timezone)}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the lab file: {error}", where=str(path)) from error
    texts = {str(path): main}
    for pattern in labedit.includes(main, str(path)):
        for included in sorted(path.parent.glob(pattern)):
            if included.is_file():
                texts[str(included)] = included.read_text(encoding="utf-8")
    return texts


def plan(
    readings: Sequence[tuple[Reading, str]],
    path: Path,
    *,
    timezone: str,
    accept: Accept = "none",
    answers: Mapping[str, bool] | None = None,
    usual_s: Callable[[str], float | None] = lambda _: None,
    again: bool = False,
    shadow: bool = False,
    before: Mapping[str, str] | None = None,
    now: datetime,
) -> Plan:
    """What an import of `readings` (each with the name its source is known by) would do to the lab file at `path`.

    `answers`: yes or no by the id of a suggestion; `accept` answers yes to further ones by their confidence. `again`:
    those that were declined are open once more. `shadow`: new jobs stay cron's. `usual_s`: how long a job usually
    takes, where that is known. `timezone`: of a new lab file. `before`: texts of a lab file that is not written yet,
    instead of those on disk.
    """
    is_new = before is not None or not path.exists()
    before = dict(before) if before is not None else read_lab(path, timezone=timezone)
    result = Plan(path=path, before=before, after=dict(before), is_new=is_new, merged=Merged(texts={}))
    zone = labedit.lab_timezone(before[str(path)], str(path))
    done: list[Merged] = []
    was: dict[str, Job] = _jobs_of(before)
    for reading, source in readings:
        one = _Import(reading, source, result.after, zone, accept, answers or {}, again, usual_s, now)
        merged = one.merge(str(path))
        result.after = labshadow.shadowed(merged.texts, merged.added) if shadow else merged.texts
        result.suggestions += one.suggestions
        result.refused += one.refused
        done.append(merged)
        for job in one.jobs:
            was.setdefault(merged.names[job.name], _as_in_cron(merged.names[job.name], job, zone))
    result.merged = labedit.joined(done)
    will_be = _jobs_of(result.after)
    first = {need.job for job in will_be.values() if job.schedule is None for need in job.needs}
    durations = {name: found for name in sorted(first) if (found := usual_s(name)) is not None}
    result.rows = timetable(was, will_be, timezone=zone or timezone, durations=durations)
    return result


def write(plan: Plan) -> None:
    """Write what changed. The caller holds the lock and has computed the plan under it."""
    for name in plan.changed:
        labedit.write(Path(name), plan.after[name])


# --- one crontab ------------------------------------------------------------------------------------------------------


class _Import:
    """One reading on its way into the texts of a lab."""

    def __init__(
        self,
        reading: Reading,
        source: str,
        texts: Mapping[str, str],
        zone: str | None,
        accept: Accept,
        answers: Mapping[str, bool],
        again: bool,
        usual_s: Callable[[str], float | None],
        now: datetime,
    ) -> None:
        self._reading = reading
        self._source = source
        self._texts = texts
        self._zone = zone
        self._accept = accept
        self._answers = answers
        self._again = again
        self._usual_s = usual_s
        self._now = now
        self._raw = reading.suggestions()
        self.suggestions: list[Suggestion] = []
        self.refused: list[tuple[str, str]] = []
        self.jobs: list[NewJob] = []

    def merge(self, main: str) -> Merged:
        self.jobs = new_jobs(self._reading, timezone=self._zone, split=self._chains())
        # A line with a mistake in it is not a job that was taken out.
        is_sound = not any(problem.severity == "error" for problem in self._reading.problems)
        return labedit.merge(self._texts, main, self.jobs, source=self._source, removes=is_sound, decide=self._decide)

    def _chains(self) -> set[int]:
        """Lines whose run-parts folder becomes a chain of jobs; lists those suggestions."""
        known = labedit.chains(self._texts, source=self._source)
        declined = labedit.answered(self._texts, source=self._source)
        names = {job.line: job.name for job in self._reading.jobs}
        for raw in self._raw:
            if "scripts" not in raw:
                continue
            line = int(raw["upstream_line"])
            chain = self._reading.chains[line]
            made = self._bare(
                raw, kind="chain", identity=chain.folder, down=names[line], scripts=chain.scripts, group=chain.folder,
                is_possible=chain.is_whole,
                effect=f"{len(chain.scripts)} jobs in one flow, each after the one before, whatever its outcome; "
                "each with its own state, log and retries.",
            )  # fmt: skip
            standing: State = "accepted" if chain.folder in known else "declined" if made.key in declined else "open"
            self.suggestions.append(self._decided(made, standing))
        return {s.lines[0] for s in self.suggestions if s.state == "accepted" and s.is_possible}

    def _decide(self, match: Matched) -> dict[str, Tie]:
        ends = _ends(match)
        timings = {name: self._timing(name, job, old) for name, job, old in named(match)}
        old_of = {name: old for name, _, old in named(match)}
        answers: dict[str, list[str]] = {}
        exclusive: dict[str, list[str]] = {}
        fresh: list[Edge] = []
        for raw in self._raw:
            one = self._suggestion(raw, ends, old_of, timings)
            if one is None:
                continue
            self.suggestions.append(one)
            about = (one.down,) if one.kind == "needs" else one.members
            if one.state != one.standing:
                for name in about:
                    if one.key not in answered(old_of[name]):
                        answers.setdefault(name, []).append(one.key)
            if one.state != "accepted" or one.standing == "accepted":
                continue
            if one.kind == "exclusive":
                for name in about:
                    exclusive.setdefault(name, []).append(one.group)
            else:
                fresh.append(Edge(up=one.up, down=one.down, rank=_RANKS.get(one.confidence, 3)))
        for one in self.suggestions:
            if one.kind == "chain" and one.state == "declined" != one.standing:
                answers.setdefault(ends[one.lines[0]][1], []).append(one.key)
        made, refused = ties(match, timings, fresh, at=self._now)
        self.refused += [(f"{edge.down} needs {edge.up}", why) for edge, why in refused]
        return {
            name: replace(
                made.get(name, Tie()),
                exclusive=tuple(exclusive.get(name, ())),
                answered=tuple(answers.get(name, ())),
            )
            for name in {*made, *exclusive, *answers}
        }

    def _suggestion(
        self,
        raw: Mapping[str, Any],
        ends: Mapping[int, tuple[str, str]],
        old_of: Mapping[str, Known | None],
        timings: Mapping[str, Timing],
    ) -> Suggestion | None:
        """A suggestion of the reading, by the names of the lab. None when one of its lines is no job here."""
        lines = tuple(int(line) for line in raw["lines"])
        if "scripts" in raw:
            return None
        if {raw.get("upstream_file", self._reading.file), raw.get("downstream_file", self._reading.file)} != {
            self._reading.file
        }:
            return self._of_two_files(raw)
        if any(line not in ends for line in lines):
            return None
        if raw["kind"] == "exclusive":
            return self._exclusion(raw, tuple(dict.fromkeys(ends[line][1] for line in sorted(lines))), old_of)
        up, down = ends[int(raw["upstream_line"])][1], ends[int(raw["downstream_line"])][0]
        made = self._bare(
            raw, kind="needs", identity=f"{raw['upstream_line']}\0{raw['downstream_line']}", up=up, down=down,
            effect=effect(
                timings[up], timings[down], names=(up, down), at=self._now, usual_s=self._usual_s(up)
            ),
        )  # fmt: skip
        if up in _needs(old_of[down]):
            return replace(made, state="accepted", standing="accepted")
        return self._decided(made, "declined" if up in answered(old_of[down]) else "open")

    def _of_two_files(self, raw: Mapping[str, Any]) -> Suggestion:
        """Jobs of two files: each is imported from its own, so this one is only told."""
        made = self._bare(
            raw, kind="needs", identity=f"{raw['upstream_file']}\0{raw['upstream']}\0{raw['downstream']}",
            up=str(raw["upstream"]), down=str(raw["downstream"]), is_possible=False,
            effect="They come from two files: to take it over, write the need into the lab file.",
        )  # fmt: skip
        return self._decided(made, "open")

    def _exclusion(
        self, raw: Mapping[str, Any], members: tuple[str, ...], old_of: Mapping[str, Known | None]
    ) -> Suggestion | None:
        if len(members) < 2:
            return None
        group = _group(raw, members)
        made = self._bare(
            raw, kind="exclusive", identity=f"{group}\0{raw['lines']}", members=members, group=group,
            effect="They keep their times; when one is due while another runs, it waits.",
        )  # fmt: skip
        return self._decided(made, _state_of_group(group, [old_of[name] for name in members]))

    def _bare(self, raw: Mapping[str, Any], *, kind: Kind, identity: str, effect: str, **more: Any) -> Suggestion:
        return Suggestion(
            id=f"{self._reading.file}\0{kind}\0{identity}",
            kind=kind,
            file=self._reading.file,
            lines=tuple(int(line) for line in raw["lines"]),
            confidence=str(raw["confidence"]),
            evidence=str(raw["evidence"]),
            reason=str(raw["reason"]),
            effect=effect,
            **more,
        )

    def _decided(self, made: Suggestion, standing: State) -> Suggestion:
        """With its state: by the answer to it, else as it stands in the lab file, else by what `accept` says."""
        state: State = "open" if standing == "declined" and self._again else standing
        if not made.is_possible:
            return replace(made, standing=standing, state=standing)
        if made.id in self._answers:
            state = "accepted" if self._answers[made.id] else "declined"
        elif state == "open" and (self._accept == "all" or self._accept == made.confidence == "high"):
            state = "accepted"
        return replace(made, standing=standing, state=state)

    def _timing(self, name: str, job: NewJob, old: Known | None) -> Timing:
        """When the job is due by itself: as the lab file says, if that was changed by hand, else as cron says."""
        values = dict(job.settings)
        if old is not None and "schedule" in old.values and not old.replaced and old.digest == job.digest:
            values |= {k: v for k, v in old.values.items() if k in ("schedule", "timezone")}
        timing = Timing(schedule=str(values["schedule"]), timezone=_zone(values, self._zone), seed=name)
        try:
            parse(timing.schedule, timing.timezone, seed=name)
        except ScheduleError:
            return Timing(schedule=str(job.settings["schedule"]), timezone=_zone(job.settings, self._zone), seed=name)
        return timing


def _needs(old: Known | None) -> list[str]:
    return needs_of(old.values) if old is not None else []


def _zone(values: Mapping[str, Any], zone: str | None) -> str:
    return str(values.get("timezone") or zone or "UTC")


def _ends(match: Matched) -> dict[int, tuple[str, str]]:
    """By line of the crontab, the first and the last of the jobs that it became (one, but for a chain)."""
    ends: dict[int, tuple[str, str]] = {}
    for name, job, _ in named(match):
        ends[job.line] = (ends[job.line][0] if job.line in ends else name, name)
    return ends


_LOCK = re.compile(r"[\w./-]*/([\w.-]+?)(?:\.(?:lock|lck|pid|flock))\b")


def _group(raw: Mapping[str, Any], members: Sequence[str]) -> str:
    """A name for the group that is the same next time: that of the lock they share, else of their first."""
    if found := _LOCK.search(str(raw["evidence"])):
        name = re.sub(r"[^A-Za-z0-9_]+", "-", found[1]).strip("-_")
        if name:
            return f"{name}-lock"
    return f"{min(members)}-lock"


def _state_of_group(group: str, members: Sequence[Known | None]) -> State:
    """Accepted when all of them are in a common group, in whatever name; decided otherwise when one remembers so."""
    groups = [set(listed(old.values.get("exclusive", []))) if old is not None else set[Any]() for old in members]
    if set[Any].intersection(*groups):
        return "accepted"
    return "declined" if any(f"exclusive {group}" in answered(old) for old in members) else "open"


# --- the jobs of a lab file, as far as the timetable needs them -------------------------------------------------------


def _jobs_of(texts: Mapping[str, str]) -> dict[str, Job]:
    """The jobs of the lab file and its includes, with schedule, zone and needs. Anything odd in them is passed over:
    `homelab check` tells about it."""
    docs = [tomllib.loads(text) for text in texts.values()]
    lab: dict[str, Any] = _table(docs[0].get("lab"))
    jobs: dict[str, Job] = {}
    for doc in docs:
        defaults = {**lab, **_table(docs[0].get("defaults")), **_table(doc.get("defaults"))}
        for name, raw in _table(doc.get("jobs")).items():
            values = _table(raw)
            schedule = values.get("schedule")
            jobs[name] = Job(
                name=name,
                schedule=schedule if isinstance(schedule, str) else None,
                timezone=str(values.get("timezone") or defaults.get("timezone") or "UTC"),
                needs=tuple(_need(item) for item in listed(values.get("needs", []))),
            )
    return jobs


def _need(item: Any) -> Need:
    values = _table(item) if isinstance(item, dict) else {"job": item}
    when = values.get("when")
    try:
        within_s = duration_s(values["within"]) if "within" in values else None
    except (InputError, TypeError, AttributeError):
        within_s = None
    kind: When = when if when in ("always", "failure") else "success"
    return Need(job=str(values.get("job", "")), when=kind, within_s=within_s)


def _as_in_cron(name: str, job: NewJob, zone: str | None) -> Job:
    return Job(name=name, schedule=str(job.settings["schedule"]), timezone=_zone(job.settings, zone))


def _table(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
