"""What an act would do, in sentences, and what takes it back. Pure; said before anything is done.

Asked by `looking`, for the pages' questions, `--dry-run` and whoever else is about to act.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from homelab.core.times import moment

MARGIN = timedelta(minutes=1)
"""A run this close to its instant may be with a worker already: cancelling it is for good."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """`will`: sentences. `is_grave`: it ends something. `undo`: the act that takes it back, or ''."""

    action: str
    will: tuple[str, ...]
    is_grave: bool = False
    undo: str = ""


def run(job: Mapping[str, Any], together: Sequence[str]) -> Preview:
    """`job` as `questions.jobs` lists it; `together`: all jobs of its flow."""
    will = [f"“{job['name']}” starts now."]
    if len(together) > 1:
        will.append(f"What it needs runs before it and what needs it after it, of {len(together)} jobs in this flow.")
    if job["paused"]:
        will.append("It is paused; a run by hand starts all the same.")
    if job["shadow"]:
        will.append("Cron runs it on its schedule, for it is in shadow here; a run by hand is one more.")
    return Preview(action="run", will=tuple(will), undo="cancel")


def pause(job: Mapping[str, Any], held: Sequence[str]) -> Preview:
    """`held`: the jobs that need it."""
    will = [f"No more runs of “{job['name']}” start, until somebody resumes it. What runs goes on."]
    if held:
        will.append(f"{listed(held)} {'needs' if len(held) == 1 else 'need'} it and will not run either.")
    return Preview(action="pause", will=tuple(will), undo="resume")


def resume(job: Mapping[str, Any]) -> Preview:
    words = job["schedule_words"]
    will = ["It runs again as its schedule says" + (f": {words}." if words else ".")]
    will.append("What it missed while it was paused is not made up for.")
    return Preview(action="resume", will=tuple(will), undo="pause")


def retry(run: Mapping[str, Any]) -> Preview:
    """`run` as `runview.view` gives it."""
    bad = [j["job"] for j in run["jobs"] if j["state"] != "succeeded"]
    good = [j["job"] for j in run["jobs"] if j["state"] == "succeeded"]
    will = [f"The same run starts again now; what it does is as it was defined on {str(run['created'])[:10]}."]
    if bad:
        will.append(f"{listed(bad)} {'runs' if len(bad) == 1 else 'run'} again, with the next attempt number.")
    if good:
        will.append(f"{listed(good)} succeeded and will not run again.")
    return Preview(action="retry", will=tuple(will), undo="cancel")


def cancel(run: Mapping[str, Any], now: datetime) -> Preview:
    going = [j["job"] for j in run["jobs"] if j["state"] in ("running", "retrying")]
    waiting = [j["job"] for j in run["jobs"] if j["state"] in ("pending", "scheduled")]
    will: list[str] = []
    if going:
        will.append(f"{listed(going)} is told to end, and killed when its grace is over.")
    if waiting:
        will.append(f"{listed(waiting)} will not start.")
    is_ahead = not going and is_restorable({**run, "state": "cancelled"}, now)
    will.append(
        f"Until {run['due']} it can be restored and starts then all the same." if is_ahead
        else "What has finished stays as it is. A retry can take the run up again."
    )  # fmt: skip
    return Preview(action="cancel", will=tuple(will), is_grave=True, undo="restore" if is_ahead else "retry")


def restore(run: Mapping[str, Any]) -> Preview:
    will = f"The cancelling is taken back: the run starts at its instant, {run['due']}."
    return Preview(action="restore", will=(will,), undo="cancel")


def is_restorable(run: Mapping[str, Any], now: datetime) -> bool:
    """Whether a run was cancelled before its instant, which is still to come."""
    due = moment(run["due"])
    return run["state"] == "cancelled" and run["started"] is None and due is not None and due > now + MARGIN


def drain(node: Mapping[str, Any]) -> Preview:
    """`node` as `fleet.node` gives it."""
    will = [f"Nothing new starts on {node['name']}, until somebody undrains it."]
    if owners := _owners(node):
        will.append(f"{listed(owners)} {'is' if len(owners) == 1 else 'are'} on it and may finish.")
    if node["drained_since"] is not None:
        will = [f"{node['name']} is drained already: nothing would change."]
    return Preview(action="drain", will=tuple(will), undo="undrain")


def undrain(node: Mapping[str, Any]) -> Preview:
    is_there = node["state"] not in ("unreachable", "stopped")
    will = [f"{node['name']} takes work again" + ("." if is_there else ", once it is heard of.")]
    if node["drained_since"] is None:
        will = [f"{node['name']} is not drained: nothing would change."]
    return Preview(action="undrain", will=tuple(will), undo="drain")


def wake(node: Mapping[str, Any]) -> Preview:
    name = node["name"]
    will = [f"The message that wakes {name} is sent to the address that the lab file gives."]
    if node["is_away"] and node["wakeable"]:
        will.append("It is ready when its worker is heard, which takes a machine up to a minute or two.")
    elif node["is_away"]:
        will = [f"{name} cannot be woken: the lab file gives no address for it. Nothing would be sent."]
    else:
        will = [f"{name} is awake: nothing would be sent."]
    return Preview(action="wake", will=tuple(will))


def remove(node: Mapping[str, Any]) -> Preview:
    """Without `force` it is refused while the node holds something."""
    name, owners = node["name"], _owners(node)
    will = [f"The lab forgets {name}: what it is, what it held. It must join anew to come back."]
    if owners:
        will.append(f"{listed(owners)} {'is' if len(owners) == 1 else 'are'} on it and given up.")
        will.append("What is given up counts as crashed, and runs elsewhere where that is allowed.")
    if node["declared_by_lab"]:
        will.append(f"The lab file still names {name}: take it out there too, or the next apply brings it back.")
    return Preview(action="remove", will=tuple(will), is_grave=True)


def _owners(node: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(one["owner"] for one in node["leases"]))


def undo_refused(plan: Mapping[str, Any], *, is_takeover: bool) -> str:
    """Why an apply cannot be taken back by another one: its jobs went from cron to the lab, or back, with it, and the
    crontab would still be as it was made then. "" when it can."""
    moved = [c["name"] for c in plan["jobs"] if any(f["field"] == "shadow" for f in c["fields"])]
    if not is_takeover and not moved:
        return ""
    what = f" {listed(moved)}" if moved else " jobs"
    return f"with that apply{what} went between cron and the lab, and the crontab was changed for it"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and 3 more`."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
