"""What a service's `ExecStart=` lines do, as one command of `/bin/sh` that does the same. Nothing is run.

systemd splits and expands such a line itself, without a shell. Source: systemd.service(5), "Command lines".
Called by `core.timers.systemd`.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_VARIABLE_WORD = re.compile(r"\$[A-Za-z_]\w*", re.ASCII)
_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_]\w*)\}", re.ASCII)
_OPERATORS = ("|", "||", "&&", "&", ">", ">>", "<", "2>&1", "2>/dev/null", ">/dev/null")


class ExecError(Exception):
    """The line is not one that systemd would run; the message says why, without a full stop."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command line. `text`: for the shell. `may_fail`: its failure does not count (`-`).

    `is_privileged`: run with full rights whatever `User=` says (`+`, `!`). `operators`: words that look like a
    shell's but are plain arguments here.
    """

    text: str
    may_fail: bool = False
    is_privileged: bool = False
    renames: bool = False
    operators: tuple[str, ...] = ()


def split_words(text: str, *, quoted_semicolon: str = ";") -> list[str]:
    """Words as systemd splits them: quotes of both kinds, C escapes. ExecError when a quote is not closed.

    `quoted_semicolon` stands for one within quotes, which separates no commands.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            escaped, at = _escape(text, at)
            word = [*(word or []), escaped]
            continue
        if quote:
            if char == quote:
                quote = ""
            else:
                word = [*(word or []), quoted_semicolon if char == ";" else char]
        elif char in "\"'":
            quote, word = char, word or []
        elif char.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = [*(word or []), char]
        at += 1
    if quote:
        raise ExecError("a quote is not closed")
    return [*words, "".join(word)] if word is not None else words


def _escape(text: str, at: int) -> tuple[str, int]:
    char = text[at + 1]
    if char in _ESCAPES:
        return _ESCAPES[char], at + 2
    for lead, digits, base in (("x", 2, 16), ("u", 4, 16), ("U", 8, 16)):
        number = text[at + 2 : at + 2 + digits]
        if char == lead and len(number) == digits and re.fullmatch(r"[0-9a-fA-F]+", number):
            code = int(number, base)
            return (chr(code) if 0 < code < 0x110000 else "?"), at + 2 + digits
    number = text[at + 1 : at + 4]
    if re.fullmatch(r"[0-3][0-7]{2}", number):
        return chr(int(number, 8)), at + 4
    return (char if char in "\\\"'" else "\\" + char), at + 2


def commands_of(line: str, expand: Callable[[str], str]) -> list[Command]:
    """The commands of one `ExecStart=` value (`;` as a word of its own separates them). `expand` does specifiers."""
    groups: list[list[str]] = [[]]
    for word in split_words(line.replace("\\;", "\0"), quoted_semicolon="\0"):
        if word == ";":
            groups.append([])
        else:
            groups[-1].append(word.replace("\0", ";"))
    return [_command(words, expand) for words in groups if words]


def _command(words: list[str], expand: Callable[[str], str]) -> Command:
    program = words[0].lstrip("-@:+!|")
    prefix = words[0][: len(words[0]) - len(program)]
    arguments = words[1:]
    if "@" in prefix:
        arguments = arguments[1:]  # the first is only the name the program sees itself under
    if not program:
        raise ExecError("there is no program")
    operators = tuple(word for word in arguments if word in _OPERATORS or word.startswith((">", "2>")))
    shown = [shlex.quote(expand(program))]
    shown += [_argument(word, expand, is_plain=":" in prefix) for word in arguments]
    return Command(
        text=" ".join(shown),
        may_fail="-" in prefix,
        is_privileged="+" in prefix or "!" in prefix,
        renames="@" in prefix,
        operators=operators,
    )


def _argument(word: str, expand: Callable[[str], str], *, is_plain: bool) -> str:
    """One argument for the shell: everything literal is quoted, systemd's variables become the shell's."""
    if is_plain:
        return shlex.quote(expand(word))
    if _VARIABLE_WORD.fullmatch(word):
        return word  # a word of its own is split at blanks, as the shell does
    text = ""
    at = 0
    literal = ""
    for found in _VARIABLE.finditer(word):
        literal += word[at : found.start()]
        at = found.end()
        if found[1] is None:
            literal += "$"
            continue
        text += (shlex.quote(expand(literal)) if literal else "") + f'"${{{found[1]}}}"'
        literal = ""
    literal += word[at:]
    return text + (shlex.quote(expand(literal)) if literal or not text else "")


def joined(commands: list[Command]) -> str:
    """One after the other; the first that fails ends it, except where failure does not count."""
    if len(commands) == 1 and commands[0].may_fail:
        return f"{commands[0].text} || :"
    return " && ".join(f"{{ {c.text} || :; }}" if c.may_fail else c.text for c in commands)
