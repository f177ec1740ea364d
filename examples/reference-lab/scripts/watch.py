"""Looking after the lab: disks, nodes, services, models, agents. One check a call."""

import json
import os
import random
import shutil
import sys
import time

from lab import put, rows, work


def append(name, line):
    """Add a line, keep the last 2000."""
    path = work("metrics", name)
    old = path.read_text().splitlines() if path.exists() else []
    put(path, "\n".join([*old, line][-2000:]) + "\n")


def disk():
    usage = shutil.disk_usage(work("metrics", "x").parent)
    append("disk.csv", f"{time.time():.0f},{usage.used},{usage.total}")
    print(f"{usage.used / usage.total:.0%} of {usage.total / 1e9:.0f} GB used")


def nodes():
    found = {}
    for row in rows("services.csv"):
        found.setdefault(row["node"], []).append(row["service"])
    put(work("metrics", "nodes.json"), json.dumps(found, indent=1))
    for node, services in sorted(found.items()):
        print(f"{node}: {', '.join(services)}")


def services():
    """Every service must have a port of its own on its node."""
    taken = {}
    for row in rows("services.csv"):
        other = taken.setdefault((row["node"], row["port"]), row["service"])
        if other != row["service"]:
            sys.exit(f"{row['service']} and {other} share port {row['port']} on {row['node']}")
    append("services.csv", f"{time.time():.0f},{len(taken)}")
    print(f"{len(taken)} services, no two on one port")


def models():
    """Keep the models that agents ask for in memory: here, touch a marker each."""
    for name in ("small", "embed"):
        put(work("models", f"{name}.warm"), f"{time.time():.0f}\n")
        print(f"{name} is warm")


def evaluate():
    """Score agents on samples; MODEL and SAMPLES are parameters of the job."""
    model, count = os.environ.get("MODEL", "small"), int(os.environ.get("SAMPLES", "20"))
    chance = random.Random(model)
    score = sum(chance.random() > 0.2 for _ in range(count)) / count
    append("evaluation.csv", f"{time.time():.0f},{model},{count},{score:.2f}")
    print(f"{model}: {score:.0%} of {count} samples")


if __name__ == "__main__":
    steps = (disk, nodes, services, models, evaluate)
    {one.__name__: one for one in steps}[sys.argv[1]]()
