"""Text of a review: it fits the terminal, whatever is in a crontab."""

import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_cronimport import AT, Suggested, lock, needs

from homelab.cli import cronview
from homelab.cli.cronimport import Plan, plan
from homelab.cli.output import width
from homelab.core.crontab import parse
from homelab.core.hazards import Hazard
from homelab.core.timetable import Row
from homelab.home.labedit import new_lab


def reviewed(text: str, said: str, *given: dict[str, Any]) -> tuple[Suggested, Plan]:
    reading = Suggested(file="c", jobs=parse(text, user="ada", home="/home/ada").jobs, given=list(given))
    reading.found_hazards = [Hazard(line=1, code="no-lock", message=said, hint=said)]
    before = {"lab.toml": new_lab("home", "UTC")}
    made = plan([(reading, "c")], Path("lab.toml"), timezone="UTC", before=before, accept="high", now=AT)
    return reading, made


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=120), st.integers(40, 150))
def test_no_line_is_wider_than_the_terminal_or_moves_its_cursor(noise: str, columns: int) -> None:
    command = re.sub(r"[\x00\n%]", "", noise)
    text = f"0 2 * * * /opt/dump.sh {command}\n30 2 * * * /opt/upload.sh {command}\n0 * * * * feed\n"
    given = ({**needs(1, 2), "evidence": noise, "reason": noise}, lock(1, 3), needs(3, 2, "low"))
    reading, made = reviewed(text, noise, *given)
    lines = [
        *cronview.job_lines(reading, columns=columns, heading=True),
        *cronview.graph_lines(made, columns=columns),
        *cronview.hazard_lines([reading], columns=columns),
        *cronview.suggestions_lines(made, columns=columns),
        *cronview.timetable_lines(made.rows, columns=columns),
        *(line for s in made.suggestions for line in cronview.suggestion_lines(s, [reading], columns=columns)),
    ]
    assert [line for line in lines if width(line) > columns] == []
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(lines))


def test_what_is_equal_is_said_once_with_all_its_lines() -> None:
    reading, _ = reviewed("0 2 * * * a\n0 3 * * * b\n", "x")
    reading.found_hazards = [Hazard(line=n, code="no-lock", message="they meet", hint="Lock them.") for n in (1, 2)]
    (group,) = cronview.hazard_groups([reading])
    assert (group.count, group.rows, group.hints) == (2, (("1, 2", "they meet"),), ("Lock them.",))


def test_a_wide_terminal_gets_the_timetable_in_columns_and_a_narrow_one_in_blocks() -> None:
    rows = [Row(job="upload", before="at 02:30 every day", after="when dump has succeeded", change="follows")]
    wide = cronview.timetable_lines(rows, columns=120)
    assert any("at 02:30 every day" in line and "when dump has succeeded" in line for line in wide)
    narrow = cronview.timetable_lines(rows, columns=80)
    assert "  before  at 02:30 every day" in narrow
    assert "  after   when dump has succeeded" in narrow


def test_only_so_many_rows_are_listed_and_the_rest_is_counted() -> None:
    rows = [Row(job=f"j{n}", before="a", after="b", change="follows") for n in range(30)]
    rows += [Row(job="k", before="a", after="a", change="none")]
    lines = cronview.timetable_lines(rows, columns=80, most=20)
    assert "and 10 more: --dry-run --json lists all" in lines
    assert lines[-1] == "1 job keeps its time"
