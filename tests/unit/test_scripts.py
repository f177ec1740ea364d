"""Scripts are read below the root only, as whole texts of ordinary size; all else is refused with its reason."""

import os
from pathlib import Path

import pytest

from homelab.core.commands import Refused, Script
from homelab.home.scripts import MAX_BYTES, FolderScripts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("secret")
    folder = tmp_path / "root"
    (folder / "opt").mkdir(parents=True)
    (folder / "opt/a.sh").write_text("echo a\n")
    return folder


def reason(root: Path, path: str) -> str:
    found = FolderScripts(root)[path]
    assert isinstance(found, Refused), found
    return found.reason


def test_a_text_below_the_root_is_read(root: Path) -> None:
    found = FolderScripts(root)
    assert found["/opt/a.sh"] == Script(path="/opt/a.sh", text="echo a\n")
    assert "/opt/none.sh" not in found
    assert "/opt" not in found
    assert list(found) == ["/opt/a.sh"]


def test_links_are_followed_inside_the_root_as_that_machine_would(root: Path) -> None:
    (root / "usr").mkdir()
    (root / "usr/absolute").symlink_to("/opt/a.sh")
    (root / "usr/relative").symlink_to("../opt/a.sh")
    (root / "usr/folder").symlink_to("/opt")
    found = FolderScripts(root)
    for path in ("/usr/absolute", "/usr/relative", "/usr/folder/a.sh"):
        assert found[path] == Script(path=path, text="echo a\n")


def test_nothing_outside_the_root_is_read(root: Path) -> None:
    (root / "opt/out").symlink_to("../../outside")
    (root / "opt/up").symlink_to("..")
    assert "leaves the root" in reason(root, "/opt/out")
    assert "leaves the root" in reason(root, "/../outside")
    assert "leaves the root" in reason(root, "/opt/up/../outside")


def test_a_circle_of_links_is_refused(root: Path) -> None:
    (root / "opt/x").symlink_to("y")
    (root / "opt/y").symlink_to("x")
    assert "circle" in reason(root, "/opt/x")


def test_what_is_no_ordinary_text_is_refused(root: Path) -> None:
    os.mkfifo(root / "opt/pipe")
    (root / "opt/binary").write_bytes(b"\x7fELF\0\0")
    (root / "opt/data").write_bytes(b"ab\0cd")
    with (root / "opt/huge").open("wb") as file:
        file.truncate(50 * MAX_BYTES)
    (root / "opt/latin1").write_bytes(b"echo \xe9\n")
    found = FolderScripts(root)
    assert reason(root, "/opt/pipe") == "it is not a plain file"
    assert found["/opt/binary"] == Refused(path="/opt/binary", reason="it is binary", is_program=True)
    assert found["/opt/data"] == Refused(path="/opt/data", reason="it is binary")
    assert "larger than" in reason(root, "/opt/huge")
    assert found["/opt/latin1"] == Script(path="/opt/latin1", text="echo \ufffd\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(root: Path) -> None:
    (root / "opt/a.sh").chmod(0)
    assert "cannot be read" in reason(root, "/opt/a.sh")
