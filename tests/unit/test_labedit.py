"""Merging imported jobs into the text of a lab file."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.core.errors import InputError, RefusedError
from homelab.home.labedit import Merged, Tie, lab_timezone, locked, merge, new_lab, write
from homelab.home.labmatch import NewJob

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


def jobs_of(text: str) -> dict[str, dict[str, Any]]:
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


# --- who is who, when a crontab comes again ---------------------------------------------------------------------------


def crontab(*lines: str) -> list[NewJob]:
    """Jobs as an import makes them: `SCHEDULE|COMMAND`, named by the last part of the command's first word."""
    jobs: list[NewJob] = []
    for number, line in enumerate(lines, start=1):
        schedule, _, run = line.partition("|")
        name = run.split(" ")[0].rpartition("/")[2].partition(".")[0]
        jobs.append(NewJob(name=name, line=number, settings={"schedule": schedule, "run": run}))
    return jobs


BASE = ("0 1 * * *|/opt/dump.sh", "0 2 * * *|/opt/upload.sh --to s3", "0 3 * * *|/opt/report.sh")


def again(*lines: str) -> Merged:
    text = merged(LAB, *crontab(*BASE))
    return merge({"lab.toml": text}, "lab.toml", crontab(*lines), source="/etc/c")


def outcome(result: Merged) -> dict[str, list[str]]:
    kinds = ("added", "updated", "renumbered", "unchanged", "removed", "kept")
    return {kind: getattr(result, kind) for kind in kinds if getattr(result, kind)}


def test_moved_lines_are_the_same_jobs() -> None:
    assert outcome(again(BASE[2], BASE[0], BASE[1])) == {"renumbered": ["report", "dump", "upload"]}


def test_an_edited_command_at_its_spot_is_the_same_job_under_its_old_name() -> None:
    result = again(BASE[0], "0 2 * * *|/opt/uploads.sh --to s3", BASE[2])
    assert outcome(result) == {"updated": ["upload"], "unchanged": ["dump", "report"]}
    assert jobs_of(result.texts["lab.toml"])["upload"]["run"] == "/opt/uploads.sh --to s3"
    assert again(BASE[0], "0 2 * * *|/srv/bin/upload.sh --to s3", BASE[2]).updated == ["upload"]


def test_an_edited_command_is_found_although_lines_were_put_before_it() -> None:
    result = again("5 5 * * *|/opt/fresh.sh", BASE[0], "0 2 * * *|/opt/uploads.sh --to s3", BASE[2])
    assert outcome(result) == {"added": ["fresh"], "updated": ["upload"], "renumbered": ["dump", "report"]}


def test_another_command_at_another_time_at_the_same_spot_is_another_job() -> None:
    result = again(BASE[0], "7 7 * * *|/opt/uplord.sh", BASE[2])
    assert (result.added, result.removed) == (["uplord"], ["upload"])
    result = again(BASE[0], "0 2 * * *|/usr/bin/certbot renew", BASE[2])
    assert (result.added, result.removed) == (["certbot"], ["upload"])


def test_two_alike_jobs_are_not_taken_for_each_other() -> None:
    text = merged(LAB, *crontab("0 1 * * *|/opt/sync-a.sh", "0 1 * * *|/opt/sync-b.sh"))
    new = crontab("0 1 * * *|/opt/sync-a2.sh", "0 1 * * *|/opt/sync-a.sh", "0 1 * * *|/opt/sync-b2.sh")
    result = merge({"lab.toml": text}, "lab.toml", new, source="/etc/c")
    assert jobs_of(result.texts["lab.toml"])["sync-a"]["run"] == "/opt/sync-a.sh"
    assert jobs_of(result.texts["lab.toml"])["sync-b"]["run"] == "/opt/sync-b2.sh"
    assert result.added == ["sync-a2"]


