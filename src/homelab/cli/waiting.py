"""Waiting for something that the lab does: it is asked again and again, also while control restarts."""

import time
from collections.abc import Callable
from typing import TypeVar

from homelab.cli import output
from homelab.cli.client import NoAnswerError
from homelab.core.errors import TimedOutError

PATIENCE_S = 60.0
"""How long a waiting command outlives a control that does not answer: it restarts in a few seconds."""
_FIRST_S = 0.1
_MOST_S = 1.0
T = TypeVar("T")


def until(
    label: str,
    look: Callable[[], tuple[T | None, str]],
    *,
    late: Callable[[float], TimedOutError],
    timeout_s: float | None,
    doing: str = "waiting",
    patience_s: float = PATIENCE_S,
) -> T:
    """What `look` finds, once it does; until then it says where things stand. NoAnswerError when control does not
    answer for `patience_s`; what `late` makes of `timeout_s` when the next look would come after it."""
    start = heard = time.monotonic()
    pause_s = _FIRST_S
    with output.progress(f"{label}: {doing}") as spinner:
        while True:
            try:
                found, state = look()
                heard = time.monotonic()
                if found is not None:
                    return found
                spinner.say(f"{label}: {state} for {output.duration(heard - start)}")
            except NoAnswerError:
                if time.monotonic() - heard > patience_s:
                    raise
            if timeout_s is not None and time.monotonic() - start + pause_s > timeout_s:
                raise late(timeout_s)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, _MOST_S)
