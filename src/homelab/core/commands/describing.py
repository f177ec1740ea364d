"""From the text of a job to its description. The entry of the package; pure, as long as `scripts` is.

Called through `core.commands`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from homelab.core.commands.effects import Description, Effect, Lock, Scripts
from homelab.core.commands.findings import Enough, Findings
from homelab.core.commands.patterns import clean
from homelab.core.commands.programs import run
from homelab.core.commands.shell import Shell
from homelab.core.commands.words import Scope

MAX_COMMAND_BYTES = 100_000
_LOCK = re.compile(r"(?:^|[._-])(?:lock|lck|locked|lockfile|pid|running)$|\.lock\.d$", re.IGNORECASE)


def describe(
    command: str,
    *,
    environment: Mapping[str, str],
    folder: str,
    scripts: Scripts,
    stdin: str | None = None,
    shell: str = "/bin/sh",
) -> Description:
    """What the command of a job does, and the scripts that it calls.

    `command` and `stdin`: after cron's `%` rules. `environment`: all that the job gets. `folder`: where it starts.
    `scripts`: by absolute path. Never raises: what is too large, too deep or no valid text is in `not_analysed`.
    """
    findings = Findings(scripts=scripts)
    if len(command.encode("utf-8", "replace")) > MAX_COMMAND_BYTES:
        findings.note("", f"the command is longer than {MAX_COMMAND_BYTES} bytes")
        return findings.description()
    if shell.rpartition("/")[2] in ("fish", "csh", "tcsh", "python", "python3", "perl"):
        findings.note("", f"its shell is {shell}, which is not read")
        return findings.description()
    scope = Scope(
        variables={name: (clean(value),) for name, value in environment.items()},
        exported=set(environment),
        folder=clean(folder) or "~",
        name=shell.rpartition("/")[2],
    )
    scope.variables.setdefault("HOME", (scope.folder,))
    reader = Shell(findings=findings, run=run)
    try:
        reader.read(clean(command), scope, stdin=None if stdin is None else clean(stdin))
    except Enough as enough:
        findings.note("", str(enough))
    except RecursionError:
        findings.note("", "it is nested too deeply")
    return _with_named_locks(findings.description())


def _with_named_locks(found: Description) -> Description:
    """Files that by their name are locks: who makes, tests or removes one is kept out by the others who do."""
    rest: list[Effect] = []
    locks = list(found.locks)
    known = {lock.path for lock in locks}
    for effect in found.effects:
        if effect.place or not _LOCK.search(effect.target):
            rest.append(effect)
        elif effect.kind in ("make", "write", "test") and effect.target not in known:
            known.add(effect.target)
            locks.append(Lock(path=effect.target, source=effect.source))
    return replace(found, effects=tuple(rest), locks=tuple(locks))
