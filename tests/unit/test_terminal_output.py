"""How answers look on a terminal of any width, colour and alphabet; bars of runs; watching; the pager's command."""

import json
import re
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from homelab.cli import bars, drawing, main, paging, tables, terminal, watching

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STATES = [
    "scheduled", "pending", "running", "retrying", "succeeded", "failed", "timed_out", "crashed", "cancelled",
    "missed", "skipped", "blocked",
]  # fmt: skip


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=8),
    st.integers(1, 200),
    st.sets(st.integers(0, 7)),
    st.sets(st.integers(0, 7)),
)
def test_a_row_fits_or_nothing_more_can_be_cut(
    widths: list[int], columns: int, optional: set[int], whole: set[int]
) -> None:
    optional, whole = ({i for i in some if i < len(widths)} for some in (optional, whole))
    given_ = tables.fitted(widths, columns, optional=sorted(optional), whole=whole)
    shown = [w for w in given_ if w is not None]
    assert all(w is not None or i in optional for i, w in enumerate(given_))
    assert all(w is None or w == widths[i] for i, w in enumerate(given_) if i in whole)
    assert all(min(widths[i], tables.LEAST) <= w <= widths[i] for i, w in enumerate(given_) if w is not None)
    if sum(shown) + tables.GAP * (len(shown) - 1) > columns:
        assert all(given_[i] is None for i in optional)
        assert all(w <= tables.LEAST for i, w in enumerate(given_) if w is not None and i not in whole)


def test_a_wide_terminal_gets_every_column_whole() -> None:
    assert tables.fitted([10, 20, 30], 64) == [10, 20, 30]


@given(st.text(alphabet="ab漢é\u0301", max_size=40), st.integers(1, 30))
def test_a_cut_text_takes_no_more_columns_than_it_may_and_keeps_its_colours(text: str, columns: int) -> None:
    made = tables.cut(f"\x1b[31m{text}\x1b[0m", columns)
    assert tables.width(made) <= columns
    assert made.startswith("\x1b[31m") and made.endswith("\x1b[0m")


def test_a_bar_is_as_high_as_a_run_took_against_the_usual() -> None:
    states = ["succeeded"] * 5
    marks = "".join(mark for mark, _ in bars.bar(states, [10.0, 10.0, 10.0, 27.5, 3.0]))
    assert marks == "▃▃▃█▁"


def test_differences_of_a_moment_are_none() -> None:
    assert {mark for mark, _ in bars.bar(["succeeded"] * 5, [0.04, 0.05, 0.1, 0.06, 0.15])} == {"▃"}


def test_runs_that_failed_are_crosses_and_plain_letters_do_without_unicode() -> None:
    states = ["succeeded", "failed", "missed", "cancelled", "timed_out"]
    durations = [1.0, 2.0, None, None, 3.0]
    assert "".join(m for m, _ in bars.bar(states, durations)) == "▃✗!·✗"
    assert "".join(m for m, _ in bars.bar(states, durations, unicode=False)) == ":x!'x"


@given(st.lists(st.tuples(st.sampled_from(STATES), st.one_of(st.none(), st.floats(0, 1e9)))))
def test_every_run_gets_one_mark_of_one_column(runs: list[tuple[str, float | None]]) -> None:
    for unicode in (True, False):
        marks = bars.bar([s for s, _ in runs], [d for _, d in runs], unicode=unicode)
        assert [tables.width(mark) for mark, _ in marks] == [1] * len(runs)
        assert unicode or all(mark.isascii() for mark, _ in marks)


