"""systemd timers with their services, as jobs that cron could have. Pure; nothing is approximated in silence.

A timer whose times cron cannot say exactly is a problem of severity error and no job. Entry point: `read_units`.
What is taken over and what is not: docs/how-to/other-schedulers.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from homelab.core.crontab.problems import Report, shown
from homelab.core.durations import duration_text
from homelab.core.schedule import ScheduleError, check_zone
from homelab.core.timers.calendar import CalendarError, parse_calendar
from homelab.core.timers.cronlines import NotCron, of_calendar, of_interval
from homelab.core.timers.found import SHELL, Found, Machine, Order, TimerJob
from homelab.core.timers.services import Service, ServiceError, read_service
from homelab.core.timers.spans import span_s
from homelab.core.timers.units import Setting, Unit, UnitText, read_unit

_ORDERING = ("Requires", "Requisite", "BindsTo", "Wants")
_TIMES = ("OnCalendar", "OnBootSec", "OnStartupSec", "OnActiveSec", "OnUnitActiveSec", "OnUnitInactiveSec")
_KNOWN = frozenset(
    {*_TIMES, "Persistent", "RandomizedDelaySec", "FixedRandomDelay", "Unit", "AccuracySec", "RemainAfterElapse"}
    | {"WakeSystem", "OnClockChange", "OnTimezoneChange"}
)


def read_units(units: Sequence[UnitText], machine: Machine) -> tuple[list[Found], list[Order]]:
    """One `Found` for each timer, and for each service that has something to say, by file; and the orders among jobs.

    `units`: timers and services, each name once a manager. A template without an instance gives a note.
    """
    parsed = {(unit.is_user, unit.name): read_unit(unit) for unit in units}
    readers = [_Timer(unit=unit, units=parsed, machine=machine) for unit in parsed.values() if _is_timer(unit)]
    found: dict[str, Found] = {}
    for reader in readers:
        reader.read()
        found[reader.unit.file] = reader.found()
    for reader in readers:
        service = reader.service
        if service is not None and service.problems and service.unit.file not in found:
            found[service.unit.file] = Found(file=service.unit.file, problems=service.problems)
    return sorted(found.values(), key=lambda one: one.file), _orders(readers)


def _is_timer(unit: Unit) -> bool:
    return unit.name.endswith(".timer")


@dataclass(kw_only=True)
class _Timer:
    """One timer on its way to jobs."""

    unit: Unit
    units: Mapping[tuple[bool, str], Unit]
    machine: Machine
    report: Report = field(default_factory=Report)
    schedules: list[tuple[int, str, str, str]] = field(default_factory=list[tuple[int, str, str, str]])
    """Line, cron expression, zone, what to put before the command."""
    service: Service | None = None
    jobs: tuple[TimerJob, ...] = ()

    def found(self) -> Found:
        return Found(file=self.unit.file, jobs=self.jobs, problems=self.report.problems())

    def read(self) -> None:
        if self.unit.ignored:
            file, line = self.unit.ignored[0]
            more = f" and {len(self.unit.ignored) - 1} more" if len(self.unit.ignored) > 1 else ""
            own = line if file == self.unit.file else 1
            self.report.warn(own, "ignored-line", f"systemd ignores {file.rpartition('/')[2]}:{line}{more}: no setting")
        if not self.unit.settings:
            self.report.note(1, "no-unit", "it is masked, empty, or no text of a unit")
            return
        if self.unit.stem.endswith("@"):
            self.report.note(1, "template", "a template without an instance runs nothing")
            return
        if self.unit.is_enabled is False:
            self.report.note(
                1,
                "not-enabled",
                "the timer is not enabled, so it runs nothing",
                hint=f"If it should: systemctl enable --now {self.unit.name}",
            )
            return
        if not self._find_service():
            return
        self._read_times()
        self._remark()
        self._make_jobs()

    # --- the service --------------------------------------------------------------------------------------------------

    def _find_service(self) -> bool:
        named = self.unit.last("Timer", "Unit")
        name = named.value if named else f"{self.unit.stem}.service"
        line = named.line if named else 1
        if "%" in name:
            name = name.replace("%i", self.unit.instance).replace("%p", self.unit.prefix).replace("%%", "%")
        if not name.endswith(".service"):
            self.report.error(line, 1, "no-service", f"it starts {shown(name)}, which is no service")
            return False
        unit = self.units.get((self.unit.is_user, name))
        if unit is None or not unit.settings:
            what = "is masked or empty" if unit is not None else "is not among the files"
            self.report.error(
                line, 1, "no-service", f"its service {shown(name)} {what}", hint="Name the folder that holds both."
            )
            return False
        try:
            self.service = read_service(unit, self.machine)
        except ServiceError as error:
            place = f"{error.file.rpartition('/')[2]}:{error.line}"
            self.report.error(line, 1, error.code, f"{place}: {error.message}", hint=error.hint)
            return False
        return True

    # --- times --------------------------------------------------------------------------------------------------------

    def _read_times(self) -> None:
        for setting in self._times("OnCalendar"):
            self._calendar(setting)
        repeated = self._repeats()
        for setting in self._times("OnBootSec", "OnStartupSec", "OnActiveSec"):
            self._start(setting, is_repeated=repeated)
        for name in ("OnClockChange", "OnTimezoneChange"):
            if self.unit.is_on("Timer", name) and (setting := self.unit.last("Timer", name)):
                self._refuse(setting, "cron does not start anything when the clock is set")
        if not self.schedules and not self.report.found:
            self.report.warn(1, "no-schedule", "the timer has no time at which it starts anything")

    def _times(self, *names: str) -> list[Setting]:
        """The settings of those names, without what an empty value of any time setting took back."""
        found: list[Setting] = []
        for setting in self.unit.settings:
            if setting.section == "Timer" and setting.name in _TIMES:
                found = [*found, setting] if setting.value else []
        return [setting for setting in found if setting.name in names]

    def _calendar(self, setting: Setting) -> None:
        try:
            calendar = parse_calendar(setting.value)
        except CalendarError as error:
            self.report.error(
                self._line(setting),
                1,
                "bad-schedule",
                f"OnCalendar={shown(setting.value)}: {error}",
                hint="systemd-analyze calendar shows what systemd makes of an expression.",
            )
            return
        zone = calendar.timezone or self.machine.timezone
        try:
            check_zone(zone)
            lines = of_calendar(calendar)
        except ScheduleError as error:
            self._refuse(setting, error.message)
            return
        except NotCron as error:
            self._refuse(setting, error.message, error.hint)
            return
        for line in lines:
            self.schedules.append((self._line(setting), line, zone, ""))

    def _repeats(self) -> bool:
        """Read the settings that start the service again and again; whether one could be taken over."""
        count = len(self.schedules)
        for setting in self._times("OnUnitActiveSec", "OnUnitInactiveSec"):
            self._interval(setting)
        return len(self.schedules) > count

    def _interval(self, setting: Setting) -> None:
        seconds = self._span(setting)
        if seconds is None:
            return
        if setting.name == "OnUnitInactiveSec":
            self._refuse(
                setting,
                "it counts from the end of the last run, cron only from the clock",
                'Choose a schedule, with overlap = "forbid" if a run may take longer than the interval.',
            )
            return
        try:
            lines = of_interval(seconds)
        except NotCron as error:
            self._refuse(setting, error.message, error.hint)
            return
        self.report.warn(
            self._line(setting),
            "interval",
            f"{_text(setting)} counts from the last start, a schedule by the clock: the interval stays, "
            f"the times become '{' and '.join(lines)}'",
            hint="Choose another minute or hour if those are crowded.",
        )
        self.schedules += [(self._line(setting), line, self.machine.timezone, "") for line in lines]

    def _start(self, setting: Setting, *, is_repeated: bool) -> None:
        seconds = self._span(setting)
        if seconds is None:
            return
        if is_repeated:
            return  # it only sets off the repetition, which the clock does now
        if setting.name == "OnActiveSec":
            self._refuse(setting, "it counts from the moment the timer is switched on, which cron does not know")
            return
        if setting.name == "OnStartupSec" and self.unit.is_user:
            self._refuse(setting, "it counts from the login of the user; cron only knows the start of the machine")
            return
        wait = f"sleep {seconds:g} && " if seconds >= 1 else ""
        self.schedules.append((self._line(setting), "@reboot", self.machine.timezone, wait))

    def _span(self, setting: Setting) -> float | None:
        seconds = span_s(setting.value)
        if seconds is None:
            self.report.error(
                self._line(setting), 1, "bad-schedule", f"{_text(setting)}: this is no span of time", hint="Like 15min."
            )
        return seconds

    def _refuse(self, setting: Setting, why: str, hint: str = "") -> None:
        self.report.error(self._line(setting), 1, "not-cron", f"{_text(setting)}: {why}", hint=hint)

    def _line(self, setting: Setting) -> int:
        """The line in the timer's own file; a drop-in's settings are said to be at its first line."""
        return setting.line if setting.file == self.unit.file else 1

    # --- what else the timer says -------------------------------------------------------------------------------------

    def _remark(self) -> None:
        delay = self.unit.last("Timer", "RandomizedDelaySec")
        if delay is not None and self.schedules and (longest := span_s(delay.value)):
            self.report.warn(
                self._line(delay),
                "random-delay",
                f"systemd starts it up to {duration_text(longest)} late, at random; here it starts on time",
                hint="Choose an uncrowded minute if many machines ask the same server.",
            )
        if self.unit.is_on("Timer", "WakeSystem") and (wakes := self.unit.last("Timer", "WakeSystem")):
            self.report.warn(self._line(wakes), "wakes", "systemd wakes the sleeping machine for it; the lab does not")
        for setting in self.unit.settings:
            if setting.section == "Timer" and setting.name not in _KNOWN:
                self.report.note(self._line(setting), "unknown-setting", f"{shown(setting.name)}= is not read")

    def _make_jobs(self) -> None:
        if self.service is None:
            return
        name = re.sub(r"[^A-Za-z0-9_]+", "-", self.unit.stem).strip("-_")[:90] or "job"
        is_persistent = self.unit.is_on("Timer", "Persistent")
        calendars = {self._line(setting) for setting in self._times("OnCalendar")}
        made: list[TimerJob] = []
        for count, (line, schedule, zone, before) in enumerate(self.schedules, start=1):
            by_clock = schedule != "@reboot" and line in calendars
            made.append(
                TimerJob(
                    name=name if count == 1 else f"{name}-{count}",
                    line=line,
                    schedule=schedule,
                    timezone=zone,
                    user=self.service.user,
                    command=before + self.service.command,
                    stdin=None,
                    shell=SHELL,
                    cwd=self.service.cwd,
                    environment=self.service.environment,
                    mailto=None,
                    missed="latest" if is_persistent and by_clock else "skip",
                    overlap="forbid",  # systemd does not start what is already running
                )
            )
        self.jobs = tuple(made)


def _text(setting: Setting) -> str:
    return f"{setting.name}={shown(setting.value)}"


def _orders(readers: Sequence[_Timer]) -> list[Order]:
    """Which job comes after which, because their services say so (After= and its kin); never both ways."""
    by_service = {
        (reader.unit.is_user, reader.service.unit.name): reader
        for reader in readers
        if reader.service is not None and reader.jobs
    }
    found: dict[tuple[tuple[bool, str], tuple[bool, str]], Order] = {}
    for own, reader in by_service.items():
        settings = reader.service.unit.settings if reader.service is not None else ()
        for setting in settings:
            if setting.section != "Unit" or setting.name not in ("After", "Before"):
                continue
            for name in setting.value.split():
                other = (own[0], name)
                if other not in by_service or other == own:
                    continue
                first, second = (other, own) if setting.name == "After" else (own, other)
                order = _order(by_service[first], by_service[second], setting)
                if (first, second) not in found or found[first, second].confidence != "high":
                    found[first, second] = order
    return [order for (first, second), order in found.items() if (second, first) not in found]


def _order(upstream: _Timer, downstream: _Timer, setting: Setting) -> Order:
    upstream_name = upstream.service.unit.name if upstream.service else ""
    unit = downstream.service.unit if downstream.service else downstream.unit
    pulls = [name for name in _ORDERING for wanted in unit.all("Unit", name) if upstream_name in wanted.value.split()]
    same = {(j.schedule, j.timezone) for j in upstream.jobs} & {(j.schedule, j.timezone) for j in downstream.jobs}
    confidence = "high" if pulls else "medium" if same else "low"
    if pulls:
        reason = f"{pulls[0]}= starts {upstream_name} with it, {setting.name}= makes it wait for its end"
    else:
        reason = f"{setting.name}= orders the two when both are to start" + ("" if same else "; their times differ")
    return Order(
        upstream=upstream.jobs[0],
        upstream_file=upstream.unit.file,
        downstream=downstream.jobs[0],
        downstream_file=downstream.unit.file,
        file=setting.file,
        line=setting.line,
        text=f"{setting.name}={setting.value}",
        confidence=confidence,
        reason=reason,
    )
