"""The command line's own small HTTP client to control: synchronous, from the standard library, quick to import.

Where and who: `HOMELAB_URL` and `HOMELAB_TOKEN`, else the endpoints and the admin token of this home. The server's
errors become those of `core.errors`, with its message and hint; nothing here retries what may have changed something.
"""

import contextlib
import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from homelab.core.errors import HomelabError, InputError, NotFoundError, RefusedError, TimedOutError
from homelab.home.paths import Home


class NoAnswerError(NotFoundError):
    """Nothing listens where the lab should be; it may be starting again."""


class StrangerError(RefusedError):
    """The lab does not know whoever asks."""


_BY_CODE: dict[str, type[HomelabError]] = {
    "input": InputError,
    "too_large": InputError,
    "not_found": NotFoundError,
    "refused": RefusedError,
    "unauthorized": StrangerError,
    "forbidden": RefusedError,
    "misdirected": RefusedError,
    "rate_limited": RefusedError,
    "timed_out": TimedOutError,
}
_BY_STATUS: dict[int, type[HomelabError]] = {
    400: InputError,
    401: StrangerError,
    403: RefusedError,
    404: NotFoundError,
    409: RefusedError,
    421: RefusedError,
    504: TimedOutError,
}


def segment(name: str) -> str:
    """A name as one segment of a path. NotFoundError for one with a slash, which nothing has and servers take apart."""
    if "/" in name:
        raise NotFoundError(
            f"nothing of a lab is called {name[:80]!a}",
            hint="Names are of letters, digits, dots, dashes and underscores.",
        )
    return quote(name, safe="")


class Client:
    """Calls to one control. A connection is made for each call: control is on this machine or one hop away."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 30.0, trust: ssl.SSLContext | None = None) -> None:
        """`token` may be empty: for what is open. `trust`: whom to believe over TLS, instead of whom this machine
        does."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"'{url}' is not the address of a lab", hint="HOMELAB_URL is like http://127.0.0.1:4280")
        self.url = url.rstrip("/")
        self._parts = parts
        self._token = token
        self._timeout_s = timeout_s
        self._trust = trust

    @classmethod
    def of_home(cls, *, timeout_s: float = 30.0) -> "Client":
        """The control of the environment, else of this home; NotFoundError when no lab runs here."""
        from homelab.home import endpoints, membership, secrets

        home = Home.default()
        if not os.environ.get("HOMELAB_URL") and (member := membership.read(home)) is not None:
            raise NotFoundError(
                f"this home is node '{member.name}' of a lab at {member.url}; no lab runs here",
                hint="Ask the lab where it runs. Of this node: homelab status",
            )
        url = os.environ.get("HOMELAB_URL") or endpoints.require(home, "control")
        token = os.environ.get("HOMELAB_TOKEN")
        if not token:
            if url.rstrip("/") != endpoints.read(home).get("control"):
                # The token of this home must not be told to whoever listens at some other address.
                raise InputError(
                    f"{url} is not the lab of {home.root}, and no token for it is given",
                    hint="Set HOMELAB_TOKEN, or unset HOMELAB_URL. Make a token there with: homelab token create",
                )
            token = secrets.read_or_create(home, "token-admin")
        return cls(url, token, timeout_s=timeout_s)

    def within(self, timeout_s: float) -> "Client":
        """The same lab, with another patience for one answer."""
        return Client(self.url, self._token, timeout_s=timeout_s, trust=self._trust)

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """The JSON answer; query values that are None are left out."""
        return self._json("GET", path + _query(query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._json("POST", path, body or {})

    def delete(self, path: str) -> Any:
        return self._json("DELETE", path)

    def lines(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        quiet_s: float | None = None,
        on_open: Callable[[Callable[[], None]], object] | None = None,
    ) -> Iterator[bytes]:
        """The answer line by line as it arrives; `quiet_s` is the longest silence (None: any). `on_open` is called when
        the answer begins, with what ends it from another thread."""
        connection, response = self._send("GET", path + _query(query), None, timeout_s=self._timeout_s)
        try:
            if on_open is not None:
                on_open(lambda: _cut(connection))
            if connection.sock is not None:
                connection.sock.settimeout(quiet_s)
            rest = b""
            while piece := response.read1(65536):
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
            if rest:
                yield rest
        except http.client.HTTPException as error:
            raise NoAnswerError("the lab closed the connection in the middle of its answer") from error
        except TimeoutError as error:
            raise TimedOutError(f"the lab at {self.url} has said nothing for {quiet_s:.0f} s") from error
        except OSError as error:
            raise self._no_answer(error) from error
        finally:
            connection.close()

    def copy(self, path: str, query: Mapping[str, object], write: Callable[[bytes], object]) -> None:
        """The bytes of the answer, to `write(bytes)`."""
        connection, response = self._send("GET", path + _query(query), None, timeout_s=self._timeout_s)
        try:
            while piece := response.read1(65536):
                write(piece)
        except http.client.HTTPException as error:
            raise NoAnswerError("the lab closed the connection in the middle of its answer") from error
        finally:
            connection.close()

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection, response = self._send(method, path, body, timeout_s=self._timeout_s)
        try:
            return json.loads(response.read() or b"null")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise HomelabError(f"the lab at {self.url} gave an answer that cannot be read") from error
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, timeout_s: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._trust)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        headers = {"Accept": "application/json", "User-Agent": "homelab-cli"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, content, headers)
            response = connection.getresponse()
        except TimeoutError as error:
            connection.close()
            raise TimedOutError(f"the lab at {self.url} did not answer within {timeout_s:.0f} s") from error
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise RefusedError(
                f"the control plane at {self.url} is not the one that this node joined: {error.verify_message}",
                hint="If the lab was made anew: homelab node leave --forget, then join it with a new token",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._no_answer(error) from error
        if response.status >= 400:
            text = response.read(1024 * 1024)
            connection.close()
            raise error_of(response.status, text, self.url)
        return connection, response

    def _no_answer(self, error: Exception) -> NoAnswerError:
        why = getattr(error, "strerror", None) or type(error).__name__
        return NoAnswerError(
            f"no lab answers at {self.url}: {str(why).lower()}", hint="Start it with: homelab up. See: homelab status"
        )


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection that another thread reads from: that one sees the end of the answer."""
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def error_of(status: int, body: bytes, url: str) -> HomelabError:
    """The error an answer stands for: by the code the server gives, else by the status."""
    code, message, hint = "", f"the lab at {url} answered {status}", ""
    try:
        given: object = json.loads(body)
    except ValueError:
        given = None
    if isinstance(given, dict):
        detail = cast("dict[str, object]", given).get("error")
        if isinstance(detail, dict):
            fields = {str(k): str(v) for k, v in cast("dict[object, object]", detail).items()}
            code, message, hint = fields.get("code", ""), fields.get("message", message), fields.get("hint", "")
    if status == 401 and url.startswith("http:"):
        hint = "Is HOMELAB_TOKEN, or the token file of this home, of this lab? See: homelab status"
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, HomelabError)
    return kind(message, hint=hint)


def _query(query: Mapping[str, object] | None) -> str:
    given = {k: v for k, v in (query or {}).items() if v is not None}
    return "?" + urlencode(given) if given else ""
