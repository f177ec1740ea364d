"""launchd's property lists with times, as jobs that cron could have. Pure: bytes in, jobs and problems out.

Source of the rules: launchd.plist(5), and the last published source of launchd (842). Both say that with `Day` and
`Weekday` either one is enough, as in a crontab, and that a missing key stands for every value: `Hour` without
`Minute` is each minute of that hour. Entry point: `read_plist`. Not yet tried against macOS itself.
"""

import plistlib
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, cast
from xml.parsers.expat import ExpatError

from homelab.core.crontab.problems import Report, shown
from homelab.core.timers.cronlines import NotCron, full, of_either_day, of_interval
from homelab.core.timers.found import DISABLED, SHELL, Found, Machine, TimerJob

DEFAULT_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
_LARGEST_BYTES = 1024 * 1024
_RANGES = {"Minute": (0, 59), "Hour": (0, 23), "Day": (1, 31), "Month": (1, 12), "Weekday": (0, 7)}
_EVENTS = ("WatchPaths", "QueueDirectories", "StartOnMount", "Sockets", "MachServices", "LaunchEvents")
_TAKEN = (
    "Label Program ProgramArguments StartCalendarInterval StartInterval RunAtLoad EnvironmentVariables "
    "WorkingDirectory UserName GroupName Disabled StandardOutPath StandardErrorPath StandardInPath KeepAlive "
    "ProcessType AbandonProcessGroup LimitLoadToSessionType EnableTransactions LaunchOnlyOnce"
)
_REMEDIES = {"ExitTimeOut": "grace", "TimeOut": "timeout", "ThrottleInterval": "retries"}


@dataclass(frozen=True, kw_only=True)
class _Times:
    """Sets of one calendar interval as bit masks; None for a missing key."""

    minutes: int | None
    hours: int | None
    days: int | None
    months: int | None
    weekdays: int | None

    def masks(self) -> tuple[int | None, ...]:
        return (self.minutes, self.hours, self.days, self.months, self.weekdays)


def read_plist(data: bytes, *, file: str, machine: Machine, is_daemon: bool) -> Found:
    """The jobs of one property list, XML or binary. Never raises on any bytes.

    `is_daemon`: launchd runs it as root unless it names a user; an agent runs as `machine.owner`.
    """
    reader = _Reader(data=data, file=file, machine=machine, is_daemon=is_daemon)
    try:
        reader.read()
    except _Unusable as error:
        reader.report.error(error.line, 1, error.code, str(error))
    return Found(file=file, jobs=tuple(reader.jobs), problems=reader.report.problems())


