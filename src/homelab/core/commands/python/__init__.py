"""Reads a Python script through its syntax tree, without running it: the files it opens, the commands it starts.

Strings and paths are followed through assignments, functions, classes, `argparse` and modules that lie beside the
script; everything else is unknown. Called by `core.commands.scripts`.
"""

import ast
from functools import lru_cache

from homelab.core.commands.effects import Source
from homelab.core.commands.python.calls import call
from homelab.core.commands.python.expressions import EXPRESSIONS
from homelab.core.commands.python.reader import Reader
from homelab.core.commands.python.statements import STATEMENTS
from homelab.core.commands.shell import Shell
from homelab.core.commands.words import Scope


@lru_cache(maxsize=128)
def _tree(code: str) -> ast.Module:
    """Kept, as many jobs call the same script."""
    return ast.parse(code)


def read_python(shell: Shell, code: str, scope: Scope, arguments: list[str], source: Source, *, inline: bool) -> None:
    """Note what a script does. `arguments`: its words; `inline`: the code stands in the command of `source` itself."""
    try:
        tree = _tree(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        shell.findings.note(scope.file, f"it is no Python that is understood here ({type(error).__name__})")
        return
    reader = Reader(
        shell=shell,
        scope=scope,
        arguments=arguments,
        inline=source if inline else None,
        statements=STATEMENTS,
        expressions={**EXPRESSIONS, ast.Call: call},
    )
    reader.script(tree, code)
