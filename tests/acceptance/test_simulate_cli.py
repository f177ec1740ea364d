"""`homelab simulate` as a person calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.acceptance.test_check_cli import homelab
from tests.acceptance.test_place_cli import LAB

HOMELAB = Path(sys.executable).with_name("homelab")
JOBS = """
[jobs.fetch]
schedule = "*/5 * * * *"
run = "true"
requires = { cpu = 2 }
[jobs.index]
needs = ["fetch"]
run = "true"
"""


def test_the_jobs_of_a_lab_are_simulated_with_and_without_one_more_node(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(LAB + JOBS)
    done = homelab(
        tmp_path, "simulate", "--days", "0.2", "--scale", "20", "--add-node", "mac5: cpu=8,memory=32GiB",
        "--html", "r.html", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert [p["policy"] for p in body["policies"]] == ["placement", "first-come", "least-loaded", "round-robin"]
    placement = body["policies"][0]
    assert placement["completed"] == placement["items"] > 100
    assert placement["utilisation"]["nodes"]["mac1"]["cpu"] > 0
    assert body["what_if"]["added"] == "mac5"
    assert "<svg" in (tmp_path / "r.html").read_text()
    text = homelab(tmp_path, "simulate", "--days", "0.2")
    assert "policy" in text.stdout and "mac4" in text.stdout and text.stderr == ""


def test_a_workload_comes_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(LAB)
    lines = "".join(json.dumps({"arrival": n, "duration": 30, "requires": {"cpu": 8}}) + "\n" for n in range(4))
    (tmp_path / "w.jsonl").write_text(lines)
    from_file = homelab(tmp_path, "simulate", "w.jsonl", "--json")
    body = json.loads(from_file.stdout)
    assert body["optimum"]["kind"] == "exact"
    assert body["policies"][0]["waits"]["count"] == 4
    piped = subprocess.run(
        [HOMELAB, "--lab", "lab.toml", "simulate", "-", "--json"], cwd=tmp_path, input=lines, capture_output=True,
        text=True, check=True, timeout=60, env={**os.environ, "HOMELAB_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert json.loads(piped.stdout) == body


def test_a_bad_line_and_a_missing_file_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(LAB)
    (tmp_path / "w.csv").write_text("arrival,duration\n0,5\n1,long\n")
    wrong = homelab(tmp_path, "simulate", "w.csv")
    assert wrong.returncode == 2 and "w.csv:3: this is not a duration" in wrong.stderr
    absent = homelab(tmp_path, "simulate", "none.csv")
    assert absent.returncode == 3 and "workload.md" in absent.stderr
    node = homelab(tmp_path, "simulate", "w.csv", "--add-node", "mac5")
    assert node.returncode == 2 and "NAME: K=V" in node.stderr
