"""The installed command against an API that answers as control does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HOMELAB = Path(sys.executable).with_name("homelab")
ROWS = [
    {"id": 3, "state": "queued", "error": "no route", "target": "json://nas/", "title": "homelab: a\x1b[2J failed"},
    {"id": 2, "state": "failed", "error": "gone", "target": "env:NTFY", "title": "homelab: b failed"},
    {"id": 1, "state": "sent", "error": "", "target": "env:NTFY", "title": "homelab: c failed"},
]


class Api:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.results: list[dict[str, Any]] = []
        self.url = ""

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOMELAB_URL": self.url, "HOMELAB_TOKEN": "t", "NO_COLOR": "1"}
        return subprocess.run([HOMELAB, "notify", *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            rows = [{"created": "2026-03-01T02:00:00Z", "kind": "failed", **row} for row in ROWS]
            self.reply(200, {"notifications": rows})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.reply(202, {"notifications": state.results})

        def reply(self, status: int, body: object) -> None:
            state.asked.append(f"{self.command} {self.path}")
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


def test_ls_lists_what_was_told_to_whom_without_obeying_it(api: Api) -> None:
    done = api.command("ls")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    assert "json://nas/" in done.stdout and "no route" in done.stdout and "\x1b" not in done.stdout
    assert [one["id"] for one in json.loads(api.command("ls", "--json").stdout)["notifications"]] == [3, 2, 1]
    assert api.asked[0] == "GET /api/v1/notifications?limit=50"


def test_ls_failed_lists_what_was_not_delivered(api: Api) -> None:
    found = json.loads(api.command("ls", "--failed", "--json").stdout)["notifications"]
    assert [one["id"] for one in found] == [3, 2]


def test_the_exit_status_of_a_test_says_whether_every_target_took_it(api: Api) -> None:
    api.results = [{"target": "env:A", "ok": True, "error": ""}]
    assert api.command("test").returncode == 0
    api.results.append({"target": "env:B", "ok": False, "error": "refused"})
    done = api.command("test")
    assert done.returncode == 1 and "env:B\tnot sent\trefused" in done.stdout
    api.results = []
    assert api.command("test").returncode == 3
