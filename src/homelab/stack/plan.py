"""The supervisor's decisions: what a service is, in which order they start, when a restart waits how long. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from signal import SIGTERM
from typing import Literal

from homelab.core.errors import InputError

State = Literal["starting", "ready", "degraded", "stopped", "crashed", "external"]

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
STEADY_S = 60.0
"""A service that was up for so long begins again with the shortest pause."""
LOOP_EXITS = 5
LOOP_WITHIN_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A question that tells whether a service works. `postgres` asks a query; `http` wants a status below 400;
    `tcp` a connection (`target` is host:port); `exec` the exit status 0 of `command`; `alive` only the process."""

    kind: Literal["postgres", "http", "tcp", "exec", "alive"]
    target: str = ""
    command: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Service:
    """How one service is run. With `url` it is somebody else's: asked, never started.

    `prepare` and `after_start` block and run in a thread: before every start, and once it answers for the first time.
    `owner`: arguments of `subprocess` for another user. Durations are seconds.
    """

    name: str
    kind: str = "process"
    argv: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    owner: Mapping[str, object] = field(default_factory=dict[str, object])
    cwd: str = "/"
    url: str = ""
    external: bool = False
    needs: tuple[str, ...] = ()
    ready: Probe = Probe(kind="alive")
    ready_within_s: float = 90.0
    live_every_s: float = 20.0
    live_misses: int = 6
    stop_signal: int = SIGTERM
    stop_within_s: float = 15.0
    stop_now_signal: int | None = None
    """None: the same. For a service that does more than to end when it is asked to."""
    stop_now_within_s: float = 8.0
    restart_signal: int | None = None
    """For a service that executes itself anew when it gets this: its process stays, and what that started. None: it is
    stopped and started."""
    prepare: Callable[[], None] | None = None
    after_start: Callable[[], None] | None = None


def start_order(services: Sequence[Service]) -> list[Service]:
    """Each service after those it needs, otherwise as given. InputError names a need that is missing or a circle."""
    names = {service.name for service in services}
    for service in services:
        for need in service.needs:
            if need not in names:
                raise InputError(f"service '{service.name}' needs '{need}', which is not there")
    ordered: list[Service] = []
    waiting = list(services)
    while waiting:
        done = {service.name for service in ordered}
        ready = [service for service in waiting if set(service.needs) <= done]
        if not ready:
            raise InputError("services need each other in a circle: " + ", ".join(s.name for s in waiting))
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered


def backoff_s(exits_in_row: int, *, chance: float) -> float:
    """The pause before the next start after so many exits (1 is the first): doubling, bounded, with up to a quarter of
    it added by `chance` (0..1), so that services that fell together do not rise together. Never above the bound."""
    pause = BACKOFF_FIRST_S * 2.0 ** min(20, max(0, exits_in_row - 1))
    return min(BACKOFF_MOST_S, pause * (1 + 0.25 * chance))


def is_crash_loop(exits: Sequence[float], now: float) -> bool:
    """Five exits within two minutes. `exits` and `now` on one clock, in seconds."""
    return len([e for e in exits if now - e <= LOOP_WITHIN_S]) >= LOOP_EXITS
