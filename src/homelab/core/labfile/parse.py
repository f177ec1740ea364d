"""A lab file (and what it includes) as values, or every problem it has.

Pure: texts in, `Lab` or problems out; nothing in the text makes it raise. Called by `cli.check`, and by `control`
before anything running is touched.
"""

import posixpath
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, cast

from homelab.core import placement, schedule
from homelab.core.jobs import Job, Need, Retries, flows_of
from homelab.core.labfile.company import check_company
from homelab.core.labfile.fleet import check_requirements, fleet_of
from homelab.core.labfile.graph import Placed, check_graph
from homelab.core.labfile.kinds import NAME, UnusableError
from homelab.core.labfile.model import (
    AccessSettings,
    Lab,
    Node,
    NotifySettings,
    SecretUse,
    ServiceSettings,
    WorkerSettings,
)
from homelab.core.labfile.problems import At, Collector, Problem, nearest, shown
from homelab.core.labfile.saving import settings_of
from homelab.core.labfile.settings import DEFAULTS, INCLUDABLE, JOB, NAMED_TABLES, SINGLE_TABLES, TOP
from homelab.core.labfile.source import Source, read_source
from homelab.core.usual import Expected

MOST_JOBS: Final = 5000
_MERGED: Final = ("environment", "secrets", "params", "requires", "retries")
"""Settings of a job that add to those of [defaults] instead of replacing them."""


def parse(
    files: Mapping[str, str], *, main: str, exists: Callable[[str], bool] | None = None
) -> tuple[Lab | None, list[Problem]]:
    """Read `files` (displayed path -> text), of which `main` may hold the lab's own settings.

    `exists` says whether a reference (`env:NAME`, ...) leads to a secret here; with it, one that does not is an error.
    The lab is None when any problem is an error. Problems come sorted by file (as given), line and column.
    """
    collector = Collector([main, *(f for f in files if f != main)])
    lab = _Reader(files, main, collector).lab()
    if exists is not None:
        for problem in _absent(collector.secrets, exists):
            collector.add(problem)
    problems = collector.result()
    if collector.dropped:
        problems.append(
            Problem(
                file=main,
                line=1,
                column=1,
                severity="error",
                code="too-many",
                message=f"{collector.dropped} more problems are not shown",
            )
        )
    return (None if collector.has_errors else lab), problems


def secret_problems(lab: Lab, exists: Callable[[str], bool]) -> list[Problem]:
    """An error for each place in the lab file that names a secret which is not there, in file order."""
    return _absent(lab.secrets, exists)


def _absent(uses: Iterable[SecretUse], exists: Callable[[str], bool]) -> list[Problem]:
    known: dict[str, bool] = {}
    problems: list[Problem] = []
    for use in uses:
        if use.reference not in known:
            known[use.reference] = exists(use.reference)
        if not known[use.reference]:
            problems.append(_absence(use))
    return problems


def _absence(use: SecretUse) -> Problem:
    kind, _, name = use.reference.partition(":")
    what = {
        "env": (
            f"the variable {shown(name)} is not set",
            f"Put {name}=VALUE into HOMELAB_HOME/secrets/environment (mode 0600).",
        ),
        "file": (f"there is no file {shown(name)} that can be read", "A relative path is below HOMELAB_HOME/secrets."),
        "keychain": (
            f"the keychain has no item {shown(name)}",
            "Add it with: security add-generic-password -a homelab -s NAME -w",
        ),
    }[kind]
    return Problem(
        file=use.file,
        line=use.line,
        column=use.column,
        severity="error",
        code="no-secret",
        message=f"the secret of {shown(use.setting)} is not there: {what[0]}",
        hint=what[1],
    )


def includes(text: str) -> tuple[str, ...]:
    """The patterns of `[lab] include`, as far as the text can be read: what else is to be given to `parse`."""
    lab = read_source("", text, Collector([])).data.get("lab")
    found = cast("dict[str, Any]", lab).get("include", ()) if isinstance(lab, dict) else ()
    patterns = cast("list[Any]", found) if isinstance(found, list) else [found]
    return tuple(p for p in patterns if isinstance(p, str) and p)


