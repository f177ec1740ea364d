"""Scripts in other languages: which language, and what is read out of them. Called by `core.commands.programs`.

Python is read through its own syntax tree (`core.commands.python`); of the rest only file names near a word that reads
or writes are taken (`core.commands.literals`).
"""

import re

from homelab.core.commands.effects import Script, Source
from homelab.core.commands.literals import read_literals
from homelab.core.commands.shell import Shell
from homelab.core.commands.words import Scope

_BY_ENDING = {
    "py": "python",
    "pl": "perl",
    "rb": "ruby",
    "js": "node",
    "mjs": "node",
    "ts": "node",
    "php": "php",
    "lua": "lua",
    "r": "Rscript",
    "awk": "awk",
    "tcl": "tclsh",
    "ps1": "pwsh",
    "applescript": "osascript",
}


def language(script: Script) -> str:
    """`sh`, `python`, `perl` ...: by the first line, else by the ending; a text that says nothing is the shell's."""
    first = script.text.partition("\n")[0]
    if found := re.match(r"^#!\s*(\S+)(?:\s+(?:-\S+\s+)*(\S+))?", first):
        name = found[1].rpartition("/")[2]
        if name == "env" and found[2]:
            name = found[2].rpartition("/")[2]
        name = "python" if name.startswith(("python", "pypy", "uv")) else name.rstrip("0123456789.")
        return "sh" if name.endswith("sh") and name != "tclsh" and name != "pwsh" else name
    return _BY_ENDING.get(script.path.rpartition(".")[2].lower(), "sh")


def read_foreign(
    shell: Shell, text: str, kind: str, scope: Scope, arguments: list[str], source: Source, *, inline: bool
) -> None:
    """Read a script, or a text given on the command line (`inline`), that is not the shell's."""
    if kind == "python":
        from homelab.core.commands.python import read_python  # `ast` is loaded for Python scripts only

        read_python(shell, text, scope, arguments, source, inline=inline)
    else:
        read_literals(shell, text, scope, source, inline=inline)
