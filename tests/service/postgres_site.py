"""A Postgres for tests: one cluster a process of tests, reached through a Unix socket only; a database for each that
asks. `fresh` makes one as control has it before anything happened, in about ten milliseconds."""

import asyncio
import atexit
import contextlib
import functools
import itertools
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

from homelab.db.migrate import migrate
from homelab.db.pool import Database
from homelab.stack import programs

_numbers = itertools.count()


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The libpq URL of an empty database that takes connections; it is gone afterwards."""
    name = f"test{next(_numbers)}"
    _administer(f"create database {name}")
    try:
        yield _url(name)
    finally:
        _administer(f"drop database {name} with (force)")


def fresh(url: str) -> None:
    """The database of that URL as control has migrated it, before anything happened."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True) as conn:
        if conn.execute("select to_regclass('migration')").fetchone() != (None,):
            with conn.transaction():
                _take_back(conn)
            return
    _administer(f"drop database {name} with (force)", f"create database {name} template {_migrated()}")


def _take_back(conn: "psycopg.Connection[Any]") -> None:
    """What the migrations made stays, in rows and in numbers that were given out."""
    conn.execute("set local session_replication_role = replica")  # in whatever order the tables refer to each other
    for table, rows in _made()[0].items():
        conn.execute(f"delete from {table}".encode())
        if rows:
            insert = (
                f"insert into {table} overriding system value select * from jsonb_populate_recordset(null::{table}, %s)"
            )
            conn.execute(insert.encode(), (json.dumps(rows),))
    for sequence, last in _made()[1].items():
        conn.execute("select setval(%s, %s, %s)", (sequence, last or 1, last is not None))


@functools.cache
def _made() -> tuple[dict[str, list[Any]], dict[str, int | None]]:
    """Of a database that was only migrated: table -> rows, sequence -> the last number that was given out."""
    with psycopg.connect(_url(_migrated())) as conn:
        tables = [row[0] for row in conn.execute("select tablename from pg_tables where schemaname = 'public'")]
        rows = {
            table: [row[0] for row in conn.execute(f"select to_jsonb(t) from {table} t".encode())]
            for table in tables if table != "migration"
        }  # fmt: skip
        return rows, dict(conn.execute("select sequencename, last_value from pg_sequences").fetchall())


@functools.cache
def _migrated() -> str:
    """The name of a database that control has migrated, and nobody else has touched."""
    _administer("create database migrated")

    async def made() -> None:
        async with Database(_url("migrated"), password=None) as database:
            await migrate(database)

    with ThreadPoolExecutor(1) as thread:  # whoever calls may be in a loop of its own
        thread.submit(asyncio.run, made()).result()
    return "migrated"


def _administer(*statements: str) -> None:
    with psycopg.connect(_url("postgres"), autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def _url(name: str) -> str:
    return f"postgresql://lab@/{name}?host={_cluster()}"


@functools.cache
def _cluster() -> Path:
    """The folder of its socket. It ends with this process."""
    found = programs.find()
    folder = Path(tempfile.mkdtemp(prefix="hl-pg-", dir="/tmp"))
    run: dict[str, Any] = {"env": found.environment(), "cwd": folder}
    if os.getuid() == 0:  # Postgres refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        run |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    create = [found.bin / "initdb", "-D", "data", "-U", "lab", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(create, check=True, stdout=subprocess.DEVNULL, **run)
    serve = [found.bin / "postgres", "-D", "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
    serve += ["-c", "full_page_writes=off", "-c", "synchronous_commit=off"]
    server = subprocess.Popen(serve, stderr=subprocess.DEVNULL, **run)
    atexit.register(_end, server, folder)
    _wait_for(f"postgresql://lab@/postgres?host={folder}", server)
    return folder


def _end(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    server.send_signal(2)
    server.wait(20)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(400):
        assert server.poll() is None, "Postgres did not start"
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return
        time.sleep(0.05)
    raise AssertionError("Postgres does not answer")
