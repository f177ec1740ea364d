"""How values are said and drawn: spans, ages, marks, charts, colours of output."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.console import charts, words
from homelab.control.api import ansi
from homelab.core.jobs import RunState

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42, "42 s"), (59.6, "1m 00s"), (425, "7m 05s"), (11100, "3h 05m"),
     (187200, "2d 4h"), (-3, "0.0 s")],
)  # fmt: skip
def test_a_span_has_two_units_at_most(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "now"), (12, "12 s ago"), (-240, "in 4 min"), (90000, "1 d ago"), (-7300, "in 2 h")]
)
def test_an_age_is_said_forwards_and_backwards(seconds: float, said: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_every_state_has_a_shape_a_word_and_a_tone_of_its_own() -> None:
    marks = [words.mark(state) for state in RunState]
    assert len({(m.shape, m.tone) for m in marks}) == len(marks)
    assert len({m.word for m in marks}) == len(marks)


@given(st.text(max_size=200))
@settings(deadline=None)  # the machine may be busy
def test_no_text_can_turn_the_line_or_act(text: str) -> None:
    shown = words.short(text)
    assert len(shown) <= 60 * 8 + 1
    assert not any(c in shown for c in "\n\r\x1b\x00\u202e\u2066")


def test_a_time_in_a_sentence_is_written_for_people() -> None:
    said = "due at 2026-05-01T12:00:00Z, begun 2026-05-01T12:00:00.123456Z"
    assert words.stamps(said) == "due at 2026-05-01 12:00 UTC, begun 2026-05-01 12:00 UTC"


def test_a_list_names_some_and_counts_the_rest() -> None:
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b"]) == "a and b"
    assert words.listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_the_bars_of_health_tell_good_from_bad_by_height_too() -> None:
    made = charts.health(["failed", "succeeded"])
    assert '<path class="tone-bad" d="M145 22v-20h3V22z"/>' in made
    assert '<path class="tone-good" d="M140 22v-14h3V22z"/>' in made
    assert "1 of the last 2 runs succeeded" in made


def test_a_calendar_says_its_numbers_and_leads_to_the_day() -> None:
    made = charts.calendar(
        [{"day": "2026-05-01", "runs": 40, "failures": 3}], today=date(2026, 5, 1), link="/runs?job=a&day="
    )
    assert "Fri 01 May: 40 runs, 3 failed" in made
    assert 'href="/runs?job=a&amp;day=2026-05-01"' in made
    assert "2026-05-02" not in made


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", [("plain", "")]),
        ("\x1b[31mred\x1b[0m no", [("red", "fg-red"), (" no", "")]),
        ("\x1b[1;32mok\x1b[22m less", [("ok", "bold fg-green"), (" less", "fg-green")]),
        ("\x1b[38;5;196mx\x1b[39my", [("x", "fg-red"), ("y", "")]),
        ("\x1b[48;2;250;250;250mx", [("x", "bg-bright-white")]),
        ("\x1b[38;5mx", [("x", "")]),
        ("\x1b[2Jx\x1b]0;title\x07", [("␛[2Jx␛]0;title␇", "")]),
        ("\x1b[mx", [("x", "")]),
    ],
)
def test_colours_are_understood_and_every_other_escape_is_text(text: str, pieces: list[tuple[str, str]]) -> None:
    assert ansi.pieces(text) == pieces


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[;0123456789m\u202e")), max_size=120))
def test_no_output_can_act_on_a_page_or_name_a_style_of_its_own(text: str) -> None:
    known = {f"{g}-{b}{n}" for g in ("fg", "bg") for b in ("", "bright-") for n in ansi.NAMES}
    known |= {"bold", "dim", "italic", "underline", "inverse", "strike"}
    for shown, names in ansi.pieces(text):
        assert not any(c in shown for c in "\x1b\x00\x07\r\u202e")
        assert set(names.split()) <= known


def test_a_reason_is_a_sentence_but_the_name_of_a_machine_stays_as_it_is() -> None:
    assert words.sentence("it has no schedule: it only runs by hand") == "It has no schedule: it only runs by hand."
    assert words.sentence("mac3: 4 GiB memory free of 8 GiB asked") == "mac3: 4 GiB memory free of 8 GiB asked"
