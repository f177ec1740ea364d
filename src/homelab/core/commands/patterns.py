"""Paths and names of which some part is not known: what they look like, and whether two can be the same.

A pattern is a plain `str` in which a few private characters stand for what is known only when the command runs: the
`*` of a glob, a day in a name, a variable nobody sets. Text that comes in is cleaned of those characters
first (`clean`), text that goes out to a person is spelled again (`shown`). Called by `core.commands` and
`core.dependencies`.
"""

import posixpath
import re
from enum import IntEnum
from functools import lru_cache

ANY = "\ue000"  # a glob's *: anything but a slash
ONE = "\ue001"  # a glob's ? or [...]
DEEP = "\ue002"  # anything at all, slashes too: a value that is not known
SOME = "\ue008"  # part of a name that is not known: a variable in a loop, what a command prints
TREE = "\ue007"  # a glob's **, or what find walks: anything, slashes too
UNIQUE = "\ue003"  # new each time (mktemp, $$): the same as nothing else
OTHER_DAY = "\ue004"  # takes no room: the date in this name is not today's
_NAME, _NAME_END = "\ue005", "\ue006"  # around the name of a variable that comes from outside
_DATE = 0xE100  # + the letter of strftime
_PRIVATE = re.compile("[\ue000-\ue1ff]")
_ATOM = re.compile(f"{_NAME}[^{_NAME_END}]*{_NAME_END}|.", re.DOTALL)
_LONGEST = 600
_ACROSS = (DEEP, TREE)  # go over slashes
_NARROW = (ANY, SOME)  # do not
_STARS = (*_NARROW, *_ACROSS)

_DIGITS = {
    "Y": 4,
    "m": 2,
    "d": 2,
    "H": 2,
    "M": 2,
    "S": 2,
    "y": 2,
    "j": 3,
    "V": 2,
    "U": 2,
    "W": 2,
    "I": 2,
    "C": 2,
    "G": 4,
    "g": 2,
    "u": 1,
    "w": 1,
    "s": 10,
    "e": 2,
    "k": 2,
    "l": 2,
    "N": 9,
}
_COMPOSED = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "D": "%m/%d/%y", "R": "%H:%M", "h": "%b", "%": "%"}
_SPELLED = {ANY: "*", SOME: "…", ONE: "?", DEEP: "…", TREE: "**", UNIQUE: "XXXXXX", OTHER_DAY: ""}
_NEW_EACH_TIME = frozenset(chr(_DATE + ord(letter)) for letter in "HMSsNIkl")


class Match(IntEnum):
    """How two patterns can be the same, weakest first.

    LOOSE: only through a part nobody knows. GLOB: a glob takes the other. DATED: a day in one is a day in the other.
    SAME: the same characters.
    """

    NONE = 0
    LOOSE = 1
    GLOB = 2
    DATED = 3
    SAME = 4


def clean(text: str) -> str:
    """Text from outside without the characters that mean something here."""
    return _PRIVATE.sub("?", text)


def shown(pattern: str) -> str:
    """A pattern as a person would write it: `*`, `%Y-%m-%d`, `$NAME`."""

    def spelled(found: re.Match[str]) -> str:
        atom = found[0]
        if atom[0] == _NAME:
            return "$" + atom[1:-1]
        return _SPELLED.get(atom) or ("" if atom == OTHER_DAY else "%" + chr(ord(atom) - _DATE))

    return re.sub(f"{_NAME}[^{_NAME_END}]*{_NAME_END}|{_PRIVATE.pattern}", spelled, pattern)


def unset(name: str) -> str:
    """The value of a variable that is set elsewhere: the same wherever the same name is meant."""
    return f"{_NAME}{name}{_NAME_END}"


def globbed(text: str) -> str:
    """A shell's pattern in unquoted text: `*`, `**`, `?`, `[...]`."""
    if not re.search(r"[*?\[]", text):
        return text
    text = re.sub(r"\[[^\]/]+\]", ONE, text)
    return re.sub(r"\*\*+/?", TREE, text).replace("*", ANY).replace("?", ONE)


def dated(form: str, *, other_day: bool = False) -> str:
    """What `date +FORM` prints, as a pattern."""

    def letter(found: re.Match[str]) -> str:
        name = found[1]
        return dated(_COMPOSED[name]) if name in _COMPOSED and name != "%" else _date_atom(name)

    text = re.sub(r"%[-_0^#]?([A-Za-z%])", letter, form)
    return OTHER_DAY + text if other_day else text


