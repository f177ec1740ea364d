"""A real cron daemon with crontabs of its own, in a mount namespace: the machine's are neither seen nor touched.

Needs root, the right to mount, and a `cron` (Debian) or `crond` (cronie) program; `why_not` says what is missing.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.lab import until

_DAEMON = shutil.which("cron", path="/usr/sbin:/sbin") or shutil.which("crond", path="/usr/sbin:/sbin") or ""
_SET_UP = """set -eu
mount -t tmpfs tmpfs /var/spool/cron
mkdir /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs 2>/dev/null || true
chmod 1730 /var/spool/cron/crontabs
mount -t tmpfs tmpfs /etc/cron.d
mount -t tmpfs tmpfs /run
: > "$1/crontab"
mount --bind "$1/crontab" /etc/crontab
mkdir "$1/dev"
mount -t tmpfs tmpfs "$1/dev"
for name in null zero full random urandom tty; do
    : > "$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
ln -s "$1/log" "$1/dev/log"
mount --rbind "$1/dev" /dev
"""


def why_not() -> str:
    """Why no cron daemon can run here; empty when one can."""
    if not _DAEMON:
        return "no cron daemon is installed (sh tests/system-packages.sh)"
    if os.geteuid() != 0:
        return "cron needs root"
    tried = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True, check=False,
    )  # fmt: skip
    return "" if tried.returncode == 0 else f"no mount namespace: {tried.stderr.decode().strip()}"


class Cron:
    """Tables and a log of its own; `start` starts the daemon. Call `stop` whatever happens."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="crond-"))
        self.folder.chmod(0o755)
        self.lines: list[str] = []
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(self.folder / "log"))
        (self.folder / "log").chmod(0o666)
        threading.Thread(target=self._listen, daemon=True).start()
        (self.folder / "set-up.sh").write_text(_SET_UP + "echo ready\nexec sleep 100000\n")
        # The holder keeps the namespace; daemon and commands enter it.
        self._holder = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", self.folder / "set-up.sh", self.folder],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        self._daemon: subprocess.Popen[bytes] | None = None

    def _listen(self) -> None:
        while True:
            try:
                data = self._log.recv(65536)
            except OSError:
                return
            self.lines.append(data.decode("utf-8", "surrogateescape"))

    def inside(self, *command: str | Path) -> list[str]:
        """The command line that runs `command` where these tables are the machine's."""
        return ["nsenter", "-t", str(self._holder.pid), "-m", "--", *map(str, command)]

    def run(
        self, *command: str | Path, env: Mapping[str, str] | None = None, stdin: bytes = b"", ok: bool = True,
        timeout: float = 120, cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        done = subprocess.run(
            self.inside("env", "-C", cwd or "/", *command), env=None if env is None else dict(env), input=stdin,
            capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not ok, f"{command}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
        return done

    def start(self) -> None:
        option = "-f" if _DAEMON.endswith("cron") else "-n"
        levels = ["-L", "15"] if _DAEMON.endswith("cron") else []
        self._daemon = subprocess.Popen(
            self.inside(_DAEMON, option, *levels),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: self.lines or None, timeout=20, what="cron's first log line")

    def install(self, text: str) -> None:
        """Make it root's crontab."""
        self.run("crontab", "-", stdin=text.encode())

    def crontab(self) -> bytes:
        """Root's crontab as the spool has it, without the header that Debian writes."""
        from homelab.core.crontab.adoption import without_header

        return without_header(self.run("env", "CRONTAB_NOHEADER=N", "crontab", "-l", ok=False).stdout)

    def stop(self) -> None:
        for process in (self._daemon, self._holder):
            if process is not None:
                process.kill()
                process.wait(10)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
