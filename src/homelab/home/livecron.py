"""The one door to the cron of this machine: reading and replacing a user's crontab and the files of cron's folders.

Each replacement is one atomic step: `crontab` itself does it for a user's, a rename does it for a file. Called by
`cli.handover` and `cli.cronenv`. What macOS does of this is not yet proven.
"""

import os
import pwd
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from homelab.core.crontab.adoption import without_header
from homelab.core.errors import InputError, NotFoundError, RefusedError, TimedOutError
from homelab.home import crontabs

_READ_S = 20.0


@dataclass(frozen=True, kw_only=True)
class UserCrontab:
    """The crontab of a user, through `crontab`. `is_own`: of the user who asks; another's needs root."""

    user: str
    is_own: bool = True

    @property
    def label(self) -> str:
        """As an import knows it (`crontab -l | homelab cron import -`)."""
        return f"crontab of {self.user}"

    @property
    def is_system(self) -> bool:
        return False

    def read(self) -> bytes:
        """What the user wrote, without the header that cron may put above it. NotFoundError when there is none."""
        done = self._crontab("-l", timeout_s=_READ_S)
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode != 0 and "no crontab" in said.lower():
            raise NotFoundError(f"there is no {self.label}", hint="Look with: crontab -l")
        if done.returncode != 0:
            raise RefusedError(f"crontab -l refused: {said or f'exit status {done.returncode}'}")
        return without_header(done.stdout)

    def install(self, source: Path, *, timeout_s: float) -> None:
        """Make the bytes of `source` the crontab. RefusedError with what `crontab` said when it did not take them."""
        # Debian's cuts a path at 100 characters; the name alone is short.
        done = self._crontab(source.name, timeout_s=timeout_s, folder=source.parent)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise RefusedError(f"crontab refused the change: {said or f'exit status {done.returncode}'}")

    def editors(self) -> list[int]:
        """The pids of open `crontab -e`: what they save would undo any change made meanwhile."""
        found: list[int] = []
        for process in psutil.process_iter(["pid", "name", "cmdline", "username"]):
            words: list[str] = process.info["cmdline"] or []
            if process.info["name"] != "crontab" or not any(w.startswith("-") and "e" in w for w in words[1:]):
                continue
            named = next((words[n + 1] for n, w in enumerate(words[:-1]) if w == "-u"), process.info["username"])
            if named == self.user:
                found.append(process.info["pid"])
        return found

    def _crontab(
        self, *arguments: str, timeout_s: float, folder: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        whose = [] if self.is_own else ["-u", self.user]
        # Debian leaves out the first comments of `crontab -l`, taking them for its header, unless it is told not to.
        environment = {**os.environ, "LC_ALL": "C", "CRONTAB_NOHEADER": "N"}
        try:
            # A session of its own: Ctrl-C in the terminal must not reach it half way.
            return subprocess.run(
                ["crontab", *whose, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=max(timeout_s, 0.1), check=False, start_new_session=True, cwd=folder,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise NotFoundError("there is no 'crontab' command here", hint="Is cron installed?") from error
        except subprocess.TimeoutExpired as error:
            raise TimedOutError(f"crontab did not answer within {timeout_s:.0f} s") from error


@dataclass(frozen=True, kw_only=True)
class CronFile:
    """A file with a user column that cron reads: /etc/crontab, or one in a folder cron.d."""

    path: Path

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def is_system(self) -> bool:
        return True

    def read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError("there is no such file", where=str(self.path)) from error
        except OSError as error:
            raise InputError(f"cannot read it: {error.strerror}", where=str(self.path)) from error

    def install(self, source: Path, *, timeout_s: float) -> None:
        """Put the bytes of `source` in its place, with its mode and owner. Cron ignores the name used until then, and
        sees the change by another modification time, which it knows to the second."""
        del timeout_s
        data = source.read_bytes()
        try:
            old = self.path.stat()
            descriptor, name = tempfile.mkstemp(prefix=".homelab-", dir=self.path.parent)
            fresh = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    os.fchmod(file.fileno(), old.st_mode & 0o7777)
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                    file.flush()
                    os.fsync(file.fileno())
                if int(fresh.stat().st_mtime) == int(old.st_mtime):
                    os.utime(fresh, (old.st_atime, int(old.st_mtime) + 1))
                fresh.replace(self.path)
            finally:
                fresh.unlink(missing_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise RefusedError(f"cannot replace it: {error.strerror}", where=str(self.path)) from error

    def editors(self) -> list[int]:
        return []


Target = UserCrontab | CronFile


def user_crontab(user: str = "") -> UserCrontab:
    """The crontab of the user who asks, or of `user` (which needs root)."""
    me = crontabs.owner_of("-")
    if user in ("", me):
        return UserCrontab(user=me)
    if os.geteuid() != 0:
        raise RefusedError(f"only root may change the crontab of {user}")
    try:
        pwd.getpwnam(user)
    except KeyError as error:
        raise NotFoundError(f"there is no user '{user}'") from error
    return UserCrontab(user=user, is_own=False)


def cron_file(path: Path) -> CronFile:
    """A file of a cron folder. InputError when no cron reads it, or when it is a link: cron would not see a change."""
    absolute = path.absolute()
    if not crontabs.is_system(str(absolute)):
        raise InputError(
            "no cron reads this file as it is",
            where=str(absolute),
            hint="--file takes /etc/crontab or a file in a folder cron.d. For a user's crontab leave it out.",
        )
    if absolute.is_symlink():
        raise InputError("it is a link, in which cron does not see a change", where=str(absolute))
    ignored = "" if absolute.parent.name != "cron.d" else crontabs.why_ignored(absolute.name)
    if (
        not ignored
        and absolute.parent.name == "cron.d"
        and is_debian()
        and crontabs.is_ignored_by_debian(absolute.name)
    ):
        ignored = "Debian's reads only names of letters, digits, '_' and '-'"
    if ignored:
        raise InputError(f"cron ignores this file: {ignored}", where=str(absolute))
    return CronFile(path=absolute)


def is_debian() -> bool:
    """Whether the cron here is Debian's, which treats some lines otherwise than cronie."""
    return Path("/etc/debian_version").exists() and not Path("/usr/sbin/crond").exists()
