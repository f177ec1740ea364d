"""Run logs: every byte and its stream, bounded, readable at any moment, harmless to look at."""

import json
import resource
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homelab.worker.redaction import Redactor
from homelab.worker.runlog import MAX_RECORD, Record, Writer, files, raw, read, read_from, recover, tail, text

NASTY = b"ok\xff\xfe\xc3(\x00\x1b[2J\r\n\xe2\x80\xaeabc\n"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses to make a file longer, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def lab_lines(path: Path) -> list[str]:
    return [text(r) for r in read(path) if r.stream == "lab"]


def test_lines_have_their_time_and_stream(tmp_path: Path) -> None:
    log = Writer(tmp_path / "a.1.log")
    log.write("out", b"one\ntw", 1.5)
    log.write("err", b"bad\n", 2.0)
    log.write("out", b"o\n", 3.25)
    log.lab("timed out", 4.0)
    log.close(5.0)
    assert list(read(tmp_path / "a.1.log")) == [
        Record(1.5, "out", b"one", False),
        Record(2.0, "err", b"bad", False),
        Record(3.25, "out", b"two", False),
        Record(4.0, "lab", b"timed out", False),
    ]
    assert (log.output_bytes, log.output_lines) == (12, 3)


def test_a_follower_sees_a_line_at_once_and_goes_on_from_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    log = Writer(path)
    log.write("out", b"first\nsec", 1.0)
    [(record, offset)] = read_from(path, 0)
    assert record.line == b"first"
    log.write("out", b"ond\n", 2.0)
    assert [r.line for r in read(path, start=offset)] == [b"second"]
    log.close(3.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["out", "err"]), st.binary(max_size=60)), max_size=12))
def test_every_byte_of_a_stream_comes_back(tmp_path: Path, chunks: list) -> None:
    path = tmp_path / "a.1.log"
    path.unlink(missing_ok=True)
    log = Writer(path)
    for stream, chunk in chunks:
        log.write(stream, chunk, 1.0)
    log.close(2.0)
    for stream in ("out", "err"):
        written = b"".join(c for s, c in chunks if s == stream)
        assert (b"".join(raw(path, streams=(stream,))) if path.exists() else b"") == written


def test_bad_bytes_are_kept_on_disk_and_shown_harmlessly(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    log = Writer(path)
    log.write("out", NASTY, 1.0)
    log.close(1.0)
    assert b"".join(raw(path)) == NASTY
    assert [text(r) for r in read(path)] == ["ok\ufffd\ufffd\ufffd(␀␛[2J", "<U+202E>abc"]
    assert text(Record(0, "out", "a\tb\x7f\u0085\u2066é".encode(), False)) == "a\tb␡<U+0085><U+2066>é"


def test_a_very_long_line_is_cut_into_records_between_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    line = "é".encode() * 30_001
    log = Writer(path)
    for at in range(0, len(line), 1000):
        log.write("out", line[at : at + 1000], 1.0)
    log.write("out", b"\nnext\n", 1.0)
    log.close(1.0)
    records = list(read(path))
    assert all(len(r.line) <= MAX_RECORD and "\ufffd" not in text(r) for r in records)
    assert [r.partial for r in records] == [True] * (len(records) - 2) + [False, False]
    assert b"".join(raw(path)) == line + b"\nnext\n"


def test_over_the_limit_head_and_tail_are_kept_and_the_cut_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    log = Writer(path, limit_bytes=1000, tail_bytes=500)
    whole = b"".join(b"line %04d\n" % n for n in range(10_000))
    for at in range(0, len(whole), 77):
        log.write("out", whole[at : at + 77], 1.0 + at / 1e6)
    log.lab("done", 9.0)
    log.close(10.0)
    lines = [text(r) for r in read(path) if r.stream == "out"]
    assert lines[0] == "line 0000" and lines[-1] == "line 9999"
    assert all(len(line) == 9 for line in lines)
    marks = lab_lines(path)
    kept = sum(len(line) + 1 for line in lines)
    assert marks[0] == "over the output limit of 1000 bytes: from here only the end is kept"
    assert marks[1].startswith(f"{len(whole) - kept} bytes ({10_000 - len(lines)} lines) left out here")
    assert marks[2] == "done"
    assert (log.output_bytes, log.output_lines) == (len(whole), 10_000)
    assert not list(tmp_path.glob("*.tail"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["out", "err"]), st.text("ab\n", max_size=150)), max_size=25),
    st.integers(0, 300),
    st.integers(0, 900),
)
def test_what_is_kept_is_a_beginning_and_an_end_and_the_rest_is_counted(
    tmp_path: Path, chunks: list, limit: int, tail_bytes: int
) -> None:
    path = tmp_path / "a.1.log"
    path.unlink(missing_ok=True)
    log = Writer(path, limit_bytes=limit, tail_bytes=tail_bytes)
    for stream, chunk in chunks:
        log.write(stream, chunk.encode(), 1.0)
    log.close(2.0)
    total = kept_total = 0
    for stream in ("out", "err"):
        whole = "".join(c for s, c in chunks if s == stream).encode()
        kept = b"".join(raw(path, streams=(stream,))) if path.exists() else b""
        assert any(whole[:i] + whole[len(whole) - (len(kept) - i) :] == kept for i in range(len(kept) + 1))
        total, kept_total = total + len(whole), kept_total + len(kept)
    assert log.output_bytes == total
    left_out = [int(line.split()[0]) for line in (lab_lines(path) if path.exists() else []) if "left out here" in line]
    assert sum(left_out) == total - kept_total


