"""Commands on files: mkdir, sed, dd, find, xargs, logrotate. See `core.commands.grammars`."""

import posixpath
import re
from collections.abc import Collection, Sequence

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.effects import Word
from homelab.core.commands.patterns import ANY, TREE, absolute, globbed, is_plain
from homelab.core.commands.words import UNKNOWN

_AGES = frozenset({"-mtime", "-mmin", "-ctime", "-cmin", "-atime", "-amin", "-newermt"})


def mkdir(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """A folder made without -p fails when it is there: with a name that says so it is a lock."""
    found = split(words, options)
    if not found.has("-p", "--parents"):
        for word in found.operands:
            if re.search(r"lock|\.lck|mutex", posixpath.basename(word.value), re.IGNORECASE):
                act.lock(word.value, waits=False)
    return ()


def sed(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    in_place = any(name.startswith(("-i", "--in-place")) for name, _ in found.options) or found.has("-i")
    has_script = found.has("-e", "-f", "--expression", "--file")
    operands = found.operands if has_script else found.operands[1:]
    for word in operands:
        for value in word.values:
            act.effect("update" if in_place else "read", value)
    return ()


def dd(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    for word in words:
        name, _, value = word.value.partition("=")
        if name in ("if", "of"):
            act.effect("read" if name == "if" else "write", value)
    return ()


def find(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """`find FOLDERS TESTS ACTIONS`: looks at, deletes, or hands files to a command (as `FOLDER/**/NAME`)."""
    folders: list[Word] = []
    name = ""
    by_age = deletes = negated = False
    command: list[Word] = []
    shallow = False
    at = 0
    while at < len(words) and not words[at].value.startswith(("-", "(", "!", "\\(")):
        folders.append(words[at])
        at += 1
    while at < len(words):
        text = words[at].value
        following = words[at + 1].value if at + 1 < len(words) else ""
        if text in ("-exec", "-execdir", "-ok"):
            end = next((n for n in range(at + 1, len(words)) if words[n].value in (";", "\\;", "+")), len(words))
            command = words[at + 1 : end]
            at = end + 1
            continue
        if text in ("-name", "-iname") and not negated:
            name = globbed(following)
        if text in ("-newer", "-anewer", "-cnewer"):
            act.effect("test", following)
        by_age = by_age or (text in _AGES and following.startswith("+")) or text in ("-newermt",)
        shallow = shallow or (text == "-maxdepth" and following == "1")
        deletes = deletes or text == "-delete"
        negated = text in ("!", "-not")
        at += 2 if text in options else 1
    for folder in folders or [Word(text=".", values=(".",))]:
        for value in folder.values:
            inside = _inside_of(value, name, shallow=shallow)
            if deletes or _deletes(command):
                act.effect("delete", inside, is_age_based=by_age)
            elif not command:
                _look(act, value, inside if name else "")
    if deletes or _deletes(command) or not command:
        return ()
    paths = tuple(
        _inside_of(value, name, shallow=shallow)
        for folder in folders or [Word(text=".", values=(".",))]
        for value in folder.values
    )
    return [Word(text=word.text, values=paths) if word.value == "{}" else word for word in command]


def _inside_of(folder: str, name: str, *, shallow: bool) -> str:
    """The files that find comes to: `FOLDER/**NAME`."""
    if shallow:
        return f"{folder.rstrip('/')}/{name or ANY}"
    return f"{folder.rstrip('/')}/{TREE}{name.removeprefix(ANY)}"


def _look(act: Act, folder: str, inside: str) -> None:
    if inside:
        act.effect("read", inside)
    else:
        act.effect("read", folder, is_tree=True)


def _deletes(command: Sequence[Word]) -> bool:
    names = [posixpath.basename(word.value) for word in command[:2]]
    return bool(names) and (names[0] in ("rm", "unlink", "rmdir", "shred") or names == ["sudo", "rm"])


def xargs(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """The command gets what comes in on the pipe: in place of `{}`, or behind its words."""
    rest = list(words)
    mark = ""
    while rest and rest[0].value.startswith("-"):
        option = rest.pop(0).value
        if option == "-I" or option.startswith("-I"):
            mark = option[2:] or (rest[0].value if rest else "")
        if option in options and rest:
            if option == "-a":
                act.effect("read", rest[0].value)
            rest.pop(0)
    at = next((n for n, word in enumerate(rest) if word.value == ":::"), len(rest))
    rest, listed = rest[:at], rest[at + 1 :]
    incoming = tuple(value for word in listed for value in word.values) or act.incoming
    given = tuple(globbed(value) for value in incoming)
    mark = mark or ("{}" if act.name == "parallel" else "")
    if mark and any(mark in word.value for word in rest):
        return [Word(text=word.text, values=tuple(word.value.replace(mark, value) for value in given)) for word in rest]
    return [*rest, Word(text="", values=given)] if rest and incoming != UNKNOWN else rest


_OUTPUT = re.compile(r"^(?:\w*OUT\w*|\w*DEST\w*|PREFIX|BUILD\w*|TARGET_?DIR)$", re.IGNORECASE)


def make(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """Builds in its folder, or where a variable on the command line says."""
    found = split(words, options)
    for word in found.all("-C", "--directory"):
        act.folder = absolute(word.value, act.folder)
    for word in found.all("-f", "--file"):
        act.effect("read", word.value)
    act.effect("read", ".", is_tree=True)
    act.effect("update", ".", is_tree=True, is_guess=True)
    for word in found.operands:
        name, equals, value = word.value.partition("=")
        if equals and "/" in value and _OUTPUT.match(name):
            act.effect("write", value, is_tree=True, is_guess=True)
    return ()


def logrotate(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """The rotated logs are named in its configuration, which is read like a script."""
    found = split(words, options)
    for word in found.operands:
        act.effect("read", word.value)
        entry = act.findings.scripts.get(absolute(word.value, act.folder)) if is_plain(word.value) else None
        for path in _rotated(getattr(entry, "text", "")):
            act.effect("update", path)
            act.effect("write", f"{path}.*".replace("*", globbed("*")))
            act.effect("write", f"{path}-*".replace("*", globbed("*")))
    return ()


def _rotated(text: str) -> list[str]:
    """The paths that a logrotate configuration names before each `{`."""
    heads = re.findall(r"(?:^|\})([^{}]*)\{", re.sub(r"#.*", "", text))
    return [globbed(path.strip("\"'")) for head in heads for path in head.split() if path.strip("\"'").startswith("/")]
