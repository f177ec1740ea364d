"""Which events deserve an alert. Values in, values out: a report or an observation, the conditions that hold, the job's
habit (`core.usual`) and its settings give alerts to send and conditions to open, change or close. No I/O, no clock.

A *condition* is something wrong that was noticed and still holds (table `watch`). It is told once; a job that keeps
failing, or stays blocked, is told again once a day. What ends a condition closes it; the end of one that was told is
told too (`recovered`), except for runs that were missed or blocked. Called by `watcher`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from homelab.core import usual
from homelab.core.durations import span
from homelab.core.endings import Circumstances, Ending, Explanation, explain, sentence
from homelab.core.jobs import RunState
from homelab.core.usual import Found, Habit, Unusual
from homelab.notify import message

KINDS = ("failed", "recovered", "late", "missed", "stuck", "silent", "shrunken", "slow", "blocked", "notify_failed")
"""What `[notify] on` and a job's `notify = { on = [...] }` may name. Left out, all of them alert."""

AGAIN = timedelta(hours=24)
"""A condition that goes on is told again after this."""
MISSED_SETTLE = timedelta(seconds=20)
"""Missed runs are collected this long, so that an outage is one alert with a count."""
_SETTLED = {
    "slow": "been unusually slow",
    "silent": "printed nothing",
    "shrunken": "printed unusually little",
    "stuck": "seemed stuck",
    "late": "been late",
}
"""What has ended when a job is as usual again."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One thing to tell. `reason` is one sentence; `tail` the last lines of output; `dedupe_key` names the occurrence:
    the same key is never queued twice for one target."""

    kind: str
    job: str
    run: str | None
    title: str
    reason: str
    body: str
    dedupe_key: str
    link: str = ""
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something wrong that holds for `job` since `since`. `told` is when it was last alerted, None when it was not
    (the job's settings leave it out, or another alert covers it); `count` is how often it was seen."""

    job: str
    kind: str
    since: datetime
    run: str | None = None
    told: datetime | None = None
    count: int = 1
    due: datetime | None = None
    reason: str = ""
    """The sentence that was, or would have been, told."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows. `opens` holds new and changed conditions (by job and kind), `closes` those that ended."""

    alerts: tuple[Alert, ...] = ()
    opens: tuple[Condition, ...] = ()
    closes: tuple[tuple[str, str], ...] = ()


_NOTHING = Found()


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a judgement needs beside the event. `on`: the kinds that alert for this job. `open`: its conditions by kind.
    `habit`: what is usual for it; `found`: what its habit said of the run; `explained`: how a failure came to
    be, where more is known than the report says. `dependants`: jobs that need it, directly or
    not. `link`: where the run can be looked at."""

    on: Collection[str] = KINDS
    open: Mapping[str, Condition] = field(default_factory=dict[str, Condition])
    habit: Habit | None = None
    found: Found = _NOTHING
    explained: Explanation | None = None
    dependants: tuple[str, ...] = ()
    link: str = ""


def finished(report: Mapping[str, Any], context: Context) -> Verdict:
    """Judge a `job.finished` report. An attempt that will be retried (`retry_at`) says nothing yet."""
    state = RunState(report["state"])
    if report.get("retry_at"):
        return Verdict()
    if state.is_failure:
        return _failure(report, context)
    if state is RunState.SUCCEEDED:
        return _success(report, context)
    if state is RunState.BLOCKED:
        # The failure that blocks it was told: the alert names the jobs that wait. Here it is only remembered.
        job, time = report["job"], instant(report, "ended", "time")
        known = context.open.get("blocked")
        grown = replace(known, count=known.count + 1) if known else Condition(job=job, kind="blocked", since=time)
        return Verdict(opens=(grown,))
    return Verdict(closes=_closing(report["job"], context, "stuck"))


def _failure(report: Mapping[str, Any], context: Context) -> Verdict:
    job, run, time = report["job"], report.get("run"), instant(report, "ended", "time")
    known = context.open.get("failed")
    grown = (
        replace(known, count=known.count + 1, run=run)
        if known
        else Condition(job=job, kind="failed", since=time, run=run)
    )
    closes = _closing(job, context, "stuck", "late")
    if "failed" not in context.on or (grown.told is not None and time - grown.told < AGAIN):
        return Verdict(opens=(grown,), closes=closes)
    says = "failed" if grown.count == 1 else "still fails"
    explained = context.explained or explain(Ending.of(report), Circumstances.from_json(report.get("facts")))
    reason = explained.text
    if context.habit is not None and grown.count == 1 and (first := usual.first_failure(context.habit)):
        reason += f" {first}"
    if grown.count > 1:
        reason += f" It has failed {grown.count} times since {message.stamp(grown.since)}."
    alert = _alert(
        "failed",
        report,
        context,
        says=says,
        reason=reason,
        time=time,
        key=f"{run}:{report.get('attempt')}",
        tail=True,
        action=explained.action,
    )
    return Verdict(alerts=(alert,), opens=(replace(grown, told=time),), closes=closes)


def _success(report: Mapping[str, Any], context: Context) -> Verdict:
    job, time = report["job"], instant(report, "ended", "time")
    alerts: list[Alert] = []
    opens: list[Condition] = []
    settled = [kind for kind in ("stuck", "late", *context.found.settled) if kind in context.open]
    failing = context.open.get("failed")
    if failing is not None and failing.told is not None and "recovered" in context.on:
        times = "once" if failing.count == 1 else f"{failing.count} times"
        reason = f"It succeeded after it had failed {times} since {message.stamp(failing.since)}."
        alerts.append(_alert("recovered", report, context, says="works again", reason=reason, time=time))
    else:
        alerts += _as_usual(report, context, settled, time)
    for one in (context.found.slow, context.found.silent, context.found.shrunken):
        if one is not None and one.kind not in context.open:
            alert, condition = _unusual(one, report, context, time, tail=True)
            opens.append(condition)
            alerts += alert
    closes = _closing(job, context, "failed", "blocked", *settled, *context.found.learned)
    return Verdict(alerts=tuple(alerts), opens=tuple(opens), closes=closes)


def _unusual(
    one: Unusual, report: Mapping[str, Any], context: Context, now: datetime, *, key: str = "", tail: bool = False
) -> tuple[list[Alert], Condition]:
    """What to tell of something unusual (nothing where this kind does not alert), and the condition it opens."""
    is_on = one.kind in context.on
    due = as_time(report["due"]) if one.kind == "late" and report.get("due") else None
    condition = Condition(
        job=report["job"],
        kind=one.kind,
        since=now,
        run=report.get("run"),
        told=now if is_on else None,
        due=due,
        reason=one.reason,
    )
    if not is_on:
        return [], condition
    return [
        _alert(one.kind, report, context, says=one.says, reason=one.reason, time=now, key=key, tail=tail)
    ], condition


def _as_usual(report: Mapping[str, Any], context: Context, settled: Sequence[str], time: datetime) -> list[Alert]:
    """That what was told as unusual has ended."""
    told = [context.open[kind] for kind in settled if context.open[kind].told is not None]
    if not told or "recovered" not in context.on:
        return []
    had = " and ".join(f"{_SETTLED[one.kind]} since {message.stamp(one.since)}" for one in told)
    started, ended = report.get("started"), report.get("ended")
    took = f" It took {span((as_time(ended) - as_time(started)).total_seconds())}." if started and ended else ""
    return [
        _alert(
            "recovered",
            report,
            context,
            says="is as usual again",
            reason=f"It had {had}.{took}",
            time=time,
            key=f"{report.get('run')}:{told[0].kind}",
        )
    ]


def began(report: Mapping[str, Any], context: Context) -> Verdict:
    """Judge the start of a flow's run (`run.started`): what was late or missed is so no more."""
    waited = context.open.get("late")
    is_waited_for = waited is not None and waited.run is not None  # else it waits for a success, not for a start
    kinds = ("late", "missed") if is_waited_for else ("missed",)
    event = {**report, "job": report["flow"]}
    alerts = _as_usual(event, context, ["late"], instant(report, "time")) if is_waited_for else []
    return Verdict(alerts=tuple(alerts), closes=_closing(report["flow"], context, *kinds))


def late(
    *, flow: str, run: str, due: datetime, up_since: datetime, period_s: float | None, now: datetime, context: Context
) -> Verdict:
    """Judge a run that is due and has not started. Time counts from the later of `due` and `up_since`: a lab that was
    down makes runs missed, not late. `period_s` is the time between two runs of the flow, None when not known."""
    waited_s = (now - max(due, up_since)).total_seconds()
    due_s = (now - due).total_seconds()
    one = usual.late(context.habit, waited_s=waited_s, due_s=due_s, period_s=period_s)
    if one is None or "late" in context.open:
        return Verdict()
    report = {"job": flow, "run": run, "due": due}
    alerts, condition = _unusual(one, report, context, now, key=due.isoformat())
    return Verdict(alerts=tuple(alerts), opens=(condition,))


def overdue(*, job: str, up_since: datetime, applied: datetime, now: datetime, context: Context) -> Verdict:
    """Judge a job that has not succeeded for long. `applied`: since when it is what it is. Quiet while something else
    that keeps it from succeeding is known."""
    if context.habit is None or any(kind in context.open for kind in ("failed", "blocked", "missed", "late", "stuck")):
        return Verdict()
    one = usual.overdue(context.habit, now=now.timestamp(), since=up_since.timestamp(), known_from=applied.timestamp())
    if one is None:
        return Verdict()
    alerts, condition = _unusual(one, {"job": job, "run": None}, context, now, key=now.date().isoformat())
    return Verdict(alerts=tuple(alerts), opens=(condition,))


def stuck(
    *,
    job: str,
    run: str,
    attempt: int,
    started: datetime,
    timeout_s: float | None,
    grace_s: float,
    now: datetime,
    context: Context,
) -> Verdict:
    """Judge a run that is still going: beyond its timeout and grace (it should have been stopped), or far beyond what
    its past runs took."""
    if "stuck" in context.open:
        return Verdict()
    going_s = (now - started).total_seconds()
    if timeout_s is not None and going_s > timeout_s + grace_s + 60.0:
        reason = f"It has been running for {span(going_s)}, beyond its timeout of {span(timeout_s)}."
        one: Unusual | None = Unusual(kind="stuck", says="seems stuck", reason=reason)
    else:
        habit = context.habit
        one = None if habit is None else usual.stuck(habit, going_s=going_s, when=started.timestamp())
    if one is None:
        return Verdict()
    report = {"job": job, "run": run, "attempt": attempt}
    alerts, condition = _unusual(one, report, context, now, key=f"{run}:{attempt}")
    return Verdict(alerts=tuple(alerts), opens=(condition,))


def missed(
    *, flow: str, dues: Sequence[datetime], reason: str, first_seen: datetime, now: datetime, context: Context
) -> Verdict:
    """Judge missed instants of a flow, all those since the condition began. Told once, `MISSED_SETTLE` after the first
    was seen, with their number; quiet until a run starts again."""
    known = context.open.get("missed")
    base = known or Condition(job=flow, kind="missed", since=first_seen, due=min(dues))
    grown = replace(base, count=len(dues))
    if grown.told is not None or now - first_seen < MISSED_SETTLE or "missed" not in context.on:
        return Verdict(opens=() if grown == known else (grown,))
    first, last = min(dues), max(dues)
    why_ = f" {sentence(reason)}" if reason else ""
    if len(dues) == 1:
        says, text = "missed its run", f"The run due {message.stamp(first)} did not happen.{why_}"
    else:
        says = f"missed {len(dues)} runs"
        text = f"{len(dues)} runs due from {message.stamp(first)} to {message.stamp(last)} did not happen.{why_}"
    report = {"job": flow, "run": None}
    alert = _alert("missed", report, context, says=says, reason=text, time=now, key=last.isoformat())
    return Verdict(alerts=(alert,), opens=(replace(grown, told=now),))


def blocked(*, flow: str, due: datetime, reason: str, upstream_told: bool, now: datetime, context: Context) -> Verdict:
    """Judge a run that did not happen because something it needs is not fresh. Told once a day, and not at all while
    the failure of what it needs was told (`upstream_told`)."""
    known = context.open.get("blocked")
    grown = (
        replace(known, count=known.count + 1, due=due)
        if known
        else Condition(job=flow, kind="blocked", since=now, due=due)
    )
    quiet = upstream_told or (grown.told is not None and now - grown.told < AGAIN)
    if quiet or "blocked" not in context.on:
        return Verdict(opens=(grown,))
    text = sentence(reason or "Something it needs has not succeeded lately.")
    if grown.count > 1:
        text += f" {grown.count} runs were blocked since {message.stamp(grown.since)}."
    report = {"job": flow, "run": None, "due": due}
    alert = _alert("blocked", report, context, says="is blocked", reason=text, time=now, key=due.isoformat())
    return Verdict(alerts=(alert,), opens=(replace(grown, told=now),))


def undelivered(*, target: str, since: datetime, attempts: int, error: str, now: datetime) -> Alert:
    """The alert, for the other targets, that one target takes no notifications."""
    reason = f"Nothing reached it for {span((now - since).total_seconds())} in {attempts} attempts: {sentence(error)}"
    return Alert(
        kind="notify_failed",
        job="",
        run=None,
        title=message.title("notifications", f"to {target} do not arrive"),
        reason=reason,
        body=message.body(reason=reason, time=now),
        dedupe_key=f"notify_failed:{target}:{since.isoformat()}",
    )


def as_time(value: datetime | str) -> datetime:
    """A time of a report (ISO 8601 text, or already a datetime) as an aware datetime in UTC."""
    time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def instant(report: Mapping[str, Any], *names: str) -> datetime:
    """The first of the named times that the report has. KeyError when it has none."""
    for name in names:
        if report.get(name):
            return as_time(report[name])
    raise KeyError(names[0])


def _alert(
    kind: str,
    report: Mapping[str, Any],
    context: Context,
    *,
    says: str,
    reason: str,
    time: datetime,
    key: str = "",
    tail: bool = False,
    action: str = "",
) -> Alert:
    job, run = report["job"], report.get("run")
    given = list(report.get("tail") or ())[-message.TAIL_LINES :] if tail else []
    lines = tuple(message.harmless(str(line)) for line in given)
    due = report.get("due")
    link = context.link if run else ""
    return Alert(
        kind=kind,
        job=job,
        run=run,
        title=message.title(job, says),
        reason=message.harmless(reason, limit=1000),
        body=message.body(
            reason=reason,
            time=time,
            due=as_time(due) if due else None,
            attempt=report.get("attempt"),
            dependants=context.dependants if kind in ("failed", "late", "missed", "blocked", "stuck") else (),
            tail=lines,
            link=link,
            action=action,
        ),
        dedupe_key=f"{kind}:{job}:{key or run}",
        link=link,
        tail=lines,
    )


def _closing(job: str, context: Context, *kinds: str) -> tuple[tuple[str, str], ...]:
    return tuple((job, kind) for kind in kinds if kind in context.open)
