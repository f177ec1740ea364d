"""What can be seen when an attempt begins and when it ends: its scripts, its variables, disks, memory, load.

Facts for whoever asks later why it failed (`core.endings`); nothing here changes what runs, nothing is executed, no
value of a variable is kept. What a command runs is found once a command, in a thread, beside the process; afterwards
each script costs one `stat`. Called by `worker.launch`.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import structlog

from homelab.core import commands
from homelab.core.commands.patterns import is_plain
from homelab.core.endings import missing_command, refused_command
from homelab.core.times import iso
from homelab.home.paths import Home
from homelab.home.scripts import MAX_BYTES, FolderScripts
from homelab.home.secrets import read_or_create
from homelab.worker.process import Outcome, Spec
from homelab.worker.redaction import Redactor

log = structlog.get_logger()

MAX_SCRIPTS = 20
MAX_PROGRAMS = 20
MAX_PLACES = 4
MAX_VARIABLES = 200
_REMEMBERED = 1000
_PATIENCE_S = 2.0
"""How long the end of an attempt waits for its command to have been read."""
_OF_THE_RUN = frozenset(
    {"HOMELAB_RUN_ID", "HOMELAB_DUE", "HOMELAB_ATTEMPT", "HOMELAB_JOB", "HOMELAB_OUTPUT", "HOMELAB_INPUTS"}
)
_SIGKILL = 9
_USUAL_FOLDERS = (
    "/opt/homebrew/bin", "/opt/homebrew/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin",
    "/sbin", "/opt/local/bin", "/snap/bin", "/home/linuxbrew/.linuxbrew/bin", "/usr/local/go/bin",
)  # fmt: skip
_HOME_FOLDERS = (".local/bin", "bin", ".cargo/bin", "go/bin", ".bun/bin", ".deno/bin")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What reading a command found: scripts it runs, folders it writes to, names of programs."""

    scripts: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    single: bool = False


@dataclass(kw_only=True)
class Began:
    """What was seen at the start of one attempt. `reading` comes later when the command was not read before."""

    variables: Mapping[str, str]
    oom_kills: int | None
    reading: Reading | None = None
    scripts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    task: "asyncio.Task[None] | None" = None

    def state(self) -> dict[str, Any]:
        """As JSON, for `of`; a reading that is not finished is left out."""
        reading = None if self.reading is None else asdict(self.reading)
        kept = {"variables": dict(self.variables), "oom_kills": self.oom_kills, "scripts": self.scripts}
        return {**kept, "reading": reading}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Began":
        read: Mapping[str, Any] | None = state["reading"]
        reading = None
        if read is not None:
            lists = {name: tuple(read[name]) for name in ("scripts", "places", "programs")}
            reading = Reading(**lists, single=bool(read["single"]))
        return cls(
            variables=state["variables"], oom_kills=state["oom_kills"], scripts=list(state["scripts"]), reading=reading
        )


