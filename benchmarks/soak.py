"""A quarter of an hour with twenty jobs a minute while the database dies twice: scenario 3, in its long form.

Every minute of every job is compared with what the jobs themselves wrote.
"""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
from tests.lab import Lab, until

from benchmarks.measuring import Row

MINUTES = 15
DUE = 'echo "$(date +%s%N) $HOMELAB_RUN_ID $HOMELAB_ATTEMPT $HOMELAB_JOB $HOMELAB_DUE"'


def database_dies(work: Path) -> list[Row]:
    """At second 5 of a minute the database is ended at once; four minutes later it is away for three minutes."""
    lab = Lab(work)
    jobs = "\n".join(
        f"[jobs.{policy}-{n}]\nschedule = '* * * * *'\nmissed = '{policy}'\nrun = '''{DUE} >> {lab.judge_file}'''"
        for policy in ("all", "skip")
        for n in range(10)
    )
    try:
        lab.up(f'[lab]\nname = "soak"\ntimezone = "UTC"\n{jobs}')
        first = int(time.time() // 60) + 2
        _sleep_until(first * 60 + 65)
        os.kill(lab.pid("postgres"), signal.SIGQUIT)
        _sleep_until(first * 60 + 5 * 60 + 5)
        _away(lab, seconds=180)
        _sleep_until((first + MINUTES) * 60 + 5)
        expected = {_instant(minute) for minute in range(first, first + MINUTES)}
        until(lambda: expected <= set(lab.words("all-0")), timeout=120, what="the last runs", step=2)
        missed = {r["due"] for r in lab.json("run", "ls", "--job", "skip-0", "--state", "missed")["runs"]}
        counts = {f"{p}-{n}": Counter(lab.words(f"{p}-{n}")) for p in ("all", "skip") for n in range(10)}
    finally:
        lab.down()
    doubled = sum(times - 1 for count in counts.values() for times in count.values())
    lost = sum(len(expected - set(count)) for job, count in counts.items() if job.startswith("all"))
    unseen = len(expected - set(counts["skip-0"]) - missed)
    skipped = len(expected & missed)
    return [
        Row(
            "soak: 300 runs, the database killed, then away for 3 minutes: doubled",
            str(doubled),
            "0",
            not doubled,
        ),
        Row('soak: lost of those that are made up for (`missed = "all"`)', str(lost), "0", not lost),
        Row("soak: of a `skip` job, neither run nor shown as missed", str(unseen), "0", not unseen),
        Row("soak: of a `skip` job, shown as missed", str(skipped), "", None),
    ]


def _away(lab: Lab, *, seconds: float) -> None:
    """The database ends and nobody starts it again: its supervisor stands still meanwhile."""
    server = psutil.Process(lab.pid("postgres"))
    supervisor = next(
        p for p in psutil.process_iter(["environ", "cmdline"])
        if (p.info["environ"] or {}).get("HOMELAB_HOME") == str(lab.home) and "up" in (p.info["cmdline"] or [])
    )  # fmt: skip
    supervisor.suspend()
    try:
        server.send_signal(signal.SIGINT)
        time.sleep(seconds)
    finally:
        supervisor.resume()


def _instant(minute: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(minute * 60))


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))
