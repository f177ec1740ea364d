"""`make bench`: measure the running product and write `benchmarks/RESULTS.md`, with machine and commit.

Figures are CPU seconds of whole process trees, or ratios from one run: wall times on a shared machine say little. Each
benchmark is a function that returns rows; `python -m benchmarks NAME ...` runs some of them and prints only.
"""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import command_line, console, fleet, placement, running_lab, simulation, soak, understanding
from benchmarks.measuring import Row

RESULTS = Path(__file__).with_name("RESULTS.md")

BENCHMARKS: dict[str, Callable[[Path], list[Row]]] = {
    "help": command_line.help_cpu,
    "inspect": command_line.inspect_cpu,
    "scripts": command_line.inspect_with_scripts,
    "year": command_line.year_of_minutes,
    "understanding": understanding.simulated_year,
    "console": console.pages,
    "placement": placement.decisions,
    "simulate": simulation.waits,
    "fleet": fleet.hundred_nodes,
    "lab": running_lab.forty_six_jobs,
    "cost": running_lab.cost_of_a_run,
    "burst": running_lab.five_hundred_at_once,
    "soak": soak.database_dies,
}


def main(names: list[str]) -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="homelab-bench-") as folder:
        for name, benchmark in BENCHMARKS.items():
            if names and name not in names:
                continue
            print(f"... {name}", file=sys.stderr, flush=True)
            work = Path(folder) / name
            work.mkdir()
            found = benchmark(work)
            for row in found:
                print(f"    {row.what}: {row.measured}", file=sys.stderr, flush=True)
            rows += found
    text = _table(rows)
    print(text)
    if not names:
        RESULTS.write_text(text)
    if any(row.holds is False for row in rows):
        sys.exit(1)


def _table(rows: list[Row]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores ({cpu or platform.processor()}), "
        f"Python {platform.python_version()}.",
        "",
        "| what | measured | target | holds |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        holds = "" if row.holds is None else ("yes" if row.holds else "**no**")
        lines.append(f"| {row.what} | {row.measured} | {row.target} | {holds} |")
    return "\n".join(lines) + "\n"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main(sys.argv[1:])
