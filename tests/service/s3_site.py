"""A real store that speaks S3 and checks keys: SeaweedFS on free ports of loopback, in a folder of its own."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WEED = Path(sys.executable).with_name("weed")
KEY, SECRET = "AKlab", "SKlab-secret-of-the-lab"


@dataclass
class S3:
    url: str
    process: "subprocess.Popen[bytes]"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[S3]:
    """It takes `KEY` with `SECRET`, and makes a bucket when something is put into it."""
    config = folder / "keys.json"
    actions = ["Admin", "Read", "Write", "List"]
    config.write_text(
        json.dumps(
            {
                "identities": [
                    {"name": "lab", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
                ]
            }
        )
    )
    data = folder / "data"
    data.mkdir()
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = free_ports(len(names) + 2)
    command = [
        WEED, "-logtostderr", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20", "-s3.iam=false",
        f"-s3.config={config}", f"-s3.port={ports[0]}", f"-s3.port.grpc={ports[1]}",
        *(f"-{name}={port}" for name, port in zip(names, ports[2:], strict=True)),
    ]  # fmt: skip
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{ports[0]}"
        _wait_for(url, process, folder / "weed.log")
        yield S3(url, process)
    finally:
        process.kill()  # nothing of it is needed, and its orderly end takes ten seconds
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(url, timeout=2)
        except urllib.error.HTTPError:
            return  # it refuses us: it is there
        except OSError:
            time.sleep(0.1)
        else:
            return
