"""The supervisor's decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.core.errors import InputError
from homelab.stack.plan import BACKOFF_MOST_S, Service, backoff_s, is_crash_loop, start_order
from homelab.stack.units import launchd, systemd


def test_services_start_after_those_they_need() -> None:
    services = [Service(name="worker", needs=("control",)), Service(name="db"), Service(name="control", needs=("db",))]
    assert [s.name for s in start_order(services)] == ["db", "control", "worker"]


def test_a_circle_and_a_missing_need_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="a, b"):
        start_order([Service(name="a", needs=("b",)), Service(name="b", needs=("a",))])
    with pytest.raises(InputError, match="'nothing'"):
        start_order([Service(name="a", needs=("nothing",))])


@given(exits=st.integers(1, 60), chance=st.floats(0, 1))
def test_pauses_grow_and_stay_bounded(exits: int, chance: float) -> None:
    pause = backoff_s(exits, chance=chance)
    assert 0 < pause <= BACKOFF_MOST_S
    assert backoff_s(exits + 1, chance=0) >= backoff_s(exits, chance=0)


def test_five_exits_within_two_minutes_are_a_loop() -> None:
    assert is_crash_loop([0, 10, 20, 30, 40], now=41)
    assert not is_crash_loop([0, 10, 20, 30], now=31)
    assert not is_crash_loop([0, 200, 400, 600, 800], now=801)


def test_the_units_quote_what_is_in_them_and_leave_children_alone() -> None:
    unit = systemd(["/opt/a b/python", "-m", "homelab", "up"], home="/srv/100%", lab_file=None, user="me")
    assert '"/opt/a b/python"' in unit
    assert "HOMELAB_HOME=/srv/100%%" in unit
    assert "KillMode=process" in unit
    assert "AbandonProcessGroup" in launchd(["x"], home="/h", lab_file="/l", user=None)
