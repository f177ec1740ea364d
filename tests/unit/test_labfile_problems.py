"""What a bad lab file gets: every problem at once, each at its place, with what to do."""

import time
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.core.jobs import Flow
from homelab.core.labfile import Problem, parse


def problems_of(text: str, **included: str) -> list[Problem]:
    files = {"lab.toml": dedent(text), **{f"jobs/{name}.toml": dedent(t) for name, t in included.items()}}
    _, problems = parse(files, main="lab.toml")
    return problems


def codes(problems: list[Problem]) -> list[tuple[str, int, int]]:
    return [(p.code, p.line, p.column) for p in problems]


def test_every_problem_is_reported_at_once_at_its_place() -> None:
    found = problems_of(
        """\
        [lab]
        timezone = "Europe/Berln"
        [jobs.a]
        run = "x"
        schdule = "@daily"
        [jobs.b]
        run = "x"
        needs = ["a", "aa"]
        timeout = "30x"
        [jobs.c]
        run = "x"
        needs = [
          "d",
        ]
        [jobs.d]
        run = "x"
        needs = [{ when = "success", job = "c" }]
        [jobs.a]
        run = "y"
        [jobs.e]
        run = "x"
        flow = "m:f"
        secrets.KEY = "hunter2"
        [jobs.f]
        [jobs.g]
        run = "x"
        output_limit = "10 parsecs"
        retries = { max = 3, dely = "1m" }
        """
    )
    assert codes(found) == [
        ("timezone", 2, 12),
        ("unknown-key", 5, 1),
        ("unknown-need", 8, 15),
        ("duration", 9, 11),
        ("cycle", 17, 10),
        ("duplicate", 18, 1),
        ("run-or-flow", 22, 1),
        ("secret", 23, 15),
        ("run-or-flow", 24, 7),
        ("size", 27, 16),
        ("unknown-key", 28, 22),
    ]
    by_code = {p.code: p for p in found}
    assert by_code["timezone"].hint == "Did you mean 'Europe/Berlin'?"
    assert by_code["unknown-need"].hint == "Did you mean 'a'?"
    assert "c -> d -> c" in by_code["cycle"].message
    assert "first at line 3" in by_code["duplicate"].message
    assert not any("hunter2" in p.message + p.hint for p in found)


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ("schedule = 5", "type", 12),
        ('schedule = "  "', "value", 12),
        ('needs = ["job"]', "cycle", 10),
        ('needs = "nope"', "unknown-need", 9),
        ("needs = [{ when = 'always' }]", "missing", 10),
        ('flow = "not a function"', "value", 8),
        ("environment = { A = true }", "type", 21),
        ('environment = { "A=B" = "x" }', "name", 17),
        ('secrets = { "A B" = "env:X" }', "name", 13),
        ('overlap = "forbit"', "value", 11),
        ("retries = -1", "value", 11),
        ("retries = { jitter = 2 }", "value", 22),
        ("retries = true", "type", 11),
        ("timeout = 0", "duration", 11),
        ("grace = nan", "duration", 9),
        ('queue = "nope"', "unknown-queue", 9),
        ('tags = ["a", 3]', "type", 14),
        ('user = "a b"', "value", 8),
        ('cwd = "a\\u0000b"', "value", 7),
        ("paused = 'yes'", "type", 10),
        ('notify = { on = ["fail"] }', "value", 18),
        ('notify.urls = ["not a url"]', "url", 16),
        ('stdin = """\nx"""\nx = 1', "unknown-key", 1),
        ('environment.X."y" = 1', "type", 13),
        ("run = 3", "duplicate", 1),
    ],
)
def test_a_bad_setting_is_reported_where_it_is(line: str, code: str, column: int) -> None:
    found = problems_of(f'[jobs.job]\nrun = "x"\n{line}\n')
    assert (code, column) in [(p.code, p.column) for p in found]
    assert all(p.line >= 3 for p in found)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("[jobs.a]\nrun = hello\n", 2, 7, "quotes"),
        ('[jobs.a]\nrun: "x"\n', 2, 4, "name = value"),
        ('[jobs.a]\nrun = "x\n', 2, 9, "quote is missing"),
        ('[jobs.a]\nneeds = ["b"\n[jobs.b]\nrun = "x"\n', 2, 9, "closing ]"),
        ('[jobs.a]\nrun = """x\n\n', 2, 7, "three quotes"),
        ("[jobs.a]\nrun = 'a\x00b'\n", 2, 9, "toml"),
        ("[jobs.a\nrun = 'b'\n", 1, 8, "toml"),
        ("a = " + "9" * 5000, 1, 5, "Shorten"),
        ("a." * 5000 + "b = 1", 1, 65, "levels"),
        ("a = " + "[" * 5000, 1, 37, "levels"),
    ],
)
def test_what_is_not_toml_is_reported_with_its_place_and_a_remedy(
    text: str, line: int, column: int, words: str
) -> None:
    first = problems_of(text)[0]
    assert (first.code, first.line, first.column) == ("syntax", line, column)
    assert words in first.hint


