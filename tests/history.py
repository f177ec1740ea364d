"""A lab with a past: the reference lab, applied, with weeks of runs behind it, written straight into its database.

For pages and figures that only mean something on real amounts of data. The same seed, days and `now` give the same
history, apart from the ids of runs. What is to be
wrong is an argument.
"""

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import psycopg

from homelab.core import labfile
from homelab.core import schedule as schedules
from homelab.core.jobs import Flow
from homelab.home.paths import Home

ROOT = Path(__file__).parents[1]
LAB = ROOT / "examples/reference-lab/lab.toml"

TAIL = [
    "Traceback (most recent call last):",
    '  File "scripts/database.py", line 41, in dump',
    "OSError: [Errno 28] No space left on device: '/backups/app.sql'",
    "\x1b[1;31mfailed\x1b[0m after 59 tables",
]
TAILS = {
    "collect-certificates": ["asking proxy.lan:443", "ssl.SSLError: certificate has expired (_ssl.c:1006)"],
    "check-services": ["FileNotFoundError: [Errno 2] No such file or directory: 'services.txt'"],
}
"""What some jobs print last when they fail; the others `TAIL`."""


@dataclass
class Past:
    """What was written. `failed`, `running`, `good`: run ids to look at, by job."""

    jobs: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    good: dict[str, str] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)


def reference_lab() -> tuple[labfile.Lab, str]:
    text = LAB.read_text()
    lab, problems = labfile.parse({"lab.toml": text}, main="lab.toml")
    assert lab is not None, problems
    return lab, text


def large_lab(jobs: int = 500) -> str:
    """A lab file of so many jobs: groups of thirty that need one another, and a fifth of them alone."""
    chance = random.Random(3)
    lines = ["[lab]", 'name = "large"']
    for n in range(jobs):
        group, place = divmod(n, 30)
        is_alone = n >= jobs * 4 // 5
        lines += [
            "",
            f"[jobs.check-host-{n:03}]" if is_alone else f"[jobs.team-{group:02}-step-{place:02}]",
            'run = "true"',
        ]
        if is_alone or place == 0:
            lines.append(f'schedule = "{n % 60} {"*" if is_alone else group} * * *"')
        else:
            near = {chance.randrange(max(0, place - 8), place) for _ in range(chance.choice((1, 1, 2)))}
            lines.append("needs = [" + ", ".join(f'"team-{group:02}-step-{p:02}"' for p in sorted(near)) + "]")
    return "\n".join(lines) + "\n"


