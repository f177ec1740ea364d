"""Where notifications go: the name of a target that may be stored and shown, and the URL behind it.

A lab file may hold a reference (`env:NAME`, `file:PATH`, `keychain:NAME`) or a URL itself. Most notification URLs carry
a secret somewhere in them, so the database, logs and pages only ever see `label(url)`. Pure, except `resolve`, which
only the short-lived sender calls.
"""

import hashlib
import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

from homelab.core.errors import InputError
from homelab.home.paths import Home

_REFERENCES = ("env:", "file:", "keychain:")
_PLAIN = frozenset({"log", "json", "jsons", "xml", "xmls", "form", "forms", "syslog"})
"""Schemes whose host and path are no secret."""


def is_reference(url: str) -> bool:
    return url.startswith(_REFERENCES)


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
    """The URL behind a reference (a URL is itself). InputError names the reference, never its value.

    `env:` is looked up in HOMELAB_HOME/secrets/environment (lines `NAME=VALUE`), then in the environment: a lab started
    at boot has no shell's variables. Relative `file:` paths lie below HOMELAB_HOME; the first line that is not empty
    counts.
    """
    kind, _, name = url.partition(":")
    value = url
    if kind == "env" and is_reference(url):
        value = _kept(name) or os.environ.get(name, "")
    elif kind == "file" and is_reference(url):
        path = Path(name).expanduser()
        try:
            text = (Home.default().root / path).read_text()
        except OSError as error:
            raise InputError(f"cannot read the notification URL from {url}: {error.strerror}") from error
        value = next((line.strip() for line in text.splitlines() if line.strip()), "")
    elif kind == "keychain" and is_reference(url):
        found = subprocess.run(
            ["security", "find-generic-password", "-s", name, "-w"], capture_output=True, text=True, check=False
        )
        value = found.stdout.strip()
    if not value:
        raise InputError(f"{url} is empty or not set", hint="Set it where `homelab up` is started, then try again.")
    return value


def _kept(name: str) -> str:
    path = Home.default().secrets / "environment"
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    found = (line.strip().removeprefix("export ").partition("=") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), "")


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
