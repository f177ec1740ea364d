"""What a reference to a secret stands for: `env:NAME`, `file:PATH`, `keychain:NAME`. The lab file never holds the
value.

`env:NAME` is looked up in `HOMELAB_HOME/secrets/environment` (lines `NAME=VALUE`, readable by its owner alone), then
in the environment of the asking process: a daemon started at boot has no shell's variables. `file:PATH` is the file's
text without its last line end. `keychain:NAME` asks macOS's keychain for the generic password of that service name.
Values are read anew at each use, so that a rotated secret is used by the next run. Called by the launcher of jobs, the
sender of alerts, the stack for services of others, and by checks.
"""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from homelab.core.errors import InputError
from homelab.home.paths import Home

_REFERENCE = re.compile(r"(env|file|keychain):(.+)", re.DOTALL)
_KEYCHAIN_TIMEOUT_S = 10.0


def resolve(reference: str, *, home: Home, environment: Mapping[str, str] | None = None) -> str:
    """The value. InputError says what is missing and where it would be looked for; never does it hold a value.

    `environment` is the asking process's own unless given. `keychain:` runs a program and may block for seconds.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InputError(
            f"'{_shown(reference)}' is not a reference to a secret", hint="Use env:NAME, file:PATH or keychain:NAME."
        )
    kind, name = match.groups()
    if kind == "env":
        return _from_environment(name, home, os.environ if environment is None else environment)
    value = _from_file(Path(name).expanduser(), home) if kind == "file" else _from_keychain(name)
    if "\0" in value:
        raise InputError(f"the secret {reference} contains a NUL byte, which no variable can hold")
    return value


def is_reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None


def exists(reference: str, *, home: Home, environment: Mapping[str, str] | None = None) -> bool:
    """Whether `resolve` would give a value now."""
    try:
        resolve(reference, home=home, environment=environment)
    except InputError:
        return False
    return True


def resolve_all(secrets: Mapping[str, str], *, home: Home) -> dict[str, str]:
    """The values of a job's secrets by variable."""
    return {name: resolve(reference, home=home) for name, reference in secrets.items()}


def _from_environment(name: str, home: Home, environment: Mapping[str, str]) -> str:
    path = home.secrets / "environment"
    stored = _read_environment(path)
    value = stored.get(name, environment.get(name))
    if value is None:
        raise InputError(f"the secret env:{name} is not there", hint=f"Put {name}=VALUE into {path} (mode 0600).")
    return value


def _read_environment(path: Path) -> dict[str, str]:
    """NAME=VALUE lines as they are: no quotes, no expansion. `#` begins a comment line; `export ` is allowed."""
    if not path.exists():
        return {}
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError("others may read the file of secrets", where=str(path), hint=f"Run: chmod 600 {path}")
    found: dict[str, str] = {}
    for line in _text(path, "the file of secrets").splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value
    return found


def _from_file(path: Path, home: Home) -> str:
    full = path if path.is_absolute() else home.secrets / path
    return _text(full, f"the secret file:{path}").removesuffix("\n").removesuffix("\r")


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError:
        raise InputError(f"{what} is not text in UTF-8", where=str(path)) from None


def _from_keychain(name: str) -> str:
    if sys.platform != "darwin":
        raise InputError(f"the secret keychain:{name} needs macOS", hint="Use env:NAME or file:PATH here.")
    try:
        answer = subprocess.run(
            ["/usr/bin/security", "find-generic-password", "-w", "-s", name],
            capture_output=True,
            text=True,
            timeout=_KEYCHAIN_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"the keychain did not answer for {name}: {error}") from error
    if answer.returncode != 0:
        raise InputError(
            f"the keychain has no password for {name}",
            hint=f"Add it: security add-generic-password -a homelab -s {name} -w",
        )
    return answer.stdout.removesuffix("\n")


def _shown(reference: str) -> str:
    """Somebody may have written the secret itself where its reference belongs."""
    return reference[:2] + "..." if len(reference) > 2 else "..."