def write(
    url: str,
    home: Home,
    *,
    days: float = 30,
    most: int = 150_000,
    now: datetime | None = None,
    seed: int = 7,
    text: str | None = None,
    broken: tuple[str, ...] = (),
    running: tuple[str, ...] = (),
) -> Past:
    """Fill the (migrated) database at `url`. `broken`: jobs whose newest run failed; `running`: flows that run now."""
    now = now or datetime.now(UTC)
    chance = random.Random(seed)
    lab, own = reference_lab()
    if text is not None:
        parsed, problems = labfile.parse({"lab.toml": text}, main="lab.toml")
        assert parsed is not None, problems
        lab, own = parsed, text
    past = Past()
    with psycopg.connect(url, autocommit=False) as conn:
        conn.execute(
            "insert into lab (id, name, path, folder, files, digest) values (1, %s, 'lab.toml', %s, %s, 'x')",
            (lab.name, str(LAB.parent), json.dumps({"lab.toml": own})),
        )
        for place, flow in enumerate(lab.flows):
            conn.execute(
                "insert into definition (digest, body) values (%s, %s) on conflict do nothing",
                (flow.digest, flow.to_json()),
            )
            conn.execute(
                "insert into flow (name, digest, deployment, schedule, timezone, position, since)"
                " values (%s, %s, %s, %s, %s, %s, %s)",
                (
                    flow.name,
                    flow.digest,
                    str(uuid.uuid4()),
                    flow.schedule,
                    flow.timezone,
                    place,
                    now - timedelta(days=days),
                ),
            )
        runs = list(_runs(lab.flows, now=now, days=days, most=most, chance=chance, broken=broken, running=running))
        with conn.cursor().copy(
            "copy run (id, flow, due, digest, trigger, jobs, by, state, created, started, ended, node, worker, reason)"
            " from stdin"
        ) as copy:
            for run in runs:
                copy.write_row((*run["row"][:5], json.dumps(run["row"][5]), *run["row"][6:]))
        with conn.cursor().copy(
            "copy job_run (run, job, attempt, flow, due, state, started, ended, exit_code, signal, reason,"
            " output_bytes, output_lines, tail, retry_at, node, worker, recorded) from stdin"
        ) as copy:
            for run in runs:
                for row in run["jobs"]:
                    past.jobs += 1
                    copy.write_row(row)
                    job, run_id, state = row[1], row[0], row[5]
                    if state == "succeeded":
                        past.good[job] = run_id
                    elif state == "running":
                        past.running[job] = run_id
                    elif state in ("failed", "timed_out"):
                        past.failed[job] = run_id
        conn.execute(
            "insert into worker (name, node, pid, started, slots, running, last_seen) values"
            " ('mac3', 'mac3', 1, %s, 20, %s, %s)",
            (now - timedelta(days=2), json.dumps([]), now + timedelta(hours=1)),
        )
        for job in broken:
            conn.execute(
                "insert into watch (job, kind, since, run, body) values (%s, 'failed', %s, %s, '{}')",
                (job, now - timedelta(hours=5), past.failed.get(job)),
            )
            conn.execute(
                "insert into notification (created, kind, job, run, title, body, target, dedupe_key, state, attempts,"
                " sent) values (%s, 'failed', %s, %s, %s, 'Exit status 1.', 'log://work', %s, 'sent', 1, %s)",
                (now, job, past.failed.get(job), f"{job} failed", f"failed:{job}", now),
            )
        conn.execute("insert into event (kind, subject) values ('lab.applied', %s)", (lab.name,))
        conn.commit()
        conn.autocommit = True
        conn.execute("analyze")
    for job in broken:
        write_log(home, past.failed[job], job, failing_log(now))
    for job, run in past.running.items():
        write_log(
            home,
            run,
            job,
            [(now - timedelta(seconds=n), "o", f"item {30 - n} of 48 done".encode()) for n in range(30, 0, -1)],
        )
    for job in broken:
        if job in past.good:
            write_log(home, past.good[job], job, [(now, "o", b"all is well")])
    return past


def _runs(
    flows: tuple[Flow, ...],
    *,
    now: datetime,
    days: float,
    most: int,
    chance: random.Random,
    broken: tuple[str, ...],
    running: tuple[str, ...],
) -> Iterator[dict[str, Any]]:
    start = now - timedelta(days=days)
    dues: list[tuple[datetime, Flow]] = []
    for flow in flows:
        if flow.schedule is None:
            continue
        schedule = schedules.parse(flow.schedule, flow.timezone, seed=flow.name)
        if schedule.is_reboot:
            continue
        until = now if flow.name in running else now - timedelta(minutes=2)  # time to end before now
        found = list(schedules_until(schedule, start, until))
        if len(found) > 1 and any(job.name in broken for job in flow.jobs):
            # What comes rarely has failed for longer than what comes often, at any time of the day.
            settled = now - min(timedelta(hours=2), (found[-1] - found[-2]) / 4)
            found = [due for due in found if due < settled]
        dues += [(due, flow) for due in found]
    dues.sort(key=lambda pair: pair[0])
    total = 0
    cut: list[tuple[datetime, Flow]] = []
    for due, flow in reversed(dues):
        if total >= most:
            break
        total += len(flow.jobs)
        cut.append((due, flow))
    newest: dict[str, list[datetime]] = {}
    for due, flow in cut:
        newest.setdefault(flow.name, []).append(due)
    for due, flow in reversed(cut):
        last, *before = newest[flow.name][:2]
        bad = broken if due == last else ()
        # What is wrong now is an argument, never chance: also in the run before one that runs now.
        is_recent = due == last or due in before
        yield _run(flow, due, now, chance, bad, running=due == last and flow.name in running, is_recent=is_recent)


def schedules_until(schedule: schedules.Schedule, start: datetime, until: datetime) -> Iterator[datetime]:
    return takewhile(lambda due: due < until, schedule.fires(start))


