"""What one job passes on to the jobs that need it: variables (*outputs*) and files (*artefacts*).

Values only: the worker collects them (`worker.outputs`), the journal and `control` keep them, all three in the JSON of
`to_json`. Only an attempt that succeeded passes anything on, and only to jobs that need it directly: what a job may get
is then told by its own lines of the lab file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from homelab.core.jobs import Job


@dataclass(frozen=True, kw_only=True)
class Passed:
    """`outputs`: variables by name."""

    outputs: Mapping[str, str] = field(default_factory=dict[str, str])

    def __bool__(self) -> bool:
        return bool(self.outputs)

    def to_json(self) -> dict[str, Any]:
        """The fields that say something: {} for nothing."""
        return {"outputs": dict(self.outputs)} if self.outputs else {}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Passed":
        """The inverse of `to_json`, from any object that has those fields among others."""
        return cls(outputs=dict(cast("Mapping[str, str]", body.get("outputs") or {})))


NOTHING = Passed()


def handed_to(job: Job, passed: Mapping[str, Passed]) -> dict[str, Passed]:
    """What the job gets, by the job it comes from, in the order of its `needs`."""
    return {need.job: passed[need.job] for need in job.needs if passed.get(need.job)}


def variables_of(handed: Mapping[str, Passed]) -> dict[str, str]:
    """The variables a job gets. Of two that it needs and that pass on the same name the one named later wins."""
    return {name: value for one in handed.values() for name, value in one.outputs.items()}
