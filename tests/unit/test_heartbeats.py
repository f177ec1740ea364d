"""What control reads in a heartbeat: of any version of a worker, and from one that tells nonsense."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homelab.control import heartbeats
from homelab.core.capacity import CPU, MEMORY, SLOTS, Capacity
from homelab.core.errors import InputError
from homelab.core.jobs import Job
from homelab.core.placement import Model

OLD = {"worker": "w", "node": "mac4", "pid": 1, "started": "2026-01-01T00:00:00Z", "slots": 20, "running": []}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_worker_of_an_older_version_is_known_by_its_slots_alone() -> None:
    told = heartbeats.read(OLD, None)
    assert told.beat.measured == Capacity(amounts={SLOTS: 20_000}) and told.beat.used == {}
    assert told.clock is None and heartbeats.skew_s(told, database=NOW, since_s=0.0) is None


def test_slots_are_the_lab_files_where_it_names_the_node() -> None:
    assert SLOTS not in heartbeats.read(OLD, Capacity(amounts={SLOTS: 64_000})).beat.measured.amounts


def test_everything_that_is_told_is_read() -> None:
    body = {
        **OLD,
        "measured": {"amounts": {CPU: 8000, MEMORY: 1 << 36}, "gpus": [1 << 34, 1 << 33], "models": ["llama3:70b"]},
        "used": {CPU: 500},
        "models": [{"name": "llama3:70b", "gpu_memory": 1 << 33, "device": 1}],
        "apps": {"photoshop": 1, "blender": 0},
        "power": {"source": "battery", "level": 0.5},
        "labels": {"os": "macos"},
        "asleep": True,
        "version": "0.2.0",
    }
    beat = heartbeats.read(body, None).beat
    assert beat.measured.amounts == {
        CPU: 8000, MEMORY: 1 << 36, "app:photoshop": 1000, "app:blender": 0, SLOTS: 20_000,
    }  # fmt: skip
    assert beat.measured.gpus == (1 << 34, 1 << 33) and beat.measured.models == ("llama3:70b",)
    assert beat.models == (Model(name="llama3:70b", gpu_memory=1 << 33, device=1),)
    assert beat.sensed == {"power": {"source": "battery", "level": 0.5}, "labels": {"os": "macos"}}
    assert (beat.asleep, beat.version, beat.used) == (True, "0.2.0", {CPU: 500})


def test_an_application_that_the_lab_file_declares_is_not_denied_by_a_sensor_that_did_not_find_it() -> None:
    body = {**OLD, "apps": {"photoshop": 0, "blender": 0}}
    amounts = heartbeats.read(body, Capacity(amounts={"app:photoshop": 2000})).beat.measured.amounts
    assert amounts == {"app:blender": 0}


@pytest.mark.parametrize(
    "field",
    [
        {"measured": []},
        {"measured": {"amounts": {CPU: -1}}},
        {"measured": {"amounts": {CPU: 1.5}}},
        {"measured": {"amounts": {CPU: True}}},
        {"measured": {"amounts": {"": 1}}},
        {"measured": {"amounts": {"x" * 201: 1}}},
        {"measured": {"amounts": {str(n): n for n in range(501)}}},
        {"measured": {"gpus": [1 << 63]}},
        {"measured": {"models": "llama"}},
        {"used": {MEMORY: "much"}},
        {"models": ["llama"]},
        {"models": [{"name": "x", "gpu_memory": None}]},
        {"apps": ["photoshop"]},
        {"labels": "os"},
        {"power": 5},
        {"clock": "now"},
        {"clock": "2026-01-01T00:00:00"},
        {"rtt_s": -1},
        {"rtt_s": float("nan")},
        {"slots": "x"},
        {"leaving": True, "unbegun": ["run"]},
        {"leaving": True, "unbegun": {"run": "soon"}},
        {"leaving": True, "unbegun": {"run": "2026-01-01T00:00:00"}},
        {"leaving": True, "unbegun": {"": "2026-01-01T00:00:00Z"}},
        {"leaving": True, "unbegun": {str(n): "2026-01-01T00:00:00Z" for n in range(501)}},
    ],
)
def test_nonsense_is_refused_and_says_where(field: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="heartbeat"):
        heartbeats.read({**OLD, **field}, None)


def test_a_worker_that_stops_names_the_runs_that_it_leaves_and_no_other_does() -> None:
    said = {"unbegun": {"run": "2026-01-01T00:01:00Z"}}
    told = heartbeats.read({**OLD, **said, "leaving": True}, None)
    assert (told.beat.leaves, told.unbegun) == (True, {"run": NOW + timedelta(minutes=1)})
    told = heartbeats.read({**OLD, **said}, None)
    assert (told.beat.leaves, told.unbegun) == (False, {})
    workers = {
        heartbeats.read({**OLD, **other}, None).beat.worker
        for other in ({}, {"pid": 2}, {"started": "2026-01-01T00:00:01Z"}, {"leaving": True})
    }
    assert len(workers) == 3, "a worker is known by its process"


def test_the_clock_of_a_node_is_compared_when_it_was_read_not_when_it_arrived() -> None:
    told = heartbeats.read({**OLD, "clock": "2026-01-01T00:00:07Z", "rtt_s": 0.4}, None)
    # Sent at 07, 0.2 s on its way, 0.3 s before the database was asked, whose clock said 00.5: it is 7 s ahead.
    skew = heartbeats.skew_s(told, database=NOW + timedelta(seconds=0.5), since_s=0.3)
    assert skew == pytest.approx(7.0)


def test_one_heartbeat_that_was_held_up_is_no_wrong_clock_and_three_are() -> None:
    clocks = heartbeats.Clocks()
    assert clocks.heard("mac4", 0.01) == 0.01
    assert clocks.heard("mac4", -9.0) == 0.01
    assert clocks.heard("mac4", 0.02) == 0.01
    assert [clocks.heard("mac4", 7.0) for _ in range(3)] == [0.02, 0.02, 7.0]
    assert clocks.heard("mac3", -6.5) == -6.5


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=9))
def test_the_skew_that_is_told_was_seen(samples: list[float]) -> None:
    clocks = heartbeats.Clocks()
    told = [clocks.heard("n", sample) for sample in samples]
    assert told[-1] in samples[-heartbeats.SAMPLES :]


def test_a_node_looks_for_what_jobs_ask_for_and_what_it_is_said_to_have() -> None:
    jobs = [
        Job(name="a", requires={"disk": {"/data/": "1GiB"}, "apps": ["photoshop"], "cpu": 1}),
        Job(name="b"),
        Job(name="c", requires={"disk": {"/data": "2GiB"}}),
    ]
    declared = Capacity(amounts={"disk:/fast": 5, "app:blender": 1000, CPU: 1000})
    assert heartbeats.to_sense(heartbeats.asked(jobs), declared) == {
        "disks": ["/data", "/fast"],
        "apps": ["blender", "photoshop"],
    }
