"""The shortest way through the product: a lab file, up, a job, its log, down; the same on a terminal of 80 by 24."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.lab import Lab
from tests.terminal import Terminal


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    lab.up(
        f"""
        [lab]
        name = "test"
        timezone = "UTC"

        [jobs.hello]
        schedule = "0 3 * * *"
        run = '''echo "hello from $HOMELAB_JOB"; echo trouble >&2; {lab.mark("ran")}'''

        [jobs.after]
        needs = ["hello"]
        run = '''{lab.mark("ran")}'''

        [jobs.flaky]
        run = '''{lab.mark("try")}; test "$HOMELAB_ATTEMPT" = 2'''
        retries = {{ max = 2, delay = "1s" }}

        [jobs.broken]
        run = "echo last words; exit 7"

        [jobs.mendable]
        run = '''test -e {lab.root}/mended || {{ printf 'not\\033[2J mended\\n'; exit 7; }}'''

        [jobs.after-mendable]
        needs = ["mendable"]
        run = "true"

        [jobs.long]
        run = "for i in $(seq 60); do echo line $i; sleep 1; done"

        [jobs.after-broken]
        needs = ["broken"]
        run = '''{lab.mark("ran")}'''
        """
    )
    yield lab
    lab.down()


def test_a_job_and_the_one_that_needs_it_run_in_one_run_in_order(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]
    assert run["state"] == "succeeded"
    marks = [m for m in lab.judge() if m.run == run["id"]]
    assert [m.job for m in marks] == ["hello", "after"]


def test_its_output_is_in_the_log_with_stream_and_time(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]["id"]
    text = lab.homelab("run", "logs", run, "--task", "hello").stdout
    assert "hello from hello" in text
    assert "trouble" in text


def test_a_flaky_job_succeeds_on_its_second_attempt(lab: Lab) -> None:
    run = lab.json("job", "run", "flaky", "--wait")["run"]["id"]
    assert [m.attempt for m in lab.judge("flaky") if m.run == run] == [1, 2]
    assert lab.job_run(run, "flaky")["attempt"] == 2


def test_a_failed_job_stops_what_needs_it_and_says_why(lab: Lab) -> None:
    run = lab.json("job", "run", "broken", "--wait", ok=(1,))["run"]["id"]
    row = lab.job_run(run, "broken")
    assert (row["state"], row["exit_code"]) == ("failed", 7)
    assert "7" in row["reason"]
    assert lab.job_run(run, "after-broken")["state"] == "blocked"
    assert lab.words("after-broken") == []


Start = Callable[..., Terminal]


@pytest.fixture
def top(lab: Lab) -> Iterator[Start]:
    """`homelab top` on a terminal without colours: its arguments, and variables of its environment."""
    made: list[Terminal] = []

    def begin(*arguments: str, **environment: str) -> Terminal:
        made.append(Terminal({**lab.environment, "TERM": "xterm-256color", **environment}, "top", *arguments))
        return made[-1]

    yield begin
    for terminal in made:
        terminal.close()


def test_a_broken_job_is_seen_mended_and_retried_by_keyboard_alone(lab: Lab, top: Start) -> None:
    run = lab.json("job", "run", "mendable", "--wait", ok=(1,))["run"]["id"]
    terminal = top()
    terminal.until("● live", "mendable", "exit status 7", "not␛[2J mended", "after-mendable waits")
    terminal.press("/mendable\r")
    terminal.until("1/1")
    terminal.press("l")
    terminal.until("log mendable", "not␛[2J mended", "ended with exit status 7")
    (lab.root / "mended").touch()
    terminal.press("r")
    terminal.until("Retry this run of mendable?", "mendable and after-mendable run again", "leave it")
    terminal.press("y")
    terminal.until("› run mendable", "✓ succeeded   after-mendable")
    terminal.press("q")
    assert terminal.end() == 0
    assert lab.job_run(run, "mendable")["attempt"] == 2
    codes = {int(n) for code in re.findall(rb"\x1b\[([0-9;]*)m", terminal.raw) for n in code.split(b";") if n}
    assert codes <= {0, 1, 2, 3, 7, 39, 49}, "NO_COLOR is set: nothing but bold, dim, italic and reverse"
    assert b"\x1b[?1049l" in terminal.raw[-200:], "the terminal is given back as it was"


def test_a_run_is_started_followed_and_cancelled_by_keyboard_alone(lab: Lab, top: Start) -> None:
    terminal = top("--view", "jobs")
    terminal.until("8 jobs", "● live", "long")
    terminal.press("/long\rr")
    terminal.until("/long", "Run long now?")
    terminal.press("y")
    terminal.until("› run long", "▸ running", "✓ long was started")
    terminal.press("\r")
    terminal.until("line 3", "follows")
    terminal.press("c")
    terminal.until("Cancel this run of long?", "long is told to end")
    terminal.press("y")
    terminal.until("■ cancelled")
    terminal.press("\x03")
    assert terminal.end() == 130
    (row,) = lab.json("run", "ls", "--job", "long")["runs"]
    assert lab.until_state(row["id"], "long", "cancelled")["state"] == "cancelled"


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_can_draw_nothing_gets_the_command_that_helps(top: Start, term: str) -> None:
    terminal = top(TERM=term)
    assert terminal.end() == 2
    assert "TERM is dumb or not set" in terminal.words
    assert "homelab status --watch" in terminal.words


def test_without_a_terminal_it_says_so_and_gives_its_answers_as_json(lab: Lab) -> None:
    refused = lab.homelab("top", ok=(2,))
    assert "needs a terminal" in refused.stderr
    assert "homelab status" in refused.stderr
    assert refused.stdout == ""
    assert lab.json("top")["lab"] == "test"
    assert "hello" in {job["name"] for job in lab.json("top", "--view", "jobs")["jobs"]}
    assert lab.json("top", "--view", "job broken")["job"]["name"] == "broken"
    assert "Views: now, jobs" in lab.homelab("top", "--json", "--view", "nowhere", ok=(2,)).stderr


def test_no_lab_and_no_right_are_said_before_the_screen_is_taken(tmp_path: Path, lab: Lab, top: Start) -> None:
    nowhere = top(HOMELAB_HOME=str(tmp_path))
    assert nowhere.end() == 3
    assert "homelab up" in nowhere.words
    stranger = top(HOMELAB_URL=lab.service("control")["url"], HOMELAB_TOKEN="hl_unknown")
    assert stranger.end() == 5
    assert b"\x1b[?1049h" not in stranger.raw


def test_status_lists_the_services_as_ready(lab: Lab) -> None:
    states = {s["name"]: s["state"] for s in lab.json("status")["services"]}
    assert states == {"postgres": "ready", "prefect": "ready", "control": "ready", "worker": "ready"}


def test_a_run_is_found_by_the_beginning_of_its_id_by_its_job_and_as_the_last(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]["id"]
    for text in (run[:8], "hello", "last"):
        assert lab.json("run", "show", text)["run"]["id"] == run
    assert "no run" in lab.homelab("run", "show", "0000ffff", ok=(3,)).stderr


def test_retry_of_what_failed_is_the_same_run_and_pause_keeps_a_job_from_its_time(lab: Lab) -> None:
    run = lab.json("job", "run", "broken", "--wait", ok=(1,))["run"]["id"]
    lab.homelab("run", "retry", run[:8], "--failed", "--wait", ok=(1,))
    assert lab.job_run(run, "broken")["attempt"] == 2
    lab.homelab("job", "pause", "hello")
    job = next(j for j in lab.json("job", "ls")["jobs"] if j["name"] == "hello")
    assert job["paused"]
    assert job["next_due"] is None
    assert "paused" in str(lab.json("job", "why", "hello")["reasons"])
    lab.homelab("job", "resume", "hello")
    assert next(j for j in lab.json("job", "ls")["jobs"] if j["name"] == "hello")["next_due"]
