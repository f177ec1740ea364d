"""Suggestions: what counts as evidence, what never does, and that nothing but the facts matters."""

import random
import re
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus.measure import Case, cases, suggestions, total

from homelab.core.commands import Script, describe
from homelab.core.crontab import parse
from homelab.core.dependencies import Suggestion, suggest

ALL = cases("cases", "held_out", "later")


def read(crontab: str, **scripts: str) -> tuple[Suggestion, ...]:
    """Suggestions for a crontab; scripts by name, in /s."""
    jobs = parse(crontab, user="me", home="/home/me").jobs
    texts = {f"/s/{name}": Script(path=f"/s/{name}", text=text) for name, text in scripts.items()}
    found = [
        describe(job.command, stdin=job.stdin, environment=job.environment, folder=job.cwd, scripts=texts)
        for job in jobs
    ]
    return suggest(jobs, found)


def edges(crontab: str, **scripts: str) -> list[tuple[int | None, int | None, str]]:
    """Upstream line, downstream line, confidence."""
    return [(s.upstream_line, s.downstream_line, s.confidence) for s in read(crontab, **scripts) if s.kind == "needs"]


# --- measured ---------------------------------------------------------------------------------------------------------


def test_high_means_that_at_least_95_percent_are_true() -> None:
    result = total(ALL)
    assert sum(result.right.values()) >= 90
    assert result.precision("high") >= 0.95, result.mistakes


@pytest.mark.parametrize("folders", [("cases",), ("held_out",), ("later",)])
def test_medium_and_above_are_nearly_all_true_and_find_most(folders: tuple[str, ...]) -> None:
    result = total(cases(*folders))
    assert result.precision("high", "medium") >= 0.90, result.mistakes
    assert result.recall("high", "medium") >= 0.80, result.mistakes


# --- properties -------------------------------------------------------------------------------------------------------


def texts_of(case: Case) -> str:
    return "\n".join([case.crontab, *(script.text for script in case.scripts.values())])


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_every_suggestion_rests_on_text_that_is_there(case: Case) -> None:
    for one in suggestions(case):
        assert one.sources
        for piece in one.sources:
            assert piece.text
            assert piece.text in texts_of(case)
            assert piece.text in one.evidence or one.kind == "needs"
            if piece.file:
                assert piece.text.strip() in case.scripts[piece.file].text.splitlines()[piece.file_line - 1]
        assert one.sources[0].text in one.evidence


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_no_pair_is_suggested_in_both_directions_and_there_is_no_circle(case: Case) -> None:
    found = [(s.upstream_line, s.downstream_line) for s in suggestions(case) if s.kind == "needs"]
    assert len(set(found)) == len(found)
    waiting = {line: {up for up, down in found if down == line} for _, line in found}
    while waiting:
        free = [line for line, ups in waiting.items() if not ups & waiting.keys()]
        assert free, "a circle"
        for line in free:
            del waiting[line]


def held(one: Suggestion, jobs: dict[int, str]) -> list[str]:
    return sorted(jobs[line] for line in one.lines if one.kind == "exclusive")


def named(case: Case, crontab: str | None = None) -> set[tuple[str, ...]]:
    """Suggestions by the commands they are about, which stay the same when lines move."""
    jobs = {job.line: f"{job.schedule} {job.command}" for job in parse_case(case, crontab)}
    return {
        (s.kind, s.confidence, jobs.get(s.upstream_line or 0, ""), jobs.get(s.downstream_line or 0, ""), *held(s, jobs))
        for s in suggestions(case, crontab)
    }


def parse_case(case: Case, crontab: str | None = None):
    return parse(crontab or case.crontab, system=case.system, user="me", home="/home/me").jobs


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.randoms(use_true_random=False))
def test_the_order_of_lines_and_comments_change_nothing(case: Case, chance: random.Random) -> None:
    rows = [row for row in case.crontab.splitlines() if row.strip() and not row.startswith("#")]
    jobs = [row for row in rows if re.match(r"\s*[@*\d]", row)]
    head = [row for row in rows if row not in jobs]
    if any("=" not in row for row in head) or case.crontab.index(jobs[0]) < case.crontab.rindex(
        (head or [jobs[0]])[-1]
    ):
        return  # an assignment between the jobs holds for those below it
    chance.shuffle(jobs)
    mixed = [line for job in jobs for line in ("# a comment, 5 * * * * /not/a/job", job)]
    assert named(case, "\n".join([*head, *mixed, ""])) == named(case)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([case for case in ALL if case.scripts]), st.integers(0, 10**6))
def test_comments_in_scripts_and_other_names_for_variables_change_nothing(case: Case, number: int) -> None:
    scripts = {}
    for path, script in case.scripts.items():
        text = script.text
        if path.endswith((".sh", "/grab", "/sort-downloads", "/merge")):
            own = set(re.findall(r"^\s*([a-z][a-z_]+)=", text, re.MULTILINE))
            for name in own:
                text = re.sub(rf"(?<![\w/.-]){name}(?==)", f"{name}_{number}", text)
                text = re.sub(rf"\$(\{{?){name}(?!\w)", rf"$\g<1>{name}_{number}", text)
            first, _, rest = text.partition("\n")
            text = f"{first}\n# rm -rf /srv > /dev/sda\n{rest}"
        scripts[path] = Script(path=path, text=text)
    other = Case(**{**case.__dict__, "scripts": scripts})
    assert named(other) == named(case)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_same_input_gives_the_same_output(case: Case) -> None:
    assert suggestions(case) == suggestions(case)


