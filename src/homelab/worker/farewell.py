"""What a worker says before it falls silent on purpose: that its machine goes to sleep, or that it was told to stop.

Both are said in a heartbeat, at once and only once: a control that does not hear it finds the node silent, as when its
power goes. Called by `worker.loop`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from homelab.core.errors import RefusedError
from homelab.core.times import iso
from homelab.worker.control_link import ControlUnavailable
from homelab.worker.execution import Execution
from homelab.worker.sensors import logind

SLEEP_TOLD_S = 3.0
"""The machine waits no longer than five seconds before it sleeps."""
STOP_TOLD_S = 2.0
"""A machine that shuts down may have no network any more: nothing waits for longer."""
MOST = 200
"""Runs that are named; the rest is found when the node is given up."""


def hear_of_sleep(say: Callable[[bool], Coroutine[Any, Any, None]]) -> None:
    """From now on the machine's going to sleep (True), and its waking, are said to control at once."""
    loop = asyncio.get_running_loop()

    def tell(is_going: bool) -> None:
        with contextlib.suppress(RuntimeError, TimeoutError):  # the loop has ended, or control does not answer
            asyncio.run_coroutine_threadsafe(say(is_going), loop).result(SLEEP_TOLD_S)

    logind.start(tell)


def leaving(executions: Iterable[Execution], *, is_alone: bool) -> dict[str, Any]:
    """What the heartbeat of a worker that stops has more: it takes nothing new, and these runs are for others. They
    begin here no more from now on. `is_alone`: there is no other node that could have them."""
    unbegun = [] if is_alone else [execution for execution in executions if execution.is_unbegun][:MOST]
    for execution in unbegun:
        execution.stop("the lab was stopped before it began")
    return {"leaving": True, "unbegun": {one.facts.id: iso(one.facts.start_at) for one in unbegun}}


async def say_farewell(heartbeat: Awaitable[None]) -> None:
    """Send it, if control answers in time."""
    with contextlib.suppress(ControlUnavailable, RefusedError, TimeoutError):
        async with asyncio.timeout(STOP_TOLD_S):
            await heartbeat
