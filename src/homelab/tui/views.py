"""The views, in the order in which `?` and the command bar list them. A new one is its file and its line here."""

from homelab.tui import job, jobs, lab, log, nodes, notifications, now, run, runs
from homelab.tui.layout import Place
from homelab.tui.view import View

VIEWS: tuple[View, ...] = (
    now.VIEW,
    jobs.VIEW,
    runs.VIEW,
    run.VIEW,
    job.VIEW,
    log.VIEW,
    nodes.VIEW,
    lab.VIEW,
    notifications.VIEW,
)


def named(name: str) -> View | None:
    """The view of that name or alias."""
    return next((view for view in VIEWS if name == view.name or name in view.aliases), None)


def of(place: Place) -> View:
    """The view of a place; the first one where there is none of that name."""
    return named(place.view) or VIEWS[0]
