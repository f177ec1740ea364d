"""What a piece of SQL reads and writes, by its verbs. Called by what reads the SQL clients, and Python."""

import re
from typing import Literal

_NAME = r"[\"`\[]?([A-Za-z_\ue000-\ue1ff][\w.\ue000-\ue1ff]*)[\"`\]]?"  # private: a pattern
_WRITES = re.compile(
    rf"\b(?:INSERT\s+(?:OR\s+\w+\s+|IGNORE\s+)?INTO|REPLACE\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?"
    rf"|CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\w*\s+)?(?:TABLE|VIEW|MATERIALIZED\s+VIEW)(?:\s+IF\s+NOT\s+EXISTS)?"
    rf"|DROP\s+TABLE(?:\s+IF\s+EXISTS)?|ALTER\s+TABLE|REFRESH\s+MATERIALIZED\s+VIEW(?:\s+CONCURRENTLY)?"
    rf"|LOAD\s+DATA[\s\S]*?INTO\s+TABLE)\s+{_NAME}",
    re.IGNORECASE,
)
_COPY_IN = re.compile(rf"\\?COPY\s+{_NAME}[^;]*?\bFROM\b", re.IGNORECASE)
_READS = re.compile(rf"\b(?:FROM|JOIN)\s+{_NAME}", re.IGNORECASE)
_COPY_OUT = re.compile(rf"\\?COPY\s+{_NAME}[^;]*?\bTO\b", re.IGNORECASE)
_FILE_IN = re.compile(r"\\?\b(?:COPY\s[^;']*?\bFROM|INFILE)\s+'([^']+)'", re.IGNORECASE)
_FILE_OUT = re.compile(r"\\?\b(?:COPY\s[^;']*?\bTO|OUTFILE)\s+'([^']+)'", re.IGNORECASE)

Touch = tuple[Literal["read", "write"], str]


def touches(text: str) -> list[Touch]:
    """Tables read and written, in order; an empty name when it is not plain which. Upkeep (VACUUM) is neither."""
    found: list[Touch] = []
    written = [match for pattern in (_WRITES, _COPY_IN) for match in pattern.finditer(text)]
    for match in written:
        found.append(("write", match[1].lower()))
    spans = {match.start(1) for match in written}
    for pattern in (_READS, _COPY_OUT):
        for match in pattern.finditer(text):
            if match.start(1) not in spans:
                found.append(("read", match[1].lower()))
    if not found and re.search(r"\bCALL\b|\bEXEC\b", text, re.IGNORECASE):
        return [("write", "")]
    if not found and re.search(r"\bSELECT\b", text, re.IGNORECASE):
        return [("read", "")]
    return list(dict.fromkeys(found))


def files_of(text: str) -> list[Touch]:
    """Files that `COPY` and its like read into a table, or write."""
    found: list[Touch] = [("read", match[1]) for match in _FILE_IN.finditer(text)]
    return [*found, *(("write", match[1]) for match in _FILE_OUT.finditer(text))]
