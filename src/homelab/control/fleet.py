"""The fleet as people look at it and handle it: nodes, what is on them, what waits, draining and removing.

One object of `Control` (`Control.fleet`), so that the API and the console ask the same. What a node is and holds is
`nodes`' and `leases`'; whether something fits is `core.placement`'s.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from homelab import __version__
from homelab.control import fleetview, history, joining, leases, nodes, preview, roster, store
from homelab.control.state import Shared
from homelab.control.store import Row
from homelab.core.errors import InputError, RefusedError
from homelab.core.jobs import Job, Strategy
from homelab.core.placement import Lease, Rejection, Room, Snapshot, State, place, request_of
from homelab.core.placement.choice import explain
from homelab.core.placement.reasons import nearness, render, together
from homelab.core.placement.requests import asking
from homelab.db.pool import Connection

Json = dict[str, Any]
RECENT = 50
TIMELINE = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The machines at one moment: `rows` of table `node` by name, `snapshot` with what is on each, and the `workers`
    that ever spoke (rows of table `worker`)."""

    rows: Mapping[str, Row]
    snapshot: Snapshot
    workers: Sequence[Row]

    def pairs(self) -> Sequence[tuple[Row, Room]]:
        return [(self.rows[room.node.name], room) for room in self.snapshot.rooms]

    def state(self, name: str) -> State:
        """The node's state; one that is not known is not there."""
        return self.snapshot.room(name).node.state if name in self.rows else "unreachable"

    @property
    def is_alive(self) -> bool:
        """Whether any node is heard."""
        return any(not nodes.is_away(row) for row in self.rows.values())


class Fleet:
    """See the module. `waiting`: what waits for room, in its order: `work`, `run`, `job`, `since`, `priority`, `node`
    (where it is to run, if that is decided), and `reasons`, one for each node."""

    def __init__(self, shared: Shared, *, waiting: Callable[[], Awaitable[list[Json]]]) -> None:
        self._shared = shared
        self.waiting = waiting

    # -- looking --------------------------------------------------------------------------------------------------

    async def standing(self) -> Standing:
        """How the machines stand now, read once for all that one answer says of them."""
        async with self._shared.database.connection() as conn:
            return await self._standing(conn)

    async def nodes(self) -> list[Json]:
        """Every node with its state, capacity and who holds it, by name."""
        there, now = await self.standing(), self._shared.clock()
        return [fleetview.node(row, room, version=__version__, now=now) for row, room in there.pairs()]

    async def node(self, name: str) -> Json:
        """One node in full. NotFoundError when there is none of that name."""
        async with self._shared.database.connection() as conn:
            standing = await self._standing(conn)
            row, room = self._find(standing, name)
            leased = await leases.of_node_lately(conn, name, limit=RECENT)
            ran = await history.on_nodes(conn, since=timedelta(days=7), node=name, limit=RECENT)
        past = [one for one in one_story(leased, ran) if one["ended"] is not None][:RECENT]
        listed = fleetview.node(row, room, version=__version__, now=self._shared.clock())
        return fleetview.whole(row, room, past, listed=listed)

    async def queue(self) -> list[Json]:
        """What waits for room, in its order; of each the node first that is nearest to taking it."""
        return [
            {**one, "reasons": sorted(one["reasons"], key=lambda reason: nearness(reason["code"]))}
            for one in await self.waiting()
        ]

    async def leases(self, since: timedelta = TIMELINE, *, limit: int = 2000) -> list[Json]:
        """What was held where, from when until when, the newest first."""
        async with self._shared.database.connection() as conn:
            leased = await leases.history(conn, since=since, limit=limit)
            ran = await history.on_nodes(conn, since=since, limit=limit)
        return [fleetview.held(row) for row in one_story(leased, ran)[:limit]]

    async def given_up(self) -> int:
        """How many leases of the last day ended because their node was not heard."""
        async with self._shared.database.connection() as conn:
            return await leases.given_up(conn, since=timedelta(days=1))

    def problems(self, there: Standing) -> list[Json]:
        """What is wrong with the nodes, as problems of the lab."""
        now = self._shared.clock()
        return [
            one for row, room in there.pairs() for one in fleetview.trouble(row, room, version=__version__, now=now)
        ]

    async def place(
        self, job: str, requires: Mapping[str, Any], labels: Mapping[str, str], strategy: Strategy | None
    ) -> Json:
        """Where the job (`""`: none) with these requirements above its own would go now; `placement` or `rejections`.
        NotFoundError for a job that the lab does not have, InputError for requirements that mean nothing."""
        request = asking(self._job(job), requires, labels, strategy)
        there = await self.standing()
        found = place(request, there.snapshot, self._shared.clock().timestamp())
        if isinstance(found, Rejection):
            return {"rejections": found.to_json()}
        return {"placement": found.to_json()}

    def where(self, job: str, there: Standing) -> list[str]:
        """Where a job that does not wait would go now, and why not elsewhere, in sentences; nothing where there is no
        choice."""
        request = request_of(self._job(job), identity=job, submitted=0.0)
        snapshot, now = there.snapshot, self._shared.clock().timestamp()
        found = place(request, snapshot, now)
        if isinstance(found, Rejection):
            if not snapshot.rooms:
                return []
            near = sorted(found.reasons.values(), key=lambda reasons: nearness(reasons[0].code.value))
            return ["no node can take it now", *_cut([together(reasons) for reasons in near])]
        if len(snapshot.rooms) == 1:
            return []
        others = [explain(request, room, snapshot, now) for room in snapshot.rooms if room.node.name != found.node]
        refused = sorted(filter(None, others), key=lambda reasons: nearness(reasons[0].code.value))
        why = "; ".join(render(reason).removeprefix(f"{found.node}: ") for reason in found.reasons[:2])
        return [
            f"it would go to {found.node} now: {why}",
            *_cut([f"not to {together(reasons)}" for reasons in refused]),
        ]

    def _job(self, name: str) -> Job:
        return self._shared.find(name).flow.job(name) if name else Job(name="")

    def _jobs(self) -> dict[str, Job]:
        return {job.name: job for scheduled in self._shared.flows.values() for job in scheduled.flow.jobs}

    # -- handling -------------------------------------------------------------------------------------------------

    async def preview(self, name: str, action: str) -> Json:
        """What `drain`, `undrain`, `wake` or `remove` of a node would do. InputError for another act."""
        found = await self.node(name)
        match action:
            case "drain":
                said = preview.drain(found)
            case "undrain":
                said = preview.undrain(found)
            case "wake":
                said = preview.wake(found)
            case "remove":
                said = preview.remove(found)
            case _:
                raise InputError(f"no act '{action[:40]}' of a node", hint="Acts: drain, undrain, wake, remove")
        return asdict(said)

    async def drain(self, name: str, by: str) -> Json:
        """Nothing new starts on the node; what is on it may finish. The node as it then is."""
        return await self._want(name, "drained", by)

    async def undrain(self, name: str, by: str) -> Json:
        """The node takes work again."""
        return await self._want(name, "ready", by)

    async def _want(self, name: str, wanted: str, by: str) -> Json:
        async with self._shared.database.connection() as conn:
            row, _ = self._find(await self._standing(conn), name)
            if row["wanted"] != wanted:
                await nodes.want(conn, name, wanted, by=by)
                kind = "node.drained" if wanted == "drained" else "node.undrained"
                await store.add_events(conn, [(kind, name, {"by": by})])
        self._shared.tell()
        self._shared.arrived.set()
        return await self.node(name)

    async def remove(self, name: str, *, force: bool, by: str) -> Json:
        """Forget a node, whose token is good for nothing then (`Access.forget` afterwards). RefusedError while it holds
        work, unless `force`: then that is given up; and for one that is at work on control's own machine, for it would
        be back with its next heartbeat."""
        async with self._shared.database.connection() as conn:
            row, room = self._find(await self._standing(conn), name)
            await nodes.locked(conn, name)
            if not row["is_remote"] and room.node.state in ("ready", "draining", "drained"):
                raise RefusedError(
                    f"node {name} is at work on the control plane's own machine: it would be back at once",
                    hint=f"To give it no work: homelab node drain {name}",
                )
            if room.leases and not force:
                held = preview.listed(sorted({one.owner for one in room.leases.values()}))
                raise RefusedError(
                    f"node {name} holds work: {held}",
                    hint=f"Let it finish: homelab node drain {name} --wait."
                    f" Or give it up: homelab node remove --force {name}",
                )
            given_up = await leases.give_up_node(conn, name)
            await joining.revoke(conn, name)
            await nodes.forget(conn, name)
            await store.forget_workers_on(conn, name)
            await store.add_events(conn, [("node.removed", name, {"by": by, "given_up": len(given_up)})])
        self._shared.tell()
        self._shared.arrived.set()
        return {"node": name, "given_up": [row["work"] for row in given_up]}

    # -- reading --------------------------------------------------------------------------------------------------

    def _find(self, standing: Standing, name: str) -> tuple[Row, Room]:
        return nodes.named(standing.rows, name), standing.snapshot.room(name)

    async def _standing(self, conn: Connection) -> Standing:
        there = await roster.read(conn)
        going = unleased(await history.going(conn, limit=1000), there.held, self._jobs())
        snapshot = replace(there, held=[*there.held, *going]).snapshot()
        return Standing(rows=there.rows, snapshot=snapshot, workers=await store.workers(conn))


