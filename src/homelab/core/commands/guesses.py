"""Programs nobody knows: what the names of their options, and the places of their operands, make likely.

Called by `core.commands.programs`.
"""

import posixpath
import re
from collections.abc import Sequence

from homelab.core.commands.arguments import Act
from homelab.core.commands.effects import Redirect, Word

_LOG_NAME = re.compile(r"/dev/null|\blogs?\b", re.IGNORECASE)
_WRITES = re.compile(r"^--?(o|out.*|dest.*|target.*|save.*|export.*|to|write.*|dst|result.*)$", re.IGNORECASE)
_SETTINGS = re.compile(r"\.(?:conf|cfg|ini|ya?ml|toml|env|key|pem|crt|json|sh|py)$|config|/etc/")
_READS = re.compile(
    r"^--?(i|in|input.*|src|source.*|from|file|files|data.*|read.*|load.*|import|attach.*|list|db|database)$",
    re.IGNORECASE,
)


def mention(act: Act, words: Sequence[Word], redirects: Sequence[Redirect], *, is_piped: bool) -> None:
    """The paths among a program's arguments; its options may say whether they are read or written."""
    act.may_be_far = True
    # Where its results go, if that can be seen: then its operands are what it reads.
    has_output = is_piped or any(
        redirect.fd == 1 and redirect.operator == ">" and not _LOG_NAME.search(redirect.target.value)
        for redirect in redirects
    )
    option = ""
    paths: list[str] = []  # operands
    for word in words:
        text = word.value
        if text.startswith("-") and "=" not in text:
            option = text
            continue
        if text.startswith("-"):
            option, _, text = text.partition("=")
        if _looks_like_path(text):
            if _WRITES.match(option):
                act.effect("write", text, is_tree=_looks_like_folder(text), is_guess=True)
                has_output = True
            elif _READS.match(option):
                act.effect("read", text, is_tree=_looks_like_folder(text), is_guess=True)
            elif option:
                act.effect("mention", text, is_guess=not _SETTINGS.search(text))
            else:
                paths.append(text)
        option = ""
    # `program FROM TO` is how most programs are called.
    for number, path in enumerate(paths):
        kind = "write" if number and number == len(paths) - 1 else "read"
        kind = "read" if has_output else "mention" if len(paths) == 1 else kind
        act.effect(kind, path, is_tree=kind != "mention" and _looks_like_folder(path), is_guess=True)


def _looks_like_folder(path: str) -> bool:
    """A path without an ending. A file may have none either, then nothing lies below it."""
    return "." not in posixpath.basename(path.rstrip("/")).lstrip(".")


def _looks_like_path(text: str) -> bool:
    if "://" in text and not text.startswith(("s3://", "gs://")):
        return False
    if text.startswith(("/", "./", "../")) or re.match(r"^[\w.@-]+:/", text):
        return len(text) > 1
    if text == ".":
        return True
    return ("/" in text and " " not in text) or re.search(r"^[\w.-]+\.[A-Za-z][A-Za-z0-9]{1,4}$", text) is not None
