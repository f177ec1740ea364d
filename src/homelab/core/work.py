"""The name of one attempt, RUN/JOB/ATTEMPT: by it a lease is held, and nodes and control say what becomes of it."""

from typing import NamedTuple

from homelab.core.errors import InputError

MAX_LENGTH = 400


class Work(NamedTuple):
    run: str
    job: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.run}/{self.job}/{self.attempt}"

    @classmethod
    def of(cls, text: str) -> "Work":
        """The inverse of `str`. InputError for what is no such name."""
        run, _, rest = text.partition("/")
        job, _, attempt = rest.rpartition("/")
        is_number = attempt.isascii() and attempt.isdigit() and len(attempt) < 10
        if not (run and job and is_number and len(text) <= MAX_LENGTH):
            raise InputError(f"an attempt is named as RUN/JOB/ATTEMPT, not {text[:100]!r}")
        return cls(run, job, int(attempt))
