"""Durations and sizes as people write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.core.durations import (
    DurationError,
    SizeError,
    duration_s,
    duration_text,
    size_bytes,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1h30m", 5400), ("1h 30m", 5400), ("26h", 93600), (90, 90), ("90", 90), (0.5, 0.5), ("1.5s", 1.5),
     ("2d", 172800), ("1w", 604800), ("250ms", 0.25), ("0", 0), (" 5s ", 5)],
)  # fmt: skip
def test_a_duration_is_read_as_seconds(text: str | float, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "30x",
        "30 minutes",
        "1m1h",
        "1h1h",
        "-5s",
        "5s!",
        "٣s",
        "1e3",
        "inf",
        "nan",
        "11y",
        "999999999w",
        "1h\x00",
    ],
)
def test_what_is_no_duration_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(DurationError) as caught:
        duration_s(text)
    assert "1h30m" in caught.value.hint


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), 10**400, -(10**400)])
def test_a_number_that_is_no_time_is_refused(value: float) -> None:
    with pytest.raises(DurationError):
        duration_s(value)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("10MiB", 10 << 20), ("512KiB", 512 << 10), ("1.5GiB", 3 << 29), ("500MB", 500_000_000),
     ("2 kB", 2000), ("7B", 7), (7, 7), ("7", 7)],
)  # fmt: skip
def test_a_size_is_read_as_bytes(text: str | int, amount: int) -> None:
    assert size_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "MiB", "10M", "10mib", "-1", "1e9", "10 Mi B", "9" * 15 + "TiB", "1" * 5000])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SizeError):
        size_bytes(text)


@given(st.integers(0, 3650 * 86_400 * 1000))
def test_the_text_of_a_duration_reads_back(milliseconds: int) -> None:
    assert round(duration_s(duration_text(milliseconds / 1000)) * 1000) == milliseconds


@given(st.integers(0, 1 << 50))
def test_the_text_of_a_size_reads_back(amount: int) -> None:
    assert size_bytes(size_text(amount)) == amount


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    for read in (duration_s, size_bytes):
        try:
            assert read(text) >= 0
        except (DurationError, SizeError) as error:
            assert error.hint
