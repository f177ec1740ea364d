"""The way to where one is: places, each with how one looked at it, so that going back shows what was there. Pure."""

from dataclasses import dataclass
from typing import Any

from homelab.tui.layout import Place, Sort

LONGEST = 50


@dataclass
class Visit:
    """A place on the way. `answer`: the newest of the lab for it; `selected`, `top`: item and first line shown."""

    place: Place
    answer: dict[str, Any] | None = None
    filter: str = ""
    sort: Sort | None = None
    selected: str = ""
    top: int = 0


class Trail:
    """Never empty."""

    def __init__(self, first: Visit) -> None:
        self.visits = [first]

    @property
    def here(self) -> Visit:
        return self.visits[-1]

    def go(self, place: Place) -> None:
        """To another place; one that is on the way already is gone back to."""
        for number, visit in enumerate(self.visits):
            if visit.place == place:
                del self.visits[number + 1 :]
                return
        self.visits.append(Visit(place))
        del self.visits[:-LONGEST]

    def back(self) -> bool:
        """One place back; False at the first."""
        if len(self.visits) == 1:
            return False
        self.visits.pop()
        return True

    def crumbs(self, title: str) -> list[str]:
        """Each place in a word or two; `title` is what the view here calls itself."""
        named = [f"{visit.place.view} {visit.place.job or visit.place.run[:8]}" for visit in self.visits]
        return [
            *(name.strip() for name in named[:-1]),
            f"{self.here.place.view} {title}".strip() if title else named[-1],
        ]
