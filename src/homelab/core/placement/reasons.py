"""Why something goes to a node, or does not: reasons as data, and the one function that puts them into words.

`homelab place`, `job why`, the console and the log all print `render`; none has words of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from homelab.core import capacity
from homelab.core.durations import duration_text

OTHERS: Final = "other programs"
"""Who holds what is not the lab's."""


class Code(StrEnum):
    """Stable, for programs. The first group refuses a node, the second speaks for or against one that fits."""

    NOT_READY = "not-ready"
    TOO_SMALL = "too-small"
    SHORT = "short"
    UNKNOWN = "unknown"
    LABEL = "label"
    MODEL = "model"
    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    EXCLUSIVE = "exclusive"
    RESERVED = "reserved"

    FREE = "free"
    PACK = "pack"
    KEPT_FREE = "kept-free"
    NEAR = "near"
    FAR = "far"
    DATA = "data"
    LOADED = "loaded"
    ASLEEP = "asleep"
    CLOCK = "clock"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One reason. `resource`, `asked`, `free`, `total`: amounts in the smallest unit (`core.capacity`).

    `holders`: who holds the resource, the largest first. `subject`: a state, label, model, group or piece of work; of
    memory, that GPU memory is in it.
    `wait_s`: when the work would fit, by what is known of the ends. `score`: what it adds to the node's score.
    """

    code: Code
    node: str
    resource: str = ""
    asked: int = 0
    free: int = 0
    total: int = 0
    holders: tuple[tuple[str, int], ...] = ()
    subject: str = ""
    wait_s: float | None = None
    score: float = 0.0

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"node": self.node, "code": self.code.value, "reason": render(self)}
        if self.resource:
            numbers = {"asked": self.asked, "free": self.free, "total": self.total}
            body["resource"] = self.resource
            body |= {name: capacity.number(self.resource, value) for name, value in numbers.items()}
            body["holders"] = [
                {"name": name, "amount": capacity.number(self.resource, value)} for name, value in self.holders
            ]
        if self.subject:
            body["subject"] = self.subject
        if self.wait_s is not None:
            body["wait_s"] = self.wait_s
        if self.score:
            body["score"] = round(self.score, 6)
        return body


def render(reason: Reason) -> str:
    """`mac4: 9.2 GiB GPU memory free of 12 GiB asked; llama3:70b holds 40 GiB`."""
    return f"{reason.node}: {_words(reason)}" if reason.node else _words(reason)


_NEAR = (Code.SHORT, Code.RESERVED, Code.EXCLUSIVE, Code.NOT_READY, Code.UNKNOWN)


def nearness(code: str) -> int:
    """For ordering: reasons that pass by themselves come before those that never will."""
    return _NEAR.index(Code(code)) if code in _NEAR else len(_NEAR)


def together(reasons: Sequence[Reason]) -> str:
    """All reasons of one node in one line: `mac4: ...; also, ...`."""
    return "; also, ".join(render(one).removeprefix(f"{one.node}: " if n else "") for n, one in enumerate(reasons))


def _words(reason: Reason) -> str:
    subject = reason.subject
    match reason.code:
        case Code.SHORT:
            return "; ".join([_free(reason), *_holders(reason), *_wait(reason)])
        case Code.TOO_SMALL if reason.total == 0:
            return f"it has no {capacity.noun(reason.resource)}"
        case Code.TOO_SMALL:
            has = capacity.text(reason.resource, reason.total)
            return f"it has {has} {capacity.noun(reason.resource)}; {_asked(reason)} is asked{_with_gpu(reason)}"
        case Code.UNKNOWN if reason.resource.startswith(capacity.APP):
            return f"whether it has {capacity.noun(reason.resource)} is not known"
        case Code.UNKNOWN:
            return f"how much {capacity.noun(reason.resource)} it has is not known; {_asked(reason)} is asked"
        case Code.FREE | Code.PACK:
            return _free(reason) if reason.resource else "nothing is asked of it"
        case Code.NOT_READY if subject == "stopped":
            return "its daemon was stopped"
        case _:
            return "; ".join([_SAID[reason.code].format(subject), *_wait(reason)])


_SAID = {
    Code.NOT_READY: "it is {}",
    Code.LABEL: "it has no label {}",
    Code.MODEL: "it has no model {}",
    Code.AFFINITY: "it must be with {}",
    Code.ANTI_AFFINITY: "it must not be with {}",
    Code.EXCLUSIVE: "{}, and only one of the group runs at a time",
    Code.RESERVED: "what it needs is kept for {}, which came first",
    Code.KEPT_FREE: "its {} is kept free for work that asks for it",
    Code.NEAR: "it is with {}, as preferred",
    Code.FAR: "it is with {}, which is better avoided",
    Code.DATA: "{} of the data is there",
    Code.LOADED: "{} is loaded there",
    Code.ASLEEP: "it is asleep and must be woken",
    Code.CLOCK: "its clock is off by {}",
}


def _free(reason: Reason) -> str:
    free = capacity.text(reason.resource, max(0, reason.free))
    return f"{free} {capacity.noun(reason.resource)} free of {_asked(reason)} asked{_with_gpu(reason)}"


def _with_gpu(reason: Reason) -> str:
    return f" ({reason.subject})" if reason.subject else ""


def _asked(reason: Reason) -> str:
    return capacity.text(reason.resource, reason.asked, up=True)


def _holders(reason: Reason) -> list[str]:
    return [
        f"{name} {'hold' if name == OTHERS else 'holds'} {capacity.text(reason.resource, value)}"
        for name, value in reason.holders
    ]


def _wait(reason: Reason) -> list[str]:
    if reason.wait_s is None:
        return []
    return [f"free again in about {duration_text(max(1, round(reason.wait_s)))}"]