commands = st.lists(
    st.tuples(st.sampled_from(["0 1 * * *", "0 2 * * *"]), st.sampled_from(["/a/x.sh", "/a/y.sh 1", "/a/y.sh 2", "z"])),
    min_size=1, max_size=6, unique=True,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(commands, commands)
def test_no_job_is_doubled_or_forgotten_and_the_second_time_changes_nothing(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    def made(lines: list[tuple[str, str]]) -> list[NewJob]:
        return [
            NewJob(
                name=f"{run[3:4] or 'z'}{run[-1]}-{schedule[2]}", line=n, settings={"schedule": schedule, "run": run}
            )
            for n, (schedule, run) in enumerate(lines, start=1)
        ]

    text = merged(LAB, *made(first))
    result = merge({"lab.toml": text}, "lab.toml", made(second), source="/etc/c")
    after = result.texts["lab.toml"]
    here = [(j["schedule"], j["run"]) for j in jobs_of(after).values() if "imported" in j]
    assert sorted(here) == sorted(second)
    assert len(result.added) + len(result.updated) + len(result.renumbered) + len(result.unchanged) == len(second)
    assert after.startswith(LAB)
    assert merged(after, *made(second)) == after


# --- ties -------------------------------------------------------------------------------------------------------------


def tied(text: str, *jobs: NewJob, **ties: Tie) -> Merged:
    return merge({"lab.toml": text}, "lab.toml", jobs, source="/etc/c", decide=lambda _: ties)


def test_a_job_that_joins_loses_its_time_and_remembers_it() -> None:
    dump, upload = job("dump"), job("upload", schedule="@hourly")
    text = tied(LAB, dump, upload, upload=Tie(needs={"dump": {}}, joins=True, answered=("dump",))).texts["lab.toml"]
    made = jobs_of(text)["upload"]
    assert (made.get("schedule"), made["needs"]) == (None, ["dump"])
    assert {k: made["imported"][k] for k in ("schedule", "answered")} == {"schedule": "@hourly", "answered": ["dump"]}
    assert merged(text, dump, upload) == text  # it does not come back
    assert merge({"lab.toml": text}, "lab.toml", [dump], source="/etc/c").removed == ["upload"]  # not "changed by hand"


def test_a_job_that_joined_keeps_following_when_its_command_changes() -> None:
    dump, upload = job("dump"), job("upload", schedule="@hourly")
    text = tied(LAB, dump, upload, upload=Tie(needs={"dump": {}}, joins=True)).texts["lab.toml"]
    made = jobs_of(merged(text, dump, job("upload", "upload --fast", schedule="@weekly")))["upload"]
    assert (made.get("schedule"), made["needs"], made["run"]) == (None, ["dump"], "upload --fast")
    assert made["imported"]["schedule"] == "@weekly"


def test_a_condition_leaves_the_time_and_what_a_person_said_about_the_need() -> None:
    text = merged(LAB, job("feed"), job("digest")).replace('run = "digest"', 'run = "digest"\nneeds = ["mine"]  # !')
    made = jobs_of(
        tied(text, job("feed"), job("digest"), digest=Tie(needs={"feed": {"within": "1h"}})).texts["lab.toml"]
    )
    assert made["digest"]["needs"] == ["mine", {"job": "feed", "within": "1h"}]
    assert made["digest"]["schedule"] == "@daily"


def test_a_job_gets_its_time_back_when_what_it_followed_has_left_the_crontab() -> None:
    dump, upload = job("dump"), job("upload", schedule="@hourly")
    text = tied(LAB, dump, upload, upload=Tie(needs={"dump": {}}, joins=True)).texts["lab.toml"]
    made = jobs_of(merged(text, upload))["upload"]
    assert (made.get("schedule"), made.get("needs")) == ("@hourly", None)
    assert "schedule" not in made["imported"]


def test_a_job_that_a_person_made_others_need_stays() -> None:
    text = merged(LAB, job("dump"), job("b")).replace('run = "true"', 'run = "true"\nneeds = ["dump"]')
    result = merge({"lab.toml": text}, "lab.toml", [job("b")], source="/etc/c")
    assert (result.removed, result.kept) == ([], ["dump"])


def test_groups_are_added_once_and_hand_made_ones_stay() -> None:
    text = merged(LAB, job("a")).replace('run = "a"', 'run = "a"\nexclusive = ["mine"]')
    for _ in range(2):
        text = tied(text, job("a"), a=Tie(exclusive=("app-lock",), answered=("exclusive app-lock",))).texts["lab.toml"]
    assert jobs_of(text)["a"]["exclusive"] == ["mine", "app-lock"]
    assert jobs_of(text)["a"]["imported"]["answered"] == ["exclusive app-lock"]