def _date_atom(letter: str) -> str:
    return "%" if letter == "%" else chr(_DATE + ord(letter))


def absolute(path: str, folder: str) -> str:
    """The path seen from `folder`, without `.`, `..` and doubled slashes. An unknown beginning stays."""
    if not path.startswith("/") and path[:1] not in (DEEP, _NAME):
        path = f"{folder}/{path}"
    normal = posixpath.normpath(path)
    return "/" + normal.lstrip("/") if normal.startswith("//") else normal


def is_plain(pattern: str) -> bool:
    """Whether every character is known."""
    return _PRIVATE.search(pattern) is None


def has_time_of_day(pattern: str) -> bool:
    return any(char in _NEW_EACH_TIME for char in pattern)


def is_picked(pattern: str) -> bool:
    """Whether it is some file that the command chooses as it runs."""
    return SOME in pattern or DEEP in pattern


def known_part(pattern: str) -> str:
    """The characters before the first one that is not known."""
    found = _PRIVATE.search(pattern)
    return pattern[: found.start()] if found else pattern


def _has_glob(pattern: str) -> bool:
    return ANY in pattern or ONE in pattern or TREE in pattern or SOME in pattern


@lru_cache(maxsize=65536)
def match(one: str, other: str) -> Match:
    """How the two can be the same name."""
    if UNIQUE in one or UNIQUE in other:
        return Match.NONE
    if one == other:
        return Match.LOOSE if DEEP in one else Match.GLOB if _has_glob(one) else Match.SAME
    is_open = not is_plain(one), not is_plain(other)
    if not any(is_open) or len(one) > _LONGEST or len(other) > _LONGEST:
        return Match.NONE
    mine, theirs = known_part(one), known_part(other)
    if not (mine.startswith(theirs) or theirs.startswith(mine)):
        return Match.NONE
    if not _meet(_atoms(one), _atoms(other)):
        return Match.NONE
    both = one + other
    if DEEP in both or f"/{SOME}/" in both:
        return Match.LOOSE
    return Match.GLOB if _has_glob(both) else Match.DATED


@lru_cache(maxsize=65536)
def below(path: str, folder: str) -> Match:
    """How `path` can lie in the folder, at any depth; the folder itself is not below it."""
    parts = path.split("/")
    depth = len(folder.rstrip("/").split("/"))
    if DEEP in folder or TREE in folder:
        return Match.LOOSE if match(path, folder.rstrip("/") + "/" + DEEP) else Match.NONE
    if len(parts) <= depth:
        return Match.NONE
    head = "/".join(parts[:depth])
    return match(head, folder.rstrip("/")) if folder != "/" else Match.SAME


def _atoms(pattern: str) -> list[str]:
    return [atom for atom in _ATOM.findall(pattern) if atom != OTHER_DAY]


def _width(atom: str) -> int:
    return _DIGITS.get(chr(ord(atom) - _DATE), 0) if len(atom) == 1 and _DATE < ord(atom) < _DATE + 128 else 0


def _meet(one: list[str], other: list[str]) -> bool:
    """Whether one text fits both. Walks the pairs of positions that can be reached; each is looked at once."""
    seen: set[tuple[int, int]] = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        i, j = waiting.pop()
        if i == len(one) and j == len(other):
            return True
        for step in _steps(one, other, i, j):
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return False


def _steps(one: list[str], other: list[str], i: int, j: int) -> list[tuple[int, int]]:
    a = one[i] if i < len(one) else ""
    b = other[j] if j < len(other) else ""
    steps: list[tuple[int, int]] = []
    if a in _STARS:
        steps.append((i + 1, j))
        if b and (a in _ACROSS or b not in ("/", *_ACROSS)):
            steps.append((i, j + 1))
    if b in _STARS:
        steps.append((i, j + 1))
        if a and (b in _ACROSS or a not in ("/", *_ACROSS)):
            steps.append((i + 1, j))
    if not a or not b:
        return steps
    if a == b or (a == ONE and b != "/") or (b == ONE and a != "/"):
        steps.append((i + 1, j + 1))
    if (width := _width(a)) and _is_digits(other[j : j + width], width):
        steps.append((i + 1, j + width))
    if (width := _width(b)) and _is_digits(one[i : i + width], width):
        steps.append((i + width, j + 1))
    return steps


def _is_digits(atoms: list[str], width: int) -> bool:
    return len(atoms) == width and all(atom == ONE or atom.isdigit() for atom in atoms)
