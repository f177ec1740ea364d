"""The SQL clients. See `core.commands.grammars`."""

import re
from collections.abc import Collection, Sequence

from homelab.core.commands.arguments import Act, split
from homelab.core.commands.effects import Script, Word
from homelab.core.commands.patterns import absolute, is_plain
from homelab.core.commands.sql import files_of, touches


def psql(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    named = found.value("-d", "--dbname") or (found.operands[0] if found.operands else None)
    texts = [word.value for word in found.all("-c", "--command")]
    files = found.all("-f", "--file")
    for word in found.all("-o", "--output"):
        act.effect("write", word.value)
    prints = found.has("-o", "--output", "--csv", "-t", "-A", "-H", "--html", "-tA", "-At")
    _sql(act, "postgresql", named, texts, files, stdin, prints=prints)
    return ()


def mysql(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    found = split(words, options)
    named = found.value("-D", "--database") or (found.operands[0] if found.operands else None)
    texts = [word.value for word in found.all("-e", "--execute")]
    _sql(act, "mysql", named, texts, [], stdin, prints=found.has("-N", "-B", "-s", "--batch", "-H", "--html"))
    return ()


def _sql(
    act: Act,
    place: str,
    named: Word | None,
    texts: list[str],
    files: Sequence[Word],
    stdin: str | None,
    *,
    prints: bool,
) -> None:
    """`texts` and the SQL in `files`, where that can be read, say what is done. `prints`: it is asked for results."""
    for word in files:
        for value in word.values:
            act.effect("read", value)
            entry = act.findings.scripts.get(absolute(value, act.folder)) if is_plain(value) else None
            texts = [*texts, entry.text] if isinstance(entry, Script) else texts
    if stdin:
        texts = [*texts, stdin]
    if named is None:
        return
    name = re.sub(r"^\w+://[^/]*/", "", named.value).partition("?")[0]
    if not texts:  # a file, or what comes in on a pipe, is loaded into it
        act.effect("read" if prints else "write", name, place=place)
    for text in texts:
        for kind, table in touches(text):
            act.effect(kind, f"{name}.{table}" if table else name, place=place)
        for kind, file in files_of(text):
            if file.startswith("/") or "\\" in text:  # `\\copy` is the client's, with its own folder
                act.effect(kind, file)


def sqlite(act: Act, words: list[Word], options: Collection[str], stdin: str | None) -> Sequence[Word]:
    """The database is a file: what is done to it is what the SQL says."""
    found = split(
        words, {"-cmd", "-separator", "-init", "-nullvalue", "-newline", "-config", "-o", "-if-replica-exists"}
    )
    operands = list(found.operands)
    if act.name == "litestream":
        return ()
    if not operands:
        return ()
    database, *rest = operands
    texts = [word.value for word in [*rest, *found.all("-cmd")]] + ([stdin] if stdin else [])
    for value in database.values:
        if not texts:
            act.effect("update", value)
        for text in texts:
            _sqlite_text(act, value, text)
    return ()


def _sqlite_text(act: Act, database: str, text: str) -> None:
    for command in re.finditer(r"\.(backup|save|clone|output|once|dump|read|import|restore)\b([^\n;]*)", text):
        names = [name.strip("\"'") for name in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", command[2])]
        names = [name for name in names if not name.startswith("-")]
        if command[1] in ("backup", "save", "clone"):
            act.effect("read", database)
        if command[1] in ("backup", "save", "clone", "output", "once") and names:
            act.effect("write", names[-1])
        elif command[1] in ("read", "import", "restore") and names:
            act.effect("read", names[0])
            act.effect("update", database)
        elif command[1] == "dump":
            act.effect("read", database)
    if found := re.search(r"VACUUM\s+INTO\s+['\"]([^'\"]+)", text, re.IGNORECASE):
        act.effect("read", database)
        act.effect("write", found[1])
        return
    for kind, table in touches(text):
        act.table(kind, database, table)
