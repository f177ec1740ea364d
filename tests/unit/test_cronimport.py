"""What an import would do with suggestions: taken, declined, remembered, decided again."""

import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus.measure import cases

from homelab.cli.cronimport import Accept, Plan, plan
from homelab.cli.cronread import Reading
from homelab.core.crontab import parse
from homelab.core.labfile import parse as check
from homelab.home.labedit import new_lab

AT = datetime(2026, 11, 24, tzinfo=UTC)
PATH = Path("/lab/lab.toml")


@dataclass(kw_only=True)
class Suggested(Reading):
    """A reading whose suggestions are given."""

    given: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def suggestions(self) -> list[dict[str, Any]]:
        return self.given


def needs(up: int, down: int, confidence: str = "high") -> dict[str, Any]:
    return {
        "kind": "needs", "lines": [up, down], "upstream_line": up, "downstream_line": down,
        "confidence": confidence, "evidence": f"/data/{up}", "reason": "one writes it, one reads it",
    }  # fmt: skip


def lock(*lines: int, evidence: str = "flock /run/app.lock") -> dict[str, Any]:
    return {
        "kind": "exclusive", "lines": list(lines), "upstream_line": lines[0], "downstream_line": lines[1],
        "confidence": "high", "evidence": evidence, "reason": "they share a lock",
    }  # fmt: skip


TEXT = "0 2 * * * /opt/dump.sh\n30 2 * * * /opt/upload.sh\n0 * * * * /opt/feed.sh\n0 6 * * * /opt/digest.sh\n"


def planned(
    text: str,
    *given: dict[str, Any],
    lab: str = "",
    accept: Accept = "none",
    answers: dict[str, bool] | None = None,
    again: bool = False,
) -> Plan:
    reading = Suggested(file="crontab.txt", jobs=parse(text, user="ada", home="/home/ada").jobs, given=list(given))
    before = {str(PATH): lab or new_lab("home", "UTC")}
    return plan(
        [(reading, "crontab.txt")],
        PATH,
        timezone="UTC",
        before=before,
        accept=accept,
        answers=answers,
        again=again,
        now=AT,
    )


def lab_of(made: Plan) -> str:
    return made.after[str(PATH)]


def jobs(made: Plan) -> dict[str, Any]:
    lab, problems = check({"lab.toml": lab_of(made)}, main="lab.toml")
    assert lab is not None, problems
    return tomllib.loads(lab_of(made))["jobs"]


def states(made: Plan) -> list[str]:
    return [s.state for s in made.suggestions]


def test_nothing_is_taken_that_nobody_accepted() -> None:
    made = planned(TEXT, needs(1, 2), lock(1, 3))
    assert {name: job["schedule"] for name, job in jobs(made).items()} == {
        "dump": "0 2 * * *", "upload": "30 2 * * *", "feed": "0 * * * *", "digest": "0 6 * * *"
    }  # fmt: skip
    assert states(made) == ["open", "open"]
    assert {row.change for row in made.rows} == {"none"}


def test_accepted_suggestions_are_written_and_the_timetable_says_so() -> None:
    made = planned(TEXT, needs(1, 2), needs(3, 4), needs(2, 4, "low"), lock(1, 3), accept="high")
    found = jobs(made)
    assert (found["upload"]["needs"], "schedule" in found["upload"]) == (["dump"], False)
    assert found["digest"]["needs"] == [{"job": "feed", "within": "1h16m"}]
    assert found["dump"]["exclusive"] == found["feed"]["exclusive"] == ["app-lock"]
    changes = {row.job: row.change for row in made.rows}
    assert changes == {"dump": "none", "upload": "follows", "feed": "none", "digest": "condition"}
    assert [row.before for row in made.rows if row.job == "upload"] == ["at 02:30 every day"]


def test_the_same_crontab_again_changes_no_byte_and_asks_nothing_twice() -> None:
    given = (needs(1, 2), needs(3, 4), lock(1, 3))
    made = planned(TEXT, *given, accept="all")
    again = planned(TEXT, *given, lab=lab_of(made))
    assert (lab_of(again), states(again)) == (lab_of(made), ["accepted"] * 3)
    assert lab_of(planned(TEXT, *given, lab=lab_of(made), accept="all")) == lab_of(made)


def test_what_was_declined_is_not_suggested_again_unless_asked_for() -> None:
    given = (needs(1, 2), lock(1, 3))
    asked = planned(TEXT, *given)
    made = planned(TEXT, *given, answers={s.id: False for s in asked.suggestions})
    assert "needs" not in jobs(made)["upload"]
    again = planned(TEXT, *given, lab=lab_of(made), accept="all")
    assert (states(again), lab_of(again)) == (["declined", "declined"], lab_of(made))
    assert [s.state for s in planned(TEXT, *given, lab=lab_of(made), again=True).open()] == ["open", "open"]


def test_a_need_taken_out_by_hand_does_not_come_back() -> None:
    made = planned(TEXT, needs(1, 2), accept="all")
    by_hand = lab_of(made).replace('needs = ["dump"]', 'schedule = "30 2 * * *"  # on its own again')
    again = planned(TEXT, needs(1, 2), lab=by_hand, accept="all")
    assert (lab_of(again), states(again)) == (by_hand, ["declined"])


def test_a_renamed_job_keeps_its_ties() -> None:
    made = planned(TEXT, needs(1, 2), accept="all")
    by_hand = lab_of(made).replace("[jobs.dump]", "[jobs.nightly]").replace('needs = ["dump"]', 'needs = ["nightly"]')
    again = planned(TEXT, needs(1, 2), lab=by_hand, accept="all")
    assert (lab_of(again), states(again)) == (by_hand, ["accepted"])


