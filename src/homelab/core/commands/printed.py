"""What a command prints, where its words alone say it: `date`, `dirname`, `pwd`, `ls`, `find`, `mktemp` and a few more.

Called by `core.commands.shell` for `$(...)` and for what a pipeline hands on.
"""

import posixpath
from collections.abc import Callable, Sequence

from homelab.core.commands.patterns import ANY, SOME, TREE, UNIQUE, absolute, dated, globbed, is_plain, unset
from homelab.core.commands.words import UNKNOWN, Scope, Values

# They hand on lines of what they get as they are.
_FILTERS = frozenset({"head", "tail", "sort", "uniq", "grep", "egrep", "tac", "tee", "shuf", "rev-parse"})


def printed(words: Sequence[Values], scope: Scope, incoming: Values) -> Values:
    """What the command of these words prints when `incoming` is what comes in on a pipe."""
    name = words[0][0].rpartition("/")[2] if words and words[0] else ""
    arguments = list(words[1:])
    if name in ("sudo", "command", "nice") and arguments:
        return printed(arguments, scope, incoming)
    if name in _FILTERS:
        incoming = tuple(value.replace(ANY, SOME) for value in incoming)  # some of them
        files = [word for word in arguments if not word[0].startswith(("-", "+")) and not word[0].isdigit()]
        return incoming if not files or name.endswith("grep") or incoming != UNKNOWN else UNKNOWN
    printer = _PRINTERS.get(name)
    return printer(arguments, scope) if printer else UNKNOWN


def _date(arguments: list[Values], scope: Scope) -> Values:
    form = "%c"
    other_day = False
    for word in arguments:
        text = word[0]
        if text.startswith("+"):
            form = text[1:]
        elif text.startswith(("-I", "--iso")):
            form = "%FT%T" if "s" in text[2:] and "date" not in text else "%F"
        elif text.startswith(("-d", "--date", "-v", "-r")):
            other_day = True
    return (dated(form, other_day=other_day),)


def _echo(arguments: list[Values], scope: Scope) -> Values:
    words = arguments
    while words and words[0][0] in ("-n", "-e", "-ne", "-en", "-E"):
        words = words[1:]
    if len(words) == 1:
        return words[0]
    return (" ".join(word[0] for word in words),)


def _printf(arguments: list[Values], scope: Scope) -> Values:
    if not arguments:
        return ("",)
    form = arguments[0][0].replace("\\n", "")
    values = [word[0] for word in arguments[1:]]
    if form.count("%s") == len(values) == form.count("%"):
        for value in values:
            form = form.replace("%s", value, 1)
        return (form,)
    return (" ".join(values),) if values and form.strip("%s ") == "" else UNKNOWN if "%" in form else (form,)


def _basename(arguments: list[Values], scope: Scope) -> Values:
    words = [word for word in arguments if not word[0].startswith("-")]
    if not words:
        return UNKNOWN
    suffix = words[1][0] if len(words) > 1 else ""
    values = [value.rstrip("/").rpartition("/")[2] for value in words[0]]
    return tuple(dict.fromkeys(v.removesuffix(suffix) if suffix and v != suffix else v for v in values))


def _dirname(arguments: list[Values], scope: Scope) -> Values:
    words = [word for word in arguments if not word[0].startswith("-")]
    return tuple(dict.fromkeys(posixpath.dirname(value.rstrip("/")) or "." for value in words[0])) if words else UNKNOWN


def _real(arguments: list[Values], scope: Scope) -> Values:
    words = [word for word in arguments if not word[0].startswith("-")]
    return tuple(absolute(value, scope.folder) for value in words[0]) if words else UNKNOWN


def _listed(arguments: list[Values], scope: Scope) -> Values:
    """`ls`: the names in a folder, or the files that a pattern means."""
    words = [value for word in arguments if not word[0].startswith("-") for value in word]
    is_folder_itself = any("d" in word[0] for word in arguments if word[0].startswith("-") and word[0][1:2] != "-")
    found: list[str] = []
    for value in words or ["."]:
        path = value if is_folder_itself or not is_plain(value) or "." in posixpath.basename(value)[1:] else ""
        if path and path != ".":
            found.append(path)
        else:
            found.append(ANY)
    return tuple(dict.fromkeys(found))


def _found(arguments: list[Values], scope: Scope) -> Values:
    """`find`: anything below its folders that has the name."""
    folders: list[str] = []
    name = ""
    for number, word in enumerate(arguments):
        text = word[0]
        if text.startswith(("-", "(", "!", "\\(")):
            name_at = arguments[number + 1][0] if text in ("-name", "-iname") and number + 1 < len(arguments) else ""
            name = globbed(name_at) or name
        elif number == len(folders):
            folders.append(absolute(text, scope.folder))
    return tuple(f"{folder}/{TREE}{name.removeprefix(ANY)}" for folder in folders) or UNKNOWN


def _sequence_or_unknown(arguments: list[Values], scope: Scope) -> Values:
    return (ANY,)


_PRINTERS: dict[str, Callable[[list[Values], Scope], Values]] = {
    "date": _date,
    "gdate": _date,
    "echo": _echo,
    "printf": _printf,
    "basename": _basename,
    "dirname": _dirname,
    "readlink": _real,
    "realpath": _real,
    "pwd": lambda arguments, scope: (scope.folder,),
    "ls": _listed,
    "find": _found,
    "mktemp": lambda arguments, scope: (f"/tmp/{UNIQUE}",),  # noqa: S108 - a name, not a file of ours
    "tempfile": lambda arguments, scope: (f"/tmp/{UNIQUE}",),  # noqa: S108
    "uuidgen": lambda arguments, scope: (UNIQUE,),
    "hostname": lambda arguments, scope: (unset("HOSTNAME"),),
    "uname": lambda arguments, scope: (unset("HOSTNAME"),),
    "whoami": lambda arguments, scope: scope.value("LOGNAME"),
    "id": lambda arguments, scope: scope.value("LOGNAME"),
    "logname": lambda arguments, scope: scope.value("LOGNAME"),
    "seq": _sequence_or_unknown,
}
