"""`homelab place` as a person calls it, on the nodes that a lab file declares."""

import json
from pathlib import Path
from typing import Any

from tests.acceptance.test_check_cli import homelab

LAB = """
[lab]
name = "three"
[nodes.mac1]
capacity = { cpu = 8, memory = "16GiB" }
[nodes.mac4]
labels = { zone = "attic" }
capacity = { cpu = 10, memory = "64GiB", gpu_memory = "48GiB", unified_memory = true }
[jobs.train]
run = "true"
requires = { gpu_memory = "40GiB" }
"""


def asked(here: Path, *options: str) -> tuple[int, dict[str, Any]]:
    (here / "lab.toml").write_text(LAB)
    done = homelab(here, "place", *options, "--json")
    return done.returncode, json.loads(done.stdout)


def test_the_best_node_is_named_with_its_reasons(tmp_path: Path) -> None:
    status, answer = asked(tmp_path, "--requires", "gpu_memory=12GiB,cpu=2", "--label", "zone=attic")
    assert status == 0
    assert answer["placement"]["node"] == "mac4"
    assert "mac4: 48 GiB GPU memory free of 12 GiB asked" in answer["placement"]["reasons"]


def test_a_rejection_has_a_reason_for_each_node_and_leaves_with_1(tmp_path: Path) -> None:
    status, answer = asked(tmp_path, "--requires", "memory=100GiB")
    assert status == 1
    assert [(r["node"], r["code"], r["reason"]) for r in answer["rejections"]] == [
        ("mac1", "too-small", "mac1: it has 16 GiB memory; 100 GiB is asked"),
        ("mac4", "too-small", "mac4: it has 64 GiB memory; 100 GiB is asked"),
    ]


def test_a_job_of_the_lab_file_is_asked_about_by_name(tmp_path: Path) -> None:
    assert asked(tmp_path, "--job", "train")[1]["placement"]["node"] == "mac4"


def test_what_cannot_be_read_leaves_with_2_and_no_nodes_with_3(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(LAB)
    wrong = homelab(tmp_path, "place", "--requires", "memory=lots")
    assert wrong.returncode == 2 and "this is not a size" in wrong.stderr
    (tmp_path / "lab.toml").write_text('[jobs.a]\nrun = "true"\n')
    none = homelab(tmp_path, "place", "--requires", "cpu=1")
    assert none.returncode == 3 and "[nodes.NAME]" in none.stderr
