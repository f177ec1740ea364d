"""What is settled about a run when it is claimed. Shared by the journal, which keeps it, and the execution."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from homelab.core.jobs import Flow
from homelab.core.passing import Passed


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """`due`: the instant the run is for (None: started by hand). `start_at`: when to start it, later than `due` for a
    retry. `only`, `skip`: names of jobs. `resumed`: an earlier attempt of this run exists (a retry, or a
    recovery). `passed`: what jobs passed on that run elsewhere, by job."""

    id: str
    flow: Flow
    digest: str
    due: datetime | None
    start_at: datetime
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    only: frozenset[str] | None = None
    skip: frozenset[str] = frozenset()
    passed: Mapping[str, Passed] = field(default_factory=dict[str, Passed])
    resumed: bool = False
    late_ok: bool = False
    """Start it however late it is: it makes up for a missed instant, or only waited in a queue. Otherwise a start more
    than a minute late (the machine slept, the process was stopped) is a missed one."""
