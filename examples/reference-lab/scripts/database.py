"""Databases: dump one, verify a compressed dump by loading it, count what a restore gives, compact."""

import gzip
import sqlite3
import sys

from lab import put, samples, work


def dump(name):
    with sqlite3.connect(samples() / f"{name}.sqlite") as database:
        lines = list(database.iterdump())
    put(work("backups", "dumps", f"{name}.sql"), "\n".join(lines) + "\n")
    print(f"{name}: {len(lines)} statements")


def load(path):
    database = sqlite3.connect(":memory:")
    database.executescript(gzip.decompress(path.read_bytes()).decode())
    tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table' order by name")]
    return {table: database.execute(f'select count(*) from "{table}"').fetchone()[0] for table in tables}


def verify(*_):
    found = sorted(work("backups", "dumps", "x").parent.glob("*.sql.gz"))
    if not found:
        sys.exit("there is no compressed dump")
    for path in found:
        counts = load(path)
        if not counts or not all(counts.values()):
            sys.exit(f"{path.name}: a table is empty: {counts}")
        print(f"{path.name}: {counts}")


def restore(*_):
    """Load the newest copy from the other site into an empty database."""
    found = sorted(work("offsite", "x").parent.glob("*/*.sql.gz"))
    if not found:
        sys.exit("nothing has been copied to the other site")
    counts = load(found[-1])
    put(work("reports", "restore.txt"), f"{found[-1].parent.name}/{found[-1].name} {counts}\n")
    print(f"restored {found[-1].name}: {sum(counts.values())} rows in {len(counts)} tables")


def compact(name):
    with sqlite3.connect(samples() / f"{name}.sqlite", isolation_level=None) as database:
        database.execute("vacuum")
        print(f"{name}: {database.execute('pragma integrity_check').fetchone()[0]}")


if __name__ == "__main__":
    steps = {"dump": dump, "verify": verify, "restore": restore, "compact": compact}
    steps[sys.argv[1]](*sys.argv[2:])
