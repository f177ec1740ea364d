"""The backup of an adoption: its journal, and the script that goes back without Python and without the lab."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homelab.core.errors import InputError, RefusedError
from homelab.home import adoptions, livecron
from homelab.home.adoptions import AdoptedLine, Adoption
from homelab.home.livecron import CronFile
from homelab.home.paths import Home

ORIGINAL = b"@daily root a\n\xff\xfe raw\n"
ADOPTED = b"#homelab: @daily root a\n\xff\xfe raw\n"


def begun(tmp_path: Path) -> tuple[Home, Adoption, Path]:
    folder = tmp_path / "it's here" / "cron.d"
    folder.mkdir(parents=True)
    file = folder / "jobs"
    file.write_bytes(ADOPTED)
    file.chmod(0o640)
    adoption = Adoption(
        folder=Path(),
        target=CronFile(path=file),
        state="adopted",
        at=datetime(2026, 11, 25, 0, 1, 20, tzinfo=UTC),
        lines=(AdoptedLine(line=1, text=b"@daily root a\xff", jobs=("a", "b")),),
        lab="/lab.toml",
        since=datetime(2026, 11, 25, 0, 1, 21, tzinfo=UTC),
        lab_before={"/lab.toml": "old"},
        lab_after={"/lab.toml": "new"},
    )
    home = Home(tmp_path / "home")
    return home, adoptions.begin(home, adoption, ORIGINAL, ADOPTED), file


def restore(adoption: Adoption, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", adoption.restore, *arguments], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_what_is_noted_is_read_back_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    home, adoption, _ = begun(tmp_path)
    assert adoptions.load(home) == [adoption]
    assert (adoption.original, adoption.adopted) == (ORIGINAL, ADOPTED)
    assert adoption.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in adoption.folder.iterdir()} == {0}


def test_a_second_adoption_in_the_same_second_has_a_folder_of_its_own(tmp_path: Path) -> None:
    home, adoption, _ = begun(tmp_path)
    other = adoptions.begin(home, adoption, ORIGINAL, ADOPTED)
    assert other.folder != adoption.folder
    assert len(adoptions.load(home)) == 2


def test_the_script_puts_the_same_bytes_and_mode_back(tmp_path: Path) -> None:
    _, adoption, file = begun(tmp_path)
    done = restore(adoption)
    assert done.returncode == 0, done.stderr
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (ORIGINAL, 0o640)
    assert [path.name for path in file.parent.iterdir()] == ["jobs"]
    assert "as it was before already" in restore(adoption).stderr


def test_the_script_overwrites_no_edit_unless_it_is_told_to(tmp_path: Path) -> None:
    _, adoption, file = begun(tmp_path)
    file.write_bytes(ADOPTED + b"@daily root mine\n")
    refused = restore(adoption)
    assert (refused.returncode, "@daily root mine" in refused.stderr) == (5, True)
    assert file.read_bytes() == ADOPTED + b"@daily root mine\n"
    assert restore(adoption, "--force").returncode == 0
    assert file.read_bytes() == ORIGINAL


def test_one_adoption_or_release_at_a_time(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with adoptions.locked(home):
        assert adoptions.is_busy(home)
        with pytest.raises(RefusedError), adoptions.locked(home):
            pass
    assert not adoptions.is_busy(home)


def test_a_journal_that_cannot_be_read_names_the_way_back_by_hand(tmp_path: Path) -> None:
    home, adoption, _ = begun(tmp_path)
    (adoption.folder / "adoption.json").write_text("{")
    with pytest.raises(RefusedError, match=r"restore\.sh"):
        adoptions.load(home)


def test_jobs_that_were_handed_back_are_remembered_until_that_is_applied(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert adoptions.handed_back(home) == frozenset()
    adoptions.hand_back(home, ["a", "b"])
    assert adoptions.handed_back(home) == {"a", "b"}
    adoptions.forget_handed_back(home)
    assert adoptions.handed_back(home) == frozenset()


def test_only_files_that_cron_reads_can_be_adopted(tmp_path: Path) -> None:
    folder = tmp_path / "cron.d"
    folder.mkdir()
    for name, why in (("jobs~", "cron ignores"), ("../elsewhere", "no cron reads")):
        (folder / name).write_text("")
        with pytest.raises(InputError, match=why):
            livecron.cron_file(folder / name)
    (folder / "link").symlink_to(folder / "jobs~")
    with pytest.raises(InputError, match="link"):
        livecron.cron_file(folder / "link")


def test_a_file_is_replaced_with_another_time_of_modification_for_cron_knows_it_to_the_second(tmp_path: Path) -> None:
    _, adoption, file = begun(tmp_path)
    before = int(file.stat().st_mtime)
    adoption.target.install(adoption.folder / "original", timeout_s=5)
    assert int(file.stat().st_mtime) != before
    assert file.read_bytes() == ORIGINAL
