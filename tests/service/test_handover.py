"""What a worker's process hands to the program that it executes next, and when it does not execute it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from homelab.worker import handover

ANEW = """
import json, os, sys
from homelab.worker import handover
state = handover.received()
assert handover.VARIABLE not in os.environ
if state is None:
    left, given = (os.dup2(os.open("/dev/null", os.O_RDONLY), fd, inheritable=True) for fd in (50, 51))

    def hand_over():
        os.set_inheritable(given, True)
        return {"said": "caf\\u00e9 " * 50_000, "by": os.getpid()}

    handover.execute(hand_over)
is_open = [os.path.exists(f"/dev/fd/{fd}") for fd in (50, 51)]
whole = state["said"] == "caf\\u00e9 " * 50_000
print(json.dumps({"whole": whole, "same": state["by"] == os.getpid(), "open": is_open}))
"""


def test_what_is_handed_over_arrives_whole_in_the_same_process() -> None:
    done = subprocess.run([sys.executable, "-c", ANEW], capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout) == {"whole": True, "same": True, "open": [False, True]}, done.stderr


@pytest.mark.parametrize("given", ["", "nothing", "999"])
def test_where_nothing_was_handed_over_nothing_is_received(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(handover.VARIABLE, given)
    assert handover.received() is None
    assert handover.VARIABLE not in os.environ


def test_what_another_process_left_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text(json.dumps({"pid": os.getpid() + 1}))
    monkeypatch.setenv(handover.VARIABLE, str(os.open(tmp_path / "state", os.O_RDONLY)))
    assert handover.received() is None


def test_a_program_that_would_not_start_is_found_out_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert handover.rehearse() == ""
    (tmp_path / "structlog.py").write_text("raise RuntimeError('half upgraded')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert handover.rehearse() == "RuntimeError: half upgraded"
