"""Help is quick: it reads a table and loads nothing heavy, and every command of the table can be loaded."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"prefect", "httpx", "pydantic", "psycopg", "starlette", "uvicorn", "rich", "sqlalchemy", "apprise", "fastapi",
         "textual"}  # fmt: skip
PROBE = """
import json, sys
from homelab.cli import main
try:
    main.main({arguments!r})
except SystemExit:
    pass
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})), file=sys.stderr)
"""


def loaded_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=list(arguments))], capture_output=True, text=True, timeout=30
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["job", "--help"], ["run", "logs", "--help"], ["token", "--help"], ["open", "--help"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(*arguments) & (HEAVY | {"asyncio"}) == set()


def test_help_takes_less_than_100_ms_of_cpu() -> None:
    command = [str(Path(sys.executable).with_name("homelab")), "--help"]
    spent: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True, env={**os.environ, "COLUMNS": "80"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.1, spent  # the least is what it costs; the rest is what else ran


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    command = [str(Path(sys.executable).with_name("homelab")), "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "_HOMELAB_COMPLETE" in done.stdout
    if shutil.which(shell):
        flag = ["--no-execute"] if shell == "fish" else ["-n"]
        subprocess.run([shell, *flag], input=done.stdout, text=True, check=True, capture_output=True)


def test_completing_a_command_loads_no_command() -> None:
    environment = {**os.environ, "COMP_WORDS": "homelab j", "COMP_CWORD": "1", "_HOMELAB_COMPLETE": "bash_complete"}
    probe = PROBE.replace("{{", "{").replace("}}", "}").replace("{arguments!r}", "[]").replace('.partition(".")[0]', "")
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=environment)
    assert "plain,job" in done.stdout and "homelab.cli.job" not in done.stderr


def test_bash_completes_commands() -> None:
    environment = {**os.environ, "COMP_WORDS": "homelab jo", "COMP_CWORD": "1", "_HOMELAB_COMPLETE": "bash_complete"}
    command = [str(Path(sys.executable).with_name("homelab"))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "plain,job" in done.stdout
