"""One statement on one connection, for those who only want to know whether a database answers."""

import psycopg

from homelab.core.errors import HomelabError


def ask(url: str, sql: str) -> str:
    """The first column of the first row as text. HomelabError with the server's own words. Blocks at most 5 s."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(sql.encode()).fetchone()
    except psycopg.Error as error:
        raise HomelabError(f"the database says: {str(error).strip()}") from error
    return "" if row is None else str(row[0])
