"""A lab on paper for the terminal's tests: fixed answers of the API at a fixed moment; what is on a screen, as text.

That the answers have the fields of a real control is checked in `tests/service/test_tui.py`.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests import machines

from homelab.core.errors import HomelabError, NotFoundError
from homelab.tui.app import Top
from homelab.tui.layout import Place

NOW = datetime(2026, 5, 1, 12, 0, 5, tzinfo=UTC)
FAILED = "0190a000-7000-7000-8000-00000000f001"
GOOD = "0190a000-6000-7000-8000-00000000a001"
RUNNING = "0190a000-8000-7000-8000-00000000c001"
HOSTILE = "[red]x[/red] \x1b[2J\r\n\u202egnp.exe\u200b\x00 <b>&amp; ${PATH} `id`"
"""Markup of three kinds, escapes, an override, a line end, NUL."""


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def job(name: str, state: str | None, *, run: str = GOOD, **more: Any) -> dict[str, Any]:
    states = [s for s in (state,) if s in ("failed", "succeeded", "blocked")] + ["succeeded"] * 12
    last = None
    if state is not None:
        ended = None if state in ("running", "scheduled") else ago(3600)
        last = {"id": run, "state": state, "reason": "", "started": ago(3605), "ended": ended}
    return {
        "name": name, "flow": more.pop("flow", name), "schedule": "0 * * * *", "schedule_words": "every hour",
        "timezone": "UTC", "next_due": ago(-3595), "needs": [], "node": "mac3", "paused": False, "shadow": False,
        "description": "", "source": "lab.toml:12", "last_run": last,
        "health": {"states": states, "success_ratio": 0.92, "runs": len(states)}, **more,
    }  # fmt: skip


JOBS = [
    job("dump-app", "failed", run=FAILED, description="The database of the application"),
    job("copy-offsite", "blocked", run=FAILED, flow="dump-app", needs=["dump-app"]),
    job("take-in-uploads", "running", run=RUNNING, schedule_words="every 3 minutes"),
    job("heartbeat", "succeeded", schedule_words="every minute"),
    job("weekly-report", None, schedule_words="at 08:00 on Mondays"),
    job("tidy", "succeeded", paused=True, next_due=None),
    job("rotate-logs", "succeeded", shadow=True),
    job(HOSTILE, "succeeded"),
    job("名前-とても長い仕事の名前-データベース", "timed_out"),
]


def run_row(run: str, name: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": run, "job": name, "flow": "dump-app", "state": state, "due": ago(3605), "started": ago(3605),
        "ended": ago(3600), "duration_s": 5.0, "node": "mac3", "attempt": 1, "exit_code": 0, "signal": None,
        "reason": "",
        "trigger": "schedule", "retry_at": None, "output_bytes": 4711, "at": ago(3600), **more,
    }  # fmt: skip


RUNS = [
    run_row(RUNNING, "take-in-uploads", "running", started=ago(4), ended=None, exit_code=None, duration_s=None),
    run_row(FAILED, "dump-app", "failed", exit_code=1, reason="exit status 1"),
    run_row(FAILED, "copy-offsite", "blocked", started=None, attempt=0, exit_code=None, reason="dump-app failed"),
    run_row(GOOD, HOSTILE, "succeeded", reason=HOSTILE, started=ago(7205), ended=ago(7199)),
    run_row(
        GOOD,
        "heartbeat",
        "failed",
        signal=9,
        exit_code=None,
        reason="ended by signal 9",
        ended=ago(90),
        started=ago(95),
    ),
]


def a_run(run: str, state: str, jobs: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    rows = [
        {
            **{k: v for k, v in row.items() if k != "at"},
            "needs": [],
            "usual_s": 4.8,
            "ending": "",
            "source": "lab.toml:12",
            "attempts": [],
            **extra,
        }
        for row, extra in ((row, row.pop("more", {})) for row in jobs)
    ]
    return {
        "run": {
            "id": run, "flow": "dump-app", "state": state, "due": ago(3605), "created": ago(3700), "started": ago(3605),
            "ended": ago(3588), "node": "mac3", "worker": "mac3", "reason": "dump-app failed: exit status 1",
            "trigger": "schedule", "by": "control", "params": {}, "jobs": rows,
            "why": "Its schedule (every hour) made it due at 2026-05-01 11:00 UTC.", "digest": "d", **more,
        }
    }  # fmt: skip


A_RUN = a_run(FAILED, "failed", [
    run_row(FAILED, "dump-app", "failed", exit_code=1, reason="exit status 1",
            more={"ending": "It ended with exit status 1."}),
    run_row(FAILED, "dump-memory", "succeeded", started=ago(3600), ended=ago(3588)),
    run_row(FAILED, "copy-offsite", "blocked", started=None, attempt=0, exit_code=None, reason="dump-app failed"),
    run_row(FAILED, HOSTILE, "timed_out", exit_code=None, reason=HOSTILE, more={"ending": HOSTILE}),
])  # fmt: skip
GOING = a_run(RUNNING, "running", [
    run_row(RUNNING, "take-in-uploads", "running", started=ago(4), ended=None, exit_code=None),
    run_row(RUNNING, "scan-library", "pending", started=None, ended=None, attempt=0, exit_code=None),
], ended=None, started=ago(4), reason="")  # fmt: skip

NOW_ANSWER = {
    "lab": "paper", "time": ago(0), "event": 7, "jobs": len(JOBS), "paused": 1,
    "attention": [
        {"kind": "failed", "subject": "dump-app",
         "reason": "It ended with exit status 1. It has failed 3 times in a row.",
         "since": ago(7200), "job": "dump-app", "run": FAILED, "waiting": ["copy-offsite", "prune-backups"],
         "actions": ["look", "retry"], "hint": "",
         "said": "OSError: [Errno 28] No space left on device: '/backups/app.sql'"},
        {"kind": "late", "subject": HOSTILE, "reason": HOSTILE, "since": ago(600), "job": HOSTILE, "run": None,
         "waiting": [], "actions": ["why", "run"], "hint": "", "said": HOSTILE},
        {"kind": "lab", "subject": "control", "reason": "The disk of the lab is nearly full.", "since": None,
         "job": None, "run": None, "waiting": [], "actions": [], "hint": "See: homelab status", "said": ""},
    ],
    "running": [
        {"id": RUNNING, "job": "take-in-uploads", "flow": "take-in-uploads", "state": "running", "attempt": 1,
         "started": ago(4), "retry_at": None, "usual_s": 8.0, "node": "mac3", "trigger": "schedule", "by": "control"},
    ],
    "next": [{"flow": "heartbeat", "due": ago(-55), "jobs": 1}, {"flow": "dump-app", "due": ago(-3595), "jobs": 3}],
    "nodes": [{"name": "mac3", "worker": "mac3", "state": "ready", "heartbeat_age_s": 1.2, "slots": 20, "running": []}],
}  # fmt: skip

DEFINITION = {"run": "python3 scripts/database.py dump app", "flow": "", "cwd": "/srv/app"}
A_JOB = {
    **JOBS[0],
    "definition": DEFINITION, "file": "lab.toml", "line": 12,
    "statistics": {
        "runs": 13,
        "duration_s": {"count": 12, "middle": 4.8, "spread": 0.4},
        "output_bytes": {"count": 12, "middle": 4700.0, "spread": 50.0},
    },
}  # fmt: skip
DIFFERENCE = {
    "job": "dump-app", "run": FAILED, "to": {"id": GOOD, "state": "succeeded", "ended": ago(7200)},
    "differences": [
        {"what": "run", "before": "dump.py app", "now": "dump.py app --all", "is_changed": True,
         "note": "the definition changed"},
        {"what": "duration", "before": "4.8 s", "now": "14 s", "is_changed": True, "note": "2.9 times as long"},
        {"what": "node", "before": "mac3", "now": "mac3", "is_changed": False, "note": ""},
    ],
}  # fmt: skip
SERVICES = [
    {"name": "postgres", "kind": "postgres", "state": "ready", "url": None, "pid": 411, "memory_bytes": 52_000_000,
     "restarts": 0, "crash_loop": False, "message": ""},
    {"name": "control", "kind": "control", "state": "degraded", "url": "http://127.0.0.1:4280", "pid": 412,
     "memory_bytes": 91_000_000, "restarts": 2, "crash_loop": False, "message": HOSTILE},
]  # fmt: skip
NOTIFICATIONS = [
    {"id": 2, "created": ago(3600), "kind": "failed", "job": "dump-app", "run": FAILED, "title": "dump-app failed",
     "body": "", "target": "log://work", "state": "queued", "attempts": 2, "error": "no route to host", "sent": None,
     "next_attempt": ago(-60)},
    {"id": 1, "created": ago(7200), "kind": "recovered", "job": HOSTILE, "run": None, "title": HOSTILE, "body": "",
     "target": "log://work", "state": "sent", "attempts": 1, "error": None, "sent": ago(7200), "next_attempt": None},
]  # fmt: skip
LOG = [
    ("out", [["copied ", ""], ["table_1", "fg-cyan"]]),
    ("err", [["Traceback (most recent call last):", ""]]),
    ("err", [["OSError: [Errno 28] No space left on device", "bold fg-red"]]),
    ("out", [["[red]no markup[/red] <b>␛[2J<U+202E>", ""]]),
    ("lab", [["ended with exit status 1", ""]]),
]  # fmt: skip


def log_rows() -> list[dict[str, Any]]:
    return [
        {"at": n * 50, "next": n * 50 + 50, "time": NOW.timestamp() - 60 + n, "stream": stream, "pieces": pieces}
        for n, (stream, pieces) in enumerate(LOG)
    ]


class PaperLab:
    """A door that gives the answers above. `did`: what was changed. `broken`: raised by every call while it is set."""

    def __init__(self, **answers: Any) -> None:
        self.did: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[str] = []
        self.broken: HomelabError | None = None
        self.ended = threading.Event()
        rows = log_rows()
        self.answers: dict[str, Any] = {
            "/api/v1/now": NOW_ANSWER,
            "/api/v1/jobs": {"jobs": JOBS},
            "/api/v1/runs": {"runs": RUNS},
            f"/api/v1/runs/{FAILED}": A_RUN,
            f"/api/v1/runs/{RUNNING}": GOING,
            f"/api/v1/runs/{FAILED}/lines": {"attempt": 1, "lines": rows, "start": 0, "end": 250, "size": 250},
            f"/api/v1/runs/{FAILED}/difference": DIFFERENCE,
            "/api/v1/jobs/dump-app": {"job": A_JOB},
            "/api/v1/jobs/dump-app/why": {"job": "dump-app", "reasons": [f"its last run is failed since {ago(3600)}"]},
            "/api/v1/graph": {
                "nodes": [{"name": j["name"], "flow": j["flow"], "schedule": j["schedule"]} for j in JOBS],
                "edges": [{"from": "dump-app", "to": "copy-offsite", "when": "success", "kind": "task"}],
            },
            "/api/v1/lab": {
                "lab": "paper", "nodes": NOW_ANSWER["nodes"], "shadow": ["rotate-logs"],
                "problems": [
                    {"code": "x", "severity": "error", "subject": "worker", "message": HOSTILE, "hint": "Look."},
                ],
            },
            "/api/v1/nodes": {"nodes": machines.three(NOW, HOSTILE)},
            "/api/v1/queue": {"queue": machines.waiting(ago(1260), HOSTILE)},
            "/api/v1/services": {"services": SERVICES},
            "/api/v1/notifications": {"notifications": NOTIFICATIONS},
            **answers,
        }  # fmt: skip

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        self.asked.append(path)
        if self.broken is not None:
            raise self.broken
        if path not in self.answers:
            raise NotFoundError(f"there is nothing at {path}")
        return self.answers[path]

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if self.broken is not None:
            raise self.broken
        self.did.append((path, dict(body or {})))
        return {"run": {"id": FAILED, "state": "scheduled"}}

    def lines(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        quiet_s: float | None = None,
        on_open: Callable[[Callable[[], None]], object] | None = None,
    ) -> Iterator[bytes]:
        if on_open is not None:
            on_open(self.ended.set)
        self.ended.wait(60)
        yield from ()


def top(door: Any, view: str = "now", **place: str) -> Top:
    """The app on a door, at `NOW`."""
    return Top(lambda: door, Place(view=view, **place), clock=lambda: NOW)


def screen(app: Top) -> str:
    """What is on the screen, line by line, without styles."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"
