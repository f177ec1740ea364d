"""The text of systemd's unit files: sections, settings with their lines, drop-ins, lists that an empty value resets.

Follows systemd.syntax(7). What a setting means is decided in `core.timers.systemd`, its only caller.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SECTION = re.compile(r"\[([^\]\[]+)\]")
_CAT_HEADER = re.compile(r"^# (/\S[^\n]*\.(?:timer|service|conf|target|socket|mount|path|slice|scope))$", re.MULTILINE)
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, kw_only=True)
class UnitText:
    """One unit and its texts as found: `(path, text)` of the file itself, then of its drop-ins in the order they apply.

    `is_enabled`: None when nothing says so. `is_user`: of a user's own manager, not of the machine's.
    """

    name: str
    texts: tuple[tuple[str, str], ...]
    is_enabled: bool | None = None
    is_user: bool = False

    @property
    def file(self) -> str:
        return self.texts[0][0] if self.texts else self.name


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One `NAME=VALUE` line, continuation lines joined; `line` is its first."""

    section: str
    name: str
    value: str
    file: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit with all its settings in the order they apply. `ignored`: lines that systemd ignores, `(file, line)`."""

    name: str
    file: str
    settings: tuple[Setting, ...]
    ignored: tuple[tuple[str, int], ...] = ()
    is_enabled: bool | None = None
    is_user: bool = False

    @property
    def stem(self) -> str:
        """The name without its type: `backup` of `backup.timer`."""
        return self.name.rpartition(".")[0]

    @property
    def prefix(self) -> str:
        return self.stem.partition("@")[0]

    @property
    def instance(self) -> str:
        """The instance of a template, escaped as in the name; empty for others."""
        return self.stem.partition("@")[2]

    def all(self, section: str, name: str) -> list[Setting]:
        """All values of a list setting; an empty one takes back those before it."""
        found: list[Setting] = []
        for setting in self.settings:
            if (setting.section, setting.name) == (section, name):
                found = [*found, setting] if setting.value else []
        return found

    def last(self, section: str, name: str) -> Setting | None:
        """The value that counts of a plain setting; None when there is none, or it was emptied."""
        found = self.all(section, name)
        return found[-1] if found else None

    def is_on(self, section: str, name: str) -> bool:
        found = self.last(section, name)
        return found is not None and found.value.lower() in ("1", "yes", "y", "true", "t", "on")


def read_unit(given: UnitText) -> Unit:
    """The settings of a unit and its drop-ins. Never raises."""
    settings: list[Setting] = []
    ignored: list[tuple[str, int]] = []
    for file, text in given.texts:
        section = ""
        for number, line in _joined(text):
            if header := _SECTION.fullmatch(line):
                section = header[1]
                continue
            name, equals, value = line.partition("=")
            if not equals or not section or not name.strip():
                ignored.append((file, number))
                continue
            settings.append(Setting(section=section, name=name.strip(), value=value.strip(), file=file, line=number))
    return Unit(
        name=given.name,
        file=given.file,
        settings=tuple(settings),
        ignored=tuple(ignored),
        is_enabled=given.is_enabled,
        is_user=given.is_user,
    )


def _joined(text: str) -> list[tuple[int, str]]:
    """Lines without comments and blanks, with a `\\` at the end joined to the next by a blank; and their numbers."""
    joined: list[tuple[int, str]] = []
    waiting = ""
    start = 0
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.rstrip("\r")
        if line.lstrip()[:1] in ("#", ";"):
            continue  # also between continued lines
        start = start if waiting else number
        if line.endswith("\\"):
            waiting += line[:-1] + " "
            continue
        whole, waiting = (waiting + line).strip(), ""
        if whole:
            joined.append((start, whole))
    if waiting.strip():
        joined.append((start, waiting.strip()))
    return joined


def split_cat(text: str) -> list[tuple[str, str]]:
    """The files in the output of `systemctl cat`, which begins each with `# /path`: `(path, text)` in their order.

    The text keeps the line numbers of the file.
    """
    heads = list(_CAT_HEADER.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    return [(head[1], text[head.end() + 1 : end]) for head, end in zip(heads, ends, strict=False)]


def units_of(files: Sequence[tuple[str, str]]) -> list[UnitText]:
    """Units and their drop-ins from `(path, text)`, as `split_cat` gives them."""
    units: dict[str, list[tuple[str, str]]] = {}
    last = ""
    for path, text in files:
        folder, _, name = path.rpartition("/")
        if name.endswith(".conf"):
            last = last or folder.rpartition("/")[2].removesuffix(".d")
            units.setdefault(last, []).append((path, text))
        else:
            last = name
            units.setdefault(last, []).insert(0, (path, text))
    return [
        UnitText(name=name, texts=tuple(texts), is_user=any("/systemd/user" in path for path, _ in texts))
        for name, texts in units.items()
    ]


def unescaped(text: str) -> str:
    """The instance `dev-sda\\x2d1` as it was before escaping: `dev/sda-1`."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text.replace("-", "/"))
