"""File names in scripts whose language is not read: a literal path, and the words around it that say what is done.

Called by `core.commands.scripts`.
"""

import re

from homelab.core.commands.effects import Effect, Kind, Source
from homelab.core.commands.patterns import absolute, globbed
from homelab.core.commands.shell import Shell
from homelab.core.commands.words import Scope

_COMMENT = re.compile(r"^\s*(#|//|--|\*|/\*)")
_ASSIGNED = re.compile(
    r"(?:^|[\s;(])(?:my|our|const|let|var|local|final)?\s*([$@]?[A-Za-z_]\w*)\s*(?::=|<-|=)\s*['\"]([^'\"]+)['\"]"
)
_PATH = re.compile(r"['\"`]([+<>]{0,2}\s*(?:/|\./|\.\./|~/)[^'\"`\n]{1,300}|[\w./-]+\.[A-Za-z][\w.]{0,8})['\"`]")
_APPENDS = re.compile(r"appendFile|append|['\"]>>|['\"]a\+?b?['\"]|FILE_APPEND", re.IGNORECASE)
_WRITES = re.compile(
    r"writeFile|write_file|file_put_contents|createWriteStream|File\.write|\bspew\b|['\"]\s*\+?>|['\"]wb?\+?['\"]|saveRDS"
    r"|write\.(?:csv|table)|write_(?:csv|tsv|rds|lines|json)|ggsave|\bsave\b|\.dump\(|toFile|outputFile|copyFileSync",
    re.IGNORECASE,
)
_DELETES = re.compile(r"\bunlink|\bremove\b|File\.delete|\brmSync|fs\.rm", re.IGNORECASE)
_READS = re.compile(
    r"readFile|read_file|file_get_contents|createReadStream|File\.(?:read|open|foreach|exist)|\bslurp\b|['\"]\s*<|['\"]rb?['\"]"
    r"|read\.(?:csv|table)|read_(?:csv|tsv|rds|lines|json)|readRDS|\bopen\b|fopen|\brequire\b|\bload\b|\bparse|file_exists|-[ef]\s",
    re.IGNORECASE,
)


def read_literals(shell: Shell, text: str, scope: Scope, source: Source, *, inline: bool) -> None:
    """Note the paths of a script: read or written where a word on the same line says so, mentioned otherwise."""
    names: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        shell.findings.step()
        if _COMMENT.match(raw) or len(raw) > 2000:
            continue
        found = _PATH.findall(raw)
        assigned = _ASSIGNED.search(raw)
        if assigned and "/" in assigned[2]:
            names[assigned[1]] = assigned[2]
        used = [names[name] for name in names if re.search(rf"(?<![\w$@]){re.escape(name)}(?!\w)", raw)]
        kind = _kind(raw)
        if kind is None and assigned:
            continue
        for path in [*found, *(used if kind is not None else [])]:
            _note(shell, path, kind or "mention", scope, number, raw, source if inline else None)


def _kind(line: str) -> Kind | None:
    if _APPENDS.search(line):
        return "append"
    if _DELETES.search(line):
        return "delete"
    if _WRITES.search(line):
        return "write"
    return "read" if _READS.search(line) else None


def _note(shell: Shell, path: str, kind: Kind, scope: Scope, number: int, raw: str, inline: Source | None) -> None:
    path = path.lstrip("<>+ ")
    if "/" not in path and kind == "mention":
        return
    if path.startswith("~/"):
        path = scope.value("HOME")[0] + path[1:]
    path = re.sub(r"\$\{?\w+\}?|#\{[^}]*\}|%[sd]", "*", path)
    where = inline or Source(file=scope.file, line=number, text=raw.strip()[:300])
    target = absolute(globbed(path), scope.folder)
    shell.findings.add(Effect(kind=kind, target=target, place=scope.place, by="script", source=where))
