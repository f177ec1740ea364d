"""What applying a lab file would change: the difference of two labs, in words. Pure; the same labs, the same plan.

Called by `control` (which then carries it out) and shown by `cli.plan`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, TypeVar, cast

from homelab.core.durations import duration_text, size_text
from homelab.core.jobs import Affinity, Flow, Job, Need, Retries
from homelab.core.labfile import Lab
from homelab.core.usual import Expected

T = TypeVar("T")
Kind = Literal["added", "removed", "renamed", "changed"]

_RESTARTS: Final = {"postgres": "postgres", "prefect": "prefect", "control": "control", "worker.name": "worker"}
"""Settings, by the beginning of their name, that only count after the service has started again."""
_AT_ONCE: Final = ("control.nodes", "control.node_names")
_NOT_COMPARED: Final = ("name", "source")


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One setting before and after, as text a person can read. An empty text: not set."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """One job or flow. `old_name` is set for renamed ones: another name, the same definition."""

    kind: Kind
    name: str
    old_name: str = ""
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole difference. Changes are in the order of the new lab, removed ones last, in the order of the old.

    `replaced_flows`: flows whose waiting runs are made anew; a run that is under way ends with the definition it began
    with. `restarts`: services that must start again before their settings count.
    """

    jobs: tuple[Change, ...] = ()
    flows: tuple[Change, ...] = ()
    settings: tuple[FieldChange, ...] = ()
    unchanged_jobs: int = 0
    unchanged_flows: int = 0
    replaced_flows: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.jobs or self.flows or self.settings)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "is_empty": self.is_empty, "summary": self.summary()}

    def summary(self) -> str:
        """One line: `2 jobs to add, 1 to change; 43 unchanged`."""
        counts = [(k, sum(c.kind == k for c in self.jobs)) for k in ("added", "renamed", "changed", "removed")]
        verbs = {"added": "add", "renamed": "rename", "changed": "change", "removed": "remove"}
        parts = [f"{n} to {verbs[k]}" for k, n in counts if n]
        if self.settings:
            parts.append(f"{len(self.settings)} setting{'s' if len(self.settings) > 1 else ''} of the lab to change")
        same = f"{self.unchanged_jobs} job{'' if self.unchanged_jobs == 1 else 's'} unchanged"
        return f"{', '.join(parts)}; {same}" if parts else f"nothing to change; {same}"


def plan(old: Lab | None, new: Lab) -> Plan:
    """What turns `old` (None: nothing applied yet) into `new`. Where a job is written in the file does not count."""
    before = old or Lab(name=new.name, timezone=new.timezone)
    jobs, same_jobs = _changes(
        {j.name: j for j in before.jobs}, {j.name: j for j in new.jobs}, _job_values, describe_job_change
    )
    flows, same_flows = _changes(
        {f.name: f for f in before.flows}, {f.name: f for f in new.flows}, _flow_values, describe_flow_change
    )
    settings = _differences(_settings(before), _settings(new)) if old is not None else ()
    services = {
        s
        for c in settings
        for name, s in _RESTARTS.items()
        if (c.field == name or c.field.startswith(f"{name}.")) and c.field not in _AT_ONCE
    }
    return Plan(
        jobs=jobs,
        flows=flows,
        settings=settings,
        unchanged_jobs=same_jobs,
        unchanged_flows=same_flows,
        replaced_flows=tuple(c.old_name or c.name for c in flows if c.kind != "added"),
        restarts=tuple(sorted(services)),
    )


def _changes(
    old: Mapping[str, T],
    new: Mapping[str, T],
    values: Callable[[T], Any],
    describe: Callable[[T, T], tuple[FieldChange, ...]],
) -> tuple[tuple[Change, ...], int]:
    old_values = {name: values(thing) for name, thing in old.items()}
    new_values = {name: values(thing) for name, thing in new.items()}
    renamed = _renamed(old_values, new_values)
    changes: list[Change] = []
    same = 0
    for name, thing in new.items():
        if name in renamed:
            changes.append(Change(kind="renamed", name=name, old_name=renamed[name]))
        elif name not in old:
            changes.append(Change(kind="added", name=name))
        elif old_values[name] != new_values[name]:
            changes.append(Change(kind="changed", name=name, fields=describe(old[name], thing)))
        else:
            same += 1
    gone = set(old) - set(new) - set(renamed.values())
    changes += [Change(kind="removed", name=name) for name in old if name in gone]
    return tuple(changes), same


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """New name -> old name, where exactly one that went and one that came are alike in everything else."""
    went = [n for n in old if n not in new]
    came = [n for n in new if n not in old]
    found: dict[str, str] = {}
    for name in came:
        alike = [n for n in went if old[n] == new[name]]
        if len(alike) == 1 and sum(new[n] == new[name] for n in came) == 1:
            found[name] = alike[0]
    return found


def _job_values(job: Job) -> dict[str, Any]:
    return {f.name: getattr(job, f.name) for f in fields(Job) if f.name not in _NOT_COMPARED}


def _flow_values(flow: Flow) -> tuple[Any, ...]:
    return (
        flow.schedule,
        flow.timezone,
        tuple((j.name, tuple(sorted(_job_values(j).items(), key=_first))) for j in flow.jobs),
    )


def _first(item: tuple[str, Any]) -> str:
    return item[0]


def describe_job_change(old: Job, new: Job) -> tuple[FieldChange, ...]:
    """The settings in which two definitions of a job differ, by the names they have in the lab file."""
    return _differences(written(old), written(new))


