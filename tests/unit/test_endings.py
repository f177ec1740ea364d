"""How an attempt ended, in words: what the facts say, and nothing that they do not prove."""

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.endings import (
    EXITS,
    Circumstances,
    Disk,
    Ending,
    Missing,
    ScriptState,
    explain,
    meaning_for,
    missing_command,
    refused_command,
    telling,
)
from homelab.core.jobs import RunState

AT = datetime(2026, 3, 3, 17, 2, tzinfo=UTC)
GB = 10**9


def ending(exit_code: int | None = 1, **more: Any) -> Ending:
    return Ending.of({"state": "failed", "exit_code": exit_code, "started": AT, "run": "0123456789", **more})


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (ending(127), "It ended with exit status 127: the command was not found."),
        (ending(126), "It ended with exit status 126: the command was found but may not be executed."),
        (ending(3), "It ended with exit status 3."),
        (ending(3, attempt=2), "It ended with exit status 3, after 2 attempts."),
        (ending(75), "It ended with exit status 75: by convention, a passing failure: it may work later."),
        (
            ending(137, attempt=3),
            "It ended with exit status 137, which a shell gives when a command was ended by signal 9 (SIGKILL),"
            " after 3 attempts.",
        ),
        (
            ending(None, signal=11),
            "It was ended by signal 11 (SIGSEGV), which the lab did not send: it used memory that is not its own.",
        ),
        (ending(None, state="timed_out", reason="timed out after 5 s"), "Timed out after 5 s."),
        (ending(None, state="timed_out"), "It ran longer than its timeout."),
        (ending(None, state="crashed"), "The worker that ran it went away."),
        (ending(None, reason="not started: no secret env:X"), "Not started: no secret env:X."),
    ],
)  # fmt: skip
def test_how_a_run_ended_is_said_from_its_facts(last: Ending, said: str) -> None:
    assert explain(last).sentence == said


def test_a_status_is_the_programs_own_only_when_it_is_all_that_the_job_runs() -> None:
    rsync = Circumstances(programs=("rsync",), single=True)
    assert explain(ending(23), rsync).sentence == ("It ended with exit status 23: some files could not be transferred.")
    script = Circumstances(programs=("mkdir", "rsync"))
    assert explain(ending(23), script).sentence == (
        "It ended with exit status 23: rsync, which it runs, says by it that some files could not be transferred."
    )
    assert explain(ending(23), Circumstances(programs=("mkdir",))).sentence == "It ended with exit status 23."
    found = explain(ending(24), rsync)
    assert found.action == "homelab run retry 01234567"


def test_a_command_that_is_elsewhere_is_named_with_its_place_and_the_path() -> None:
    missing = Missing(name="restic", found="/opt/homebrew/bin/restic", path="/usr/bin:/bin")
    found = explain(ending(127, tail=["sh: 1: restic: not found"]), Circumstances(missing=missing))
    assert found.sentence == "It ended with exit status 127: the command restic was not found."
    assert found.facts == (
        "/opt/homebrew/bin/restic is there, but its folder is not on the job's PATH (/usr/bin:/bin).",
    )
    assert found.action == (
        'Write /opt/homebrew/bin/restic, or set the job\'s environment = { PATH = "/usr/bin:/bin:/opt/homebrew/bin" }'
    )
    nowhere = explain(ending(127, node="pi4"), Circumstances(missing=Missing(name="restic")))
    assert nowhere.facts == ("No usual folder of programs on pi4 has restic.",)
    assert nowhere.action == "Install restic on pi4, or write its whole path."


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("/bin/sh: 1: restic: not found", "restic"),
        ("sh: restic: not found", "restic"),
        ("bash: line 1: restic: command not found", "restic"),
        ("/opt/b.sh: line 12: pg_dump: command not found", "pg_dump"),
        ("zsh:1: command not found: brew", "brew"),
        ("/usr/bin/env: ‘python9’: No such file or directory", "python9"),
        ("\x1b[31m/bin/sh: 1: restic: not found\x1b[0m\r", "restic"),
        ("404: page not found", ""),
        ("error: user not found", ""),
        ("cat: /x: No such file or directory", ""),
    ],
)
def test_the_name_of_a_missing_command_is_read_from_the_words_of_shells(line: str, name: str) -> None:
    assert missing_command(["starting", line, "bye"]) == name


