"""Builtins of the shell that change what it knows: folder, variables, arguments. Called by `core.commands.programs`."""

from collections.abc import Callable, Mapping

from homelab.core.commands.conditions import of_words
from homelab.core.commands.effects import Effect
from homelab.core.commands.patterns import absolute, is_plain
from homelab.core.commands.shell import Invocation, Shell


def _cd(shell: Shell, invocation: Invocation) -> None:
    operands = [word for word in invocation.words[1:] if not word.value.startswith("-") or word.value == "-"]
    scope = invocation.scope
    target = operands[0].value if operands else scope.value("HOME")[0]
    scope.folder = absolute(target, scope.folder) if target != "-" else scope.folder


def _eval(shell: Shell, invocation: Invocation) -> None:
    text = " ".join(word.value for word in invocation.words[1:])
    if is_plain(text):
        shell.read(text, invocation.scope, origin=invocation.source)


def _export(shell: Shell, invocation: Invocation) -> None:
    for word in invocation.words[1:]:
        name, equals, value = word.value.partition("=")
        if equals:
            invocation.scope.variables[name] = (value,)
        invocation.scope.exported.add(name)


def _set(shell: Shell, invocation: Invocation) -> None:
    words = list(invocation.words[1:])
    while words and words[0].value[:1] in ("-", "+"):
        option = words.pop(0).value
        if option == "--":
            break
        if option.endswith("o") and words:  # set -o pipefail
            words.pop(0)
    if words:
        invocation.scope.arguments = tuple(word.values for word in words)


def _shift(shell: Shell, invocation: Invocation) -> None:
    count = invocation.words[1].value if len(invocation.words) > 1 else "1"
    invocation.scope.arguments = invocation.scope.arguments[int(count) if count.isdigit() else 1 :]


def _test(shell: Shell, invocation: Invocation) -> bool | None:
    verdict, asked = of_words([word.values for word in invocation.words[1:]])
    for path, is_folder in asked:
        target = absolute(path, invocation.scope.folder)
        place = invocation.scope.place
        effect = Effect(kind="test", target=target, place=place, is_tree=is_folder, by="test", source=invocation.source)
        shell.findings.add(effect)
    return verdict


BUILTINS: Mapping[str, Callable[[Shell, Invocation], bool | None]] = {
    "cd": _cd,
    "pushd": _cd,
    "eval": _eval,
    "export": _export,
    "set": _set,
    "shift": _shift,
    "test": _test,
    "[": _test,
    "true": lambda shell, invocation: True,
    ":": lambda shell, invocation: True,
    "false": lambda shell, invocation: False,
}
