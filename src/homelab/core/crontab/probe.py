"""What cron really gives a job: a line that asks it once, its answer, and the difference to what the lab gives. Pure.

Called by `cli.cronenv`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

PROBE_MARK = b"# homelab-probe"
_OF_THE_SHELL = frozenset({"PWD", "OLDPWD", "SHLVL", "_", "PS1", "PS2", "PS4", "OPTIND", "PPID", "IFS"})
_SECRET = re.compile(r"PASSW|PASSPHRASE|PASS$|^PASS|TOKEN|SECRET|CREDENTIAL|(^|_)(API_?)?KEY|AUTH", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
MASK = "***"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a job finds. None: not known."""

    environment: Mapping[str, str]
    cwd: str | None = None
    user: str | None = None
    umask: str | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is another in cron than in the lab. None: not set there. Secrets are masked."""

    what: str
    cron: str | None
    lab: str | None


def script(folder: str) -> str:
    """The shell script that cron runs once: it writes its answer into `folder`, readable by its owner alone."""
    return f"""#!/bin/sh
[ -e '{folder}/answer' ] && exit 0
mask=$(umask)
umask 077
{{ pwd; id -un; echo "$mask"; env; }} > '{folder}/answer.new' && mv '{folder}/answer.new' '{folder}/answer'
"""


def with_probe(data: bytes, *, after: int, folder: str, user: str | None) -> bytes:
    """`data` with the probe behind line `after`, where the same assignments hold. `user`: for a file with a user
    column. The folder's path holds no `%` and no quote."""
    column = b"" if user is None else user.encode() + b" "
    line = b"* * * * * " + column + b"/bin/sh " + folder.encode() + b"/probe.sh " + PROBE_MARK
    lines = data.split(b"\n")
    return b"\n".join([*lines[:after], line, *lines[after:]])


def without_probe(data: bytes) -> bytes:
    """`data` without any line of a probe, also one that was left behind."""
    return b"\n".join(line for line in data.split(b"\n") if not line.endswith(PROBE_MARK) or line.startswith(b"#"))


def answer(text: str) -> Surroundings | None:
    """What the script wrote; None when it is not whole. A line of `env` without `=` belongs to the value before."""
    lines = text.split("\n")
    if len(lines) < 4:
        return None
    environment: dict[str, str] = {}
    name = ""
    for line in lines[3:]:
        found = re.match(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", line)
        if found:
            name = found[1]
            environment[name] = found[2]
        elif name and line:
            environment[name] += "\n" + line
    kept = {n: v for n, v in environment.items() if n not in _OF_THE_SHELL}
    return Surroundings(environment=kept, cwd=lines[0], user=lines[1], umask=f"{int(lines[2], 8):04o}")


def differences(cron: Surroundings, lab: Surroundings, *, secrets: frozenset[str] = frozenset()) -> list[Difference]:
    """User, folder, umask where both are known, then variables by name. `secrets`: variables whose values are never
    shown; those whose names sound like secrets are not, either."""
    found = [
        Difference(what=what, cron=of_cron, lab=of_lab)
        for what, of_cron, of_lab in (
            ("user", cron.user, lab.user),
            ("cwd", cron.cwd, lab.cwd),
            ("umask", cron.umask, lab.umask),
        )
        if of_cron is not None and of_lab is not None and of_cron != of_lab
    ]
    for name in sorted(cron.environment.keys() | lab.environment.keys()):
        of_cron, of_lab = cron.environment.get(name), lab.environment.get(name)
        if of_cron != of_lab:
            shown = (masked(name, of_cron, secrets), masked(name, of_lab, secrets))
            found.append(Difference(what=name, cron=shown[0], lab=shown[1]))
    return found


def masked(name: str, value: str | None, secrets: frozenset[str] = frozenset()) -> str | None:
    """A value as it may be shown."""
    if value is None or value == "":
        return value
    if name in secrets or _SECRET.search(name):
        return MASK
    return _PASSWORD_IN_URL.sub(rf"\1:{MASK}@", value)