def test_a_file_that_may_not_be_executed_is_shown_with_its_mode() -> None:
    assert refused_command(["/bin/sh: 1: /opt/x.sh: Permission denied"]) == "/opt/x.sh"
    found = explain(ending(126), Circumstances(refused=("/opt/x.sh", "0644")))
    assert found.facts == ("/opt/x.sh has mode 0644.",) and found.action == "chmod +x /opt/x.sh"
    assert explain(ending(126), Circumstances(refused=("/opt/x.sh", "0755"))).action == ""


def test_a_full_disk_is_told_by_the_output_and_by_its_numbers() -> None:
    tail = ["tar: out.tar: Cannot write: No space left on device"]
    full = Circumstances(disks=(Disk(path="/backups", free_bytes=0, size_bytes=20_000_000),))
    found = explain(ending(2, tail=tail), full)
    assert found.facts == (
        "Its output says: “tar: out.tar: Cannot write: No space left on device”.",
        "/backups had 0 B free of 20.0 MB when it ended.",
    )
    assert found.action == "Free space on /backups."
    roomy = Circumstances(disks=(Disk(path="/", free_bytes=90 * GB, size_bytes=100 * GB),))
    found = explain(ending(2, tail=tail), roomy)
    assert "/ had 90.0 GB free of 100.0 GB when it ended." in found.facts and found.action == ""


def test_a_kill_is_told_with_the_numbers_of_memory_and_without_a_cause() -> None:
    killed = ending(None, signal=9)
    found = explain(killed, Circumstances(oom_kills=1, peak_memory_bytes=8 * GB, memory_used_percent=31.0))
    assert found.facts == (
        "While it ran, the kernel ended a process on this machine for want of memory.",
        "Its largest process had used 8.0 GB and 31 % of the machine's memory was used when it ended.",
    )
    assert "for want of memory" not in explain(killed, Circumstances()).text
    none = explain(killed, Circumstances(oom_kills=0))
    assert none.facts == ("While it ran, the kernel ended no process for want of memory.",)
    assert explain(ending(137), Circumstances(oom_kills=2, oom_scope="lab")).facts == (
        "While it ran, the kernel ended 2 processes of the lab for want of memory.",
    )


def test_words_of_the_network_count_only_beside_a_status_about_it() -> None:
    tail = ["curl: (6) Could not resolve host: nas.lan"]
    curl = Circumstances(programs=("curl",), single=True)
    found = explain(ending(6, tail=tail), curl)
    assert found.sentence == "It ended with exit status 6: the host's name could not be resolved."
    assert found.facts == ("Its output says: “curl: (6) Could not resolve host: nas.lan”.",)
    assert explain(ending(1, tail=tail), curl).facts == ()


def test_a_script_that_changed_since_the_last_good_run_is_told_with_its_time() -> None:
    script = ScriptState(path="/scripts/backup.sh", digest="bb", changed=AT - timedelta(hours=3))
    before = Circumstances(
        scripts=(ScriptState(path="/scripts/backup.sh", digest="aa"),), variables={"A": "1", "B": "2"}
    )
    now = Circumstances(scripts=(script,), variables={"A": "1", "B": "3", "C": "4"})
    found = explain(ending(1), now, before, good="2026-03-02 02:00 UTC")
    assert found.facts == (
        "/scripts/backup.sh has changed since the run that succeeded 2026-03-02 02:00 UTC:"
        " on Tuesday 2026-03-03 at 14:02 UTC, 3 h before this run.",
        "Variables that are not as they were: B, C.",
    )
    assert explain(ending(1), before, before).facts == ()
    assert explain(ending(1), now, None).facts == ()


