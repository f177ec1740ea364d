"""Old and new times of jobs, in words."""

from datetime import UTC, datetime

from homelab.core.edges import Timing
from homelab.core.jobs import Job, Need
from homelab.core.timetable import Row, effect, timetable

AT = datetime(2026, 11, 24, tzinfo=UTC)


def job(name: str, schedule: str | None = None, *needs: Need, timezone: str = "UTC") -> Job:
    return Job(name=name, schedule=schedule, needs=needs, timezone=timezone)


def rows(before: list[Job], after: list[Job], **durations: float) -> dict[str, Row]:
    made = timetable(
        {j.name: j for j in before}, {j.name: j for j in after}, timezone="UTC", durations=durations or None
    )
    return {row.job: row for row in made}


DUMP, UPLOAD = job("dump", "0 2 * * *"), job("upload", "30 2 * * *")


def test_a_job_that_follows_says_after_what_and_from_when() -> None:
    found = rows([DUMP, UPLOAD], [DUMP, job("upload", None, Need(job="dump"))])
    assert found["dump"].change == "none"
    assert found["upload"] == Row(
        job="upload",
        before="at 02:30 every day",
        after="when dump has succeeded (earliest at 02:00 every day)",
        change="follows",
    )


def test_known_durations_say_how_much_later() -> None:
    after = [DUMP, job("upload", None, Need(job="dump")), job("report", None, Need(job="upload", when="always"))]
    found = rows([], after, dump=240, upload=60)
    assert found["upload"].after.endswith("(earliest at 02:00 every day, about 4m later)")
    assert found["report"].after == "when upload has ended (earliest at 02:00 every day, about 5m later)"
    assert "later" not in rows([], after, upload=60)["report"].after


def test_a_condition_and_a_foreign_zone_are_named() -> None:
    feed = job("feed", "0 * * * *")
    before, after = (
        job("digest", "30 6 * * *", *n, timezone="Asia/Tokyo") for n in ((), (Need(job="feed", within_s=3600),))
    )
    row = rows([feed, before], [feed, after])["digest"]
    assert row.before == "at 06:30 every day (Asia/Tokyo)"
    assert (row.after, row.change) == (f"{row.before}, if feed succeeded within 1h", "condition")


def test_added_removed_and_moved_jobs() -> None:
    found = rows([DUMP, UPLOAD], [job("dump", "0 4 * * *"), job("new", "@reboot"), job("hand")])
    assert {name: row.change for name, row in found.items()} == {
        "dump": "schedule", "new": "added", "hand": "added", "upload": "removed"
    }  # fmt: skip
    assert (found["new"].after, found["hand"].after) == ("when the machine starts", "by hand")


def test_an_effect_says_what_yes_means() -> None:
    def said(up: str, down: str, usual_s: float | None = None) -> str:
        return effect(Timing(schedule=up), Timing(schedule=down), names=("a", "b"), at=AT, usual_s=usual_s)

    assert "02:00 every day at the earliest, instead of at 02:30 every day. If a fails" in said(
        "0 2 * * *", "30 2 * * *"
    )
    assert "at the earliest, usually 4m later, instead of" in said("0 2 * * *", "30 2 * * *", 240)
    assert "instead of beside it" in said("0 2 * * *", "0 2 * * *")
    assert said("0 * * * *", "30 2 * * *").startswith("b keeps its time and runs only if a succeeded within 1h")
    assert said("@reboot", "30 2 * * *").startswith("Nothing: ")
