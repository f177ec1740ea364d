"""Calls: of functions of the script, of well-known modules, of methods; what they do to files."""

import ast
import re

import homelab.core.commands.python.library as library
from homelab.core.commands.patterns import SOME, absolute, dated
from homelab.core.commands.python.functions import SPECIAL
from homelab.core.commands.python.reader import MOST_ITEMS, Reader
from homelab.core.commands.python.texts import (
    is_path,
    path_joined,
    text_changed,
)
from homelab.core.commands.python.values import (
    Class,
    Database,
    Function,
    Handle,
    Instance,
    Items,
    Moment,
    Namespace,
    Parser,
    Table,
    Text,
    Value,
    one,
    parse_arguments,
    text,
)
from homelab.core.commands.sql import touches

_STATEMENT = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|TRUNCATE|WITH|COPY|VACUUM|PRAGMA)\b", re.I
)


def call(reader: Reader, node: ast.Call) -> Value:
    reader.shell.findings.step()
    reader.frame.line = node.lineno
    name = reader.dotted(node.func)
    given: list[Value] = []
    for argument in node.args:
        value = reader.value(argument)
        given += value.items if isinstance(argument, ast.Starred) and isinstance(value, Items) else [value]
    named = {keyword.arg: reader.value(keyword.value) for keyword in node.keywords if keyword.arg}
    reader.frame.line = node.lineno
    if name:
        return call_named(reader, name, given, named)
    if isinstance(node.func, ast.Attribute):
        holder = reader.value(node.func.value)
        if not isinstance(holder, Instance | Namespace | Class | Table):
            return call_method(reader, holder, node.func.attr, given, named)
    function = reader.value(node.func)
    if isinstance(function, Function):
        return reader.call_function(function, given, named)
    if isinstance(function, Class):
        return make(reader, function, given, named)
    if isinstance(node.func, ast.Attribute):
        return call_method(reader, None, node.func.attr, given, named)
    return None


def make(reader: Reader, kind: Class, given: list[Value], named: dict[str, Value]) -> Value:
    made = Instance(kind=kind)
    start = kind.members.get("__init__")
    if isinstance(start, Function):
        reader.call_function(Function(node=start.node, module=start.module, instance=made), given, named)
    else:
        made.attributes.update(named)  # a dataclass
    return made


def call_named(reader: Reader, name: str, given: list[Value], named: dict[str, Value]) -> Value:
    """A function of the library or of a module that is not here."""
    first = given[0] if given else None
    special = SPECIAL.get(name)
    if special is not None:
        return special(reader, given, named)
    if name in library.PASSES:
        parts = [text(value) or (SOME,) for value in given]
        return path_joined(parts) if name.startswith("pathlib") and len(given) > 1 else first
    if name in library.NOW:
        return Moment()
    if name in library.CALLS:
        reader.run(first if len(given) < 2 or isinstance(first, Items) else Items(items=given), named)
        return None
    if name in library.CALLS_SHELL:
        reader.run(first, {"shell": True})
        return None
    if name in library.CONNECTS:
        return connect(reader, library.CONNECTS[name], first, named)
    roles = library.FUNCTIONS.get(name)
    if roles == "open":
        return open_file(reader, first, given[1] if len(given) > 1 else named.get("mode"))
    if roles is not None:
        reader.roles(roles, given or list(named.values()))
        return first if roles == "v" else None
    return call_method(reader, None, name.rpartition(".")[2], given, named)


def open_file(reader: Reader, path: Value, mode: Value) -> Value:
    found = text(path)
    letters = one(mode) or "r"
    role = "a" if "a" in letters else "w" if letters[:1] in ("w", "x") else "u" if "+" in letters else "r"
    if found is None:
        return None
    reader.play(role, found)
    return Handle(paths=found)


def call_method(reader: Reader, holder: Value, name: str, given: list[Value], named: dict[str, Value]) -> Value:
    first = given[0] if given else None
    if isinstance(holder, Parser):
        return parser_method(reader, holder, name, given, named)
    if isinstance(holder, Database):
        return database_method(reader, holder, name, given)
    if isinstance(holder, Moment):
        return moment_method(reader, holder, name, first)
    if isinstance(holder, Items) and name in ("append", "add", "insert") and given:
        if len(holder.items) < MOST_ITEMS:
            holder.items.append(given[-1])
        return None
    if isinstance(holder, Table):
        return table_method(reader, holder, name, given)
    found = text(holder)
    if found is not None:
        return text_method(reader, found, name, given, named)
    if name in ("execute", "executemany", "executescript") and (statement := one(first)):
        return unbound_statement(reader, statement)
    if name in ("read_sql", "read_sql_query") and len(given) > 1 and isinstance(given[1], Database):
        return database_method(reader, given[1], "execute", given)
    if name == "to_sql" and len(given) > 1 and isinstance(given[1], Database) and (table := one(first)):
        reader.database(given[1], [("write", table)])
        return None
    roles = library.METHODS.get(name) or next(
        (role for start, role in library.PREFIXES if name.startswith(start)), None
    )
    if roles is not None:
        values = given or [value for key, value in named.items() if "path" in key or "file" in key]
        paths = [value if is_path(value) else None for value in values]
        reader.roles(roles, paths)
    return None


