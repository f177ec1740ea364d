"""Moments as text, and back."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.times import iso, moment


@given(st.datetimes(timezones=st.timezones()))
def test_a_moment_that_is_written_is_read_as_the_same(at: datetime) -> None:
    if 1 < at.year < 9999:  # UTC has no days before the first year or after the last
        assert moment(iso(at)) == at.astimezone(UTC)
    assert moment(at) is at


def test_nothing_is_no_moment_and_other_text_is_refused() -> None:
    assert moment(None) is None
    assert moment("") is None
    assert moment("2026-03-01T00:00:00Z") == datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="Invalid isoformat"):
        moment("yesterday")
