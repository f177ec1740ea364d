"""The place that alerts go to refuses, hangs, recovers: nothing waits for it, nothing is lost, and it is seen."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.lab import Lab, until


class Endpoint:
    """A webhook that can be told how to behave: a status, or `hang`."""

    def __init__(self) -> None:
        self.status = 500
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if outer.status == 200:
                    outer.bodies.append(json.loads(body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


@pytest.fixture(scope="module")
def lab(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("alerts"))
    jobs = "\n".join(f"[jobs.fails-{n}]\nrun = 'echo cause {n}; exit {n + 1}'" for n in range(4))
    lab.up(f'[lab]\nname = "alerts"\ntimezone = "UTC"\n[notify]\nurls = ["{endpoint.url}"]\n{jobs}')
    yield lab
    lab.down()


def test_alerts_wait_for_an_endpoint_that_fails_and_arrive_when_it_recovers(lab: Lab, endpoint: Endpoint) -> None:
    for number in range(4):
        lab.homelab("job", "run", f"fails-{number}", "--wait", ok=(1,), timeout=20)

    def troubled() -> bool:
        return any(n.get("error") for n in lab.json("notify", "ls")["notifications"])

    until(troubled, timeout=60, what=lambda: str(lab.json("notify", "ls")))
    endpoint.status = 200

    def told() -> str:
        return json.dumps(endpoint.bodies)

    until(lambda: all(f"fails-{n}" in told() for n in range(4)), timeout=150, what=told)
    assert "cause 0" in told()
    assert "/runs/" in told()
