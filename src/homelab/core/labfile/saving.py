"""What of a job's files is kept (`save`), and where the lab keeps it (`[artefacts]`)."""

import re
from typing import Any, Final

from homelab.core.durations import duration_text, size_text
from homelab.core.labfile.kinds import (
    BOOLEAN,
    NONEMPTY,
    SECRET_REFERENCE,
    SIZE,
    TEXT,
    Kind,
    Setting,
    Table,
    UnusableError,
    duration,
    list_of,
    matching,
)
from homelab.core.labfile.model import ArtefactSettings
from homelab.core.labfile.problems import At, shown

_DEFAULT: Final = ArtefactSettings()
_STORE: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[^\x00]*)?|[/~][^\x00]*")
_LONGEST: Final = 500


def pattern_problem(pattern: str) -> str:
    """Why a pattern may not be used; "" when it may. It stays below the folder that it is looked up in."""
    parts = pattern.split("/")
    if pattern.startswith(("/", "~")):
        return "it must be relative to the working folder of the job"
    if ".." in parts:
        return "it must not lead out of the working folder of the job"
    if len(pattern) > _LONGEST or "" in parts[:-1]:
        return "it is no pattern of a path"
    return ""


def _read_pattern(value: Any, at: At) -> str:
    text: str = NONEMPTY.read(value, at)
    if problem := pattern_problem(text):
        at.error("save", f"{shown(text)} cannot be saved: {problem}", 'Such as save = ["reports/*.pdf"].')
        raise UnusableError
    return text


_PATTERN: Final = Kind(words="a pattern of files", schema={"type": "string", "minLength": 1}, read=_read_pattern)
_PATTERNS: Final = list_of(_PATTERN)

SAVE: Final = Table(
    name="save",
    about='`save = ["reports/*.pdf"]`, or a table. See [how files are passed on](../how-to/pass-results.md#files).',
    settings=(
        Setting(
            name="paths",
            kind=_PATTERNS,
            default="[]",
            unit="",
            reason="Patterns of files below its working folder. `**` is any number of folders, a folder all in it.",
        ),
        Setting(
            name="required",
            kind=BOOLEAN,
            default="false",
            unit="",
            reason="The job has failed when a pattern finds nothing or a file cannot be kept. Else its log says so.",
        ),
    ),
)


def _read_save(value: Any, at: At) -> dict[str, Any]:
    return SAVE.read(value, at) if isinstance(value, dict) else {"paths": _PATTERNS.read(value, at)}


SAVE_KIND: Final = Kind(
    words="patterns of files or a table", schema={"anyOf": [_PATTERNS.schema, SAVE.schema()]}, read=_read_save
)

ARTEFACTS: Final = Table(
    name="[artefacts]",
    about="Where files are kept that jobs `save`, and for how long.",
    settings=(
        Setting(
            name="store",
            kind=matching(_STORE, "a folder or s3://BUCKET/PREFIX", 'Such as "/mnt/nas/lab" or "s3://lab/artefacts".'),
            default="`artefacts` in HOMELAB_HOME",
            unit="",
            reason="A folder of the machine of control, or a bucket of any store that speaks S3.",
        ),
        Setting(
            name="endpoint",
            kind=matching(re.compile(r"https?://[^\s\x00]+"), "a URL", 'Such as "https://minio.example:9000".'),
            default="that of AWS",
            unit="",
            reason="The address of the S3 store.",
        ),
        Setting(name="region", kind=TEXT, default=f'"{_DEFAULT.region}"', unit="", reason="The region of the bucket."),
        Setting(
            name="access_key",
            kind=SECRET_REFERENCE,
            default="none",
            unit="",
            reason="A reference to the id of the key that may read and write the bucket.",
        ),
        Setting(
            name="secret_key", kind=SECRET_REFERENCE, default="none", unit="", reason="A reference to the key's secret."
        ),
        Setting(
            name="keep",
            kind=duration(positive=True, none=True),
            default=f'"{duration_text(_DEFAULT.keep_s or 0)}"',
            unit="seconds",
            reason="How long a file is kept after it was saved; `none` for ever. Contents go when no run has them.",
        ),
        Setting(
            name="max_size",
            kind=SIZE,
            default=f'"{size_text(_DEFAULT.max_bytes)}"',
            unit="bytes",
            reason="When all files together are larger, the oldest go first.",
        ),
    ),
)


def settings_of(written: dict[str, Any]) -> ArtefactSettings:
    """The table as a value."""
    names = {"keep": "keep_s", "max_size": "max_bytes"}
    return ArtefactSettings(**{names.get(name, name): value for name, value in written.items()})
