"""What `homelab top` decides without a screen: lines, commands, questions, the stream of events."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tests.tui import A_RUN, FAILED, GOING, HOSTILE, JOBS, NOW, ago

from homelab.core.errors import RefusedError
from homelab.tui import around, asking, marks
from homelab.tui.commands import Known, Unknown, completions, meaning
from homelab.tui.feed import parsed, pause_s
from homelab.tui.keys import KEYS
from homelab.tui.layout import (
    Cell,
    Column,
    Line,
    Place,
    Row,
    Sort,
    cell,
    clean,
    cut,
    fit,
    line,
    matching,
    ordered,
    table,
    wrap,
)
from homelab.tui.view import Link
from homelab.tui.views import VIEWS

KNOWN = Known(jobs={"dump-app": FAILED, "heartbeat": "", "jobs": "", HOSTILE: FAILED}, runs=[FAILED])
GRAPH = {
    "nodes": [{"name": j["name"], "flow": j["flow"]} for j in JOBS],
    "edges": [{"from": "dump-app", "to": "copy-offsite"}],
}


# -- lines


@given(st.text(), st.integers(0, 60))
def test_text_is_cut_to_its_cells_and_holds_nothing_that_a_terminal_obeys(text: str, width: int) -> None:
    made = cut(text, width)
    assert cell_len(made) <= width
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b\u2066\ufeff" for c in made)
    assert cell_len(fit(text, width)) == width


@given(st.text(), st.integers(8, 60))
def test_wrapped_text_keeps_every_word_and_its_width(text: str, width: int) -> None:
    lines = wrap(text, width, most=1000)
    assert all(cell_len(part) <= width for part in lines)
    if len(text) < width:
        assert "".join("".join(lines).split()) == "".join(clean(text).split())


@given(
    st.lists(st.tuples(st.text(max_size=90), st.text(max_size=30), st.text(max_size=9)), max_size=8),
    st.integers(40, 200),
)
def test_every_line_of_a_table_is_as_wide_as_the_screen_at_most(rows: list[tuple[str, ...]], width: int) -> None:
    columns = (Column(name="a", least=8), Column(name="b", grows=True), Column(name="c", right=True, drop=80))
    made = [Row(cells=tuple(cell(text) for text in row), key=str(n)) for n, row in enumerate(rows)]
    head, lines = table(columns, made, width)
    assert all(cell_len(item.text) <= width for item in (head, *lines))
    assert [item.key for item in lines] == [row.key for row in made]


def test_a_column_is_ordered_both_ways_and_what_has_no_value_stays_last() -> None:
    rows = [Row(cells=(Cell(spans=(), sort=n),), key=str(n)) for n in (2, None, 1)]
    assert [row.key for row in ordered(rows, Sort(column=0))] == ["1", "2", "None"]
    assert [row.key for row in ordered(rows, Sort(column=0, backwards=True))] == ["2", "1", "None"]


def test_a_filter_keeps_whole_items_that_hold_all_its_words_and_the_heading_above_them() -> None:
    lines = [
        line("Failing"), line("dump-app", key="a"), line("exit status 1", key="a"), line(), line("Next"),
        line("heartbeat", key="b"),
    ]  # fmt: skip
    assert [item.text for item in matching(lines, "STATUS dump")] == ["Failing", "dump-app", "exit status 1"]
    assert [item.text for item in matching(lines, "heart")] == ["Next", "heartbeat"]
    assert matching(lines, "nothing") == []
    assert matching(lines, " ") == lines


@pytest.mark.parametrize(
    ("at", "said"),
    [(ago(0), "now"), (ago(47), "47s ago"), (ago(-200), "in 3m"), (ago(3 * 86400), "3d ago"), (None, "–"), ("x", "–")],
)
def test_a_moment_is_said_briefly(at: object, said: str) -> None:
    assert marks.ago(at, NOW) == said


def test_a_job_that_runs_far_longer_than_usual_says_so_by_its_bar() -> None:
    bar = marks.progress(ago(30), 8.0, NOW, 10)
    assert bar[0] == ("━" * 10, "warn")
    assert bar[2][0] == " 30 s of about 8.0 s"
    assert marks.progress(ago(4), 8.0, NOW, 10)[:2] == (("━" * 5, "run"), ("─" * 5, "idle"))
    assert marks.progress(ago(4), None, NOW, 10) == (("4.0 s", ""),)


# -- around a view


def test_a_lost_link_says_why_when_it_is_tried_again_and_what_to_do() -> None:
    link = Link(state="lost", why="no lab answers at http://x: refused", hint="Start it with: homelab up")
    said = [item.text for item in around.troubles(link, None, 80, wait_s=3.2)]
    assert said == ["✗ no lab answers at http://x: refused; trying again in 3 s.", "Start it with: homelab up"]
    refused = around.troubles(Link(state="refused", why="the token is not valid"), None, 200, wait_s=0)
    assert "homelab token create" in refused[1].text


def test_who_may_not_act_is_told_what_would_let_them() -> None:
    error = RefusedError("this needs scope operate")
    assert around.told(error) == "this needs scope operate. Another token may: homelab token create --scope operate."
    assert around.told(RefusedError("no", hint="Ask.")) == "no. Ask."


@given(st.integers(20, 200), st.booleans())
def test_the_last_line_fits_and_begins_with_the_key_of_the_help(width: int, is_log: bool) -> None:
    made = around.foot("12/46", width, is_log=is_log)
    assert cell_len(made.text) == width
    assert made.text.startswith("? help")


# -- commands


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("jobs", Place(view="jobs")),
        ("  j ", Place(view="jobs")),
        ("runs dump-app", Place(view="runs", job="dump-app")),
        ("run 0190A000", Place(view="run", run=FAILED)),
        (FAILED[:18], Place(view="run", run=FAILED)),
        ("abcdef12", Place(view="run", run="abcdef12")),
        ("log dump-app", Place(view="log", run=FAILED, job="dump-app")),
        (f"log {FAILED} dump-app", Place(view="log", run=FAILED, job="dump-app")),
        ("dump-app", Place(view="job", job="dump-app")),
        (f"job {HOSTILE}", Place(view="job", job=HOSTILE)),
        ("q", "quit"),
        ("help", "help"),
    ],
)
def test_a_command_leads_where_it_says(text: str, place: object) -> None:
    assert meaning(text, KNOWN) == place


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dump-ap", "did you mean dump-app?"),
        ("runs heartbeet", "did you mean heartbeat?"),
        ("log heartbeat", "has not run yet"),
        ("run", "needs the name of a run"),
        ("now x", "takes no name"),
        ("run zzz", "there is no run 'zzz'"),
    ],
)
def test_a_command_that_means_nothing_says_what_would(text: str, said: str) -> None:
    found = meaning(text, KNOWN)
    assert isinstance(found, Unknown)
    assert said in found.message


@given(st.text(max_size=30))
def test_no_command_is_a_mistake_of_ours(text: str) -> None:
    assert isinstance(meaning(text, KNOWN), Place | Unknown | str)
    assert all(isinstance(offer, str) for offer in completions(text, KNOWN))


def test_completion_offers_views_then_jobs_and_what_begins_so_before_what_holds_it() -> None:
    assert completions("", KNOWN)[: len(VIEWS)] == [view.name for view in VIEWS]
    assert completions("he", KNOWN) == ["help", "heartbeat"]
    assert completions("log d", KNOWN)[0] == "log dump-app"
    assert completions("log app", KNOWN) == ["log dump-app"]
    assert completions("run 0190", KNOWN) == [f"run {FAILED}"]
    assert completions("lab x", KNOWN) == []


# -- questions


def test_a_retry_says_what_runs_again_and_offers_all_of_it() -> None:
    question = asking.retry(A_RUN["run"])
    assert isinstance(question, asking.Question)
    assert "dump-app, copy-offsite and" in " ".join(question.will)
    assert "dump-memory succeeded." in question.will
    assert [(c.key, c.body) for c in question.choices] == [("y", {"failed": True}), ("a", {"failed": False})]
    assert asking.retry(GOING["run"]) == "That run has not ended: c cancels it."


def test_a_cancel_says_what_ends_and_what_will_not_start() -> None:
    question = asking.cancel(GOING["run"])
    assert isinstance(question, asking.Question)
    assert question.will[0] == "take-in-uploads is told to end, and killed when the grace is over."
    assert question.will[1] == "scan-library will not start."
    assert asking.cancel(A_RUN["run"]) == "That run has ended (failed): there is nothing to cancel."


def test_a_run_by_hand_can_be_of_the_job_alone_where_others_belong_to_it() -> None:
    with_others, alone = asking.run_job(JOBS[0], GRAPH), asking.run_job(JOBS[3], GRAPH)
    assert [choice.key for choice in with_others.choices] == ["y", "o"]
    assert [choice.key for choice in alone.choices] == ["y"]
    assert "It is paused" in " ".join(asking.run_job(JOBS[5], GRAPH).will)


def test_a_pause_names_what_is_held_with_it_and_a_paused_job_is_resumed() -> None:
    assert asking.pause(JOBS[0], GRAPH).will[1] == "copy-offsite needs it and will not run either."
    assert asking.pause(JOBS[5], GRAPH).choices[0].path == "/api/v1/jobs/tidy/resume"


def test_no_name_leaves_its_part_of_a_path() -> None:
    hostile = {**JOBS[0], "name": "a/../b?x=1#y"}
    assert asking.run_job(hostile, GRAPH).choices[0].path == "/api/v1/jobs/a%2F..%2Fb%3Fx%3D1%23y/run"


# -- the stream


def test_events_are_read_from_any_split_into_lines_and_rubbish_is_left_out() -> None:
    sent = (
        b'retry: 2000\n: welcome\n\nid: 7\r\nevent: job.finished\r\ndata: {"id":7}\r\n\r\ndata: {broken\n\nevent: x\n\n'
    )
    assert list(parsed(sent.split(b"\n"))) == [(7, "job.finished", {"id": 7})]


def test_pauses_between_tries_grow_and_have_an_end() -> None:
    pauses = [pause_s(n) for n in range(1, 40)]
    assert pauses == sorted(pauses)
    assert timedelta(seconds=pauses[0]) < timedelta(seconds=1)
    assert pauses[-1] == 15.0


def test_no_two_keys_are_the_same() -> None:
    keys = [name for key in KEYS for name in key.keys]
    assert len(keys) == len(set(keys))


def test_a_line_knows_its_text() -> None:
    assert line("a", ("b", "bad")).text == "ab"
    assert Line().text == ""
