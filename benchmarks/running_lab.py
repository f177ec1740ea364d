"""A real lab under load: what a run costs, how late it starts, what an idle lab takes."""

import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from tests.lab import Lab, until

from benchmarks.measuring import Row, Tree, percentile

SERVICES = ("postgres", "prefect", "control", "worker")


@contextmanager
def lab_of(work: Path, text: str) -> Iterator[tuple[Lab, Tree]]:
    lab = Lab(work)
    try:
        lab.up(f'[lab]\nname = "bench"\ntimezone = "UTC"\n{text}')
        yield lab, _tree(lab)
    finally:
        lab.down()


def _tree(lab: Lab) -> Tree:
    """All services and the supervisor itself."""
    pids = [lab.pid(name) for name in SERVICES]
    environment = {"HOMELAB_HOME": str(lab.home)}
    for process in psutil.process_iter(["pid", "environ", "cmdline"]):
        environ = process.info["environ"] or {}
        if environ.get("HOMELAB_HOME") == environment["HOMELAB_HOME"] and "up" in (process.info["cmdline"] or []):
            pids.append(process.pid)
    return Tree(dict.fromkeys(pids))


def _sleep_to_second(second: float) -> None:
    """Until that second of a minute."""
    time.sleep((second - time.time()) % 60)


def _jobs(lab: Lab, number: int, schedule: str, extra: str = "") -> str:
    return "\n".join(
        f"[jobs.job-{n:03}]\nschedule = '{schedule}'\nrun = '''{lab.mark('ran')}'''\n{extra}" for n in range(number)
    )


def forty_six_jobs(work: Path) -> list[Row]:
    """Idle cost, lateness with everything due at once, a second start, live logs."""
    lab = Lab(work)
    text = (
        _jobs(lab, 45, "* * * * *")
        + "\n[jobs.talker]\nrun = 'for i in 1 2 3 4 5 6 7 8; do date +%s.%N; sleep 0.5; done'\n"
    )
    rows: list[Row] = []
    with lab_of(work, text) as (lab, tree):
        _sleep_to_second(55)
        time.sleep(130)
        late = [m.time - 60 * round(m.time / 60) for m in lab.judge()]
        p50, p99 = statistics.median(late), percentile(late, 0.99)
        rows.append(Row(f"46 jobs: due to started, p50 of {len(late)}", f"{p50 * 1000:.0f} ms", "100 ms", p50 <= 0.1))
        rows.append(Row("46 jobs: due to started, p99", f"{p99 * 1000:.0f} ms", "1 s", p99 <= 1))
        rows.append(_live_log(lab))
        lab.write(lab.file.read_text().replace("'* * * * *'", "'0 3 1 1 *'"))
        lab.homelab("apply", "--yes")
        time.sleep(45)
        before, began = tree.cpu_s(), time.monotonic()
        time.sleep(90)
        share = (tree.cpu_s() - before) / (time.monotonic() - began)
        memory = tree.memory_bytes() / 2**20
        rows.append(Row("idle lab of 46 jobs, share of one core", f"{share:.1%}", "4 %", share <= 0.04))
        rows.append(Row("idle lab of 46 jobs, memory", f"{memory:.0f} MB", "600 MB", memory <= 600))
        lab.homelab("down")
        began = time.monotonic()
        lab.homelab("up", "-d", "--wait", "60")
        again = time.monotonic() - began
        rows.append(Row("`up` of a second start, wall", f"{again:.1f} s", "15 s", again <= 15))
    return rows