def test_a_mistake_in_one_statement_does_not_hide_the_others() -> None:
    found = problems_of("[jobs.a]\nrun = x\nneeds = ['nope']\n[jobs.b]\n")
    assert codes(found) == [("syntax", 2, 7), ("unknown-need", 3, 10), ("run-or-flow", 4, 7)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('jobs.a.run = "x"\n[jobs.a]\nschedule = "@daily"\n', 2, "job 'a' is defined twice, first at line 1"),
        ('[jobs]\na = { run = "x" }\n[jobs.a]\nrun = "y"\n', 3, "job 'a' is defined twice, first at line 2"),
        ('jobs = { a = { run = "x" } }\n[jobs.b]\nrun = "y"\n', 2, "job 'b' cannot be added to what line 1 defines"),
        ('[jobs.a]\nrun = "x"\nrun.more = "y"\n', 3, "cannot be added to what line 2 defines"),
        ('[jobs.a]\nrun = "x"\n"run" = "y"\n', 3, "'run' in 'jobs.a' is defined twice, first at line 2"),
    ],
)
def test_what_is_defined_twice_in_other_words_names_the_first_place(text: str, line: int, words: str) -> None:
    found = problems_of(text)
    assert [(p.code, p.line) for p in found] == [("duplicate", line)]
    assert words in found[0].message


def test_a_job_in_two_files_names_both_places() -> None:
    found = problems_of("lab.include = 'jobs/*.toml'\n[jobs.a]\nrun = 'x'\n", more="\n[jobs.a]\nrun = 'y'\n")
    assert [(p.file, p.line, p.column) for p in found] == [("jobs/more.toml", 2, 7)]
    assert "first at lab.toml:2" in found[0].message


def test_settings_of_the_lab_do_not_belong_in_an_included_file() -> None:
    found = problems_of("lab.include = ['jobs/more.toml', 'gone.toml']", more="[worker]\nconcurrency = 3\n")
    assert [(p.file, p.code) for p in found] == [("lab.toml", "include"), ("jobs/more.toml", "misplaced")]


def test_a_job_whose_needs_have_different_schedules_is_told_to_have_one() -> None:
    found = problems_of(
        """\
        jobs.a = { run = "x", schedule = "@daily" }
        jobs.b = { run = "x", schedule = "@hourly" }
        jobs.c = { run = "x", needs = ["a", "b"] }
        """
    )
    assert codes(found) == [("no-schedule", 3, 31)]
    assert "schedule" in found[0].hint


def test_a_setting_without_effect_is_a_warning() -> None:
    text = 'jobs.a = { run = "x" }\njobs.b = { run = "x", needs = [{ job = "a", within = "1h" }] }\n'
    lab, found = parse({"lab.toml": text}, main="lab.toml")
    assert lab is not None
    assert [(p.severity, p.code) for p in found] == [("warning", "no-effect")]


def test_a_bad_schedule_is_reported_at_the_column_of_the_mistake() -> None:
    found = problems_of('[jobs.a]\nrun = "x"\nschedule = "0 25 * * *"\n')
    assert codes(found) == [("schedule", 3, 15)]