def test_a_little_over_the_limit_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    log = Writer(path, limit_bytes=15)
    log.write("out", b"one\ntwo\nthree\nfour\n", 1.0)
    log.write("err", b"five", 2.0)
    log.close(3.0)
    assert [r.line for r in read(path)] == [b"one", b"two", b"three", b"four", b"five"]


def test_the_end_of_a_running_flood_can_be_read_and_survives_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    log = Writer(path, limit_bytes=100, tail_bytes=300)
    for n in range(500):
        log.write("out", b"line %04d\n" % n, 10.0 * n)
    assert [text(r) for r in tail(path, 2)] == ["line 0498", "line 0499"]
    assert text(list(read(path))[-1]) == "line 0499"
    with path.open("ab") as file:
        file.write(b"5000.0 o torn by a cra")
    recover(path)
    assert text(list(read(path))[-1]) == "line 0499"
    assert any("left out here" in line for line in lab_lines(path))


def test_a_full_disk_loses_output_but_never_raises_and_marks_the_hole(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    log = Writer(path)
    log.write("out", b"before\n", 1.0)
    with file_size_limit(path.stat().st_size + 5):
        log.write("out", b"lost\n" * 100, 2.0)
        log.write("out", b"lost too\n", 9.0)
    log.write("out", b"not tried again yet\n", 9.5)
    log.write("out", b"after\n", 12.0)
    log.close(13.0)
    lines = [text(r) for r in read(path)]
    assert (lines[0], lines[2]) == ("before", "after")
    assert lines[1].startswith("about 529 bytes of output could not be written here: ")
    assert log.output_lines == 104


def test_a_folder_that_cannot_be_written_is_survived(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = Writer(tmp_path / "file" / "a.1.log")
    log.write("out", b"x\n", 1.0)
    log.close(2.0)
    assert log.output_lines == 1
    assert tail(tmp_path / "file" / "a.1.log", 5) == []


def test_a_torn_last_record_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    path.write_bytes(b"1.0 o whole\nrubbish\n2.0 o torn")
    assert [r.line for r in read(path)] == [b"whole"]
    assert [r.line for r in tail(path, 5)] == [b"whole"]


def test_tail_gives_the_last_lines_of_a_large_log(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    path.write_bytes(b"".join(b"1.0 o line %06d\n" % n for n in range(60_000)))
    assert [text(r) for r in tail(path, 3)] == ["line 059997", "line 059998", "line 059999"]
    assert len(tail(path, 20_000)) == 20_000


def test_secrets_reach_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.1.log"
    log = Writer(path, redactor=Redactor(["s3cr3t-canary"]), limit_bytes=30)
    for _ in range(5):
        log.write("out", b"token s3cr3t-", 1.0)
        log.write("out", b"canary\nand more\n", 1.0)
    log.lab("failed: s3cr3t-canary", 1.0)
    log.close(1.0)
    assert b"canary" not in path.read_bytes()
    assert b"".join(raw(path)) == b"token ***\nand more\n" * 5


def test_files_are_found_by_job_and_attempt(tmp_path: Path) -> None:
    for name in ("b.job.2.log", "a.10.log", "a.9.log", "journal.jsonl", "a.9.log.tail"):
        (tmp_path / name).write_text("")
    assert [(f.job, f.attempt) for f in files(tmp_path)] == [("a", 9), ("a", 10), ("b.job", 2)]
    assert files(tmp_path / "nowhere") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["out", "err", "lab", "new"]),
            st.one_of(st.binary(max_size=40), st.sampled_from([b"s3cr3t-", b"canary", b"s3cr3t-canary\n", b"x" * 50])),
        ),
        max_size=16,
    ),
    st.sampled_from([30, 10_000]),
)
def test_a_log_is_the_same_whoever_goes_on_with_it(tmp_path: Path, steps: list[tuple[str, bytes]], limit: int) -> None:
    """At each step `new` another writer goes on with what the one before had in no file."""
    logs = []
    for is_handed_over in (False, True):
        path = tmp_path / f"{uuid.uuid4()}.1.log"
        redactor = Redactor(["s3cr3t-canary"])

        def made(path: Path = path, redactor: Redactor = redactor) -> Writer:
            return Writer(path, limit_bytes=limit, redactor=redactor, tail_bytes=600)

        log = made()
        for n, (stream, chunk) in enumerate(steps):
            if stream in ("out", "err"):
                log.write(stream, chunk, 1.0 + n)
            elif stream == "lab":
                log.lab("a word", 1.0 + n)
            elif is_handed_over:
                state = json.loads(json.dumps(log.state()))
                redactor = Redactor((), patterns=redactor.patterns)
                log = made()
                log.restore(state)
        log.close(100.0)
        logs.append((list(read(path)) if path.exists() else [], log.output_bytes, log.output_lines))
    assert logs[0] == logs[1]
