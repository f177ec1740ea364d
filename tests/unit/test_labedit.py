"""Merging imported jobs into the text of a lab file."""

import tomllib
from pathlib import Path

import pytest

from homelab.core.errors import InputError, RefusedError
from homelab.home.labedit import NewJob, lab_timezone, locked, merge, new_lab, write

LAB = """\
# my lab
[lab]
name = "home"  # not work
timezone = "UTC"

[jobs.mine]
run = "true"   # by hand

[notify]
urls = []  # later
"""


def job(name: str, run: str = "", *, line: int = 1, needs: tuple[str, ...] = (), **settings: str) -> NewJob:
    return NewJob(name=name, line=line, settings={"schedule": "@daily", "run": run or name, **settings}, needs=needs)


def merged(text: str, *jobs: NewJob, source: str = "/etc/c") -> str:
    return merge({"lab.toml": text}, "lab.toml", jobs, source=source).texts["lab.toml"]


def jobs_of(text: str) -> dict[str, dict[str, object]]:
    return tomllib.loads(text)["jobs"]


def test_new_jobs_go_to_the_end_and_everything_else_stays_as_it_is() -> None:
    text = merged(LAB, job("a", 'echo "x" \\n', line=3))
    assert text.startswith(LAB)
    assert jobs_of(text)["a"]["run"] == 'echo "x" \\n'
    assert jobs_of(text)["a"]["imported"]["file"] == "/etc/c"


def test_the_same_jobs_again_change_no_byte() -> None:
    once = merged(LAB, job("a"), job("b"))
    assert merged(once, job("a"), job("b")) == once


def test_a_changed_schedule_is_renewed_and_settings_made_by_hand_stay() -> None:
    by_hand = merged(LAB, job("a")).replace('run = "a"', 'run = "a"\nretries = 3  # it is flaky')
    text = merged(by_hand, job("a", schedule="@hourly"))
    assert jobs_of(text)["a"]["schedule"] == "@hourly"
    assert "retries = 3  # it is flaky" in text
    assert text.replace("@hourly", "@daily").splitlines()[:12] == by_hand.splitlines()[:12]


def test_a_job_changed_by_hand_is_left_alone_while_the_crontab_is_the_same() -> None:
    by_hand = merged(LAB, job("a")).replace('run = "a"', 'run = "better"')
    assert merged(by_hand, job("a")) == by_hand


def test_a_job_that_moved_only_gets_its_new_line() -> None:
    text = merged(merged(LAB, job("a", line=1)), job("a", line=9))
    assert text == merged(LAB, job("a", line=1)).replace("line = 1", "line = 9")


def test_a_job_keeps_the_name_it_has_in_the_lab_file() -> None:
    renamed = merged(LAB, job("a")).replace("[jobs.a]", "[jobs.nightly]")
    assert merged(renamed, job("a")) == renamed
    assert set(jobs_of(merged(renamed, job("a", schedule="@hourly")))) == {"mine", "nightly"}


def test_a_job_that_left_the_crontab_is_removed_unless_it_was_changed_by_hand() -> None:
    text = merged(LAB, job("a"), job("b")).replace('run = "b"', 'run = "b"\nretries = 1')
    result = merge({"lab.toml": text}, "lab.toml", [job("c")], source="/etc/c")
    assert (result.added, result.removed, result.kept) == (["c"], ["a"], ["b"])
    assert set(jobs_of(result.texts["lab.toml"])) == {"mine", "b", "c"}


def test_nothing_is_removed_when_the_source_is_in_doubt() -> None:
    text = merged(LAB, job("a"), job("b"))
    result = merge({"lab.toml": text}, "lab.toml", [job("a")], source="/etc/c", removes=False)
    assert (result.removed, result.kept, result.texts["lab.toml"]) == ([], ["b"], text)
    with pytest.raises(RefusedError):
        merged(text)


def test_removing_a_job_keeps_the_comments_around_it() -> None:
    text = (
        merged(LAB, job("a"), job("b"))
        .replace("[jobs.b]", "# about b\n[jobs.b]")
        .replace("[jobs.a]", "# about a\n[jobs.a]")
    )
    shorter = merged(text, job("b"))
    assert set(jobs_of(shorter)) == {"mine", "b"}
    assert "# about a\n" in shorter
    assert "# about b\n[jobs.b]" in shorter


def test_jobs_of_another_source_and_of_hand_are_not_touched() -> None:
    text = merged(LAB, job("a"), source="/etc/one")
    both = merged(text, job("a", "other"), job("mine", "x"), source="/etc/two")
    assert both.startswith(text)
    assert {name: j["run"] for name, j in jobs_of(both).items()} == {
        "mine": "true",
        "a": "a",
        "a-2": "other",
        "mine-2": "x",
    }
    assert merged(both, job("a", "other"), job("mine", "x"), source="/etc/two") == both


def test_jobs_between_other_tables_are_found_changed_and_removed() -> None:
    text = merged("", job("a"), job("b")) + "\n[notify]\nurls = []  # later\n\n[jobs.hand]\nrun = 'x' # mine\n"
    text = merged(text, job("a"), job("b"), job("c"))
    changed = merged(text, job("a", schedule="@hourly"), job("c"))
    assert {name: j.get("schedule") for name, j in jobs_of(changed).items()} == {
        "a": "@hourly",
        "c": "@daily",
        "hand": None,
    }
    assert "urls = []  # later" in changed
    assert "run = 'x' # mine" in changed


def test_a_job_in_an_included_file_is_renewed_there() -> None:
    texts = {"lab.toml": LAB, "jobs/a.toml": merged("", job("a"))}
    result = merge(texts, "lab.toml", [job("a", schedule="@hourly")], source="/etc/c")
    assert result.texts["lab.toml"] == LAB
    assert jobs_of(result.texts["jobs/a.toml"])["a"]["schedule"] == "@hourly"


def test_a_chain_waits_for_the_job_before_whatever_its_outcome() -> None:
    text = merged(LAB, job("mine", "one"), job("two", needs=("mine",)))
    assert jobs_of(text)["two"]["needs"] == [{"job": "mine-2", "when": "always"}]


@pytest.mark.parametrize("value", ["tab\there", "\x1b[31m", 'it\'s "both"', "ü\\n", "'''", "a\nb", "trailing\\"])
def test_any_command_survives_the_way_into_the_file(value: str) -> None:
    assert jobs_of(merged(LAB, job("a", value)))["a"]["run"] == value


def test_a_broken_lab_file_is_an_error_with_its_line() -> None:
    with pytest.raises(InputError, match=r"lab\.toml:2"):
        merged("[lab]\nname = \n", job("a"))


def test_a_new_lab_has_its_name_and_zone() -> None:
    assert lab_timezone(new_lab("attic", "Europe/Oslo"), "x") == "Europe/Oslo"
    assert lab_timezone('[lab]\ntimezone = "UTC"\n[defaults]\ntimezone = "Asia/Tokyo"\n', "x") is None


def test_writing_keeps_mode_and_link(tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    real.write_text("a")
    real.chmod(0o600)
    link = tmp_path / "lab.toml"
    link.symlink_to(real)
    with locked(link):
        write(link, "b = 1\n")
    assert (real.read_text(), real.stat().st_mode & 0o777, link.is_symlink()) == ("b = 1\n", 0o600, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.toml", "real.toml"]