def unleased(going: Sequence[Row], held: Sequence[Lease], jobs: Mapping[str, Job]) -> list[Lease]:
    """What runs and no lease tells of: work that asks for slots alone needs none where there is one node. Each as if
    it held what its job asks for. `going`: rows of `history.going`."""
    known = {lease.id for lease in held}
    found: list[Lease] = []
    for row in going:
        work = f"{row['id']}/{row['job']}/{row['attempt']}"
        if row["state"] != "running" or not row["node"] or work in known:
            continue
        request = request_of(jobs.get(row["job"], Job(name=row["job"])), identity=work, submitted=0.0)
        started = row["started"].timestamp()
        found.append(
            Lease(
                id=work,
                node=row["node"],
                owner=row["job"],
                amounts=request.amounts,
                names=request.names,
                averse=request.averse,
                exclusive=request.exclusive,
                started=started,
                expected_end=None if request.expected_s is None else started + request.expected_s,
            )
        )
    return found


def _cut(lines: list[str], most: int = 6) -> list[str]:
    return (
        lines if len(lines) <= most else [*lines[: most - 1], f"and {len(lines) - most + 1} more nodes cannot take it"]
    )


def one_story(leased: Sequence[Row], ran: Sequence[Row]) -> list[Row]:
    """One story of both, the newest first. What ran under a lease is told by the lease, and how it ended, where the
    lease was kept to the end, by what ran."""
    ended = {row["work"]: row["how"] for row in ran if row["how"]}
    told = [{**row, "how": ended.get(row["work"], "done")} if row["how"] == "done" else row for row in leased]
    known = {row["work"] for row in leased}
    both = [*told, *(row for row in ran if row["work"] not in known)]
    return sorted(both, key=lambda row: row["taken"], reverse=True)
