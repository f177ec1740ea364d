"""What happened in a run, on disk before anybody is told: appended JSON lines from which everything can be taken up
again.

One journal a run, in its folder, with one writer (the worker that claimed it). `runs/open/ID` exists as long as the
run has not ended or something is not delivered, so that a new worker finds its work without looking at old runs.
Lines are in the kernel's hands when a method returns, which outlives this process; a thread then brings them to the
disk, within milliseconds and many journals at a time, for the case that the machine dies. What a power cut can take
is thus the last few milliseconds; the claim, made seconds before a run's instant, is on disk by then. On a full disk
the steps wait in memory and are written when there is room: only a crash of the worker in that very time loses them,
and then the attempt counts as crashed. Called by `worker.loop` and `worker.execution`.
"""

import json
import os
import queue
import shutil
import threading
import time as clock
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from homelab.core.jobs import Flow, RunState
from homelab.core.passing import NOTHING, Passed
from homelab.core.times import iso, moment
from homelab.core.work import Work
from homelab.home.paths import Home
from homelab.worker import log_copies, runlog, survivors
from homelab.worker.facts import RunFacts

KEEP_DAYS = 30
MAX_BYTES = 5 * 1024**3


@dataclass(frozen=True, kw_only=True)
class InFlight:
    """An attempt that was started and of whose end the journal knows nothing. `mark`: see `survivors.start_mark`."""

    job: str
    attempt: int
    pid: int
    mark: str
    started: datetime | None
    token: int | None = None
    """Of the lease it was started under."""

    def work(self, run: str) -> str:
        return str(Work(run, self.job, self.attempt))


@dataclass(frozen=True, kw_only=True)
class Sent:
    """An attempt that is made on another node, under the lease of that `token`; its end is not known here."""

    job: str
    attempt: int
    node: str
    token: int