# --- single rules -----------------------------------------------------------------------------------------------------


def test_a_file_written_and_read_is_high() -> None:
    assert edges("0 1 * * * date > /d/a.txt\n0 2 * * * cat /d/a.txt\n") == [(1, 2, "high")]


def test_the_writer_is_upstream_whatever_the_order_of_the_lines_and_the_hours() -> None:
    assert edges("0 1 * * * cat /d/a.txt\n0 23 * * * date > /d/a.txt\n") == [(2, 1, "high")]


def test_times_that_follow_each_other_are_no_evidence() -> None:
    assert edges("0 1 * * * /opt/a\n5 1 * * * /opt/b\n10 1 * * * /opt/c\n") == []


def test_a_lock_is_exclusion_and_never_an_order() -> None:
    (one,) = read("0 1 * * * flock /l/x /opt/a\n0 2 * * * flock /l/x /opt/b\n")
    assert (one.kind, one.lines, one.upstream_line, one.downstream_line) == ("exclusive", (1, 2), None, None)


def test_a_shared_log_is_no_dependency() -> None:
    assert read("0 1 * * * /opt/a >> /var/log/x.log 2>&1\n0 2 * * * /opt/b >> /var/log/x.log 2>&1\n") == ()


def test_a_report_of_a_log_is_medium() -> None:
    assert edges("0 1 * * * /opt/a > /var/log/a.log 2>&1\n0 7 * * * mail -s a me < /var/log/a.log\n") == [
        (1, 2, "medium")
    ]


def test_pruning_by_age_is_at_most_low() -> None:
    found = edges("0 1 * * * pg_dump a > /b/a-$(date +\\%F).sql\n0 2 * * * find /b -mtime +7 -delete\n")
    assert [confidence for *_, confidence in found] in ([], ["low"])


def test_what_both_read_and_write_is_common_state() -> None:
    assert read("0 * * * * sort -o /d/s /d/s\n30 * * * * sed -i 1d /d/s\n") == ()


def test_a_temporary_name_used_by_two_is_nothing_between_them() -> None:
    one = "date > /tmp/o && mail -s x me < /tmp/o"
    assert read(f"0 1 * * * {one}\n0 2 * * * {one} && true\n") == ()


def test_of_two_jobs_that_write_the_same_file_the_nearest_counts() -> None:
    found = edges("0 1 * * * date > /d/a\n0 3 * * * uptime > /d/a\n0 4 * * * cat /d/a\n")
    assert (2, 3, "high") in found
    assert (1, 3, "high") not in found


def test_an_edge_that_follows_from_others_is_left_out() -> None:
    crontab = "0 1 * * * pg_dump a > /b/a.sql\n0 2 * * * gzip /b/a.sql\n0 3 * * * rclone copy /b r:b\n"
    assert edges(crontab) == [(1, 2, "high"), (2, 3, "high")]


def test_an_edge_with_a_file_of_its_own_stays() -> None:
    crontab = "0 1 * * * pg_dump a > /b/a.sql\n0 2 * * * gzip -k /b/a.sql\n0 3 * * * rclone copy /b r:b\n"
    assert edges(crontab) == [(1, 2, "high"), (1, 3, "high"), (2, 3, "high")]


def test_a_job_at_boot_is_no_sure_upstream() -> None:
    assert edges("@reboot date > /d/a\n0 3 * * * cat /d/a\n") == [(1, 2, "low")]


def test_two_crontab_lines_of_one_script_are_told_apart_by_their_arguments() -> None:
    script = "#!/bin/sh\ncase $1 in in) date > /d/a ;; out) cat /d/a ;; esac\n"
    assert edges("0 1 * * * /s/x in\n0 2 * * * /s/x out\n", x=script) == [(1, 2, "high")]


def test_many_jobs_are_compared_in_reasonable_time() -> None:
    lines = [f"{n % 60} {n % 24} * * * cat /srv/{n % 7}/in > /srv/{n % 11}/out-{n}.txt" for n in range(1000)]
    start = time.process_time()
    read("\n".join(lines) + "\n")
    assert time.process_time() - start < 10


def test_the_needs_of_the_example_lab_are_found_in_the_crontab_it_came_from() -> None:
    folder = Path(__file__).parents[2] / "examples/reference-lab"
    jobs = parse((folder / "crontab").read_text(), user="lab", home="/home/lab").jobs
    paths = {f"/srv/reference-lab/scripts/{path.name}": path for path in (folder / "scripts").glob("*.*")}
    scripts = {name: Script(path=name, text=path.read_text()) for name, path in paths.items()}
    found = suggest(jobs, [describe(j.command, environment=j.environment, folder=j.cwd, scripts=scripts) for j in jobs])
    lab = tomllib.loads((folder / "lab.toml").read_text())["jobs"]
    names = dict(zip([job.line for job in jobs], lab, strict=True))  # in the same order
    true = {
        (need if isinstance(need, str) else need["job"], name)
        for name, job in lab.items()
        for need in job.get("needs", [])
    }
    high = {
        (names[s.upstream_line or 0], names[s.downstream_line or 0])
        for s in found
        if s.kind == "needs" and s.confidence != "low"
    }
    assert len(high & true) / len(true) >= 0.80, true - high
    after = {name: {up for up, down in true if down == name} for name in lab}
    for _ in lab:  # what follows from the needs
        after = {name: ups.union(*(after[up] for up in ups)) for name, ups in after.items()}
    others = {pair for pair in high if pair[0] not in after[pair[1]]}
    assert others <= {("heartbeat", "hourly-report")}  # true, and not worth a need to who made the lab