def _run(
    flow: Flow,
    due: datetime,
    now: datetime,
    chance: random.Random,
    broken: tuple[str, ...],
    *,
    running: bool,
    is_recent: bool,
) -> dict[str, Any]:
    run_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    rows: list[tuple[Any, ...]] = []
    begun = due + timedelta(seconds=chance.uniform(0.01, 0.2))
    if running:
        begun = min(begun, now)
    ended = begun
    states: dict[str, str] = {}
    busy = False
    for place, job in enumerate(flow.jobs):
        base = 0.4 + (hash_of(job.name) % 900) / 100
        took = base * chance.lognormvariate(0, 0.18)
        started = max([ended if n.job in states else begun for n in job.needs], default=begun)
        bad = [
            n.job for n in job.needs if states.get(n.job) in ("failed", "blocked", "timed_out") and n.when == "success"
        ]
        if bad:
            states[job.name] = "blocked"
            rows.append(
                (run_id, job.name, 0, flow.name, due, "blocked", None, started, None, None, f"{bad[0]} failed", 0, 0,
                 "[]", None, "mac3", "mac3", started)
            )  # fmt: skip
            continue
        if running and (place == 0 or busy):
            if not busy:
                busy = True
                states[job.name] = "running"
                rows.append(
                    (run_id, job.name, 1, flow.name, due, "running", now - timedelta(seconds=min(3.0, base / 2)), None,
                     None, None, "", None, None, "[]", None, "mac3", "mac3", now)
                )  # fmt: skip
            continue
        end = started + timedelta(seconds=took)
        size = int(300 + hash_of(job.name) % 4000 * chance.uniform(0.9, 1.1))
        if job.name in broken:
            states[job.name], code, reason = "failed", 1, "exit status 1"
        elif chance.random() < 0.006 and not is_recent:
            states[job.name], code, reason = "failed", chance.choice((1, 2, 126, 127)), ""
            reason = f"exit status {code}"
        else:
            states[job.name], code, reason = "succeeded", 0, ""
        rows.append(
            (run_id, job.name, 1, flow.name, due, states[job.name], started, end, code, None, reason, size, size // 40,
             json.dumps(TAILS.get(job.name, TAIL) if code else []), None, "mac3", "mac3", end)
        )  # fmt: skip
        ended = max(ended, end)
    state = "running" if running else "failed" if "failed" in states.values() else "succeeded"
    reason = next((f"{name} failed: exit status 1" for name, s in states.items() if s == "failed"), "")
    return {
        "row": (
            run_id, flow.name, due, flow.digest, "schedule", [j.name for j in flow.jobs], "control", state,
            due - timedelta(minutes=2), begun, None if running else ended, "mac3", "mac3", reason,
        ),
        "jobs": rows,
    }  # fmt: skip


def hash_of(name: str) -> int:
    """The same number for the same name in every process."""
    return int.from_bytes(name.encode(), "big") % 1_000_003


def write_log(home: Home, run: str, job: str, lines: list[tuple[datetime, str, bytes]], attempt: int = 1) -> Path:
    """Records of one attempt's output, as a worker writes them."""
    folder = home.run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job}.{attempt}.log"
    with path.open("wb") as file:
        for at, stream, line in lines:
            file.write(b"%.6f %s %s\n" % (at.timestamp(), stream.encode(), line))
    return path


def failing_log(now: datetime) -> list[tuple[datetime, str, bytes]]:
    """What a job prints that works for a while and then fails: colours, a traceback, hostile bytes."""
    words = [
        ("o", f"\x1b[2m{n:04}\x1b[0m copied \x1b[36mtable_{n}\x1b[0m ({n * 131} rows)".encode()) for n in range(1, 60)
    ]
    words += [
        ("o", b"\x1b[33mwarning:\x1b[0m table_60 has no primary key"),
        ("e", b"Traceback (most recent call last):"),
        ("e", b'  File "scripts/database.py", line 41, in dump'),
        ("e", b"    copy(connection, table)"),
        ("e", b"    ~~~~^^^^^^^^^^^^^^^^^^^"),
        ("e", b"OSError: [Errno 28] No space left on device: '/backups/app.sql'"),
        ("o", b"<script>document.title='owned'</script> ok\xff\xfe\xc3\x28\x00\x1b[2J\r\xe2\x80\xaeabc"),
        ("e", b"\x1b[1;31mfailed\x1b[0m after 59 tables"),
        ("l", b"ended with exit status 1"),
    ]
    start = now - timedelta(seconds=len(words))
    return [(start + timedelta(seconds=n * 0.8), s, line) for n, (s, line) in enumerate(words)]