def describe_flow_change(old: Flow, new: Flow) -> tuple[FieldChange, ...]:
    """How a flow's schedule and members differ; a change inside one of its jobs is named as that job."""
    before = {"schedule": old.schedule or "", "timezone": old.timezone}
    after = {"schedule": new.schedule or "", "timezone": new.timezone}
    old_jobs = {j.name: j for j in old.jobs}
    new_jobs = {j.name: j for j in new.jobs}
    if list(old_jobs) != list(new_jobs):
        before["jobs"], after["jobs"] = ", ".join(old_jobs), ", ".join(new_jobs)
    for name in sorted(old_jobs.keys() & new_jobs.keys()):
        for change in describe_job_change(old_jobs[name], new_jobs[name]):
            if change.field not in ("schedule", "timezone"):
                before[f"{name}.{change.field}"], after[f"{name}.{change.field}"] = change.old, change.new
    return _differences(before, after)


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[FieldChange, ...]:
    names = [*old, *(n for n in new if n not in old)]
    return tuple(
        FieldChange(field=n, old=old.get(n, ""), new=new.get(n, "")) for n in names if old.get(n, "") != new.get(n, "")
    )


def written(job: Job) -> dict[str, str]:
    """The job's settings as text, by their names in the lab file; tables of variables one by one."""
    found: dict[str, str] = {}
    for name, value in _job_values(job).items():
        match name:
            case "timeout_s" | "grace_s":
                found[name.removesuffix("_s")] = "none" if value is None else duration_text(value)
            case "output_limit_bytes":
                found["output_limit"] = size_text(value)
            case "environment" | "secrets" | "params" | "requires":
                found |= {f"{name}.{key}": str(value[key]) for key in sorted(value)}
            case "affinity" | "anti_affinity":
                found[name] = ", ".join(_affinity_text(a) for a in value)
            case "needs":
                found[name] = ", ".join(_need_text(n) for n in value)
            case "retries":
                found |= _retries_text(value)
            case "expect":
                found |= _expect_text(value)
            case "save_required":
                found |= {"save.required": _text(value)} if job.save else {}
            case "notify_on":
                found["notify.on"] = "as the lab says" if value is None else ", ".join(value) or "never"
            case "notify_urls":
                found["notify.urls"] = (
                    f"{len(value)} of its own: {', '.join(map(_without_password, value))}" if value else ""
                )
            case _:
                found[name] = _text(value)
    return found


def _need_text(need: Need) -> str:
    more = [] if need.when == "success" else [f"when {need.when}"]
    if need.within_s is not None:
        more.append(f"within {duration_text(need.within_s)}")
    return f"{need.job} ({', '.join(more)})" if more else need.job


def _affinity_text(one: Affinity) -> str:
    what = f"node {one.node}" if one.node else one.work
    return f"{what} (required)" if one.required else what


def _retries_text(retries: Retries) -> dict[str, str]:
    return {
        "retries": str(retries.max),
        "retries.delay": duration_text(retries.delay_s),
        "retries.backoff": f"{retries.backoff:g}",
        "retries.max_delay": duration_text(retries.max_delay_s),
        "retries.jitter": f"{retries.jitter:g}",
    }


def _expect_text(expect: Expected) -> dict[str, str]:
    found = {"expect.duration": expect.duration_s, "expect.late": expect.late_s}
    said = {name: "as learned" if value is None else duration_text(value) for name, value in found.items()}
    least = expect.output_bytes
    return {**said, "expect.output": "as learned" if least is None else size_text(least)}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(str(v) for v in cast("Iterable[Any]", value))
    return str(value)


def _without_password(url: str) -> str:
    """A reference as it is; of a URL its kind, since it may hold a password, and four digits that tell two apart."""
    if "://" not in url:
        return url
    mark = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:4]
    return f"{url.partition('://')[0]}://... #{mark}"


def _settings(lab: Lab) -> dict[str, str]:
    """The settings of the lab itself, as text, by their names in the file."""
    found = {"lab.name": lab.name, "lab.timezone": lab.timezone}
    found |= {f"queues.{name}.concurrency": str(n) for name, n in sorted(lab.queues.items())}
    found |= {"worker.concurrency": str(lab.worker.concurrency), "worker.name": lab.worker.name}
    found["notify.urls"] = ", ".join(_without_password(u) for u in lab.notify.urls)
    found["notify.on"] = ", ".join(lab.notify.on)
    found["notify.digest"] = lab.notify.digest or "never"
    found["notify.throttle"] = duration_text(lab.notify.throttle_s)
    found["access.hosts"] = ", ".join(lab.access.hosts)
    found |= {f"access.tailscale.{login}": role for login, role in sorted(lab.access.tailscale.items())}
    store = lab.artefacts
    found["artefacts.store"] = store.store or "in HOMELAB_HOME"
    found |= {f"artefacts.{n}": _text(getattr(store, n)) for n in ("endpoint", "region", "access_key", "secret_key")}
    found["artefacts.keep"] = "none" if store.keep_s is None else duration_text(store.keep_s)
    found["artefacts.max_size"] = size_text(store.max_bytes)
    for name, service in sorted(lab.services.items()):
        url = service.url or ""
        found |= {
            f"{name}.url": _without_password(url),
            f"{name}.host": service.host,
            f"{name}.port": _text(service.port),
        }
    own = lab.services.get("control")
    if own is not None:
        found |= {"control.nodes": own.nodes, "control.node_names": ", ".join(own.node_names)}
    for node in lab.nodes:
        found |= {f"nodes.{node.name}.{f.name}": _text(getattr(node, f.name)) for f in fields(node) if f.name != "name"}
    found |= {f"agents.{name}": "defined" for name in lab.agents}
    return found
