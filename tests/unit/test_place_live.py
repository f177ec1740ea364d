"""What a running lab tells `homelab place`: states of nodes, and what running jobs hold."""

from homelab.cli.place import live
from homelab.core.labfile import parse
from homelab.core.labfile.fleet import fleet_of
from homelab.core.placement import Rejection, Snapshot, place, render, request_of

LAB = """
[nodes.mac4]
capacity = { cpu = 10, memory = "64GiB" }
[jobs.train]
run = "true"
requires = { memory = "40GiB" }
"""
TOLD = [
    {"name": "mac4", "state": "ready", "slots": 20, "running": [{"run": "1", "flow": "train", "jobs": ["train"]}]},
    {"name": "elsewhere", "state": "ready", "slots": 3, "running": []},
]


def test_a_running_job_holds_what_it_requires() -> None:
    lab, _ = parse({"lab.toml": LAB}, main="lab.toml")
    assert lab is not None
    fleet = {node.name: node for node in fleet_of(lab.nodes, concurrency=20)}
    nodes, leases = live(lab, fleet, TOLD)
    found = place(request_of(lab.job("train"), identity="2", submitted=0.0), Snapshot.of(nodes, leases), 0.0)
    assert isinstance(found, Rejection)
    assert [render(r) for r in found.reasons["mac4"]] == [
        "mac4: 24 GiB memory free of 40 GiB asked; train holds 40 GiB"
    ]


def test_of_a_node_that_no_file_declares_only_slots_are_known() -> None:
    lab, _ = parse({"lab.toml": "[jobs.a]\nrun = 'true'\n"}, main="lab.toml")
    assert lab is not None
    nodes, _ = live(lab, {}, TOLD)
    assert [(n.name, dict(n.declared.amounts)) for n in nodes] == [
        ("mac4", {"slots": 20000}),
        ("elsewhere", {"slots": 3000}),
    ]


def test_a_node_that_is_silent_takes_nothing() -> None:
    lab, _ = parse({"lab.toml": LAB}, main="lab.toml")
    assert lab is not None
    fleet = {node.name: node for node in fleet_of(lab.nodes, concurrency=20)}
    nodes, _ = live(lab, fleet, [{**TOLD[0], "state": "unreachable", "running": []}])
    found = place(request_of(lab.job("train"), identity="2", submitted=0.0), Snapshot.of(nodes), 0.0)
    assert isinstance(found, Rejection) and render(found.reasons["mac4"][0]) == "mac4: it is unreachable"
