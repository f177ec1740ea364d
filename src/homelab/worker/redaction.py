"""Secrets taken out of output and of sentences, in every form in which a program is likely to print them.

Pure. A value is found in plain form and as base64 (at all three alignments, wrapped or not), URL-encoded, and with
the escapes of JSON and of shells; each finding becomes `***`. A value of several lines is found line by line. Values
shorter than four bytes are left alone: they would blot out ordinary text (`too_short` names them, so that the lab can
say so). What no filter can do is find a value that a program changes in some other way. Called by `worker.runlog` for
output, by the launcher for reasons.
"""

import base64
import json
import re
import shlex
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MASK = b"***"
MIN_BYTES = 4
_WRAP = 76


class Redactor:
    """The forms of all secrets of a job. Make one `stream()` for each byte stream."""

    def __init__(self, values: Iterable[str], *, patterns: tuple[bytes, ...] | None = None) -> None:
        """`patterns`: of another one of the same secrets, in place of the `values`."""
        self.patterns = patterns_of(values) if patterns is None else patterns

    def stream(self) -> "RedactingStream":
        return RedactingStream(self.patterns)

    def text(self, text: str) -> str:
        """A whole sentence, command or line without its secrets."""
        if not self.patterns:
            return text
        stream = self.stream()
        raw = text.encode("utf-8", "surrogateescape")
        return (stream.feed(raw) + stream.end()).decode("utf-8", "surrogateescape")


def redact_text(text: str, values: Iterable[str]) -> str:
    """`text` without the secret `values`, for reasons, commands and notifications."""
    return Redactor(values).text(text)


def too_short(secrets: Mapping[str, str]) -> list[str]:
    """Names of secrets that are not redacted because their values are too short to be recognised safely."""
    return [name for name, value in secrets.items() if value and len(value.encode()) < MIN_BYTES]


class RedactingStream:
    """Redaction over chunks cut anywhere. Bytes go through at once, except the end of a chunk that may be the
    beginning of a secret: it waits for the next chunk, and never beyond the end of its line."""

    def __init__(self, patterns: tuple[bytes, ...]) -> None:
        self._patterns = patterns
        self._longest = max(map(len, patterns), default=0)
        self._firsts = frozenset(p[0] for p in patterns)
        self._held = b""
        self._just_masked = False
        self._covered = 0
        """How many of the held bytes belong to a finding for which the mask has been given out already."""

    def state(self) -> list[Any]:
        """For `restore`: what waits, and what of it is told. It may hold the beginning of a secret."""
        return [self._held.decode("latin-1"), self._just_masked, self._covered]

    def restore(self, state: Sequence[Any]) -> None:
        self._held, self._just_masked, self._covered = str(state[0]).encode("latin-1"), bool(state[1]), int(state[2])

    def feed(self, chunk: bytes) -> bytes:
        if not self._patterns:
            return chunk
        buffer = self._held + chunk if self._held else chunk
        return self._pass(buffer, self._hold_from(buffer))

    def end(self) -> bytes:
        """What still waits. The stream can be used again."""
        return self._pass(self._held, len(self._held))

    def _pass(self, buffer: bytes, until: int) -> bytes:
        covered = self._covered
        spans = self._spans(buffer)
        if covered:
            spans.insert(0, (0, covered))
        out: list[bytes] = []
        at = 0
        self._held, self._covered = buffer[until:], 0
        for begin, end in _merged(spans):
            told = begin == 0 and covered > 0
            if begin >= until and not told:
                break
            self._show(buffer[at:begin], out)
            if not self._just_masked:
                out.append(MASK)
                self._just_masked = True
            at = end
        if at > until:
            self._covered = at - until
        else:
            self._show(buffer[at:until], out)
        return b"".join(out)

    def _show(self, part: bytes, out: list[bytes]) -> None:
        if part:
            out.append(part)
            self._just_masked = False

    def _spans(self, buffer: bytes) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        for pattern in self._patterns:
            at = buffer.find(pattern)
            while at >= 0:
                spans.append((at, at + len(pattern)))
                at = buffer.find(pattern, at + 1)
        return sorted(spans)

    def _hold_from(self, buffer: bytes) -> int:
        """Where the longest end of `buffer` begins that is the beginning of a form."""
        first = max(0, len(buffer) - self._longest + 1, buffer.rfind(b"\n", -self._longest) + 1)
        for at in range(first, len(buffer)):
            if buffer[at] not in self._firsts:
                continue
            rest = buffer[at:]
            if any(pattern.startswith(rest) and pattern != rest for pattern in self._patterns):
                return at
        return len(buffer)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in spans:
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def patterns_of(values: Iterable[str]) -> tuple[bytes, ...]:
    """Every form to look for, none of them with a line break in it, so that no line waits for another."""
    found: set[bytes] = set()
    for value in values:
        raw = value.encode("utf-8", "surrogateescape")
        if len(raw) < MIN_BYTES:
            continue
        for line in value.splitlines():
            stripped = line.strip()
            if not re.fullmatch(r"-----[A-Z ]+-----|", stripped):  # the frame of a PEM file is no secret
                found |= _escaped(stripped)
        found |= _escaped(value)
        found |= _base64(raw)
    return tuple(sorted((p for p in found if len(p) >= MIN_BYTES and b"\n" not in p), key=len, reverse=True))


def _escaped(value: str) -> set[bytes]:
    quoted = urllib.parse.quote(value, safe="", errors="surrogateescape", encoding="utf-8")
    lower = re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), quoted)
    forms = {
        value,
        quoted,
        lower,
        quoted.replace("%20", "+"),
        urllib.parse.quote(value, errors="surrogateescape", encoding="utf-8"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        json.dumps(value)[1:-1].replace("/", "\\/"),
        shlex.quote(value),
        value.replace("'", "'\\''"),
        value.replace("'", "'\"'\"'"),
        re.sub(r"([^\w@%+=:,./-])", r"\\\1", value),
        re.sub(r'([$`"\\])', r"\\\1", value),
        repr(value)[1:-1],
    }
    return {form.encode("utf-8", "surrogateescape") for form in forms}


def _base64(raw: bytes) -> set[bytes]:
    """The characters that are certain whatever stands before and after the value in what was encoded."""
    forms: set[bytes] = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        bits = (before + len(raw)) * 8
        certain = encoded[(0, 2, 3)[before] : bits // 6]
        forms |= {certain, certain.replace(b"+", b"-").replace(b"/", b"_")}
    encoded = base64.b64encode(raw).rstrip(b"=")
    if len(encoded) > _WRAP:  # base64(1) breaks lines
        forms |= {encoded[at : at + _WRAP][: len(raw) * 8 // 6 - at] for at in range(0, len(encoded), _WRAP)}
    return forms
