"""The crontab as a whole: what each line is, what holds for the lines below it, and what is wrong with it.

Follows cronie 1.7.2; a line that Debian's cron treats otherwise gets a note. Every line is an assignment, a job, a
comment, blank, or an error; a bad line never costs a good one. Entry point: `parse`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from homelab.core.crontab.lines import read_assignment, split_command
from homelab.core.crontab.names import names_of
from homelab.core.crontab.problems import CronProblem, Report, shown
from homelab.core.schedule import Schedule, ScheduleError, check_zone, scan

DEFAULT_PATH = "/usr/bin:/bin"

_MAX_COMMAND_BYTES = 131071
_DEBIAN_MAX_COMMAND_BYTES = 998
_MAX_ASSIGNMENTS = 1000
_MAX_ENTRIES = 10000
_MAX_GARBAGE = 32768
_BLANKS = " \t"
_POSIX_ZONE = re.compile(r"^[A-Za-z]{3,}([+-]?)0?(\d{1,2})$")
_ACCOUNT = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]*\$?$")
_WELL_KNOWN = frozenset(
    {"root", "www-data", "nobody", "postgres", "mysql", "nginx", "apache", "daemon", "git", "redis"}
)


@dataclass(frozen=True, kw_only=True)
class CronJob:
    """One job as cron would run it.

    `schedule`: the expression with single blanks, or the `@` name. `environment`: SHELL, PATH, HOME, LOGNAME and the
    assignments above the line, values as cron leaves them. `stdin`: None when the line has no `%`. `user` is empty and
    HOME and LOGNAME are missing when the owner is not known. `mailto`: None when not set, empty when mail is off.
    `flags`: `-n` (mail only on failure) and `-` (do not log), as written.
    """

    name: str
    line: int
    schedule: str
    timezone: str
    user: str
    command: str
    stdin: str | None
    shell: str
    cwd: str
    environment: Mapping[str, str]
    mailto: str | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ParsedCrontab:
    """Jobs in file order; problems by line."""

    jobs: tuple[CronJob, ...]
    problems: tuple[CronProblem, ...]


def parse(
    text: str,
    *,
    system: bool = False,
    user: str | None = None,
    home: str | None = None,
    timezone: str = "UTC",
    accounts: Mapping[str, str] | None = None,
    path: str = DEFAULT_PATH,
) -> ParsedCrontab:
    """Read a crontab. Never raises on any text; ScheduleError only when `timezone` itself is unknown.

    `system`: lines have a user column, as in /etc/crontab and /etc/cron.d. `user` and `home`: the owner of a user
    crontab. `timezone`: the zone of the machine, which CRON_TZ overrides for the lines below it. `accounts` maps a user
    to its home folder; homes not given are guessed (/root, /home/USER). `path`: the PATH the machine's cron sets.
    """
    check_zone(timezone)
    reader = _Reader(system=system, user=user, home=home, timezone=timezone, accounts=accounts or {}, path=path)
    reader.read(text)
    return reader.result()


@dataclass(kw_only=True)
class _Reader:
    """The state of one pass over the lines."""

    system: bool
    user: str | None
    home: str | None
    timezone: str
    accounts: Mapping[str, str]
    path: str
    jobs: list[CronJob] = field(default_factory=list[CronJob])
    report: Report = field(default_factory=Report)
    assigned: dict[str, str] = field(default_factory=dict[str, str])
    zone: str = ""
    first_words: list[tuple[int, str, bool]] = field(default_factory=list[tuple[int, str, bool]])
    entries: int = 0
    assignments: int = 0
    garbage: int = 0

    # --- lines --------------------------------------------------------------------------------------------------------

    def read(self, text: str) -> None:
        self.zone = self.timezone
        if text.startswith("\ufeff"):
            text = text[1:]
            self.report.warn(
                1,
                "byte-order-mark",
                "the file begins with a byte order mark, for which cron refuses this line",
                hint="It is ignored here. Save the file without it.",
            )
        lines = text.split("\n")
        for number, raw in enumerate(lines, start=1):
            self.read_line(number, raw, ends=number < len(lines))
        self.check_limits(len(lines))
        self.check_user_column()

    def read_line(self, number: int, raw: str, *, ends: bool) -> None:
        line = raw
        if line.endswith("\r"):
            line = line.rstrip("\r")
            self.report.once(
                number,
                "carriage-return",
                "lines end with a carriage return, which cron takes as part of the line: "
                "it refuses the blank ones and hands it to the shell of the others",
                hint="They are read without it here. Convert the file to Unix line ends.",
            )
        body = line.lstrip(_BLANKS)
        if not body or body.startswith("#"):
            self.garbage += len(raw) + 1
            self.check_garbage(number)
            return
        self.garbage = 0
        indent = len(line) - len(body)
        if "\0" in body:
            column = indent + body.index("\0") + 1
            self.report.error(
                number,
                column,
                "nul-byte",
                "the line holds a NUL byte, at which cron would cut it in two",
                hint="Remove the byte.",
            )
            return
        if len(body) > 2 * _MAX_COMMAND_BYTES:
            hint = "Is this file a crontab?"
            self.report.error(number, indent + 1, "too-long", f"the line is {len(body)} characters long", hint=hint)
            return
        assignment = read_assignment(body)
        if assignment is not None:
            self.assign(number, indent + 1, *assignment, is_quoted=body.rstrip().endswith(('"', "'")))
            return
        self.entries += 1
        count = len(self.jobs)
        self.read_job(number, line, indent)
        if not ends and len(self.jobs) > count:
            self.report.warn(
                number,
                "no-final-newline",
                "the last line has no newline, so cron would ignore it",
                hint="It is kept as a job here. Add a newline at the end of the file.",
            )

    def assign(self, number: int, column: int, name: str, value: str, *, is_quoted: bool) -> None:
        self.assignments += 1
        if not name:
            self.report.warn(number, "bad-name", "an assignment without a name has no effect", column=column)
            return
        if name in ("LOGNAME", "USER"):
            self.report.warn(
                number,
                "fixed-variable",
                f"{name} cannot be changed: cron sets it to the owner of the job",
                column=column,
                hint="Remove the line.",
            )
        elif name == "CRON_TZ":
            self.zone = self.zone_of(number, column, value)
            self.report.note(
                number, "debian-cron-tz", "CRON_TZ is read as cronie does; Debian's cron ignores it", column=column
            )
        elif name == "TZ":
            self.report.note(
                number,
                "tz-is-no-schedule",
                "TZ sets the clock the job sees, not the zone of its schedule",
                column=column,
                hint="CRON_TZ sets the zone of the schedules below it.",
            )
        elif name == "RANDOM_DELAY" and value.strip(" 0"):
            self.report.warn(
                number,
                "random-delay",
                f"cron starts the jobs below up to {shown(value)} minutes late, at random; here they start on time",
                column=column,
            )
        if value == "" and not is_quoted:
            self.report.note(
                number,
                "debian-empty-value",
                f"{shown(name)} is set to nothing; without quotes Debian's cron refuses that",
                column=column,
                hint=f'{name}="" is understood by every cron.',
            )
        elif value != value.rstrip():
            message = f"{shown(name)} ends with blanks, which Debian's cron takes off even in quotes"
            self.report.note(number, "debian-trims", message, column=column)
        self.assigned[name] = value

    def zone_of(self, number: int, column: int, value: str) -> str:
        """The zone CRON_TZ names; as the C library does, an unknown one is UTC."""
        name = value.removeprefix(":")
        if not name:
            return self.timezone
        if fixed := _POSIX_ZONE.match(name):
            hours = int(fixed[2])
            name = name if _is_zone(name) else f"Etc/GMT{fixed[1] or '+'}{hours}" if hours else "UTC"
        if _is_zone(name):
            return name
        self.report.warn(
            number,
            "unknown-zone",
            f"unknown time zone '{shown(value)}'; cron takes it for UTC",
            column=column,
            hint="Use a name such as Europe/Berlin.",
        )
        return "UTC"

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def read_job(self, number: int, line: str, at: int) -> None:
        flags: list[str] = []
        if line[at] == "-":
            if not self.system and self.user not in (None, "root"):
                self.report.error(
                    number,
                    at + 1,
                    "bad-option",
                    "only root may begin a line with '-' (run without a log entry)",
                    hint="Remove the '-'.",
                )
                return
            flags.append("-")
            at += 1
            self.report.note(number, "debian-no-log", "Debian's cron refuses a '-' before the minute", column=at)
        try:
            schedule, at = scan(line, at, timezone=self.zone)
        except ScheduleError as error:
            self.report.error(
                number, error.column, "bad-schedule", error.message, hint=error.hint or self.hint_for(line)
            )
            return
        if at >= len(line):
            self.report.error(number, at + 1, "no-command", "there is no command after the schedule")
            return
        if line[at] == "*":
            self.report.error(
                number,
                at + 1,
                "bad-command",
                "the command begins with '*': there is a field too many",
                hint="Cron has five fields: minute, hour, day of month, month, day of week.",
            )
            return
        self.first_words.append((number, *_first_word(line, at)))
        user = self.user or ""
        if self.system:
            user, at = self.user_column(number, line, at)
            if not user:
                return
        at = self.options(number, line, at, flags)
        if at < 0:
            return
        self.add_job(number, line, at, schedule, user, tuple(flags))

    def user_column(self, number: int, line: str, at: int) -> tuple[str, int]:
        user, _ = _first_word(line, at)
        behind = at + len(user)
        while behind < len(line) and line[behind] in _BLANKS:
            behind += 1
        if behind >= len(line):
            self.report.error(
                number,
                at + 1,
                "no-command",
                f"there is no command after the user '{shown(user)}'",
                hint="Lines of a system crontab have a user before the command. For a user's crontab leave out "
                "--system.",
            )
            return "", behind
        if not _ACCOUNT.match(user):
            self.report.warn(
                number,
                "no-user-column",
                f"'{shown(user)}' stands where a system crontab has the user",
                column=at + 1,
                hint="If this is a user's crontab, read it without --system.",
            )
        elif self.accounts and user not in self.accounts:
            self.report.warn(
                number,
                "unknown-user",
                f"there is no user '{user}' here; cron would not run the job",
                column=at + 1,
                hint="Debian's cron refuses the line. Correct the name, or make the account.",
            )
        return user, behind

    def options(self, number: int, line: str, at: int, flags: list[str]) -> int:
        """The position behind cronie's options before a command; -1 when it refuses the line."""
        while at < len(line) and line[at] == "-":
            option = line[at : at + 2]
            if option != "-n" or "-n" in flags or line[at + 2 : at + 3] not in (" ", "\t"):
                word, _ = _first_word(line, at)
                what = "-n is given twice" if word == "-n" else f"unknown option '{shown(word)}' before the command"
                self.report.error(
                    number, at + 1, "bad-option", what, hint="Cronie has one: -n, mail only when the job fails."
                )
                return -1
            flags.append("-n")
            self.report.note(number, "debian-option", "Debian's cron would take -n for the command", column=at + 1)
            at += 2
            while at < len(line) and line[at] in _BLANKS:
                at += 1
            if at >= len(line):
                self.report.error(number, at + 1, "no-command", "there is no command after the options")
                return -1
        return at

    def add_job(self, number: int, line: str, at: int, schedule: Schedule, user: str, flags: tuple[str, ...]) -> None:
        size = len(line[at:].encode(errors="surrogateescape"))
        if size > _MAX_COMMAND_BYTES:
            self.report.error(
                number,
                at + 1,
                "too-long",
                f"the command is {size} bytes long; cron cuts it at {_MAX_COMMAND_BYTES}",
                hint="Put it into a script.",
            )
            return
        if size > _DEBIAN_MAX_COMMAND_BYTES:
            self.report.note(
                number,
                "debian-too-long",
                f"the command is {size} bytes long; Debian's cron refuses more than {_DEBIAN_MAX_COMMAND_BYTES}",
                column=at + 1,
            )
        for warning in schedule.warnings:
            self.report.warn(number, "odd-schedule", warning)
        if "~" in schedule.expression:
            self.report.note(
                number,
                "random-time",
                "'~' is a time that cron picks anew at each start; here it is picked once, from the job's name",
                hint="Debian's cron reads only the number before '~', and refuses the field without one.",
            )
        command, stdin = split_command(line[at:])
        environment = self.environment(user)
        self.jobs.append(
            CronJob(
                name="",
                line=number,
                schedule=schedule.expression,
                timezone=self.zone,
                user=user,
                command=command,
                stdin=stdin,
                shell=environment["SHELL"],
                cwd=environment.get("HOME", ""),
                environment=environment,
                mailto=self.assigned.get("MAILTO"),
                flags=flags,
            )
        )

    def environment(self, user: str) -> dict[str, str]:
        environment = dict(self.assigned)
        environment.setdefault("SHELL", "/bin/sh")
        environment.setdefault("PATH", self.path)
        if user:
            environment.setdefault("HOME", self.home_of(user))
            environment["LOGNAME"] = user
            if "USER" in environment:
                environment["USER"] = user
        else:
            environment.pop("LOGNAME", None)
            environment.pop("USER", None)
            if self.home:
                environment.setdefault("HOME", self.home)
        return environment

    def home_of(self, user: str) -> str:
        if self.home and not self.system:
            return self.home
        return self.accounts.get(user) or ("/root" if user == "root" else f"/home/{user}")

    # --- the file as a whole ------------------------------------------------------------------------------------------

    def hint_for(self, line: str) -> str:
        if "=" in line.split("#")[0] and re.match(r"\s*[A-Za-z_]\w*\s*=", line):
            return "If this is an assignment: nothing may follow a closing quote, and a quote must be closed."
        return ""

    def check_garbage(self, number: int) -> None:
        if self.garbage > _MAX_GARBAGE and not self.system:
            self.report.once(
                number,
                "too-many-comments",
                f"more than {_MAX_GARBAGE} characters of comments and blanks between two "
                "entries: cronie refuses the whole file",
                hint="Remove some.",
            )

    def check_limits(self, lines: int) -> None:
        if self.system:
            return
        for count, limit, what in (
            (self.entries, _MAX_ENTRIES, "jobs"),
            (self.assignments, _MAX_ASSIGNMENTS, "assignments"),
        ):
            if count > limit:
                self.report.warn(
                    lines, "too-many", f"{count} {what}: cronie refuses a user's crontab with more than {limit}"
                )

    def check_user_column(self) -> None:
        """A user's crontab whose commands all begin with the name of an account is a system crontab."""
        if self.system or not self.first_words:
            return
        users = [(n, w) for n, w, more in self.first_words if more and (w in _WELL_KNOWN or w == self.user)]
        if 2 * len(users) > len(self.first_words):
            number, word = users[0]
            self.report.warn(
                number,
                "user-column",
                f"the commands begin with a user ('{word}'): this looks like a system crontab",
                hint="Read it with --system.",
            )

    def result(self) -> ParsedCrontab:
        identities = [
            (job.command, "\0".join((job.schedule, job.timezone, job.user, job.stdin or ""))) for job in self.jobs
        ]
        named = [replace(job, name=name) for job, name in zip(self.jobs, names_of(identities), strict=True)]
        return ParsedCrontab(jobs=tuple(named), problems=self.report.problems())


def _first_word(line: str, at: int) -> tuple[str, bool]:
    """The word there, and whether anything follows it."""
    end = at
    while end < len(line) and line[end] not in _BLANKS:
        end += 1
    return line[at:end], bool(line[end:].strip(_BLANKS))


def _is_zone(name: str) -> bool:
    try:
        check_zone(name)
    except ScheduleError:
        return False
    return True
