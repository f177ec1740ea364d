import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core import durations
from homelab.notify import message
from homelab.notify.message import Item
from homelab.notify.queue import backoff_s
from homelab.notify.targets import label, redact, resolve

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())))
def test_foreign_text_becomes_one_line_without_control_characters_that_a_database_takes(text: str) -> None:
    shown = message.harmless(text)
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    shown.encode("utf-8")
    assert len(shown) <= 400


def test_escape_codes_and_text_direction_are_shown_not_executed() -> None:
    assert message.harmless("ok\x1b[2J\0\u202eabc") == "ok\\x1b[2J\\x00\\u202eabc"


def test_a_digest_counts_all_names_some_and_lists_them_in_order() -> None:
    items = [Item(kind="failed", job=f"job-{n}", title=f"homelab: job-{n} failed", time=NOW) for n in range(50)]
    text = message.digest(items)
    assert text.title == "homelab: 50 jobs failed: job-0, job-1, job-2, job-3, job-4 and 45 more"
    assert "50 alerts" in text.body and "job-39 failed" in text.body and "and 10 more" in text.body
    assert text.body.index("job-3 failed") < text.body.index("job-30 failed")
    assert text.level == "failure"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (61, "61 s"), (420, "7 min"), (11100, "3 h 5 min"), (187200, "2 d 4 h")]
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert durations.span(seconds) == text


@given(st.integers(1, 1000))
def test_the_pause_between_attempts_grows_from_half_a_minute_to_an_hour(attempts: int) -> None:
    assert 30 <= backoff_s(attempts) <= backoff_s(attempts + 1) <= 3600


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/s3cr3tcanary",
        "mailto://me:s3cr3tcanary@example.com",
        "discord://4174216298/s3cr3tcanary",
        "jsons://user:s3cr3tcanary@hooks.example.com/x",
        "json://hooks.example.com/x?token=s3cr3tcanary",
        "ntfy://s3cr3tcanary",
    ],
)
def test_neither_the_name_of_a_target_nor_an_error_about_it_shows_its_secret(url: str) -> None:
    assert "s3cr3tcanary" not in label(url)
    said = f"POST {url} failed: s3cr3tcanary is not accepted"
    assert "s3cr3tcanary" not in redact(said, url)


def test_targets_keep_a_readable_name() -> None:
    assert label("env:NTFY_URL") == "env:NTFY_URL"
    assert label("log://alerts.jsonl") == "log://alerts.jsonl"
    assert label("ntfy://one") != label("ntfy://two")


def test_a_reference_is_looked_up_and_a_missing_one_names_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOMELAB_HOME", str(tmp_path))
    monkeypatch.setenv("NTFY_URL", "ntfy://topic")
    assert resolve("env:NTFY_URL") == "ntfy://topic"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/environment").write_text("# kept\nexport NTFY_URL=ntfy://kept?a=b\n")
    (tmp_path / "secrets/environment").chmod(0o600)
    assert resolve("env:NTFY_URL") == "ntfy://kept?a=b"
    (tmp_path / "secrets/pager").write_text("\nntfy://pager\n")
    assert resolve("file:pager") == "ntfy://pager"
    with pytest.raises(Exception, match="file:nothing-here"):
        resolve("file:nothing-here")
    with pytest.raises(Exception, match="env:NOT_SET is not there"):
        resolve("env:NOT_SET")