@dataclass
class RunJournal:
    """What the lines of one journal amount to. A run may have several rounds: a person's retry begins a new one."""

    started: datetime | None = None
    finished: bool = False
    rounds: int = 1
    told: bool = False
    """Prefect has the final state."""
    skipped_lines: int = 0
    _result: tuple[RunState, str] = (RunState.CRASHED, "")
    _succeeded: set[str] = field(default_factory=set[str])
    _passed: dict[str, Passed] = field(default_factory=dict[str, Passed])
    _ended: dict[str, RunState] = field(default_factory=dict[str, RunState])
    _attempts: dict[str, int] = field(default_factory=dict[str, int])
    _base: dict[str, int] = field(default_factory=dict[str, int])
    _retry_at: dict[str, datetime] = field(default_factory=dict[str, datetime])
    _in_flight: dict[str, InFlight] = field(default_factory=dict[str, InFlight])
    _sent: dict[str, Sent] = field(default_factory=dict[str, Sent])
    _reports: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    worker_pid: int | None = None

    def kept(self) -> dict[str, RunState]:
        """Jobs with nothing left to do: succeeded in any round, or ended for good in this one."""
        return {**self._ended, **dict.fromkeys(self._succeeded, RunState.SUCCEEDED)}

    def passed(self) -> dict[str, Passed]:
        """What the last success of each job passed on; jobs without one, or that are to be done once more, are left
        out."""
        return {job: passed for job, passed in self._passed.items() if job in self._succeeded}

    def attempts(self) -> dict[str, int]:
        """The highest attempt number of each job so far."""
        return dict(self._attempts)

    def base(self) -> dict[str, int]:
        """The attempts made before this round: they use up no retries of it."""
        return dict(self._base)

    def retry_at(self) -> dict[str, datetime]:
        """When those jobs are tried again that wait for it."""
        return dict(self._retry_at)

    def in_flight(self) -> tuple[InFlight, ...]:
        return tuple(self._in_flight.values())

    def sent(self) -> tuple[Sent, ...]:
        return tuple(self._sent.values())

    def result(self) -> tuple[RunState, str]:
        """State and reason of a finished run."""
        return self._result

    def undelivered(self, target: str = "control") -> list[dict[str, Any]]:
        """Reports not taken by `target` yet, in their order."""
        return [r["report"] for r in self._reports.values() if target not in r["delivered"]]

    @property
    def crash_reason(self) -> str:
        process = f" (pid {self.worker_pid})" if self.worker_pid else ""
        return f"the worker{process} ended while it ran"

    def apply(self, entry: Mapping[str, Any]) -> None:
        """One line. Kinds that are not known are left for newer versions."""
        match entry.get("e"):
            case "claimed":
                self.worker_pid = entry.get("worker_pid")
            case "round":
                self._new_round(afresh=bool(entry.get("afresh")), redo=entry.get("redo") or ())
            case "run_started":
                self.started = self.started or moment(entry["time"])
            case "attempt_started":
                job, attempt = entry["job"], int(entry["attempt"])
                self._attempts[job] = max(attempt, self._attempts.get(job, 0))
                self._retry_at.pop(job, None)
                self._in_flight[job] = InFlight(
                    job=job,
                    attempt=attempt,
                    pid=int(entry["pid"]),
                    mark=entry.get("mark", ""),
                    started=moment(entry["time"]),
                    token=entry.get("token"),
                )
            case "attempt_sent":
                self._send(entry["job"], entry)
            case "adopted":
                self._adopt(entry)
            case "handed_on":
                self.finished = self.told = True
                self._in_flight.clear()
                self._sent.clear()
                self._reports.clear()
            case "attempt_stopped":
                job = entry["job"]
                self._attempts[job] = max(int(entry["attempt"]), self._attempts.get(job, 0))
                self._base[job] = self._base.get(job, 0) + 1
                self._in_flight.pop(job, None)
                self._sent.pop(job, None)
            case "attempt_finished":
                self._attempt_finished(entry)
            case "run_finished":
                self.finished = True
                self._result = (RunState(entry["state"]), entry.get("reason", ""))
            case "told":
                self.finished = self.told = True
            case "report":
                self._report(entry["report"])
            case "delivered":
                for report_id in entry["ids"]:
                    if report_id in self._reports:
                        self._reports[report_id]["delivered"].add(entry.get("to", "control"))
            case _:
                pass

    def _adopt(self, entry: Mapping[str, Any]) -> None:
        for job, state in entry["kept"].items():
            if state == RunState.SUCCEEDED:
                self._succeeded.add(job)
                self._passed.setdefault(job, Passed.from_json(entry["passed"].get(job, {})))
            else:
                self._ended[job] = RunState(state)
        for job, attempt in entry["attempts"].items():
            self._attempts[job] = max(int(attempt), self._attempts.get(job, 0))
        self._base = {job: int(attempts) for job, attempts in entry["base"].items()}
        for job, sent in entry.get("sent", {}).items():
            self._send(job, sent)

    def _send(self, job: str, entry: Mapping[str, Any]) -> None:
        attempt = int(entry["attempt"])
        self._attempts[job] = max(attempt, self._attempts.get(job, 0))
        self._retry_at.pop(job, None)
        self._sent[job] = Sent(job=job, attempt=attempt, node=str(entry["node"]), token=int(entry["token"]))

    def _attempt_finished(self, entry: Mapping[str, Any]) -> None:
        job, attempt = entry["job"], int(entry["attempt"])
        self._attempts[job] = max(attempt, self._attempts.get(job, 0))
        self._in_flight.pop(job, None)
        self._sent.pop(job, None)
        state = RunState(entry["state"])
        if state is RunState.SUCCEEDED:
            self._succeeded.add(job)
            self._passed[job] = Passed.from_json(entry)
        elif state is RunState.CANCELLED:
            self._ended[job] = state

    def _report(self, report: dict[str, Any]) -> None:
        self._reports[str(report["id"])] = {"report": report, "delivered": set[str]()}
        if report.get("kind") == "job.finished" and report.get("attempt") and report.get("retry_at") is None:
            state = RunState(report["state"])
            if state.is_failure:
                self._ended[str(report["job"])] = state
        elif report.get("kind") == "job.finished" and (at := moment(report.get("retry_at"))) is not None:
            self._retry_at[str(report["job"])] = at

    def _new_round(self, *, afresh: bool, redo: Iterable[str]) -> None:
        self.finished = self.told = False
        self.rounds += 1
        self._base = dict(self._attempts)
        self._sent.clear()
        self._ended.clear()
        self._retry_at.clear()
        if afresh:
            self._succeeded.clear()
        self._succeeded.difference_update(redo)


