"""The scanner finds every key and value where tomllib reads it."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homelab.core.labfile.positions import DEEPEST, Path, TooDeepError, scan

LEAVES = {
    "1": 1,
    "true": True,
    "1979-05-27 07:32:00 # a comment": None,
    '"a # b"': "a # b",
    r'"a\"]b\\"': 'a"]b\\',
    "'a\"[b'": 'a"[b',
    '"""\n[jobs.x]\nrun = "y" \\""" #"""': '[jobs.x]\nrun = "y" """ #',
    '"""a"""""': 'a""',
    "'''\n''a'''": "''a",
    '""': "",
    "''": "",
    '""""""': "",
}
KEYS = {"a": "a", "b-1": "b-1", '"c.d"': "c.d", r'"\u0065\t"': "e\t", "'f g'": "f g", '"]"': "]", '"#"': "#", "1": "1"}

leaf = st.sampled_from(list(LEAVES))
value = st.recursive(
    leaf.filter(lambda v: "#" not in v.split('"')[-1].split("'")[-1]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: "[\n  " + ", # note ]\n  ".join([*v, ""]) + "]")
        | st.dictionaries(st.sampled_from(list(KEYS)), inner, max_size=3).map(
            lambda v: "{ " + ", ".join(f"{k}  =  {x}" for k, x in v.items()) + " }"
        )
    ),
    max_leaves=5,
)
key = st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=3).map(" . ".join)
line = st.one_of(
    st.tuples(key, value).map(lambda pair: f"  {pair[0]} = {pair[1]}"),
    key.map(lambda k: f"[ {k} ] # ["),
    key.map(lambda k: f"[[{k}]]"),
    st.just("# = ["),
    st.just(""),
)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def kept(lines: list[str]) -> str:
    """The lines that are TOML together."""
    text = ""
    for one in lines:
        try:
            tomllib.loads(text + one + "\n")
        except tomllib.TOMLDecodeError:
            continue
        text += one + "\n"
    return text


@settings(max_examples=150, deadline=None)
@given(st.lists(line, max_size=8).map(kept))
def test_every_value_is_where_the_scanner_says(text: str) -> None:
    found = scan(text)
    for path, expected in leaves(tomllib.loads(text)):
        offset = found.values[path]
        quote = next((q for q in ('"""', "'''", '"', "'") if text.startswith(q, offset)), "")
        assert bool(quote) == isinstance(expected, str)
        assert any(
            text.startswith(written.split(" #")[0], offset) for written, v in LEAVES.items() if v in (expected, None)
        )
        named = [p for p in path if isinstance(p, str)]
        start = found.keys[path[: 1 + max(i for i, p in enumerate(path) if isinstance(p, str))]]
        assert any(text.startswith(written, start) and name == named[-1] for written, name in KEYS.items())
    assert found.unclosed is None
    assert not found.broken
    assert not [s for s in found.statements if s.first is not None]


@given(st.text("ab\n\t \r", max_size=30), st.integers(-5, 40))
def test_a_place_is_always_inside_the_text(text: str, offset: int) -> None:
    row, column = scan(text).place(offset)
    lines = text.split("\n")
    assert 1 <= row <= len(lines)
    assert 1 <= column <= len(lines[row - 1]) + 1


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100, "a = " + "{a=" * 100, ".".join("a" * 100) + " = 1", f"[{'.'.join('a' * 100)}]"]
)
def test_what_is_nested_beyond_sense_is_refused_at_its_place(text: str) -> None:
    with pytest.raises(TooDeepError) as caught:
        scan(text)
    assert caught.value.offset < 6 * DEEPEST
