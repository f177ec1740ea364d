"""Watches reports and the ledger, decides alerts by `rules`, queues them, and delivers what is queued.

`control` owns one `Watcher`: it calls `configure` when a lab file is applied, `on_report` inside the transaction that
takes a report (so an alert is queued exactly when its report is taken), `tick` every few seconds, and runs
`deliver_loop` beside its other loops. Nothing here delays a report or a run: delivery happens in child processes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from homelab.core import usual
from homelab.core.jobs import Flow, Job, RunState
from homelab.core.usual import NOTHING_EXPECTED, Expected, Found, Habit, learn
from homelab.notify import delivery, message, queue, rules, store
from homelab.notify.explained import explanations
from homelab.notify.message import Message
from homelab.notify.queue import Claim, Connection, Pool
from homelab.notify.rules import Alert, Context, Verdict
from homelab.notify.targets import label

log = structlog.get_logger()

_IDLE_S = 15.0
_EARLY = timedelta(seconds=30)
"""Nothing is late before this, whatever the lab file says."""
_PACE = timedelta(minutes=1)
_REMEMBERED = 500
_BUSY_S = 1.0
_FAILING_AFTER = 3
"""Attempts after which the other targets hear that one takes nothing."""

Deliver = Callable[[str, Sequence[Message]], Awaitable[list[str]]]


class NotifyLike(Protocol):
    @property
    def urls(self) -> tuple[str, ...]: ...
    @property
    def on(self) -> tuple[str, ...]: ...
    @property
    def throttle_s(self) -> float: ...


class LabLike(Protocol):
    """What a lab tells about alerts (`core.labfile.Lab`)."""

    @property
    def jobs(self) -> tuple[Job, ...]: ...
    @property
    def flows(self) -> tuple[Flow, ...]: ...
    @property
    def notify(self) -> NotifyLike: ...


@dataclass(frozen=True, kw_only=True)
class JobAlerts:
    """What is set for one job: the kinds that alert, the labels of its targets, who depends on it, whom it needs."""

    on: frozenset[str]
    targets: tuple[str, ...]
    dependants: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    timeout_s: float | None = None
    grace_s: float = 10.0
    expected: Expected = NOTHING_EXPECTED
    rests: bool = False
    """It is paused in the lab file, or cron's: nobody waits for it."""


