"""The HTTP side of control: JSON API, events, live logs, the gate, and the way to Prefect's own UI.

Never decides about runs: each route asks `control.service.Control` and gives its answer. `app.app` makes the ASGI app,
`app.server` the uvicorn server that carries it.
"""
