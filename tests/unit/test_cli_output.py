"""What commands print: harmless, aligned, parseable."""

import io
import json
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.cli import client, drawing, names, output
from homelab.cli.run import Printer, _followed
from homelab.core.errors import HomelabError, InputError, NotFoundError, RefusedError, TimedOutError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@given(st.text(alphabet=st.characters()))
def test_no_text_can_tell_a_terminal_anything(text: str) -> None:
    shown = output.safe(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cs") or c == "\t" for c in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029")
    shown.encode()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"])))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert output.safe(text) == text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0s"), (9.96, "10.0s"), (12, "12s"), (60, "1m"), (185, "3m 5s"), (7800, "2h 10m"), (273600, "3d 4h")],
)
def test_durations_have_at_most_two_units(seconds: float, said: str) -> None:
    assert output.duration(seconds) == said


@pytest.mark.parametrize(
    ("offset", "said"),
    [(0, "now"), (-5, "5 s ago"), (-180, "3 min ago"), (7800, "in 2 h"), (7100, "in 118 min"), (None, "-")],
)
def test_times_are_said_relative_to_now(offset: int | None, said: str) -> None:
    text = None if offset is None else (NOW + timedelta(seconds=offset)).isoformat().replace("+00:00", "Z")
    assert output.relative(text, now=NOW) == said


@given(st.lists(st.tuples(st.text(max_size=8), st.sampled_from(["é", "漢字", "abc"])), max_size=5))
def test_columns_start_at_the_same_place_whatever_the_width_of_letters(rows: list[tuple[str, str]]) -> None:
    made = [[output.safe(name), word, "end"] for name, word in rows]
    lines = output.aligned(["name", "word", "x"], made, columns=200)
    assert len({output.width(line[: line.rindex("end")]) for line in lines[1:]}) <= 1


def test_a_long_last_column_is_cut_to_the_terminal() -> None:
    lines = output.aligned(["a", "reason"], [["x", "y" * 500]], columns=60)
    assert output.width(lines[1]) <= 60
    assert lines[1].endswith("…")


def test_off_a_terminal_rows_are_tab_separated_without_header(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["a", "b"], [["1", "2"], ["x\ty", ""]])
    assert capsys.readouterr().out == "1\t2\nx y\t\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_color_and_pipes_get_no_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", _Terminal())
    assert output.state("failed") == "\x1b[31mfailed\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.state("failed") == "failed"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert output.state("failed") == "failed"


def test_pieces_of_a_long_line_are_joined_unless_another_line_came_between() -> None:
    printer = Printer(prefix=True)
    records = [
        {"job": "a", "stream": "out", "line": "one ", "partial": True},
        {"job": "a", "stream": "out", "line": "two"},
        {"job": "a", "stream": "out", "line": "start", "partial": True},
        {"job": "b", "stream": "out", "line": "other"},
        {"job": "a", "stream": "out", "line": "rest\r"},
    ]
    assert "".join(map(printer.text, records)) == "a | one two\na | start\nb | other\na | rest\n"


class _Restarting:
    """A control that goes away in the middle of a log, and answers from the start when it is back."""

    def __init__(self, *answers: list[dict[str, object]]) -> None:
        self.answers = list(answers)

    def lines(self, path: str, query: dict[str, object]) -> Iterator[bytes]:
        for record in self.answers.pop(0):
            yield json.dumps(record).encode()
        if self.answers:
            raise client.NoAnswerError("gone")

    def get(self, path: str) -> object:
        return {"run": {"state": "succeeded"}}