class Watcher:
    """`control_url`: where people look at runs, without a trailing slash. `up_since`: when this lab came up; before it
    nothing is late. `deliver` sends messages to a URL; one error (or an empty text) for each message tried."""

    def __init__(self, *, control_url: str, up_since: datetime, deliver: Deliver = delivery.deliver) -> None:
        self._control_url = control_url
        self._up_since = up_since
        self._decided = up_since - timedelta(minutes=1)
        self._deliver = deliver
        self._jobs: dict[str, JobAlerts] = {}
        self._flows: dict[str, tuple[str, ...]] = {}
        self._urls: dict[str, str] = {}
        self._lab = JobAlerts(on=frozenset(rules.KINDS), targets=())
        self._throttle = timedelta(0)
        self._changed = asyncio.Event()
        self._busy: set[str] = set()
        self._pruned: datetime | None = None
        self._habits: dict[str, Habit] = {}
        self._found: dict[tuple[str, str, int], Found] = {}
        self._paced: datetime | None = None

    def configure(self, lab: LabLike) -> None:
        """Take the settings of a lab file that was applied. Queued notifications keep their targets."""
        settings = lab.notify
        self._urls = {label(url): url for url in settings.urls}
        self._lab = JobAlerts(on=frozenset(settings.on), targets=tuple(self._urls))
        self._throttle = timedelta(seconds=settings.throttle_s)
        needed_by: dict[str, list[str]] = {}
        for job in lab.jobs:
            for need in job.needs:
                needed_by.setdefault(need.job, []).append(job.name)
        self._jobs = {job.name: self._of(job, needed_by) for job in lab.jobs}
        self._flows = {flow.name: tuple(job.name for job in flow.jobs) for flow in lab.flows}
        self._habits = {name: habit for name, habit in self._habits.items() if name in self._jobs}
        for name, habit in self._habits.items():
            habit.expected = self._jobs[name].expected
        self._changed.set()

    def _of(self, job: Job, needed_by: Mapping[str, Sequence[str]]) -> JobAlerts:
        own = {label(url): url for url in job.notify_urls}
        self._urls |= own
        return JobAlerts(
            on=self._lab.on if job.notify_on is None else frozenset(job.notify_on),
            targets=tuple(dict.fromkeys((*self._lab.targets, *own))),
            dependants=_downstream(job.name, needed_by),
            needs=tuple(need.job for need in job.needs),
            timeout_s=job.timeout_s,
            grace_s=job.grace_s,
            expected=job.expect,
            rests=job.paused or job.shadow,
        )

    # Deciding

    async def on_report(self, conn: Connection, report: Mapping[str, Any]) -> None:
        """Judge one report that control takes now, in control's transaction."""
        kind = report["kind"]
        if kind == "job.finished":
            await self._job_finished(conn, report, report["job"])
        elif kind == "run.started":
            flow = report["flow"]
            context = await self._context(conn, flow, run=report["run"])
            await self._carry_out(conn, rules.began(report, context), flow, now=rules.instant(report, "time"))
        elif kind == "run.finished":
            is_failure = RunState(report["state"]).is_failure
            if is_failure and not await store.any_failed_job(conn, report["run"]):
                # The run failed before any of its jobs could: nobody else would say so.
                await self._job_finished(conn, {**report, "job": report["flow"], "attempt": 1}, report["flow"])

    async def _job_finished(self, conn: Connection, report: Mapping[str, Any], job: str) -> None:
        found = await self._observe(conn, report, job)
        context = replace(await self._context(conn, job, run=report["run"]), found=found)
        if RunState(report["state"]).is_failure and not report.get("retry_at"):
            key = (str(report["run"]), job, int(report.get("attempt") or 0))
            context = replace(context, explained=(await explanations(conn, [key])).get(key))
        await self._carry_out(conn, rules.finished(report, context), job, now=rules.instant(report, "ended", "time"))

    async def _observe(self, conn: Connection, report: Mapping[str, Any], job: str) -> Found:
        """What the job's habit says of this attempt, which it then knows. The same again when a report is taken again
        because its transaction was lost."""
        if report.get("retry_at"):
            return Found()
        key = (str(report["run"]), job, int(report.get("attempt") or 0))
        if key in self._found:
            return self._found[key]
        run = store.run_of(report, is_scheduled=True)
        if run is None:
            return Found()
        if run.late_s is not None and run.late_s > 30 and not await store.is_scheduled(conn, key[0]):
            run = replace(run, late_s=None)  # it made up for a missed instant, and is no example
        found = (await self._habit(conn, job, but=key[0])).observe(run)
        self._found[key] = found
        while len(self._found) > _REMEMBERED:
            del self._found[next(iter(self._found))]
        return found

    async def _habit(self, conn: Connection, job: str, *, but: str | None = None) -> Habit:
        """What is usual for the job: learned from the database once, from reports afterwards."""
        if job not in self._habits:
            await self._learn(conn, [job], but=but)
        return self._habits[job]

    async def _learn(self, conn: Connection, jobs: Sequence[str], *, but: str | None = None) -> None:
        known = await store.histories(conn, jobs, but=but)
        for job in jobs:
            self._habits[job] = learn(known.get(job, ()), expected=self._jobs.get(job, self._lab).expected)

    async def _context(self, conn: Connection, job: str, *, run: str | None) -> Context:
        settings = self._jobs.get(job, self._lab)
        return Context(
            on=settings.on,
            open=(await store.conditions(conn, [job])).get(job, {}),
            habit=self._habits.get(job),
            dependants=settings.dependants,
            link=f"{self._control_url}/runs/{run}" if run else "",
        )

    async def _carry_out(self, conn: Connection, verdict: Verdict, job: str, *, now: datetime) -> None:
        targets = self._jobs.get(job, self._lab).targets
        opens = {(condition.job, condition.kind): condition for condition in verdict.opens}
        for alert in verdict.alerts:
            # A failure that was told gets its end told, always; anything else at most once in the throttle's time.
            since = now - self._throttle
            if alert.kind != "recovered" and await queue.was_told(conn, alert.kind, alert.job, since=since):
                await queue.suppress(conn, alert, targets, "the same alert was sent a short time before", now=now)
                if known := opens.get((alert.job, alert.kind)):
                    opens[known.job, known.kind] = replace(known, told=None)  # told the next time it is seen
            else:
                await self._tell(conn, alert, targets, now=now)
        await store.apply(conn, replace(verdict, opens=tuple(opens.values())))

    async def _tell(self, conn: Connection, alert: Alert, targets: Sequence[str], *, now: datetime) -> None:
        added = await queue.enqueue(conn, alert, targets, now=now)
        log.info("alert", kind=alert.kind, job=alert.job, run=alert.run, targets=added)
        body = {"kind": alert.kind, "run": alert.run, "title": alert.title, "reason": alert.reason, "targets": added}
        await store.event(conn, "alert", alert.job, body, now=now)
        self._changed.set()

    @property
    def targets(self) -> tuple[str, ...]:
        """The lab's own targets, by their labels."""
        return self._lab.targets

    async def tell_lab(self, conn: Connection, alert: Alert, *, now: datetime) -> None:
        """Queue what is about the lab as a whole for each of its targets, in the caller's transaction."""
        await self._tell(conn, alert, self._lab.targets, now=now)

    async def tick(self, conn: Connection, now: datetime) -> None:
        """Look at what no report tells: late, stuck, missed and blocked. Cheap; every 5 to 15 s is right."""
        async with conn.transaction():
            await self._tick_decided(conn, now)
            await self._learn(conn, [job for job in self._jobs if job not in self._habits])
            await self._tick_late(conn, now)
            await self._tick_stuck(conn, now)
            if self._paced is None or now - self._paced >= _PACE:
                self._paced = now
                await self._tick_overdue(conn, now)
            await self._tick_targets(conn, now)
            if self._pruned is None or now - self._pruned > timedelta(hours=6):
                self._pruned = now
                await queue.prune(conn, now=now)

    async def _tick_decided(self, conn: Connection, now: datetime) -> None:
        for row in await store.decided(conn, after=self._decided):
            self._decided = max(self._decided, row["decided"])
            if row["decision"] == "missed":
                await self._missed(conn, row["flow"], row["due"], row["reason"], now)
            else:
                await self._blocked(conn, row["flow"], row["due"], row["reason"], now)
        for condition in await store.conditions_of(conn, "missed"):
            if condition.told is None and condition.due is not None:
                await self._missed(conn, condition.job, condition.due, "", now)

    async def _missed(self, conn: Connection, flow: str, due: datetime, reason: str, now: datetime) -> None:
        context = await self._context(conn, flow, run=None)
        known = context.open.get("missed")
        first = min(due, known.due) if known and known.due else due
        dues = await store.missed_since(conn, flow, first) or [due]
        seen = known.since if known else now
        verdict = rules.missed(flow=flow, dues=dues, reason=reason, first_seen=seen, now=now, context=context)
        await self._carry_out(conn, verdict, flow, now=now)

    async def _blocked(self, conn: Connection, flow: str, due: datetime, reason: str, now: datetime) -> None:
        context = await self._context(conn, flow, run=None)
        upstream = {need for job in self._flows.get(flow, (flow,)) for need in self._jobs.get(job, self._lab).needs}
        failing = [known.get("failed") for known in (await store.conditions(conn, upstream)).values()]
        told = any(condition is not None and condition.told is not None for condition in failing)
        verdict = rules.blocked(flow=flow, due=due, reason=reason, upstream_told=told, now=now, context=context)
        await self._carry_out(conn, verdict, flow, now=now)

    async def _tick_late(self, conn: Connection, now: datetime) -> None:
        for row in await store.unstarted(conn, before=now - _EARLY):
            context = await self._context(conn, row["flow"], run=row["id"])
            verdict = rules.late(
                flow=row["flow"],
                run=row["id"],
                due=row["due"],
                up_since=max(self._up_since, row["created"]),
                period_s=row["period_s"],
                now=now,
                context=context,
            )
            await self._carry_out(conn, verdict, row["flow"], now=now)
        known = await store.conditions_of(conn, "late")
        waiting = await store.still_unstarted(conn, [c.run for c in known if c.run])
        gone = tuple((c.job, c.kind) for c in known if c.run is not None and c.run not in waiting)
        await store.apply(conn, Verdict(closes=gone))

    async def _tick_stuck(self, conn: Connection, now: datetime) -> None:
        for row in await store.going(conn):
            if now - row["started"] < timedelta(minutes=1):
                continue  # no limit is below a minute
            settings = self._jobs.get(row["job"], self._lab)
            verdict = rules.stuck(
                job=row["job"],
                run=row["run"],
                attempt=row["attempt"],
                started=row["started"],
                timeout_s=settings.timeout_s,
                grace_s=settings.grace_s,
                now=now,
                context=await self._context(conn, row["job"], run=row["run"]),
            )
            await self._carry_out(conn, verdict, row["job"], now=now)

    async def _tick_overdue(self, conn: Connection, now: datetime) -> None:
        paused, applied = await store.held(conn), await store.applied(conn)
        for flow, jobs in self._flows.items():
            for job in jobs:
                if job not in self._habits or self._jobs[job].rests or job in paused:
                    continue
                if usual.overdue(self._habits[job], now=now.timestamp(), since=self._up_since.timestamp()) is None:
                    continue  # nearly always: no question to the database
                verdict = rules.overdue(
                    job=job,
                    up_since=self._up_since,
                    applied=applied.get(flow, now),
                    now=now,
                    context=await self._context(conn, job, run=None),
                )
                await self._carry_out(conn, verdict, job, now=now)

    async def _tick_targets(self, conn: Connection, now: datetime) -> None:
        for target in await queue.waiting(conn):
            await queue.merge(conn, target)
        for trouble in await queue.troubles(conn, now=now):
            if trouble["waiting"] and trouble["attempts"] >= _FAILING_AFTER:
                alert = rules.undelivered(
                    target=trouble["target"],
                    since=trouble["since"],
                    attempts=trouble["attempts"],
                    error=trouble["error"],
                    now=now,
                )
                await queue.enqueue(conn, alert, [t for t in self._lab.targets if t != trouble["target"]], now=now)

    # Delivering

    async def deliver_loop(self, pool: Pool) -> None:
        """Deliver what is queued until cancelled: targets beside each other, each target's messages in order. A
        database that does not answer is waited for."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                pause_s = _IDLE_S
                try:
                    async with pool.connection() as conn:
                        due = await queue.waiting(conn)
                except Exception as error:  # whatever the pool raises while the database is away: look again
                    log.warning("notify.queue_unreadable", error=str(error))
                    due = {}
                now = datetime.now(UTC)
                for target, time in due.items():
                    if target not in self._busy and time <= now:
                        self._busy.add(target)
                        tasks.create_task(self._serve(pool, target))
                    pause_s = min(pause_s, max(_BUSY_S, (time - now).total_seconds()))
                await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
            await asyncio.sleep(0.2)  # the transaction that queued it commits
            self._changed.clear()
        except TimeoutError:
            pass

    async def _serve(self, pool: Pool, target: str) -> None:
        try:
            async with pool.connection() as conn:
                claim = await queue.claim(conn, target, now=datetime.now(UTC))
            if isinstance(claim, Claim):
                results = await self._send(claim)
                async with pool.connection() as conn:
                    await self.settle(conn, claim, results, now=datetime.now(UTC))
                self._changed.set()
        except Exception as error:  # the row's lease ends and it is tried again
            log.warning("notify.delivery_interrupted", target=target, error=str(error))
        finally:
            self._busy.discard(target)

    async def deliver_once(self, conn: Connection, now: datetime) -> dict[str, datetime]:
        """Deliver what may be delivered at `now`, each target once, and say when each target's next row is due."""
        for target in await queue.waiting(conn):
            claim = await queue.claim(conn, target, now=now)
            if isinstance(claim, Claim):
                await self.settle(conn, claim, await self._send(claim), now=now)
        return await queue.waiting(conn)

    async def _send(self, claim: Claim) -> list[str]:
        url = self._urls.get(claim.target)
        return ["the lab file no longer has this target"] if url is None else await self._deliver(url, claim.messages)

    async def settle(self, conn: Connection, claim: Claim, results: Sequence[str], *, now: datetime) -> None:
        """Record what came of a claim: delivered rows are sent, the first failed one waits, the rest wait behind it."""
        async with conn.transaction():
            if claim.target not in self._urls:
                await queue.drop_target(conn, claim.target, results[0])
                await store.event(conn, "notify.failed", claim.target, {"error": results[0]}, now=now)
                return
            parts = [claim.ids] if claim.is_digest else [(one,) for one in claim.ids]
            for number, ids in enumerate(parts):
                error = results[number] if number < len(results) else None
                if error is None:
                    await queue.give_back(conn, ids, now=now)
                elif error == "":
                    # Distinct times tell messages apart where the throttle counts them.
                    await queue.succeeded(conn, ids, now=now + timedelta(microseconds=number))
                else:
                    await self._undelivered(conn, claim, ids, error, now)

    async def _undelivered(self, conn: Connection, claim: Claim, ids: Sequence[int], error: str, now: datetime) -> None:
        given_up = await queue.failed(conn, claim, ids, error, now=now)
        log.warning("notify.not_delivered", target=claim.target, attempts=claim.attempts, error=error)
        if claim.attempts == 1 or given_up:
            body = {"error": message.harmless(error), "attempts": claim.attempts, "given_up": given_up}
            await store.event(conn, "notify.failed", claim.target, body, now=now)

    # Looking

    async def problems(self, conn: Connection, now: datetime) -> list[dict[str, Any]]:
        """What a person should know about notifications: targets that take none, alerts that were given up."""
        found: list[dict[str, Any]] = []
        for trouble in await queue.troubles(conn, now=now):
            target, error = trouble["target"], trouble["error"]
            counts = f"{trouble['waiting']} waiting" + (
                f", {trouble['given_up']} given up" if trouble["given_up"] else ""
            )
            found.append(
                {
                    "code": "notify_failed",
                    "severity": "error" if trouble["given_up"] else "warning",
                    "subject": target,
                    "since": trouble["since"],
                    "message": f"notifications to {target} do not arrive ({counts}): {error}",
                    "hint": "See: homelab notify ls. After correcting the target: homelab notify test",
                }
            )
        return found

    async def listing(self, conn: Connection, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest notifications first."""
        return await queue.listing(conn, limit=limit)

    async def test(self, conn: Connection, now: datetime) -> list[dict[str, Any]]:
        """Send a test message to every target now, at the same time: `[{target, ok, error}]`. Each is listed."""
        text = "If you can read this, alerts of this lab reach you."
        alert = Alert(
            kind="test",
            job="",
            run=None,
            title="homelab: test notification",
            reason=text,
            body=message.body(reason=text, time=now, link=self._control_url),
            dedupe_key=f"test:{now.isoformat()}",
        )
        sent = Message(title=alert.title, body=alert.body)
        answers = await asyncio.gather(*(self._deliver(url, [sent]) for url in self._urls.values()))
        results = [
            {"target": target, "ok": not errors[0], "error": errors[0]}
            for target, errors in zip(self._urls, answers, strict=True)
        ]
        for result in results:
            state = "sent" if result["ok"] else "suppressed"
            await conn.execute(
                "insert into notification (created, kind, title, body, target, dedupe_key, state, attempts, last_error,"
                " sent) values (%s, 'test', %s, %s, %s, %s, %s, 1, %s, %s)",
                (
                    now,
                    alert.title,
                    alert.body,
                    result["target"],
                    alert.dedupe_key,
                    state,
                    result["error"],
                    now if result["ok"] else None,
                ),
            )
        return results


def _downstream(name: str, needed_by: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    open_ = list(needed_by.get(name, ()))
    while open_:
        one = open_.pop(0)
        if one not in found and one != name:
            found[one] = None
            open_ += needed_by.get(one, ())
    return tuple(found)