class Journal:
    """The one writer of a run's journal. No method raises on behalf of the disk; `degraded` says when it refuses."""

    def __init__(self, home: Home, run_id: str, *, header: Mapping[str, Any], state: RunJournal) -> None:
        self._home = home
        self.run_id = run_id
        self.folder = home.run_folder(run_id)
        self.header = header
        self.state = state
        self.degraded = ""
        self._unwritten = bytearray()
        self._fd = -1

    @property
    def digest(self) -> str:
        return str(self.header["digest"])

    def facts(self, flow: Flow, *, resumed: bool) -> RunFacts:
        """The facts with which the run was claimed; `flow` is the definition of `digest`."""
        header = self.header
        start_at = moment(header["start_at"])
        return RunFacts(
            id=self.run_id,
            flow=flow,
            digest=self.digest,
            due=moment(header.get("due")),
            start_at=start_at or datetime.now(UTC),
            params=dict(header.get("params") or {}),
            only=None if header.get("only") is None else frozenset(cast("list[str]", header["only"])),
            skip=frozenset(cast("list[str]", header.get("skip") or [])),
            resumed=resumed,
        )

    def claimed(self, worker: str) -> None:
        self._add({"e": "claimed", "worker": worker, "worker_pid": os.getpid(), "time": iso(datetime.now(UTC))})

    def new_round(self, *, afresh: bool, redo: Iterable[str] = ()) -> None:
        """The run goes on because somebody asked for it: what did not succeed (with `afresh`: all) and the jobs `redo`
        are to be done."""
        more = {"redo": list(redo)} if redo else {}
        self._add({"e": "round", "afresh": afresh, **more, "time": iso(datetime.now(UTC))})

    def run_started(self, *, time: datetime) -> None:
        self._add({"e": "run_started", "time": iso(time)}, sync=False)

    def attempt_started(
        self, *, job: str, attempt: int, pid: int, time: datetime, mark: str | None = None, token: int | None = None
    ) -> None:
        """The process `pid` was just started, as the first of its own group; its start mark is read here. `token`: of
        its lease, where it has one."""
        found = survivors.start_mark(pid) if mark is None else mark
        leased = {} if token is None else {"token": token}
        self._add(
            {
                "e": "attempt_started",
                "job": job,
                "attempt": attempt,
                "pid": pid,
                "mark": found,
                "time": iso(time),
                **leased,
            }
        )

    def attempt_sent(self, *, job: str, attempt: int, node: str, token: int) -> None:
        """The attempt is made on another node, under its lease there."""
        self._add({"e": "attempt_sent", "job": job, "attempt": attempt, "node": node, "token": token})

    def attempt_stopped(self, *, job: str, attempt: int, reason: str, time: datetime) -> None:
        """It was stopped for other work and is to start anew; that uses up no retry."""
        self._add({"e": "attempt_stopped", "job": job, "attempt": attempt, "reason": reason, "time": iso(time)})

    def attempt_finished(
        self,
        *,
        job: str,
        attempt: int,
        state: RunState,
        exit_code: int | None,
        reason: str,
        time: datetime,
        passed: Passed = NOTHING,
    ) -> None:
        self._add(
            {
                "e": "attempt_finished",
                "job": job,
                "attempt": attempt,
                "state": str(state),
                "exit_code": exit_code,
                "reason": reason,
                "time": iso(time),
                **passed.to_json(),
            }
        )

    def run_finished(self, *, state: RunState, reason: str, time: datetime) -> None:
        self._add({"e": "run_finished", "state": str(state), "reason": reason, "time": iso(time)})

    def report(self, report: dict[str, Any]) -> None:
        """A report to be delivered; kept until `delivered` says so."""
        self._add({"e": "report", "report": report}, sync=False)

    def delivered(self, *report_ids: str, to: str = "control") -> None:
        self._add({"e": "delivered", "ids": list(report_ids), "to": to}, sync=False)
        if self._fd < 0:  # closed: only the last deliveries were missing
            self._close_if_told()

    def end_survivors(self, *, but: Container[str] = (), grace_s: float = 2.0) -> dict[str, tuple[int, ...]]:
        """End what is left of the attempts in flight, `but` those (RUN/JOB/ATTEMPT); by job the pids that were ended.
        Their logs are completed."""
        ended: dict[str, tuple[int, ...]] = {}
        for attempt in self.state.in_flight():
            if attempt.work(self.run_id) in but:
                continue
            ended[attempt.job] = survivors.end(pid=attempt.pid, mark=attempt.mark, run_id=self.run_id, grace_s=grace_s)
            runlog.recover(self.folder / f"{attempt.job}.{attempt.attempt}.log")
        return ended

    def adopt(self, progress: Mapping[str, Any]) -> None:
        """What was achieved of the run elsewhere, as `control` knows it (`GET /api/v1/worker/runs/ID/progress`)."""
        told = {name: progress[name] for name in ("kept", "attempts", "base", "passed")}
        self._add({"e": "adopted", **told, "sent": progress.get("sent", {})})

    def hand_on(self, node: str) -> None:
        """The run belongs to another node now: nothing of it is told, or taken up again, here."""
        self._add({"e": "handed_on", "node": node, "time": iso(datetime.now(UTC))})
        if self._fd >= 0:
            _DISK.sync(self._fd, close=True)
            self._fd = -1
        with suppress(OSError):
            _open_mark(self._home, self.run_id).unlink(missing_ok=True)

    def close(self) -> None:
        """The run has ended and Prefect has it. The run stays open for the next worker while reports are
        undelivered."""
        self._add({"e": "told"}, sync=False)
        if self._fd >= 0:
            _DISK.sync(self._fd, close=True)
            self._fd = -1
        self._close_if_told()

    def _close_if_told(self) -> None:
        if self.state.finished and not self.state.undelivered():
            with suppress(OSError):
                _open_mark(self._home, self.run_id).unlink(missing_ok=True)

    def _add(self, entry: dict[str, Any], *, sync: bool = True) -> None:
        self.state.apply(entry)
        self._unwritten += json.dumps(entry, separators=(",", ":"), default=str).encode() + b"\n"
        transient = self._fd < 0 and entry["e"] == "delivered"
        self._write()
        if self._fd >= 0 and (sync or transient):
            _DISK.sync(self._fd, close=transient)
            if transient:
                self._fd = -1

    def _write(self) -> None:
        if not self._unwritten:
            return
        try:
            if self._fd < 0:
                self._fd = _append_to(self.folder / "journal.jsonl")
            while self._unwritten:
                del self._unwritten[: os.write(self._fd, self._unwritten)]
            self.degraded = ""
        except OSError as error:
            self.degraded = f"{self.folder}: {error.strerror}"