@pytest.mark.parametrize(
    ("environment", "terminal_", "colour"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"CLICOLOR_FORCE": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"CLICOLOR": "0"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_the_usual_variables_decide_about_colour(environment: dict[str, str], terminal_: bool, colour: bool) -> None:
    assert terminal.wants_colour(environment, terminal=terminal_) is colour


@pytest.mark.parametrize(
    ("environment", "encoding", "unicode"),
    [
        ({"LANG": "en_US.UTF-8"}, "utf-8", True),
        ({"LC_CTYPE": "UTF-8"}, "utf-8", True),
        ({}, "utf-8", True),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, "utf-8", False),
        ({"LANG": "en_US.ISO-8859-1"}, "iso8859-1", False),
        ({"LANG": "en_US.UTF-8"}, None, False),
    ],
)
def test_letters_beyond_ascii_are_for_utf_8_locales(
    environment: dict[str, str], encoding: str | None, unicode: bool
) -> None:
    assert terminal.speaks_unicode(environment, encoding) is unicode


@pytest.mark.parametrize(
    ("given_", "made"),
    [
        (["--watch", "last"], ["--watch=5", "last"]),
        (["last", "--watch"], ["last", "--watch=5"]),
        (["--watch", "2", "last"], ["--watch", "2", "last"]),
        (["--watch=0.5"], ["--watch=0.5"]),
        (["--", "--watch"], ["--", "--watch"]),
        (["--watch", "--json"], ["--watch=5", "--json"]),
    ],
)
def test_a_word_behind_watch_that_is_no_number_is_an_argument(given_: list[str], made: list[str]) -> None:
    assert watching.with_seconds(given_) == made


def test_watch_takes_its_seconds_or_does_without() -> None:
    seen: list[tuple[str, float | None]] = []

    @click.command(cls=watching.Command)
    @click.argument("name")
    def command(name: str, watch: float | None) -> None:
        seen.append((name, watch))

    for line in (["a"], ["--watch", "a"], ["a", "--watch", "2"], ["--watch=0.5", "a"]):
        assert CliRunner().invoke(command, line).exit_code == 0
    assert seen == [("a", None), ("a", 5.0), ("a", 2.0), ("a", 0.5)]
    assert CliRunner().invoke(command, ["a", "--watch", "0"]).exit_code == 2


def test_a_frame_fills_the_terminal_and_leaves_nothing_of_the_one_before() -> None:
    made = watching.painted("one\ntwo\n", "", columns=40, rows=10, now=NOW)
    assert made.startswith("\x1b[?2026h\x1b[H") and made.endswith("\x1b[J\x1b[?2026l")
    lines = made.removeprefix("\x1b[?2026h\x1b[H").split("\n")
    assert len(lines) == 3 and all("\x1b[K" in line for line in lines)
    assert "12:00:00" in lines[0]


@given(st.integers(0, 60), st.integers(1, 120), st.integers(2, 50))
def test_no_frame_is_larger_than_the_terminal(count: int, columns: int, rows: int) -> None:
    frame = "".join(f"line {n} {'x' * 90}\n" for n in range(count))
    made = watching.painted(frame, "gone", columns=columns, rows=rows, now=NOW)
    lines = re.sub("\x1b\\[[?0-9;]*[A-Za-z]", "", made).split("\n")
    assert len(lines) <= rows and all(tables.width(line) <= columns for line in lines)
    if count > rows - 1 and columns > 20:
        assert lines[-1].endswith("more lines")


def test_frames_in_a_pipe_are_set_apart_and_json_is_one_object_a_line() -> None:
    assert watching.separated("a\tb\n", NOW) == "# 2026-05-01T12:00:00Z\na\tb\n"
    assert json.loads(watching.separated('{\n  "a": 1\n}\n', NOW)) == {"a": 1}
    assert watching.separated('{\n  "a": 1\n}\n', NOW).count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, ["less"]),
        ({"PAGER": "more -s"}, ["more", "-s"]),
        ({"PAGER": "more", "HOMELAB_PAGER": "less -S"}, ["less", "-S"]),
        ({"PAGER": "cat"}, []),
        ({"PAGER": ""}, []),
        ({"PAGER": 'un"balanced'}, []),
    ],
)
def test_the_pager_is_the_readers(environment: dict[str, str], words: list[str]) -> None:
    assert list(paging.command(environment)) == words


def test_flags_of_the_root_may_stand_anywhere_but_behind_two_dashes() -> None:
    assert main.flags_first(["job", "ls", "--quiet"]) == ["--quiet", "job", "ls"]
    assert main.flags_first(["run", "logs", "x", "--no-pager", "--debug"]) == [
        "--no-pager", "--debug", "run", "logs", "x",
    ]  # fmt: skip
    assert main.flags_first(["job", "--", "--quiet"]) == ["job", "--", "--quiet"]


def test_a_tree_tells_a_schedule_where_it_is_another_and_does_without_unicode() -> None:
    graph = drawing.Graph(
        nodes={"a": "0 2 * * *", "b": "0 2 * * *", "c": "0 7 * * *"},
        edges=(("a", "b", "task"), ("b", "c", "freshness")),
    )
    tree = drawing.text(graph)
    assert tree == "a  (0 2 * * *)\n└─ b\n   └─ c  (0 7 * * *)"
    assert drawing.plain(tree) == "a  (0 2 * * *)\n`- b\n   `- c  (0 7 * * *)"
