"""Containers: what runs inside them has their name as its place. See `core.commands.grammars`."""

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.effects import Word
from homelab.core.commands.patterns import absolute

_EXEC_VALUES = frozenset({"-e", "--env", "-u", "--user", "-w", "--workdir", "--index", "--name", "-v"})


def docker_run(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """Folders bound into the container are read and perhaps written; which of both, nobody can tell from outside."""
    rest = list(words)
    bound: dict[str, str] = {}
    while rest and rest[0].value.startswith("-"):
        option, equals, value = rest.pop(0).value.partition("=")
        if option in options and not equals and rest:
            value = rest.pop(0).value
        if option in ("-v", "--volume") and value.startswith(("/", ".", "~")):
            host, _, inner = value.partition(":")
            inner, _, mode = inner.partition(":")
            bound[inner] = host
            act.effect("read" if "ro" in mode.split(",") else "mention", host, is_tree=True)
    if not rest:
        return ()
    act.effect("read", rest[0].value, place="image")
    command = [_outside(word, bound) for word in rest[1:]]
    if not command or command[0].value.startswith("-"):
        return ()
    return command


def _outside(word: Word, bound: Mapping[str, str]) -> Word:
    """A path in the container as the path it is outside."""
    values = list(word.values)
    for inner, host in sorted(bound.items(), key=lambda item: -len(item[0])):
        values = [re.sub(rf"(?<![\w/.-]){re.escape(inner)}(?=/|$|\s)", lambda _, h=host: h, value) for value in values]
    return Word(text=word.text, values=tuple(values))


def compose(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    for word in found.all("-f", "--file"):
        act.effect("read", word.value)
    command = found.operands[0].value if found.operands else ""
    behind = _behind(words, command)
    project = found.value("--project-directory")
    file = found.value("-f", "--file")
    folder = project.value if project else posixpath.dirname(file.value) if file else "."
    images = absolute(folder or ".", act.folder)
    if command in ("exec", "run"):
        return inside(act, behind, _EXEC_VALUES, stdin)
    if command in ("pull", "build"):
        act.effect("write", images, place="images")
    elif command in ("up", "create", "restart"):
        act.effect("read", images, place="images")
    return ()


def kubectl(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    command = found.operands[0].value if found.operands else ""
    if command == "exec":
        behind = _behind(words, command)
        at = next((n for n, word in enumerate(behind) if word.value == "--"), None)
        if at is not None and behind:
            name = next((w.value for w in behind if not w.value.startswith("-")), "pod")
            act.scope = act.scope.copy()
            act.scope.place, act.scope.folder = f"container:{name}", "/"
            return behind[at + 1 :]
    elif command in ("apply", "create", "replace"):
        for word in found.all("-f"):
            act.effect("read", word.value, is_tree=word.value.endswith("/"))
    elif command == "cp":
        operands = split(_behind(words, command), {"-n", "-c", "--namespace"}).operands
        act.may_be_far = True
        if len(operands) == 2:
            act.play("r", operands[0])
            act.copied_to(operands[1].value, operands[:1], is_tree=False)
    return ()


def inside(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """`exec NAME command`: runs in the container of that name."""
    rest = list(words)
    while rest and rest[0].value.startswith("-"):
        option = rest.pop(0).value
        if option in options and rest:
            rest.pop(0)
    if len(rest) < 2:
        return ()
    act.scope = act.scope.copy()
    act.scope.place, act.scope.folder = rest[0].value, "/"
    return rest[1:]


def _behind(words: list[Word], command: str) -> list[Word]:
    at = next((n for n, word in enumerate(words) if word.value == command), len(words))
    return words[at + 1 :]
