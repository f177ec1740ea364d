"""A short-lived program that delivers messages to one URL: `python -m homelab.notify.send`.

It reads one JSON object from stdin, `{"url", "messages": [{"title", "body", "level"}]}`, and writes one JSON line
`{"ok", "error"}` for each message as it goes, in order; it stops at the first that fails. Only this process imports
apprise and only it sees what a reference stands for, so that neither a slow import nor a hang nor a secret reaches the
process that schedules jobs. `delivery` starts it and kills it when it takes too long.

`log://PATH` appends a JSON object a line to a local file, without apprise: `log:///var/log/alerts.jsonl`, or relative
to HOMELAB_HOME: `log://alerts.jsonl`.
"""

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from homelab.core.errors import HomelabError, InputError
from homelab.home.paths import Home
from homelab.notify.targets import redact, resolve

Send = Callable[[str, str, str], str]
"""Title, body, level -> the error, empty when it was delivered."""


def main() -> None:
    order = json.load(sys.stdin)
    url = ""
    try:
        url = resolve(order["url"])
        send = to_file(url) if url.startswith("log:") else to_apprise(url)
        for message in order["messages"]:
            error = send(message["title"], message["body"], message["level"])
            _answer(redact(error, url))
            if error:
                return
    except HomelabError as error:
        _answer(redact(error.message, url) if url else error.message)
    except Exception as error:  # whatever a plugin does: the one who waits gets an answer
        _answer(redact(f"{type(error).__name__}: {error}", url))


def _answer(error: str) -> None:
    sys.stdout.write(json.dumps({"ok": not error, "error": error}) + "\n")
    sys.stdout.flush()


def to_file(url: str) -> Send:
    parts = urlsplit(url)
    path = Home.default().root / unquote(parts.netloc + parts.path)

    def send(title: str, body: str, level: str) -> str:
        line = json.dumps({"time": datetime.now(UTC).isoformat(), "level": level, "title": title, "body": body})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            return f"cannot write {path}: {error.strerror}"
        return ""

    return send


class _Said(logging.Handler):
    """Collects what apprise says: its only account of what went wrong."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.lines.append(record.getMessage())


def to_apprise(url: str) -> Send:
    import apprise

    said = _Said()
    logger = logging.getLogger("apprise")
    logger.addHandler(said)
    logger.propagate = False
    door: Any = apprise.Apprise(asset=apprise.AppriseAsset(app_id="homelab", app_desc="homelab", async_mode=False))
    if not door.add(url):
        raise InputError(f"this is not a notification URL that apprise knows ({url.partition(':')[0]}:...)")

    def send(title: str, body: str, level: str) -> str:
        said.lines.clear()
        if door.notify(title=title, body=body, notify_type=level, body_format="text"):
            return ""
        return "; ".join(said.lines)[:500] or "not accepted, no reason was given"

    return send


if __name__ == "__main__":
    main()
