"""The jobs of a lab file as a workload: every run that falls due in some days, with drawn lengths and needs.

Drawn from a seed, so that the same lab, days and seed give the same workload. A job that says what it requires, or how
long it is expected to run, keeps to it; for the others see `_draw`. Jobs without a schedule come after those they need.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from homelab.core import schedule
from homelab.core.capacity import CPU, GPU_MEMORY, MEMORY, UNIT
from homelab.core.jobs import Flow, Job
from homelab.core.labfile import Lab
from homelab.core.placement import Request, request_of
from homelab.simulation.workload import Item

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SPREAD: Final = 0.4
"""Sigma of the length of single runs around their job's median (log-normal): most within a factor of two."""
GIB: Final = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is drawn once for a job: its request (identity and time to be filled in) and the median of its runs."""

    request: Request
    median_s: float


def generate(
    lab: Lab, *, days: float, seed: int, scale: float = 1.0, lengths: Mapping[str, float] | None = None
) -> Iterator[Item]:
    """Items by arrival. `scale` multiplies every length drawn; `lengths`: job -> median in seconds, as measured."""
    end = START + timedelta(days=days)
    drawn = {job.name: _draw(job, seed, scale, (lengths or {}).get(job.name)) for job in lab.jobs}
    streams = [_runs(flow, drawn, end, Random(f"{seed}/{flow.name}")) for flow in lab.flows if flow.schedule]
    yield from heapq.merge(*streams, key=lambda item: item.arrival)


def _draw(job: Job, seed: int, scale: float, measured_s: float | None) -> Drawn:
    """Lengths between 3 s and 3 min, most of them short; half a core to four, half a GiB to 8; jobs of a queue or tag
    named after models take GPU memory, and twice as long."""
    chance = Random(f"{seed}/job/{job.name}")
    uses_model = any("model" in word or "ollama" in word for word in (job.queue, *job.tags))
    median_s = 3.0 * 60.0 ** chance.random() * (2.0 if uses_model else 1.0) * scale
    request = request_of(job, identity=job.name, submitted=0.0)
    if not job.requires:
        amounts = dict(request.amounts)
        amounts[CPU] = chance.choice((500, 1000, 1000, 2000, 4000)) * UNIT // 1000
        amounts[MEMORY] = int(0.5 * GIB * 16.0 ** chance.random())
        if uses_model:
            amounts[GPU_MEMORY] = chance.choice((8, 12, 16)) * GIB
        request = replace(request, amounts=amounts)
    median_s = measured_s or job.expect.duration_s or median_s
    return Drawn(request=replace(request, expected_s=median_s), median_s=median_s)


def _runs(flow: Flow, drawn: Mapping[str, Drawn], end: datetime, chance: Random) -> Iterator[Item]:
    names = {job.name for job in flow.jobs}
    for due in schedule.parse(flow.schedule or "", flow.timezone).fires(START):
        if due >= end:
            return
        at = (due - START).total_seconds()
        for job in flow.jobs:
            one = drawn[job.name]
            length = one.median_s * chance.lognormvariate(0.0, _SPREAD)
            yield Item(
                request=replace(one.request, id=f"{job.name}@{at:.0f}", submitted=at),
                duration_s=min(length, job.timeout_s or length),
                after=tuple(f"{need.job}@{at:.0f}" for need in job.needs if need.job in names),
            )