def open_or_create(
    home: Home, facts: RunFacts, *, worker: str, afresh: bool = False, redo: Sequence[str] = ()
) -> Journal:
    """The journal of a run just claimed. When it has one already, a new round begins in it (`afresh`: from nothing;
    `redo`: with these jobs once more)."""
    folder = home.run_folder(facts.id)
    existed = (folder / "journal.jsonl").exists()
    state = replay(folder / "journal.jsonl") if existed else RunJournal()
    header: dict[str, Any] = {
        "flow": facts.flow.name,
        "due": iso(facts.due),
        "start_at": iso(facts.start_at),
        "digest": facts.digest,
        "params": dict(facts.params),
        "only": None if facts.only is None else sorted(facts.only),
        "skip": sorted(facts.skip),
        "claimed_at": iso(datetime.now(UTC)),
        "worker": worker,
    }
    journal = Journal(home, facts.id, header=header, state=state)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / "run.json.new"
        fresh.write_text(json.dumps(header, indent=1))
        fresh.replace(folder / "run.json")
        mark = _open_mark(home, facts.id)
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(worker)
    except OSError as error:
        journal.degraded = f"{folder}: {error.strerror}"
    if existed:
        journal.new_round(afresh=afresh, redo=redo)
    journal.claimed(worker)
    return journal


