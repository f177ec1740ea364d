"""Five hundred jobs fall due in one minute: each runs once, and nobody else is kept waiting by them."""

import time
from collections.abc import Iterator
from datetime import datetime

import psutil
import pytest
from tests.lab import Lab, until

pytestmark = pytest.mark.timeout(600)

JOBS = 500
AHEAD_S = 130
"""So long before the instant the lab is started: it has the jobs by then."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("many"))
    yield lab
    lab.down()


def test_five_hundred_jobs_of_one_minute_run_once_each_and_delay_no_other_queue(lab: Lab) -> None:
    instant = 60 * (int(time.time() + AHEAD_S) // 60)
    due = time.gmtime(instant)
    jobs = "\n".join(
        f"[jobs.job-{n:03}]\nschedule = '{due.tm_min} {due.tm_hour} * * *'\nrun = '''{lab.mark('ran')}'''"
        for n in range(JOBS)
    )
    other = "[queues.other]\nconcurrency = 5\n[jobs.other]\nqueue = 'other'\nschedule = '* * * * *'\n"
    lab.up(f"[lab]\nname = 'many'\ntimezone = 'UTC'\n{jobs}\n{other}run = '''{lab.mark('$HOMELAB_DUE')}'''")
    server, worker = psutil.Process(lab.pid("prefect")), psutil.Process(lab.pid("worker"))
    peak = [0, 0]

    def all_ran() -> bool:
        for number, process in enumerate((server, worker)):
            peak[number] = max(peak[number], process.memory_info().rss)
        return len(lab.judge()) - len(lab.judge("other")) >= JOBS

    until(all_ran, timeout=AHEAD_S + 150, what=lambda: f"{len(lab.judge())} marks\n{lab.logs()}", step=1)
    until(lambda: any(m.time > instant + 60 for m in lab.judge("other")), timeout=70, what=lambda: lab.logs())
    burst = [m for m in lab.judge() if m.job != "other"]
    assert len(burst) == len({m.job for m in burst}) == JOBS, "each once"
    assert min(m.time for m in burst) >= instant
    assert max(m.time for m in burst) < instant + 300
    others = [(m.time, datetime.fromisoformat(m.word).timestamp()) for m in lab.judge("other")]
    late = [time - due for time, due in others if due >= instant]  # on a slow machine the lab has just begun then
    assert len(late) >= 2 and max(late) < 60, "a minutely job of another queue"
    assert len(set(lab.words("other"))) == len(lab.words("other"))
    assert peak[0] < 700 * 2**20, "the server's memory"
    assert peak[1] < 300 * 2**20, "the worker's memory"