def _live_log(lab: Lab) -> Row:
    run = lab.run_job("talker")
    follow = subprocess.Popen(
        [Path(sys.executable).with_name("homelab"), "run", "logs", run, "-f"],
        env=lab.environment, cwd=lab.root, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follow.stdout is not None
    delays = [time.time() - float(line.split()[-1]) for line in follow.stdout if line.split()[-1][:1].isdigit()]
    follow.wait(30)
    worst = max(delays[2:])  # the first lines were printed before the follower was there
    return Row(f"a printed line is in `logs -f`, worst of {len(delays) - 2}", f"{worst:.2f} s", "0.5 s", worst <= 0.5)


def cost_of_a_run(work: Path) -> list[Row]:
    """CPU of a scheduled trivial run over all services, and Prefect's own process worker on the same server."""
    minutes, jobs = 3, 40
    text = "\n".join(f"[jobs.j{n:02}]\nschedule = '* * * * *'\nrun = 'true'" for n in range(jobs))
    with lab_of(work, text) as (lab, tree):
        _sleep_to_second(50)
        before = tree.cpu_s()
        time.sleep(60 * minutes)
        busy = tree.cpu_s() - before
        ran = len(lab.json("run", "ls", "--limit", "1000")["runs"])
        lab.write(lab.file.read_text().replace("'* * * * *'", "'0 3 1 1 *'"))
        lab.homelab("apply", "--yes")
        time.sleep(20)
        before = tree.cpu_s()
        time.sleep(60)
        idle = tree.cpu_s() - before
        ours = (busy - idle * minutes) / (minutes * jobs)
        theirs = _process_worker_cpu(lab, tree, work)
    return [
        Row(f"a scheduled run of `true`, all CPU ({ran} runs seen)", f"{ours * 1000:.0f} ms", "120 ms", ours <= 0.12),
        Row("the same by Prefect's process worker", f"{theirs * 1000:.0f} ms"),
        Row("ratio", f"{theirs / ours:.0f} times", "20 times", theirs / ours >= 20),
    ]


def _process_worker_cpu(lab: Lab, tree: Tree, work: Path) -> float:
    """Five runs of a flow that starts `true`, by `prefect worker start --type process` on the lab's own server."""
    (work / "trivial.py").write_text(
        textwrap.dedent(
            """
            import subprocess
            from prefect import flow, task

            @task
            def shell():
                subprocess.run(["true"], check=True)

            @flow
            def trivial():
                shell()
            """
        )
    )
    (work / "deploy.py").write_text(
        textwrap.dedent(
            f"""
            from prefect import flow
            flow.from_source({str(work)!r}, "trivial.py:trivial").deploy("bench", work_pool_name="bench-process")
            """
        )
    )
    environment = {**lab.environment, **lab.json("env"), "PREFECT_HOME": str(work / "prefect")}
    prefect = str(Path(sys.executable).with_name("prefect"))

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=True)
        return done.stdout

    run(prefect, "work-pool", "create", "bench-process", "--type", "process")
    run(sys.executable, "deploy.py")
    worker = subprocess.Popen(
        [prefect, "worker", "start", "--pool", "bench-process", "--type", "process"],
        env={**environment, "PREFECT_WORKER_QUERY_SECONDS": "1"}, cwd=work,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(20)
        both = tree.with_root(worker.pid)
        before, began = both.cpu_s(), time.monotonic()
        time.sleep(20)
        idle = (both.cpu_s() - before) / (time.monotonic() - began)
        before, began = both.cpu_s(), time.monotonic()
        runs = 5
        for _ in range(runs):
            run(prefect, "deployment", "run", "trivial/bench", "--watch")
        time.sleep(2)
        return (both.cpu_s() - before - idle * (time.monotonic() - began)) / runs
    finally:
        worker.terminate()
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:  # it waits for its server's events now and then
            worker.kill()
            worker.wait()


def five_hundred_at_once(work: Path) -> list[Row]:
    """500 jobs due at one instant with a limit of 20, and a minutely job of another queue beside them."""
    lab = Lab(work)
    at = time.time() + 150
    instant = 60 * (int(at) // 60)
    due = time.gmtime(instant)
    text = _jobs(lab, 500, f"{due.tm_min} {due.tm_hour} * * *")
    text += "\n[queues.other]\nconcurrency = 5\n"
    text += f"\n[jobs.other]\nschedule = '* * * * *'\nqueue = 'other'\nrun = '''{lab.mark('ran')}'''\n"
    with lab_of(work, text) as (lab, _):
        until(lambda: len([m for m in lab.judge() if m.job != "other"]) >= 500, timeout=480, what="500 runs", step=2)
        time.sleep(65)
        burst = [m for m in lab.judge() if m.job != "other"]
        last = max(m.time for m in burst) - instant
        doubled = len(burst) - len({m.job for m in burst})
        # From the minute of the burst on: an instant that passes while 500 jobs are being applied is made up for later.
        beside = [m.time for m in lab.judge("other") if m.time > instant - 5]
        late = max((at - 60 * round(at / 60) for at in beside), default=999.0)
    return [
        Row("500 jobs due at once: the last one started after", f"{last:.1f} s", "45 s", last <= 45),
        Row(
            "500 jobs due at once: run twice or not at all",
            f"{doubled + 500 - len({m.job for m in burst})}",
            "0",
            doubled == 0,
        ),
        Row("a job of another queue meanwhile: late by at most", f"{late:.2f} s", "2 s", late <= 2),
    ]
