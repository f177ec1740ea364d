"""A node's state and what is wrong with it, in words: for its page, `node show`, the attention of *Now*. Pure.

Times stand in a sentence as ISO 8601 UTC; whoever shows it says them the way people do. Called by `control.fleet`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from homelab.control.nodes import UNREACHABLE
from homelab.core import versions
from homelab.core.durations import span
from homelab.core.placement.nodes import CLOCK_SKEW_S
from homelab.core.times import iso

Json = dict[str, Any]
FORGOTTEN: Final = timedelta(days=1)
"""A node that was drained, or stopped, longer ago was likely meant to come back."""


def why(node: Mapping[str, Any], *, held: int) -> list[str]:
    """Why the node is in its state, and what that means for work. `node`: `name`, `state`, `heard`, `wanted_by`,
    `wanted_since` (times or None), `told_sleep`, `wakeable`; `held`: pieces of work on it. Empty for one that is simply
    ready."""
    name, state, heard = node["name"], node["state"], node["heard"]
    said: list[str] = []
    if state == "unreachable":
        if heard is None:
            said.append(f"It has never been heard of: no worker has joined as {name}.")
        else:
            since, most = _at(heard), UNREACHABLE.seconds
            said.append(f"Nothing has been heard of it since {since}: after {most} s nothing goes to it.")
        if held:
            said.append(f"{_pieces(held)} on it {_is(held)} given up soon, and run elsewhere where that is allowed.")
    elif state == "stopped":
        said.append(f"Its daemon was stopped at {_at(heard)}: nothing goes to it until it is started again.")
        if held:
            said.append(f"{_pieces(held)} on it may still end, or {_is(held)} given up soon, as where a node is lost.")
    elif state == "asleep":
        told = "It said that it goes to sleep." if node["told_sleep"] else (
            "It is not heard, and the lab file says that it sleeps then."
        )  # fmt: skip
        waits = "What only it can do wakes it." if node["wakeable"] else (
            "What only it can do waits: the lab file gives no address to wake it by."
        )  # fmt: skip
        said += [told, waits]
    if node["wanted_since"] is not None and node["wanted"] == "drained":
        by = f" by {node['wanted_by']}" if node["wanted_by"] else ""
        said.append(f"It was drained{by} at {_at(node['wanted_since'])}: nothing new starts on it.")
        if state == "draining":
            said.append(f"{_pieces(held)} still {_is(held)} on it and may finish.")
    return said


def lost(name: str, row: Mapping[str, Any] | None) -> str:
    """Why what ran on a node has crashed. `row`: of table `node`; None when it was removed."""
    if row is None:
        return f"node {name} was removed"
    if row["farewell"]:
        return f"the daemon of node {name} was stopped"
    return f"node {name} is silent for {row['age_s']:.0f} s"


def trouble(node: Mapping[str, Any], *, version: str, now: datetime) -> list[Json]:
    """What is wrong with a node, as problems of the lab. `node` as for `why`, with `skew_s` and `version`; `version` is
    that of the control plane. One that was never there, sleeps, or was stopped a while ago, is no problem."""
    name = str(node["name"])
    found: list[Json] = []
    if node["state"] == "unreachable" and node["heard"] is not None:
        ago = span((now - node["heard"]).total_seconds())
        found.append(
            _problem(
                "node-unreachable", name, f"node {name} has not been heard of for {ago}",
                "Look whether it is on and its worker runs: there, homelab status."
                f" Gone for good: homelab node remove {name}",
                severity="error", since=node["heard"],
            )
        )  # fmt: skip
    stopped = node["heard"] if node["state"] == "stopped" else None
    if stopped is not None and now - stopped > FORGOTTEN:
        ago = span((now - stopped).total_seconds())
        found.append(
            _problem(
                "node-stopped", name, f"the daemon of node {name} was stopped {ago} ago",
                f"Start it: there, homelab up -d. Gone for good: homelab node remove {name}", since=stopped,
            )
        )  # fmt: skip
    drained = node["wanted_since"] if node["wanted"] == "drained" else None
    if drained is not None and now - drained > FORGOTTEN:
        ago = span((now - drained).total_seconds())
        found.append(
            _problem(
                "node-drained", name, f"node {name} has been drained for {ago}: nothing goes to it",
                f"Let it work again: homelab node undrain {name}", since=drained,
            )
        )  # fmt: skip
    if node["skew_s"] is not None and abs(node["skew_s"]) > CLOCK_SKEW_S:
        found.append(
            _problem(
                "node-clock", name, f"the clock of node {name} is {off(node['skew_s'])}: its times cannot be trusted",
                "Have that machine set its clock by the network (timedatectl set-ntp true; macOS: Date & Time).",
            )
        )  # fmt: skip
    is_there = node["state"] not in ("unreachable", "stopped")
    if is_there and node["version"] and versions.apart(control=version, node=node["version"]):
        found.append(
            _problem(
                "node-version", name,
                f"node {name} runs homelab {node['version']}, the control plane {version}: more than one release"
                " apart, so that nothing goes to it",
                "Upgrade the older one; releases next to each other work together.",
            )
        )  # fmt: skip
    return found


def _problem(
    code: str, node: str, message: str, hint: str, *, severity: str = "warning", since: datetime | None = None
) -> Json:
    body: Json = {"code": code, "severity": severity, "subject": node, "node": node, "message": message, "hint": hint}
    return body if since is None else {**body, "since": since}


def off(skew_s: float) -> str:
    """`7 s ahead`, `2 min behind`."""
    return f"{span(abs(skew_s))} {'ahead' if skew_s > 0 else 'behind'}"


def _at(moment: datetime) -> str:
    return iso(moment.replace(microsecond=0))


def _pieces(count: int) -> str:
    return "1 piece of work" if count == 1 else f"{count} pieces of work"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
