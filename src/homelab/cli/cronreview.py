"""The review of an import at a terminal: what is there, each suggestion as a question, the new timetable, a last yes.

Single keys, no mouse; every screen fits 80 columns and what is longer than the terminal is high comes page by page.
Nothing is written here. Called by `cli.cron` when a person is there to answer.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import click

from homelab.cli import cronview
from homelab.cli.cronimport import Plan, Suggestion
from homelab.cli.cronread import Reading
from homelab.cli.output import painted
from homelab.home.labfiles import shown_path

Planner = Callable[[dict[str, bool]], Plan]
_KEYS = (
    "  y  yes, take it over        n  no, and do not suggest it again\n"
    "  a  yes to all of this confidence that are left\n"
    "  s  skip the rest: decide another time        b  back to the one before\n"
    "  q  quit, nothing is written"
)


def is_possible(source: str) -> bool:
    """Whether a person is there: both outputs and the keyboard are a terminal. A crontab that comes in on standard
    input (`-`) leaves the keyboard to /dev/tty."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()) or os.environ.get("TERM") == "dumb":
        return False
    if source != "-":
        return sys.stdin.isatty()
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


@dataclass(kw_only=True)
class Review:
    """One conversation. `answers`: yes or no by the id of a suggestion."""

    readings: Sequence[Reading]
    planner: Planner
    answers: dict[str, bool] = field(default_factory=dict[str, bool])

    def run(self) -> Plan | None:
        """The plan that the person said yes to; None when they did not."""
        plan = self.planner(self.answers)
        if not self._introduce(plan):
            return None
        asked = plan.open()
        while True:
            if not self._ask_all(asked):
                return None
            plan = self.planner(self.answers)
            if not plan.changed:
                _say("", "The lab file is as it should be.")
                return plan
            answer = self.confirm(plan)
            if answer != "back":
                return plan if answer == "yes" else None

    def confirm(self, plan: Plan) -> Literal["yes", "no", "back"]:
        """Show the timetable and what would be written, and ask for the last yes."""
        columns = _columns()
        _show(
            [
                *cronview.change_lines(plan, columns=columns),
                *cronview.timetable_lines(plan.rows, columns=columns),
                *cronview.refused_lines(plan, columns=columns),
            ]
        )
        _say("", f"{cronview.summary(plan.merged)}. Write {shown_path(plan.path)}?")
        while True:
            match _key("[y]es  [n]o  [d]ifference  [b]ack", "ynqdb"):
                case "y":
                    return "yes"
                case "d":
                    _show([cronview.cut(line, columns) for line in cronview.difference(plan)])
                case "b":
                    return "back"
                case _:
                    return "no"

    def _introduce(self, plan: Plan) -> bool:
        """The first screens: what is there, unless all of it was decided before. False when the person leaves."""
        columns = _columns()
        _say("", painted(cronview.counts(self.readings, plan.suggestions), "1"))
        if not (plan.is_new or plan.open()):
            return True
        screens = (
            cronview.problem_lines(self.readings, columns=columns, with_notes=False),
            cronview.graph_lines(plan, columns=columns),
            cronview.hazard_lines(self.readings, columns=columns),
        )
        shown = [screen for screen in screens if screen]
        for n, screen in enumerate(shown):
            if not _show(screen):
                return False
            is_last = n == len(shown) - 1
            if not (is_last and not plan.open()) and _key("[Enter] go on  [q]uit", "\rq ") == "q":
                return False
        return True

    def _ask_all(self, asked: Sequence[Suggestion]) -> bool:
        """One question after the other. False when the person leaves."""
        at = 0
        while at < len(asked):
            suggestion = asked[at]
            match self._ask(suggestion, at + 1, len(asked)):
                case "y":
                    self.answers[suggestion.id] = True
                case "n":
                    self.answers[suggestion.id] = False
                case "a":
                    alike = [s for s in asked[at:] if s.confidence == suggestion.confidence]
                    self.answers |= {s.id: True for s in alike}
                    while at + 1 < len(asked) and asked[at + 1] in alike:
                        at += 1
                case "b":
                    at = max(0, at - 1)
                    continue
                case "s":
                    for left in asked[at:]:
                        self.answers.pop(left.id, None)
                    return True
                case _:
                    return False
            at += 1
        return True

    def _ask(self, suggestion: Suggestion, number: int, total: int) -> str:
        columns = _columns()
        more = f"{cronview.confidence(suggestion.confidence)} confidence"
        if suggestion.id in self.answers:
            more += f", you said {'yes' if self.answers[suggestion.id] else 'no'}"
        _show(
            [
                *cronview.heading(f"{number} of {total}", more, columns=columns),
                *cronview.suggestion_lines(suggestion, self.readings, columns=columns),
                "",
            ]
        )
        while True:
            key = _key(f"[y]es  [n]o  [a]ll {suggestion.confidence}  [s]kip the rest  [b]ack  [q]uit  [?]", "ynasbq?")
            if key != "?":
                return key
            _say(_KEYS)


# --- the terminal -----------------------------------------------------------------------------------------------------


def _columns() -> int:
    return max(40, shutil.get_terminal_size().columns)


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)


def _show(lines: Sequence[str]) -> bool:
    """Lines, page by page where there are more than the terminal has. False when the person stops there."""
    room = max(5, shutil.get_terminal_size().lines - 2)
    for start in range(0, len(lines), room):
        if start and _key(f"{len(lines) - start} more lines  [Enter] go on  [q]uit", "\rq ") == "q":
            return False
        _say(*lines[start : start + room])
    return True


def _key(prompt: str, known: str) -> str:
    """One of the keys in `known` (Enter is `\\r`); others are passed over. Ctrl-C and the end of input leave."""
    click.echo(painted(prompt, "36") + " ", err=True, nl=False)
    while True:
        try:
            key = click.getchar().lower().replace("\n", "\r")
        except EOFError:
            key = "\x04"
        if key == "\x04":
            click.echo(err=True)
            raise click.Abort
        if len(key) == 1 and key in known:
            words = {"\r": "", " ": "", "y": "yes", "n": "no", "q": "quit", "b": "back", "a": "all", "s": "skip"}
            click.echo(painted(words.get(key, key), "1"), err=True)
            return key
