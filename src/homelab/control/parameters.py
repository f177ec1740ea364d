"""What may be a parameter of a run. A parameter becomes an environment variable of its jobs: what none can hold is
refused before there is a run, so that it is not a failed one later."""

import re
from collections.abc import Mapping
from typing import Final

from homelab.core.errors import InputError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MOST_BYTES: Final = 256 * 1024
MOST_BYTES_OF_ONE: Final = 120 * 1024
"""Linux starts no program with a variable of 128 KiB."""


def check(params: Mapping[str, str]) -> None:
    """InputError for the first that cannot be."""
    for name, value in params.items():
        if not _NAME.fullmatch(name):
            raise InputError(
                f"parameter {name[:50]!a} cannot be a variable",
                hint="Use up to 128 letters, digits and _, not beginning with a digit.",
            )
        if "\0" in value:
            raise InputError(f"parameter '{name}' holds a NUL byte", hint="No environment can carry one.")
        if _bytes(value) > MOST_BYTES_OF_ONE:
            raise InputError(
                f"parameter '{name}' is longer than {MOST_BYTES_OF_ONE // 1024} KiB",
                hint="Pass the name of a file instead.",
            )
    if sum(_bytes(name) + _bytes(value) for name, value in params.items()) > MOST_BYTES:
        raise InputError(
            f"the parameters are longer than {MOST_BYTES // 1024} KiB together", hint="Pass the name of a file instead."
        )


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
