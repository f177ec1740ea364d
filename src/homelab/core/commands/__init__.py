"""What a cron command and the scripts it calls do, found by reading them. Nothing is run or written.

    found = describe(job.command, stdin=job.stdin, environment=job.environment, folder=job.cwd, shell=job.shell,
                     scripts=scripts)

gives a `Description`, an immutable value:

    commands       every `SimpleCommand` in the order a shell comes to it: `name`, `words` (text and resolved values),
                   `redirects`, how it is joined to the one before (`&&`, `||`, `;`, `|`, `&`), `wrappers` taken off
                   (sudo, timeout ...), `is_conditional`, `folder`, and its `source`
    effects        `Effect`s: files, folders, databases and far places that are read, written, appended to, deleted ...
    locks          what is held while the job runs: flock and its kin, folders and files made as locks
    calls          scripts and programs started by their path, and whether their text was there to be read
    not_analysed   what was left out, and why

Every one has a `Source`: file (empty for the command itself), line, and the exact text it rests on.

`scripts` maps absolute paths to `Script` (its text) or `Refused` (why it is not read); a path that is not in it is not
there. `home.scripts` is the one that reads files below a root, as they are asked for.

A value of which a part is not known is a *pattern* (`core.commands.patterns`): `shown` spells it, `is_plain` says
whether all of it is known, `match` and `below` compare two. What commands do is a table: `core.commands.knowledge`.
tree-sitter is loaded when the first text is parsed, not when this package is imported.
Called by `core.dependencies` and by whoever looks for hazards.
"""

from homelab.core.commands.describing import describe
from homelab.core.commands.effects import (
    Call,
    Description,
    Effect,
    Lock,
    NotAnalysed,
    Redirect,
    Refused,
    Script,
    Scripts,
    SimpleCommand,
    Source,
    Word,
)
from homelab.core.commands.patterns import Match, below, is_plain, match, shown

__all__ = [
    "Call",
    "Description",
    "Effect",
    "Lock",
    "Match",
    "NotAnalysed",
    "Redirect",
    "Refused",
    "Script",
    "Scripts",
    "SimpleCommand",
    "Source",
    "Word",
    "below",
    "describe",
    "is_plain",
    "match",
    "shown",
]