def test_control_characters_of_names_are_shown_and_not_obeyed() -> None:
    found = problems_of('[jobs."a\\u001b[31m\\n\\u0000"]\nrun = "x"\n"k\\u0007" = 1\n')
    assert {p.code for p in found} == {"name", "unknown-key"}
    assert all((p.message + p.hint).isprintable() for p in found)


def test_a_file_of_the_wrong_kind_is_refused_quickly_and_briefly() -> None:
    started = time.perf_counter()
    for text in (
        "x\n" * 20_000,
        "[a]\n" * 10_000,
        "a = 1\n" * 10_000,
        "=" * 1_000_000,
        "[jobs.a]\n" + "k = 1\nl" * 9000,
    ):
        assert 0 < len(problems_of(text)) <= 201
    assert time.perf_counter() - started < 5


def test_a_very_long_chain_is_refused_and_a_long_one_is_not() -> None:
    def chain(length: int) -> str:
        return (
            "".join(f'jobs.j{n} = {{ run = "x", needs = ["j{n - 1}"] }}\n' for n in range(1, length))
            + 'jobs.j0.run = "x"'
        )

    assert problems_of(chain(400)) == []
    assert "too-deep" in [p.code for p in problems_of(chain(600))]


def inside(problem: Problem, text: str) -> bool:
    lines = text.split("\n")
    return 1 <= problem.line <= len(lines) and 1 <= problem.column <= len(lines[problem.line - 1]) + 1


FRAGMENTS = [
    "[jobs.a]", "[jobs.b]", "[[jobs]]", "[lab]", "[defaults]", "[queues.q]", "run", "flow", "needs", "schedule",
    "secrets", "retries", " = ", ".", ",", "[", "]", "{", "}", '"', '"""', "'", "'''", "\n", "\r\n", "#", "\\",
    "\\u0000", "\x00", "a",
    '"x"', "1", "1.5", "true", "nan", "1979-05-27 07:32:00", '["a", "b"]', '{ job = "a" }', "\t", "é", "\ud800", "name",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_no_text_makes_parse_raise_and_every_place_is_inside_the_file(text: str) -> None:
    lab, found = parse({"lab.toml": text}, main="lab.toml")
    assert (lab is None) == any(p.severity == "error" for p in found)
    assert all(inside(p, text) for p in found)
    assert all((p.message + p.hint).isprintable() for p in found)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_neither_does_any_other_text(text: str) -> None:
    _, found = parse({"lab.toml": text, "more.toml": f"[jobs.a]\nrun = '{text}'"}, main="lab.toml")
    assert all(inside(p, text if p.file == "lab.toml" else f"[jobs.a]\nrun = '{text}'") for p in found)


VALUES = st.recursive(
    st.sampled_from(
        ["1", "-1", "0.5", "true", '"a"', '""', '"1h"', "nan", "1979-05-27", "{}", "[]", "99999999999999999999"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: f"[{', '.join(v)}]")
        | st.dictionaries(st.sampled_from(["job", "max", "on", "A", "when"]), inner, max_size=3).map(
            lambda v: "{" + ", ".join(f"{k} = {x}" for k, x in v.items()) + "}"
        )
    ),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["run", "flow", "needs", "retries", "environment", "secrets", "notify", "timeout", "tags", "requires",
     "output_limit",
     "user", "queue", "exclusive", "paused", "imported", "timezone", "schedule"]
)  # fmt: skip
TABLES = st.sampled_from(
    ["jobs.a", "jobs.b", "defaults", "lab", "worker", "notify", "nodes.n", "queues.q", "postgres", "agents.x"]
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(TABLES, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_no_value_in_any_setting_makes_parse_raise(tables: dict[str, dict[str, str]]) -> None:
    text = "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in body.items()) for name, body in tables.items())
    lab, found = parse({"lab.toml": text}, main="lab.toml")
    assert not lab or all(Flow.from_json(f.to_json()).digest == f.digest for f in lab.flows)
    assert not [p for p in found if p.code == "syntax"]
    assert all(inside(p, text) for p in found)
