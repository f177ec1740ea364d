"""What is typed behind `:`: a view, a view with a job or a run, or the job or run alone. Pure but for `learn`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from homelab.tui.jobs import last_run
from homelab.tui.layout import Place
from homelab.tui.view import Door, View
from homelab.tui.views import VIEWS, named

QUIT, HELP = ("q", "quit", "exit"), ("help", "?")


@dataclass(frozen=True, kw_only=True)
class Known:
    """The names that can be typed: all jobs, each with the id of its newest run ("" without one), and the ids of the
    newest runs."""

    jobs: Mapping[str, str] = field(default_factory=dict[str, str])
    runs: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """It means nothing; `message` says what would have been understood."""

    message: str


def needs_names(text: str) -> bool:
    """Whether a command means anything by its view alone."""
    view = named(text.strip())
    return view is None or view.needs_argument


def learn(door: Door) -> Known:
    """Ask the lab for its names."""
    jobs = {job["name"]: last_run(job)[0] for job in door.get("/api/v1/jobs")["jobs"]}
    runs = [run["id"] for run in door.get("/api/v1/runs", {"limit": 200})["runs"]]
    return Known(jobs=jobs, runs=list(dict.fromkeys(runs)))


def meaning(text: str, known: Known) -> Place | Unknown | str:
    """Where a command leads; `quit` or `help` for those; Unknown with the nearest names else."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if word in QUIT or word in HELP:
        return "quit" if word in QUIT else "help"
    view = named(word)
    if view is not None and (word not in known.jobs or word == view.name):
        return _of_view(view, rest, known)
    if text.strip() in known.jobs:
        return Place(view="job", job=text.strip())
    if run := _run(text.strip(), known):
        return Place(view="run", run=run)
    names = [*(v.name for v in VIEWS), *known.jobs]
    return Unknown(message=f"no view, job or run '{text.strip()[:40]}'{_nearest(word, names)}")


def _of_view(view: View, rest: str, known: Known) -> Place | Unknown:
    if not rest:
        if view.needs_argument:
            return Unknown(message=f":{view.name} needs the name of a {view.takes}; Tab completes it")
        return Place(view=view.name)
    if not view.takes:
        return Unknown(message=f":{view.name} takes no name")
    if view.takes == "job":
        return Place(view=view.name, job=rest) if rest in known.jobs else _no_job(rest, known)
    if rest in known.jobs:
        newest = known.jobs[rest]
        return (
            Place(view=view.name, run=newest, job=rest) if newest else Unknown(message=f"{rest[:40]} has not run yet")
        )
    run, _, job = rest.partition(" ")
    found = _run(run, known)
    if not found:
        return Unknown(message=f"there is no run '{run[:40]}'{_nearest(run, known.jobs)}")
    return Place(view=view.name, run=found, job=job)


def _no_job(name: str, known: Known) -> Unknown:
    return Unknown(message=f"there is no job '{name[:40]}'{_nearest(name, known.jobs)}")


def _run(text: str, known: Known) -> str:
    """A run by its id or the beginning of one; also an id that is not among the newest, which the lab may know."""
    text = text.lower()
    if len(text) < 4 or any(c not in "0123456789abcdef-" for c in text):
        return ""
    return next((run for run in known.runs if run.startswith(text)), text)


def _nearest(text: str, names: Iterable[str]) -> str:
    close = get_close_matches(text, list(names), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def completions(text: str, known: Known, most: int = 50) -> list[str]:
    """What the text may become, the likeliest first: whole commands."""
    word, space, rest = text.lstrip().partition(" ")
    if not space:
        views = [view.name for view in VIEWS if view.name.startswith(word)]
        jobs = [job for job in known.jobs if job.startswith(word)] if word else []
        inside = [job for job in known.jobs if word in job and job not in jobs] if len(word) > 1 else []
        runs = [run for run in known.runs if run.startswith(word)] if len(word) > 3 else []
        words = [name for name in ("help", "quit") if name.startswith(word)] if word else []
        return list(dict.fromkeys([*views, *words, *jobs, *inside, *runs]))[:most]
    view = named(word)
    if view is None or not view.takes:
        return []
    names = [*known.jobs, *(known.runs if view.takes == "run" else ())]
    begin = [name for name in names if name.startswith(rest)]
    inside = [name for name in names if rest in name and name not in begin]
    return [f"{word} {name}" for name in list(dict.fromkeys([*begin, *inside]))[:most]]