class Observer:
    """One for each worker."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._salt: bytes | None = None
        self._readings: dict[tuple[str, ...], Reading] = {}
        self._digests: dict[str, tuple[tuple[int, int, int], str]] = {}

    def begin(self, spec: Spec) -> Began:
        """At the start, before the process: under a tenth of a millisecond for a command that was read before."""
        began = Began(variables=self._variables(spec.environment), oom_kills=_oom_kills()[0])
        if (reading := self._readings.get(_key(spec))) is not None:
            began.reading = reading
            began.scripts = self._states(reading.scripts)
        return began

    def read_beside(self, spec: Spec, began: Began) -> None:
        """The process runs: read its command, when that was not done before."""
        if began.reading is None:
            began.task = asyncio.create_task(asyncio.to_thread(self._read, spec, began), name="read command")

    async def end(
        self, spec: Spec, began: Began, outcome: Outcome, tail: Sequence[str], redactor: Redactor
    ) -> dict[str, Any]:
        """The report's `facts`: what `core.endings.Circumstances.from_json` reads."""
        if began.task is not None:
            await asyncio.wait({began.task}, timeout=_PATIENCE_S)
            if began.task.done() and (error := began.task.exception()) is not None:
                log.warning("command.not_read", error=repr(error))
        reading = began.reading or Reading()
        found: dict[str, Any] = {
            "scripts": [{**one, "path": redactor.text(one["path"])} for one in began.scripts],
            "variables": dict(began.variables),
            "programs": [redactor.text(name) for name in reading.programs],
            "single": reading.single,
            "disks": [
                {**one, "path": redactor.text(one["path"])}
                for one in _disks(dict.fromkeys((spec.cwd, *reading.places)))
            ],
            "load": round(os.getloadavg()[0], 2),
        }
        if outcome.peak_memory_bytes is not None:
            found["peak_memory_bytes"] = outcome.peak_memory_bytes
            found["cpu_s"] = outcome.cpu_s
        if outcome.signal == _SIGKILL or outcome.exit_code == 128 + _SIGKILL:
            kills, scope = _oom_kills()
            if kills is not None and began.oom_kills is not None:
                found |= {"oom_kills": max(0, kills - began.oom_kills), "oom_scope": scope}
            found["memory_used_percent"] = psutil.virtual_memory().percent
        if outcome.exit_code == 127 and (name := missing_command(tail)):
            found["missing"] = {"name": name, "found": _found(name, spec), "path": spec.environment.get("PATH", "")}
            found["missing"] = {key: redactor.text(value) for key, value in found["missing"].items()}
        if outcome.exit_code == 126 and (mode := _mode(name := refused_command(tail), spec.cwd)):
            found["refused"] = {"path": redactor.text(name), "mode": mode}
        return found

    def _variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        try:
            if self._salt is None:
                self._salt = read_or_create(self._home, "fingerprint").encode()[:64]
        except OSError:
            return {}  # a disk that is full or not to be written: nothing to compare by
        salt, digest = self._salt, hashlib.blake2b
        return {
            name: digest(value.encode("utf-8", "surrogateescape"), key=salt, digest_size=5).hexdigest()
            for name, value in sorted(environment.items())[:MAX_VARIABLES]
            if name not in _OF_THE_RUN
        }

    def _read(self, spec: Spec, began: Began) -> None:
        """In a thread: what the command runs, and the state of its scripts."""
        known = FolderScripts(None)
        found = commands.describe(
            spec.command,
            environment=spec.environment,
            folder=spec.cwd,
            scripts=known,
            stdin=spec.stdin,
            shell=spec.shell,
        )
        own = [command for command in found.commands if not command.source.file]
        paths = dict.fromkeys(c.path for c in found.calls if c.status in ("analysed", "not-analysed", "missing"))
        written = (e.target for e in found.effects if e.kind in ("write", "append", "update", "make") and not e.place)
        reading = Reading(
            scripts=tuple(path for path in paths if is_plain(path))[:MAX_SCRIPTS],
            places=tuple(dict.fromkeys(path.rpartition("/")[0] or "/" for path in written if is_plain(path)))[
                :MAX_PLACES
            ],
            programs=tuple(dict.fromkeys(c.name for c in found.commands if c.name and is_plain(c.name)))[:MAX_PROGRAMS],
            single=len(own) == 1 and len(found.commands) == 1,
        )
        began.scripts = self._states(reading.scripts)
        began.reading = reading
        while len(self._readings) >= _REMEMBERED:
            self._readings.pop(next(iter(self._readings)), None)
        # What scripts call can change with their text: it is read again when one of them is another.
        self._readings[_key(spec)] = reading

    def _states(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        return [self._state(path) for path in paths]

    def _state(self, path: str) -> dict[str, Any]:
        """`digest` is empty for a file that is not there or not to be read; one that is too large has its size."""
        try:
            info = Path(path).stat()
        except OSError:
            return {"path": path, "digest": "", "changed": None}
        mark = (info.st_mtime_ns, info.st_size, info.st_ino)
        known = self._digests.get(path)
        if known is None or known[0] != mark:
            if known is not None:
                self._readings.clear()
            while len(self._digests) >= _REMEMBERED:
                self._digests.pop(next(iter(self._digests)), None)
            known = self._digests[path] = (mark, _digest(path, info))
        return {"path": path, "digest": known[1], "changed": iso(datetime.fromtimestamp(info.st_mtime, UTC))}


def _key(spec: Spec) -> tuple[str, ...]:
    environment = spec.environment
    return (
        spec.command,
        spec.cwd,
        spec.shell,
        spec.stdin or "",
        environment.get("PATH", ""),
        environment.get("HOME", ""),
    )


def _digest(path: str, info: os.stat_result) -> str:
    if not stat.S_ISREG(info.st_mode):
        return ""
    if info.st_size > MAX_BYTES:
        return f"{info.st_size} bytes"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - opened so that a pipe is never waited for
            return hashlib.blake2b(file.read(MAX_BYTES), digest_size=8).hexdigest()
    except OSError:
        return ""


def _disks(paths: Mapping[str, None]) -> list[dict[str, Any]]:
    """Of each disk once, by the first path on it."""
    found: dict[int, dict[str, Any]] = {}
    for path in paths:
        try:
            device = Path(path).stat().st_dev
            if device not in found:
                space = os.statvfs(path)
                sizes = {"free_bytes": space.f_bavail * space.f_frsize, "size_bytes": space.f_blocks * space.f_frsize}
                found[device] = {"path": path, **sizes}
        except OSError:
            continue
    return [one for one in found.values() if one["size_bytes"] > 0]


def _found(name: str, spec: Spec) -> str:
    """Where this machine has the program, "" when it is in no folder that people usually have programs in."""
    if "/" in name:
        return ""
    home = spec.environment.get("HOME", "")
    folders = [*spec.environment.get("PATH", "").split(":"), *os.environ.get("PATH", "").split(":"), *_USUAL_FOLDERS]
    folders += [f"{home}/{one}" for one in _HOME_FOLDERS] if home else []
    for folder in dict.fromkeys(folders):
        path = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):  # noqa: PTH113 - a plain question
            return path
    return ""


def _mode(name: str, cwd: str) -> str:
    """`0644` of a plain file; "" when there is none."""
    if not name:
        return ""
    try:
        info = Path(cwd, name).stat()
    except (OSError, ValueError):
        return ""
    return f"{stat.S_IMODE(info.st_mode):04o}" if stat.S_ISREG(info.st_mode) else ""


def _oom_kills() -> tuple[int | None, str]:
    """How many processes the kernel has ended for want of memory: of the lab's control group where it counts, else of
    the machine. None where nobody counts."""
    path, scope = _oom_counter()
    if not path:
        return None, scope
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - it is read at each start: no more than a system call
            text = file.read()
    except OSError:
        return None, scope
    at = text.rfind(b"oom_kill ")
    return (None, scope) if at < 0 else (int(text[at:].split(None, 2)[1]), scope)


@cache
def _oom_counter() -> tuple[str, str]:
    """Linux: memory.events of our control group (v2), else the kernel's own count. Elsewhere there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), None)
        events = Path(f"/sys/fs/cgroup{own.rstrip('/')}/memory.events") if own is not None else None
        if events is not None and b"oom_kill " in events.read_bytes():
            return str(events), "lab"
    except OSError:
        pass
    try:
        return ("/proc/vmstat", "machine") if b"oom_kill " in Path("/proc/vmstat").read_bytes() else ("", "machine")
    except OSError:
        return "", "machine"
