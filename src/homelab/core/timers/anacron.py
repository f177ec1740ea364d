"""anacron's table as jobs that cron could have: text in, jobs and problems out.

anacron knows days, not times: it starts a job some minutes after it finds that its period is over. Source:
anacrontab(5) of cronie 1.7. Entry point: `read_anacrontab`.
"""

import re
from dataclasses import dataclass, field

from homelab.core.crontab import DEFAULT_PATH
from homelab.core.crontab.lines import read_assignment
from homelab.core.crontab.problems import Report, shown
from homelab.core.timers.found import SHELL, Found, Machine, TimerJob

_ENTRY = re.compile(r"(\S+)\s+(\S+)\s+(\S+)\s+(\S.*)", re.DOTALL)
_PERIODS = {"1": "daily", "7": "weekly"}
_NAMES = {"daily": "daily", "weekly": "weekly", "monthly": "monthly", "yearly": "yearly", "annually": "yearly"}
_DATES = {"daily": "* * *", "weekly": "* * 0", "monthly": "1 * *", "yearly": "1 1 *"}
_HOURS = re.compile(r"(\d{1,2})-(\d{1,2})")
_OWN = frozenset({"START_HOURS_RANGE", "RANDOM_DELAY", "PREFERRED_HOUR", "NO_MAIL_OUTPUT", "MAILTO", "MAILFROM"})


def read_anacrontab(text: str, *, file: str, machine: Machine) -> Found:
    """The jobs of an anacrontab. Never raises on any text. Without START_HOURS_RANGE a job is due at midnight."""
    reader = _Reader(machine=machine)
    for number, line in _lines(text):
        reader.read_line(number, line)
    return Found(file=file, jobs=tuple(reader.jobs), problems=reader.report.problems())


def _lines(text: str) -> list[tuple[int, str]]:
    """Lines without comments and blanks; a `\\` at the end joins the next one."""
    joined: list[tuple[int, str]] = []
    waiting, start = "", 0
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.rstrip("\r")
        start = start if waiting else number
        if line.endswith("\\"):
            waiting += line[:-1]
            continue
        whole, waiting = (waiting + line).strip(), ""
        if whole and not whole.startswith("#"):
            joined.append((start, whole))
    return joined


@dataclass(kw_only=True)
class _Reader:
    machine: Machine
    report: Report = field(default_factory=Report)
    jobs: list[TimerJob] = field(default_factory=list[TimerJob])
    assigned: dict[str, str] = field(default_factory=dict[str, str])
    hours: tuple[int, int] | None = None

    def read_line(self, number: int, line: str) -> None:
        if "\0" in line:
            self.report.error(number, 1, "nul-byte", "the line holds a NUL byte", hint="Remove the byte.")
            return
        assignment = read_assignment(line) if re.match(r"[A-Za-z_]\w*\s*=", line, re.ASCII) else None
        if assignment is not None:
            self._assign(number, *assignment)
            return
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            self.report.error(
                number,
                1,
                "bad-line",
                "this is neither an assignment nor a job",
                hint="A job is: period in days, delay in minutes, name, command.",
            )
            return
        self._job(number, entry[1], entry[2], entry[3], entry[4])

    def _assign(self, number: int, name: str, value: str) -> None:
        self.assigned[name] = value
        if name == "START_HOURS_RANGE":
            found = _HOURS.fullmatch(value)
            if found is None or not 0 <= int(found[1]) < int(found[2]) <= 24:
                self.report.warn(number, "bad-hours", f"'{shown(value)}' is no range of hours such as 3-22")
                return
            self.hours = (int(found[1]), int(found[2]))
            self.report.warn(
                number,
                "hours-range",
                f"anacron starts jobs only from {found[1]} to {found[2]} o'clock: here they are due at the begin of "
                "it, but a missed run is made up for at any hour",
                hint='missed = "skip" if it must not.',
            )
        elif name == "RANDOM_DELAY" and value.strip(" 0"):
            self.report.warn(
                number,
                "random-delay",
                f"anacron starts jobs up to {shown(value)} minutes late, at random; here they start on time",
            )
        elif name == "PREFERRED_HOUR":
            self.report.note(number, "unknown-setting", "PREFERRED_HOUR is not read")

    def _job(self, number: int, period: str, delay: str, identifier: str, command: str) -> None:
        name = _NAMES.get(period[1:]) if period.startswith("@") else _PERIODS.get(period)
        if not delay.isascii() or not delay.isdigit() or len(delay) > 6:
            self.report.error(number, 1, "bad-delay", f"the delay '{shown(delay)}' is no number of minutes")
            return
        if name is None:
            is_number = period.isascii() and period.isdigit() and int(period[:9]) > 0
            self.report.error(
                number,
                1,
                "not-cron" if is_number else "bad-period",
                f"every {shown(period)} days: cron has no such period"
                if is_number
                else f"the period '{shown(period)}' is neither a number of days nor @daily, @weekly, @monthly, @yearly",
                hint="Cron has days, weeks (7), and months (@monthly), by the calendar." if is_number else "",
            )
            return
        if period == "7" or name in ("monthly", "yearly"):
            self.report.note(
                number,
                "by-calendar",
                "anacron counts from the day it last ran, a schedule by the calendar: Sundays, or the first of it",
            )
        environment = {k: v for k, v in self.assigned.items() if k not in _OWN or k == "MAILTO"}
        environment.setdefault("SHELL", "/bin/sh")
        environment.setdefault("PATH", DEFAULT_PATH)
        user = self.machine.owner or "root"
        environment.setdefault("HOME", self.machine.home_of(user))
        environment["LOGNAME"] = user
        self.jobs.append(
            TimerJob(
                name=self._name(identifier),
                line=number,
                schedule=self._schedule(number, name, int(delay)),
                timezone=self.machine.timezone,
                user=user,
                command=command,
                stdin=None,
                # anacron runs /bin/sh whatever SHELL says; the variable is only passed on.
                shell=SHELL,
                cwd="/",
                environment=environment,
                mailto=self.assigned.get("MAILTO"),
                missed="latest",
                overlap="forbid",  # it locks the job's time stamp
            )
        )

    def _schedule(self, number: int, name: str, delay: int) -> str:
        if self.hours is None:
            if delay:
                self.report.note(
                    number,
                    "delay",
                    f"anacron waits {delay} minutes before it starts it; here it is due at midnight",
                    hint="Choose a time of its own if many are due then.",
                )
            return f"@{name}"
        minutes = min(self.hours[0] * 60 + delay, 23 * 60 + 59)
        return f"{minutes % 60} {minutes // 60} {_DATES[name]}"

    def _name(self, identifier: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_]+", "-", identifier).strip("-_")[:90] or "job"
        taken = {job.name for job in self.jobs}
        if name in taken:
            name = next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)
        return name
