"""What a systemd service runs, as what, where and with which variables; and what of it a lab does not take over.

Called by `core.timers.systemd`. Source: systemd.service(5), systemd.exec(5); specifiers: systemd.unit(5).
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from homelab.core.crontab import CronProblem
from homelab.core.crontab.problems import Report, shown
from homelab.core.timers.execline import Command, ExecError, commands_of, joined, split_words
from homelab.core.timers.found import Machine
from homelab.core.timers.units import Setting, Unit, unescaped

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)
_SPECIFIER = re.compile(r"%(.)")
# What has a word of its own in the lab file, and what is silently the same or without a meaning there.
_REMEDIES = {
    "TimeoutStartSec": "timeout",
    "RuntimeMaxSec": "timeout",
    "TimeoutStopSec": "grace",
    "Restart": "retries",
    "RestartSec": "retries",
    "OnFailure": "notify",
}
_TAKEN = (
    "Type ExecStart ExecStartPre ExecStartPost ExecCondition Environment EnvironmentFile User WorkingDirectory "
    "StandardOutput StandardError SyslogIdentifier KillMode RemainAfterExit Group"
)
_OPERATORS = {"null": ">", "truncate": ">", "append": ">>", "file": "<>"}  # `file:` does not empty the file first


class ServiceError(Exception):
    """The service cannot become a job; where, and why."""

    def __init__(self, setting: Setting | None, unit: Unit, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.file = setting.file if setting else unit.file
        self.line = setting.line if setting else 1
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service as a job. `problems`: what differs from systemd, with lines of its own file."""

    unit: Unit
    command: str
    user: str
    cwd: str
    environment: dict[str, str]
    problems: tuple[CronProblem, ...]


def read_service(unit: Unit, machine: Machine) -> Service:
    """The service as a job; ServiceError when there is no command that would do the same."""
    reader = _Reader(unit=unit, machine=machine)
    return reader.read()


