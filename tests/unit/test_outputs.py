"""What a job writes to $HOMELAB_OUTPUT becomes variables, whatever it writes; what cannot be one is said."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.jobs import Job, Need
from homelab.core.passing import Passed, handed_to, variables_of
from homelab.worker import outputs
from homelab.worker.environment import is_steering
from homelab.worker.outputs import MAX_BYTES, MAX_WARNINGS, NAME, Outputs
from homelab.worker.redaction import Redactor

NAMES = st.from_regex(NAME, fullmatch=True).filter(lambda name: not is_steering(name))
LINES = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=40)


def parse(raw: bytes, *secrets: str) -> Outputs:
    redactor = Redactor(secrets)
    return outputs.parse(raw, steers=is_steering, holds_secret=lambda value: redactor.text(value) != value)


def test_a_line_is_taken_as_it_is() -> None:
    found = parse(b'A=1\nPATH_TO= "x y" $(date) # no comment\r\n\nempty=\nurl=http://h/?a=b<<c')
    assert found.values == {"A": "1", "PATH_TO": ' "x y" $(date) # no comment', "empty": "", "url": "http://h/?a=b<<c"}
    assert found.warnings == []


def test_a_value_of_several_lines_ends_at_its_mark() -> None:
    found = parse(b"A<<END\none\n\ntwo=2\nEND\nB=2\nC<<==\n==\n")
    assert (found.values, found.warnings) == ({"A": "one\n\ntwo=2", "B": "2", "C": ""}, [])


def test_a_value_without_its_mark_takes_nothing_of_what_follows_as_a_line() -> None:
    found = parse(b"A=1\nB<<END\nC=3\n")
    assert found.values == {"A": "1"}
    assert found.warnings == ["line 2 of $HOMELAB_OUTPUT is left out: no later line ends the value of B"]


def test_of_a_name_written_twice_the_last_counts() -> None:
    assert parse(b"A=1\nA=2\n").values == {"A": "2"}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"no assignment", "NAME=VALUE"),
        (b"=x", "no name"),
        (b"1A=x", "no name"),
        (b"a-b=x", "no name"),
        ("é=x".encode(), "no name"),
        (b"export A=x", "no name"),
        (b"PATH=/tmp/evil", "change what other jobs run"),
        (b"LD_PRELOAD=/tmp/evil.so", "change what other jobs run"),
        (b"HOMELAB_RUN_ID=x", "change what other jobs run"),
        (b"A=\0", "NUL"),
        (b"A=\xff", "UTF-8"),
        (b"A=is hunter22 here", "holds a secret"),
        (b"A=aHVudGVyMjI=", "holds a secret"),
        (b"A<<\nx", "no later line"),
    ],
)
def test_what_cannot_be_a_variable_is_left_out_with_a_warning_that_holds_no_value(line: bytes, word: str) -> None:
    found = parse(b"B=1\n" + line + b"\nC=2\n", "hunter22")
    assert {"B", "C"} <= set(found.values) <= {"B", "C", "x"}
    assert word in found.warnings[0] and "line 2" in found.warnings[0]
    assert not any(secret in " ".join(found.warnings) for secret in ("hunter22", "aHVud", "evil"))


def test_a_file_over_the_limit_passes_on_nothing_of_it() -> None:
    assert parse(b"A=" + b"x" * (MAX_BYTES - 2)).warnings == []
    found = parse(b"B=1\nA=" + b"x" * MAX_BYTES)
    assert found.values == {} and "64 KiB" in found.warnings[0]


def test_a_file_of_garbage_is_told_in_few_lines() -> None:
    found = parse(b"x\n" * 1000)
    assert len(found.warnings) == MAX_WARNINGS + 1 and "990 more" in found.warnings[-1]


@given(st.dictionaries(NAMES, st.lists(LINES, min_size=1, max_size=4).map("\n".join), max_size=5))
def test_whatever_text_is_written_in_the_form_for_it_comes_out_as_it_was(values: dict[str, str]) -> None:
    parts: list[str] = []
    for name, value in values.items():
        end = "END"
        while end in value.split("\n"):
            end += "!"
        parts.append(f"{name}={value}\n" if "\n" not in value else f"{name}<<{end}\n{value}\n{end}\n")
    found = parse("".join(parts).encode())
    assert (found.values, found.warnings) == (values, [])


@given(st.binary(max_size=300) | st.text("AB=<\n\r\0x", max_size=60).map(str.encode))
def test_no_file_makes_a_variable_that_a_program_cannot_be_given(raw: bytes) -> None:
    found = parse(raw)
    for name, value in found.values.items():
        assert NAME.fullmatch(name) and not is_steering(name) and "\0" not in value
    assert len(found.warnings) <= MAX_WARNINGS + 1


def collect(path: Path, owner: int | None = None) -> Outputs:
    return outputs.collect(
        path, owner=os.getuid() if owner is None else owner, steers=is_steering, holds_secret=lambda _: False
    )


def test_only_a_file_of_the_jobs_own_is_read(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    assert collect(real) == Outputs()
    real.write_text("A=1")
    assert collect(real).values == {"A": "1"}
    link.symlink_to(real)
    os.mkfifo(pipe)
    assert (collect(link).values, collect(link).warnings) == ({}, ["$HOMELAB_OUTPUT is not read: it is a link"])
    for place, owner in ((pipe, None), (tmp_path, None), (real, os.getuid() + 1)):
        found = collect(place, owner)
        assert found.values == {} and "not a file of the job's own" in found.warnings[0]


def test_a_job_gets_the_variables_of_what_it_needs_directly_and_the_later_need_wins() -> None:
    passed = {name: Passed(outputs={"X": name, name: "1"}) for name in ("a", "b", "far")}
    job = Job(name="j", run="true", needs=(Need(job="b"), Need(job="gone"), Need(job="a")))
    handed = handed_to(job, passed)
    assert list(handed) == ["b", "a"]
    assert variables_of(handed) == {"X": "a", "b": "1", "a": "1"}


def test_what_is_passed_on_survives_its_json() -> None:
    for passed in (Passed(), Passed(outputs={"A": "1\n2"})):
        assert Passed.from_json({"other": 1, **passed.to_json()}) == passed
