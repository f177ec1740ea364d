"""A log by the piece: every line is reached from both sides, whatever place one asks for; what is sought is found."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.control.api.logwindow import find, window
from homelab.worker.runlog import MAX_RECORD


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(b"100.%06d o %s\n" % (n, line) for n, line in enumerate(lines)))
    return path


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=60), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_pieces_forwards_and_backwards_give_every_line_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], count: int
) -> None:
    path = write(tmp_path_factory.mktemp("log") / "a.1.log", lines)
    forwards: list[bytes] = []
    at = 0
    while (piece := window(path, at, lines=count)).lines:
        forwards += [line.record.line for line in piece.lines]
        at = piece.end
    backwards: list[bytes] = []
    at = 1 << 62
    while (piece := window(path, at, lines=count, back=True)).lines:
        backwards[:0] = [line.record.line for line in piece.lines]
        at = piece.start
    assert forwards == backwards == lines


def test_a_place_inside_a_line_means_the_next_line_or_the_one_before(tmp_path: Path) -> None:
    path = write(tmp_path / "a.1.log", [b"one", b"two", b"three"])
    second = window(path, 0, lines=2).lines[1]
    assert [line.record.line for line in window(path, second.at + 3).lines] == [b"three"]
    assert [line.record.line for line in window(path, second.at + 3, back=True).lines] == [b"one"]
    assert window(path, 10_000).lines == ()


def test_a_torn_last_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.1.log", [b"one"])
    with path.open("ab") as file:
        file.write(b"101.0 o half a li")
    piece = window(path, 0)
    assert [line.record.line for line in piece.lines] == [b"one"]
    with path.open("ab") as file:
        file.write(b"ne\n")
    assert [line.record.line for line in window(path, piece.end).lines] == [b"half a line"]
    assert [line.record.line for line in window(path, 1 << 62, lines=1, back=True).lines] == [b"half a line"]


def test_what_is_sought_is_found_from_both_sides_and_not_in_the_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.1.log", [b"alpha", b"Needle 1", b"beta", b"needle 2", b"gamma"])
    lines = window(path, 0).lines
    first = find(path, "NEEDLE", 0)
    assert first.at == lines[1].at
    assert find(path, "needle", lines[1].at + 1).at == lines[3].at
    assert find(path, "needle", lines[3].at, back=True).at == lines[1].at
    assert find(path, "needle", lines[3].at + 1) == find(path, "nowhere", 0)
    assert find(path, "100.", 0).at is None
    assert find(path, " o ", 0).at is None


def test_a_search_says_how_far_it_came_when_its_time_is_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.1.log", [b"x" * 1000] * 9000)
    found = find(path, "needle", 0, seconds=0)
    assert found.at is None
    assert not found.is_over
    assert 0 < found.scanned < path.stat().st_size


def test_two_thousand_lines_from_any_place_of_a_long_log_cost_little(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    block = b"".join(b"100.%06d o %s\n" % (n, b"y" * 480) for n in range(2000))
    with path.open("wb") as file:
        for _ in range(40):
            file.write(block)
        file.write(b"101.0 o the end\n")
    size = path.stat().st_size
    for start, back in ((0, False), (size // 2, False), (1 << 62, True)):
        spent: list[float] = []
        for _ in range(3):
            begun = time.process_time()
            piece = window(path, start, lines=2000, back=back)
            spent.append(time.process_time() - begun)
            assert len(piece.lines) > 1000
        assert min(spent) < 0.1, spent
    assert piece.lines[-1].record.line == b"the end"


def test_a_piece_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.1.log", [b"z" * MAX_RECORD] * 200)
    for back in (False, True):
        piece = window(path, 1 << 62 if back else 0, lines=2000, back=back)
        assert sum(len(line.record.line) for line in piece.lines) < 2 << 20