@dataclass(kw_only=True)
class _Reader:
    unit: Unit
    machine: Machine
    report: Report = field(default_factory=Report)
    user: str = ""
    home: str = ""

    def read(self) -> Service:
        self._read_user()
        environment = self._environment()
        command = self._command()
        if streams := self._streams():
            command = f"{{ {command}; }} {streams}" if self._is_compound() else f"{command} {streams}"
        folder = self.unit.last("Service", "WorkingDirectory")
        cwd = self.home if self.unit.is_user else "/"
        if folder is not None:
            cwd = self.expanded(folder)(folder.value.removeprefix("-"))
            cwd = self.home if cwd == "~" else cwd
        self._remark()
        return Service(
            unit=self.unit,
            command=command,
            user=self.user,
            cwd=cwd,
            environment=environment,
            problems=self.report.problems(),
        )

    def fail(self, setting: Setting | None, code: str, message: str, hint: str = "") -> ServiceError:
        return ServiceError(setting, self.unit, code, message, hint)

    # --- who and with what --------------------------------------------------------------------------------------------

    def _read_user(self) -> None:
        self.user = self.machine.owner if self.unit.is_user else "root"
        self.home = self.machine.home_of(self.user)
        if self.unit.is_on("Service", "DynamicUser"):
            raise self.fail(
                self.unit.last("Service", "DynamicUser"),
                "dynamic-user",
                "it runs as a user that exists only while it runs",
                "Give it a user of its own, or keep the timer.",
            )
        named = self.unit.last("Service", "User")
        if named is not None:
            self.user = self.expanded(named)(named.value)
            self.home = self.machine.home_of(self.user)
            if self.machine.accounts and self.user not in self.machine.accounts:
                self.report.warn(
                    self.line(named), "unknown-user", f"there is no user '{shown(self.user)}' here", hint="Make one."
                )

    def _environment(self) -> dict[str, str]:
        environment = {"PATH": SYSTEM_PATH}
        if self.user:
            environment |= {"HOME": self.home, "LOGNAME": self.user, "USER": self.user}
        for setting in self.unit.all("Service", "Environment"):
            try:
                words = split_words(setting.value)
            except ExecError as error:
                raise self.fail(setting, "bad-environment", f"Environment=: {error}") from error
            for word in words:
                if _ASSIGNMENT.match(word):
                    name, _, value = word.partition("=")
                    environment[name] = self.expanded(setting)(value)
                else:
                    self.report.warn(
                        self.line(setting), "bad-name", f"systemd ignores '{shown(word)}', it is no assignment"
                    )
        for setting in self.unit.all("Service", "EnvironmentFile"):
            self.report.warn(
                self.line(setting),
                "environment-file",
                f"the variables in {shown(setting.value.removeprefix('-'))} are not taken over",
                hint="Put them into `environment`, and passwords into `secrets`, of the job.",
            )
        return environment

    # --- the command --------------------------------------------------------------------------------------------------

    def _command(self) -> str:
        kind = self.unit.last("Service", "Type")
        is_oneshot = kind is not None and kind.value == "oneshot"
        starts = self._commands("ExecStart")
        if not starts:
            raise self.fail(None, "no-command", "the service has no ExecStart=")
        if len(starts) > 1 and not is_oneshot:
            setting = self.unit.all("Service", "ExecStart")[-1]
            raise self.fail(setting, "no-command", "more than one ExecStart= needs Type=oneshot: systemd refuses it")
        after = self._commands("ExecStartPost")
        if after and not is_oneshot:
            self.report.warn(1, "start-post", "ExecStartPost= runs beside the command there, here it runs after it")
        if kind is not None and kind.value in ("forking", "notify", "notify-reload", "dbus"):
            self.report.warn(
                self.line(kind),
                "daemon",
                f"Type={kind.value} is a program that goes on in the background: a run here ends with its command",
            )
        command = joined([*self._commands("ExecStartPre"), *starts, *after])
        if conditions := self._commands("ExecCondition"):
            command = f"if {joined(conditions)}; then {command}; fi"
        return command

    def _is_compound(self) -> bool:
        names = ("ExecStart", "ExecStartPre", "ExecStartPost", "ExecCondition")
        commands = [command for name in names for command in self._commands(name)]
        return len(commands) > 1 or commands[0].may_fail

    def _commands(self, name: str) -> list[Command]:
        commands: list[Command] = []
        for setting in self.unit.all("Service", name):
            try:
                made = commands_of(setting.value, self.expanded(setting))
            except ExecError as error:
                raise self.fail(setting, "bad-command", f"{name}=: {error}") from error
            for command in made:
                self._remark_command(setting, command)
            commands += made
        return commands

    def _remark_command(self, setting: Setting, command: Command) -> None:
        if command.is_privileged and self.user != "root":
            self.report.warn(
                self.line(setting),
                "privileged-step",
                f"systemd runs this step of {setting.name}= with full rights, here it runs as '{self.user}'",
                hint="Make it a job of root that the other one needs.",
            )
        if command.renames:
            self.report.note(self.line(setting), "renamed", "the name the program sees itself under (`@`) is not kept")
        if command.operators:
            self.report.warn(
                self.line(setting),
                "no-shell",
                f"'{shown(command.operators[0])}' is a plain argument: systemd uses no shell, and it stays one here",
                hint="If it was meant for a shell: ExecStart=/bin/sh -c '...'",
            )

    def _streams(self) -> str:
        """Redirections for output that systemd sends elsewhere than to the journal."""
        texts: list[str] = []
        for name, descriptor in (("StandardOutput", "1"), ("StandardError", "2")):
            setting = self.unit.last("Service", name)
            kind, _, path = setting.value.partition(":") if setting is not None else ("inherit", "", "")
            if setting is not None and kind in _OPERATORS:
                target = shlex.quote(self.expanded(setting)(path)) if path else "/dev/null"
                texts.append(f"{descriptor}{_OPERATORS[kind]}{target}")
            elif kind == "inherit" and texts:
                texts.append("2>&1")
        return " ".join(texts)

    # --- specifiers ---------------------------------------------------------------------------------------------------

    def expanded(self, setting: Setting) -> Callable[[str], str]:
        """A function that replaces the specifiers in a text; ServiceError for those that only systemd knows."""

        def replaced(found: re.Match[str]) -> str:
            value = self._specifier(found[1])
            if value is None:
                raise self.fail(
                    setting,
                    "specifier",
                    f"%{found[1]} in {setting.name}= stands for something only systemd knows",
                    "Write the value itself.",
                )
            return value

        return lambda text: _SPECIFIER.sub(replaced, text)

    def _specifier(self, letter: str) -> str | None:
        unit = self.unit
        own = self.home
        system = not unit.is_user
        values = {
            "%": "%",
            "n": unit.name,
            "N": unit.stem,
            "p": unit.prefix,
            "P": unescaped(unit.prefix),
            "i": unit.instance,
            "I": unescaped(unit.instance),
            "j": unit.prefix.rpartition("-")[2],
            "J": unescaped(unit.prefix.rpartition("-")[2]),
            "f": "/" + unescaped(unit.instance or unit.prefix).lstrip("/"),
            "h": self.machine.home_of("root") if system else own,
            "u": "root" if system else self.machine.owner,
            "T": "/tmp",  # noqa: S108
            "V": "/var/tmp",  # noqa: S108
            "E": "/etc" if system else f"{own}/.config",
            "S": "/var/lib" if system else f"{own}/.local/state",
            "C": "/var/cache" if system else f"{own}/.cache",
            "L": "/var/log" if system else f"{own}/.local/state/log",
            "t": "/run" if system else None,
            "U": "0" if system else None,
            "y": unit.file,
            "Y": unit.file.rpartition("/")[0],
        }
        return values.get(letter)

    # --- what is not taken over ---------------------------------------------------------------------------------------

    def _remark(self) -> None:
        conditions: list[str] = []
        other: list[str] = []
        for setting in self.unit.settings:
            name = setting.name
            if setting.section == "Unit" and name.startswith(("Condition", "Assert")):
                conditions.append(name)
            elif name in _REMEDIES:
                self.report.note(
                    self.line(setting),
                    "lab-setting",
                    f"{name}={shown(setting.value)} is not taken over",
                    hint=f"The lab has `{_REMEDIES[name]}` for it.",
                )
            elif name == "SuccessExitStatus":
                self.report.warn(
                    self.line(setting),
                    "exit-status",
                    f"systemd takes {shown(setting.value)} for success too, the lab only 0",
                    hint="Let the command turn it into 0.",
                )
            elif setting.section == "Service" and name not in _TAKEN.split():
                other.append(name)
        if conditions:
            self.report.warn(
                1, "condition", f"not checked here: {_listed(conditions)}", hint="Test for it in the command."
            )
        if other:
            self.report.note(1, "not-taken-over", f"without a meaning in the lab: {_listed(other)}")

    def line(self, setting: Setting) -> int:
        return setting.line if setting.file == self.unit.file else 1


def _listed(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(f"{name}=" for name in unique[:6]) + (f" and {len(unique) - 6} more" if len(unique) > 6 else "")
