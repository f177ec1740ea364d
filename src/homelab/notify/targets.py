"""Where notifications go: the name of a target that may be stored and shown, and the URL behind it.

A lab file may hold a reference (`env:NAME`, `file:PATH`, `keychain:NAME`) or a URL itself. Most notification URLs carry
a secret somewhere in them, so the database, logs and pages only ever see `label(url)`. Pure, except `resolve`, which
only the short-lived sender calls.
"""

import hashlib
from urllib.parse import unquote, urlsplit

from homelab.core.errors import InputError
from homelab.home import references
from homelab.home.paths import Home
from homelab.home.references import is_reference

_PLAIN = frozenset({"log", "json", "jsons", "xml", "xmls", "form", "forms", "syslog"})
"""Schemes whose host and path are no secret."""


def label(url: str) -> str:
    """The name of a target: a reference as it is; of a URL the scheme, the host where it is no secret, and six hex
    digits that tell two targets apart (too few to confirm a guessed secret)."""
    if is_reference(url):
        return url
    parts = urlsplit(url)
    if parts.scheme not in _PLAIN:
        return f"{parts.scheme or 'target'}://*** #{_mark(url)}"
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}"
    hidden = parts.query or "@" in parts.netloc
    return f"{shown} #{_mark(url)}" if hidden else shown


def _mark(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:6]


def resolve(url: str) -> str:
    """The URL behind a reference: the first line of it that is not empty (a URL is itself). InputError names the
    reference, never its value."""
    value = references.resolve(url, home=Home.default()) if is_reference(url) else url
    found = next((line.strip() for line in value.splitlines() if line.strip()), "")
    if not found:
        raise InputError(f"{url} is empty", hint="Write the notification URL there.")
    return found


def redact(text: str, url: str) -> str:
    """`text` without the secret parts of `url`: user, password, query, and host and path where they may be secrets."""
    parts = urlsplit(url)
    user_info, _, host = parts.netloc.rpartition("@")
    secrets = [url, parts.query, user_info, *user_info.split(":")]
    secrets += [piece.partition("=")[2] for piece in parts.query.split("&")]
    if parts.scheme not in _PLAIN:
        secrets += [host, parts.path, *parts.path.split("/")]
        secrets += [value for value in host.split(":") if not value.isdigit()]
    secrets += [unquote(value) for value in secrets]
    for value in sorted({s for s in secrets if len(s) > 2}, key=len, reverse=True):
        text = text.replace(value, "***")
    return text
