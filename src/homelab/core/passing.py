"""What one job passes on to the jobs that need it: variables (*outputs*) and files (*artefacts*).

Values only: the worker collects them (`worker.outputs`, `worker.saving`), the journal and `control` keep them, all
three in the JSON of `to_json`. Only an attempt that succeeded passes anything on, and only to jobs that need it
directly: what a job may get is then told by its own lines of the lab file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from homelab.core.jobs import Job

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """One file: its `path` below the working folder of the job that made it, what is in it, how much that is."""

    path: str
    sha256: str
    bytes: int

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Artefact":
        """ValueError for what could be a file elsewhere: such a thing comes from other machines."""
        made = cls(path=str(body["path"]), sha256=str(body["sha256"]), bytes=int(body["bytes"]))
        if not parts_of(made.path) or not _SHA256.fullmatch(made.sha256) or made.bytes < 0:
            raise ValueError(f"this is no artefact: {made}")
        return made


@dataclass(frozen=True, kw_only=True)
class Passed:
    """`outputs`: variables by name."""

    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    artefacts: tuple[Artefact, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.outputs or self.artefacts)

    def to_json(self) -> dict[str, Any]:
        """The fields that say something: {} for nothing."""
        made: dict[str, Any] = {}
        if self.outputs:
            made["outputs"] = dict(self.outputs)
        if self.artefacts:
            made["artefacts"] = [asdict(artefact) for artefact in self.artefacts]
        return made

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Passed":
        """The inverse of `to_json`, from any object that has those fields among others."""
        files = cast("Sequence[Mapping[str, Any]]", body.get("artefacts") or ())
        return cls(
            outputs=dict(cast("Mapping[str, str]", body.get("outputs") or {})),
            artefacts=tuple(map(Artefact.from_json, files)),
        )


NOTHING = Passed()


def parts_of(path: str) -> list[str]:
    """The names of an artefact's path, for joining below a folder. ValueError when it would lie elsewhere."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise ValueError(path)
    return parts


def handed_to(job: Job, passed: Mapping[str, Passed]) -> dict[str, Passed]:
    """What the job gets, by the job it comes from, in the order of its `needs`."""
    return {need.job: passed[need.job] for need in job.needs if passed.get(need.job)}


def variables_of(handed: Mapping[str, Passed]) -> dict[str, str]:
    """The variables a job gets. Of two that it needs and that pass on the same name the one named later wins."""
    return {name: value for one in handed.values() for name, value in one.outputs.items()}
