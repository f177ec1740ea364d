"""The shortest way through the product: a lab file, up, a job, its log, down; the same on a terminal of 80 by 24."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from tests.lab import HOMELAB, Lab
from tests.screen import on_terminal, shown
from tests.terminal import Terminal

from homelab.cli.tables import width


def tmp_script(lab: Lab) -> Path:
    return lab.root / "scripted.sh"


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

        [jobs.slow]
        run = "sleep 3"

        [jobs.broken]
        run = "echo last words; exit 7"

        [jobs.mendable]
        run = '''test -e {lab.root}/mended || {{ printf 'not\\033[2J mended\\n'; exit 7; }}'''

        [jobs.after-mendable]
        needs = ["mendable"]
        run = "true"

        [jobs.long]
        run = "for i in $(seq 60); do echo line $i; sleep 1; done"

        [jobs.scripted]
        run = "sh {tmp_script(lab)}"
        expect = {{ duration = "20m" }}

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


def test_when_its_terminal_is_closed_it_ends(top: Start) -> None:
    terminal = top()
    terminal.until("● live")
    terminal.hang_up()
    assert terminal.process.wait(timeout=40) is not None


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
    terminal.until("10 jobs", "● live", "long")
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


def test_the_machine_is_shown_with_what_runs_on_it_drained_and_given_back(lab: Lab) -> None:
    (node,) = lab.json("node", "ls")["nodes"]
    name = node["name"]
    assert node["state"] == "ready"
    assert node["capacity"]["slots"] > 0
    run = lab.run_job("slow")
    lab.until_state(run, "slow", "running")
    shown_ = lab.json("node", "show", name)["node"]
    assert "slow" in [one["owner"] for one in shown_["leases"]]
    assert f"Nothing new starts on {name}" in lab.homelab("node", "drain", name, "--dry-run").stdout
    drained = lab.json("node", "drain", name, "--wait", "--timeout", "60")["node"]
    try:
        assert (drained["state"], drained["holds"]) == ("drained", 0)
        assert lab.job_run(run, "slow")["state"] == "succeeded"
        assert [r["reason"] for r in lab.json("place", "--job", "hello", ok=(1,))["rejections"]] == [
            f"{name}: it is drained"
        ]
    finally:
        assert lab.json("node", "undrain", name)["node"]["state"] == "ready"
    assert lab.json("place", "--job", "hello")["placement"]["node"] == name
    assert "slow" in [one["owner"] for one in lab.json("node", "show", name)["node"]["recent"]]
    assert name in lab.homelab("node", "ls").stdout
    refused = lab.homelab("node", "show", f"{name}x", ok=(3,))
    assert f"Did you mean {name}?" in refused.stderr
    assert lab.json("node", "top")["nodes"][0]["name"] == name


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


def test_a_retry_from_a_job_on_leaves_what_is_before_it(lab: Lab) -> None:
    (lab.root / "mended").touch()
    try:
        run = lab.json("job", "run", "mendable", "--wait")["run"]["id"]
        attempts: list[tuple[int, int]] = []
        for start in ("after-mendable", "mendable"):
            lab.homelab("run", "retry", run, "--from", start, "--wait")
            attempts.append(tuple(lab.job_run(run, job)["attempt"] for job in ("mendable", "after-mendable")))
    finally:
        (lab.root / "mended").unlink()
    assert attempts == [(1, 2), (2, 3)]
    assert "Did you mean mendable" in lab.homelab("run", "retry", run, "--from", "mendble", ok=(3,)).stderr


def test_a_failure_is_told_with_what_was_missing_and_which_script_changed_since_the_last_good_run(lab: Lab) -> None:
    script = tmp_script(lab)
    script.write_text("echo fine\n")
    lab.json("job", "run", "scripted", "--wait")
    script.write_text("echo fine\nhomelab-no-such-tool --all\n")
    run = lab.json("job", "run", "scripted", "--wait", ok=(1,))["run"]["id"]
    (job,) = lab.json("run", "show", run)["run"]["jobs"]
    assert job["ending"] == "It ended with exit status 127: the command homelab-no-such-tool was not found."
    assert any(fact.startswith(f"{script} has changed since the run that succeeded") for fact in job["facts"])
    text = lab.homelab("run", "show", run).stdout
    assert job["ending"] in text and "Next: Install homelab-no-such-tool on " in text
    why = lab.json("job", "why", "scripted")
    assert "homelab-no-such-tool was not found" in str(why["reasons"]) and why["advice"].startswith("Install")
    unusual = lab.json("job", "show", "scripted")["job"]
    assert unusual["statistics"]["runs"] == 2 and unusual["statistics"]["failures"] == 1
    assert unusual["statistics"]["limits"]["stuck_s"] == 3600
    assert unusual["definition"]["expect"]["duration_s"] == 1200


# On a terminal


def test_on_a_terminal_lists_fit_eighty_columns_and_name_the_next_command(lab: Lab) -> None:
    lab.homelab("job", "run", "broken", "--wait", ok=(1,))
    for arguments in (["job", "ls"], ["run", "ls", "--no-pager"], ["run", "show", "broken"], ["status"]):
        text = shown(lab, *arguments)
        tables = [line for line in text.split("\n") if not line.startswith("→")]
        assert all(width(line) <= 80 for line in tables), text
        assert "→" in text, text
        assert "→" not in shown(lab, *arguments, "--quiet")
        assert "→" not in shown(lab, *arguments, HOMELAB_HINTS="0")
    assert "see why: homelab run logs" in shown(lab, "run", "ls", "--no-pager")
    assert "ago" in shown(lab, "run", "ls", "--no-pager")
    assert "ago" not in lab.homelab("run", "ls").stdout
    assert shown(lab, "job", "ls", LC_ALL="C").isascii()


def test_a_watched_run_is_shown_until_it_has_ended(lab: Lab) -> None:
    run = lab.run_job("slow")
    screen = on_terminal(lab, "run", "show", "--watch", run)
    screen.until(lambda text: "running" in text)
    assert screen.end(timeout=30) == 0
    assert "\x1b[?1049h" in screen.text and screen.text.count("\x1b[?1049l") == 1
    assert "succeeded" in screen.text.rpartition("\x1b[?1049l")[2]


def test_a_watch_follows_what_happens_and_ctrl_c_ends_it_with_130(lab: Lab) -> None:
    screen = on_terminal(lab, "run", "ls", "--job", "hello", "--watch", "60", "--limit", "1")
    screen.until(lambda text: "hello" in text)
    run = lab.run_job("hello")
    started = time.monotonic()
    screen.until(lambda text: run[:18] in text, timeout=10)
    assert time.monotonic() - started < 5, "it waited for its sixty seconds"
    screen.interrupt()
    assert screen.end(timeout=10) == 130
    assert "Traceback" not in screen.text and screen.text.endswith("\x1b[?25h\x1b[?1049l")


def test_in_a_pipe_a_watch_prints_each_change_once(lab: Lab) -> None:
    lab.until_state(lab.run_job("hello"), "hello", "succeeded")
    command = [str(HOMELAB), "run", "ls", "--job", "hello", "--limit", "1", "--watch", "0.2", "--json"]
    with subprocess.Popen(command, env=lab.environment, cwd=lab.root, text=True, stdout=subprocess.PIPE) as watcher:
        try:
            assert watcher.stdout is not None
            told = [json.loads(watcher.stdout.readline())]
            run = lab.run_job("hello")
            while told[-1]["runs"][0]["id"] != run:
                told.append(json.loads(watcher.stdout.readline()))
            assert all(before != after for before, after in pairwise(told))
            watcher.send_signal(signal.SIGINT)
            watcher.stdout.read()
            assert watcher.wait(10) == 130
        finally:
            watcher.kill()


def test_a_log_of_200_mb_goes_through_the_pager_without_being_held_in_memory(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]["id"]
    log = next(lab.home.glob(f"runs/*/{run}/hello.1.log"))
    line = b"1767225600.000000 o " + b"x" * 180 + b"\n"
    with log.open("ab") as file:
        for _ in range(200):
            file.write(line * (2**20 // len(line) + 1))
    started = time.monotonic()
    pager = on_terminal(lab, "run", "logs", run, "--task", "hello", HOMELAB_PAGER="head -n 3", NO_COLOR="1")
    assert pager.end(timeout=60) == 0
    assert time.monotonic() - started < 10, "it read what nobody looked at"
    assert pager.text.count("\n") == 3 and pager.text.startswith("hello from hello")
    assert pager.peak_bytes < 80e6
    os.truncate(log, 20 * 2**20)  # read to its end now: memory would show it as well
    counting = on_terminal(lab, "run", "logs", run, "--task", "hello", HOMELAB_PAGER="tail -c 20", NO_COLOR="1")
    assert counting.end(timeout=120) == 0
    assert counting.peak_bytes < 80e6
    piped = subprocess.run(
        f"{HOMELAB} run logs {run} | head -n 1; echo ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
        env=lab.environment, cwd=lab.root, text=True, capture_output=True,
    )  # fmt: skip
    assert piped.stdout.splitlines()[1] == "0" and piped.stderr == ""
    log.unlink()


def test_only_what_a_person_reads_at_a_stretch_goes_through_the_pager(lab: Lab) -> None:
    run = lab.json("job", "run", "hello", "--wait")["run"]["id"]
    pager = {"PAGER": "sed s/^/PAGED:/", "NO_COLOR": "1"}
    assert "PAGED:hello from hello" in shown(lab, "run", "logs", run, "--task", "hello", **pager)
    for arguments in (["logs", run, "-f"], ["logs", run, "--json"], ["logs", run, "--no-pager"], ["ls", "--json"]):
        assert "PAGED:" not in shown(lab, "run", *arguments, **pager), arguments
    assert "PAGED:" not in shown(lab, "run", "logs", run, **pager, HOMELAB_PAGER="cat")
    assert "PAGED:" not in lab.homelab("run", "logs", run).stdout


def test_the_secret_of_a_feed_is_in_no_file_of_the_lab(lab: Lab) -> None:
    url = lab.json("feed", "add", "status")["feed"]["url"]
    for wanted in (url, url + "x", url.replace("status.json", "due.ics")):
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(wanted, timeout=20).read()
    secret = url.partition("feed=")[2]
    assert [f["last_used"] for f in lab.json("feed", "ls")["feeds"]] != [None]
    written = [path for path in lab.home.rglob("*") if path.is_file() and path.suffix in (".log", ".json", "")]
    assert written and not [path for path in written if secret.encode() in path.read_bytes()]


# In a shell

SHELLS = {"bash": ["--norc", "-i"], "zsh": ["-f", "-i"]}
PATHS = {"PATH": f"{HOMELAB.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_jobs_runs_states_and_files(lab: Lab, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}: tests/system-packages.sh installs one")
    screen = on_terminal(lab, *SHELLS[shell], program=shell, columns=300, PS1="ready> ", ENV="", **PATHS)
    screen.until(lambda text: "ready> " in text)
    load = "autoload -U compinit; compinit -u -D; " if shell == "zsh" else ""
    screen.type(f'{load}eval "$(homelab completion {shell})"; echo load""ed\n')
    screen.until(lambda text: "loaded" in text)
    name = lab.json("node", "ls")["nodes"][0]["name"]
    for typed, whole in (
        ("notif", "homelab notify "),
        (f"node show {name[:2]}", f"homelab node show {name} "),
        ("job show hel", "homelab job show hello "),
        ("run show la", "homelab run show last "),
        ("run ls --state timed", "homelab run ls --state timed_out "),
        ("run ls --lim", "homelab run ls --limit "),
        ("check lab.t", "homelab check lab.toml "),
    ):
        screen.text = ""
        screen.type(f"homelab {typed}\t")
        screen.until(lambda text, whole=whole: whole in drawn(text))
        screen.type("\x15")  # the line away
    screen.type("exit\n")
    assert screen.end(timeout=20) == 0


def test_fish_completes_too_with_what_each_is(lab: Lab) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish: tests/system-packages.sh installs one")
    asked = {
        "job show hel": "hello",
        "run show la": "last\tthe newest run",
        "cro": "cron\tRead, import and compare crontabs; carry jobs over and back.",
        "run ls --state timed": "timed_out",
        "check lab.t": "lab.toml",
    }
    lines = "; ".join(f'complete -C "homelab {line}"' for line in asked)
    command = ["fish", "--no-config", "-c", f"homelab completion fish | source; {lines}"]
    done = subprocess.run(
        command, env={**lab.environment, **PATHS, "LC_ALL": "C.UTF-8"}, cwd=lab.root, text=True, capture_output=True
    )
    assert done.stdout.splitlines() == list(asked.values())
    assert done.stderr == ""


def test_completion_is_quick_and_silent_when_no_lab_runs(lab: Lab, tmp_path: Path) -> None:
    asked = {"COMP_WORDS": "homelab job show hel", "COMP_CWORD": "3", "_HOMELAB_COMPLETE": "bash_complete"}
    spent: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([HOMELAB], env={**lab.environment, **asked}, text=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (done.stdout, done.stderr) == ("plain,hello\n", "")
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.15, spent  # the least is what it costs; the rest is what else ran
    nobody = {**lab.environment, **asked, "HOMELAB_HOME": str(tmp_path / "none")}
    done = subprocess.run([HOMELAB], env=nobody, text=True, capture_output=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_down_at_once_ends_what_runs_and_the_next_start_says_so(lab: Lab) -> None:
    run = lab.run_job("long")
    lab.until_state(run, "long", "running")
    began = time.monotonic()
    lab.homelab("down", "--now")
    assert time.monotonic() - began < 9, "nobody waited for the job, which would have taken a minute"
    lab.up()
    assert lab.until_state(run, "long", "crashed")["reason"]


def drawn(text: str) -> str:
    """What a line editor drew, without its escape codes."""
    return re.sub("\x1b(\\[[?0-9;]*[A-Za-z]|[=>])|[\r\x07]", "", text)
