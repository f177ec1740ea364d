"""Finding and reading lab files on disk."""

import contextlib
from pathlib import Path

import pytest

from homelab.core.errors import InputError, NotFoundError
from homelab.core.labfile import parse
from homelab.home import labfiles
from homelab.home.paths import Home


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOMELAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOMELAB_LAB", raising=False)
    return tmp_path


def test_the_file_is_the_named_one_else_the_one_here_else_the_last_used(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match=r"lab\.toml"):
        labfiles.find()
    used = here / "other" / "my.toml"
    used.parent.mkdir()
    used.write_text("")
    labfiles.remember(Home.default().ensure(), used)
    assert labfiles.find() == used
    (here / "lab.toml").write_text("")
    assert labfiles.find() == here / "lab.toml"
    monkeypatch.setenv("HOMELAB_LAB", "other/my.toml")
    assert labfiles.find() == used
    assert labfiles.find("lab.toml") == here / "lab.toml"
    with pytest.raises(NotFoundError):
        labfiles.find("gone.toml")


def test_included_files_are_read_once_by_name_and_the_main_file_is_first(here: Path) -> None:
    (here / "jobs").mkdir()
    for name in ("b", "a"):
        (here / "jobs" / f"{name}.toml").write_text(f"# {name}")
    (here / "jobs" / "c.toml").mkdir()
    (here / "lab.toml").write_text(
        "[lab]\ninclude = ['jobs/*.toml', 'jobs/a.toml', 'lab.toml', 'gone', '**/x', 'a\\u0000']"
    )
    assert list(labfiles.read(here / "lab.toml")) == ["lab.toml", "jobs/a.toml", "jobs/b.toml"]


def test_a_file_that_cannot_be_read_is_named(here: Path) -> None:
    (here / "lab.toml").write_text("lab.include = 'more.toml'")
    (here / "more.toml").write_bytes(b"a = 1\nb = '\xe4'\n")
    with pytest.raises(InputError) as caught:
        labfiles.read(here / "lab.toml")
    assert caught.value.where == "more.toml:2"
    (here / "more.toml").write_bytes(b"#" * (labfiles.LARGEST + 1))
    with pytest.raises(InputError, match="4 MiB"):
        labfiles.read(here / "lab.toml")


def test_files_included_from_elsewhere_are_recognised_by_the_parser(here: Path) -> None:
    main = here / "lab" / "lab.toml"
    main.parent.mkdir()
    for name in ("a", "b"):
        (here / f"{name}.toml").write_text(f"jobs.{name}.run = 'x'")
    main.write_text(f"lab.include = ['../a.toml', '{here}/b.toml']")
    for folder in (here, main.parent, Path("/")):
        with contextlib.chdir(folder):
            files = labfiles.read(main)
        lab, problems = parse(files, main=next(iter(files)))
        assert problems == []
        assert lab is not None
        assert [j.name for j in lab.jobs] == ["a", "b"]


def test_a_device_without_end_is_no_lab_file(here: Path) -> None:
    (here / "lab.toml").write_text("lab.include = '/dev/zero'")
    assert list(labfiles.read(here / "lab.toml")) == ["lab.toml"]
