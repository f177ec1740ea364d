"""What the Python reader knows of a value. None stands for one of which nothing is known."""

import ast
from dataclasses import dataclass, field

Text = tuple[str, ...]  # a string or path: each pattern it can be


@dataclass(kw_only=True)
class Items:
    """A list, tuple or set whose members are known."""

    items: list["Value"] = field(default_factory=list["Value"])


@dataclass(kw_only=True)
class Table:
    """A dictionary with known keys, the attributes of an object, the arguments of a command line."""

    items: dict[str, "Value"] = field(default_factory=dict[str, "Value"])


@dataclass(kw_only=True)
class Namespace:
    """The names of a module or class. `file`: where its text stands; `lines`: that text."""

    names: dict[str, "Value"] = field(default_factory=dict[str, "Value"])
    file: str = ""
    lines: list[str] = field(default_factory=list[str])


@dataclass(kw_only=True)
class Function:
    """A function and the module it is in. `instance`: the object, for a method."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    module: Namespace
    instance: "Instance | None" = None
    enclosing: dict[str, "Value"] = field(default_factory=dict[str, "Value"])


@dataclass(kw_only=True)
class Class:
    node: ast.ClassDef
    module: Namespace
    members: dict[str, "Value"] = field(default_factory=dict[str, "Value"])


@dataclass(kw_only=True)
class Instance:
    kind: Class
    attributes: dict[str, "Value"] = field(default_factory=dict[str, "Value"])


@dataclass(frozen=True, kw_only=True)
class Handle:
    """An open file."""

    paths: Text


@dataclass(frozen=True, kw_only=True)
class Database:
    """A connection, or a cursor of one. `place` is empty for a database that is a file."""

    place: str
    names: Text


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A date or time. `is_other_day`: reckoned from today."""

    is_other_day: bool = False


@dataclass(frozen=True, kw_only=True)
class Named:
    """Something from a module that is not read: its full name, `shutil.copy`."""

    name: str


@dataclass(kw_only=True)
class Parser:
    """An `argparse` parser: options and operands as they were added."""

    options: dict[str, str] = field(default_factory=dict[str, str])
    flags: dict[str, str] = field(default_factory=dict[str, str])
    operands: list[str] = field(default_factory=list[str])
    defaults: dict[str, "Value"] = field(default_factory=dict[str, "Value"])
    parsers: dict[str, "Parser"] = field(default_factory=dict[str, "Parser"])
    parsers_name: str = ""

    def add(self, names: list[str], *, default: "Value" = None, dest: str = "", is_flag: bool = False) -> None:
        """An option or operand. `dest`: what it is called; else a name without dashes, else the longest."""
        plain = [name for name in names if not name.startswith("-")]
        dest = dest or (plain or [max(names, key=len)])[0].lstrip("-").replace("-", "_")
        if default is not None:
            self.defaults[dest] = default
        options = [name for name in names if name.startswith("-")]
        if not options:
            self.operands.append(dest)
        elif is_flag:
            self.flags.update(dict.fromkeys(options, dest))
        else:
            self.options.update(dict.fromkeys(options, dest))


Value = (
    Text
    | Items
    | Table
    | Namespace
    | Function
    | Class
    | Instance
    | Handle
    | Database
    | Moment
    | Named
    | Parser
    | bool
    | None
)


def text(value: Value) -> Text | None:
    """A value as text, if it is one."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, Handle):
        return value.paths
    return None


def one(value: Value) -> str | None:
    """The only text a value can be."""
    found = text(value)
    return found[0] if found is not None and len(found) == 1 else None


def parse_arguments(parser: Parser, words: list[Text]) -> Table:
    """What `parse_args` makes of the words of a command line."""
    found: dict[str, Value] = dict(parser.defaults)
    operands: list[Text] = []
    waiting = ""
    chosen: Parser | None = None
    for number, word in enumerate(words):
        name, equals, value = word[0].partition("=")
        if waiting:
            found[waiting] = word
            waiting = ""
        elif name in parser.options:
            if equals:
                found[parser.options[name]] = (value,)
            else:
                waiting = parser.options[name]
        elif name in parser.flags:
            found[parser.flags[name]] = True
        elif len(operands) == len(parser.operands) and word[0] in parser.parsers:
            chosen = parser.parsers[word[0]]
            if parser.parsers_name:
                found[parser.parsers_name] = word
            found.update(parse_arguments(chosen, words[number + 1 :]).items)
            break
        else:
            operands.append(word)
    found.update(zip(parser.operands, operands, strict=False))
    return Table(items=found)
