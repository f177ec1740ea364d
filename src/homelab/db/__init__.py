"""The one door to Postgres: connection pool, transactions, numbered forward-only migrations."""
