"""What a worker saw when an attempt began and ended. Values only; JSON in reports and in the database. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from homelab.core.times import moment


@dataclass(frozen=True, kw_only=True)
class ScriptState:
    """A script the command runs. `digest`: of its bytes, shortened; `changed`: when the file was last written."""

    path: str
    digest: str
    changed: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The disk below `path`, when the attempt ended. `free_bytes`: what an ordinary user may still write."""

    path: str
    free_bytes: int
    size_bytes: int

    @property
    def is_full(self) -> bool:
        return self.free_bytes < max(1_000_000, self.size_bytes // 200)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A command that the output says was not found. `found`: where this machine has it, "" when it was nowhere that
    people usually have programs. `path`: the PATH of the job."""

    name: str
    found: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """`variables`: of each variable a short salted digest, which tells that a value changed and nothing else.
    `programs`: the names that the command and its scripts run; `single`: the command is just one program, so that the
    exit status is its own. `oom_kills`: processes that the kernel ended for want of memory while it ran, of those that
    `oom_scope` names ("machine": all; "lab": of the lab's control group); counted only when it was killed.
    `refused`: a file that may not be executed, with its mode. None: not known."""

    scripts: tuple[ScriptState, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    programs: tuple[str, ...] = ()
    single: bool = False
    disks: tuple[Disk, ...] = ()
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    load: float | None = None
    memory_used_percent: float | None = None
    oom_kills: int | None = None
    oom_scope: str = "machine"
    missing: Missing | None = None
    refused: tuple[str, str] | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any] | None) -> "Circumstances | None":
        """None for a report without, or with something that this version cannot read. Unknown fields are passed
        over."""
        if not body:
            return None
        try:
            return _read(body)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def _read(body: Mapping[str, Any]) -> Circumstances:
    missing = cast("Mapping[str, Any] | None", body.get("missing"))
    refused = cast("Mapping[str, Any] | None", body.get("refused"))
    return Circumstances(
        scripts=tuple(
            ScriptState(path=str(s["path"]), digest=str(s["digest"]), changed=moment(s.get("changed")))
            for s in body.get("scripts") or ()
        ),
        variables={
            str(name): str(digest) for name, digest in cast("dict[str, object]", body.get("variables") or {}).items()
        },
        programs=tuple(map(str, body.get("programs") or ())),
        single=bool(body.get("single")),
        disks=tuple(
            Disk(path=str(d["path"]), free_bytes=int(d["free_bytes"]), size_bytes=int(d["size_bytes"]))
            for d in body.get("disks") or ()
        ),
        peak_memory_bytes=_number(body.get("peak_memory_bytes"), int),
        cpu_s=_number(body.get("cpu_s"), float),
        load=_number(body.get("load"), float),
        memory_used_percent=_number(body.get("memory_used_percent"), float),
        oom_kills=_number(body.get("oom_kills"), int),
        oom_scope=str(body.get("oom_scope") or "machine"),
        missing=None
        if missing is None
        else Missing(
            name=str(missing["name"]), found=str(missing.get("found") or ""), path=str(missing.get("path") or "")
        ),
        refused=None if refused is None else (str(refused["path"]), str(refused["mode"])),
    )


def _number(value: Any, kind: Any) -> Any:
    return None if value is None else kind(value)
