"""Whom the mesh vouches for: what a header claims, whose a connection is, what the daemon's answer says."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.mesh import identity

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:10B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 40121 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:10B8 01 00000000:00000000 00:00000000 00000000     0        0 40122 1 0 20 4 30 10 -1
   2: 0100007F:10B8 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 40123 1 0 20 4 30 10 -1
   3: 0100007F:C351 0100007F:10B8 01 00000000:00000000 00:00000000 00000000  1001        0 40124 1 0 20 4 30 10 -1
"""
TABLE6 = """  sl  local_address                 remote_address                st  queue  tr  retrnsmt uid
   0: 00000000000000000000000001000000:C350 00000000000000000000000001000000:10B8 01 0:0 00:0 0 0 0 1 1
   1: 0000000000000000FFFF00000100007F:C352 0000000000000000FFFF00000100007F:10B8 01 0:0 00:0 0 1002 0 1 1
"""
MINE = ("127.0.0.1", 4280)
WHOIS = {
    "Node": {"ID": 1234567890, "StableID": "n1", "Name": "laptop.tail0000.ts.net.", "User": 12345, "Key": "nodekey:00"},
    "UserProfile": {"ID": 12345, "LoginName": "anna@example.com", "DisplayName": "Anna"},
    "CapMap": None,
}


def test_the_owner_of_the_other_end_is_read_from_the_table_of_connections() -> None:
    assert identity.owner(TABLE, ("127.0.0.1", 50000), MINE) == 0
    assert identity.owner(TABLE, ("127.0.0.1", 50001), MINE) == 1001
    assert identity.owner(TABLE, ("127.0.0.1", 50002), MINE) is None
    assert identity.owner(TABLE6, ("::1", 50000), ("::1", 4280)) == 0
    assert identity.owner(TABLE6, ("127.0.0.1", 50002), MINE) == 1002


@given(st.text())
def test_a_table_of_anything_names_nobody(text: str) -> None:
    assert identity.owner(f"header\n{text}", ("127.0.0.1", 50000), MINE) is None


@pytest.mark.parametrize(
    ("login", "address"),
    [
        ("", "100.64.0.7"),
        ("anna@example.com", ""),
        ("anna@example.com", "127.0.0.1"),
        ("anna@example.com", "192.168.1.2"),
        ("anna@example.com", "100.64.0.7, 100.64.0.8"),
        ("anna@example.com", "100.64.0.7:80"),
        ("anna@example.com\n", "100.64.0.7"),
        ("ännä@example.com", "100.64.0.7"),
        ("a" * 300, "100.64.0.7"),
    ],
)
def test_a_claim_without_a_login_and_one_address_of_the_mesh_is_none(login: str, address: str) -> None:
    assert identity.claim({"tailscale-user-login": login, "x-forwarded-for": address}) is None


def test_a_claim_names_login_and_address() -> None:
    for address in ("100.101.102.103", "fd7a:115c:a1e0::1234"):
        found = identity.claim({"tailscale-user-login": "anna@example.com", "x-forwarded-for": address})
        assert found == identity.Claim(login="anna@example.com", address=address)


def test_a_device_that_is_no_persons_has_no_login() -> None:
    assert identity.login_of(WHOIS) == "anna@example.com"
    tagged = {**WHOIS, "Node": {**WHOIS["Node"], "Tags": ["tag:server"]}}
    for answer in (tagged, {}, [], None, {"Node": {}, "UserProfile": {"LoginName": "tagged-devices"}}, {"Node": 1}):
        assert identity.login_of(answer) is None


def test_only_this_machine_can_be_the_mesh() -> None:
    assert not identity.is_trusted_peer(("100.64.0.7", 1), MINE)
    assert not identity.is_trusted_peer(("", 1), MINE)
    assert not identity.is_trusted_peer(("127.0.0.1", 1), ("127.0.0.1", os.getpid() % 100 + 1))
