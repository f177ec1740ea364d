"""The few errors a person can act on. Each message says what, where, and what to do next.

Raised anywhere; shown by `cli` without a traceback. `exit_status` is the contract of the command line:
1 ran and failed, 2 wrong usage or input, 3 not found or nothing running, 4 timed out, 5 refused.
"""

from collections.abc import Sequence


class HomelabError(Exception):
    """Base of all errors with a remedy. `hint` names what to do next; `where` is `file:line` when there is one."""

    exit_status: int = 1

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n{self.hint}" if self.hint else head


class InputError(HomelabError):
    """What the person gave (a file, an option, a value) cannot be used as it is."""

    exit_status = 2


class NotFoundError(HomelabError):
    """The named thing does not exist, or nothing is running here."""

    exit_status = 3

    def __init__(
        self, message: str, *, hint: str = "", where: str = "", nearest: Sequence[str] = (), kind: str = ""
    ) -> None:
        """`nearest`: names that may have been meant, of things of that `kind` (`job`, `run`)."""
        if nearest and not hint:
            hint = f"Did you mean {' or '.join(nearest)}?"
        super().__init__(message, hint=hint, where=where)
        self.nearest = tuple(nearest)
        self.kind = kind


class TimedOutError(HomelabError):
    """It did not happen in the time allowed; it may still happen."""

    exit_status = 4


class RefusedError(HomelabError):
    """Not permitted, or in conflict with something that is running."""

    exit_status = 5