class _Reader:
    def __init__(self, files: Mapping[str, str], main: str, collector: Collector) -> None:
        self.main = main
        self.collector = collector
        self.sources = [read_source(main, files.get(main, ""), collector)]
        self.sources += [read_source(f, text, collector) for f, text in files.items() if f != main]
        self.single: dict[str, dict[str, Any]] = {}
        self.defaults: dict[str, dict[str, Any]] = {}
        self.defaults_at: dict[str, At] = {}
        self.named: dict[str, dict[str, tuple[dict[str, Any], At]]] = {kind: {} for kind in NAMED_TABLES}
        self.unusable: set[str] = set()
        self.agents: dict[str, At] = {}

    @property
    def is_whole(self) -> bool:
        return all(s.is_whole for s in self.sources)

    def lab(self) -> Lab | None:
        for source in self.sources:
            self.read_file(source)
        self.check_includes()
        placed = self.jobs()
        is_good = check_graph(placed, frozenset(self.unusable), is_whole=self.is_whole)
        fleet = self.fleet()
        check_requirements(placed, fleet, self.defaults_at)
        check_company(placed, fleet)
        if not is_good or self.collector.has_errors:
            return None
        jobs = tuple(p.job for p in placed.values())
        return self.assemble(jobs)

    def fleet(self) -> tuple[placement.Node, ...]:
        """The nodes, when all of them could be read: what is missing cannot be said to be too small."""
        if not self.is_whole or self.collector.has_errors:
            return ()
        return fleet_of(self.nodes(), concurrency=WorkerSettings(**self.single.get("worker", {})).concurrency)

    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(name=name, **settings) for name, (settings, _) in self.named["nodes"].items())

    # Reading the tables

    def read_file(self, source: Source) -> None:
        for key, value in source.data.items():
            at = source.at(self.collector, key)
            if key not in TOP:
                self.unknown_table(key, at)
            elif source.file != self.main and key not in INCLUDABLE:
                at.error(
                    "misplaced",
                    f"[{key}] belongs in {shown(self.main)}",
                    f"An included file has only {', '.join(INCLUDABLE)}.",
                    key=True,
                )
            elif not isinstance(value, dict):
                at.error(
                    "type",
                    f"{key} must be a table",
                    f"Write [{key}{'.NAME' if key in NAMED_TABLES else ''}] and its settings below.",
                    key=True,
                )
            elif key == "agents":
                self.read_agents(cast("dict[str, Any]", value), at)
            elif key in NAMED_TABLES:
                self.read_named(key, cast("dict[str, Any]", value), at)
            elif key == "defaults":
                self.read_defaults(source, cast("dict[str, Any]", value), at)
            else:
                self.single[key] = SINGLE_TABLES[key].read(value, at)

    def unknown_table(self, key: str, at: At) -> None:
        close = "" if self.collector.is_full else nearest(key, TOP)
        hint = f"Did you mean {shown(close)}?" if close else "Known: " + ", ".join(TOP) + "."
        if not close and key in JOB.names():
            hint = "A setting of a job goes below its [jobs.NAME]."
        at.error("unknown-key", f"a lab file has no {shown(key)}", hint, key=True)

    def read_defaults(self, source: Source, value: dict[str, Any], at: At) -> None:
        for name in [n for n in value if n in JOB.names() and n not in DEFAULTS.names()]:
            (at / name).error("misplaced", f"{name} cannot be a default", "It belongs to one job.", key=True)
        known = {k: v for k, v in value.items() if k in DEFAULTS.names() or k not in JOB.names()}
        self.defaults[source.file] = DEFAULTS.read(known, at)
        self.defaults_at[source.file] = at

    def read_agents(self, value: dict[str, Any], at: At) -> None:
        for name, body in value.items():
            here = at / name
            if not isinstance(body, dict):
                here.error(
                    "type", f"agent {shown(name)} must be a table", "Write [agents.NAME] and its settings below."
                )
            elif self.is_name(name, "agent", here):
                if name in self.agents:
                    self.defined_twice("agent", name, here, self.agents[name])
                else:
                    here.note("agents", f"agent {shown(name)} is kept, but agents do not run yet", key=True)
                    self.agents[name] = here

    def is_name(self, name: str, what: str, at: At) -> bool:
        if NAME.fullmatch(name):
            return True
        at.error(
            "name",
            f"{shown(name)} cannot be the name of a {what}",
            "Use up to 100 letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
            key=True,
        )
        return False

    def defined_twice(self, what: str, name: str, at: At, first: At) -> None:
        there = f"line {first.line}" if first.file == at.file else f"{first.file}:{first.line}"
        at.error(
            "duplicate",
            f"{what} {shown(name)} is defined twice, first at {there}",
            "Rename or remove one of them.",
            key=True,
        )

    def read_named(self, kind: str, value: dict[str, Any], at: At) -> None:
        what = kind.removesuffix("s")
        for name, body in value.items():
            here = at / name
            usable = self.is_name(name, what, here)
            if kind == "jobs" and not usable:
                self.unusable.add(name)
            if name in self.named[kind]:
                self.defined_twice(what, name, here, self.named[kind][name][1])
                usable = False
            try:
                settings = NAMED_TABLES[kind].read(body, here)
            except UnusableError:
                self.unusable.add(name)
                continue
            if usable:
                self.named[kind][name] = (settings, here)

    def check_includes(self) -> None:
        at = self.sources[0].at(self.collector, "lab", "include")
        folder = posixpath.dirname(self.main)
        for index, pattern in enumerate(self.single.get("lab", {}).get("include", ())):
            wanted = posixpath.normpath(posixpath.join(folder, pattern))
            here = at / index if (*at.path, index) in at.positions.values else at
            if any(fnmatchcase(posixpath.normpath(s.file), wanted) for s in self.sources[1:]):
                continue
            if any(c in pattern for c in "*?["):
                here.note("include", f"no file matches {shown(pattern)}")
            else:
                here.error(
                    "include", f"there is no file {shown(pattern)}", "The name is relative to the folder of this file."
                )

    # Making jobs of them

    def jobs(self) -> dict[str, Placed]:
        placed: dict[str, Placed] = {}
        folded: dict[str, str] = {}
        for name, (settings, at) in self.named["jobs"].items():
            job = self.job(name, settings, at)
            placed[name] = Placed(job, at)
            other = folded.setdefault(name.lower(), name)
            if other != name:
                at.warning(
                    "alike",
                    f"{shown(name)} and {shown(other)} differ only in capitals",
                    "Rename one: files of some systems cannot tell them apart.",
                    key=True,
                )
            if len(placed) > MOST_JOBS:
                at.error("too-many", f"a lab has at most {MOST_JOBS} jobs", "Split it into several labs.", key=True)
                break
        return placed

    def job(self, name: str, own: dict[str, Any], at: At) -> Job:
        settings = self.with_defaults(own, at.file)
        self.check_action(name, at)
        self.check_queue(settings, at)
        self.check_variables(own, at)
        timezone = settings.get("timezone") or self.single.get("lab", {}).get("timezone", "UTC")
        expression = own.get("schedule")
        if expression is not None:
            check_schedule(expression, timezone, at / "schedule")
            expression = " ".join(expression.split())
        return _made(name, settings, expression, timezone, f"{at.file}:{at.line}")

    def with_defaults(self, own: dict[str, Any], file: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        layers = [self.defaults.get(self.main, {}), self.defaults.get(file, {}) if file != self.main else {}, own]
        for layer in layers:
            for key, value in layer.items():
                if key == "retries" and not isinstance(value, dict):
                    value = {"max": value}
                if key in _MERGED:
                    value = {**merged.get(key, {}), **value}
                merged[key] = value
        return merged

    def check_action(self, name: str, at: At) -> None:
        written = self.written(at)
        if "run" in written and "flow" in written:
            (at / "flow").error(
                "run-or-flow", f"job {shown(name)} has both run and flow", "Keep one of them.", key=True
            )
        elif "run" not in written and "flow" not in written and self.is_complete(at):
            at.error(
                "run-or-flow",
                f"job {shown(name)} has neither run nor flow",
                'Give it a command: run = "...".',
                key=True,
            )

    def is_complete(self, at: At) -> bool:
        """Whether nothing of the table was left out for its syntax."""
        source = next(s for s in self.sources if s.file == at.file)
        return source.is_whole and at.path not in source.partial

    def written(self, at: At) -> dict[str, Any]:
        """The job's table as written, whether its values were usable or not."""
        source = next(s for s in self.sources if s.file == at.file)
        return source.data["jobs"][at.path[1]]

    def check_queue(self, settings: dict[str, Any], at: At) -> None:
        queue = settings.get("queue", "default")
        if queue == "default" or queue in self.named["queues"] or queue in self.unusable or not self.is_whole:
            return
        if "queue" not in self.written(at):
            at = At(at.collector, at.file, at.positions, ("defaults",))
        (at / "queue").unknown(
            "unknown-queue",
            f"there is no queue {shown(queue)}",
            queue,
            [*self.named["queues"], "default"],
            f"Define it: [queues.{queue}] with concurrency = 1.",
        )

    def check_variables(self, own: dict[str, Any], at: At) -> None:
        environment = own.get("environment", {})
        for key in environment:
            if not key or "=" in key or "\x00" in key:
                (at / "environment" / key).error(
                    "name",
                    f"{shown(key)} cannot be the name of a variable",
                    "A name has no = and is not empty.",
                    key=True,
                )
        for key in own.get("secrets", {}):
            if key in environment or key in own.get("params", {}):
                (at / "secrets" / key).error(
                    "conflict", f"{shown(key)} is a secret and a plain variable too", "Keep one of the two.", key=True
                )

    # Putting it together

    def assemble(self, jobs: tuple[Job, ...]) -> Lab:
        lab, notify = self.single.get("lab", {}), dict(self.single.get("notify", {}))
        if "throttle" in notify:
            notify["throttle_s"] = notify.pop("throttle")
        worker = WorkerSettings(**self.single.get("worker", {}))
        queues = {name: s.get("concurrency", worker.concurrency) for name, (s, _) in self.named["queues"].items()}
        return Lab(
            name=lab.get("name", "lab"),
            timezone=lab.get("timezone", "UTC"),
            jobs=jobs,
            flows=flows_of(jobs),
            nodes=self.nodes(),
            agents=tuple(self.agents),
            queues={"default": worker.concurrency, **queues},
            worker=worker,
            notify=NotifySettings(**notify),
            access=AccessSettings(**self.single.get("access", {})),
            artefacts=settings_of(self.single.get("artefacts", {})),
            secrets=tuple(self.collector.secrets),
            services={
                name: ServiceSettings(**self.single.get(name, {})) for name in ("postgres", "prefect", "control")
            },
        )


def _made(name: str, settings: dict[str, Any], expression: str | None, timezone: str, source: str) -> Job:
    values = {
        k: v for k, v in settings.items() if k not in ("imported", "notify", "needs", "retries", "expect", "save")
    }
    for written, field in (
        ("timeout", "timeout_s"),
        ("grace", "grace_s"),
        ("output_limit", "output_limit_bytes"),
    ):
        if written in values:
            values[field] = values.pop(written)
    retries = {
        ("delay_s" if k == "delay" else "max_delay_s" if k == "max_delay" else k): v
        for k, v in settings.get("retries", {}).items()
    }
    notify = settings.get("notify", True)
    if notify is False:
        values["notify_on"] = ()
    elif isinstance(notify, dict):
        said = cast("dict[str, Any]", notify)
        values["notify_on"] = said.get("on")
        values["notify_urls"] = said.get("urls", ())
    needs = tuple(
        Need(job=n["job"], when=n.get("when", "success"), within_s=n.get("within"))
        for n in settings.get("needs", ())
        if "job" in n
    )
    fields = {"duration": "duration_s", "output": "output_bytes", "late": "late_s"}
    values["expect"] = Expected(**{fields[k]: v for k, v in settings.get("expect", {}).items()})
    saved = settings.get("save", {})
    values |= {"save": saved.get("paths", ()), "save_required": saved.get("required", False)}
    values |= {"schedule": expression, "timezone": timezone, "needs": needs, "source": source}
    return Job(name=name, retries=Retries(**retries), **values)


def check_schedule(expression: str, timezone: str, at: At) -> None:
    """Report what is wrong with a schedule, at the column of the mistake, and what its warnings say."""
    try:
        read = schedule.parse(expression, timezone)
    except schedule.ScheduleError as error:
        at.error("schedule", error.message, error.hint, inside=error.column - 1)
    else:
        for warning in read.warnings:
            at.warning("schedule", warning)