def test_an_accepted_need_is_decided_again_when_the_crontab_changes_its_times() -> None:
    made = planned(TEXT, needs(1, 2), accept="all")
    later = planned(TEXT.replace("30 2", "0 20"), needs(1, 2), lab=lab_of(made))
    found = jobs(later)["upload"]
    assert (found["schedule"], found["needs"][0]["job"]) == ("0 20 * * *", "dump")
    assert "within" in found["needs"][0]
    back = planned(TEXT, needs(1, 2), lab=lab_of(later))
    assert (jobs(back)["upload"]["needs"], "schedule" in jobs(back)["upload"]) == (["dump"], False)


def test_a_time_that_the_upstream_moves_to_is_decided_again_for_what_follows_it() -> None:
    made = planned(TEXT, needs(1, 2), accept="all")
    moved = planned(TEXT.replace("0 2 * * * /opt/d", "0 14 * * * /opt/d"), needs(1, 2), lab=lab_of(made))
    assert jobs(moved)["upload"]["schedule"] == "30 2 * * *"
    assert [row.after for row in moved.rows if row.job == "upload"] == [
        "at 02:30 every day, if dump succeeded within 1d30m"
    ]


def test_needs_a_person_wrote_stay_as_they_are() -> None:
    lab = lab_of(planned(TEXT)).replace('run = "/opt/digest.sh"', 'needs = ["dump"]  # mine\nrun = "/opt/digest.sh"')
    again = planned(TEXT.replace("/opt/digest.sh", "/opt/digest.sh --long"), lab=lab)
    assert 'needs = ["dump"]  # mine' in lab_of(again)
    assert jobs(again)["digest"]["schedule"] == "0 6 * * *"
    more = planned(TEXT, needs(3, 4), lab=lab, accept="all")
    assert jobs(more)["digest"]["needs"] == ["dump", {"job": "feed", "within": "1h16m"}]


def test_a_job_that_needs_one_of_another_source_keeps_its_time() -> None:
    lab = lab_of(planned(TEXT)).replace('run = "/opt/upload.sh"', 'run = "/opt/upload.sh"\nneeds = ["mine"]')
    lab += '\n[jobs.mine]\nrun = "true"\nschedule = "@hourly"\n'
    found = jobs(planned(TEXT, needs(1, 2), lab=lab, accept="all"))["upload"]
    assert (found["schedule"], found["needs"]) == ("30 2 * * *", ["mine", {"job": "dump", "within": "12h30m"}])


def test_a_circle_is_refused_and_said() -> None:
    text = "0 2 * * * /opt/a.sh\n0 2 * * * /opt/b.sh\n"
    made = planned(text, needs(1, 2), needs(2, 1, "low"), accept="all")
    assert made.refused == [("a needs b", "it would close a circle: a -> b -> a")]
    assert jobs(made)["b"]["needs"] == ["a"]


def test_a_group_without_a_lock_file_is_named_after_its_first_member() -> None:
    made = planned(TEXT, lock(2, 1, evidence="both write /srv/x"), accept="all")
    assert jobs(made)["upload"]["exclusive"] == ["dump-lock"]


def test_a_suggestion_about_a_line_that_is_no_job_is_passed_over() -> None:
    assert planned(TEXT, needs(1, 99), accept="all").suggestions == []


def test_a_job_that_leaves_gives_the_next_one_its_time_back() -> None:
    made = planned(TEXT, needs(1, 2), accept="all")
    without = planned(TEXT.replace("0 2 * * * /opt/dump.sh", "#"), lab=lab_of(made))
    assert without.merged.removed == ["dump"]
    assert (jobs(without)["upload"]["schedule"], "needs" in jobs(without)["upload"]) == ("30 2 * * *", False)
    assert {row.job: row.change for row in without.rows}["upload"] == "schedule"


def test_all_that_is_found_in_the_corpus_makes_a_sound_lab_and_stays() -> None:
    tied = 0
    for case in cases("held_out"):
        parsed = parse(case.crontab, system=case.system, user="me", home="/home/me")
        reading = Reading(file=case.name, jobs=parsed.jobs, scripts=case.scripts)
        texts = {str(PATH): new_lab("home", "UTC")}
        for _ in range(2):
            made = plan([(reading, case.name)], PATH, timezone="UTC", before=texts, accept="all", now=AT)
            assert len(jobs(made)) == len(parsed.jobs)
            assert made.refused == []
            tied += sum(row.change in ("follows", "condition") for row in made.rows)
            texts, before = made.after, texts
        assert texts == before
    assert tied > 10


TIMES = ["0 2 * * *", "30 2 * * *", "0 02 * * *", "0 * * * *", "30 2 * * 1-5", "@reboot", "0 9 * * *", "0 0 30 2 *"]
lines = st.lists(st.sampled_from(TIMES), min_size=2, max_size=5)
pairs = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from(["high", "low"])), max_size=6)


@settings(max_examples=25, deadline=None)
@given(lines, lines, pairs, st.sampled_from(["high", "all"]))
def test_any_import_and_any_change_of_times_after_it_leave_a_sound_lab(
    first: list[str], second: list[str], given: list[tuple[int, int, str]], accept: Accept
) -> None:
    suggestions = [needs(up, down, sure) for up, down, sure in given if up != down]
    lab = ""
    for times in (first, second, second):
        text = "".join(f"{time} /opt/job-{n}.sh\n" for n, time in enumerate(times))
        made = planned(text, *suggestions, lab=lab, accept=accept)
        assert len(jobs(made)) == len(times)
        before, lab = lab, lab_of(made)
    assert lab == before
