"""The screens, in the order of the navigation. A new one is its folder and its line here."""

from homelab.console import jobs, lab, nodes, now, people, run, runs, style
from homelab.console.screen import Screen

SCREENS: tuple[Screen, ...] = (
    now.SCREEN,
    jobs.SCREEN,
    runs.SCREEN,
    run.SCREEN,
    nodes.SCREEN,
    lab.SCREEN,
    people.SCREEN,
    style.SCREEN,
)
