"""Pictures, films and graphs. See `core.commands.grammars`."""

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.effects import Kind, Word
from homelab.core.commands.patterns import ANY, globbed


def ffmpeg(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """`-i IN ... OUT`: options always have a value, except the few that do not matter here."""
    for option, value in pairwise(words):
        if option.value == "-i":
            for one in value.values:
                if "://" not in one:  # its own globs, and numbered pictures: `img%04d.jpg`
                    act.effect("read", globbed(re.sub(r"%0?\d*d", ANY, one)))
    if words and not words[-1].value.startswith("-"):
        act.play("w", words[-1])
    return ()


def lastout(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """Pictures: the last file is made from those before; `-o FILE` where a program has that."""
    output = split(words, options).value("-o", "--output")
    files = [word for word in words if re.search(r"[^/]\.[A-Za-z0-9]{2,5}$", word.value) and "=" not in word.value]
    if output is not None:
        act.play("w", output)
        files = [word for word in files if word.value != output.value]
    elif files:
        act.play("w", files[-1])
        files = files[:-1]
    if act.name in ("convert", "magick", "composite", "montage", "gm"):
        for word in files:
            act.play("r", word)
    return ()


def rrdtool(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    if len(words) < 2:
        return ()
    command, file, *rest = words
    roles: dict[str, Kind] = {"update": "update", "create": "write", "updatev": "update", "restore": "write"}
    roles |= {"graph": "write", "graphv": "write", "fetch": "read", "dump": "read", "last": "read", "xport": "mention"}
    if command.value in roles and command.value != "xport":
        act.play({"update": "u", "write": "w", "read": "r"}[roles[command.value]], file)
    for word in rest:
        if found := re.match(r"^DEF:[^=]+=((?:[^:\\]|\\.)+):", word.value):
            act.effect("read", found[1])
    return ()
