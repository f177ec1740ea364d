"""How a sleeping machine is woken: its address, the message, how often it is asked."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.control import waking
from homelab.control.waking import AFRESH_S, BETWEEN_S, MOST_TRIES, Tries
from homelab.core.labfile import parse
from homelab.core.labfile.waking import Wake, wake_of

MAC = bytes.fromhex("aabbccddee0f")


def test_the_message_is_six_times_ff_and_sixteen_times_the_address() -> None:
    packet = Wake(mac=MAC).packet
    assert len(packet) == 102 and packet[:6] == b"\xff" * 6
    assert [packet[n : n + 6] for n in range(6, 102, 6)] == [MAC] * 16


@pytest.mark.parametrize(
    ("text", "wake"),
    [
        ("aa:bb:cc:dd:ee:0f", Wake(mac=MAC)),
        ("AA-BB-CC-DD-EE-0F", Wake(mac=MAC)),
        ("aa:bb:cc:dd:ee:0f@192.168.1.255", Wake(mac=MAC, host="192.168.1.255")),
        ("aa:bb:cc:dd:ee:0f@192.168.1.255:7", Wake(mac=MAC, host="192.168.1.255", port=7)),
        ("aa:bb:cc:dd:ee", None),
        ("aa:bb-cc:dd:ee:0f", None),
        ("aabbccddee0f", None),
        ("aa:bb:cc:dd:ee:0g", None),
        ("aa:bb:cc:dd:ee:0f@mac4.lan", None),
        ("aa:bb:cc:dd:ee:0f@1.2.3", None),
        ("aa:bb:cc:dd:ee:0f@1.2.3.4:0", None),
        ("aa:bb:cc:dd:ee:0f@1.2.3.4:65536", None),
        ("aa:bb:cc:dd:ee:0f\n", None),
        ("", None),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, wake: Wake | None) -> None:
    assert wake_of(text) == wake


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = wake_of(text)
    assert found is None or len(found.packet) == 102


def test_the_lab_file_says_that_a_machine_sleeps_and_how_it_is_woken() -> None:
    lab, _ = parse({"lab.toml": '[nodes.air]\nsleeps = true\nwake = "aa:bb:cc:dd:ee:0f"\n'}, main="lab.toml")
    assert lab is not None and (lab.nodes[0].sleeps, lab.nodes[0].wake) == (True, "aa:bb:cc:dd:ee:0f")
    _, (problem,) = parse({"lab.toml": '[nodes.air]\nwake = "air.lan"\n'}, main="lab.toml")
    assert (problem.line, problem.severity) == (2, "error")
    assert problem.message == "'air.lan' is not the MAC address of a network card"


def test_a_machine_is_asked_some_times_with_time_between_and_then_no_more_for_a_while() -> None:
    tries, sent, now = Tries(), list[float](), 1000.0
    for _ in range(600):
        if waking.step(tries, now) == "send":
            tries = waking.after(tries, now)
            sent.append(now)
        now += 1.0
    assert len(sent) == MOST_TRIES and sent[0] == 1000.0
    assert all(b - a == BETWEEN_S for a, b in itertools.pairwise(sent))
    assert waking.step(tries, now) == "give_up"
    assert waking.step(tries, sent[-1] + AFRESH_S) == "send"


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=80))
def test_no_more_messages_are_sent_than_that_whenever_it_is_asked(gaps: list[float]) -> None:
    tries, now, sent = Tries(), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if waking.step(tries, now) == "send":
            tries = waking.after(tries, now)
            sent.append(now)
    for at in sent:
        assert len([s for s in sent if at <= s < at + AFRESH_S]) <= MOST_TRIES + 1
    assert all(b - a >= BETWEEN_S for a, b in itertools.pairwise(sent))


def test_the_networks_of_this_machine_are_told() -> None:
    assert waking.broadcasts()[-1] == "255.255.255.255"