def table_method(reader: Reader, holder: Table, name: str, given: list[Value]) -> Value:
    if name == "get" and given and (key := one(given[0])) is not None:
        return holder.items.get(key, given[1] if len(given) > 1 else None)
    if name == "values":
        return Items(items=list(holder.items.values()))
    if name == "items":
        return Items(items=[Items(items=[(key,), value]) for key, value in holder.items.items()])
    if name == "keys":
        return Items(items=[(key,) for key in holder.items])
    member = holder.items.get(name)
    return reader.call_function(member, given, {}) if isinstance(member, Function) else None


def text_method(reader: Reader, found: Text, name: str, given: list[Value], named: dict[str, Value]) -> Value:
    """Methods of strings and paths."""
    first = given[0] if given else None
    if name == "open":
        return open_file(reader, found, first if first is not None else named.get("mode"))
    if name == "replace" and len(given) < 2:
        reader.play("m", found)
        reader.play("w", first)
        return first
    own = library.PATH_METHODS.get(name)
    if own is not None and not (name == "copy" and not given):
        reader.play(own[0], found)
        reader.roles(own[1], given)
        return None
    changed = text_changed(found, name, [text(value) for value in given], named)
    if changed is not None and name in ("glob", "rglob", "iterdir"):
        reader.play("v", changed)
    return changed


def moment_method(reader: Reader, holder: Moment, name: str, first: Value) -> Value:
    if name == "strftime":
        return tuple(dated(form, other_day=holder.is_other_day) for form in text(first) or ())
    if name == "isoformat":
        return (dated("%F", other_day=holder.is_other_day),)
    if name in ("date", "astimezone", "replace"):
        return holder
    return None


def parser_method(reader: Reader, holder: Parser, name: str, given: list[Value], named: dict[str, Value]) -> Value:
    """`argparse`: what is added, then what the words of the command line become."""
    if name == "add_argument":
        if names := [word for word in (one(value) for value in given) if word]:
            holder.add(
                names, default=named.get("default"), dest=one(named.get("dest")) or "", is_flag="action" in named
            )
    elif name == "add_subparsers":
        holder.parsers_name = one(named.get("dest")) or ""
        return holder
    elif name == "add_parser" and (command := one(given[0] if given else None)):
        holder.parsers[command] = Parser()
        return holder.parsers[command]
    elif name == "set_defaults":
        holder.defaults.update(named)
    elif name in ("add_argument_group", "add_mutually_exclusive_group"):
        return holder
    elif name == "parse_args":
        return parse_arguments(holder, [(word,) for word in reader.arguments])
    elif name == "parse_known_args":
        return Items(items=[parse_arguments(holder, [(word,) for word in reader.arguments]), None])
    return None


def connect(reader: Reader, place: str, first: Value, named: dict[str, Value]) -> Value:
    names = text(named.get("dbname") or named.get("database") or named.get("db") or first)
    if place == "url":
        return connect_url(reader, one(first) or "")
    if names is None:
        return None
    if place:
        found = [re.search(r"\bdbname=(\S+)", name) or re.search(r"://[^/]*/([\w-]+)", name) for name in names]
        names = tuple(match[1] if match else name for match, name in zip(found, names, strict=True))
    else:
        names = tuple(absolute(name, reader.scope.folder) for name in names if name != ":memory:")
    database = Database(place=place, names=names)
    reader.connections.setdefault(database, False)
    return database


def connect_url(reader: Reader, url: str) -> Value:
    found = re.match(r"(sqlite|postgres(?:ql)?|mysql|mariadb)(?:\+\w+)?://(?:/|[^/]*/)(.*?)(?:\?.*)?$", url, re.DOTALL)
    if found is None:
        return None
    place = {"sqlite": "", "mysql": "mysql", "mariadb": "mysql"}.get(found[1], "postgresql")
    return connect(reader, place, (found[2],), {})


def database_method(reader: Reader, holder: Database, name: str, given: list[Value]) -> Value:
    if name.startswith("execute") and given:
        statements = text(given[0]) or ()
        for statement in statements:
            reader.database(holder, touches(statement))
    elif name == "backup" and given and isinstance(given[0], Database):
        reader.database(holder, [("read", "")])
        reader.database(given[0], [("write", "")])
    return holder


def unbound_statement(reader: Reader, statement: str) -> Value:
    """SQL on a cursor that was lost on the way: it belongs to the only connection there is."""
    if len(reader.connections) == 1 and _STATEMENT.match(statement):
        reader.database(next(iter(reader.connections)), touches(statement))
    return None