def open_journals(home: Home, *, worker: str) -> list[Journal]:
    """The runs that an earlier worker of this name left: not ended, or not told. Oldest claim first."""
    found: list[Journal] = []
    with suppress(FileNotFoundError):
        for mark in (home.runs / "open").iterdir():
            with suppress(OSError, ValueError):
                owner = mark.read_text()
                header = cast("dict[str, Any]", json.loads((home.run_folder(mark.name) / "run.json").read_text()))
                if (header.get("worker") or owner) == worker:
                    state = replay(home.run_folder(mark.name) / "journal.jsonl")
                    found.append(Journal(home, mark.name, header=header, state=state))
    return sorted(found, key=lambda j: str(j.header.get("claimed_at")))


def replay(path: Path) -> RunJournal:
    """What a journal says. A torn or foreign line is passed over and counted; no file is an empty journal."""
    state = RunJournal()
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return state
    for line in lines:
        if line:
            try:
                state.apply(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                state.skipped_lines += 1
    return state


def prune(home: Home, *, keep_days: float = KEEP_DAYS, max_bytes: int = MAX_BYTES, now: float | None = None) -> int:
    """Remove folders of ended runs, those older than `keep_days` and then the oldest until all take `max_bytes` at
    most. Returns how many. Blocks: call it in a thread."""
    moment = clock.time() if now is None else now
    open_ids = {p.name for p in _children(home.runs / "open")} | log_copies.waiting(home)
    kept: list[tuple[float, int, Path]] = []
    gone = 0
    for shelf in _children(home.runs):
        for folder in _children(shelf) if len(shelf.name) == 2 else ():
            if folder.name in open_ids:
                continue
            changed, size = _age_and_size(folder)
            if moment - changed > keep_days * 86400:
                gone += _remove(folder)
            else:
                kept.append((changed, size, folder))
    total = sum(size for _, size, _ in kept)
    for _, size, folder in sorted(kept, key=lambda k: k[0]):
        if total <= max_bytes:
            break
        gone += _remove(folder)
        total -= size
    return gone


def _age_and_size(folder: Path) -> tuple[float, int]:
    changed, size = 0.0, 0
    for path in _children(folder):
        with suppress(OSError):
            stat = path.stat()
            changed, size = max(changed, stat.st_mtime), size + stat.st_blocks * 512
    return changed, size


def _remove(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    return 1


def _children(folder: Path) -> Sequence[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return ()


def _open_mark(home: Home, run_id: str) -> Path:
    return home.runs / "open" / run_id


def _append_to(path: Path) -> int:
    """Ready to append whole lines: a line that a crash tore is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
    return descriptor


class _Disk:
    """Brings journals to the disk in a thread of its own, so that no command waits for it."""

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def sync(self, descriptor: int, *, close: bool = False) -> None:
        """In order; with `close` the descriptor is closed afterwards, and belongs to this thread until then."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="journal-disk", daemon=True)
            self._thread.start()
        self._wanted.put((descriptor, close))

    def _serve(self) -> None:
        while True:
            batch = [self._wanted.get()]
            with suppress(queue.Empty):
                while True:
                    batch.append(self._wanted.get_nowait())
            for descriptor in dict(batch):
                with suppress(OSError):
                    os.fsync(descriptor)
            for descriptor, close in batch:
                if close:
                    os.close(descriptor)


_DISK = _Disk()
