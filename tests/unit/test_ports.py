"""Which port a service listens on."""

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
