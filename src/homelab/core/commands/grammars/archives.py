"""tar, in its three ways to write options. See `core.commands.grammars`."""

import re
from collections.abc import Collection, Sequence

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.effects import Kind, Word
from homelab.core.commands.patterns import absolute


def _letters(words: Sequence[Word]) -> str:
    """All letters of the short options, for commands whose options are told by a letter anywhere."""
    return "".join(word.value[1:] for word in words if re.match(r"^-[A-Za-z]", word.value))


def tar(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    if words and re.match(r"^[A-Za-z]+$", words[0].value):
        words = _bundle(words, options)
    found = split(words, options)
    letters = _letters(words)
    archive = found.value("-f", "--file")
    creates = "c" in letters or found.has("--create")
    adds = any(letter in letters for letter in "ru") or found.has("--append", "--update")
    extracts = "x" in letters or found.has("--extract", "--get")
    if archive is not None:
        kind: Kind = "write" if creates else "update" if adds and not extracts else "read"
        for value in archive.values:
            act.effect(kind, value)
    for word in found.all("-T", "--files-from"):
        act.effect("read", word.value)
    for word in found.all("-g", "--listed-incremental"):
        act.effect("update", word.value)
    folder = act.folder
    act.may_be_far = False
    for name, value in _in_order(words, options):
        if name in ("-C", "--directory"):
            act.folder = absolute(value.value, act.folder)
            if extracts:
                act.effect("write", ".", is_tree=True)
        elif name == "" and (creates or adds):
            for one in value.values:
                act.effect("read", one, is_tree=True)
    if extracts and not found.has("-C", "--directory", "-O", "--to-stdout"):
        act.effect("write", ".", is_tree=True)
    act.folder = folder
    if creates and found.has("--remove-files"):
        for word in found.operands:
            act.effect("delete", word.value, is_tree=True)
    return ()


def _bundle(words: Sequence[Word], options: Collection[str]) -> list[Word]:
    """`cfz FILE`, the oldest way: each letter that takes a value takes the next word, in order."""
    first, *rest = words
    valued = [letter for letter in first.value if f"-{letter}" in options]
    plain = "".join(letter for letter in first.value if f"-{letter}" not in options)
    result = [Word(text=first.text, values=(f"-{plain}",))] if plain else []
    for letter, value in zip(valued, rest, strict=False):
        result += [Word(text=f"-{letter}", values=(f"-{letter}",)), value]
    return [*result, *rest[len(valued) :]]


def _in_order(words: Sequence[Word], options: Collection[str]) -> list[tuple[str, Word]]:
    """`-C` and operands as they come: the folder holds for the operands behind it."""
    found: list[tuple[str, Word]] = []
    waiting = ""
    for word in words:
        text = word.value
        if waiting:
            if waiting in ("-C", "--directory"):
                found.append((waiting, word))
            waiting = ""
        elif text.startswith("--"):
            name, equals, value = text.partition("=")
            if name == "--directory" and equals:
                found.append((name, Word(text=text, values=(value,))))
            elif name in options and not equals:
                waiting = name
        elif text.startswith("-") and len(text) > 1:
            waiting = f"-{text[-1]}" if f"-{text[-1]}" in options else ""
        else:
            found.append(("", word))
    return found
