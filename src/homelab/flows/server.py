"""Prefect's server as one lean process of the lab: `python -m homelab.flows.server --port N`.

It is Prefect's own app, served by uvicorn in this process, with the services that `control` stands in for switched off
and the rest slowed to what a home needs. Settings go through the environment, before Prefect is imported. Started by
`stack`; listens on loopback only, and only with the lab's generated credential.

From the environment: PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_SERVER_API_AUTH_STRING, PREFECT_HOME.
"""

import argparse
import os

UI_BASE = "/prefect"
"""Where the pages live, here and behind `control`'s sign-in, which passes `/prefect/api` on to `/api`."""

SETTINGS: dict[str, str] = {
    # `control` decides what is due (ADR 0002) and what is late; the worker's heartbeats are watched there too.
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "3600",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "2d",
    # Task-run states are written in bulk. Told by an event, they are in memory only until then: a server that is killed
    # (not stopped) loses up to a second of them.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Nothing leaves this machine.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # One home, one server: a handful of connections is plenty, and each costs Postgres a process.
    "PREFECT_SQLALCHEMY_POOL_SIZE": "5",
    "PREFECT_SQLALCHEMY_MAX_OVERFLOW": "5",
    "PREFECT_API_DATABASE_TIMEOUT": "20",
}


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m homelab.flows.server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ui-api-url", required=True, help="where a browser finds the API: behind control's sign-in")
    asked = parser.parse_args()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["PREFECT_UI_API_URL"] = asked.ui_api_url
    os.environ["PREFECT_UI_SERVE_BASE"] = UI_BASE
    os.environ["PREFECT_UI_STATIC_DIRECTORY"] = os.path.join(os.environ["PREFECT_HOME"], "ui")  # noqa: PTH118
    os.environ["PREFECT_API_URL"] = f"http://{asked.host}:{asked.port}/api"
    os.environ["PREFECT__SERVER_FINAL"] = "1"

    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(
        create_app(final=True),
        host=asked.host,
        port=asked.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        server_header=False,
    )


if __name__ == "__main__":
    main()
