"""Certificates of the lab's services: collect what is in use, find what ends soon, renew it."""

import json
import sys
import time

from lab import put, rows, work

DAY_S = 86400
SOON_DAYS = 30


def read(name):
    path = work("certificates", name)
    return json.loads(path.read_text()) if path.exists() else {}


def collect():
    known = read("inventory.json")
    for row in rows("certificates.csv"):
        ends = time.time() + int(row["days_left"]) * DAY_S
        known.setdefault(row["name"], {"host": row["host"], "ends": ends})
    put(work("certificates", "inventory.json"), json.dumps(known, indent=1))
    print(f"{len(known)} certificates on {len({c['host'] for c in known.values()})} hosts")


def check():
    left = {name: (one["ends"] - time.time()) / DAY_S for name, one in read("inventory.json").items()}
    for name, days in sorted(left.items(), key=lambda item: item[1]):
        print(f"{name}: {days:.0f} days{' - renew' if days < SOON_DAYS else ''}")
    put(work("certificates", "due.json"), json.dumps({name: days for name, days in left.items() if days < SOON_DAYS}))


def renew():
    known, due = read("inventory.json"), read("due.json")
    for name in due:
        known[name]["ends"] = time.time() + 90 * DAY_S
        put(work("certificates", "live", name), f"{name} renewed {time.ctime()}\n")
        print(f"renewed {name}")
    put(work("certificates", "inventory.json"), json.dumps(known, indent=1))
    print(f"{len(due)} renewed")


if __name__ == "__main__":
    {"collect": collect, "check": check, "renew": renew}[sys.argv[1]]()
