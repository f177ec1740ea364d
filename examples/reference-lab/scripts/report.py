"""report.py hourly|daily|weekly|backup: a short text from what the other jobs left, in the folder `reports`."""

import sys
import time

from lab import put, work


def last(name, count):
    path = work("metrics", name)
    return path.read_text().splitlines()[-count:] if path.exists() else []


def hourly():
    disk = last("disk.csv", 12)
    if not disk:
        sys.exit("no disk figures: the job that collects them has not run")
    used = [int(line.split(",")[1]) for line in disk]
    beats = len(last("heartbeat.txt", 60))
    return [f"disk: {len(used)} readings, change {used[-1] - used[0]:+d} bytes", f"heartbeats: {beats} of 60"]


def daily():
    folder = work("reports", "x").parent
    return [f"{path.name}: {path.read_text().splitlines()[-1]}" for path in sorted(folder.glob("hourly*.txt"))[-24:]]


def weekly():
    folder = work("reports", "x").parent
    return [f"{len(list(folder.glob('daily*.txt')))} daily reports", f"{len(list(folder.glob('hourly*.txt')))} hourly"]


def backup():
    copies = sorted(work("offsite", "x").parent.glob("*/*.gz"))
    return [f"{path.parent.name}/{path.name}: {path.stat().st_size} bytes" for path in copies[-10:]] or ["no copies"]


if __name__ == "__main__":
    name = sys.argv[1]
    lines = {"hourly": hourly, "daily": daily, "weekly": weekly, "backup": backup}[name]()
    suffix = {"hourly": "-%Y%m%d%H", "daily": "-%Y%m%d", "weekly": "-%Y%m%d", "backup": ""}[name]
    put(work("reports", f"{name}{time.strftime(suffix)}.txt"), "\n".join(lines) + "\n")
    print("\n".join(lines))
