"""A Postgres for tests of one file: a cluster of its own, reached through a Unix socket only."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from homelab.stack import programs


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The libpq URL of an empty database that takes connections; the cluster is gone afterwards."""
    found = programs.find()
    folder = Path(tempfile.mkdtemp(prefix="hl-pg-", dir="/tmp"))
    run: dict[str, Any] = {"env": found.environment(), "cwd": folder}
    if os.getuid() == 0:  # Postgres refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        run |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    create = [found.bin / "initdb", "-D", "data", "-U", "lab", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(create, check=True, stdout=subprocess.DEVNULL, **run)
    serve = [found.bin / "postgres", "-D", "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
    server = subprocess.Popen(serve, stderr=subprocess.DEVNULL, **run)
    url = f"postgresql://lab@/postgres?host={folder}"
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.send_signal(2)
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(400):
        assert server.poll() is None, "Postgres did not start"
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return
        time.sleep(0.05)
    raise AssertionError("Postgres does not answer")
