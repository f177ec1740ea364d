"""Readable, stable names for the jobs of a crontab, from what their commands run.

A name depends on its own command (and on commands that would get the same name), never on the line or on the order of
the file, so that moving lines renames nothing. Called by `core.crontab.reader`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

# Programs that run another program: the name comes from that one. Value: their options that take a word of their own.
_WRAPPERS: dict[str, str] = {
    "sudo": "-u -g -h -p -C -U",
    "doas": "-u -C",
    "nice": "-n",
    "ionice": "-c -n -p",
    "chrt": "",
    "nohup": "",
    "setsid": "",
    "time": "-f -o",
    "env": "-u -C -S",
    "exec": "-a",
    "command": "",
    "chronic": "",
    "caffeinate": "-t -w",
    "stdbuf": "-i -o -e",
    "systemd-cat": "-t -p",
    "cronic": "",
    "eval": "",
}
_LEADING_WORD = {"flock": "-w -E", "timeout": "-k -s", "chroot": ""}  # a wrapper with one argument before the command
_INTERPRETERS = re.compile(
    r"^(sh|bash|dash|zsh|ksh|fish|python[\d.]*|perl|ruby|php[\d.]*|node|Rscript|lua|tclsh|source|\.)$"
)
_PREPARING = frozenset(
    {"cd", "test", "[", "[[", "export", "sleep", "umask", "set", "ulimit", "source", ".", "mkdir", ":"}
)
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_SUFFIX = re.compile(r"\.(sh|bash|py|pl|php|rb|js|cgi|cron|ksh|zsh)$", re.IGNORECASE)
_PLAIN = re.compile(r"^[A-Za-z][\w.-]*$")
_TOKEN = re.compile(r""""(?:\\.|[^"\\])*"?|'[^']*'?|\\.|&&|\|\||[;|&()]|\d*[<>]+&?\d*|[^\s"'\\;|&()<>]+|\s+|[<>]""")
_CUTS = ("&&", "||", ";", "|", "&", "(", ")")
_MOST = 48
_SHORT = 3


def names_of(identities: Sequence[tuple[str, str]]) -> list[str]:
    """One name for each `(command, rest)`, where `rest` is what else tells two jobs of one command apart (schedule,
    user). Names match `[A-Za-z0-9][A-Za-z0-9_-]*`, at most 100 characters, and are unique."""
    words = [_words(command) for command, _ in identities]
    names = [_joined(w[:_SHORT]) for w in words]
    for longer in (_SHORT + 2, _SHORT + 5):
        names = _where_shared(names, [_joined(w[:longer]) for w in words])
    marked = [
        f"{name}-{sha256(chr(0).join(identity).encode(errors='surrogateescape')).hexdigest()[:4]}"
        for name, identity in zip(names, identities, strict=True)
    ]
    names = _where_shared(names, marked)
    return _numbered(names)


def _where_shared(names: list[str], instead: list[str]) -> list[str]:
    count = Counter(names)
    return [other if count[name] > 1 else name for name, other in zip(names, instead, strict=True)]


def _numbered(names: list[str]) -> list[str]:
    """What is still equal is the same line twice (or a rare collision): the second is `-2`."""
    taken: set[str] = set()
    unique: list[str] = []
    for name in names:
        fresh, number = name, 1
        while fresh in taken:
            number += 1
            fresh = f"{name}-{number}"
        taken.add(fresh)
        unique.append(fresh)
    return unique


def _joined(words: Sequence[str]) -> str:
    name = "-".join(words)
    # No dots: the lab file writes [jobs.NAME], where a dot would need quotes.
    name = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-_")[:_MOST].strip("-_")
    return name or "job"


def _words(command: str) -> list[str]:
    """The words of a name, most telling first: the program or script, then its plain arguments."""
    for part in _simple_commands(command[:4000]):
        words = _unwrapped(part)
        if words and words[0] not in _PREPARING:
            return _telling(words)
    return _telling([w for part in _simple_commands(command[:4000]) for w in part])


def _simple_commands(command: str) -> list[list[str]]:
    """The command cut at `;`, `&&`, `|` and the like, each part as words without quotes and redirections."""
    parts: list[list[str]] = [[]]
    word = ""
    is_target = False
    for token in _TOKEN.findall(command):
        if token[0] in "\"'":
            word += token.strip("\"'")
            continue
        redirects = "<" in token or ">" in token
        if not (redirects or token.isspace() or token in _CUTS):
            word += token
            continue
        if word:
            if not is_target:
                parts[-1].append(word)
            is_target = False
            word = ""
        if redirects:
            is_target = "&" not in token
        elif not token.isspace():
            is_target = False
            parts.append([])
    if word and not is_target:
        parts[-1].append(word)
    return [part for part in parts if part]


def _unwrapped(words: list[str]) -> list[str]:
    """Without the assignments and wrappers before the program that does the work."""
    for _ in range(8):
        while words and (_ASSIGNMENT.match(words[0]) or words[0] in ("!", "{", "if", "then", "while", "do")):
            words = words[1:]
        if not words:
            return []
        program = _base(words[0])
        if program in _WRAPPERS:
            words = _after_options(words[1:], _WRAPPERS[program])
        elif program in _LEADING_WORD:
            rest = _after_options(words[1:], _LEADING_WORD[program])
            if len(rest) < 2:
                return words
            words = rest[1:]
            if words[0] == "-c":
                words = _inner(words[1:2])
        elif _INTERPRETERS.match(program) and program != ".":
            return _script_of(words)
        else:
            return words
    return words


def _after_options(words: list[str], with_value: str) -> list[str]:
    values = with_value.split()
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in values else words[1:]
    return words


def _script_of(words: list[str]) -> list[str]:
    """What an interpreter runs: its script, the command of `sh -c`, the module of `python -m`."""
    for at, word in enumerate(words[1:], start=1):
        if word == "-m" and at + 1 < len(words):
            return words[at + 1 :]
        if word.startswith("-") and word.endswith("c") and not word.startswith("--") and at + 1 < len(words):
            return _inner(words[at + 1 : at + 2]) or words
        if not word.startswith("-"):
            return words[at:]
    return words


def _inner(command: list[str]) -> list[str]:
    for part in _simple_commands(command[0]) if command else []:
        words = _unwrapped(part)
        if words and words[0] not in _PREPARING:
            return words
    return []


def _base(word: str) -> str:
    return word.rstrip("/").rpartition("/")[2]


def _telling(words: list[str]) -> list[str]:
    """The program, then plain arguments. Nothing of an option, and of what is right behind one only the last part of a
    path or the host of a URL: another word there may be a secret."""
    if not words:
        return ["job"]
    telling = [_SUFFIX.sub("", _base(words[0])) or _base(words[0])]
    if telling[0] == "run-parts":
        return ["run-parts", *(_base(word) for word in words[-1:] if "/" in word)]
    behind_option = False
    for word in words[1:]:
        if word.startswith("-") or (behind_option and "/" not in word) or _ASSIGNMENT.match(word):
            behind_option = word.startswith("-") and "=" not in word
            continue
        behind_option = False
        plain = word
        if "://" in plain:
            plain = plain.split("://", 1)[1].split("/", 1)[0].split("@")[-1].split(":")[0]
        elif "/" in plain:
            plain = _base(plain)
        plain = _SUFFIX.sub("", plain)
        if _PLAIN.match(plain) and plain not in telling and len(plain) <= 32:
            telling.append(plain)
    return telling