class _Unusable(Exception):  # noqa: N818
    def __init__(self, code: str, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.line = line


@dataclass(kw_only=True)
class _Reader:
    data: bytes
    file: str
    machine: Machine
    is_daemon: bool
    report: Report = field(default_factory=Report)
    jobs: list[TimerJob] = field(default_factory=list[TimerJob])
    plist: dict[str, Any] = field(default_factory=dict[str, Any])

    def read(self) -> None:
        self.plist = self._loaded()
        schedules = self._schedules()
        if not schedules:
            if not self.report.found:
                raise _Unusable("no-schedule", "it has no times: launchd starts it for other reasons, if at all")
            return
        command = self._command()
        self._remark()
        user = self._user()
        name = self._name()
        flags = (DISABLED,) if self.plist.get("Disabled") is True else ()
        for count, (key, schedule) in enumerate(schedules, start=1):
            self.jobs.append(
                TimerJob(
                    name=name if count == 1 else f"{name}-{count}",
                    line=self.line(key),
                    schedule=schedule,
                    timezone=self.machine.timezone,
                    user=user,
                    command=command,
                    stdin=None,
                    shell=SHELL,
                    cwd=self._text("WorkingDirectory") or "/",
                    environment=self._environment(user),
                    mailto=None,
                    flags=flags,
                    missed="latest" if key == "StartCalendarInterval" else "skip",
                    overlap="forbid",  # launchd runs one at a time
                )
            )

    def _loaded(self) -> dict[str, Any]:
        if len(self.data) > _LARGEST_BYTES:
            raise _Unusable("bad-plist", "it is too large to be a job of launchd")
        try:
            plist = plistlib.loads(self.data)
        except ExpatError as error:
            raise _Unusable("bad-plist", f"it is no property list: {error}", error.lineno) from error
        except (plistlib.InvalidFileException, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise _Unusable("bad-plist", "it is no property list") from error
        except (RecursionError, AttributeError, MemoryError) as error:
            raise _Unusable("bad-plist", "it is too deep, or not made as a property list is") from error
        if not isinstance(plist, dict):
            raise _Unusable("bad-plist", "it is a property list, but not of a job: that is a dictionary")
        return cast("dict[str, Any]", plist)

    def line(self, key: str) -> int:
        """The line of a key in an XML list; 1 in a binary one."""
        found = re.search(rb"<key>\s*" + re.escape(key.encode()) + rb"\s*</key>", self.data)
        return self.data.count(b"\n", 0, found.start()) + 1 if found else 1

    def _text(self, key: str) -> str:
        value = self.plist.get(key)
        return value if isinstance(value, str) else ""

    # --- times --------------------------------------------------------------------------------------------------------

    def _schedules(self) -> list[tuple[str, str]]:
        """`(key, cron expression)` for all that starts the job by time."""
        found: list[tuple[str, str]] = []
        if "StartCalendarInterval" in self.plist:
            found += [("StartCalendarInterval", line) for line in self._calendar()]
        if "StartInterval" in self.plist:
            found += [("StartInterval", line) for line in self._interval()]
        if self.plist.get("RunAtLoad") is True and not self.plist.get("KeepAlive"):
            found.append(("RunAtLoad", "@reboot"))
            if not self.is_daemon:
                self.report.warn(
                    self.line("RunAtLoad"),
                    "at-login",
                    "launchd starts it when the user logs in, the lab when the machine starts",
                )
        if self.plist.get("KeepAlive"):
            self.report.note(
                self.line("KeepAlive"), "keep-alive", "launchd keeps it running: that is a service, not a job by time"
            )
        for key in _EVENTS:
            if key in self.plist:
                self.report.warn(self.line(key), "event", f"{key} starts it on events, which the lab does not watch")
        return found

    def _calendar(self) -> list[str]:
        value = self.plist["StartCalendarInterval"]
        line = self.line("StartCalendarInterval")
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        intervals = [times for item in items if (times := self._times(item, line)) is not None]
        expressions: list[str] = []
        for times in _merged(intervals):
            minutes = full("minute") if times.minutes is None else times.minutes
            if times.minutes is None:
                hours = "" if times.hours is None else ", of the hours it names"
                self.report.warn(
                    line,
                    "every-minute",
                    f"Minute is missing, so it starts each minute{hours}",
                    hint="Add Minute = 0 if once is meant.",
                )
            if times.weekdays is not None and times.months is not None:
                self.report.note(
                    line, "month-and-weekday", "some versions of launchd ignore Month where Weekday is given"
                )
            expressions.append(
                of_either_day(
                    minutes,
                    full("hour") if times.hours is None else times.hours,
                    times.days,
                    full("month") if times.months is None else times.months,
                    times.weekdays,
                )
            )
        return expressions

    def _times(self, item: Any, line: int) -> _Times | None:
        if not isinstance(item, dict):
            self.report.error(line, 1, "bad-schedule", "StartCalendarInterval holds something that is no dictionary")
            return None
        masks: dict[str, int | None] = dict.fromkeys(_RANGES)
        for key, value in cast("dict[str, Any]", item).items():
            low, high = _RANGES.get(key, (0, -1))
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                what = f"{shown(str(key))} = {shown(str(value))}"
                self.report.error(line, 1, "bad-schedule", f"StartCalendarInterval: {what} is not possible")
                return None
            masks[key] = 1 << (value % 7 if key == "Weekday" else value)
        return _Times(
            minutes=masks["Minute"],
            hours=masks["Hour"],
            days=masks["Day"],
            months=masks["Month"],
            weekdays=masks["Weekday"],
        )

    def _interval(self) -> tuple[str, ...]:
        seconds = self.plist["StartInterval"]
        line = self.line("StartInterval")
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
            self.report.error(line, 1, "bad-schedule", "StartInterval is no number of seconds")
            return ()
        try:
            expressions = of_interval(seconds)
        except NotCron as error:
            self.report.error(line, 1, "not-cron", f"StartInterval {seconds}: {error.message}", hint=error.hint)
            return ()
        self.report.warn(
            line,
            "interval",
            f"StartInterval counts {seconds} s from when the job was loaded, a schedule by the clock: the interval "
            f"stays, the times become '{' and '.join(expressions)}'",
            hint="Choose another minute or hour if those are crowded.",
        )
        return expressions

    # --- the job ------------------------------------------------------------------------------------------------------

    def _name(self) -> str:
        """The last part of the label: `backup` of `com.example.backup`."""
        label = self._text("Label") or self.file.rpartition("/")[2].removesuffix(".plist")
        name = re.sub(r"[^A-Za-z0-9_]+", "-", label.rpartition(".")[2] or label).strip("-_")[:90]
        return name or "job"

    def _user(self) -> str:
        named = self._text("UserName")
        if named and not self.is_daemon:
            self.report.note(self.line("UserName"), "agent-user", "launchd ignores UserName for an agent")
        return named if named and self.is_daemon else "root" if self.is_daemon else self.machine.owner

    def _environment(self, user: str) -> dict[str, str]:
        environment = {"PATH": DEFAULT_PATH}
        if user:
            home = self.machine.home_of(user, others="/Users", root="/var/root")
            environment |= {"HOME": home, "LOGNAME": user, "USER": user}
        given = self.plist.get("EnvironmentVariables")
        if isinstance(given, dict):
            environment |= {str(k): str(v) for k, v in cast("dict[Any, Any]", given).items()}
        return environment

    def _command(self) -> str:
        arguments = self.plist.get("ProgramArguments")
        words = [str(word) for word in cast("list[Any]", arguments)] if isinstance(arguments, list) else []
        if program := self._text("Program"):
            words = [program, *words[1:]]
        if not words:
            raise _Unusable("no-command", "there is neither Program nor ProgramArguments")
        if any("\0" in word for word in words):
            raise _Unusable("no-command", "an argument holds a NUL byte")
        command = " ".join(shlex.quote(word) for word in words)
        if path := self._text("StandardInPath"):
            command += f" < {shlex.quote(path)}"
        out, err = self._text("StandardOutPath"), self._text("StandardErrorPath")
        if out:
            command += f" {'>' if out == '/dev/null' else '>>'} {shlex.quote(out)}"
        if err:
            command += " 2>&1" if err == out else f" 2>{'' if err == '/dev/null' else '>'} {shlex.quote(err)}"
        return command

    def _remark(self) -> None:
        if self.plist.get("Disabled") is True:
            self.report.note(
                self.line("Disabled"),
                "disabled",
                "it is disabled, unless `launchctl enable` says otherwise; an import pauses it",
            )
        if self.plist.get("EnableGlobbing"):
            self.report.warn(
                self.line("EnableGlobbing"), "globbing", "launchd expands * and ? in its arguments; here they are plain"
            )
        if self.plist.get("GroupName"):
            self.report.note(self.line("GroupName"), "group", "the group is not taken over")
        for key, setting in _REMEDIES.items():
            if key in self.plist:
                self.report.note(
                    self.line(key), "lab-setting", f"{key} is not taken over", hint=f"The lab has `{setting}` for it."
                )
        known = {*_TAKEN.split(), *_REMEDIES, *_EVENTS, "EnableGlobbing"}
        if other := [str(key) for key in self.plist if key not in known]:
            self.report.note(1, "not-taken-over", f"without a meaning in the lab: {shown(', '.join(other))}")


def _merged(intervals: list[_Times]) -> list[_Times]:
    """Fewer intervals with the same times: those that differ in one key only become one, such as five weekdays."""
    for position in range(5):
        groups: dict[tuple[int | None, ...], int | None] = {}
        for times in intervals:
            masks = times.masks()
            # A missing key is part of the identity: "any day" must not be joined with "the first".
            rest = (*masks[:position], *masks[position + 1 :], None if masks[position] is None else 0)
            before = groups.get(rest)
            mask = masks[position]
            groups[rest] = mask if before is None or mask is None else before | mask
        intervals = [_from_masks((*rest[:position], mask, *rest[position:4])) for rest, mask in groups.items()]
    return intervals


def _from_masks(masks: tuple[int | None, ...]) -> _Times:
    minutes, hours, days, months, weekdays = masks
    return _Times(minutes=minutes, hours=hours, days=days, months=months, weekdays=weekdays)
