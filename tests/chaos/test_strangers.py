"""Others on the network, and pages of other origins in the browser: a real lab gives them nothing and does nothing."""

import http.client
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest
from tests.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("strangers"))
    lab.up(f'[lab]\nname = "strangers"\ntimezone = "UTC"\n[jobs.target]\nrun = """{lab.mark("ran")}"""\n')
    yield lab
    lab.down()


def url(lab: Lab, name: str) -> str:
    return str(json.loads((lab.home / "run/endpoints.json").read_text())[name])


def asked(
    address: str, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
) -> tuple[int, bytes, dict[str, str]]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    found = answer.status, answer.read(2_000_000), {k.lower(): v for k, v in answer.getheaders()}
    connection.close()
    return found


def listening(lab: Lab) -> set[tuple[str, int]]:
    """Addresses and ports on which processes of this home take connections."""
    found: set[tuple[str, int]] = set()
    for process in psutil.process_iter(["pid", "environ"]):
        if (process.info["environ"] or {}).get("HOMELAB_HOME") == str(lab.home):
            for member in [process, *process.children(recursive=True)]:
                places = member.net_connections(kind="tcp")
                found |= {(c.laddr.ip, c.laddr.port) for c in places if c.status == psutil.CONN_LISTEN}
    return found


def test_every_port_of_a_default_lab_is_on_loopback_and_documented(lab: Lab) -> None:
    places = listening(lab)
    assert {ip for ip, _ in places} <= {"127.0.0.1", "::1"}
    documented = {
        urlsplit(address).port for address in json.loads((lab.home / "run/endpoints.json").read_text()).values()
    }
    assert {port for _, port in places} <= documented
    assert urlsplit(url(lab, "control")).port in {port for _, port in places}


def test_another_address_of_this_machine_answers_nothing(lab: Lab) -> None:
    own = {a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET}
    for address in own - {"127.0.0.1"}:
        for _, port in listening(lab):
            with pytest.raises(OSError):
                socket.create_connection((address, port), timeout=2).close()


def test_without_credentials_nothing_is_told_and_nothing_runs(lab: Lab) -> None:
    token = (lab.home / "secrets/token-admin").read_text().strip()
    control = url(lab, "control")
    document = json.loads(asked(control, "GET", "/api/v1/openapi.json", {"Authorization": f"Bearer {token}"})[1])
    for path, methods in document["paths"].items():
        for method in methods:
            status, _, _ = asked(control, method.upper(), path.replace("{name}", "target"))
            # Signing in with a passkey is open to pages of the lab, which this is none of.
            open_ = {"/healthz": 200, "/readyz": 200}.get(path, 403 if "/sign-in/" in path else 401)
            assert status == open_, (method, path)
    for path in ("/", "/prefect/", "/prefect/api/flows/filter", "/metrics"):
        assert asked(control, "GET", path)[0] == 401
    prefect = url(lab, "prefect").removesuffix("/api")
    for method, path in (
        ("GET", "/api/admin/version"),
        ("POST", "/api/flow_runs/filter"),
        ("POST", "/api/deployments/"),
    ):
        assert asked(prefect, method, path, {"Content-Type": "application/json"}, "{}")[0] == 401
    assert lab.words("target") == []


def test_a_rebound_name_and_a_foreign_page_are_refused_without_effect(lab: Lab) -> None:
    control = url(lab, "control")
    link = lab.homelab("open").stdout.strip()
    status, _, headers = asked(
        control,
        "POST",
        "/sign-in",
        {"Content-Type": "application/x-www-form-urlencoded", "Origin": control},
        "token=" + link.partition("token=")[2],
    )
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    assert asked(control, "GET", "/", {"Cookie": cookie})[0] == 200
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "https://evil.example", "X-Homelab": "1"},
        {"Origin": "null", "X-Homelab": "1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
        {},
    ):
        status, _, answered = asked(
            control,
            "POST",
            "/api/v1/jobs/target/run",
            {"Cookie": cookie, "Content-Type": "application/json", **headers},
            "{}",
        )
        assert status in (403, 421), headers
        assert "access-control-allow-origin" not in answered
    assert lab.words("target") == []
    assert lab.json("run", "ls", "--job", "target")["runs"] == []
