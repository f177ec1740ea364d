"""Scripts whose language is not read: file names in quotes with the words around them, and commands that they start.

Line by line: a path on a line with a word that reads or writes (`open ... '<'`, `writeFile`) has that effect; a name
that was set to a path stands for it; a literal text in `system(...)` or backticks is read as the shell would. Called by
`core.commands.scripts`.
"""

import re

from homelab.core.commands.effects import Effect, Kind, Source
from homelab.core.commands.patterns import SOME, absolute, globbed
from homelab.core.commands.shell import Shell
from homelab.core.commands.words import Scope

_LONGEST_LINE = 2000
_COMMENT = re.compile(r"^\s*(#|//|--|\*|/\*)")
_ASSIGNED = re.compile(
    r"(?:^|[\s;(])(?:my|our|const|let|var|local|final)?\s*([$@]?[A-Za-z_]\w*)\s*(?::=|<-|=)\s*['\"]([^'\"]+)['\"]"
)
_PATH = re.compile(r"['\"`]([+<>]{0,2}\s*(?:/|\./|\.\./|~/)[^'\"`\n]{1,300}|[\w./-]+\.[A-Za-z][\w.]{0,8})['\"`]")
_COMMAND = re.compile(
    r"(?:\b(?:system|exec|execSync|shell_exec|passthru|popen|spawnSync)\s*\(?\s*(['\"])(?P<a>[^'\"\n]+)\1)"
    r"|`(?P<b>[^`\n]+)`|(?:%x|qx)[{(\[](?P<c>[^})\]\n]+)[})\]]"
)
_HOLE = re.compile(r"\$\{\w+\}|\$\w+|@\w+|#\{[^}]*\}|%[sd]")
_APPENDS = re.compile(r"append|['\"]>>|['\"]a\+?b?['\"]", re.IGNORECASE)
_WRITES = re.compile(
    r"writeFile|write_file|file_put_contents|createWriteStream|File\.write|\bspew\b|['\"]\s*\+?>|['\"]wb?\+?['\"]"
    r"|saveRDS|\b(?:png|pdf|svg|jpeg|bmp|tiff)\(|set out(?:put)?\b|write\.(?:csv|table)|write_\w+|ggsave|\bsave\b"
    r"|\.dump\(|toFile|outputFile|copyFileSync",
    re.IGNORECASE,
)
_DELETES = re.compile(r"\bunlink|\bremove\b|File\.delete|\brmSync|fs\.rm", re.IGNORECASE)
_READS = re.compile(
    r"readFile|read_file|file_get_contents|createReadStream|File\.(?:read|open|foreach|exist)|\bslurp\b|['\"]\s*<"
    r"|['\"]rb?['\"]|read\.(?:csv|table)|read_\w+|readRDS|\bopen\b|fopen|\bs?plot\b|\brequire\b|\bload\b|\bparse"
    r"|file_exists|\bfile\(|\bglob\b|Dir\[|readdir|-[ef]\s",
    re.IGNORECASE,
)


def read_literals(shell: Shell, text: str, scope: Scope, source: Source, *, inline: bool) -> None:
    """Note what can be seen in a script, or in a text given on the command line (`inline`)."""
    names: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        shell.findings.step()
        if _COMMENT.match(raw) or len(raw) > _LONGEST_LINE:
            continue
        where = source if inline else Source(file=scope.file, line=number, text=raw.strip()[:300])
        rest = _known(_COMMAND.sub(" ", raw), names)
        for found in _COMMAND.finditer(raw):
            command = _filled(found["a"] or found["b"] or found["c"], names)
            shell.read(command, scope.copy(), origin=where)
        for kind, path in _files(rest, names):
            target = absolute(globbed(path), scope.folder)
            effect = Effect(kind=kind, target=target, place=scope.place, by="script", source=where)
            shell.findings.add(effect)


def _files(line: str, names: dict[str, str]) -> list[tuple[Kind, str]]:
    """Paths on a line with what is done to them; `names` learns the names that are set to a path."""
    kind = _kind(line)
    assigned = _ASSIGNED.search(line)
    if assigned and "/" in assigned[2]:
        names[assigned[1]] = _filled(assigned[2], names)
        if kind is None:
            return []
    found: list[str] = [_filled(path.lstrip("<>+ "), names) for path in _PATH.findall(line)]
    if kind is not None:
        found += [names[name] for name in names if re.search(rf"(?<![\w$@\"]){re.escape(name)}(?!\w)", line)]
    return [(kind or "mention", path) for path in dict.fromkeys(found) if "/" in path or kind is not None]


def _known(line: str, names: dict[str, str]) -> str:
    """A line with the names in its texts that were set to a path replaced by it: `"$dir/*.csv"`."""
    if not names:
        return line
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name.startswith("$"))
    return re.sub(rf"(?<=[\"`])({pattern})(?=/)", lambda found: names[found[1]], line) if pattern else line


def _filled(text: str, names: dict[str, str]) -> str:
    """A text with the variables in it replaced by what they were set to."""
    return _HOLE.sub(lambda found: names.get(found[0].replace("{", "").replace("}", ""), SOME), text)


def _kind(line: str) -> Kind | None:
    if _APPENDS.search(line):
        return "append"
    if _DELETES.search(line):
        return "delete"
    if _WRITES.search(line):
        return "write"
    return "read" if _READS.search(line) else None
