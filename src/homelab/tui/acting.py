"""The facts behind a question, asked of the lab in its own words; what is asked is decided in `asking`."""

from collections.abc import Callable, Mapping

from homelab.tui import asking
from homelab.tui.asking import Question
from homelab.tui.layout import Target
from homelab.tui.view import Door, Json, part

Asked = Question | str | None
"""A question; why there is none now; None: what is selected has no such thing."""


def again(door: Door, target: Target) -> Asked:
    """Run the job anew, or retry the run, as is meant where it is selected."""
    if target.again == "retry" and target.run:
        return asking.retry(_run(door, target))
    return asking.run_job(_job(door, target), _graph(door)) if target.job else None


def cancel(door: Door, target: Target) -> Asked:
    if target.node:
        return None
    return asking.cancel(_run(door, target)) if target.run else "It has not run yet: there is nothing to cancel."


def pause(door: Door, target: Target) -> Asked:
    if target.node:
        node = door.get(f"/api/v1/nodes/{part(target.node)}")["node"]
        action = "undrain" if node["drained_since"] else "drain"
        return asking.drain(node, door.get(f"/api/v1/nodes/{part(target.node)}/preview", {"action": action}))
    return asking.pause(_job(door, target), _graph(door)) if target.job else None


def _run(door: Door, target: Target) -> Json:
    return door.get(f"/api/v1/runs/{part(target.run)}")["run"]


def _job(door: Door, target: Target) -> Json:
    return door.get(f"/api/v1/jobs/{part(target.job)}")["job"]


def _graph(door: Door) -> Json:
    return door.get("/api/v1/graph")


QUESTIONS: Mapping[str, Callable[[Door, Target], Asked]] = {"again": again, "cancel": cancel, "pause": pause}
"""By the name in the table of keys."""