@pytest.mark.parametrize("tail", [None, 5])
def test_a_followed_log_goes_on_after_a_restart_without_a_line_lost_or_repeated(
    tail: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    records = [
        {"time": f"2026-05-01T00:00:0{i}Z", "line": str(i), "stream": "out", "job": job, "attempt": 1}
        for i, job in enumerate("aabab")
    ]
    control = _Restarting(records[:2], records[:4], records)
    seen = list(_followed(control, "x", "/logs", {"tail": tail}))  # type: ignore[arg-type]
    assert seen == records


RUNS = [
    {"id": "0190a000-0000-7000-8000-000000000003", "state": "scheduled", "job": "a"},
    {"id": "0190a000-0000-7000-8000-000000000002", "state": "running", "job": "a"},
    {"id": "0190b000-0000-7000-8000-000000000001", "state": "failed", "job": "b"},
    {"id": "0190b000-0000-7000-8000-000000000001", "state": "blocked", "job": "c"},
]


def test_the_newest_run_is_the_newest_that_has_begun() -> None:
    assert names.newest(RUNS) == RUNS[1]["id"]
    assert names.newest(RUNS[:1]) == RUNS[0]["id"]
    assert names.newest([]) is None


def test_a_parameter_keeps_everything_behind_its_first_equals_sign() -> None:
    assert names.parameters(["A=b=c", "B=", "C=x; rm -rf /"]) == {"A": "b=c", "B": "", "C": "x; rm -rf /"}
    for wrong in ("A", "=x", "A;B=1", "1A=x", "A B=x", "é=x"):
        with pytest.raises(InputError):
            names.parameters([wrong])


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "input", InputError),
        (404, "not_found", NotFoundError),
        (409, "refused", RefusedError),
        (401, "unauthorized", client.StrangerError),
        (504, "timed_out", TimedOutError),
        (500, "internal", HomelabError),
        (502, "", HomelabError),
    ],
)
def test_errors_of_the_server_keep_their_kind_message_and_hint(status: int, code: str, kind: type) -> None:
    body = {"error": {"code": code, "message": "what", "hint": "do that"}}
    error = client.error_of(status, json.dumps(body).encode(), "http://x")
    assert type(error) is kind
    assert error.message == "what"
    assert status == 401 or error.hint == "do that"
    assert "502" in client.error_of(502, b"<html>", "http://x").message


GRAPH = drawing.graph_of(
    {
        "nodes": [{"name": "a", "schedule": "0 * * * *"}, {"name": "b"}, {"name": "c"}, {"name": 'x"]<script>'}],
        "edges": [
            {"from": "a", "to": "b"},
            {"from": "a", "to": "c"},
            {"from": "b", "to": "c"},
            {"from": "a", "to": "?"},
        ],
    }
)


def test_the_text_tree_draws_each_job_under_what_it_needs() -> None:
    assert drawing.text(GRAPH).splitlines() == [
        "a  (0 * * * *)",
        "├─ b",
        "│  └─ c",
        "└─ c",
        'x"]<script>',
    ]


def test_names_cannot_break_out_of_a_picture() -> None:
    import xml.etree.ElementTree as Tree

    root = Tree.fromstring(drawing.svg(GRAPH))
    assert 'x"]<script>' in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert '"x\\"]<script>"' in drawing.dot(GRAPH)
    assert 'n3["x#34;#93;#60;script#62;"]' in drawing.mermaid(GRAPH)


@given(
    st.integers(2, 12).flatmap(
        lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=24).map(lambda e: (n, e))
    )
)
def test_no_two_boxes_share_a_place_and_needs_stand_left(given_graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = given_graph
    edges = tuple({(f"j{min(a, b)}", f"j{max(a, b)}", "") for a, b in pairs if a != b})
    graph = drawing.Graph(nodes={f"j{i}": "" for i in range(count)}, edges=edges)
    layer, row = drawing.layers(graph), drawing.rows_of(graph)
    assert len({(layer[n], row[n]) for n in graph.nodes}) == count
    assert all(layer[a] < layer[b] for a, b, _ in edges)


def test_a_name_with_a_slash_is_nothing_of_a_lab_and_no_other_path_of_its_api() -> None:
    assert client.segment("mac 4") == "mac%204"
    with pytest.raises(NotFoundError, match="nothing of a lab is called 'mac4; rm -rf /'"):
        client.segment("mac4; rm -rf /")


def test_a_lab_that_runs_another_version_says_how_to_change_over() -> None:
    from homelab import __version__
    from homelab.cli.status import of_another_version

    assert of_another_version({"version": __version__}) == []
    (told,) = of_another_version({"version": "0.0.1"})
    assert told["message"] == f"0.0.1 runs here, {__version__} is installed"
    assert "homelab restart" in told["hint"]
    (early,) = of_another_version({"pid": 1})
    assert "homelab down" in early["hint"], "it does not know how to restart"
