"""Which port a service listens on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from homelab.core.errors import RefusedError
from homelab.home.paths import Home
from homelab.stack import ports


def test_two_labs_that_start_at_once_never_choose_the_same_port(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name).ensure() for name in ("one", "two", "three")]
    chosen = [ports.choose(home, service, "auto") for home in homes for service in ("control", "prefect")]
    assert len(set(chosen)) == len(chosen)
    again = [ports.choose(home, service, "auto") for home in homes for service in ("control", "prefect")]
    assert again == chosen, "a home keeps its ports"


def test_a_port_that_another_lab_has_chosen_is_refused_before_anything_listens_there(tmp_path: Path) -> None:
    first, second = Home(tmp_path / "one").ensure(), Home(tmp_path / "two").ensure()
    port = ports.choose(first, "control", "auto")
    with pytest.raises(RefusedError, match=f"port {port} for control is taken by another lab"):
        ports.choose(second, "control", port)


def test_in_another_network_the_same_port_is_another_one(tmp_path: Path) -> None:
    port = ports.choose(Home(tmp_path / "one").ensure(), "nodes", "auto")
    code = (
        "import pathlib, sys; from homelab.home.paths import Home; from homelab.stack import ports\n"
        "print(ports.choose(Home(pathlib.Path(sys.argv[1])).ensure(), 'nodes', int(sys.argv[2]), host='0.0.0.0'))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "two"), str(port)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    if shutil.which("unshare") is None:
        pytest.skip("no network namespaces here")
    elsewhere = subprocess.run(["unshare", "-n", *command], capture_output=True, text=True, check=False)
    if "unshare" in elsewhere.stderr:
        pytest.skip(f"no network namespaces: {elsewhere.stderr.strip()}")
    assert elsewhere.stdout == f"{port}\n", elsewhere.stderr
