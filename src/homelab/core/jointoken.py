"""The text by which a machine joins a lab: where control is, who its authority is, a secret that works once. Pure."""

import base64
import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from homelab.core.errors import InputError

_PREFIX = "hlj1."
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LONGEST = 4096


@dataclass(frozen=True, kw_only=True)
class JoinToken:
    """`url`: the node port of control, without a slash at its end. `fingerprint`: SHA-256 of the lab's authority."""

    url: str
    fingerprint: str
    secret: str

    def text(self) -> str:
        """One word, as `parse` reads it."""
        body = json.dumps([self.url, self.fingerprint, self.secret], separators=(",", ":"))
        return _PREFIX + base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def parse(text: str) -> JoinToken:
    """InputError for anything that `JoinToken.text` did not make; it never says what the text holds."""
    wrong = InputError(
        "that is no token for joining a lab",
        hint="Copy all of what this printed on the machine of the lab: homelab node token NAME",
    )
    body = text.strip().removeprefix(_PREFIX)
    if not text.strip().startswith(_PREFIX) or len(body) > _LONGEST:
        raise wrong
    try:
        url, fingerprint, secret = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, TypeError):
        raise wrong from None
    if not all(isinstance(part, str) for part in (url, fingerprint, secret)) or not _FINGERPRINT.fullmatch(fingerprint):
        raise wrong
    return JoinToken(url=node_port(url), fingerprint=fingerprint, secret=secret)


def node_port(url: str) -> str:
    """The address of a node port as it is used; InputError when it is none."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"'{url[:100]}' is not the address of a lab's node port", hint="It is like https://mac1:7443")
    return url.strip().rstrip("/")
