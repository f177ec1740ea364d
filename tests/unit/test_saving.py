"""What a job saves lies below its working folder, whatever links and patterns say; what is kept is what was there."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.control.artefacts import over_limit
from homelab.core.labfile.saving import pattern_problem
from homelab.core.passing import Artefact, Passed, parts_of
from homelab.home.objects import Damaged, Objects
from homelab.worker import saving
from homelab.worker.saving import Saved, found

NAMES = st.sampled_from(["a", "b", "x.pdf", ".h", "reports", "é"])
PARTS = st.sampled_from(["a", "b", "*", "**", "?", "*.pdf", ".h", ".*", "reports", "[ab]", "link", "é", ".", ""])


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)


def save(folder: Path, *patterns: str, **more: Any) -> Saved:
    objects = Objects(folder.parent / "objects")
    return saving.save(patterns, folder=folder, owner=None, objects=objects, **more)


def paths(saved: Saved) -> list[str]:
    return [artefact.path for artefact in saved.artefacts]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_patterns_find_what_a_shell_would_and_folders_mean_all_in_them(work: Path) -> None:
    write(work, "r/a.pdf", "r/b.txt", "r/deep/er/c.pdf", "r/.hidden.pdf", "top.pdf", "[x].pdf")
    assert list(found(str(work), "r/*.pdf")) == ["r/a.pdf"]
    assert list(found(str(work), "**/*.pdf")) == ["[x].pdf", "top.pdf", "r/a.pdf", "r/deep/er/c.pdf"]
    assert list(found(str(work), "r")) == ["r/a.pdf", "r/b.txt", "r/deep/er/c.pdf"]
    assert list(found(str(work), "r/**")) == ["r/a.pdf", "r/b.txt", "r/deep/er/c.pdf"]
    assert list(found(str(work), "r/.*")) == ["r/.hidden.pdf"]
    assert list(found(str(work), "./top.pd?")) == ["top.pdf"]
    assert list(found(str(work), "gone/*")) == []


def test_what_is_saved_is_found_by_its_hash_and_equal_contents_are_kept_once(work: Path) -> None:
    write(work, "r/a")
    (work / "r/b").write_text("r/a")
    saved = save(work, "r/*", "r/a")
    assert paths(saved) == ["r/a", "r/b"] and saved.problems == []
    digest = hashlib.sha256(b"r/a").hexdigest()
    assert {a.sha256 for a in saved.artefacts} == {digest}
    objects = Objects(work.parent / "objects")
    assert [name for name, _, _ in objects.all()] == [digest]
    assert objects.path_of(digest).stat().st_mode & 0o777 == 0o400
    assert list((work.parent / "objects/new").iterdir()) == []


def test_a_pattern_that_finds_nothing_is_said(work: Path) -> None:
    write(work, "a")
    assert save(work, "a", "b*").problems == [f"nothing to save: {work} has no b*"]


def test_a_link_that_leads_out_is_refused_and_one_that_stays_inside_is_followed(work: Path) -> None:
    write(work, "real/x")
    secret = work.parent / "secret"
    secret.mkdir()
    write(secret, "x")
    (work / "out").symlink_to(secret)
    (work / "x").symlink_to(secret / "x")
    (work / "up").symlink_to("..")
    (work / "in").symlink_to("real/x")
    (work / "dangling").symlink_to("nowhere")
    saved = save(work, "out/x", "x", "up/secret/x", "in", "dangling", "out")
    assert paths(saved) == ["in"]
    assert len([p for p in saved.problems if "leads out of the working folder" in p]) >= 3
    assert any("dangling is not saved" in p for p in saved.problems)


def test_what_is_no_ordinary_file_is_refused_at_once(work: Path) -> None:
    os.mkfifo(work / "pipe")
    write(work, "bad\nname")
    saved = save(work, "pipe", "bad*")
    assert paths(saved) == []
    assert saved.problems == [
        "pipe is not saved: it is no ordinary file",
        "bad\nname is not saved: its name holds a control character",
    ]


def test_a_file_of_another_user_is_only_taken_when_anybody_may_read_it(work: Path) -> None:
    write(work, "open", "closed")
    (work / "closed").chmod(0o600)
    objects = Objects(work.parent / "objects")
    saved = saving.save(["*"], folder=work, owner=os.getuid() + 1, objects=objects)
    assert paths(saved) == ["open"]
    assert "keeps it to himself" in saved.problems[0]


def test_limits_are_said_and_what_fits_is_kept(work: Path) -> None:
    write(work, *(f"f{n:02}" for n in range(30)))
    saved = save(work, "*", most_files=20)
    assert len(saved.artefacts) == 20 and "more than 20 files" in saved.problems[0]
    saved = save(work, "*", most_bytes=9)
    assert paths(saved) == ["f00", "f01", "f02"]
    assert saved.problems[0] == "f03 is not saved: all files of an attempt together may have 9B"
    assert len(saved.told) == saving.MOST_WARNINGS + 1 and saved.told[-1] == "17 more files are not saved"


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["file", "link", "outlink"])), max_size=8
    ),
    st.lists(
        st.lists(PARTS, min_size=1, max_size=4).map("/".join).filter(lambda p: not pattern_problem(p)), max_size=3
    ),
)
def test_no_tree_and_no_pattern_make_anything_leave_that_lies_outside(
    tree: list[tuple[list[str], str]], patterns: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as made:
        top = Path(os.path.realpath(made))
        root, outside = top / "work", top / "outside"
        root.mkdir()
        outside.mkdir()
        (outside / "a").write_text("OUTSIDE")
        for names, kind in tree:
            path = root.joinpath(*names)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if kind == "file":
                    path.write_text("inside")
                else:
                    path.symlink_to(outside if kind == "outlink" else root)
            except OSError:
                continue
        saved = saving.save(patterns, folder=root, owner=None, objects=Objects(top / "objects"))
        for artefact in saved.artefacts:
            assert artefact.sha256 == hashlib.sha256(b"inside").hexdigest()
            assert parts_of(artefact.path)
            assert os.path.realpath(root / artefact.path).startswith(f"{root}/")
        assert len(set(paths(saved))) == len(saved.artefacts)


@pytest.mark.parametrize("pattern", ["/etc/passwd", "~/x", "../x", "a/../../x", "a//b", "x" * 501])
def test_a_pattern_that_could_lead_out_is_refused_in_the_lab_file(pattern: str) -> None:
    assert pattern_problem(pattern)


@pytest.mark.parametrize("path", ["", "/a", "a/", "../a", "a/../b", "./a", "a//b", "a\0b"])
def test_a_path_from_elsewhere_that_could_lead_out_is_refused(path: str) -> None:
    with pytest.raises(ValueError):
        parts_of(path)


def test_a_damaged_object_is_noticed_when_it_is_used_and_removed(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    incoming = objects.incoming()
    incoming.write(b"good")
    sha256 = incoming.keep()
    objects.copy(sha256, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"good"
    objects.path_of(sha256).chmod(0o600)
    objects.path_of(sha256).write_bytes(b"evil")
    with pytest.raises(Damaged):
        objects.copy(sha256, tmp_path / "other")
    assert objects.size(sha256) is None and not (tmp_path / "other").exists()


def test_what_comes_under_a_wrong_name_is_not_kept(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    incoming = objects.incoming()
    incoming.write(b"x")
    with pytest.raises(Damaged):
        incoming.keep("0" * 64)
    assert list(objects.all()) == [] and list((tmp_path / "new").iterdir()) == []


def test_files_survive_their_json() -> None:
    passed = Passed(outputs={"A": "1"}, artefacts=(Artefact(path="r/é.pdf", sha256="0" * 64, bytes=3),))
    assert Passed.from_json(passed.to_json()) == passed


@pytest.mark.parametrize(
    "body",
    [
        {"path": "../x", "sha256": "0" * 64, "bytes": 1},
        {"path": "x", "sha256": "../../etc/passwd", "bytes": 1},
        {"path": "x", "sha256": "A" * 64, "bytes": 1},
        {"path": "x", "sha256": "0" * 64, "bytes": -1},
    ],
)
def test_a_report_of_another_machine_names_no_file_of_this_one(body: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Passed.from_json({"artefacts": [body]})
    if len(body["sha256"]) != 64:
        with pytest.raises(ValueError, match="SHA-256"):
            Objects(tmp_path).remove(body["sha256"])


ROWS = st.lists(st.fixed_dictionaries({"sha256": st.sampled_from("abcd"), "is_open": st.booleans()}), max_size=12).map(
    lambda rows: [{**row, "bytes": {"a": 1, "b": 10, "c": 100, "d": 0}[row["sha256"]]} for row in rows]
)


@given(ROWS, st.integers(0, 120))
def test_the_oldest_go_until_the_contents_fit_and_no_more_than_that(rows: list[dict[str, Any]], most: int) -> None:
    def size(kept: list[dict[str, Any]]) -> int:
        return sum({row["sha256"]: row["bytes"] for row in kept}.values())

    gone = over_limit(rows, most)
    kept = [row for row in rows if not any(row is one for one in gone)]
    assert not any(row["is_open"] for row in gone)
    assert size(kept) <= most or all(row["is_open"] for row in kept)
    if gone:
        one_less = [row for row in rows if not any(row is one for one in gone[:-1])]
        assert size(one_less) > most
    closed = [row for row in rows if not row["is_open"]]
    assert all(one is row for one, row in zip(gone, closed, strict=False))