def test_the_line_that_speaks_of_an_error_is_the_one_that_is_quoted() -> None:
    tail = ["starting", "\x1b[31mOSError: [Errno 28] No space left\x1b[0m", "cleaning up", ""]
    assert telling(tail) == "OSError: [Errno 28] No space left"
    assert telling(["starting", "bye", " "]) == "bye"
    assert telling([]) == ""


FOREIGN = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=60)
CIRCUMSTANCES = st.builds(
    Circumstances,
    scripts=st.lists(st.builds(ScriptState, path=FOREIGN, digest=FOREIGN), max_size=3).map(tuple),
    variables=st.dictionaries(FOREIGN, st.sampled_from(["digest-canary-1", "digest-canary-2"]), max_size=3),
    programs=st.lists(st.sampled_from(["rsync", "curl", "grep", "x\x1b[2J"]), max_size=3).map(tuple),
    single=st.booleans(),
    disks=st.lists(
        st.builds(Disk, path=FOREIGN, free_bytes=st.integers(0, 10**13), size_bytes=st.integers(1, 10**13)), max_size=2
    ).map(tuple),
    oom_kills=st.none() | st.integers(0, 3),
    memory_used_percent=st.none() | st.floats(0, 100),
    missing=st.none() | st.builds(Missing, name=FOREIGN, found=FOREIGN, path=FOREIGN),
    refused=st.none() | st.tuples(FOREIGN, st.sampled_from(["0644", "0755", "x"])),
)


@given(
    st.sampled_from([state.value for state in RunState]),
    st.none() | st.integers(0, 255),
    st.none() | st.integers(1, 64),
    FOREIGN,
    st.lists(FOREIGN, max_size=4),
    CIRCUMSTANCES,
    st.none() | CIRCUMSTANCES,
)
def test_no_sentence_has_control_bytes_or_a_digest_whatever_the_facts_hold(
    state: str,
    exit_code: int | None,
    signal: int | None,
    reason: str,
    tail: list[str],
    seen: Circumstances,
    before: Circumstances | None,
) -> None:
    one = Ending.of({"state": state, "exit_code": exit_code, "signal": signal, "reason": reason, "tail": tail})
    found = explain(one, seen, before)
    for text in (found.sentence, *found.facts, found.action):
        assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert "digest-canary" not in text
        text.encode()
    assert found.sentence


@given(st.integers(1, 255), st.lists(st.sampled_from(["rsync", "curl", "true", "sh"]), max_size=4), FOREIGN)
def test_want_of_memory_a_full_disk_and_the_network_are_never_said_without_a_fact(
    exit_code: int, programs: list[str], word: str
) -> None:
    found = explain(ending(exit_code, tail=[word]), Circumstances(programs=tuple(programs)))
    assert "memory" not in found.text.replace(word, "")
    assert "free of" not in found.text and "changed" not in found.text
    if exit_code not in (1, 2):
        assert "Its output says" not in found.text or word.strip()


@given(st.dictionaries(st.sampled_from(["scripts", "disks", "missing", "variables", "load", "refused"]),
                       st.none() | st.integers() | FOREIGN | st.lists(st.integers(), max_size=2)))  # fmt: skip
def test_facts_that_are_not_as_they_should_be_are_no_facts(body: dict[str, Any]) -> None:
    assert isinstance(Circumstances.from_json(body), Circumstances | None)


def test_the_table_has_each_meaning_once_with_its_source() -> None:
    keys = [(one.program, one.code) for one in EXITS]
    assert len(keys) == len(set(keys)) and all(one.source and one.text for one in EXITS)
    known = meaning_for(23, ("rsync",), single=True)
    assert known is not None and known.source == "rsync(1), EXIT VALUES"
    assert meaning_for(99, ("rsync",), single=True) is None
