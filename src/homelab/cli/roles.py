"""What the supervisor starts: `homelab control` and `homelab worker`. For people only when they look for a fault."""

import asyncio
import os
import signal

import click

from homelab.home.paths import Home

CLOSED_AFTER_S = 0.2
"""So soon after it is told to end the server takes no questions any more."""


@click.command(hidden=True)
def control() -> None:
    """Schedules, API and pages of one lab. Address and database come from the supervisor's environment."""
    from homelab.telemetry.logging import configure

    configure("control")
    asyncio.run(_control(Home.default().ensure()))


async def _control(home: Home) -> None:
    import structlog

    from homelab.console.site import Console
    from homelab.control.access import Access
    from homelab.control.api.app import app, server
    from homelab.control.api.node_port import NodePort
    from homelab.control.service import Control
    from homelab.db.pool import AWAY
    from homelab.flows.api import PrefectApi
    from homelab.home import endpoints
    from homelab.home.secrets import prefect_auth

    log = structlog.get_logger()
    host = os.environ.get("HOMELAB_CONTROL_HOST", "127.0.0.1")
    port = int(os.environ["HOMELAB_CONTROL_PORT"])
    database = os.environ.get("HOMELAB_DATABASE_URL") or endpoints.require(home, "postgres")
    own_url = endpoints.read(home).get("control") or f"http://{host}:{port}"
    prefect_url = endpoints.require(home, "prefect")
    auth = prefect_auth(home)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with PrefectApi(prefect_url, auth) as prefect:
        while not stopped.is_set():
            try:
                async with Control.open(home, database, prefect, own_url=own_url) as lab:
                    access = Access(lab.database.tuples)
                    nodes = NodePort(lab, access, home, prefect_url=prefect_url, prefect_auth=auth)
                    asgi = app(
                        lab, access=access, home=home, prefect_url=prefect_url, prefect_auth=auth, own_url=own_url,
                        pages=Console(), node_port=nodes,
                    )  # fmt: skip
                    web = server(asgi, host=host, port=port)
                    await _serve(lab, web, nodes, stopped)
                    return
            except AWAY as error:
                log.warning("database.away", error=str(error).strip())
                await asyncio.sleep(1)


async def _serve(lab: object, web: object, nodes: object, stopped: asyncio.Event) -> None:
    """Loops and servers side by side; the end of one is the end of all."""
    from typing import Any, cast

    lab_, web_, nodes_ = cast("Any", lab), cast("Any", web), cast("Any", nodes)
    loops = asyncio.create_task(lab_.serve_loops(), name="loops")
    serving = asyncio.create_task(web_.serve(), name="web")
    joining = asyncio.create_task(nodes_.serve(), name="node port")
    stop = asyncio.create_task(stopped.wait(), name="stop")
    done, _ = await asyncio.wait({loops, serving, joining, stop}, return_when=asyncio.FIRST_COMPLETED)
    web_.should_exit = True
    loops.cancel()
    joining.cancel()
    stop.cancel()
    await asyncio.sleep(CLOSED_AFTER_S)
    lab_.part()
    try:
        async with asyncio.timeout(5):
            await serving
    except TimeoutError:
        serving.cancel()
    await asyncio.gather(loops, serving, joining, stop, return_exceptions=True)
    for task in done - {stop}:
        task.result()


@click.command(hidden=True)
@click.option("--name", help="The name of this worker (default: this machine's).")
def worker(name: str | None) -> None:
    """Runs the jobs of this node."""
    from homelab.telemetry.logging import configure
    from homelab.worker.entry import main

    configure("worker")
    main(Home.default().ensure(), name=name)
