"""Carrying out a lab file: flows and deployments as it says, runs created ahead made anew where a flow changed.

Called by `control.service` under the lock that one apply at a time holds. A running job ends under the definition it
began with; what was created ahead but not claimed is taken back and made anew.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from homelab.control import ledger, nodes, store, versions
from homelab.control.state import SHADOW, Shared
from homelab.core import labfile
from homelab.core.errors import InputError, RefusedError
from homelab.core.jobs import flows_of
from homelab.core.labfile import Lab
from homelab.flows.api import POOL, PrefectUnavailable

if TYPE_CHECKING:
    from homelab.control.scheduler import Scheduler

log = structlog.get_logger()


def placed(lab: Lab, folder: str) -> Lab:
    """The lab with the relative working folders of its jobs below `folder`, that of the lab file ("": as they are)."""
    if not folder:
        return lab
    jobs = tuple(
        replace(job, cwd=os.path.normpath(f"{folder}/{job.cwd}")) if job.cwd and job.cwd[0] not in "/~" else job
        for job in lab.jobs
    )
    return replace(lab, jobs=jobs, flows=flows_of(jobs))


def parsed(files: Mapping[str, str], main: str, folder: str) -> Lab:
    """The lab of these files; InputError naming every problem when there is an error."""
    lab, problems = labfile.parse(files, main=main)
    if lab is None:
        errors = [p for p in problems if p.severity == "error"]
        lines = [f"{p.file}:{p.line}: {p.message}" for p in errors]
        more = f"\n... and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise InputError("\n".join(lines[:10]) + more, hint="Nothing was changed. See: homelab check")
    return placed(lab, folder)


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """Jobs go from cron to the lab with this apply: what it adds, or takes out of shadow, is the lab's for instants
    after `since`. Refused after `deadline`: whoever asked has given up by then and cron has the jobs again."""

    since: datetime
    deadline: datetime | None


async def carry_out(
    shared: Shared,
    scheduler: "Scheduler",
    lab: Lab,
    files: Mapping[str, str],
    main: str,
    folder: str,
    *,
    by: str,
    takeover: Takeover | None = None,
) -> None:
    """New deployments first (making one can be repeated), then our tables in one transaction, which also says what is
    to become of the runs created ahead; then that."""
    await shared.prefect.ensure_pool(POOL)
    now = shared.clock()
    old = dict(shared.flows)
    deployments: dict[str, str] = {}
    for flow in lab.flows:
        known = old.get(flow.name)
        if known is not None and known.flow.digest == flow.digest:
            deployments[flow.name] = known.deployment
        else:
            deployments[flow.name] = await shared.prefect.put_deployment(flow, pool=POOL)
    wanted = {flow.name for flow in lab.flows}
    gone = [scheduled for name, scheduled in old.items() if name not in wanted]
    changed = [s for name, s in old.items() if name in wanted and s.flow.digest != lab_flow(lab, name)]
    shadowed = {flow.name for flow in lab.flows if flow.is_shadow}
    async with shared.database.connection() as conn:
        for scheduled in gone:
            await scheduler.recall(conn, scheduled, now=now, gone="its job was removed")
        for scheduled in changed:
            await scheduler.recall(conn, scheduled, now=now, gone=SHADOW if scheduled.flow.name in shadowed else "")
        for position, flow in enumerate(lab.flows):
            known = old.get(flow.name)
            since = None
            if takeover is not None and not flow.is_shadow and (known is None or known.flow.is_shadow):
                since = takeover.since
                await ledger.take_over(conn, flow.name, after=since, reason=SHADOW)
                if flow.schedule == "@reboot":
                    await scheduler.cron_has_booted(conn, flow.name)
            await store.save_flow(
                conn, flow, deployment=deployments[flow.name], position=position, now=now, since=since
            )
        for scheduled in gone:
            await store.delete_flow(conn, scheduled.flow.name)
        digest = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
        await nodes.declare(conn, lab)
        await store.save_lab(conn, name=lab.name, path=main, folder=folder, files=files, digest=digest)
        await versions.add(
            conn, by=by, path=main, folder=folder, files=files, digest=digest, is_takeover=takeover is not None
        )
        await store.add_events(conn, [("lab.applied", lab.name, {"by": by, "jobs": len(lab.jobs)})])
        if takeover is not None and takeover.deadline is not None and shared.clock() > takeover.deadline:
            raise RefusedError(
                "the moment to take the jobs over has passed; nothing was changed", hint="Try again: homelab cron adopt"
            )
        read = await shared.read(conn, lab)
    shared.take(read)
    await scheduler.settle_now(now)
    for scheduled in gone:
        try:
            await shared.prefect.delete_deployment(scheduled.deployment)
        except PrefectUnavailable as error:  # an idle deployment more in Prefect's list, no more than that
            log.warning("deployment.left", flow=scheduled.flow.name, error=str(error))
    shared.tell()


def lab_flow(lab: Lab, name: str) -> str:
    """The digest of the lab's flow of that name."""
    return next(flow.digest for flow in lab.flows if flow.name == name)
