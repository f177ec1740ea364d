"""The place where one attempt passes things on, and what it left there when it had succeeded.

The file `$HOMELAB_OUTPUT` lies beside the attempt's log; it exists when the job has written to it. A job of another
account cannot reach that folder: it gets one of its own below the system's temporary folder, for the time that it runs.
Called by `worker.launch`.
"""

import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from homelab.core.errors import InputError
from homelab.core.passing import Passed
from homelab.worker import outputs
from homelab.worker.environment import Account, is_steering
from homelab.worker.redaction import Redactor


class Words(Protocol):
    """Takes the lab's own lines of a log (`worker.runlog.Writer`)."""

    def lab(self, text: str, time: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """The paths of one attempt. `own`: a folder made for it alone, or None."""

    output: Path
    own: Path | None = None

    def close(self) -> None:
        """Remove what was made for the attempt."""
        with suppress(OSError):
            self.output.unlink(missing_ok=True)
        if self.own is not None:
            shutil.rmtree(self.own, ignore_errors=True)


def prepare(log_path: Path, account: Account) -> Exchange:
    """For the attempt that logs to `log_path` as `account`. InputError when its folder cannot be made."""
    if account.uid == os.geteuid() or os.geteuid() != 0:
        return Exchange(output=log_path.with_suffix(".output"))
    try:
        own = Path(tempfile.mkdtemp(prefix="homelab-"))
        os.chown(own, account.uid, account.gid)
    except OSError as error:
        raise InputError(f"the folder for what it passes on cannot be made: {error.strerror}") from error
    return Exchange(output=own / "output", own=own)


def collect(exchange: Exchange, account: Account, redactor: Redactor, words: Words) -> Passed:
    """What an attempt that succeeded passes on; what cannot be is said in its log."""
    found = outputs.collect(
        exchange.output,
        owner=account.uid,
        steers=is_steering,
        holds_secret=lambda value: redactor.text(value) != value,
    )
    for warning in found.warnings:
        words.lab(warning, time.time())
    return Passed(outputs=found.values)
