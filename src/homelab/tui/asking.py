"""What a key would change, said before it is done: the question, and the one call to the API behind each answer. Pure.

The facts are answers of the API; instead of a question that has no sense now (nothing runs, nothing to retry) there is
the reason, a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from homelab.console import words
from homelab.core.jobs import OPEN
from homelab.tui.layout import Place
from homelab.tui.view import part

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer: the key, what it does, the call, what is said when it is done."""

    key: str
    label: str
    path: str
    body: Json = field(default_factory=dict[str, Any])
    done: str = ""


@dataclass(frozen=True, kw_only=True)
class Question:
    """`will`: what happens, a sentence each. `after`: where to look then; the run that is made replaces its `run`."""

    title: str
    will: tuple[str, ...]
    choices: tuple[Choice, ...]
    after: Place | None = None


def run_job(job: Json, graph: Json) -> Question:
    name = words.short(job["name"])
    together = [node["name"] for node in graph["nodes"] if node["flow"] == job["flow"]]
    will = [f"{name} starts now."]
    if len(together) > 1:
        flow = words.counted(len(together), "job")
        will.append(f"What it needs runs before it and what needs it after it, of {flow} in this flow.")
    if job["paused"]:
        will.append("It is paused; a run by hand starts all the same.")
    if job.get("shadow"):
        will.append("Cron runs it on its schedule, for it is in shadow here; a run by hand is one more.")
    path, done = f"/api/v1/jobs/{part(job['name'])}/run", f"{name} was started"
    choices = [Choice(key="y", label="run it", path=path, body={"only": False}, done=done)]
    if len(together) > 1:
        choices.append(Choice(key="o", label="only this job", path=path, body={"only": True}, done=done))
    return Question(
        title=f"Run {name} now?", will=tuple(will), choices=tuple(choices), after=Place(view="run", job=job["name"])
    )


def retry(run: Json) -> Question | str:
    if run["state"] in OPEN:
        return "That run has not ended: c cancels it."
    bad = [job["job"] for job in run["jobs"] if job["state"] != "succeeded"]
    good = [job["job"] for job in run["jobs"] if job["state"] == "succeeded"]
    will = [f"The same run starts again, as it was defined on {words.short(run['created'], 10)}."]
    path = f"/api/v1/runs/{part(run['id'])}/retry"
    done = f"the run of {words.short(run['flow'])} starts again"
    choices: list[Choice] = []
    if bad:
        will.append(f"{words.listed(bad, 6)} {'runs' if len(bad) == 1 else 'run'} again, with the next attempt number.")
    if good:
        will.append(f"{words.listed(good, 6)} succeeded.")
    if bad:
        label = "retry what did not succeed" if good else "retry"
        choices.append(Choice(key="y", label=label, path=path, body={"failed": True}, done=done))
    if good:
        choices.append(
            Choice(key="a" if bad else "y", label="run all of it again", path=path, body={"failed": False}, done=done)
        )
    after = Place(view="run", run=run["id"])
    return Question(
        title=f"Retry this run of {words.short(run['flow'])}?", will=tuple(will), choices=tuple(choices), after=after
    )


def cancel(run: Json) -> Question | str:
    if run["state"] not in OPEN:
        return f"That run has ended ({words.mark(run['state']).word}): there is nothing to cancel."
    going = [job["job"] for job in run["jobs"] if job["state"] in ("running", "retrying")]
    waiting = [job["job"] for job in run["jobs"] if job["state"] in ("pending", "scheduled")]
    will: list[str] = []
    if going:
        will.append(f"{words.listed(going, 6)} {_is(going)} told to end, and killed when the grace is over.")
    if waiting:
        will.append(f"{words.listed(waiting, 6)} will not start.")
    will.append("What has finished stays as it is. A retry can take the run up again.")
    choice = Choice(
        key="y",
        label="cancel the run",
        path=f"/api/v1/runs/{part(run['id'])}/cancel",
        done="the run is being cancelled",
    )
    return Question(title=f"Cancel this run of {words.short(run['flow'])}?", will=tuple(will), choices=(choice,))


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def drain(node: Json, preview: Json) -> Question:
    """Drain, or undrain what is drained. `preview`: what the API says it would do."""
    name, action = words.short(node["name"]), str(preview["action"])
    choice = Choice(
        key="y",
        label=action,
        path=f"/api/v1/nodes/{part(node['name'])}/{action}",
        done=f"{name} is drained" if action == "drain" else f"{name} takes work again",
    )
    will = tuple(words.stamps(sentence) for sentence in preview["will"])
    return Question(title=f"{action.capitalize()} {name}?", will=will, choices=(choice,))


def pause(job: Json, graph: Json) -> Question:
    """Pause, or resume what is paused."""
    name = words.short(job["name"])
    if job["paused"]:
        schedule = f": {job['schedule_words']}" if job["schedule_words"] else ""
        will = (
            f"It runs again as its schedule says{schedule}.",
            "What it missed while it was paused is not made up for.",
        )
        path = f"/api/v1/jobs/{part(job['name'])}/resume"
        return Question(
            title=f"Resume {name}?",
            will=will,
            choices=(Choice(key="y", label="resume", path=path, done=f"{name} is resumed"),),
        )
    held = [edge["to"] for edge in graph["edges"] if edge["from"] == job["name"]]
    told = [f"No more runs of {name} start, until somebody resumes it. What runs goes on."]
    if held:
        told.append(f"{words.listed(held)} {'needs' if len(held) == 1 else 'need'} it and will not run either.")
    path = f"/api/v1/jobs/{part(job['name'])}/pause"
    return Question(
        title=f"Pause {name}?",
        will=tuple(told),
        choices=(Choice(key="y", label="pause", path=path, done=f"{name} is paused"),),
    )
