"""Others on the network, and pages of other origins in the browser: a real lab gives them nothing and does nothing.

Where the machine permits it, the lab is in a network namespace and the stranger in another, with a cable between them.
"""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest
from tests.lab import Lab, until
from tests.network import Network, why_not


@pytest.fixture(scope="module")
def network() -> Iterator[Network | None]:
    if why_not():
        yield None
        return
    with contextlib.closing(Network()) as network:
        network.add("stranger")
        yield network


@pytest.fixture(scope="module")
def lab(network: Network | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("strangers"))
    if network is not None:
        lab.move_into(network, "lab")
    try:
        lab.up(text_of(lab))
        if network is not None and (outside := lab.folder_outside()) is not None:
            network.remove_at_end(outside)
        yield lab
    finally:
        lab.down()


@pytest.fixture
def stranger(network: Network | None) -> Network:
    """The network with the machine `stranger`."""
    if network is None:
        pytest.skip(why_not())
    return network


def text_of(lab: Lab, more: str = "") -> str:
    return f'[lab]\nname = "strangers"\ntimezone = "UTC"\n{more}[jobs.target]\nrun = """{lab.mark("ran")}"""\n'


def url(lab: Lab, name: str) -> str:
    return str(json.loads((lab.home / "run/endpoints.json").read_text())[name])


@pytest.fixture(autouse=True)
def where_the_lab_is(lab: Lab) -> Iterator[None]:
    """What a test asks is asked on the lab's own machine, unless it says otherwise."""
    with lab.inside():
        yield


def asked(
    address: str, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """By somebody who believes any certificate."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=20, context=anybody
        )
    else:
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


def open_ports(address: str) -> list[int]:
    """Of all there are, tried one after the other from where the thread is."""
    found: list[int] = []
    for port in range(1, 65536):
        with socket.socket() as one:
            one.settimeout(2)
            if one.connect_ex((address, port)) == 0:
                found.append(port)
    return found


def documented_routes(lab: Lab) -> list[tuple[str, str]]:
    token = (lab.home / "secrets/token-admin").read_text().strip()
    answer = asked(url(lab, "control"), "GET", "/api/v1/openapi.json", {"Authorization": f"Bearer {token}"})
    paths = json.loads(answer[1])["paths"]
    return [(method.upper(), path.replace("{name}", "target")) for path, methods in paths.items() for method in methods]


def test_from_another_machine_no_port_of_a_default_lab_is_open(lab: Lab, stranger: Network) -> None:
    places = listening(lab)
    assert places
    with stranger.inside("stranger"):
        assert open_ports(stranger.address("lab")) == []
        for _, port in places:  # nor is the lab's loopback reached by asking for it over the cable
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), 2)


def test_another_address_of_this_machine_answers_nothing(lab: Lab) -> None:
    own = {a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET}
    for address in own - {"127.0.0.1"}:
        for _, port in listening(lab):
            with pytest.raises(OSError):
                socket.create_connection((address, port), timeout=2).close()


def test_without_credentials_nothing_is_told_and_nothing_runs(lab: Lab) -> None:
    control = url(lab, "control")
    for method, path in documented_routes(lab):
        status, _, _ = asked(control, method, path)
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


def test_of_a_lab_with_nodes_another_machine_reaches_one_port_and_nothing_behind_it(
    lab: Lab, stranger: Network
) -> None:
    address = stranger.address("lab")
    routes = documented_routes(lab)
    admin = (lab.home / "secrets/token-admin").read_text().strip()
    lab.write(text_of(lab, f'[control]\nnodes = "{address}"\n'))
    lab.homelab("apply", "--yes")
    given = lab.json("node", "token", "two")["url"]
    port = urlsplit(given).port or 0
    assert urlsplit(given).hostname == address
    until(lambda: (address, port) in listening(lab) or None, timeout=20, what="the port to open")
    with stranger.inside("stranger"):
        assert open_ports(address) == [port]
        with pytest.raises((OSError, http.client.HTTPException)):
            asked(f"http://{address}:{port}", "GET", "/")
        for credential in ({}, {"Authorization": "Bearer forged"}, {"Authorization": f"Bearer {admin}"}):
            for method, path in routes:
                body = "{}" if method in ("POST", "PUT") else None
                status, told, _ = asked(given, method, path, {"Content-Type": "application/json", **credential}, body)
                # Who wants to join may ask for the authority; the secret of a token lets in, and this is none.
                assert status in (401, 404, 405) or path.startswith("/api/v1/node/"), (method, path, status)
                assert b"target" not in told.replace(path.encode(), b""), (method, path)
        for method, path in (
            ("GET", "/"), ("GET", "/jobs/target"), ("GET", "/metrics"), ("POST", "/jobs/target/run"),
            ("POST", "/prefect/api/flow_runs/filter"), ("POST", "/prefect/api/deployments/"), ("GET", "/prefect/"),
        ):  # fmt: skip
            assert asked(given, method, path)[0] in (401, 404, 405), (method, path)
    assert lab.words("target") == []
    assert lab.json("run", "ls", "--job", "target")["runs"] == []
