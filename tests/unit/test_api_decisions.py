"""The gate's decisions: hosts, origins, scopes, the passage to Prefect."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.control import questions
from homelab.control.access import allows
from homelab.control.api import auth, events, metrics
from homelab.control.api.answers import HttpError, parse
from homelab.control.api.prefect_proxy import scope_for, upstream_path
from homelab.control.passkeys import is_copied

ID = "0190a000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:4280", "localhost"),
        ("LOCALHOST.", "localhost"),
        ("[::1]:80", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("a@127.0.0.1", None),
        ("127.0.0.1/", None),
        ("", None),
        ("[::1", None),
        ("x:99999999", None),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str | None) -> None:
    assert auth.host_name(header) == name


def test_a_wildcard_address_allows_no_further_name() -> None:
    assert auth.allowed_hosts("http://0.0.0.0:1", ["mac1", ""]) == {*auth.LOOPBACK, "mac1"}


@given(st.text(max_size=40))
def test_no_other_origin_is_the_same_origin(origin: str) -> None:
    headers = {"host": "127.0.0.1:4280", "origin": origin, "sec-fetch-site": "same-origin"}
    assert auth.same_origin(headers) == (origin.lower() in ("http://127.0.0.1:4280", "https://127.0.0.1:4280"))


def test_node_stands_apart_from_the_scopes_of_people() -> None:
    order = ["read", "operate", "admin"]
    for have in order:
        assert [allows(have, need) for need in order] == [order.index(need) <= order.index(have) for need in order]
        assert not allows(have, "node")
        assert not allows("node", have)
    assert allows("node", "node")
    assert not allows("", "read")


@pytest.mark.parametrize(
    ("method", "path", "body", "scope"),
    [
        ("GET", "/api/flow_runs/" + ID, {}, "read"),
        ("POST", "/api/flow_runs/filter", {"limit": 3}, "read"),
        ("POST", "/api/logs/filter", {}, "read"),
        ("POST", "/api/events/count-by/day", {}, "read"),
        ("POST", f"/api/flow_runs/{ID}/input", {}, "admin"),
        ("POST", "/api/ui/flow_runs/history", {}, "read"),
        ("POST", f"/api/flow_runs/{ID}/set_state", {}, "operate"),
        ("POST", f"/api/deployments/{ID}/create_flow_run", {"parameters": {}, "job_variables": {}}, "operate"),
        ("POST", f"/api/deployments/{ID}/create_flow_run", {"job_variables": {"command": "x"}}, "admin"),
        ("POST", "/api/deployments/", {}, "admin"),
        ("PATCH", f"/api/deployments/{ID}", {}, "admin"),
        ("POST", "/api/block_documents/filter", {"include_secrets": True}, "admin"),
        ("POST", "/api/automations/", {}, "admin"),
        ("POST", "/api/work_pools/", {}, "admin"),
        ("DELETE", f"/api/flow_runs/{ID}", {}, "operate"),
        ("POST", "/api/admin/database/clear", {}, "admin"),
    ],
)
def test_what_a_request_to_prefect_needs(method: str, path: str, body: dict[str, object], scope: str) -> None:
    assert scope_for(method, path, body) == scope


@pytest.mark.parametrize(
    "path",
    [b"/prefect/../x", b"/prefect/%2e%2e/x", b"/prefect//x", b"/prefect/%252e", b"/prefect/a\\b", b"/prefect/%00"],
)
def test_a_path_that_leaves_prefects_tree_is_refused(path: bytes) -> None:
    with pytest.raises(HttpError):
        upstream_path(path)
    assert upstream_path(b"/prefect/api/flows/filter") == "/api/flows/filter"
    assert upstream_path(b"/prefect") == "/"


@given(st.recursive(st.integers(-(2**63), 2**63 - 1), lambda inner: st.lists(inner, max_size=3), max_leaves=20))
def test_an_ordinary_body_is_read(value: object) -> None:
    import json

    assert parse(json.dumps({"a": value}).encode()) == {"a": value}


@given(st.text(), st.text())
def test_an_event_is_one_frame_whatever_it_says(kind: str, text: str) -> None:
    frame = events.frame({"id": 7, "kind": kind, "body": {"text": text}})
    assert frame.endswith(b"\n\n")
    lines = frame[:-2].split(b"\n")
    assert [line.partition(b":")[0] for line in lines] == [b"id", b"event", b"data"]
    assert b"\r" not in frame


async def test_a_silent_stream_is_kept_alive_and_closes_its_source() -> None:
    closed: list[bool] = []

    async def source() -> AsyncIterator[dict[str, object]]:
        try:
            yield {"id": 1, "kind": "a"}
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    frames = events.frames(source(), keep_alive_s=0.01)
    seen = [await anext(frames) for _ in range(4)]
    await frames.aclose()
    assert seen[1].startswith(b"id: 1\n")
    assert seen[2:] == [b": still here\n\n"] * 2
    assert closed == [True]


@given(st.text())
def test_a_label_stays_on_its_line(name: str) -> None:
    text = metrics.text(metrics.Sample(last_success={name: 1.0}))
    line = next(part for part in text.split("\n") if part.startswith("homelab_job_last_success_timestamp_seconds{"))
    assert line.endswith('"} 1')


def machine(name: str) -> dict[str, Any]:
    amounts = {"memory_bytes": 4, "cpu": 2.0}
    one = {"name": name, "state": "asleep", "heartbeat_age_s": None, "clock_skew_s": 0.25, "holds": 3}
    return {**one, "capacity": amounts, "leased": amounts, "others": {**amounts, "made up": 1}, "free": {"cpu": 0.5}}


def test_machines_and_the_queue_are_measured() -> None:
    waits = [{"since": "2026-05-01T11:59:00Z"}, {"since": "2026-05-01T11:59:30Z"}]
    fleet = metrics.Fleet(nodes=[machine("mac4")], waiting=waits, given_up=2, now=datetime(2026, 5, 1, 12, tzinfo=UTC))
    lines = metrics.text(metrics.Sample(fleet=fleet)).splitlines()
    assert 'homelab_node_state{node="mac4",state="asleep"} 1' in lines
    assert 'homelab_node_state{node="mac4",state="ready"} 0' in lines
    assert 'homelab_node_capacity{node="mac4",resource="memory_bytes"} 4' in lines
    assert 'homelab_node_free{node="mac4",resource="cpu"} 0.5' in lines
    assert 'homelab_node_clock_skew_seconds{node="mac4"} 0.25' in lines
    assert "homelab_queue_length 2" in lines
    assert "homelab_queue_longest_wait_seconds 60" in lines
    assert "homelab_leases_given_up_last_day 2" in lines
    assert not any(line.startswith("homelab_node_heartbeat_age_seconds{") for line in lines)
    assert not any("made up" in line for line in lines)


def test_the_labels_of_machines_are_bounded() -> None:
    fleet = metrics.Fleet(nodes=[machine(f"n{number}") for number in range(2000)])
    lines = metrics.text(metrics.Sample(fleet=fleet)).splitlines()
    assert sum(line.startswith("homelab_node_work{") for line in lines) == metrics.MOST_NODES


def test_sign_ins_are_limited_for_one_caller_and_for_all() -> None:
    limit = auth.RateLimit(most=2, window_s=10)
    assert [limit.take("a", now=1.0) for _ in range(3)] == [True, True, False]
    assert limit.take("b", now=1.0)
    assert limit.take("a", now=12.0)
    assert sum(limit.take(f"c{i}", now=12.0) for i in range(50)) == 19


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_events_behind_a_gap_wait_until_it_is_filled_or_old(fresh: set[int], old: set[int]) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    ages = dict.fromkeys(fresh, 0.1) | dict.fromkeys(old, questions.GAP_S)
    rows = [{"id": number, "time": now - timedelta(seconds=ages[number])} for number in sorted(ages)]
    told = [row["id"] for row in rows[: questions.settled(0, rows, now=now)]]
    assert told == sorted(ages)[: len(told)]
    for number in told:
        assert number in old or number == 1 or number - 1 in told
    if len(told) < len(rows):
        held = sorted(ages)[len(told)]
        assert held not in old
        assert held - 1 not in {0, *told}


def test_a_counter_that_stands_still_or_goes_back_tells_of_a_copy() -> None:
    assert [is_copied(*pair) for pair in ((0, 0), (0, 1), (5, 6), (5, 5), (5, 4), (5, 0))] == [
        False, False, False, True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "due", "started", "said"),
    [
        ("pending", None, None, "(0190a000) has not begun: it is pending on mac3"),
        ("scheduled", "2026-05-01T11:00:00Z", None,
         "(0190a000, due 2026-05-01T11:00:00Z) has not begun: it is scheduled on mac3"),
        ("running", None, "2026-05-01T11:00:01Z", "(0190a000, 2026-05-01T11:00:01Z) is running on mac3"),
        ("missed", "2026-05-01T11:00:00Z", None, "(0190a000, 2026-05-01T11:00:00Z) is missed on mac3"),
    ],
)  # fmt: skip
def test_of_a_last_run_that_has_not_begun_that_is_said_and_when_it_is_due(
    state: str, due: str | None, started: str | None, said: str
) -> None:
    row = {"id": ID, "state": state, "due": due, "started": started, "ended": None, "node": "mac3", "reason": ""}
    assert questions.last_words(row, None) == f"its last run {said}"
