"""The review as a page: whatever a crontab holds, it stays text."""

import re
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_cronimport import Suggested, lock, needs

from homelab.cli.cronimport import plan
from homelab.cli.cronpage import page
from homelab.core.crontab import parse
from homelab.core.hazards import CODES, Hazard
from homelab.home.labedit import new_lab

AT = datetime(2026, 11, 24, tzinfo=UTC)


def page_of(text: str, *, evidence: str = "/data/1", hazard: str = "no lock") -> str:
    parsed = parse(text, user="ada", home="/home/ada")
    given = [{**needs(1, 2), "evidence": evidence, "reason": evidence}, lock(1, 2, evidence=evidence)]
    reading = Suggested(file="c", jobs=parsed.jobs, problems=list(parsed.problems), given=given)
    reading.found_hazards = [Hazard(line=1, code="no-lock", message=hazard, hint=hazard)]
    before = {"lab.toml": new_lab("home", "UTC")}
    made = plan([(reading, "c")], Path("lab.toml"), timezone="UTC", before=before, now=AT)
    return page([reading], made, now=AT)


def tags(html: str) -> dict[str, int]:
    body = html.split("</style>", 1)[1]
    found: dict[str, int] = {}
    for name in re.findall(r"<(/?[a-zA-Z!][a-zA-Z0-9]*)", body):
        found[name] = found.get(name, 0) + 1
    return found


PLAIN = "0 2 * * * a\n30 2 * * * b\n61 * * * * bad\n"


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    html = page_of(PLAIN)
    assert "default-src 'none'" in html
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|javascript:|\son\w+=", html)
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', html) == []


def test_it_shows_the_jobs_the_next_times_the_suggestions_and_the_problems() -> None:
    html = page_of(PLAIN)
    for words in (
        "at 02:30 every day",
        "Wed 25 Nov 02:00",
        "/data/1",
        "b needs a",
        "bad minute",
        CODES["no-lock"],
        "Jobs",
    ):
        assert words in html


@settings(max_examples=15, deadline=None)
@given(
    st.text(max_size=40),
    st.sampled_from(
        ["<script>alert(1)</script>", '"><img src=x onerror=y>', "</pre>", "{{ 7*7 }}", "\x1b[2J", "\u202egpj", "&lt;"]
    ),
)
def test_whatever_is_in_a_crontab_stays_text(noise: str, hostile: str) -> None:
    said = f"{noise}{hostile}"
    command = re.sub(r"[\x00\n%]", "", said)
    html = page_of(f"0 2 * * * a{command}\n30 2 * * * b\n61 * * * * bad {command}\n", evidence=said, hazard=said)
    expected = tags(page_of(PLAIN))
    assert tags(html) == expected
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert ("{{ 7*7 }}" in html) == ("{{" in hostile)
    html.encode("utf-8")
