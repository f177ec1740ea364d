"""References to secrets: found where they point, or refused without ever showing a value."""

from pathlib import Path

import pytest

from homelab.core.errors import InputError
from homelab.home.paths import Home
from homelab.home.references import exists, resolve, resolve_all


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).ensure()


def store(home: Home, text: str, mode: int = 0o600) -> None:
    path = home.secrets / "environment"
    path.write_text(text)
    path.chmod(mode)


def test_a_name_is_looked_up_in_the_stored_file_and_then_in_the_environment(home: Home) -> None:
    store(home, "# comment\nTOKEN=a=b 'c'\nexport OTHER=x\n")
    assert resolve("env:TOKEN", home=home, environment={"TOKEN": "outer"}) == "a=b 'c'"
    assert resolve("env:OTHER", home=home, environment={}) == "x"
    assert resolve("env:ELSE", home=home, environment={"ELSE": "outer"}) == "outer"


def test_a_file_gives_its_text_without_the_last_line_end(home: Home, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("one\ntwo\n")
    (home.secrets / "own").write_text("value")
    assert resolve(f"file:{tmp_path}/key", home=home) == "one\ntwo"
    assert resolve_all({"A": "file:own"}, home=home) == {"A": "value"}


@pytest.mark.parametrize(
    "reference", ["env:NOT_THERE_AT_ALL", "file:/no/such/file", "s3cr3t-canary", "vault:x", "env:"]
)
def test_what_is_not_there_is_said_and_no_value_is_shown(home: Home, reference: str) -> None:
    assert not exists(reference, home=home)
    with pytest.raises(InputError) as raised:
        resolve(reference, home=home)
    assert "canary" not in str(raised.value)


def test_a_file_of_secrets_that_others_may_read_is_refused_with_the_remedy(home: Home) -> None:
    store(home, "TOKEN=x\n", 0o644)
    with pytest.raises(InputError, match="chmod 600"):
        resolve("env:TOKEN", home=home)


def test_a_secret_that_no_variable_can_hold_is_refused(home: Home) -> None:
    (home.secrets / "bad").write_bytes(b"a\0b")
    (home.secrets / "binary").write_bytes(b"\xff\xfe")
    assert not exists("file:bad", home=home)
    assert not exists("file:binary", home=home)
