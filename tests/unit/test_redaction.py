"""Secrets do not get through, however the output is cut; nothing else is changed or held up."""

import base64
import json
import urllib.parse
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.worker.redaction import Redactor, redact_text, too_short

SECRET = "s3cr3t-canary"


def through(secrets: list[str], chunks: list[bytes]) -> bytes:
    stream = Redactor(secrets).stream()
    return b"".join([*(stream.feed(c) for c in chunks), stream.end()])


def test_a_secret_is_masked_wherever_it_stands() -> None:
    assert through([SECRET], [b"a s3cr3t-canary b s3cr3t-canarys3cr3t-canary\n"]) == b"a *** b ***\n"


@given(st.binary(max_size=40), st.binary(max_size=40), st.lists(st.integers(0, 100), max_size=6))
def test_a_secret_is_masked_however_the_output_is_cut(before: bytes, after: bytes, cuts: list[int]) -> None:
    whole = before + SECRET.encode() + after
    at = sorted({0, len(whole), *(min(c, len(whole)) for c in cuts)})
    chunks = [whole[a:b] for a, b in pairwise(at)]
    assert through([SECRET], chunks) == before + b"***" + after


@given(
    st.lists(st.sampled_from(["abab", "aaaa", "ababa", "bbaab"]), min_size=1, max_size=3),
    st.lists(st.sampled_from(["ab", "a", "b", "aaa", "abab", "c", "bbaab"]), max_size=20),
)
def test_secrets_that_overlap_themselves_and_each_other_are_masked(secrets: list[str], pieces: list[str]) -> None:
    """Cut anywhere or not at all, the same comes out, and of no secret a part that its mask should cover."""
    chunks = [piece.encode() for piece in pieces]
    whole = b"".join(chunks)
    covered = {
        at + k for s in secrets for at in range(len(whole)) if whole.startswith(s.encode(), at) for k in range(len(s))
    }
    shown = bytes(c for at, c in enumerate(whole) if at not in covered)
    out = through(secrets, chunks)
    assert out.replace(b"***", b"") == shown
    assert out == through(secrets, [whole])


def test_a_secret_that_begins_inside_another_is_masked_across_chunks() -> None:
    assert through(["abab"], [b"abab", b"ab", b"ab", b"c"]) == b"***c"
    assert through(["abab"], [b"ab", b"ab", b"a"]) == b"***a"
    assert through(["abab"], [b"ab", b"ab", b"a", b"b", b"c"]) == b"***c"
    assert through(["abcd", "cdefgh"], [b"xabcd", b"ef", b"ghi"]) == b"x***i"


@pytest.mark.parametrize("before", ["", "x", "xy", "user:"])
@pytest.mark.parametrize("after", ["", "z", "\n"])
def test_base64_is_found_at_every_alignment(before: str, after: str) -> None:
    encoded = base64.b64encode((before + SECRET + after).encode())
    out = through([SECRET], [b"got " + encoded + b" end\n"])
    assert b"***" in out
    kept = out[4:-5].replace(b"***", b"")
    assert len(kept) <= len(encoded) - len(base64.b64encode(SECRET.encode()).rstrip(b"=")) + 4
    assert encoded[4:12] not in out


def test_a_long_secret_is_found_in_wrapped_base64() -> None:
    secret = "".join(chr(33 + n * 7 % 90) for n in range(200))
    assert b"".join(base64.encodebytes(secret.encode()).split())[76:100] not in through(
        [secret], [line + b"\n" for line in base64.encodebytes(secret.encode()).split()]
    )


@pytest.mark.parametrize(
    "encode", [urllib.parse.quote, urllib.parse.quote_plus, json.dumps, repr, lambda v: v.replace("'", "'\\''")]
)
def test_escaped_forms_are_found(encode) -> None:
    secret = "p@ss w/ö'r\"d$&"
    assert encode(secret).strip("'\"") not in redact_text(f"x {encode(secret)} y", [secret])
    assert "***" in redact_text(f"x {encode(secret)} y", [secret])


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    secret = "-----BEGIN KEY-----\nabcdefgh\nijklmnop\n-----END KEY-----\n"
    assert redact_text(secret, [secret]) == "-----BEGIN KEY-----\n***\n***\n-----END KEY-----\n"


def test_a_line_is_never_held_back_beyond_its_end() -> None:
    stream = Redactor([SECRET]).stream()
    assert stream.feed(b"no s3cr3t\n") == b"no s3cr3t\n"
    assert stream.feed(b"all of this but the end s3c") == b"all of this but the end "
    assert stream.feed(b"ure\n") == b"s3cure\n"


def test_short_values_are_left_and_named() -> None:
    assert redact_text("abc abc", ["abc"]) == "abc abc"
    assert too_short({"A": "abc", "B": SECRET, "C": ""}) == ["A"]
