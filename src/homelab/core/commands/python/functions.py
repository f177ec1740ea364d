"""Functions of the library that give a value the reader can follow."""

import posixpath
import re
from collections.abc import Callable

from homelab.core.commands.patterns import SOME, TREE, UNIQUE, absolute, dated, globbed
from homelab.core.commands.python.reader import Reader
from homelab.core.commands.python.texts import path_joined
from homelab.core.commands.python.values import Handle, Items, Parser, Table, Value, one, text

_Given = list[Value]
_NamedArguments = dict[str, Value]


def _environ_get(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    name = one(given[0]) if given else None
    if name is None:
        return None
    default = given[1] if len(given) > 1 else named.get("default")
    if reader.scope.is_known(name) or default is None:
        return reader.scope.value(name)
    return default


def _join_paths(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    return path_joined([text(value) or (SOME,) for value in given]) if given else None


def _on_text(change: Callable[[str], str]) -> Callable[[Reader, _Given, _NamedArguments], Value]:
    def changed(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
        found = text(given[0]) if given else None
        return tuple(change(part) for part in found) if found is not None else None

    return changed


def _absolute_path(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    return tuple(absolute(part, reader.scope.folder) for part in found) if found is not None else None


def _expand_user(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    home = reader.scope.value("HOME")[0]
    return tuple(home + part[1:] if part.startswith("~/") else part for part in found) if found is not None else None


def _strftime(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    form = one(given[0]) if given else None
    return (dated(form),) if form is not None else None


def _glob(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    if found is None:
        return None
    names = tuple(globbed(part) for part in found)
    reader.play("v", names)
    return names


def _walk(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    found = text(given[0]) if given else None
    if found is None:
        return None
    inside = tuple(f"{part.rstrip('/')}/{TREE}" for part in found)
    return Items(items=[Items(items=[found, None, Items(items=[inside])])])


def _change_folder(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    folder = one(given[0]) if given else None
    if folder is not None:
        reader.scope.folder = absolute(folder, reader.scope.folder)
    return None


def _make_archive(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    base, form = (one(value) for value in [*given, None, None][:2])
    endings = {"gztar": ".tar.gz", "bztar": ".tar.bz2", "xztar": ".tar.xz", "tar": ".tar", "zip": ".zip"}
    if base is not None:
        reader.play("w", (base + endings.get(form or "", ""),))
    reader.play("R", named.get("root_dir") or (given[2] if len(given) > 2 else None))
    return None


def _basic_config(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    reader.play("log", named.get("filename"))
    return None


def _fcntl_lock(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    held = given[0] if given else None
    if isinstance(held, Handle):
        for path in held.paths:
            reader.act(path).lock(path)
    return None


def _length(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    return (str(len(given[0].items)),) if given and isinstance(given[0], Items) else None


def _unique(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    return (f"/tmp/{UNIQUE}",)  # noqa: S108 - a name, not a file of ours


def _getopt(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    """`getopt.getopt(words, "o:v", ["out="])`: pairs of option and value, and the operands."""
    words = [found for found in (text(item) for item in reader.elements(given[0])) if found] if given else []
    letters = one(given[1]) if len(given) > 1 else ""
    long = [one(item) or "" for item in reader.elements(given[2])] if len(given) > 2 else []
    valued = {f"-{found}" for found in re.findall(r"(\w):", letters or "")}
    valued |= {f"--{name[:-1]}" for name in long if name.endswith("=")}
    options: list[Value] = []
    operands: list[Value] = []
    waiting = ""
    for word in words:
        name, equals, value = word[0].partition("=")
        if waiting:
            options.append(Items(items=[(waiting,), word]))
            waiting = ""
        elif name in valued and not equals:
            waiting = name
        elif word[0].startswith("-"):
            options.append(Items(items=[(name,), (value,)]))
        else:
            operands.append(word)
    return Items(items=[Items(items=options), Items(items=operands)])


def _dict_of(reader: Reader, given: _Given, named: _NamedArguments) -> Value:
    pairs = given[0].items if given and isinstance(given[0], Items) else []
    found = {one(pair.items[0]): pair.items[1] for pair in pairs if isinstance(pair, Items) and len(pair.items) == 2}
    return Table(items={**{name: value for name, value in found.items() if name is not None}, **named})


SPECIAL: dict[str, Callable[[Reader, _Given, _NamedArguments], Value]] = {
    "os.environ.get": _environ_get,
    "os.getenv": _environ_get,
    "os.path.join": _join_paths,
    "os.path.dirname": _on_text(posixpath.dirname),
    "os.path.basename": _on_text(posixpath.basename),
    "os.path.abspath": _absolute_path,
    "os.path.realpath": _absolute_path,
    "os.path.normpath": _on_text(posixpath.normpath),
    "os.path.expanduser": _expand_user,
    "os.getcwd": lambda reader, given, named: (reader.scope.folder,),
    "pathlib.Path.home": lambda reader, given, named: reader.scope.value("HOME"),
    "pathlib.Path.cwd": lambda reader, given, named: (reader.scope.folder,),
    "os.chdir": _change_folder,
    "os.walk": _walk,
    "glob.glob": _glob,
    "glob.iglob": _glob,
    "time.strftime": _strftime,
    "argparse.ArgumentParser": lambda reader, given, named: Parser(),
    "shutil.make_archive": _make_archive,
    "logging.basicConfig": _basic_config,
    "fcntl.flock": _fcntl_lock,
    "fcntl.lockf": _fcntl_lock,
    "len": _length,
    "os.getpid": lambda reader, given, named: (UNIQUE,),
    "tempfile.mkdtemp": _unique,
    "tempfile.mkstemp": _unique,
    "tempfile.NamedTemporaryFile": _unique,
    "tempfile.TemporaryDirectory": _unique,
    "uuid.uuid4": lambda reader, given, named: (UNIQUE,),
    "contextlib.closing": lambda reader, given, named: given[0] if given else None,
    "getopt.getopt": _getopt,
    "getopt.gnu_getopt": _getopt,
    "dict": _dict_of,
    "enumerate": lambda reader, given, named: (
        Items(items=[Items(items=[None, item]) for item in reader.elements(given[0])]) if given else None
    ),
}
